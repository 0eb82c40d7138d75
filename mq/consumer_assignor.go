package mq

import (
	"cmp"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/wire"
)

// Assignor divides the partitions of a group's topics among its members (the "protocol" of a classic group). The
// member that the broker elects leader runs it. It must be deterministic.
type Assignor interface {
	// Name is what members agree on; those of this package have Kafka's names, "range" and "roundrobin".
	Name() string
	// Assign returns the partitions of each member, by member id. partitions holds the number of partitions of each topic
	// that exists; members are in order of their instance ids, or else of their ids.
	Assign(members []GroupMember, partitions map[string]int32) map[string][]TopicPartition
}

// GroupMember is a member as an Assignor sees it.
type GroupMember struct {
	ID         string
	InstanceID string // empty for a dynamic member
	Topics     []string
	Owned      []TopicPartition // what it had before, if it says so
}

// The assignors of every Kafka client. RangeAssignor gives each member a contiguous part of each topic, so that the same
// partitions of different topics meet; RoundRobinAssignor deals all partitions out one by one, which is more even.
var (
	RangeAssignor      Assignor = rangeAssignor{}
	RoundRobinAssignor Assignor = roundRobinAssignor{}
)

type rangeAssignor struct{}

func (rangeAssignor) Name() string { return "range" }

func (rangeAssignor) Assign(members []GroupMember, partitions map[string]int32) map[string][]TopicPartition {
	assigned := make(map[string][]TopicPartition, len(members))
	for _, topic := range slices.Sorted(maps.Keys(partitions)) {
		var subscribed []string
		for _, m := range members {
			if slices.Contains(m.Topics, topic) {
				subscribed = append(subscribed, m.ID)
			}
		}
		if len(subscribed) == 0 {
			continue
		}
		each, extra := int(partitions[topic])/len(subscribed), int(partitions[topic])%len(subscribed)
		next := int32(0)
		for i, id := range subscribed {
			n := each
			if i < extra {
				n++
			}
			for range n {
				assigned[id] = append(assigned[id], TopicPartition{topic, next})
				next++
			}
		}
	}
	return assigned
}

type roundRobinAssignor struct{}

func (roundRobinAssignor) Name() string { return "roundrobin" }

func (roundRobinAssignor) Assign(members []GroupMember, partitions map[string]int32) map[string][]TopicPartition {
	assigned := make(map[string][]TopicPartition, len(members))
	turn := 0
	for _, topic := range slices.Sorted(maps.Keys(partitions)) {
		if !slices.ContainsFunc(members, func(m GroupMember) bool { return slices.Contains(m.Topics, topic) }) {
			continue
		}
		for p := range partitions[topic] {
			for !slices.Contains(members[turn%len(members)].Topics, topic) {
				turn++
			}
			id := members[turn%len(members)].ID
			assigned[id] = append(assigned[id], TopicPartition{topic, p})
			turn++
		}
	}
	return assigned
}

// encodeSubscription is a member's metadata in JoinGroup (the "consumer" embedded protocol, version 1).
func encodeSubscription(topics []string, owned []TopicPartition) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version = 1
	m.Topics = slices.Sorted(slices.Values(topics))
	for topic, numbers := range byTopic(owned) {
		op := kmsg.NewConsumerMemberMetadataOwnedPartition()
		op.Topic, op.Partitions = topic, numbers
		m.OwnedPartitions = append(m.OwnedPartitions, op)
	}
	slices.SortFunc(m.OwnedPartitions, func(a, b kmsg.ConsumerMemberMetadataOwnedPartition) int { return cmp.Compare(a.Topic, b.Topic) })
	return m.AppendTo(nil)
}

// byTopic groups partitions.
func byTopic(partitions []TopicPartition) map[string][]int32 {
	m := make(map[string][]int32)
	for _, tp := range partitions {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}

// decodeMember decodes what another member said about itself.
func decodeMember(m *kmsg.JoinGroupResponseMember) (GroupMember, error) {
	meta := kmsg.NewConsumerMemberMetadata()
	if err := wire.Decode(&meta, m.ProtocolMetadata); err != nil {
		return GroupMember{}, err
	}
	gm := GroupMember{ID: m.MemberID, Topics: meta.Topics}
	if m.InstanceID != nil {
		gm.InstanceID = *m.InstanceID
	}
	for _, op := range meta.OwnedPartitions {
		for _, p := range op.Partitions {
			gm.Owned = append(gm.Owned, TopicPartition{op.Topic, p})
		}
	}
	return gm, nil
}

// compareMembers orders static members by instance id and others by member id, as Kafka does.
func compareMembers(a, b GroupMember) int {
	key := func(m GroupMember) string { return cmp.Or(m.InstanceID, m.ID) }
	return cmp.Or(cmp.Compare(key(a), key(b)), cmp.Compare(a.ID, b.ID))
}

// encodeAssignment is a member's part in SyncGroup.
func encodeAssignment(partitions []TopicPartition) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	grouped := byTopic(partitions)
	for _, topic := range slices.Sorted(maps.Keys(grouped)) {
		t := kmsg.NewConsumerMemberAssignmentTopic()
		t.Topic, t.Partitions = topic, grouped[topic]
		a.Topics = append(a.Topics, t)
	}
	return a.AppendTo(nil)
}

// decodeAssignment is its opposite. No bytes mean no partitions.
func decodeAssignment(b []byte) ([]TopicPartition, error) {
	if len(b) == 0 {
		return nil, nil
	}
	a := kmsg.NewConsumerMemberAssignment()
	if err := wire.Decode(&a, b); err != nil {
		return nil, err
	}
	var partitions []TopicPartition
	for _, t := range a.Topics {
		for _, p := range t.Partitions {
			partitions = append(partitions, TopicPartition{t.Topic, p})
		}
	}
	slices.SortFunc(partitions, compareTopicPartitions)
	return slices.Compact(partitions), nil
}
