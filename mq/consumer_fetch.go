package mq

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

const (
	// partitionChunksMax is how many chunks of a partition may wait: one being yielded, one behind it.
	partitionChunksMax = 2
	// starvedWait replaces FetchWaitMax while partitions of the broker are left out of a fetch because their records wait to be yielded: they must
	// not wait for the others' silence.
	starvedWait = 20 * time.Millisecond
	// consumerErrorsMax bounds the errors that wait to be yielded; the oldest go first.
	consumerErrorsMax = 64
)

// consumerFetcher fetches from one broker: one request at a time, for all partitions it leads that have room. Its run goroutine lives until the
// consumer is closed.
type consumerFetcher struct {
	c      *Consumer
	broker int32
	wake   chan struct{}      // capacity 1: partitions may have become fetchable
	cancel context.CancelFunc // of the request in progress; guarded by Consumer.mu
	rushed bool               // a request in progress should not hold up what was just added; guarded by Consumer.mu
}

// fetchItem is a partition in a fetch.
type fetchItem struct {
	pp      *consumerPartition
	version int
	offset  int64
}

// wakeLocked lets the partition's fetcher know that there is something to do for it.
func (c *Consumer) wakeLocked(pp *consumerPartition) {
	if f := c.mu.fetchers[pp.leader]; f != nil {
		signal(f.wake)
	}
}

// hurryLocked is wakeLocked for a partition that should not wait until the fetch in progress is answered.
func (c *Consumer) hurryLocked(pp *consumerPartition) {
	if f := c.mu.fetchers[pp.leader]; f != nil {
		if f.cancel != nil {
			f.rushed = true
			f.cancel()
		}
		signal(f.wake)
	}
}

// seekLocked makes the partition go on at offset, after a record of the given leader epoch.
func (c *Consumer) seekLocked(pp *consumerPartition, offset int64, epoch int32) {
	pp.version++
	pp.moved.Store(true)
	pp.next, pp.nextEpoch, pp.validate, pp.stuck = offset, epoch, false, false
	pp.position.Store(offset)
	c.purgeLocked(pp)
	c.hurryLocked(pp)
}

// purgeLocked drops the partition's waiting chunks.
func (c *Consumer) purgeLocked(pp *consumerPartition) {
	c.mu.chunks = slices.DeleteFunc(c.mu.chunks, func(chunk *consumerChunk) bool {
		if chunk.pp != pp {
			return false
		}
		c.mu.buffered -= chunk.size
		pp.chunks--
		return true
	})
}

// backOffLocked keeps the partition from being fetched for a moment.
func (c *Consumer) backOffLocked(pp *consumerPartition) {
	pp.failures++
	d := c.c.pool.backoff(pp.failures, c.c.cfg.RetryBackoffMax)
	pp.notBefore = time.Now().Add(d)
}

// report makes an error be yielded.
func (c *Consumer) reportLocked(err error) {
	if len(c.mu.errs) >= consumerErrorsMax {
		c.mu.errs = slices.Delete(c.mu.errs, 0, 1)
	}
	c.mu.errs = append(c.mu.errs, err)
	signal(c.more)
}

// metadataChanged gives each partition its leader's fetcher.
func (c *Consumer) metadataChanged(*clusterView) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return
	}
	v := c.c.meta.current()
	leaderless := false
	for _, pp := range c.mu.partitions {
		leaderless = !c.followLocked(v, pp) || leaderless
	}
	if leaderless {
		c.c.meta.kick()
	}
	signal(c.topicsNew)
}

// followLocked points the partition to its leader. It returns false if there is none.
func (c *Consumer) followLocked(v *clusterView, pp *consumerPartition) bool {
	id, epoch, ok := v.leader(pp.tp.Topic, pp.tp.Partition)
	if !ok {
		pp.leader = -1
		return false
	}
	if epoch != pp.leaderEpoch && pp.nextEpoch >= 0 && pp.next >= 0 {
		pp.validate = true
	}
	if pp.leader != id || pp.leaderEpoch != epoch {
		pp.failures, pp.notBefore = 0, time.Time{}
	}
	moved := pp.leader != id
	pp.leader, pp.leaderEpoch = id, epoch
	if c.mu.fetchers[id] == nil {
		f := &consumerFetcher{c: c, broker: id, wake: make(chan struct{}, 1)}
		c.mu.fetchers[id] = f
		c.wg.Go(f.run)
	}
	if moved {
		c.hurryLocked(pp)
	} else {
		c.wakeLocked(pp)
	}
	return true
}

// run fetches until the consumer is closed.
func (f *consumerFetcher) run() {
	c := f.c
	for c.ctx.Err() == nil {
		if f.locate() {
			continue
		}
		req, items, pause := f.plan()
		if len(items) == 0 {
			f.rest(pause)
			continue
		}
		err := f.fetch(req, items)
		if err == nil || c.ctx.Err() != nil {
			continue
		}
		c.mu.Lock()
		if f.rushed {
			f.rushed = false
			c.mu.Unlock()
			continue
		}
		for _, it := range items {
			c.backOffLocked(it.pp)
		}
		c.mu.Unlock()
		c.c.cfg.Logger.LogAttrs(c.ctx, slog.LevelDebug, "mq consumer: fetch failed", slog.Int("broker", int(f.broker)), slog.Any("err", err))
		c.c.meta.kick()
	}
}

// rest waits for a wake, or for the pause if there is one.
func (f *consumerFetcher) rest(pause time.Duration) {
	var timer <-chan time.Time
	if pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-f.wake:
	case <-timer:
	case <-f.c.ctx.Done():
	}
}

// plan makes a fetch for what can be fetched now. pause is how long the first backoff still runs.
func (f *consumerFetcher) plan() (req *kmsg.FetchRequest, items []fetchItem, pause time.Duration) {
	c := f.c
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	req = kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = int32(c.cfg.FetchWaitMax / time.Millisecond)
	req.MinBytes, req.MaxBytes = int32(c.cfg.FetchBytesMin), int32(c.cfg.FetchBytesMax)
	req.IsolationLevel = int8(c.cfg.Isolation)
	req.SessionEpoch = -1 // no fetch session
	for _, pp := range c.mu.partitions {
		switch {
		case pp.leader != f.broker || pp.held || pp.stuck || pp.revoked.Load():
			continue
		case now.Before(pp.notBefore):
			if d := pp.notBefore.Sub(now); pause == 0 || d < pause {
				pause = d
			}
			continue
		case pp.next < 0 || pp.validate: // locate comes first
			pause = time.Millisecond
			continue
		case pp.chunks >= partitionChunksMax || c.mu.buffered >= c.cfg.PrefetchBytesMax:
			req.MaxWaitMillis = min(req.MaxWaitMillis, int32(starvedWait/time.Millisecond))
			continue
		}
		items = append(items, fetchItem{pp, pp.version, pp.next})
	}
	if pause > 0 {
		req.MaxWaitMillis = min(req.MaxWaitMillis, int32(max(pause/time.Millisecond, 1)))
	}
	slices.SortFunc(items, func(a, b fetchItem) int { // those with less in store first
		return cmp.Or(cmp.Compare(a.pp.chunks, b.pp.chunks), compareTopicPartitions(a.pp.tp, b.pp.tp))
	})
	for _, it := range items {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset = it.pp.tp.Partition, it.offset
		rp.CurrentLeaderEpoch, rp.PartitionMaxBytes = it.pp.leaderEpoch, int32(c.cfg.PartitionBytesMax)
		i := slices.IndexFunc(req.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == it.pp.tp.Topic })
		if i < 0 {
			t := kmsg.NewFetchRequestTopic()
			t.Topic = it.pp.tp.Topic
			req.Topics = append(req.Topics, t)
			i = len(req.Topics) - 1
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	return req, items, pause
}

// request sends a request on the consumer's own lane; hurryLocked ends it early if interruptible.
func (f *consumerFetcher) request(req kmsg.Request, wait time.Duration, interruptible bool) (kmsg.Response, error) {
	c := f.c
	addr, ok := c.c.meta.current().addr(f.broker)
	if !ok {
		return nil, ErrBrokerNotAvailable
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	conn, err := c.c.pool.get(ctx, addr, c.lane)
	if err != nil {
		return nil, err
	}
	if err := conn.setVersion(req); err != nil {
		return nil, err
	}
	if interruptible {
		c.mu.Lock()
		f.cancel = cancel
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			f.cancel = nil
			c.mu.Unlock()
		}()
	}
	body, err := conn.roundTripBytes(ctx, req, wait+slowAfter, wait+c.c.cfg.RequestTimeout)
	if err != nil {
		if ctx.Err() != nil {
			conn.fail(context.Canceled) // its answer would hold up the next request
		}
		return nil, err
	}
	return decodeResponse(req, body, true)
}

// fetch sends the request and files the answer.
func (f *consumerFetcher) fetch(req *kmsg.FetchRequest, items []fetchItem) error {
	c := f.c
	resp, err := f.request(req, c.cfg.FetchWaitMax, true)
	if err != nil {
		return err
	}
	r := resp.(*kmsg.FetchResponse)
	if err := codeError(r.ErrorCode); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f.rushed = false
	kick := false
	for ti := range r.Topics {
		t := &r.Topics[ti]
		for pi := range t.Partitions {
			part := &t.Partitions[pi]
			i := slices.IndexFunc(items, func(it fetchItem) bool {
				return it.pp.tp.Partition == part.Partition && it.pp.tp.Topic == t.Topic
			})
			if i < 0 {
				continue
			}
			it := items[i]
			if it.pp.version != it.version || it.pp.revoked.Load() || it.pp.leader != f.broker {
				continue
			}
			kick = f.fileLocked(it.pp, part) || kick
		}
	}
	if kick {
		c.c.meta.kick()
	}
	return nil
}

// fileLocked takes what a fetch brought of one partition. It returns true if the metadata seem to be out of date.
func (f *consumerFetcher) fileLocked(pp *consumerPartition, part *kmsg.FetchResponseTopicPartition) (kick bool) {
	c := f.c
	code := Error(part.ErrorCode)
	switch {
	case code == 0:
	case code == ErrOffsetOutOfRange:
		c.resetLocked(pp)
		return false
	case code.Retriable():
		c.backOffLocked(pp)
		return true
	default:
		c.backOffLocked(pp)
		c.reportLocked(&OpError{Op: "fetch", Subject: pp.tp.String(), Err: code})
		return true
	}
	pp.failures = 0
	if part.DivergingEpoch.EndOffset >= 0 {
		c.truncatedLocked(pp, part.DivergingEpoch.EndOffset)
		return false
	}
	chunk := &consumerChunk{pp: pp, version: pp.version, bytes: part.RecordBatches}
	next, rest := pp.next, part.RecordBatches
	for {
		h, _, after, err := batch.Cut(rest)
		if err != nil { // a batch that was cut off, or bytes that yieldChunk will report
			if len(rest) == len(part.RecordBatches) && len(rest) > 0 {
				c.backOffLocked(pp)
				c.reportLocked(&OpError{Op: "fetch", Subject: pp.tp.String(), Err: err})
			}
			break
		}
		next = max(next, h.NextOffset())
		pp.nextEpoch = h.LeaderEpoch
		rest = after
	}
	chunk.bytes = chunk.bytes[:len(chunk.bytes)-len(rest)]
	if len(chunk.bytes) == 0 {
		return false
	}
	for _, a := range part.AbortedTransactions {
		chunk.aborted = append(chunk.aborted, abortedTxn{a.ProducerID, a.FirstOffset})
	}
	slices.SortFunc(chunk.aborted, func(a, b abortedTxn) int { return cmp.Compare(a.first, b.first) })
	pp.next = next
	pp.chunks++
	chunk.size = len(chunk.bytes)
	c.mu.buffered += chunk.size
	c.mu.chunks = append(c.mu.chunks, chunk)
	signal(c.more)
	return false
}

// resetLocked handles an offset that the log does not have.
func (c *Consumer) resetLocked(pp *consumerPartition) {
	c.c.cfg.Logger.LogAttrs(c.ctx, slog.LevelWarn, "mq consumer: offset out of range",
		slog.String("partition", pp.tp.String()), slog.Int64("offset", pp.next))
	switch c.cfg.AutoOffsetReset {
	case ResetEarliest:
		c.seekLocked(pp, OffsetEarliest, -1)
	case ResetLatest:
		c.seekLocked(pp, OffsetLatest, -1)
	default:
		c.reportLocked(&OpError{Op: "fetch", Subject: pp.tp.String(), Err: ErrNoOffset})
		c.seekLocked(pp, pp.next, -1)
		pp.stuck = true
	}
}

// truncatedLocked handles a leader whose log ends, or differs, before what was consumed: an unclean election lost records.
func (c *Consumer) truncatedLocked(pp *consumerPartition, end int64) {
	pp.validate = false
	if end >= pp.next {
		return
	}
	c.c.cfg.Logger.LogAttrs(c.ctx, slog.LevelWarn, "mq consumer: the log was truncated below what was fetched",
		slog.String("partition", pp.tp.String()), slog.Int64("offset", pp.next), slog.Int64("end", end))
	if position := pp.position.Load(); position >= 0 && position < end {
		end = position
	}
	c.seekLocked(pp, end, -1)
}
