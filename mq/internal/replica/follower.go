package replica

import (
	"slices"

	"github.com/vivarium-go/vivarium/internal/invariant"
)

// Retire says that the broker is about to stop: once the replica is out of the ISR it fetches no more, so that the leader
// does not let it in again.
func (r *Replica) Retire() { r.retiring = true }

// NextFetch returns the follower's next fetch; false if it is not to fetch now: it has no leader, a change of the log is
// under way, or records are not synced yet (on durable topics the offset asked for is the synced end).
func (r *Replica) NextFetch() (FetchRequest, bool) {
	if r.role.Kind != Follower || r.busy != idle || r.position() < r.end {
		return FetchRequest{}, false
	}
	if r.retiring && !slices.Contains(r.state.ISR, r.cfg.Broker) {
		return FetchRequest{}, false
	}
	return FetchRequest{
		Replica: r.cfg.Broker, Incarnation: r.cfg.Incarnation, Leader: r.role.Leader, LeaderEpoch: r.role.Epoch,
		Offset: r.end, LastEpoch: r.lastEpoch(), LogStart: r.start,
	}, true
}

// lastEpoch returns the epoch of the last record, -1 if there is none. The newest entries of the cache may be of epochs
// in which this replica led without any record (K7); they are passed over.
func (r *Replica) lastEpoch() int32 {
	if r.start == r.end {
		return -1
	}
	epoch := r.epochs.LatestEpoch()
	for epoch > 0 {
		before, end := r.epochs.EndOffsetFor(epoch - 1)
		if before < 0 || end < r.end {
			break
		}
		epoch = before
	}
	return epoch
}

// HandleFetch takes the answer to a fetch; records says whether any came with it. An answer to an earlier fetch is ignored.
// After Append, Truncate or Reset the shell changes the log and calls EndAppend, EndTruncate or EndReset.
func (r *Replica) HandleFetch(a FetchAnswer, records bool) Action {
	if r.role.Kind != Follower || r.busy != idle || a.LeaderEpoch != r.role.Epoch || a.Offset != r.end || a.LastEpoch != r.lastEpoch() {
		return Action{}
	}
	switch a.Code {
	case OK:
	case NotLeader, FencedLeaderEpoch, UnknownLeaderEpoch:
		r.reread()
		return Action{Kind: Stale}
	case OffsetOutOfRange:
		return r.outOfRange(a)
	default:
		return Action{Kind: Stale}
	}
	if a.DivergingEpoch >= 0 {
		return r.truncate(a)
	}
	if records {
		r.busy, r.leaderHW = appending, a.HighWatermark
		return Action{Kind: Append, Offset: r.end}
	}
	r.raise(min(a.HighWatermark, r.end))
	return Action{}
}

// outOfRange starts the log anew where the leader's begins. A log without records that is beyond the leader's end goes
// there; one with records is compared by epoch, so it waits: the leader is behind its own log for a moment.
func (r *Replica) outOfRange(a FetchAnswer) Action {
	switch {
	case r.end < a.LogStart:
		return r.reset(a.LogStart)
	case r.end > a.LogEnd && r.start == r.end:
		return r.reset(a.LogEnd)
	}
	return Action{Kind: Stale}
}

func (r *Replica) reset(start int64) Action {
	r.busy = resetting
	return Action{Kind: Reset, Offset: start}
}

// truncate removes what differs from the leader's log (KIP-101, KIP-279): everything behind the end of the largest epoch
// that both may have; everything at all if they have none in common. The next fetch compares again.
func (r *Replica) truncate(a FetchAnswer) Action {
	if a.DivergingEnd <= a.LogStart {
		return r.reset(a.LogStart)
	}
	target := r.start
	if epoch, end := r.epochs.EndOffsetFor(a.DivergingEpoch); epoch >= 0 {
		target = min(end, a.DivergingEnd, r.end)
	}
	if target < r.start {
		return r.reset(a.LogStart)
	}
	r.busy = truncating
	return Action{Kind: Truncate, Offset: target}
}

// EndTruncate says that the log durably ends at end.
func (r *Replica) EndTruncate(end int64) {
	invariant.Check(r.busy == truncating && end <= r.end, "replica: truncated to %d, log ended at %d, change %d", end, r.end, r.busy)
	r.end, r.synced = end, min(r.synced, end)
	r.hw = min(r.hw, r.end)
	r.endChange()
}

// EndReset says that the log is empty, and starts and ends at start.
func (r *Replica) EndReset(start int64) {
	invariant.Check(r.busy == resetting, "replica: reset to %d, change %d", start, r.busy)
	r.start, r.end, r.synced, r.hw = start, start, start, start
	r.endChange()
}
