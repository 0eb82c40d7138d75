package mq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListGroups lists the groups of all brokers, in order of their names.
func (c *Client) ListGroups(ctx context.Context) ([]GroupListing, error) {
	var all []GroupListing
	err := c.retry(ctx, func() error {
		all = nil
		if err := c.meta.refresh(ctx); err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(c.meta.current().brokers)) {
			resp, err := c.requestBroker(ctx, id, quickLane, kmsg.NewPtrListGroupsRequest(), 0)
			if err != nil {
				return err
			}
			r := resp.(*kmsg.ListGroupsResponse)
			if err := codeError(r.ErrorCode); err != nil {
				return err
			}
			for _, g := range r.Groups {
				all = append(all, GroupListing{Group: g.Group, ProtocolType: g.ProtocolType, State: g.GroupState})
			}
		}
		return nil
	})
	if err != nil {
		return nil, &OpError{Op: "list groups", Err: err}
	}
	slices.SortFunc(all, func(a, b GroupListing) int {
		return compareTopicPartitions(TopicPartition{Topic: a.Group}, TopicPartition{Topic: b.Group})
	})
	return all, nil
}

// DescribeGroup describes a group. A group that does not exist has State "Dead" and no members, as with Kafka.
func (c *Client) DescribeGroup(ctx context.Context, group string) (GroupInfo, error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	k := &groupClient{c: c, group: group, lane: quickLane}
	var info GroupInfo
	err := k.do(ctx, req, func(resp kmsg.Response) error {
		for _, g := range resp.(*kmsg.DescribeGroupsResponse).Groups {
			if err := codeError(g.ErrorCode); err != nil {
				return err
			}
			info = GroupInfo{Group: g.Group, State: g.State, ProtocolType: g.ProtocolType, Protocol: g.Protocol}
			for _, m := range g.Members {
				member := MemberInfo{ID: m.MemberID, InstanceID: deref(m.InstanceID), ClientID: m.ClientID, Host: m.ClientHost}
				if g.ProtocolType == "consumer" {
					var err error
					if member.Assigned, err = decodeAssignment(m.MemberAssignment); err != nil {
						return fmt.Errorf("%w: assignment of member %s: %w", ErrProtocol, m.MemberID, err)
					}
				}
				info.Members = append(info.Members, member)
			}
		}
		return nil
	})
	if err != nil {
		return GroupInfo{}, &OpError{Op: "describe", Subject: "group " + group, Err: err}
	}
	return info, nil
}

// DescribeGroups describes several groups; see DescribeGroup.
func (c *Client) DescribeGroups(ctx context.Context, groups ...string) ([]GroupInfo, error) {
	infos := make([]GroupInfo, 0, len(groups))
	for _, g := range groups {
		info, err := c.DescribeGroup(ctx, g)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// DeleteGroups deletes groups without members, with their committed offsets. Each succeeds or fails for itself; the errors are joined.
// Errors: ErrNonEmptyGroup, ErrGroupIDNotFound.
func (c *Client) DeleteGroups(ctx context.Context, groups ...string) error {
	var errs []error
	for _, group := range groups {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{group}
		k := &groupClient{c: c, group: group, lane: quickLane}
		err := k.do(ctx, req, func(resp kmsg.Response) error {
			for _, g := range resp.(*kmsg.DeleteGroupsResponse).Groups {
				if err := codeError(g.ErrorCode); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			errs = append(errs, &OpError{Op: "delete", Subject: "group " + group, Err: err})
		}
	}
	return errors.Join(errs...)
}

// CommittedOffsets returns all offsets that a group has committed. A group that does not exist has none.
func (c *Client) CommittedOffsets(ctx context.Context, group string) (map[TopicPartition]CommittedOffset, error) {
	k := &groupClient{c: c, group: group, lane: quickLane}
	offsets, err := k.fetchCommitted(ctx, nil)
	if err != nil {
		return nil, &OpError{Op: "fetch committed offsets of", Subject: "group " + group, Err: err}
	}
	return offsets, nil
}

// CommitOffsets sets committed offsets of a group that has no members, as a tool does. Error: ErrUnknownMemberID if it has.
func (c *Client) CommitOffsets(ctx context.Context, group string, offsets map[TopicPartition]CommittedOffset) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	for topic, numbers := range byTopic(slices.SortedFunc(maps.Keys(offsets), compareTopicPartitions)) {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for _, n := range numbers {
			o := offsets[TopicPartition{topic, n}]
			part := kmsg.NewOffsetCommitRequestTopicPartition()
			part.Partition, part.Offset, part.LeaderEpoch, part.Metadata = n, o.Offset, o.LeaderEpoch, new(o.Metadata)
			t.Partitions = append(t.Partitions, part)
		}
		req.Topics = append(req.Topics, t)
	}
	k := &groupClient{c: c, group: group, lane: quickLane}
	err := k.do(ctx, req, func(resp kmsg.Response) error {
		for _, t := range resp.(*kmsg.OffsetCommitResponse).Topics {
			for _, part := range t.Partitions {
				if err := codeError(part.ErrorCode); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return &OpError{Op: "commit", Subject: "group " + group, Err: err}
	}
	return nil
}
