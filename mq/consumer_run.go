package mq

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// run keeps the consumer's partitions until it is closed.
func (c *Consumer) run() {
	switch {
	case len(c.cfg.Partitions) > 0:
		c.runFixed()
	case c.group != nil:
		c.group.run(c.ctx)
	default:
		c.runTopics()
	}
}

// runFixed consumes the configured partitions.
func (c *Consumer) runFixed() {
	partitions := make([]TopicPartition, 0, len(c.cfg.Partitions))
	for tp := range c.cfg.Partitions {
		partitions = append(partitions, tp)
	}
	slices.SortFunc(partitions, compareTopicPartitions)
	for failures := 1; c.ctx.Err() == nil; failures++ {
		err := c.assign(c.ctx, partitions, c.cfg.Partitions)
		if err == nil || c.ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.reportLocked(err)
		c.mu.Unlock()
		_ = c.c.sleep(c.ctx, c.c.pool.backoff(failures, 5*c.c.cfg.RetryBackoffMax))
	}
}

// runTopics consumes all partitions of the configured topics, also those that are added later; these from their beginning.
func (c *Consumer) runTopics() {
	start := map[Reset]int64{ResetEarliest: OffsetEarliest, ResetLatest: OffsetLatest, ResetNone: OffsetEarliest}[c.cfg.AutoOffsetReset]
	seen := make(map[string]bool)
	for {
		v := c.c.meta.current()
		offsets := make(map[TopicPartition]int64)
		missing := false
		for _, topic := range c.cfg.Topics {
			tv := v.topics[topic]
			if tv == nil || len(tv.partitions) == 0 {
				missing = true
				continue
			}
			from := start
			if seen[topic] {
				from = OffsetEarliest
			}
			seen[topic] = true
			for i := range tv.partitions {
				tp := TopicPartition{topic, int32(i)}
				if _, err := c.Position(tp); err != nil {
					offsets[tp] = from
				}
			}
		}
		if len(offsets) > 0 {
			added := make([]TopicPartition, 0, len(offsets))
			for tp := range offsets {
				added = append(added, tp)
			}
			slices.SortFunc(added, compareTopicPartitions)
			_ = c.assign(c.ctx, added, offsets)
		}
		var again <-chan time.Time
		if missing {
			t := time.NewTimer(c.c.pool.backoff(10, 5*c.c.cfg.RetryBackoffMax))
			again = t.C
			defer t.Stop()
		}
		select {
		case <-c.topicsNew:
		case <-again:
			c.c.meta.kick()
		case <-c.ctx.Done():
			return
		}
	}
}

// assign adds partitions. Offsets says where to start; nil means at the committed offsets.
func (c *Consumer) assign(ctx context.Context, partitions []TopicPartition, offsets map[TopicPartition]int64) error {
	committed, err := c.committedFor(ctx, partitions, offsets)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	v := c.c.meta.current()
	for _, tp := range partitions {
		pp := &consumerPartition{tp: tp, committed: -1, leader: -1, leaderEpoch: -1, nextEpoch: -1, held: true}
		c.startLocked(pp, offsets, committed)
		c.mu.partitions[tp] = pp
		c.followLocked(v, pp)
	}
	c.mu.Unlock()
	c.c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "mq consumer: partitions assigned", slog.Any("partitions", partitions))
	if c.cfg.OnAssigned != nil {
		c.cfg.OnAssigned(ctx, c, partitions)
	}
	c.mu.Lock()
	for _, tp := range partitions {
		if pp := c.mu.partitions[tp]; pp != nil {
			pp.held = false
			if pp.leader < 0 {
				c.c.meta.kick()
			}
			c.hurryLocked(pp)
		}
	}
	c.mu.Unlock()
	return nil
}

// committedFor asks for the committed offsets that the start needs.
func (c *Consumer) committedFor(ctx context.Context, partitions []TopicPartition, offsets map[TopicPartition]int64) (map[TopicPartition]CommittedOffset, error) {
	var ask []TopicPartition
	for _, tp := range partitions {
		if o, ok := offsets[tp]; c.group != nil && (!ok || o == OffsetCommitted) {
			ask = append(ask, tp)
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.SessionTimeout)
	defer cancel()
	committed, err := c.group.coordinator.fetchCommitted(ctx, ask)
	if err != nil {
		return nil, &OpError{Op: "fetch committed offsets of", Subject: "group " + c.cfg.Group, Err: err}
	}
	return committed, nil
}

// startLocked sets where a new partition starts.
func (c *Consumer) startLocked(pp *consumerPartition, offsets map[TopicPartition]int64, committed map[TopicPartition]CommittedOffset) {
	pp.covered.Store(-1)
	pp.epoch.Store(-1)
	pp.next = OffsetCommitted
	if o, ok := offsets[pp.tp]; ok {
		pp.next = o
	}
	if pp.next == OffsetCommitted {
		if o, ok := committed[pp.tp]; ok {
			pp.next, pp.nextEpoch, pp.committed = o.Offset, o.LeaderEpoch, o.Offset
			pp.covered.Store(o.Offset)
			pp.epoch.Store(o.LeaderEpoch)
		} else {
			switch c.cfg.AutoOffsetReset {
			case ResetEarliest:
				pp.next = OffsetEarliest
			case ResetLatest:
				pp.next = OffsetLatest
			default:
				c.reportLocked(&OpError{Op: "start", Subject: pp.tp.String(), Err: ErrNoOffset})
				pp.stuck = true
			}
		}
	}
	pp.position.Store(pp.next)
}

// unassign takes partitions away: no more of their records are yielded, and once the loop body that is running has ended the callback is called.
// Commits says that the group still accepts commits. Beat is called every heartbeat interval meanwhile; it may be nil.
func (c *Consumer) unassign(ctx context.Context, partitions []TopicPartition, commits bool, beat func()) {
	if len(partitions) == 0 {
		return
	}
	c.mu.Lock()
	for _, tp := range partitions {
		if pp := c.mu.partitions[tp]; pp != nil {
			pp.revoked.Store(true)
			c.purgeLocked(pp)
		}
	}
	c.mu.Unlock()
	if commits {
		c.awaitBody(ctx, beat)
	}
	if commits && c.cfg.AutoCommitInterval > 0 {
		if err := c.commit(ctx, false); err != nil && !groupMovedOn(err) && !errors.Is(err, context.Canceled) {
			c.mu.Lock()
			c.reportLocked(err)
			c.mu.Unlock()
		}
	}
	c.c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "mq consumer: partitions revoked", slog.Any("partitions", partitions), slog.Bool("lost", !commits))
	callback := c.cfg.OnRevoked
	if !commits {
		callback = c.cfg.OnLost
	}
	if callback != nil {
		callback(ctx, c, partitions)
	}
	c.mu.Lock()
	for _, tp := range partitions {
		if pp := c.mu.partitions[tp]; pp != nil {
			if c.mu.left == pp {
				c.mu.left = nil
			}
			delete(c.mu.partitions, tp)
		}
	}
	c.mu.Unlock()
}

// awaitBody waits until the running loop body is not one of a revoked partition, or ctx ends.
func (c *Consumer) awaitBody(ctx context.Context, beat func()) {
	tick := time.NewTicker(c.cfg.HeartbeatInterval)
	defer tick.Stop()
	for {
		if pp := c.active.Load(); pp == nil || !pp.revoked.Load() {
			return
		}
		select {
		case <-c.idle:
		case <-tick.C:
			if beat != nil {
				beat()
			}
		case <-ctx.Done():
			return
		}
	}
}
