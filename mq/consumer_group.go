package mq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// consumerGroup is the consumer's membership in its group, by the classic protocol with eager rebalancing: join, get partitions, report
// until the group rebalances or gives this member up, give the partitions back, join again. With ConsumerConfig.Partitions it is never
// a member and only commits.
type consumerGroup struct {
	c           *Consumer
	coordinator groupClient
	counts      map[string]int32 // as leader, what the assignment was made for; used by run only

	mu struct {
		sync.Mutex
		member     string // empty: none
		generation int32  // -1: none
	}
}

func newConsumerGroup(c *Consumer) *consumerGroup {
	g := &consumerGroup{c: c}
	g.coordinator = groupClient{c: c.c, group: c.cfg.Group, lane: c.c.pool.newLane()}
	g.mu.generation = -1
	return g
}

func (g *consumerGroup) membership() (generation int32, member string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.generation, g.mu.member
}

func (g *consumerGroup) set(generation int32, member string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.generation, g.mu.member = generation, member
}

// Internal to a join: the membership must be renewed, with the member id kept if it is still valid; the group has just given a member id out.
var (
	errRejoin   = errors.New("mq: the group rebalances")
	errMemberID = errors.New("mq: the group wants the member id it has given out")
)

// run is a member until ctx ends.
func (g *consumerGroup) run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		partitions, err := g.join(ctx)
		if err != nil {
			failures++
			if ctx.Err() == nil && !errors.Is(err, errRejoin) && !errors.Is(err, errMemberID) && !temporary(err) {
				g.c.mu.Lock()
				g.c.reportLocked(&OpError{Op: "join", Subject: "group " + g.c.cfg.Group, Err: err})
				g.c.mu.Unlock()
			}
			_ = g.c.c.sleep(ctx, g.c.c.pool.backoff(failures, 5*g.c.c.cfg.RetryBackoffMax))
			continue
		}
		if err := g.c.assign(ctx, partitions, nil); err != nil {
			failures++
			_ = g.c.c.sleep(ctx, g.c.c.pool.backoff(failures, 5*g.c.c.cfg.RetryBackoffMax))
			continue
		}
		failures = 0
		lost := g.stay(ctx)
		if ctx.Err() != nil {
			return
		}
		g.giveBack(ctx, lost)
	}
}

// giveBack ends the possession of all partitions before the next join.
func (g *consumerGroup) giveBack(ctx context.Context, lost bool) {
	limit, cancel := context.WithTimeout(ctx, g.c.cfg.RebalanceTimeout/2)
	defer cancel()
	beat := func() { // so that the session does not end while a loop body runs
		if !lost {
			_ = g.heartbeat(limit)
		}
	}
	g.c.unassign(limit, g.c.Assignment(), !lost, beat)
}

// join joins and synchronizes, and returns this member's partitions.
func (g *consumerGroup) join(ctx context.Context) ([]TopicPartition, error) {
	partitions, err := g.joinOnce(ctx)
	if errors.Is(err, errMemberID) {
		return g.joinOnce(ctx)
	}
	return partitions, err
}

func (g *consumerGroup) joinOnce(ctx context.Context) ([]TopicPartition, error) {
	cfg := &g.c.cfg
	_, member := g.membership()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = cfg.Group, member, "consumer"
	req.SessionTimeoutMillis = int32(cfg.SessionTimeout / time.Millisecond)
	req.RebalanceTimeoutMillis = int32(cfg.RebalanceTimeout / time.Millisecond)
	if cfg.InstanceID != "" {
		req.InstanceID = &cfg.InstanceID
	}
	for _, a := range cfg.Assignors {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = a.Name(), encodeSubscription(cfg.Topics, nil)
		req.Protocols = append(req.Protocols, p)
	}
	var joined *kmsg.JoinGroupResponse
	err := g.coordinator.once(ctx, cfg.RebalanceTimeout, req, func(resp kmsg.Response) error {
		joined = resp.(*kmsg.JoinGroupResponse)
		if Error(joined.ErrorCode) == ErrMemberIDRequired { // KIP-394
			g.set(-1, joined.MemberID)
			return errMemberID
		}
		return codeError(joined.ErrorCode)
	})
	if err != nil {
		return nil, g.forgotten(err)
	}
	g.set(joined.Generation, joined.MemberID)

	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.Generation, sync.MemberID = cfg.Group, joined.Generation, joined.MemberID
	sync.InstanceID, sync.ProtocolType, sync.Protocol = req.InstanceID, new("consumer"), joined.Protocol
	g.counts = nil
	if joined.LeaderID == joined.MemberID {
		if sync.GroupAssignment, err = g.divide(ctx, joined); err != nil {
			return nil, err
		}
	}
	var partitions []TopicPartition
	err = g.coordinator.once(ctx, cfg.RebalanceTimeout, sync, func(resp kmsg.Response) error {
		r := resp.(*kmsg.SyncGroupResponse)
		if err := codeError(r.ErrorCode); err != nil {
			return err
		}
		var err error
		if partitions, err = decodeAssignment(r.MemberAssignment); err != nil {
			return fmt.Errorf("%w: assignment: %w", ErrProtocol, err)
		}
		return nil
	})
	return partitions, g.forgotten(err)
}

// forgotten forgets the member id if the error says that it is not valid, and makes errors that only ask for another join errRejoin.
func (g *consumerGroup) forgotten(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnknownMemberID):
		g.set(-1, "")
		return errRejoin
	case errors.Is(err, ErrIllegalGeneration), errors.Is(err, ErrRebalanceInProgress):
		return errRejoin
	}
	return err
}

// divide makes the assignment of the whole group, as its leader.
func (g *consumerGroup) divide(ctx context.Context, joined *kmsg.JoinGroupResponse) ([]kmsg.SyncGroupRequestGroupAssignment, error) {
	members := make([]GroupMember, 0, len(joined.Members))
	topics := make(map[string]bool)
	for i := range joined.Members {
		m, err := decodeMember(&joined.Members[i])
		if err != nil {
			return nil, fmt.Errorf("%w: subscription of member %s: %w", ErrProtocol, joined.Members[i].MemberID, err)
		}
		members = append(members, m)
		for _, t := range m.Topics {
			topics[t] = true
		}
	}
	slices.SortFunc(members, compareMembers)
	g.c.c.meta.want(false, slices.Collect(maps.Keys(topics))...)
	attempt, cancel := context.WithTimeout(ctx, g.c.c.cfg.RequestTimeout)
	defer cancel()
	if err := g.c.c.meta.refresh(attempt); err != nil {
		return nil, err
	}
	name := ""
	if joined.Protocol != nil {
		name = *joined.Protocol
	}
	i := slices.IndexFunc(g.c.cfg.Assignors, func(a Assignor) bool { return a.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("%w: the group chose assignor %q", ErrProtocol, name)
	}
	g.counts = g.partitionCounts(slices.Collect(maps.Keys(topics)))
	assigned := g.c.cfg.Assignors[i].Assign(members, existing(g.counts))
	parts := make([]kmsg.SyncGroupRequestGroupAssignment, 0, len(members))
	for _, m := range members {
		part := kmsg.NewSyncGroupRequestGroupAssignment()
		part.MemberID, part.MemberAssignment = m.ID, encodeAssignment(assigned[m.ID])
		parts = append(parts, part)
	}
	return parts, nil
}

// partitionCounts returns how many partitions each topic has, 0 for those that are not there.
func (g *consumerGroup) partitionCounts(topics []string) map[string]int32 {
	v := g.c.c.meta.current()
	counts := make(map[string]int32, len(topics))
	for _, t := range topics {
		counts[t] = 0
		if tv := v.topics[t]; tv != nil {
			counts[t] = int32(len(tv.partitions))
		}
	}
	return counts
}

func existing(counts map[string]int32) map[string]int32 {
	m := maps.Clone(counts)
	maps.DeleteFunc(m, func(_ string, n int32) bool { return n == 0 })
	return m
}

// stay reports to the coordinator until the group rebalances, or gives this member up (lost), or ctx ends.
func (g *consumerGroup) stay(ctx context.Context) (lost bool) {
	cfg := &g.c.cfg
	last := time.Now()
	timer := time.NewTimer(cfg.HeartbeatInterval)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return false
		case <-g.c.topicsNew:
			if g.topicsChanged() {
				return false
			}
			continue
		case <-timer.C:
		}
		if g.missingTopics() {
			g.c.c.meta.kick()
		}
		err := g.heartbeat(ctx)
		wait := cfg.HeartbeatInterval
		switch {
		case err == nil:
			last, failures = time.Now(), 0
		case errors.Is(err, ErrRebalanceInProgress):
			return false
		case errors.Is(err, ErrUnknownMemberID), errors.Is(err, ErrFencedInstanceID), errors.Is(err, ErrIllegalGeneration):
			_ = g.forgotten(err)
			return true
		case time.Since(last) > cfg.SessionTimeout:
			return true // the group must have given us up, or will before it hears of us
		default:
			failures++
			wait = min(wait, g.c.c.pool.backoff(failures, g.c.c.cfg.RetryBackoffMax))
		}
		timer.Reset(wait)
	}
}

// heartbeat reports once.
func (g *consumerGroup) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(g.c.c.cfg.RequestTimeout, g.c.cfg.SessionTimeout/2))
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group = g.c.cfg.Group
	req.Generation, req.MemberID = g.membership()
	if id := g.c.cfg.InstanceID; id != "" {
		req.InstanceID = &id
	}
	return g.coordinator.once(ctx, 0, req, func(resp kmsg.Response) error {
		return codeError(resp.(*kmsg.HeartbeatResponse).ErrorCode)
	})
}

// topicsChanged reports whether this is the leader and its assignment no longer covers the topics' partitions.
func (g *consumerGroup) topicsChanged() bool {
	return g.counts != nil && !maps.Equal(g.counts, g.partitionCounts(slices.Collect(maps.Keys(g.counts))))
}

// missingTopics reports whether the leader's assignment lacks topics that may yet be created.
func (g *consumerGroup) missingTopics() bool {
	for _, n := range g.counts {
		if n == 0 {
			return true
		}
	}
	return false
}

// leave tells the group that this member will not be back. Static members stay members until their session ends (KIP-345).
func (g *consumerGroup) leave(ctx context.Context) {
	_, member := g.membership()
	if member == "" || g.c.cfg.InstanceID != "" {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = g.c.cfg.Group, member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = member
	req.Members = append(req.Members, m)
	g.c.c.pool.interrupt(g.coordinator.lane) // a join may be waiting for other members
	_ = g.coordinator.once(ctx, 0, req, func(kmsg.Response) error { return nil })
	g.set(-1, "")
}
