package mq

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
)

// recordSlab is how many records are allocated at a time.
const recordSlab = 64

// consumerPartition is a partition that the consumer has. The atomics are written by the goroutine that iterates, or while it does not
// iterate over this partition; the rest is guarded by Consumer.mu.
type consumerPartition struct {
	tp       TopicPartition
	revoked  atomic.Bool  // given away: nothing more of it is yielded
	moved    atomic.Bool  // a seek or truncation happened: what is being yielded is out of date
	position atomic.Int64 // of the next record to yield
	covered  atomic.Int64 // what Commit commits: the offset after the last record whose body ended; negative: nothing
	epoch    atomic.Int32 // leader epoch of the last record that was yielded

	committed   int64 // by this consumer, or found; -1: nothing
	version     int   // counts seeks: answers to fetches from before are dropped
	next        int64 // offset to fetch; OffsetEarliest, OffsetLatest: to be asked
	nextEpoch   int32 // leader epoch of the record before next; -1: unknown
	leader      int32 // -1: none known
	leaderEpoch int32
	validate    bool // the leader changed: see whether it has what was consumed (KIP-320)
	held        bool // OnAssigned runs: not to be fetched yet
	stuck       bool // it has no offset to go on from: not to be fetched before a Seek
	chunks      int  // fetched and not yet yielded
	failures    int
	notBefore   time.Time // a backoff
}

// consumerChunk is what one fetch brought of a partition.
type consumerChunk struct {
	pp      *consumerPartition
	version int
	bytes   []byte // whole batches
	size    int    // as accounted
	aborted []abortedTxn
}

// abortedTxn is a transaction whose records are skipped under ReadCommitted.
type abortedTxn struct{ producer, first int64 }

// Records yields records as they come, those of a partition in the order of their offsets, until the loop is left, ctx ends or the consumer is
// closed. When ctx ends the loop just ends. When the consumer is closed ErrClosed is yielded, and the loop ends. Other
// errors, yielded with a nil record, are about one partition or about the group; the loop goes on if it is not left: the consumer keeps trying.
//
// A record counts as consumed, for Commit, once its loop body has ended. If it was left by break or return, the record is covered by an
// explicit Commit, or when Records is called again, but not by auto commit or Close, since the body may have failed.
//
// A Consumer has one loop at a time; a second one gets an error.
func (c *Consumer) Records(ctx context.Context) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if !c.iterating.CompareAndSwap(false, true) {
			yield(nil, errors.New("mq: Records is in use by another loop"))
			return
		}
		defer c.iterating.Store(false)
		c.mu.Lock()
		c.coverLeftLocked()
		c.mu.Unlock()
		for {
			chunk, err := c.nextChunk(ctx)
			switch {
			case err != nil && errors.Is(err, ctx.Err()):
				return
			case err != nil:
				if !yield(nil, err) || errors.Is(err, ErrClosed) {
					return
				}
				continue
			}
			if !c.yieldChunk(ctx, chunk, yield) {
				return
			}
		}
	}
}

// coverLeftLocked counts the record whose body was left as consumed.
func (c *Consumer) coverLeftLocked() {
	if pp := c.mu.left; pp != nil {
		pp.covered.Store(c.mu.leftNext)
		c.mu.left = nil
	}
}

// nextChunk returns what is to be yielded next, waiting for it.
func (c *Consumer) nextChunk(ctx context.Context) (*consumerChunk, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		if c.mu.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		if len(c.mu.errs) > 0 {
			err := c.mu.errs[0]
			c.mu.errs = c.mu.errs[1:]
			c.mu.Unlock()
			return nil, err
		}
		for len(c.mu.chunks) > 0 {
			chunk := c.mu.chunks[0]
			c.mu.chunks[0] = nil
			c.mu.chunks = c.mu.chunks[1:]
			if chunk.version != chunk.pp.version || chunk.pp.revoked.Load() {
				c.releaseLocked(chunk)
				continue
			}
			chunk.pp.moved.Store(false)
			c.active.Store(chunk.pp)
			c.mu.Unlock()
			return chunk, nil
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-ctx.Done():
		}
	}
}

// releaseLocked accounts for a chunk that is done with, and lets its partition be fetched again.
func (c *Consumer) releaseLocked(chunk *consumerChunk) {
	c.mu.buffered -= chunk.size
	chunk.pp.chunks--
	if !chunk.pp.revoked.Load() {
		c.wakeLocked(chunk.pp)
	}
}

// yieldChunk yields the chunk's records. It returns false if the loop was left or ctx has ended.
func (c *Consumer) yieldChunk(ctx context.Context, chunk *consumerChunk, yield func(*Record, error) bool) (more bool) {
	y := chunkYielder{c: c, pp: chunk.pp, ctx: ctx, yield: yield}
	finished := false
	defer func() { // also when the body panics
		c.mu.Lock()
		c.active.Store(nil)
		if finished || chunk.version != chunk.pp.version || chunk.pp.revoked.Load() {
			c.releaseLocked(chunk)
		} else {
			c.mu.chunks = slices.Insert(c.mu.chunks, 0, chunk) // the rest of it is for the next loop
		}
		c.mu.Unlock()
		signal(c.idle)
	}()
	rest := chunk.bytes
	filter := abortFilter{aborted: chunk.aborted}
	for len(rest) > 0 {
		h, b, after, err := batch.Cut(rest)
		rest = after
		if err == nil {
			err = y.batch(h, b, &filter)
		}
		switch {
		case err == errLoopLeft: //nolint:errorlint // y's own
			return false
		case err == errOutOfDate: //nolint:errorlint // y's own
			return ctx.Err() == nil
		case err != nil:
			return c.yieldCorrupt(chunk.pp, err, yield)
		}
	}
	finished = true
	return true
}

// Internal to yieldChunk.
var (
	errLoopLeft  = errors.New("loop left")
	errOutOfDate = errors.New("chunk out of date")
)

// yieldCorrupt reports bytes that cannot be read, and fetches them again after a while.
func (c *Consumer) yieldCorrupt(pp *consumerPartition, cause error, yield func(*Record, error) bool) bool {
	c.mu.Lock()
	position := pp.position.Load()
	c.seekLocked(pp, position, pp.nextEpoch)
	c.backOffLocked(pp)
	c.mu.Unlock()
	return yield(nil, &OpError{Op: "read", Subject: fmt.Sprintf("%s at offset %d", pp.tp, position), Err: cause})
}

// chunkYielder yields the records of a chunk, a batch at a time.
type chunkYielder struct {
	c     *Consumer
	pp    *consumerPartition
	ctx   context.Context
	yield func(*Record, error) bool
}

// batch yields the records of one batch from the position on.
func (y *chunkYielder) batch(h batch.Header, b []byte, filter *abortFilter) error {
	if h.LastOffset() < y.pp.position.Load() {
		return nil
	}
	if err := h.VerifyCRC(b); err != nil {
		return err
	}
	skip, err := filter.skips(&h, b)
	if err != nil {
		return err
	}
	if !skip {
		section := batch.Section(b)
		if h.Codec() != batch.None {
			if section, err = codec.Decompress(nil, section, h.Codec(), y.c.cfg.BatchBytesMax); err != nil {
				return err
			}
		}
		y.pp.epoch.Store(h.LeaderEpoch)
		if err := y.records(h, section); err != nil {
			return err
		}
	}
	// What the batch holds beyond its last visible record, markers and what compaction removed, is consumed with it.
	if y.pp.revoked.Load() || y.pp.moved.Load() {
		return errOutOfDate
	}
	if y.pp.covered.Load() == y.pp.position.Load() || y.pp.covered.Load() < 0 {
		y.pp.covered.Store(h.NextOffset())
	}
	y.pp.position.Store(h.NextOffset())
	return nil
}

// records yields the records of a batch's decompressed section.
func (y *chunkYielder) records(h batch.Header, section []byte) error {
	r := batch.NewReader(h, section)
	from := y.pp.position.Load()
	left := int(h.Count)
	var slab []Record
	var stamp time.Time
	last := int64(batch.NoTimestamp)
	for r.Next() {
		in := r.Record()
		left--
		if in.Offset < from {
			continue
		}
		if len(slab) == 0 {
			slab = make([]Record, min(recordSlab, max(left+1, 1)))
		}
		rec := &slab[0]
		slab = slab[1:]
		rec.Topic, rec.Partition, rec.Offset, rec.LeaderEpoch = y.pp.tp.Topic, y.pp.tp.Partition, in.Offset, h.LeaderEpoch
		rec.Key, rec.Value = in.Key, in.Value
		ts := in.Timestamp
		if h.IsLogAppendTime() {
			ts = h.MaxTimestamp
		}
		if ts != last {
			stamp, last = time.UnixMilli(ts), ts
		}
		rec.Timestamp = stamp
		if n := in.Headers.Len(); n > 0 {
			rec.Headers = make([]Header, 0, n)
			for k, v, rest, ok := in.Headers.Next(); ok; k, v, rest, ok = rest.Next() {
				rec.Headers = append(rec.Headers, Header{string(k), v})
			}
		}
		if err := y.one(rec); err != nil {
			return err
		}
	}
	return r.Err()
}

// one yields a record.
func (y *chunkYielder) one(rec *Record) error {
	pp := y.pp
	if pp.revoked.Load() || pp.moved.Load() || y.ctx.Err() != nil {
		return errOutOfDate
	}
	covered := pp.covered.Load()
	pp.position.Store(rec.Offset + 1)
	if !y.yield(rec, nil) {
		y.c.mu.Lock()
		if !pp.moved.Load() {
			y.c.mu.left, y.c.mu.leftNext = pp, rec.Offset+1
		}
		y.c.mu.Unlock()
		return errLoopLeft
	}
	if !pp.moved.Load() {
		pp.covered.CompareAndSwap(covered, rec.Offset+1) // unless a Seek came between
	}
	return nil
}

// abortFilter knows which transactions of a chunk were aborted (KIP-98: the broker lists them with the fetch).
type abortFilter struct {
	aborted []abortedTxn
	open    map[int64]bool // producers in an aborted transaction at this point
}

// skips reports whether the batch holds no records for the consumer.
func (f *abortFilter) skips(h *batch.Header, b []byte) (bool, error) {
	for len(f.aborted) > 0 && f.aborted[0].first <= h.LastOffset() {
		if f.open == nil {
			f.open = make(map[int64]bool)
		}
		f.open[f.aborted[0].producer] = true
		f.aborted = f.aborted[1:]
	}
	if h.IsControl() {
		if m, err := batch.ParseMarker(*h, b); err == nil && m.Type == batch.Abort {
			delete(f.open, h.ProducerID)
		}
		return true, nil
	}
	return h.IsTransactional() && f.open[h.ProducerID], nil
}
