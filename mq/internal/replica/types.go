package replica

import "github.com/vivarium-go/vivarium/mq/internal/layout"

// Code is a Kafka error code.
type Code int16

// The codes that a replica answers with. Busy is not Kafka's: an append is under way, and the caller tries again after it.
const (
	OK                     Code = 0
	OffsetOutOfRange       Code = 1
	NotLeader              Code = 6 // NOT_LEADER_OR_FOLLOWER
	NotEnoughReplicas      Code = 19
	NotEnoughAfterAppend   Code = 20 // NOT_ENOUGH_REPLICAS_AFTER_APPEND
	StorageError           Code = 56 // KAFKA_STORAGE_ERROR
	FencedLeaderEpoch      Code = 74
	UnknownLeaderEpoch     Code = 75
	StaleBrokerEpoch       Code = 77 // a fetch of an earlier incarnation
	OffsetNotAvailable     Code = 78 // the high watermark of a new leader is not known yet
	InconsistentReplicaSet Code = -1 // UNKNOWN_SERVER_ERROR: a fetch of a broker that is no replica
	Busy                   Code = -2
)

// Epochs is what a replica asks of its log's leader epochs. The shell's log implements it; EpochList does, in memory.
type Epochs interface {
	// LatestEpoch returns the epoch of the newest entry of the cache, -1 if there is none.
	LatestEpoch() int32
	// EndOffsetFor returns the largest epoch <= asked, and where it ends: the start of the next epoch, or the log's end
	// for the newest one; -1 and -1 if there is no such epoch.
	EndOffsetFor(asked int32) (epoch int32, end int64)
}

// Config of a replica. Replicas, MinInsync, Durable and LagTicks can change: Replica.Configure.
type Config struct {
	Broker      int32   // this broker
	Incarnation int64   // its incarnation; a state elects this life of it or another
	Replicas    []int32 // the assignment
	MinInsync   int     // min.insync.replicas; 0: 1. The high watermark needs at most as many as there are replicas
	Durable     bool    // fsync before acknowledging; false on a topic that relaxes flush
	LagTicks    int     // replica.lag.time.max in ticks; 0: 30
}

// Log is the state of the local log when the replica starts.
type Log struct {
	Start         int64 // log start offset
	End           int64 // log end offset
	Synced        int64 // everything below is on disk; at start usually End
	HighWatermark int64 // as last checkpointed; bounded by Start and End
}

// Kind is a replica's role.
type Kind uint8

// The roles. A Waiting replica has no leader it could fetch from; a Failed one has lost its log.
const (
	Waiting Kind = iota
	Follower
	Leader
	Failed
)

// String returns the role's name.
func (k Kind) String() string {
	return [...]string{"waiting", "follower", "leader", "failed"}[k&3]
}

// Role says what a replica is at present.
type Role struct {
	Kind       Kind
	Leader     int32 // layout.NoLeader if there is none
	Epoch      int32 // leader epoch; -1 before the first state
	EpochStart int64 // a Leader's log end when it took over: its log assigns Epoch to it before anything else is done (K7)
}

// FetchRequest is what a follower asks its leader for.
type FetchRequest struct {
	Replica     int32
	Incarnation int64
	Leader      int32 // to whom
	LeaderEpoch int32 // current leader epoch
	Offset      int64 // from where; on durable topics also the follower's synced end
	LastEpoch   int32 // leader epoch of the record before Offset; -1 if there is none
	LogStart    int64
}

// FetchAnswer is what the leader's core has to say of a fetch; the shell adds the records from the offset asked for, if
// Code is OK and DivergingEpoch is -1. On the wire LeaderEpoch, Offset and LastEpoch do not travel: the follower's shell
// fills them in from the request that was answered.
type FetchAnswer struct {
	Code           Code
	LeaderEpoch    int32 // the epoch that the fetch was made in: the follower drops an answer to an earlier one
	Offset         int64 // the offset asked for, likewise
	LastEpoch      int32 // the request's, likewise
	DivergingEpoch int32 // >= 0: the logs differ; the leader's largest epoch <= the one asked, and its end
	DivergingEnd   int64
	HighWatermark  int64
	LogStart       int64
	LogEnd         int64
}

// ActionKind is what a follower does with an answer.
type ActionKind uint8

// The actions. Ignore ends at once; every other is followed by the call named.
const (
	Ignore   ActionKind = iota // nothing; the next fetch may follow
	Append                     // append the records, which begin at Action.Offset; then EndAppend
	Truncate                   // remove everything from Action.Offset on, durably; then EndTruncate
	Reset                      // empty the log, durably; it starts at Action.Offset; then EndReset
	Stale                      // fetch again after a pause; if the leader knows another epoch, Ready.Read comes first
)

// Action is what a follower does with an answer.
type Action struct {
	Kind   ActionKind
	Offset int64
}

// StateWrite is a conditional write of the partition's state.
type StateWrite struct {
	ID      uint64
	State   layout.PartitionState
	Version int32  // the data version that the state must have
	Joins   []Join // members let in: the multi checks that they still live the same life
	Reason  string // for the log: "shrink", "expand", "settle", "resign"
}

// Join is a broker that a write lets into the ISR.
type Join struct {
	Broker      int32
	Incarnation int64
}

// Ack releases a producer's answer.
type Ack struct {
	Token uint64
	Code  Code
}

// Ready is what the shell carries out. Slices are valid until the next call of Ready.
type Ready struct {
	Role               *Role       // the role changed; comes before anything else is done
	Write              *StateWrite // carry out as one multi, then WriteDone
	Read               bool        // sync with ZooKeeper, read the state znode, SetState, then ReadDone
	Acks               []Ack       // answer these producers
	HighWatermarkMoved bool        // wake who waits for it
}
