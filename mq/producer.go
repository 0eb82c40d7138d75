package mq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// ProducerConfig configures a Producer. The zero value is idempotent, waits for every in-sync replica and does not linger.
type ProducerConfig struct {
	// Acks says which replicas must have a record before its callback. Other than AcksAll turns idempotence off.
	Acks Acks
	// DisableIdempotence lets a retry write a record twice, and keeps one batch in flight for each partition so that order
	// is kept.
	DisableIdempotence bool
	// Partitioner chooses the partition. Nil: DefaultPartitioner.
	Partitioner Partitioner
	// Compression of batches; a batch that would grow is sent as it is.
	Compression Compression
	// Linger is how long a batch that is not full waits for more records. 0: a batch leaves as soon as its broker has a
	// free place in flight, so batches form by themselves under load.
	Linger time.Duration
	// BatchBytesMax bounds one batch before compression; it must not exceed the topic's max.message.bytes. 0: 1,000,000.
	BatchBytesMax int
	// BufferBytesMax bounds the encoded records that wait for their answer; Send blocks beyond it. 0: 64 MiB.
	BufferBytesMax int
	// InFlightMax is how many requests may be unanswered on each broker. 0: 5, which is also the most that brokers
	// deduplicate.
	InFlightMax int
	// DeliveryTimeout is how long after Send a record may be tried. 0: 2 minutes.
	DeliveryTimeout time.Duration
	// UnknownTopicTimeout is for how long Send waits for a topic that the cluster does not know, since a new topic takes a
	// moment to be known everywhere. 0: 5 s.
	UnknownTopicTimeout time.Duration
	// AutoCreateTopics asks brokers to create topics that do not exist; they do if auto.create.topics.enable is set.
	AutoCreateTopics bool
}

// requestBytesMax bounds the batches in one request; brokers accept 16 MiB and more.
const requestBytesMax = 8 << 20

// withDefaults checks the configuration and fills in what is zero.
func (cfg ProducerConfig) withDefaults() (ProducerConfig, error) {
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"Linger", int64(cfg.Linger)},
		{"BatchBytesMax", int64(cfg.BatchBytesMax)},
		{"BufferBytesMax", int64(cfg.BufferBytesMax)},
		{"InFlightMax", int64(cfg.InFlightMax)},
		{"DeliveryTimeout", int64(cfg.DeliveryTimeout)},
		{"UnknownTopicTimeout", int64(cfg.UnknownTopicTimeout)},
	} {
		if v.value < 0 {
			return cfg, fmt.Errorf("mq: ProducerConfig.%s is negative", v.name)
		}
	}
	switch {
	case cfg.Acks < AcksAll || cfg.Acks > AcksNone:
		return cfg, fmt.Errorf("mq: ProducerConfig.Acks: %d is none of AcksAll, AcksLeader, AcksNone", cfg.Acks)
	case cfg.Compression < CompressionNone || cfg.Compression > CompressionZstd:
		return cfg, fmt.Errorf("mq: ProducerConfig.Compression: %d is no codec", cfg.Compression)
	case cfg.BatchBytesMax > requestBytesMax:
		return cfg, fmt.Errorf("mq: ProducerConfig.BatchBytesMax: %d exceeds %d", cfg.BatchBytesMax, requestBytesMax)
	}
	if cfg.Partitioner == nil {
		cfg.Partitioner = DefaultPartitioner
	}
	cfg.DisableIdempotence = cfg.DisableIdempotence || cfg.Acks != AcksAll
	setDefault(&cfg.BatchBytesMax, 1_000_000)
	setDefault(&cfg.BufferBytesMax, 64<<20)
	setDefault(&cfg.InFlightMax, 5)
	setDefault(&cfg.DeliveryTimeout, 2*time.Minute)
	setDefault(&cfg.UnknownTopicTimeout, 5*time.Second)
	if !cfg.DisableIdempotence && cfg.InFlightMax > 5 {
		return cfg, fmt.Errorf("mq: ProducerConfig.InFlightMax: brokers deduplicate 5 batches, not %d", cfg.InFlightMax)
	}
	return cfg, nil
}

// Producer writes records. All methods are safe for concurrent use; records of one goroutine for one partition keep their
// order.
//
// It is idempotent by default: a retry never writes a record twice or out of order (KIP-98, KIP-360). What it cannot know it says:
// an error that is ErrUnknownOutcome means the record may be in the log.
type Producer struct {
	c      *Client
	cfg    ProducerConfig
	ctx    context.Context // ends with the producer
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines of the producer

	topics   atomic.Pointer[map[string]*producerTopic] // copied on write, under mu
	buffered producerBuffer
	finisher producerFinisher
	identity producerIdentity
	waits    sync.Pool // of *syncWait; not the package's, since channels belong to a synctest bubble

	mu struct {
		sync.Mutex
		closed bool
		sinks  map[int32]*producerSink
	}
	flushing atomic.Int32 // calls of Flush in progress: nothing lingers meanwhile
}

// NewProducer returns a producer. It connects when it is first used. Errors are the configuration's, or ErrClosed.
func (c *Client) NewProducer(cfg ProducerConfig) (*Producer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Producer{c: c, cfg: cfg}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.topics.Store(&map[string]*producerTopic{})
	p.buffered.init(int64(cfg.BufferBytesMax))
	p.finisher.p = p
	p.waits.New = newSyncWait
	p.identity.init()
	p.mu.sinks = make(map[int32]*producerSink)
	if err := c.adopt(p); err != nil {
		p.cancel()
		return nil, err
	}
	c.meta.listen(p)
	p.wg.Go(p.expire)
	return p, nil
}

// Send adds a record to its partition's batch. It blocks while the buffer is full, and for the first record of a topic until the topic is
// known; ctx bounds that blocking only, not the delivery. Done is called once when the record was written or given up, on one
// goroutine for the whole producer and for each partition in the order of Send; it must not block. It may be nil. If Send
// returns an error, the record was not accepted and done is not called.
//
// Errors: ErrClosed, ctx's, ErrMessageTooLarge, ErrUnknownTopicOrPartition. Errors that done gets: those of brokers, ErrDeliveryTimeout,
// ErrClosed; all may be ErrUnknownOutcome too. See Record for who owns what.
func (p *Producer) Send(ctx context.Context, r *Record, done func(*Record, error)) error {
	return p.send(ctx, r, producerEntry{record: r, done: done})
}

// SendSync sends the records and waits for all of them. It returns the errors of those that failed, joined, each naming its
// partition. If ctx ends first, so does the waiting: the records may still be written, and must not be reused before Flush has returned.
func (p *Producer) SendSync(ctx context.Context, records ...*Record) error {
	w := p.waits.Get().(*syncWait)
	w.prepare(len(records) + 1)
	for _, r := range records {
		if err := p.send(ctx, r, producerEntry{record: r, wait: w}); err != nil {
			w.finish(err)
		}
	}
	w.finish(nil)
	select {
	case <-w.done:
		err := w.err()
		p.waits.Put(w)
		return err
	case <-ctx.Done():
		return unknownOutcome(ctx.Err())
	}
}

// send is Send with the entry made.
func (p *Producer) send(ctx context.Context, r *Record, entry producerEntry) error {
	size := batch.HeaderLen + recordSizeBound(r)
	if size > p.cfg.BatchBytesMax {
		return &OpError{
			Op: "send to", Subject: r.Topic, Err: ErrMessageTooLarge,
			Detail: fmt.Sprintf("%d bytes; ProducerConfig.BatchBytesMax is %d", size, p.cfg.BatchBytesMax),
		}
	}
	t, err := p.topic(ctx, r.Topic)
	if err != nil {
		return &OpError{Op: "send to", Subject: r.Topic, Err: err}
	}
	if !p.buffered.acquire(int64(size)) {
		if err := p.buffered.wait(ctx, p.ctx, int64(size)); err != nil {
			return &OpError{Op: "send to", Subject: r.Topic, Err: err}
		}
	}
	partitions := *t.partitions.Load()
	n := int32(len(partitions))
	number := p.cfg.Partitioner(r, n, t.sticky.Load()%n)
	if number < 0 || number >= n {
		p.buffered.release(int64(size))
		return &OpError{Op: "send to", Subject: TopicPartition{r.Topic, number}.String(), Err: ErrUnknownTopicOrPartition}
	}
	if err := partitions[number].add(r, entry, size); err != nil {
		p.buffered.release(int64(size))
		return &OpError{Op: "send to", Subject: TopicPartition{r.Topic, number}.String(), Err: err}
	}
	return nil
}

// recordSizeBound is at least what the record takes in a batch.
func recordSizeBound(r *Record) int {
	n := batch.SizeOf(r.Key, r.Value, nil)
	for i := range r.Headers {
		n += 10 + len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// Flush sends what lingers and returns when every record accepted before the call has been written or given up and its callback has
// run. Errors: ctx's, ErrClosed.
func (p *Producer) Flush(ctx context.Context) error {
	p.flushing.Add(1)
	defer p.flushing.Add(-1)
	w := newFlushWait()
	for _, t := range *p.topics.Load() {
		for _, pp := range *t.partitions.Load() {
			pp.flush(w)
		}
	}
	w.done() // the count's own
	select {
	case <-w.all:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.finisher.barrier(ctx)
}

// Shutdown flushes, then closes. If ctx ends before all is written, the rest is given up as by Close, and ctx's error is returned.
func (p *Producer) Shutdown(ctx context.Context) error {
	err := p.Flush(ctx)
	return errors.Join(err, p.Close())
}

// Close gives up what is not yet written: callbacks get ErrClosed, and ErrUnknownOutcome too if the record was sent. They have
// run when it returns, so it must not be called from one. It is idempotent. Shutdown loses nothing.
func (p *Producer) Close() error {
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return nil
	}
	p.mu.closed = true
	sinks := slices.Collect(maps.Values(p.mu.sinks))
	p.mu.Unlock()

	p.c.meta.unlisten(p)
	p.cancel()
	for _, s := range sinks {
		s.close()
	}
	for _, t := range *p.topics.Load() {
		for _, pp := range *t.partitions.Load() {
			pp.close()
		}
	}
	p.wg.Wait()
	p.c.disown(p)
	return nil
}

// isClosed reports whether Close was called.
func (p *Producer) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.closed
}
