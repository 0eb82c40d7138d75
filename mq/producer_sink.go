package mq

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerTopic holds a topic's partitions.
type producerTopic struct {
	p          *Producer
	name       string
	partitions atomic.Pointer[[]*producerPartition] // replaced when the topic grows
	sticky     atomic.Int32
}

// moveSticky chooses another sticky partition if it is the given one.
func (t *producerTopic) moveSticky(from int32) {
	n := len(*t.partitions.Load())
	if n < 2 || t.sticky.Load()%int32(n) != from {
		return
	}
	next := int32(t.p.c.pool.intN(n - 1))
	if next >= from {
		next++
	}
	t.sticky.Store(next)
}

// topic returns the topic's partitions, waiting until the cluster knows it.
func (p *Producer) topic(ctx context.Context, name string) (*producerTopic, error) {
	if t := (*p.topics.Load())[name]; t != nil {
		return t, nil
	}
	if p.isClosed() {
		return nil, ErrClosed
	}
	p.c.meta.want(p.cfg.AutoCreateTopics, name)
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.UnknownTopicTimeout, ErrUnknownTopicOrPartition)
	defer cancel()
	for {
		v := p.c.meta.current()
		if tv := v.topics[name]; tv != nil {
			if len(tv.partitions) > 0 {
				return p.addTopic(name, v)
			}
			if tv.err != nil && tv.err != ErrUnknownTopicOrPartition && !temporaryTopicError(tv.err) { //nolint:errorlint // codeError's own
				return nil, tv.err
			}
		}
		if err := p.c.meta.refresh(ctx); err != nil {
			if ctx.Err() != nil && v.topics[name] != nil {
				return nil, context.Cause(ctx) // the caller's own, or ours: the cluster does not know it
			}
			return nil, err
		}
	}
}

// addTopic makes the topic known to the producer.
func (p *Producer) addTopic(name string, v *clusterView) (*producerTopic, error) {
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	t := (*p.topics.Load())[name]
	if t == nil {
		t = &producerTopic{p: p, name: name}
		t.partitions.Store(&[]*producerPartition{})
		t.growLocked(len(v.topics[name].partitions))
		t.sticky.Store(int32(p.c.pool.intN(len(v.topics[name].partitions))))
		topics := maps.Clone(*p.topics.Load())
		topics[name] = t
		p.topics.Store(&topics)
	}
	p.mu.Unlock()
	p.metadataChanged(v)
	return t, nil
}

// growLocked adds partitions until there are n. The producer's mutex is held.
func (t *producerTopic) growLocked(n int) {
	partitions := *t.partitions.Load()
	if len(partitions) >= n {
		return
	}
	partitions = slices.Clone(partitions)
	for len(partitions) < n {
		partitions = append(partitions, &producerPartition{p: t.p, topic: t, number: int32(len(partitions)), pid: -1, leaderEpoch: -1})
	}
	t.partitions.Store(&partitions)
}

// metadataChanged gives each partition its leader's sink.
func (p *Producer) metadataChanged(*clusterView) {
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return
	}
	v := p.c.meta.current() // the newest, whichever call this is
	type move struct {
		pp    *producerPartition
		sink  *producerSink
		epoch int32
	}
	var moves []move
	leaderless := false
	for name, t := range *p.topics.Load() {
		if tv := v.topics[name]; tv != nil {
			t.growLocked(len(tv.partitions))
		}
		for _, pp := range *t.partitions.Load() {
			id, epoch, ok := v.leader(name, pp.number)
			if !ok {
				leaderless = true
				moves = append(moves, move{pp, nil, epoch})
				continue
			}
			s := p.mu.sinks[id]
			if s == nil {
				s = &producerSink{p: p, broker: id}
				p.mu.sinks[id] = s
			}
			moves = append(moves, move{pp, s, epoch})
		}
	}
	for _, m := range moves { // under the mutex, so that an older view does not come after a newer one
		m.pp.moved(m.sink, m.epoch)
	}
	p.mu.Unlock()
	if leaderless {
		p.c.meta.kick()
	}
}

// expire gives up records that were not written in time, until the producer is closed.
func (p *Producer) expire() {
	tick := time.NewTicker(max(p.cfg.DeliveryTimeout/20, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-tick.C:
			for _, t := range *p.topics.Load() {
				for _, pp := range *t.partitions.Load() {
					pp.expire(now)
				}
			}
		}
	}
}

func (p *Producer) warn(msg, partition string, err error) {
	p.c.cfg.Logger.LogAttrs(p.ctx, slog.LevelWarn, msg, slog.String("partition", partition), slog.Any("err", err))
}

// producerSink sends to one broker. Its drain goroutine lives while there is something to send and a free place in flight.
type producerSink struct {
	p      *Producer
	broker int32

	mu struct {
		sync.Mutex
		ready    []*producerPartition // with something to send, each once
		draining bool
		closed   bool
		inFlight int // requests
	}
}

// sinkItem is a batch in a request.
type sinkItem struct {
	pp      *producerPartition
	b       *producerBatch
	attempt int
}

// push adds a partition. The partition's mutex is held.
func (s *producerSink) push(pp *producerPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.ready = append(s.mu.ready, pp)
	s.startLocked()
}

func (s *producerSink) startLocked() {
	if s.mu.draining || s.mu.closed || s.mu.inFlight >= s.p.cfg.InFlightMax || len(s.mu.ready) == 0 {
		return
	}
	s.mu.draining = true
	s.p.wg.Add(1)
	go s.drain()
}

// finished gives a place in flight back.
func (s *producerSink) finished() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.inFlight--
	s.startLocked()
}

func (s *producerSink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
}

// drain sends until there is nothing ready or no place in flight.
func (s *producerSink) drain() {
	defer s.p.wg.Done()
	var ready []*producerPartition
	for {
		s.mu.Lock()
		if len(s.mu.ready) == 0 || s.mu.inFlight >= s.p.cfg.InFlightMax || s.mu.closed {
			s.mu.draining = false
			s.mu.Unlock()
			return
		}
		s.mu.inFlight++
		clear(ready)
		ready, s.mu.ready = s.mu.ready, ready[:0]
		s.mu.Unlock()
		if rest := s.request(ready); len(rest) > 0 {
			s.mu.Lock()
			s.mu.ready = append(s.mu.ready, rest...)
			s.mu.Unlock()
		}
	}
}

// request sends one request with a batch of each partition, and returns the partitions for which there was no room.
func (s *producerSink) request(ready []*producerPartition) (rest []*producerPartition) {
	p := s.p
	var conn *clientConn
	addr, ok := p.c.meta.current().addr(s.broker)
	err := error(ErrBrokerNotAvailable)
	if ok {
		conn, err = p.c.pool.get(p.ctx, addr, produceLane)
	}
	req := kmsg.NewPtrProduceRequest()
	if err == nil {
		err = conn.setVersion(req)
	}
	if err != nil {
		p.c.meta.kick()
		for _, pp := range ready {
			pp.unreachable(s)
		}
		s.finished()
		return nil
	}
	pid, epoch := int64(-1), int16(-1)
	if !p.cfg.DisableIdempotence {
		if pid, epoch, err = p.identity.obtain(p.ctx, p.c); err != nil {
			for _, pp := range ready {
				pp.fail(err)
			}
			s.finished()
			return nil
		}
	}
	items, rest := s.fill(req, ready, pid, epoch)
	if len(items) == 0 {
		s.finished()
		return rest
	}
	s.send(conn, req, items)
	return rest
}

// fill takes batches and puts them into the request.
func (s *producerSink) fill(req *kmsg.ProduceRequest, ready []*producerPartition, pid int64, epoch int16) (items []sinkItem, rest []*producerPartition) {
	cfg := &s.p.cfg
	req.TimeoutMillis = int32(max(s.holdMax()/time.Millisecond, 1))
	switch cfg.Acks {
	case AcksAll:
		req.Acks = -1
	case AcksLeader:
		req.Acks = 1
	default:
		req.Acks = 0
	}
	total := 0
	for i, pp := range ready {
		if total > 0 && total+cfg.BatchBytesMax > requestBytesMax {
			return items, slices.Clone(ready[i:])
		}
		b := pp.take(s, pid, epoch)
		if b == nil {
			continue
		}
		if err := b.encode(cfg.Compression); err != nil {
			attempt := b.attempt
			pp.answered(b, attempt, producerResult{code: ErrUnknownServerError, message: err.Error()})
			continue
		}
		total += len(b.bytes)
		items = append(items, sinkItem{pp, b, b.attempt})
		part := kmsg.NewProduceRequestTopicPartition()
		part.Partition, part.Records = pp.number, b.bytes
		if n := len(req.Topics); n > 0 && req.Topics[n-1].Topic == pp.topic.name {
			req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, part)
			continue
		}
		t := kmsg.NewProduceRequestTopic()
		t.Topic = pp.topic.name
		if j := slices.IndexFunc(req.Topics, func(t kmsg.ProduceRequestTopic) bool { return t.Topic == pp.topic.name }); j >= 0 {
			req.Topics[j].Partitions = append(req.Topics[j].Partitions, part)
			continue
		}
		t.Partitions = append(t.Partitions, part)
		req.Topics = append(req.Topics, t)
	}
	return items, nil
}

// holdMax is how long a broker may wait for replicas before it answers.
func (s *producerSink) holdMax() time.Duration {
	return min(s.p.c.cfg.RequestTimeout, s.p.cfg.DeliveryTimeout)
}

// send encodes the request, after which the batches' bytes are no longer needed for it, and sends it.
func (s *producerSink) send(conn *clientConn, req *kmsg.ProduceRequest, items []sinkItem) {
	f := newFrame()
	f.b = appendRequest(f.b, req, conn.clientID)
	for _, it := range items {
		it.pp.encoded(it.b, it.attempt)
	}
	done := func(body []byte, err error) { s.answered(req, items, body, err) }
	if req.Acks == 0 {
		done = nil
	}
	err := conn.send(f, slowAfter, s.holdMax()+s.p.c.cfg.RequestTimeout/2, done)
	switch {
	case err != nil:
		for _, it := range items {
			it.pp.answered(it.b, it.attempt, producerResult{lost: err})
		}
		s.finished()
	case req.Acks == 0:
		for _, it := range items {
			it.pp.answered(it.b, it.attempt, producerResult{base: -1, appendTime: -1})
		}
		s.finished()
	}
}

// answered hands each batch its part of the answer. It runs on the connection's reading goroutine.
func (s *producerSink) answered(req *kmsg.ProduceRequest, items []sinkItem, body []byte, err error) {
	var resp *kmsg.ProduceResponse
	if err == nil {
		var r kmsg.Response
		if r, err = decodeResponse(req, body, true); err == nil {
			resp = r.(*kmsg.ProduceResponse)
		}
	}
	if err != nil {
		for _, it := range items {
			it.pp.answered(it.b, it.attempt, producerResult{lost: err, sent: true})
		}
		s.finished()
		return
	}
	next := 0
	for ti := range resp.Topics {
		t := &resp.Topics[ti]
		for pi := range t.Partitions {
			part := &t.Partitions[pi]
			i := next // answers come in the order of the request, usually
			if i >= len(items) || items[i].pp == nil || items[i].pp.number != part.Partition || items[i].pp.topic.name != t.Topic {
				i = slices.IndexFunc(items, func(it sinkItem) bool {
					return it.pp != nil && it.pp.number == part.Partition && it.pp.topic.name == t.Topic
				})
				if i < 0 {
					continue
				}
			}
			it := items[i]
			items[i].pp = nil
			next = i + 1
			it.pp.answered(it.b, it.attempt, resultOf(part))
		}
	}
	for _, it := range items {
		if it.pp != nil { // the broker forgot it
			it.pp.answered(it.b, it.attempt, producerResult{lost: ErrProtocol, sent: true})
		}
	}
	s.finished()
}

func resultOf(part *kmsg.ProduceResponseTopicPartition) producerResult {
	r := producerResult{code: Error(part.ErrorCode), base: part.BaseOffset, appendTime: part.LogAppendTime}
	if part.ErrorMessage != nil {
		r.message = *part.ErrorMessage
	}
	return r
}
