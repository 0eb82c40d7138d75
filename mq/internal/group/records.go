package group

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/wire"
)

// Versions of the records of __consumer_offsets that are written; older ones are read too.
const (
	offsetKeyVersion   = 1
	groupKeyVersion    = 2
	offsetValueVersion = 3
	groupValueVersion  = 3
)

// Key is the key of a record of __consumer_offsets: of a committed offset, or of a group's metadata.
type Key struct {
	Group string
	// IsOffset says that the record is the committed offset of TopicPartition; else it is the group's metadata.
	IsOffset bool
	TopicPartition
}

// ParseKey reads a record's key. Keys of versions this code does not know (share and KIP-848 groups) are an error.
func ParseKey(b []byte) (Key, error) {
	if len(b) < 2 {
		return Key{}, fmt.Errorf("group: record key of %d bytes has no version", len(b))
	}
	switch version := int16(binary.BigEndian.Uint16(b)); version {
	case 0, 1:
		k := kmsg.NewOffsetCommitKey()
		if err := wire.Decode(&k, b); err != nil {
			return Key{}, fmt.Errorf("group: offset key: %w", err)
		}
		return Key{Group: k.Group, IsOffset: true, TopicPartition: TopicPartition{k.Topic, k.Partition}}, nil
	case groupKeyVersion:
		k := kmsg.NewGroupMetadataKey()
		if err := wire.Decode(&k, b); err != nil {
			return Key{}, fmt.Errorf("group: group key: %w", err)
		}
		return Key{Group: k.Group}, nil
	default:
		return Key{}, fmt.Errorf("group: record key of unknown version %d", version)
	}
}

// AppendOffsetKey appends the key of a committed offset.
func AppendOffsetKey(dst []byte, group string, tp TopicPartition) []byte {
	k := kmsg.NewOffsetCommitKey()
	k.Version, k.Group, k.Topic, k.Partition = offsetKeyVersion, group, tp.Topic, tp.Partition
	return k.AppendTo(dst)
}

// AppendOffsetValue appends the value of a committed offset.
func AppendOffsetValue(dst []byte, o Offset) []byte {
	v := kmsg.NewOffsetCommitValue()
	v.Version, v.Offset, v.LeaderEpoch = offsetValueVersion, o.Offset, o.LeaderEpoch
	v.Metadata, v.CommitTimestamp = o.Metadata, o.CommitTime
	return v.AppendTo(dst)
}

// ParseOffsetValue reads the value of a committed offset.
func ParseOffsetValue(b []byte) (Offset, error) {
	v := kmsg.NewOffsetCommitValue()
	if err := wire.Decode(&v, b); err != nil {
		return Offset{}, fmt.Errorf("group: offset value: %w", err)
	}
	o := Offset{Offset: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata, CommitTime: v.CommitTimestamp}
	if v.Version < 3 {
		o.LeaderEpoch = -1
	}
	return o, nil
}

// AppendGroupKey appends the key of a group's metadata.
func AppendGroupKey(dst []byte, group string) []byte {
	k := kmsg.NewGroupMetadataKey()
	k.Version, k.Group = groupKeyVersion, group
	return k.AppendTo(dst)
}

// AppendGroupValue appends a group's metadata.
func AppendGroupValue(dst []byte, s Snapshot) []byte {
	v := kmsg.NewGroupMetadataValue()
	v.Version, v.ProtocolType, v.Generation = groupValueVersion, s.ProtocolType, s.Generation
	v.CurrentStateTimestamp = s.StateTimestamp
	if len(s.Members) > 0 {
		v.Protocol, v.Leader = &s.Protocol, &s.Leader
	}
	for i := range s.Members {
		m := &s.Members[i]
		r := kmsg.NewGroupMetadataValueMember()
		r.MemberID, r.ClientID, r.ClientHost = m.MemberID, m.ClientID, m.ClientHost
		if m.InstanceID != "" {
			r.InstanceID = &m.InstanceID
		}
		r.RebalanceTimeoutMillis, r.SessionTimeoutMillis = int32(m.RebalanceTimeout), int32(m.SessionTimeout)
		r.Subscription, r.Assignment = m.Metadata, m.Assignment
		v.Members = append(v.Members, r)
	}
	return v.AppendTo(dst)
}

// ParseGroupValue reads a group's metadata.
func ParseGroupValue(group string, b []byte) (Snapshot, error) {
	v := kmsg.NewGroupMetadataValue()
	if err := wire.Decode(&v, b); err != nil {
		return Snapshot{}, fmt.Errorf("group: metadata of group %q: %w", group, err)
	}
	s := Snapshot{Group: group, ProtocolType: v.ProtocolType, Generation: v.Generation, StateTimestamp: v.CurrentStateTimestamp}
	if v.Protocol != nil {
		s.Protocol = *v.Protocol
	}
	if v.Leader != nil {
		s.Leader = *v.Leader
	}
	for i := range v.Members {
		m := &v.Members[i]
		r := MemberSnapshot{
			MemberID: m.MemberID, ClientID: m.ClientID, ClientHost: m.ClientHost,
			SessionTimeout: int64(m.SessionTimeoutMillis), RebalanceTimeout: int64(m.RebalanceTimeoutMillis),
			Metadata: m.Subscription, Assignment: m.Assignment,
		}
		if m.InstanceID != nil {
			r.InstanceID = *m.InstanceID
		}
		s.Members = append(s.Members, r)
	}
	return s, nil
}

// PartitionFor is the partition of __consumer_offsets that holds a group: the absolute value of Java's String.hashCode modulo
// the number of partitions, as every Kafka client and tool expects.
func PartitionFor(group string, partitions int32) int32 {
	if partitions <= 0 {
		return 0
	}
	var h int32
	for _, r := range group {
		if r >= 0x10000 {
			r -= 0x10000
			h = h*31 + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = h*31 + r
	}
	switch {
	case h == math.MinInt32: // has no absolute value; Kafka takes 0
		h = 0
	case h < 0:
		h = -h
	}
	return h % partitions
}
