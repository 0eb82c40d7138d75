package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
)

// Backend is the broker behind the connections.
type Backend struct {
	Metadata Metadata
	Logs     Logs
	Members  Members
	Offsets  Offsets
	Groups   Groups
	Admin    Admin
}

// Metadata is what the broker knows of its cluster.
type Metadata interface {
	// Image is the newest image; never nil.
	Image() *meta.Image
	// Self is the broker's own id.
	Self() int32
	// TopicDefaults returns every topic configuration with the value that holds where a topic does not say, sorted by name.
	TopicDefaults(replicas int) []ConfigValue
	// BrokerConfigs returns the broker's own configuration, sorted by name.
	BrokerConfigs() []ConfigValue
}

// ConfigValue is one configuration with its documentation.
type ConfigValue struct {
	Name, Value, Doc string
	Type             kmsg.ConfigType
	ReadOnly         bool
}

// Logs finds the partitions that the broker has replicas of.
type Logs interface {
	// Find returns a partition by its topic's name; nil with UnknownTopicOrPartition or NotLeaderOrFollower.
	Find(topic string, partition int32) (Partition, Code)
	// FindByID returns a partition by its topic's id; nil with UnknownTopicID or NotLeaderOrFollower.
	FindByID(topic layout.ID, partition int32) (Partition, Code)
}

// Partition is the broker's replica of one partition. Its methods may be called concurrently.
type Partition interface {
	// Append appends record batches as the leader. done is called once, inline or later on any goroutine; it must be quick.
	// records may be changed, and are not used after Append returns.
	Append(records []byte, acks int16, done func(AppendResult))
	// Read appends record batches to dst for a consumer or a follower.
	Read(dst []byte, r *Read) ([]byte, ReadResult)
	// Watch has w woken whenever there may be more to read; Unwatch ends that.
	Watch(w *Waiter, follower bool)
	Unwatch(w *Waiter)
	// Leader is the part of a partition that only leaders answer.
	Leader
}

// Leader answers questions that only a partition's leader may answer.
type Leader interface {
	// ListOffset finds an offset: at is a time in milliseconds, -1 the end, -2 the start, -3 the newest timestamp.
	ListOffset(currentEpoch int32, at int64, follower bool) ListedOffset
	// EpochEnd answers OffsetForLeaderEpoch.
	EpochEnd(currentEpoch, asked int32) (code Code, epoch int32, end int64)
	// DeleteRecords removes what is before offset, -1 for the high watermark, and returns the new log start.
	DeleteRecords(offset int64) (logStart int64, code Code)
}

// AppendResult is the outcome of an append.
type AppendResult struct {
	Code          Code
	Message       string // for people; may be empty
	BaseOffset    int64
	LogAppendTime int64 // milliseconds, -1 if the topic keeps the producer's
	LogStart      int64
}

// Read is what a fetch asks of one partition.
type Read struct {
	// Follower is the fetching broker, -1 for a consumer; Incarnation is that life of it.
	Follower    int32
	Incarnation int64
	Offset      int64
	// MaxBytes bounds what is read, except that a first batch is read whole if Whole is set.
	MaxBytes     int
	Whole        bool
	CurrentEpoch int32 // -1: not checked
	LastEpoch    int32 // leader epoch of the record before Offset, -1 unknown
	LogStart     int64 // the follower's
	Committed    bool  // read_committed
	// Again says that this is another look on behalf of a request that was looked at before: no news of the follower.
	Again bool
}

// ReadResult is what a fetch learns of one partition besides its records.
type ReadResult struct {
	Code          Code
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	// DivergingEpoch is -1, or the epoch up to which the follower's log agrees at best, ending at DivergingEnd.
	DivergingEpoch int32
	DivergingEnd   int64
}

// ListedOffset is the answer to ListOffset.
type ListedOffset struct {
	Code        Code
	Offset      int64 // -1: none
	Timestamp   int64 // -1: none
	LeaderEpoch int32
}

// Members is the group coordinator as members see it.
type Members interface {
	// NewMemberID returns a fresh id for a member of this client.
	NewMemberID(clientID string) string
	// Join and Sync call done once, on any goroutine.
	Join(group string, j group.Join, done func(group.JoinReply))
	Sync(group string, s group.Sync, done func(group.SyncReply))
	Heartbeat(group, member, instance string, generation int32) Code
	Leave(group string, leavers []group.Leaver) (Code, []group.Code)
}

// OffsetCommit is one offset to commit.
type OffsetCommit struct {
	group.TopicPartition
	group.Offset
}

// Commit is a request to commit offsets.
type Commit struct {
	Group, Member, Instance string
	Generation              int32
	Offsets                 []OffsetCommit
}

// Offsets is the group coordinator as a store of offsets.
type Offsets interface {
	// Commit calls done once, on any goroutine, when the offsets are replicated or refused: with one code for all of them.
	Commit(c Commit, done func(Code))
	// Fetch returns the committed offset of each partition, in order; nil partitions mean all the group has.
	Fetch(group string, partitions []group.TopicPartition) ([]OffsetFetched, Code)
	// Delete forgets offsets.
	Delete(ctx context.Context, group string, partitions []group.TopicPartition) ([]Code, Code)
}

// OffsetFetched is a committed offset, or that there is none (Known false).
type OffsetFetched struct {
	group.TopicPartition
	group.Offset
	Known bool
}

// Groups is the group coordinator as administrators see it.
type Groups interface {
	Describe(group string) (group.Snapshot, Code)
	// List returns the groups that this broker coordinates.
	List() ([]group.Snapshot, Code)
	DeleteGroup(ctx context.Context, group string) Code
	// OffsetsTopic makes sure that __consumer_offsets exists, and returns the partition of a group.
	Coordinator(ctx context.Context, group string) (broker int32, code Code)
}

// Outcome is what became of a change of the cluster.
type Outcome struct {
	Code Code
	Text string
	// ID and Replicas describe a topic created.
	ID       layout.ID
	Replicas [][]int32
}

// NewTopic is a topic to create.
type NewTopic struct {
	Name         string
	Partitions   int32 // -1: the broker's default
	Replicas     int16 // -1: the broker's default
	Assignment   [][]int32
	Config       map[string]string
	ValidateOnly bool
}

// Admin changes the cluster. Calls end with their context.
type Admin interface {
	// Controls says whether this broker is the controller; if not, Forward takes requests to the one that is.
	Controls() bool
	Forward(ctx context.Context, req kmsg.Request) (kmsg.Response, error)
	Topics
	// ProducerID returns an id never given out before.
	ProducerID(ctx context.Context) (int64, error)
	// ControlledShutdown moves leadership off a broker; it returns how many partitions it still leads.
	ControlledShutdown(ctx context.Context, broker int32, incarnation int64) (remaining int, code Code)
}

// Topics changes topics. All but AlterConfig are for the controller only.
type Topics interface {
	CreateTopic(ctx context.Context, t NewTopic) Outcome
	CreatePartitions(ctx context.Context, topic string, total int, assignment [][]int32, validateOnly bool) Outcome
	DeleteTopic(ctx context.Context, topic string) Outcome
	// AlterConfig replaces (replace) or changes a topic's configuration; a nil value removes one.
	AlterConfig(ctx context.Context, topic string, changes map[string]*string, replace, validateOnly bool) Outcome
	// AutoCreate creates a topic because a client asked about it, if the broker is configured to. It does not wait.
	AutoCreate(topic string) bool
}
