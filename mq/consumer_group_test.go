package mq

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rebalanceNext makes the next heartbeat say that the group rebalances.
func (f *fakeCluster) rebalanceNext(code Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = func(_ int32, req kmsg.Request) fakeAction {
		if _, ok := req.(*kmsg.HeartbeatRequest); ok {
			f.hook = nil
			return fakeAction{code: code}
		}
		return fakeAction{}
	}
}

func (f *fakeCluster) committedOffset(tp TopicPartition) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.committed[tp]
}

// TestGroupRebalanceWaitsForBody lets a rebalance fall into a loop body: no further record is yielded, the body is waited for, what it covers is
// committed, and the next owner, here the same, goes on behind it.
func TestGroupRebalanceWaitsForBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.fill("t", 0, 10)
		tp := TopicPartition{"t", 0}
		var revoked, assigned atomic.Int32
		c, err := f.connect().NewConsumer(ConsumerConfig{
			Group: "g", Topics: []string{"t"}, AutoCommitInterval: time.Hour,
			OnAssigned: func(_ context.Context, _ *Consumer, tps []TopicPartition) {
				require.Equal(t, []TopicPartition{tp}, tps)
				assigned.Add(1)
			},
			OnRevoked: func(_ context.Context, _ *Consumer, tps []TopicPartition) {
				require.Equal(t, []TopicPartition{tp}, tps)
				require.EqualValues(t, 4, f.committedOffset(tp), "committed before it is given back")
				revoked.Add(1)
			},
		})
		require.NoError(t, err)
		var values []string
		for r, err := range c.Records(context.Background()) {
			require.NoError(t, err)
			values = append(values, string(r.Value))
			if r.Offset == 3 && revoked.Load() == 0 {
				f.rebalanceNext(ErrRebalanceInProgress)
				time.Sleep(5 * time.Second)
				require.Zero(t, revoked.Load(), "the body is still running")
				require.GreaterOrEqual(t, f.requests("Heartbeat"), 4, "the member reports meanwhile")
			}
			if len(values) == 10 {
				break
			}
		}
		require.Equal(t, wantValues(10), values)
		require.EqualValues(t, 1, revoked.Load())
		require.EqualValues(t, 2, assigned.Load())
		require.NoError(t, c.Close())
		require.EqualValues(t, 9, f.committedOffset(tp), "the record whose body was left is not covered")
	})
}

// TestGroupLost has the group give the member up: it comes back under a new member id, from the committed offset.
func TestGroupLost(t *testing.T) {
	for _, code := range []Error{ErrUnknownMemberID, ErrIllegalGeneration} {
		t.Run(code.Error(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFakeCluster(t, 1)
				f.topic("t", 1)
				f.fill("t", 0, 6)
				lost := make(chan struct{}, 1)
				c, err := f.connect().NewConsumer(ConsumerConfig{
					Group: "g", Topics: []string{"t"},
					OnRevoked: func(context.Context, *Consumer, []TopicPartition) { t.Error("nothing was revoked") },
					OnLost:    func(context.Context, *Consumer, []TopicPartition) { lost <- struct{}{} },
				})
				require.NoError(t, err)
				ctx := context.Background()
				require.Equal(t, wantValues(6)[:3], take(t, c, 3))
				require.NoError(t, c.Commit(ctx))
				require.Equal(t, wantValues(6)[3:5], take(t, c, 2))
				f.rebalanceNext(code)
				<-lost
				require.Equal(t, wantValues(6)[3:], take(t, c, 3), "at least once")
			})
		})
	}
}

// TestGroupSessionEnds cuts the member off from the coordinator for longer than its session: it stops yielding by itself.
func TestGroupSessionEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 2)
		f.topic("t", 2)
		f.fill("t", 0, 2)
		lost := make(chan time.Time, 1)
		c, err := f.connect().NewConsumer(ConsumerConfig{
			Group: "g", Topics: []string{"t"}, SessionTimeout: 6 * time.Second,
			OnLost: func(context.Context, *Consumer, []TopicPartition) { lost <- time.Now() },
		})
		require.NoError(t, err)
		take(t, c, 2)
		begin := time.Now()
		f.kill(1)
		require.InDelta(t, 6, (<-lost).Sub(begin).Seconds(), 1.5)
		f.start(1)
		take(t, c, 2)
	})
}

// TestGroupNewPartitions has the leader rejoin when a topic grows or appears.
func TestGroupNewPartitions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		c, err := f.connect().NewConsumer(ConsumerConfig{Group: "g", Topics: []string{"t", "u"}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, []TopicPartition{{"t", 0}}, c.Assignment())
		f.topic("u", 1, 1)
		time.Sleep(3 * time.Second)
		require.Equal(t, []TopicPartition{{"t", 0}, {"u", 0}, {"u", 1}}, c.Assignment())
	})
}

// TestCommit covers what Commit covers, and what it says when it fails.
func TestCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.fill("t", 0, 10)
		tp := TopicPartition{"t", 0}
		c, err := f.connect().NewConsumer(ConsumerConfig{Group: "g", Topics: []string{"t"}})
		require.NoError(t, err)
		ctx := context.Background()
		for r, err := range c.Records(ctx) {
			require.NoError(t, err)
			require.NoError(t, c.Commit(ctx))
			require.Equal(t, r.Offset, f.committedOffset(tp), "the record at hand is not covered")
			if r.Offset == 4 {
				break
			}
		}
		require.NoError(t, c.Commit(ctx))
		require.EqualValues(t, 5, f.committedOffset(tp))
		commits := f.requests("OffsetCommit")
		require.NoError(t, c.Commit(ctx))
		require.Equal(t, commits, f.requests("OffsetCommit"), "there was nothing new to commit")
		require.NoError(t, c.Seek(tp, 2))
		require.NoError(t, c.Commit(ctx))
		require.EqualValues(t, 2, f.committedOffset(tp))

		take(t, c, 1)
		f.with(func() {
			f.hook = func(_ int32, req kmsg.Request) fakeAction {
				_, ok := req.(*kmsg.OffsetCommitRequest)
				return fakeAction{lose: ok}
			}
		})
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		err = c.Commit(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrUnknownOutcome)
		for _, code := range []Error{ErrRebalanceInProgress, ErrIllegalGeneration, ErrUnknownMemberID} {
			f.with(func() {
				f.hook = func(_ int32, req kmsg.Request) fakeAction {
					if _, ok := req.(*kmsg.OffsetCommitRequest); ok {
						return fakeAction{code: code}
					}
					return fakeAction{}
				}
			})
			require.ErrorIs(t, c.Commit(ctx), code)
		}
		n := 0
		f.with(func() {
			f.hook = func(_ int32, req kmsg.Request) fakeAction {
				if _, ok := req.(*kmsg.OffsetCommitRequest); ok {
					if n++; n < 4 {
						return fakeAction{code: []Error{ErrNotCoordinator, ErrCoordinatorLoadInProgress, ErrCoordinatorNotAvailable}[n-1]}
					}
				}
				return fakeAction{}
			}
		})
		require.NoError(t, c.Commit(ctx))
		require.EqualValues(t, 3, f.committedOffset(tp))
	})
}

// TestGroupJoinFaults loses everything a join consists of, once.
func TestGroupJoinFaults(t *testing.T) {
	for _, act := range []fakeAction{{drop: true}, {lose: true}, {code: ErrNotCoordinator}, {code: ErrCoordinatorLoadInProgress}} {
		bubble(t, func(t *testing.T) {
			f := newFakeCluster(t, 2)
			f.topic("t", 1)
			f.fill("t", 0, 2)
			done := make(map[int16]bool)
			f.hook = func(_ int32, req kmsg.Request) fakeAction {
				switch req.(type) {
				case *kmsg.JoinGroupRequest, *kmsg.SyncGroupRequest, *kmsg.OffsetFetchRequest, *kmsg.FindCoordinatorRequest:
					if !done[req.Key()] {
						done[req.Key()] = true
						return act
					}
				}
				return fakeAction{}
			}
			c, err := f.connect().NewConsumer(ConsumerConfig{Group: "g", Topics: []string{"t"}})
			require.NoError(t, err)
			require.Equal(t, wantValues(2), take(t, c, 2))
		})
	}
}

// TestGroupCloseWhileJoining closes a member whose join is not answered: it leaves at once.
func TestGroupCloseWhileJoining(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.hook = func(_ int32, req kmsg.Request) fakeAction {
			j, ok := req.(*kmsg.JoinGroupRequest)
			return fakeAction{silent: ok && j.MemberID != ""}
		}
		c, err := f.connect().NewConsumer(ConsumerConfig{Group: "g", Topics: []string{"t"}})
		require.NoError(t, err)
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, c.Close())
		require.Less(t, time.Since(begin), 100*time.Millisecond)
		require.Equal(t, 1, f.requests("LeaveGroup"))
	})
}

// TestGroupError yields an error that trying again does not cure.
func TestGroupError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.hook = func(_ int32, req kmsg.Request) fakeAction {
			if j, ok := req.(*kmsg.JoinGroupRequest); ok && j.MemberID != "" {
				return fakeAction{code: ErrGroupAuthorizationFailed}
			}
			return fakeAction{}
		}
		c, err := f.connect().NewConsumer(ConsumerConfig{Group: "g", Topics: []string{"t"}})
		require.NoError(t, err)
		synctest.Wait()
		for r, err := range c.Records(context.Background()) {
			require.Nil(t, r)
			_, isOp := errors.AsType[*OpError](err)
			require.True(t, isOp)
			require.ErrorContains(t, err, "group g")
			break
		}
	})
}

func TestAssignors(t *testing.T) {
	members := []GroupMember{{ID: "a", Topics: []string{"t", "u"}}, {ID: "b", Topics: []string{"t"}}, {ID: "c", Topics: []string{"t", "u"}}}
	partitions := map[string]int32{"t": 5, "u": 3, "nobody": 2}
	count := func(tps []TopicPartition, topic string) (ps []int32) {
		for _, tp := range tps {
			if tp.Topic == topic {
				ps = append(ps, tp.Partition)
			}
		}
		return ps
	}
	got := RangeAssignor.Assign(members, partitions)
	require.Equal(t, []int32{0, 1}, count(got["a"], "t"))
	require.Equal(t, []int32{2, 3}, count(got["b"], "t"))
	require.Equal(t, []int32{4}, count(got["c"], "t"))
	require.Equal(t, []int32{0, 1}, count(got["a"], "u"))
	require.Equal(t, []int32{2}, count(got["c"], "u"))
	got = RoundRobinAssignor.Assign(members, partitions)
	require.Equal(t, []int32{0, 3}, count(got["a"], "t"))
	require.Equal(t, []int32{1, 4}, count(got["b"], "t"))
	require.Equal(t, []int32{2}, count(got["c"], "t"))
	require.Equal(t, []int32{0, 2}, slices.Concat(count(got["c"], "u")))
	require.Equal(t, []int32{1}, count(got["a"], "u"))
	for _, a := range []Assignor{RangeAssignor, RoundRobinAssignor} {
		require.Empty(t, a.Assign(nil, nil))
		all := 0
		for _, tps := range a.Assign(members, partitions) {
			all += len(tps)
		}
		require.Equal(t, 8, all)
	}
}

func TestGroupCodec(t *testing.T) {
	tps := []TopicPartition{{"a", 0}, {"a", 7}, {"b", 1}}
	got, err := decodeAssignment(encodeAssignment(tps))
	require.NoError(t, err)
	require.Equal(t, tps, got)
	got, err = decodeAssignment(nil)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = decodeAssignment([]byte{0, 0, 0x7f, 0xff, 0xff, 0xff})
	require.Error(t, err)
	m := kmsg.NewJoinGroupResponseMember()
	m.MemberID, m.ProtocolMetadata = "m", encodeSubscription([]string{"b", "a"}, tps)
	gm, err := decodeMember(&m)
	require.NoError(t, err)
	require.Equal(t, GroupMember{ID: "m", Topics: []string{"a", "b"}, Owned: tps}, gm)
	m.ProtocolMetadata = []byte{1}
	_, err = decodeMember(&m)
	require.Error(t, err)
}
