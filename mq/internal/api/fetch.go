package api

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// Waiter is woken when a partition it watches may have more to read.
type Waiter struct{ c chan struct{} }

// NewWaiter returns a waiter that nobody has woken.
func NewWaiter() *Waiter { return &Waiter{c: make(chan struct{}, 1)} }

// Wake wakes the waiter. It never blocks.
func (w *Waiter) Wake() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// Woken is received from when the waiter was woken.
func (w *Waiter) Woken() <-chan struct{} { return w.c }

// fetchOp is a Fetch request.
type fetchOp struct {
	cl       *call
	req      *kmsg.FetchRequest
	follower int32
	incarn   int64
	bytesMax int
	parts    []fetchPart // in the request's order
	results  []ReadResult
	// cutShort has been set and waiter woken when another request arrived behind this one.
	cutShort atomic.Bool
	waiter   *Waiter
}

// fetchPart is one partition of the request.
type fetchPart struct {
	topic     int // index in the request
	partition int // likewise
	p         Partition
	code      Code // why p is nil
	read      Read
}

// fetchWaitMax bounds how long a client may ask to wait for data.
const fetchWaitMax = 5 * time.Minute

// fetch answers Fetch: with what there is, if that is enough or wrong or nothing is to be waited for; else when a partition has
// more, when the wait is over, or when the next request arrives.
func (s *Server) fetch(cl *call) {
	req := cl.req.(*kmsg.FetchRequest)
	if req.SessionID != 0 && req.SessionEpoch > 0 {
		s.refuseSession(cl)
		return
	}
	op := &fetchOp{cl: cl, req: req, follower: req.ReplicaID, incarn: -1, bytesMax: s.cfg.FetchBytesMax}
	if cl.version >= 15 {
		op.follower, op.incarn = req.ReplicaState.ID, req.ReplicaState.Epoch
	}
	if req.MaxBytes > 0 {
		op.bytesMax = min(op.bytesMax, int(req.MaxBytes))
	}
	op.find(s)
	body, total, settled := op.build(cl.begin())
	if settled || total >= int(req.MinBytes) || req.MaxWaitMillis <= 0 {
		cl.end(body)
		return
	}
	*cl.buf = body
	putBuffer(cl.buf)
	cl.buf = nil
	for i := range op.parts {
		op.parts[i].read.Again = true
	}
	// The request aliases the frame, which the next request overwrites.
	op.req = cloneFetch(req)
	op.waiter = NewWaiter()
	cl.c.waiting = op
	cl.background(func() { op.wait(s.ctx) })
}

// refuseSession answers a request of an incremental session: this broker starts none, it always says session 0.
func (s *Server) refuseSession(cl *call) {
	resp := response[*kmsg.FetchResponse](cl)
	resp.ErrorCode = int16(FetchSessionIDNotFound)
	cl.reply(resp)
}

// cloneFetch copies what the answer needs of a request.
func cloneFetch(r *kmsg.FetchRequest) *kmsg.FetchRequest {
	c := *r
	c.Topics = make([]kmsg.FetchRequestTopic, len(r.Topics))
	for i := range r.Topics {
		c.Topics[i] = r.Topics[i]
		c.Topics[i].Topic = string([]byte(r.Topics[i].Topic))
	}
	c.Rack, c.ForgottenTopics = "", nil
	return &c
}

// find looks the partitions up.
func (op *fetchOp) find(s *Server) {
	n := 0
	for i := range op.req.Topics {
		n += len(op.req.Topics[i].Partitions)
	}
	op.parts, op.results = make([]fetchPart, 0, n), make([]ReadResult, n)
	for i := range op.req.Topics {
		t := &op.req.Topics[i]
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			part := fetchPart{topic: i, partition: j, read: Read{
				Follower: op.follower, Incarnation: op.incarn, Offset: rp.FetchOffset, MaxBytes: int(max(rp.PartitionMaxBytes, 0)),
				CurrentEpoch: rp.CurrentLeaderEpoch, LastEpoch: rp.LastFetchedEpoch, LogStart: rp.LogStartOffset,
				Committed: op.req.IsolationLevel == 1,
			}}
			if op.cl.version < 9 {
				part.read.CurrentEpoch = -1
			}
			if op.cl.version < 12 {
				part.read.LastEpoch = -1
			}
			if op.cl.version >= 13 {
				part.p, part.code = s.backend.Logs.FindByID(layout.ID(t.TopicID), rp.Partition)
			} else {
				part.p, part.code = s.backend.Logs.Find(t.Topic, rp.Partition)
			}
			op.parts = append(op.parts, part)
		}
	}
}

// build appends the response. total is the bytes of records in it; settled says that it must not wait: something is wrong.
func (op *fetchOp) build(dst []byte) (body []byte, total int, settled bool) {
	w := fetchWriter{b: dst, version: op.cl.version}
	w.header(len(op.req.Topics))
	next := 0
	for i := range op.req.Topics {
		t := &op.req.Topics[i]
		w.topic(t.Topic, t.TopicID, len(t.Partitions))
		for range t.Partitions {
			part := &op.parts[next]
			n, bad := w.partition(part, t.Partitions[part.partition].Partition, op.bytesMax-total, total == 0)
			total += n
			settled = settled || bad
			next++
		}
		w.tags()
	}
	w.tags()
	return w.b, total, settled
}

// cut has a waiting fetch answer now.
func (op *fetchOp) cut() {
	op.cutShort.Store(true)
	op.waiter.Wake()
}

// rereadPause is the least time between two looks of a fetch that wants more than one byte, so that small appends do not have
// it read everything again and again.
const rereadPause = 2 * time.Millisecond

// wait answers when there is enough to read, or no more time.
func (op *fetchOp) wait(ctx context.Context) {
	for _, p := range op.parts {
		if p.p != nil {
			p.p.Watch(op.waiter, op.follower >= 0)
		}
	}
	defer func() {
		for _, p := range op.parts {
			if p.p != nil {
				p.p.Unwatch(op.waiter)
			}
		}
	}()
	timer := time.NewTimer(min(time.Duration(op.req.MaxWaitMillis)*time.Millisecond, fetchWaitMax))
	defer timer.Stop()
	over := false
	for {
		// Once before the first wait: something may have come since the first look.
		body, total, settled := op.build(op.cl.begin())
		if over || settled || total >= int(op.req.MinBytes) || op.cutShort.Load() || ctx.Err() != nil {
			op.cl.end(body)
			return
		}
		*op.cl.buf = body
		putBuffer(op.cl.buf)
		if op.req.MinBytes > 1 && total > 0 {
			select {
			case <-time.After(rereadPause):
			case <-ctx.Done():
			}
		}
		select {
		case <-op.waiter.Woken():
		case <-timer.C:
			over = true
		case <-ctx.Done():
		}
	}
}
