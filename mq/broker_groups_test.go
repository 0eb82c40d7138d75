package mq

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// coordinator finds a group's coordinator.
func (r *rawClient) coordinator(name string) int32 {
	r.t.Helper()
	for r.ctx.Err() == nil {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.SetVersion(3)
		req.CoordinatorKey = name
		resp, err := r.try(r.any(), req)
		if err == nil {
			if f := resp.(*kmsg.FindCoordinatorResponse); f.ErrorCode == 0 {
				return f.NodeID
			}
		}
		pause(r.ctx, 10*time.Millisecond)
	}
	require.Fail(r.t, "no coordinator")
	return -1
}

// ask repeats a request to the group's coordinator while it moves or loads.
func (r *rawClient) ask(name string, req kmsg.Request, code func(kmsg.Response) int16) kmsg.Response {
	r.t.Helper()
	var last any
	for r.ctx.Err() == nil {
		resp, err := r.try(r.coordinator(name), req)
		if err == nil {
			switch c := api.Code(code(resp)); c {
			case api.NotCoordinator, api.CoordinatorLoadInProgress, api.CoordinatorNotAvailable, api.RequestTimedOut:
				last = c
			default:
				return resp
			}
		} else {
			last = err
		}
		pause(r.ctx, 10*time.Millisecond)
	}
	require.Fail(r.t, "no answer from the coordinator", "%v", last)
	return nil
}

// join joins a group with one protocol, and comes back with the member id it is given.
func (r *rawClient) join(name, member string) *kmsg.JoinGroupResponse {
	r.t.Helper()
	for {
		req := kmsg.NewPtrJoinGroupRequest()
		req.SetVersion(7)
		req.Group, req.MemberID, req.ProtocolType = name, member, "consumer"
		req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = "range", []byte("sub")
		req.Protocols = append(req.Protocols, p)
		resp := r.ask(name, req, func(x kmsg.Response) int16 { return x.(*kmsg.JoinGroupResponse).ErrorCode }).(*kmsg.JoinGroupResponse)
		if group.Code(resp.ErrorCode) == group.MemberIDRequired {
			member = resp.MemberID
			continue
		}
		require.Zero(r.t, resp.ErrorCode)
		return resp
	}
}

// sync syncs; the leader gives every member its own id as assignment.
func (r *rawClient) sync(name string, j *kmsg.JoinGroupResponse) string {
	r.t.Helper()
	req := kmsg.NewPtrSyncGroupRequest()
	req.SetVersion(5)
	req.Group, req.MemberID, req.Generation = name, j.MemberID, j.Generation
	for _, m := range j.Members {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = m.MemberID, []byte("for "+m.MemberID)
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	resp := r.ask(name, req, func(x kmsg.Response) int16 { return x.(*kmsg.SyncGroupResponse).ErrorCode }).(*kmsg.SyncGroupResponse)
	require.Zero(r.t, resp.ErrorCode)
	return string(resp.MemberAssignment)
}

// commit commits an offset of t-0.
func (r *rawClient) commit(name, member string, generation int32, offset int64) api.Code {
	r.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.SetVersion(8)
	req.Group, req.MemberID, req.Generation = name, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = "t"
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata = offset, new("note")
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	code := func(x kmsg.Response) int16 {
		return x.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
	}
	return api.Code(code(r.ask(name, req, code)))
}

// committed is the committed offset of t-0, -1 for none.
func (r *rawClient) committed(name string) int64 {
	r.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(7)
	req.Group = name
	resp := r.ask(name, req, func(x kmsg.Response) int16 { return x.(*kmsg.OffsetFetchResponse).ErrorCode }).(*kmsg.OffsetFetchResponse)
	require.Zero(r.t, resp.ErrorCode)
	if len(resp.Topics) == 0 {
		return -1
	}
	require.Equal(r.t, "note", *resp.Topics[0].Partitions[0].Metadata)
	return resp.Topics[0].Partitions[0].Offset
}

// heartbeat says that a member lives.
func (r *rawClient) heartbeat(name string, j *kmsg.JoinGroupResponse) group.Code {
	req := kmsg.NewPtrHeartbeatRequest()
	req.SetVersion(4)
	req.Group, req.MemberID, req.Generation = name, j.MemberID, j.Generation
	code := func(x kmsg.Response) int16 { return x.(*kmsg.HeartbeatResponse).ErrorCode }
	return group.Code(code(r.ask(name, req, code)))
}

func TestGroupOfTwo(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		a, b := newRawClient(ctx, t, c), newRawClient(ctx, t, c)
		defer a.close()
		defer b.close()
		a.create("t", 1, 1, nil)
		ja := a.join("g", "")
		require.Equal(t, "for "+ja.MemberID, a.sync("g", ja))
		require.Equal(t, int64(-1), a.committed("g"))
		require.Equal(t, api.None, a.commit("g", ja.MemberID, ja.Generation, 5))
		require.Equal(t, int64(5), a.committed("g"))
		require.Equal(t, api.Code(group.IllegalGeneration), a.commit("g", ja.MemberID, ja.Generation+1, 6))

		joined := make(chan *kmsg.JoinGroupResponse)
		go func() { joined <- b.join("g", "") }()
		eventually(t, ctx, "the first member hears of the second", func() bool { return a.heartbeat("g", ja) == group.RebalanceInProgress })
		ja = a.join("g", ja.MemberID)
		jb := <-joined
		require.Equal(t, ja.Generation, jb.Generation)
		require.Len(t, ja.Members, 2, "the leader sees everybody")
		require.Empty(t, jb.Members)
		synced := make(chan string)
		go func() { synced <- b.sync("g", jb) }()
		require.Equal(t, "for "+ja.MemberID, a.sync("g", ja))
		require.Equal(t, "for "+jb.MemberID, <-synced)

		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.SetVersion(4)
		leave.Group = "g"
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = jb.MemberID
		leave.Members = append(leave.Members, m)
		require.Zero(t, b.do(1, leave).(*kmsg.LeaveGroupResponse).Members[0].ErrorCode)
		require.Equal(t, group.RebalanceInProgress, a.heartbeat("g", ja))

		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.SetVersion(5)
		describe.Groups = []string{"g", "unknown"}
		d := a.do(1, describe).(*kmsg.DescribeGroupsResponse)
		require.Equal(t, "PreparingRebalance", d.Groups[0].State)
		require.Equal(t, "Dead", d.Groups[1].State)

		// The member that is left falls silent.
		eventually(t, ctx, "the group becomes empty", func() bool {
			return a.do(1, describe).(*kmsg.DescribeGroupsResponse).Groups[0].State == "Empty"
		})
		del := kmsg.NewPtrDeleteGroupsRequest()
		del.SetVersion(2)
		del.Groups = []string{"g"}
		require.Zero(t, a.do(1, del).(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode)
		require.Equal(t, int64(-1), a.committed("g"))
	})
}

// P14: members and offsets survive the death of their coordinator, however often it dies.
func TestGroupSurvivesItsCoordinator(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 3, nil)
		j := r.join("g", "")
		require.Equal(t, "for "+j.MemberID, r.sync("g", j))
		for i := range 4 {
			require.Equal(t, api.None, r.commit("g", j.MemberID, j.Generation, int64(10+i)))
			victim := r.coordinator("g")
			require.NoError(t, c.Kill(victim))
			require.Equal(t, int64(10+i), r.committed("g"), "after the death of %d", victim)
			require.Equal(t, group.None, r.heartbeat("g", j), "the generation goes on")
			require.Equal(t, api.None, r.commit("g", j.MemberID, j.Generation, int64(100+i)))
			require.NoError(t, c.Restart(ctx, victim))
			for part := range int32(4) {
				eventually(t, ctx, "all are in sync again", func() bool { return len(isr(c, api.OffsetsTopic, part)) == 3 })
			}
			require.Equal(t, int64(100+i), r.committed("g"))
		}
	})
}

// Many commits at once are appended as few batches, and each is answered.
func TestCommitsAreGrouped(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 1, nil)
		r.coordinator("g")
		done := make(chan api.Code)
		for i := range 50 {
			go func() {
				one := newRawClient(ctx, t, c)
				defer one.close()
				done <- one.commit(fmt.Sprint("g", i), "", -1, int64(i))
			}()
		}
		for range 50 {
			require.Equal(t, api.None, <-done)
		}
		for i := range 50 {
			require.Equal(t, int64(i), r.committed(fmt.Sprint("g", i)))
		}
	})
}
