package mq

import (
	"errors"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/partition"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
	"github.com/vivarium-go/vivarium/wal"
)

// Read implements api.Partition.
func (p *hostedPartition) Read(dst []byte, r *api.Read) ([]byte, api.ReadResult) {
	if r.Follower >= 0 {
		return p.readFollower(dst, r)
	}
	res := api.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1, DivergingEpoch: -1}
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		res.Code = api.NotLeaderOrFollower
		return dst, res
	}
	code := p.mu.core.CheckReader(r.CurrentEpoch)
	hw, _ := p.mu.core.HighWatermark()
	end, _ := p.mu.core.LogEnd()
	p.mu.Unlock()
	if code != replica.OK {
		res.Code = api.Code(code)
		p.host.staleEpoch(p, code)
		return dst, res
	}
	res.HighWatermark, res.LastStable, res.LogStart = hw, hw, p.log.LogStart()
	if r.Offset < res.LogStart || r.Offset > end {
		res.Code = api.OffsetOutOfRange
		return dst, res
	}
	return p.readLog(dst, r, hw, res)
}

// readLog appends batches below upTo.
func (p *hostedPartition) readLog(dst []byte, r *api.Read, upTo int64, res api.ReadResult) ([]byte, api.ReadResult) {
	if r.Offset >= upTo || (r.MaxBytes <= 0 && !r.Whole) {
		return dst, res
	}
	at := len(dst)
	out, err := p.log.Read(dst, r.Offset, max(r.MaxBytes, 1), upTo)
	switch {
	case err == nil:
	case errors.Is(err, partition.ErrOffsetOutOfRange):
		res.Code = api.OffsetOutOfRange
		return dst, res
	case errors.Is(err, partition.ErrClosed):
		res.Code = api.NotLeaderOrFollower
		return dst, res
	case errors.Is(err, wal.ErrCorrupt), errors.Is(err, partition.ErrCorrupt):
		p.failed(err) // another replica is to lead, and this one to be repaired
		res.Code = api.KafkaStorageError
		return dst, res
	default:
		p.host.log.Error("reading a partition failed", "topic", p.topic, "partition", p.key.index, "offset", r.Offset, "err", err)
		res.Code = api.KafkaStorageError
		return dst, res
	}
	if !r.Whole && len(out)-at > r.MaxBytes {
		return out[:at], res // the first batch alone is longer than what is left of the answer
	}
	return out, res
}

// readFollower answers another broker's fetch: its progress counts for the high watermark, and it reads to the log's end.
func (p *hostedPartition) readFollower(dst []byte, r *api.Read) ([]byte, api.ReadResult) {
	res := api.ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1, DivergingEpoch: -1}
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		res.Code = api.NotLeaderOrFollower
		return dst, res
	}
	var ans replica.FetchAnswer
	if r.Again {
		hw, _ := p.mu.core.HighWatermark()
		end, _ := p.mu.core.LogEnd()
		ans = replica.FetchAnswer{Code: p.mu.core.CheckReader(r.CurrentEpoch), DivergingEpoch: -1, HighWatermark: hw, LogStart: p.log.LogStart(), LogEnd: end}
	} else {
		ans = p.mu.core.Fetch(replica.FetchRequest{
			Replica: r.Follower, Incarnation: r.Incarnation, Leader: p.host.self, LeaderEpoch: r.CurrentEpoch, Offset: r.Offset,
			LastEpoch: r.LastEpoch, LogStart: r.LogStart,
		})
	}
	fx := p.drainLocked()
	p.mu.Unlock()
	p.carryOut(&fx)
	// Followers learn the log's end in the field of the last stable offset, of which they make no use.
	res.Code, res.HighWatermark, res.LogStart, res.LastStable = api.Code(ans.Code), ans.HighWatermark, ans.LogStart, ans.LogEnd
	res.DivergingEpoch, res.DivergingEnd = ans.DivergingEpoch, ans.DivergingEnd
	if ans.Code != replica.OK {
		p.host.staleEpoch(p, ans.Code)
		return dst, res
	}
	if ans.DivergingEpoch >= 0 {
		return dst, res
	}
	// Not to the log's own end: what is being appended at this moment is not the core's yet, and a follower that had it would seem
	// to be ahead of its leader.
	return p.readLog(dst, r, ans.LogEnd, res)
}

// Watch implements api.Partition.
func (p *hostedPartition) Watch(w *api.Waiter, follower bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.watchers = append(p.mu.watchers, watcher{w, follower})
}

// Unwatch implements api.Partition.
func (p *hostedPartition) Unwatch(w *api.Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.watchers = slices.DeleteFunc(p.mu.watchers, func(x watcher) bool { return x.w == w })
}

// Times that ListOffsets asks for by name.
const (
	offsetLatest       = -1
	offsetEarliest     = -2
	offsetMaxTimestamp = -3
)

// ListOffset implements api.Leader.
func (p *hostedPartition) ListOffset(currentEpoch int32, at int64, follower bool) api.ListedOffset {
	out := api.ListedOffset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		out.Code = api.NotLeaderOrFollower
		return out
	}
	code := p.mu.core.CheckReader(currentEpoch)
	hw, known := p.mu.core.HighWatermark()
	end, _ := p.mu.core.LogEnd()
	epoch := p.mu.core.Role().Epoch
	p.mu.Unlock()
	switch {
	case code != replica.OK:
		out.Code = api.Code(code)
		p.host.staleEpoch(p, code)
		return out
	case at == offsetEarliest:
		out.Offset = p.log.LogStart()
		return out
	case at == offsetLatest && follower:
		out.Offset, out.LeaderEpoch = end, epoch
		return out
	case !known:
		out.Code = api.Code(replica.OffsetNotAvailable)
		return out
	case at == offsetLatest:
		out.Offset, out.LeaderEpoch = hw, epoch
		return out
	case at < offsetMaxTimestamp || at == offsetMaxTimestamp:
		out.Code = api.UnsupportedForMessageFormat
		return out
	}
	f, ok, err := p.log.OffsetForTimestamp(at, hw)
	switch {
	case err != nil:
		out.Code = api.KafkaStorageError
	case ok:
		out.Offset, out.Timestamp, out.LeaderEpoch = f.Offset, f.Timestamp, f.LeaderEpoch
	}
	return out
}

// EpochEnd implements api.Leader.
func (p *hostedPartition) EpochEnd(currentEpoch, asked int32) (api.Code, int32, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return api.NotLeaderOrFollower, -1, -1
	}
	code, epoch, end := p.mu.core.OffsetForEpoch(currentEpoch, asked)
	return api.Code(code), epoch, end
}

// DeleteRecords implements api.Leader.
func (p *hostedPartition) DeleteRecords(offset int64) (int64, api.Code) {
	p.mu.Lock()
	closed, leads := p.mu.closed, p.mu.core.Role().Kind == replica.Leader
	hw, _ := p.mu.core.HighWatermark()
	p.mu.Unlock()
	switch {
	case closed || !leads:
		return -1, api.NotLeaderOrFollower
	case offset == -1:
		offset = hw
	case offset < p.log.LogStart():
		return p.log.LogStart(), api.None
	case offset > hw:
		return -1, api.OffsetOutOfRange
	}
	if err := p.log.DeleteRecordsBefore(offset); err != nil {
		return -1, api.KafkaStorageError
	}
	start := p.log.LogStart()
	p.with(func(c *replica.Replica) { c.SetLogStart(start) })
	return start, api.None
}
