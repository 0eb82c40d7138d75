package mq

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListOffsets returns an offset of each partition of a topic: the earliest (OffsetEarliest), the one after the last visible record
// (OffsetLatest), or that of the first record with a timestamp of at or later, in milliseconds since 1970.
// Error: ErrUnknownTopicOrPartition.
func (c *Client) ListOffsets(ctx context.Context, topic string, at int64) (map[int32]ListedOffset, error) {
	found := make(map[int32]ListedOffset)
	err := c.eachLeader(ctx, topic, nil, func(leader int32, partitions []int32) error {
		req := kmsg.NewPtrListOffsetsRequest()
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, p := range partitions {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = p, at
			t.Partitions = append(t.Partitions, rp)
		}
		req.Topics = append(req.Topics, t)
		resp, err := c.requestBroker(ctx, leader, quickLane, req, 0)
		if err != nil {
			return err
		}
		for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, part := range t.Partitions {
				if err := codeError(part.ErrorCode); err != nil {
					return err
				}
				o := ListedOffset{Offset: part.Offset, LeaderEpoch: part.LeaderEpoch}
				if part.Timestamp >= 0 {
					o.Timestamp = time.UnixMilli(part.Timestamp)
				}
				found[part.Partition] = o
			}
		}
		return nil
	})
	if err != nil {
		return nil, &OpError{Op: "list offsets of", Subject: topic, Err: err}
	}
	return found, nil
}

// DeleteRecords deletes the records below the given offset of each partition; -1 means all visible ones. It returns each partition's new
// earliest offset. Error: ErrOffsetOutOfRange.
func (c *Client) DeleteRecords(ctx context.Context, topic string, before map[int32]int64) (map[int32]int64, error) {
	earliest := make(map[int32]int64)
	var only []int32
	for p := range before {
		only = append(only, p)
	}
	err := c.eachLeader(ctx, topic, only, func(leader int32, partitions []int32) error {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.TimeoutMillis = c.adminTimeoutMillis()
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		for _, p := range partitions {
			rp := kmsg.NewDeleteRecordsRequestTopicPartition()
			rp.Partition, rp.Offset = p, before[p]
			t.Partitions = append(t.Partitions, rp)
		}
		req.Topics = append(req.Topics, t)
		resp, err := c.requestBroker(ctx, leader, produceLane, req, c.cfg.RequestTimeout)
		if err != nil {
			return err
		}
		for _, t := range resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, part := range t.Partitions {
				if err := codeError(part.ErrorCode); err != nil {
					return err
				}
				earliest[part.Partition] = part.LowWatermark
			}
		}
		return nil
	})
	if err != nil {
		return nil, &OpError{Op: "delete records of", Subject: topic, Err: err}
	}
	return earliest, nil
}

// eachLeader calls ask with the partitions of each leader of the topic, again after temporary errors. Only, if not nil, are the partitions of interest.
// Ask must be safe to repeat.
func (c *Client) eachLeader(ctx context.Context, topic string, only []int32, ask func(leader int32, partitions []int32) error) error {
	var unknown time.Time
	return c.retry(ctx, func() error {
		info, err := c.DescribeTopic(ctx, topic)
		if errors.Is(err, ErrUnknownTopicOrPartition) {
			if unknown.IsZero() {
				unknown = time.Now()
			}
			if time.Since(unknown) > newTopicTime {
				return final(ErrUnknownTopicOrPartition)
			}
		}
		if err != nil {
			return err
		}
		leaders := make(map[int32][]int32)
		for _, p := range info.Partitions {
			if only != nil && !slices.Contains(only, p.Partition) {
				continue
			}
			if p.Leader < 0 {
				return ErrLeaderNotAvailable
			}
			leaders[p.Leader] = append(leaders[p.Leader], p.Partition)
		}
		for leader, partitions := range leaders {
			if _, known := c.meta.current().addr(leader); !known {
				if err := c.meta.refresh(ctx); err != nil {
					return err
				}
			}
			if err := ask(leader, partitions); err != nil {
				return err
			}
		}
		return nil
	})
}

// newTopicTime is for how long a topic that is not known may yet turn out to be there.
const newTopicTime = time.Second
