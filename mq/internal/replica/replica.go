package replica

import "github.com/vivarium-go/vivarium/mq/internal/layout"

// Replica is one partition's replica on one broker. Create it with New.
type Replica struct {
	cfg Config
}

// New returns a waiting replica with this log. Feed it SetState.
func New(cfg Config, log Log, epochs Epochs) *Replica { return &Replica{cfg: cfg} }

// Configure changes the assignment and the topic's configuration; Broker and Incarnation stay.
func (r *Replica) Configure(cfg Config) {}

// SetState hands over the partition's state znode as it has been seen; older versions are ignored.
func (r *Replica) SetState(s layout.PartitionState, version int32) {}

// StateGone says that the state znode is missing: the topic is being deleted.
func (r *Replica) StateGone() {}

// Tick says that one tick has passed.
func (r *Replica) Tick() {}

// Ready returns what the shell has to carry out; false: nothing.
func (r *Replica) Ready() (Ready, bool) { return Ready{}, false }

// WriteDone reports the outcome of Ready.Write; version is the state's new data version if it committed.
func (r *Replica) WriteDone(id uint64, outcome layout.Outcome, version int32) {}

// ReadDone reports that a Ready.Read was answered (SetState or StateGone came before) or, if not ok, that it failed and is to be tried again.
func (r *Replica) ReadDone(ok bool) {}

// BeginAppend asks to append on behalf of a producer; expected is the leader epoch that the caller's state belongs to, -1 for any.
// acksAll refuses too small an ISR. On OK the batches are stamped with the epoch returned, and EndAppend or Fail follows.
func (r *Replica) BeginAppend(expected int32, acksAll bool) (epoch int32, code Code) {
	return 0, NotLeader
}

// EndAppend says that the log now ends at end.
func (r *Replica) EndAppend(end int64) {}

// EndTruncate says that the log durably ends at end.
func (r *Replica) EndTruncate(end int64) {}

// EndReset says that the log is empty, and starts and ends at start.
func (r *Replica) EndReset(start int64) {}

// Synced says that the log is on disk below end.
func (r *Replica) Synced(end int64) {}

// SetLogStart says that the log's start moved up: retention, or DeleteRecords.
func (r *Replica) SetLogStart(start int64) {}

// Fail says that the log has failed and will not take another append.
func (r *Replica) Fail() {}

// WaitAll queues a producer with acks=all until the high watermark reaches end, the offset behind its last record.
func (r *Replica) WaitAll(end int64, token uint64) {}

// WaitSynced queues a producer with acks=1 until the leader's own log is synced to end. On a topic that relaxes flush it is released at once.
func (r *Replica) WaitSynced(end int64, token uint64) {}

// Fetch handles a follower's fetch on the leader.
func (r *Replica) Fetch(req FetchRequest) FetchAnswer { return FetchAnswer{} }

// CheckReader checks a consumer's (or a debugging) fetch: its current leader epoch, -1 for none. The records below the
// high watermark may be served.
func (r *Replica) CheckReader(currentEpoch int32) Code { return NotLeader }

// OffsetForEpoch answers OffsetForLeaderEpoch: the largest epoch <= asked and its end.
func (r *Replica) OffsetForEpoch(currentEpoch, asked int32) (code Code, epoch int32, end int64) {
	return NotLeader, -1, -1
}

// NextFetch returns the follower's next fetch, false if it is not to fetch now: no leader, a change of the log under way, or records not yet synced.
func (r *Replica) NextFetch() (FetchRequest, bool) { return FetchRequest{}, false }

// HandleFetch takes the answer to a fetch; records says whether any came with it.
func (r *Replica) HandleFetch(a FetchAnswer, records bool) Action { return Action{} }

// Role returns what the replica is at present.
func (r *Replica) Role() Role { return Role{} }

// State returns the newest state seen and its version, -1 if none. The slices are the replica's.
func (r *Replica) State() (layout.PartitionState, int32) { return layout.PartitionState{}, -1 }

// HighWatermark returns the high watermark, and whether a leader may tell it to clients as the latest offset: a new
// leader's may be behind what the last one told, until it has reached the end of the log as it was at the election (K5, P13).
func (r *Replica) HighWatermark() (hw int64, known bool) { return 0, false }

// LogEnd returns the log end offset; Synced end likewise.
func (r *Replica) LogEnd() (end, synced int64) { return 0, 0 }
