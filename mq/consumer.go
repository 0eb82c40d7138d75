package mq

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ConsumerConfig configures a Consumer: what it consumes, and how.
//
// With Group and Topics the consumer is a member of a group, whose members share the partitions of the topics. With Topics
// alone it consumes all their partitions. With Partitions it consumes exactly those; a Group then only holds its commits.
type ConsumerConfig struct {
	// Group is the group's name.
	Group string
	// Topics to consume. A topic need not exist yet.
	Topics []string
	// Partitions to consume, each from the given offset, or OffsetEarliest, OffsetLatest, OffsetCommitted.
	Partitions map[TopicPartition]int64
	// AutoOffsetReset says where to start when the group has no committed offset, or the offset is out of range.
	AutoOffsetReset Reset
	// Isolation says which records of transactions are seen.
	Isolation Isolation
	// AutoCommitInterval commits in the background what Commit would, and once more before partitions are given away and in
	// Close. A record whose loop body was left by break or return is not covered by that, only by a call of Commit. 0: off.
	AutoCommitInterval time.Duration

	// SessionTimeout is how long the group waits for a heartbeat before it gives this member's partitions away. 0: 10 s.
	SessionTimeout time.Duration
	// HeartbeatInterval is how often the member reports, and thus how soon it learns of a rebalance. 0: 1 s, or a third of
	// SessionTimeout if that is less.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long the group waits for this member to rejoin in a rebalance. Half of it is how long a
	// rebalance waits for the loop body that is running. 0: 60 s.
	RebalanceTimeout time.Duration
	// InstanceID makes this a static member (KIP-345): it may be away for a session timeout without a rebalance, and Close
	// does not leave the group. Empty: a dynamic member.
	InstanceID string
	// Assignors, in order of preference; all members must have one in common. Nil: RangeAssignor, RoundRobinAssignor.
	Assignors []Assignor
	// OnAssigned is called when this member was given partitions, before their first record is yielded. It may call Seek.
	OnAssigned func(ctx context.Context, c *Consumer, partitions []TopicPartition)
	// OnRevoked is called when partitions are about to be given away, after the last of their records was yielded and its
	// loop body ended; a Commit in it is still accepted. ctx ends when the group will wait no longer.
	OnRevoked func(ctx context.Context, c *Consumer, partitions []TopicPartition)
	// OnLost is called when partitions were lost because the group gave this member up; others may already consume them.
	// Nil: OnRevoked.
	OnLost func(ctx context.Context, c *Consumer, partitions []TopicPartition)

	// FetchWaitMax is how long a broker holds a fetch back while there are fewer than FetchBytesMin bytes. 0: 500 ms.
	FetchWaitMax time.Duration
	// FetchBytesMin: 0 means 1, an answer as soon as there is anything.
	FetchBytesMin int
	// FetchBytesMax bounds one answer; PartitionBytesMax the part of one partition. A single batch larger than either is
	// still delivered. 0: 16 MiB and 1 MiB.
	FetchBytesMax, PartitionBytesMax int
	// PrefetchBytesMax bounds the fetched bytes that wait to be yielded: no fetch is sent while there are more. 0: 32 MiB.
	PrefetchBytesMax int
	// BatchBytesMax bounds one batch after decompression. 0: 64 MiB.
	BatchBytesMax int
}

// withDefaults checks the configuration and fills in what is zero.
func (cfg ConsumerConfig) withDefaults() (ConsumerConfig, error) {
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"AutoCommitInterval", int64(cfg.AutoCommitInterval)},
		{"SessionTimeout", int64(cfg.SessionTimeout)},
		{"HeartbeatInterval", int64(cfg.HeartbeatInterval)},
		{"RebalanceTimeout", int64(cfg.RebalanceTimeout)},
		{"FetchWaitMax", int64(cfg.FetchWaitMax)},
		{"FetchBytesMin", int64(cfg.FetchBytesMin)},
		{"FetchBytesMax", int64(cfg.FetchBytesMax)},
		{"PartitionBytesMax", int64(cfg.PartitionBytesMax)},
		{"PrefetchBytesMax", int64(cfg.PrefetchBytesMax)},
		{"BatchBytesMax", int64(cfg.BatchBytesMax)},
	} {
		if v.value < 0 {
			return cfg, fmt.Errorf("mq: ConsumerConfig.%s is negative", v.name)
		}
	}
	switch {
	case (len(cfg.Topics) == 0) == (len(cfg.Partitions) == 0):
		return cfg, fmt.Errorf("mq: ConsumerConfig needs Topics or Partitions, and not both")
	case cfg.Group == "" && cfg.AutoCommitInterval > 0:
		return cfg, fmt.Errorf("mq: ConsumerConfig.AutoCommitInterval without a Group")
	case cfg.AutoOffsetReset < ResetEarliest || cfg.AutoOffsetReset > ResetNone:
		return cfg, fmt.Errorf("mq: ConsumerConfig.AutoOffsetReset: %d is none of ResetEarliest, ResetLatest, ResetNone", cfg.AutoOffsetReset)
	case cfg.Isolation != ReadUncommitted && cfg.Isolation != ReadCommitted:
		return cfg, fmt.Errorf("mq: ConsumerConfig.Isolation: %d is neither ReadUncommitted nor ReadCommitted", cfg.Isolation)
	}
	for tp, offset := range cfg.Partitions {
		if offset < 0 && offset != OffsetEarliest && offset != OffsetLatest && (offset != OffsetCommitted || cfg.Group == "") {
			return cfg, fmt.Errorf("mq: ConsumerConfig.Partitions: %s cannot start at offset %d", tp, offset)
		}
	}
	if len(cfg.Assignors) == 0 {
		cfg.Assignors = []Assignor{RangeAssignor, RoundRobinAssignor}
	}
	if cfg.OnLost == nil {
		cfg.OnLost = cfg.OnRevoked
	}
	setDefault(&cfg.SessionTimeout, 10*time.Second)
	setDefault(&cfg.HeartbeatInterval, min(time.Second, cfg.SessionTimeout/3))
	setDefault(&cfg.RebalanceTimeout, time.Minute)
	setDefault(&cfg.FetchWaitMax, 500*time.Millisecond)
	setDefault(&cfg.FetchBytesMin, 1)
	setDefault(&cfg.FetchBytesMax, 16<<20)
	setDefault(&cfg.PartitionBytesMax, 1<<20)
	setDefault(&cfg.PrefetchBytesMax, 32<<20)
	setDefault(&cfg.BatchBytesMax, 64<<20)
	cfg.Topics = slices.Compact(slices.Sorted(slices.Values(cfg.Topics)))
	return cfg, nil
}

// Consumer reads records: see Records. Its other methods are safe for concurrent use, also from the loop's body.
//
// Goroutines, all of which end with Close: run keeps the group membership, or the list of partitions; one fetch for each broker that leads a
// partition; autoCommit if there is an interval.
type Consumer struct {
	c      *Client
	cfg    ConsumerConfig
	ctx    context.Context // ends with the consumer
	cancel context.CancelFunc
	wg     sync.WaitGroup
	lane   int32          // of fetches
	group  *consumerGroup // nil without a group

	iterating atomic.Bool
	active    atomic.Pointer[consumerPartition] // whose records are being yielded
	idle      chan struct{}                     // capacity 1: active changed, while somebody waits
	more      chan struct{}                     // capacity 1: there is something to yield
	topicsNew chan struct{}                     // capacity 1: the topics' partitions may have changed

	mu struct {
		sync.Mutex
		closed     bool
		partitions map[TopicPartition]*consumerPartition
		fetchers   map[int32]*consumerFetcher
		chunks     []*consumerChunk   // fetched and not yet yielded, in order of arrival
		buffered   int                // bytes of chunks, those of the one being yielded included
		errs       []error            // to be yielded
		left       *consumerPartition // whose last record's body was left by break or return…
		leftNext   int64              // …and the offset after it
	}
	committing chan struct{} // holds a value while no commit is in progress
}

// NewConsumer returns a consumer that begins to join its group and to fetch at once. Errors are the configuration's, or ErrClosed.
func (c *Client) NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	k := &Consumer{
		c: c, cfg: cfg, lane: c.pool.newLane(),
		idle: make(chan struct{}, 1), more: make(chan struct{}, 1), topicsNew: make(chan struct{}, 1), committing: make(chan struct{}, 1),
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.mu.partitions = make(map[TopicPartition]*consumerPartition)
	k.mu.fetchers = make(map[int32]*consumerFetcher)
	k.committing <- struct{}{}
	if cfg.Group != "" {
		k.group = newConsumerGroup(k)
	}
	if err := c.adopt(k); err != nil {
		k.cancel()
		return nil, err
	}
	c.meta.want(false, cfg.Topics...)
	for tp := range cfg.Partitions {
		c.meta.want(false, tp.Topic)
	}
	c.meta.listen(k)
	k.wg.Go(k.run)
	if cfg.AutoCommitInterval > 0 {
		k.wg.Go(k.autoCommit)
	}
	return k, nil
}

// Assignment returns the partitions that the consumer has at the moment, in order.
func (c *Consumer) Assignment() []TopicPartition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.assignmentLocked()
}

func (c *Consumer) assignmentLocked() []TopicPartition {
	partitions := make([]TopicPartition, 0, len(c.mu.partitions))
	for tp := range c.mu.partitions {
		partitions = append(partitions, tp)
	}
	slices.SortFunc(partitions, compareTopicPartitions)
	return partitions
}

// Position returns the offset of the next record to be yielded of a partition, negative while it is not yet known. It returns
// ErrNotAssigned if the consumer does not have the partition.
func (c *Consumer) Position(tp TopicPartition) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pp := c.mu.partitions[tp]
	if pp == nil {
		return -1, &OpError{Op: "position", Subject: tp.String(), Err: ErrNotAssigned}
	}
	return pp.position.Load(), nil
}

// Seek makes a partition go on at an offset, which may be OffsetEarliest or OffsetLatest. Records before it count as consumed for
// Commit, those from it on do not. Called from the loop's body, it takes effect with the next record. It returns
// ErrNotAssigned if the consumer does not have the partition.
func (c *Consumer) Seek(tp TopicPartition, offset int64) error {
	if offset < 0 && offset != OffsetEarliest && offset != OffsetLatest {
		return &OpError{Op: "seek", Subject: tp.String(), Err: fmt.Errorf("mq: invalid offset %d", offset)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pp := c.mu.partitions[tp]
	if pp == nil || pp.revoked.Load() {
		return &OpError{Op: "seek", Subject: tp.String(), Err: ErrNotAssigned}
	}
	c.seekLocked(pp, offset, -1)
	pp.covered.Store(offset)
	if c.mu.left == pp {
		c.mu.left = nil
	}
	c.wakeLocked(pp)
	return nil
}

// Rewind makes the record be yielded again, with all after it in its partition, and not count as consumed: for a record that could not
// be processed. It returns ErrNotAssigned if the consumer no longer has the partition.
func (c *Consumer) Rewind(r *Record) error {
	return c.Seek(TopicPartition{r.Topic, r.Partition}, r.Offset)
}

// Shutdown commits what AutoCommitInterval would, leaves the group, and closes. ctx bounds the first two. It does not wait for the loop's body.
func (c *Consumer) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil
	}
	c.mu.closed = true
	for _, pp := range c.mu.partitions {
		pp.revoked.Store(true)
	}
	c.mu.Unlock()
	signal(c.more)

	var err error
	if c.cfg.AutoCommitInterval > 0 {
		err = c.commit(ctx, false)
	}
	c.c.meta.unlisten(c)
	c.cancel()
	c.wg.Wait()
	if c.group != nil {
		c.group.leave(ctx)
		c.c.pool.closeLane(c.group.coordinator.lane)
	}
	c.c.pool.closeLane(c.lane)
	c.c.disown(c)
	return err
}

// closeTimeout bounds what Consumer.Close does out of courtesy.
const closeTimeout = 2 * time.Second

// Close is Shutdown within 2 seconds. It is idempotent, and must not be called from OnAssigned, OnRevoked or OnLost.
func (c *Consumer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), min(closeTimeout, c.c.cfg.RequestTimeout))
	defer cancel()
	return c.Shutdown(ctx)
}

// signal makes a channel of capacity 1 hold a value.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
