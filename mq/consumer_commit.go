package mq

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitItem is a partition's offset in a commit.
type commitItem struct {
	pp     *consumerPartition
	tp     TopicPartition
	offset int64
	epoch  int32
}

// Commit commits, for every partition the consumer has, the offset after the last record whose loop body has ended; called from the body,
// it does not cover the record at hand. It retries until ctx ends.
//
// Errors: ErrIllegalGeneration, ErrUnknownMemberID and ErrRebalanceInProgress mean that the group has moved on, and that the records may be
// delivered again, here or elsewhere; those of the broker; ctx's, which is also ErrUnknownOutcome if a commit was sent; ErrClosed.
func (c *Consumer) Commit(ctx context.Context) error {
	if c.group == nil {
		return &OpError{Op: "commit", Err: errors.New("mq: the consumer has no Group")}
	}
	return c.commit(ctx, true)
}

// commit is Commit; left says whether a record whose body was left counts.
func (c *Consumer) commit(ctx context.Context, left bool) error {
	select {
	case <-c.committing: // one at a time, so that no older commit overtakes a newer one
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.committing <- struct{}{} }()

	c.mu.Lock()
	if left {
		c.coverLeftLocked()
	}
	var items []commitItem
	for tp, pp := range c.mu.partitions {
		if covered := pp.covered.Load(); covered >= 0 && covered != pp.committed {
			items = append(items, commitItem{pp, tp, covered, pp.epoch.Load()})
		}
	}
	c.mu.Unlock()
	if len(items) == 0 {
		return nil
	}
	slices.SortFunc(items, func(a, b commitItem) int { return compareTopicPartitions(a.tp, b.tp) })
	if err := c.group.commit(ctx, items); err != nil {
		return &OpError{Op: "commit", Subject: "group " + c.cfg.Group, Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range items {
		it.pp.committed = it.offset
	}
	return nil
}

// autoCommit commits every AutoCommitInterval until the consumer is closed.
func (c *Consumer) autoCommit() {
	tick := time.NewTicker(c.cfg.AutoCommitInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, max(c.cfg.AutoCommitInterval, c.c.cfg.RequestTimeout))
		err := c.commit(ctx, false)
		cancel()
		if err != nil && c.ctx.Err() == nil && !groupMovedOn(err) {
			c.mu.Lock()
			c.reportLocked(err)
			c.mu.Unlock()
		}
	}
}

// groupMovedOn reports whether a commit failed because of a rebalance, which is no error worth reporting.
func groupMovedOn(err error) bool {
	return errors.Is(err, ErrIllegalGeneration) || errors.Is(err, ErrUnknownMemberID) || errors.Is(err, ErrRebalanceInProgress)
}

// commit sends the offsets to the coordinator as the member that it is now.
func (g *consumerGroup) commit(ctx context.Context, items []commitItem) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = g.c.cfg.Group
	req.Generation, req.MemberID = g.membership()
	if id := g.c.cfg.InstanceID; id != "" && req.Generation >= 0 {
		req.InstanceID = &id
	}
	for _, it := range items {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != it.tp.Topic {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = it.tp.Topic
			req.Topics = append(req.Topics, t)
		}
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset, part.LeaderEpoch = it.tp.Partition, it.offset, it.epoch
		part.Metadata = new("")
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, part)
	}
	return g.coordinator.do(ctx, req, func(resp kmsg.Response) error {
		for _, t := range resp.(*kmsg.OffsetCommitResponse).Topics {
			for _, part := range t.Partitions {
				if err := codeError(part.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// fetchCommitted asks for the group's offsets of the given partitions, or of all for nil.
func (k *groupClient) fetchCommitted(ctx context.Context, partitions []TopicPartition) (map[TopicPartition]CommittedOffset, error) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = k.group
	req.RequireStable = true
	if partitions != nil {
		req.Topics = []kmsg.OffsetFetchRequestTopic{}
		for topic, numbers := range byTopic(partitions) {
			t := kmsg.NewOffsetFetchRequestTopic()
			t.Topic, t.Partitions = topic, numbers
			req.Topics = append(req.Topics, t)
		}
	}
	found := make(map[TopicPartition]CommittedOffset)
	err := k.do(ctx, req, func(resp kmsg.Response) error {
		r := resp.(*kmsg.OffsetFetchResponse)
		if err := codeError(r.ErrorCode); err != nil {
			return err
		}
		clear(found)
		for _, t := range r.Topics {
			for _, part := range t.Partitions {
				if err := codeError(part.ErrorCode); err != nil {
					return err
				}
				if part.Offset < 0 {
					continue
				}
				o := CommittedOffset{Offset: part.Offset, LeaderEpoch: part.LeaderEpoch}
				if part.Metadata != nil {
					o.Metadata = *part.Metadata
				}
				found[TopicPartition{t.Topic, part.Partition}] = o
			}
		}
		return nil
	})
	return found, err
}
