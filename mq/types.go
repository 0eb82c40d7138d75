package mq

import (
	"fmt"
	"time"
)

// Offsets with a meaning of their own, for ConsumerConfig.Partitions, Consumer.Seek and Client.ListOffsets.
const (
	// OffsetLatest is the offset after the last record a consumer may see.
	OffsetLatest int64 = -1
	// OffsetEarliest is the offset of the first record still there.
	OffsetEarliest int64 = -2
	// OffsetCommitted is the group's committed offset, and what AutoOffsetReset says if there is none.
	OffsetCommitted int64 = -1001
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns topic/partition.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// compareTopicPartitions orders by topic, then partition.
func compareTopicPartitions(a, b TopicPartition) int {
	switch {
	case a.Topic < b.Topic:
		return -1
	case a.Topic > b.Topic:
		return 1
	}
	return int(a.Partition) - int(b.Partition)
}

// TopicSpec describes a topic to create.
type TopicSpec struct {
	Name string
	// Partitions is how many partitions the topic has. 0: the broker's default (num.partitions).
	Partitions int
	// Replicas is how many brokers hold each partition. 0: the broker's default (default.replication.factor).
	Replicas int
	// Assignment gives the replicas of each partition, the preferred leader first, instead of Partitions and Replicas.
	Assignment [][]int32
	// Configs sets topic configurations, for example "min.insync.replicas": "2".
	Configs map[string]string
}

// TopicInfo is what the cluster says about a topic.
type TopicInfo struct {
	Name       string
	ID         [16]byte // zero if the cluster has no topic ids
	Internal   bool     // such as __consumer_offsets
	Partitions []PartitionInfo
}

// PartitionInfo is what the cluster says about a partition.
type PartitionInfo struct {
	Partition   int32
	Leader      int32 // broker id; -1: none at the moment
	LeaderEpoch int32 // -1: the broker did not say
	Replicas    []int32
	ISR         []int32
	Offline     []int32
}

// BrokerInfo is a broker as it is advertised to clients.
type BrokerInfo struct {
	ID   int32
	Host string
	Port int32
	Rack string
}

// ClusterInfo is what the cluster says about itself.
type ClusterInfo struct {
	ID         string
	Controller int32        // broker id; -1: none at the moment
	Brokers    []BrokerInfo // by id
}

// ListedOffset is an answer of Client.ListOffsets.
type ListedOffset struct {
	Offset      int64     // -1: no record has such a timestamp
	LeaderEpoch int32     // of the record at Offset; -1: unknown
	Timestamp   time.Time // of the record at Offset, for a search by time; else zero
}

// CommittedOffset is a position that a group committed.
type CommittedOffset struct {
	Offset      int64 // the next record to consume
	LeaderEpoch int32 // of the last consumed record; -1: unknown
	Metadata    string
}

// GroupListing is a group as Client.ListGroups shows it.
type GroupListing struct {
	Group        string
	ProtocolType string // "consumer" for consumers
	State        string // "Stable", "Empty", …; empty if the broker is too old to say
}

// GroupInfo describes a group.
type GroupInfo struct {
	Group        string
	State        string
	ProtocolType string
	Protocol     string // the chosen assignor
	Members      []MemberInfo
}

// MemberInfo describes a member of a group.
type MemberInfo struct {
	ID         string
	InstanceID string // of a static member, else empty
	ClientID   string
	Host       string
	Assigned   []TopicPartition // for ProtocolType "consumer"
}

// ConfigEntry is one configuration of a topic or broker.
type ConfigEntry struct {
	Name      string
	Value     string
	IsNull    bool // there is no value, or it is Sensitive and hidden
	Default   bool // nobody set it
	ReadOnly  bool
	Sensitive bool
	Source    string // "DYNAMIC_TOPIC", "STATIC_BROKER", "DEFAULT", …
}

// ConfigChange is a change of one configuration.
type ConfigChange struct {
	Name   string
	Value  string
	Delete bool // back to the default
}

// Compression is how a producer compresses batches. The numbers are those of the record batch format.
type Compression int8

// The codecs.
const (
	CompressionNone Compression = iota
	CompressionGzip
	CompressionSnappy
	CompressionLZ4
	CompressionZstd
)

// String returns Kafka's name: none, gzip, snappy, lz4, zstd.
func (c Compression) String() string {
	switch c {
	case CompressionNone:
		return "none"
	case CompressionGzip:
		return "gzip"
	case CompressionSnappy:
		return "snappy"
	case CompressionLZ4:
		return "lz4"
	case CompressionZstd:
		return "zstd"
	}
	return fmt.Sprintf("compression(%d)", int8(c))
}

// Acks says which replicas have a record before the producer is told that it is written.
type Acks int8

// What a producer may ask for.
const (
	AcksAll    Acks = iota // every in-sync replica
	AcksLeader             // the leader alone
	AcksNone               // nobody: no answer is sent, no error noticed, offsets are -1
)

// Reset says where a consumer starts where no offset is committed or the committed one is gone.
type Reset int8

// The choices of ConsumerConfig.AutoOffsetReset. Apache Kafka's default is latest; here it is earliest, which loses nothing.
const (
	ResetEarliest Reset = iota
	ResetLatest
	ResetNone // ErrNoOffset
)

// Isolation says which records of transactions a consumer sees.
type Isolation int8

// The isolation levels, with the protocol's numbers.
const (
	ReadUncommitted Isolation = 0 // all records, as they arrived
	ReadCommitted   Isolation = 1 // records of committed transactions and those of none, up to the last stable offset
)
