package replica

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// pair is a leader and a follower of broker 1's and 2's, with logs that are nothing but their ends.
type pair struct {
	lead, follow *Replica
	l, f         EpochList
}

func state(leader int32, epoch int32, isr ...int32) layout.PartitionState {
	return layout.PartitionState{Leader: leader, LeaderEpoch: epoch, ISR: isr, LeaderIncarnation: int64(leader) * 10}
}

func config(broker int32) Config {
	return Config{Broker: broker, Incarnation: int64(broker) * 10, Replicas: []int32{1, 2}, MinInsync: 2, Durable: true, LagTicks: 5}
}

func newPair(t *testing.T) *pair {
	p := &pair{}
	p.lead, p.follow = New(config(1), Log{}, &p.l), New(config(2), Log{}, &p.f)
	for _, r := range []*Replica{p.lead, p.follow} {
		r.SetState(state(1, 0, 1, 2), 0)
		rd, ok := r.Ready()
		require.True(t, ok)
		require.NotNil(t, rd.Role)
	}
	p.l.Assign(0, 0)
	return p
}

// produce appends and syncs n records on the leader.
func (p *pair) produce(n int64, token uint64) {
	epoch, code := p.lead.BeginAppend(-1, true)
	if code != OK {
		panic(code)
	}
	p.l.End += n
	p.lead.EndAppend(p.l.End)
	p.lead.Synced(p.l.End)
	p.lead.WaitAll(epoch, p.l.End, token)
}

// fetch does one fetch of everything.
func (p *pair) fetch() bool {
	req, ok := p.follow.NextFetch()
	if !ok {
		return false
	}
	a := p.lead.Fetch(req)
	if p.follow.HandleFetch(a, a.LogEnd > req.Offset).Kind == Append {
		p.f.Assign(0, 0)
		p.f.End = a.LogEnd
		p.follow.EndAppend(a.LogEnd)
		p.follow.Synced(a.LogEnd)
	}
	return true
}

func drain(r *Replica) (acks []Ack) {
	for rd, ok := r.Ready(); ok; rd, ok = r.Ready() {
		acks = append(acks, rd.Acks...)
	}
	return acks
}

func TestNoAllocation(t *testing.T) {
	p := newPair(t)
	acked := 0
	round := func() {
		for range 10 {
			p.produce(1, 7)
		}
		p.fetch()
		p.fetch()
		for rd, ok := p.lead.Ready(); ok; rd, ok = p.lead.Ready() {
			acked += len(rd.Acks)
		}
		p.follow.Ready()
		p.lead.Tick()
		p.follow.Tick()
	}
	for range 100 {
		round()
	}
	require.Zero(t, testing.AllocsPerRun(1000, round))
	require.Equal(t, 11010, acked)
}

func TestStateWaitsForTheEndOfAnAppend(t *testing.T) {
	p := newPair(t)
	epoch, code := p.lead.BeginAppend(0, true)
	require.Equal(t, OK, code)
	_, code = p.lead.BeginAppend(0, true)
	require.Equal(t, Busy, code)
	p.lead.SetState(state(2, 1, 1, 2), 1)
	require.Equal(t, Leader, p.lead.Role().Kind, "the append is not over")
	p.l.End = 1
	p.lead.EndAppend(1)
	require.Equal(t, Role{Kind: Follower, Leader: 2, Epoch: 1}, p.lead.Role())
	p.lead.WaitAll(epoch, 1, 3)
	p.lead.WaitSynced(epoch, 1, 4)
	require.Equal(t, []Ack{{3, NotLeader}, {4, NotLeader}}, drain(p.lead))
}

func TestNewLeaderBeginsBehindACopyUnderWay(t *testing.T) {
	p := newPair(t)
	p.produce(3, 1)
	req, ok := p.follow.NextFetch()
	require.True(t, ok)
	require.Equal(t, Action{Append, 0}, p.follow.HandleFetch(p.lead.Fetch(req), true))
	_, ok = p.follow.NextFetch()
	require.False(t, ok)
	p.follow.SetState(state(2, 1, 2), 1)
	p.f.End = 3
	p.follow.EndAppend(3)
	require.Equal(t, Role{Kind: Leader, Leader: 2, Epoch: 1, EpochStart: 3}, p.follow.Role())
	_, known := p.follow.HighWatermark()
	require.False(t, known)
}

func TestDurableFollowerFetchesOnlyWhatItHasSynced(t *testing.T) {
	p := newPair(t)
	p.produce(2, 1)
	req, _ := p.follow.NextFetch()
	p.follow.HandleFetch(p.lead.Fetch(req), true)
	p.f.Assign(0, 0)
	p.f.End = 2
	p.follow.EndAppend(2)
	_, ok := p.follow.NextFetch()
	require.False(t, ok)
	p.follow.Synced(1)
	_, ok = p.follow.NextFetch()
	require.False(t, ok)
	p.follow.Synced(9)
	req, ok = p.follow.NextFetch()
	require.True(t, ok)
	require.Equal(t, FetchRequest{Replica: 2, Incarnation: 20, Leader: 1, Offset: 2, LastEpoch: 0}, req)
	relaxed := config(2)
	relaxed.Durable = false
	p.follow.Configure(relaxed)
	p.produce(1, 1)
	require.True(t, p.fetch())
}

func TestRegisterAnew(t *testing.T) {
	p := newPair(t)
	p.lead.Register(11)
	require.Equal(t, Waiting, p.lead.Role().Kind, "elected in its former life")
	s := state(1, 1, 1, 2)
	s.LeaderIncarnation = 11
	p.lead.SetState(s, 1)
	require.Equal(t, Leader, p.lead.Role().Kind)
	p.lead.BeginAppend(-1, false)
	p.lead.Register(12)
	require.Equal(t, Leader, p.lead.Role().Kind, "an append is under way")
	p.lead.EndAppend(0)
	require.Equal(t, Waiting, p.lead.Role().Kind)
	p.lead.StateGone()
	require.Equal(t, int32(1), p.lead.Role().Epoch)
}

func TestAdmission(t *testing.T) {
	p := newPair(t)
	ask := FetchRequest{Replica: 2, Incarnation: 20, LeaderEpoch: 0, LastEpoch: -1}
	for name, c := range map[string]struct {
		change func(*FetchRequest)
		want   Code
	}{
		"stranger":        {func(r *FetchRequest) { r.Replica = 9 }, InconsistentReplicaSet},
		"without epoch":   {func(r *FetchRequest) { r.LeaderEpoch = -1 }, FencedLeaderEpoch},
		"later epoch":     {func(r *FetchRequest) { r.LeaderEpoch = 4 }, UnknownLeaderEpoch},
		"behind the end":  {func(r *FetchRequest) { r.Offset = 1 }, OffsetOutOfRange},
		"before anything": {func(r *FetchRequest) { r.Offset = -1 }, OffsetOutOfRange},
	} {
		req := ask
		c.change(&req)
		require.Equal(t, c.want, p.lead.Fetch(req).Code, name)
	}
	require.Equal(t, OK, p.lead.Fetch(ask).Code)
	ask.Incarnation = 19
	require.Equal(t, StaleBrokerEpoch, p.lead.Fetch(ask).Code)
	require.Equal(t, OK, p.lead.CheckReader(-1))
	require.Equal(t, OK, p.lead.CheckReader(0))
	require.Equal(t, NotLeader, p.follow.CheckReader(0))
	code, epoch, end := p.lead.OffsetForEpoch(0, 5)
	require.Equal(t, []any{OK, int32(0), int64(0)}, []any{code, epoch, end})
	code, _, _ = p.follow.OffsetForEpoch(0, 5)
	require.Equal(t, NotLeader, code)
	_, code = p.lead.BeginAppend(3, false)
	require.Equal(t, UnknownLeaderEpoch, code)
	p.lead.SetState(state(1, 2, 1), 1)
	_, code = p.lead.BeginAppend(0, false)
	require.Equal(t, FencedLeaderEpoch, code)
	_, code = p.lead.BeginAppend(2, true)
	require.Equal(t, NotEnoughReplicas, code)
	_, code = p.follow.BeginAppend(-1, false)
	require.Equal(t, NotLeader, code)
	p.lead.Fail()
	_, code = p.lead.BeginAppend(-1, false)
	require.Equal(t, StorageError, code)
}

func TestReadIsTriedAgain(t *testing.T) {
	p := newPair(t)
	p.lead.Fetch(FetchRequest{Replica: 2, Incarnation: 20, LeaderEpoch: 3})
	for range 3 {
		rd, _ := p.lead.Ready()
		require.True(t, rd.Read)
		_, ok := p.lead.Ready()
		require.False(t, ok, "one at a time")
		p.lead.ReadDone(false)
	}
	p.lead.Ready()
	p.lead.ReadDone(true)
	_, ok := p.lead.Ready()
	require.False(t, ok)
}

func TestOutOfRange(t *testing.T) {
	ask := func(log Log, a FetchAnswer) Action {
		e := &EpochList{End: log.End}
		if log.End > log.Start {
			e.Assign(0, log.Start)
		}
		r := New(config(2), log, e)
		r.SetState(state(1, 0, 1, 2), 0)
		req, _ := r.NextFetch()
		a.Code, a.DivergingEpoch, a.Offset, a.LastEpoch = OffsetOutOfRange, -1, req.Offset, req.LastEpoch
		return r.HandleFetch(a, false)
	}
	require.Equal(t, Action{Reset, 5}, ask(Log{End: 3, Synced: 3}, FetchAnswer{LogStart: 5, LogEnd: 9}))
	require.Equal(t, Action{Reset, 9}, ask(Log{Start: 12, End: 12, Synced: 12}, FetchAnswer{LogStart: 5, LogEnd: 9}))
	require.Equal(t, Action{Kind: Stale}, ask(Log{End: 12, Synced: 12}, FetchAnswer{LogEnd: 9}), "what it holds may be committed")
	require.Equal(t, Action{Kind: Stale}, ask(Log{End: 7, Synced: 7}, FetchAnswer{LogEnd: 9}))
}

func TestLogStart(t *testing.T) {
	var e EpochList
	e.End = 9
	r := New(config(1), Log{Start: 2, End: 9, Synced: 9, HighWatermark: 1}, &e)
	hw, _ := r.HighWatermark()
	require.Equal(t, int64(2), hw)
	r.SetLogStart(5)
	hw, _ = r.HighWatermark()
	require.Equal(t, int64(5), hw)
	r.SetLogStart(20)
	hw, _ = r.HighWatermark()
	require.Equal(t, int64(9), hw)
	end, synced := r.LogEnd()
	require.Equal(t, []int64{9, 9}, []int64{end, synced})
	require.Panics(t, func() { New(config(1), Log{Start: 3, End: 2}, &e) })
	require.PanicsWithError(t, "invariant violated: replica: append ends at 12, log at 9, change 0", func() { r.EndAppend(12) })
	require.Panics(t, func() { r.EndTruncate(1) })
	require.Panics(t, func() { r.EndReset(1) })
}

func TestLeave(t *testing.T) {
	for _, c := range []struct {
		name     string
		in, want layout.PartitionState
		changed  bool
	}{
		{"not in it", state(2, 3, 2), state(2, 3, 2), false},
		{"a follower", state(2, 3, 2, 1), state(2, 3, 2), true},
		{"the leader", state(1, 3, 1, 2), layout.PartitionState{Leader: -1, LeaderEpoch: 4, ISR: []int32{2}, LeaderIncarnation: -1}, true},
		{"alone", state(1, 3, 1), layout.PartitionState{Leader: -1, LeaderEpoch: 4, ISR: []int32{1}, LeaderIncarnation: -1, Suspect: []int32{1}}, true},
		{
			"alone and suspect",
			layout.PartitionState{Leader: -1, ISR: []int32{1}, Suspect: []int32{1}},
			layout.PartitionState{Leader: -1, ISR: []int32{1}, Suspect: []int32{1}},
			false,
		},
	} {
		got, changed := Leave(c.in, 1)
		require.Equal(t, c.changed, changed, c.name)
		require.True(t, c.want.Equal(got), "%s: %+v", c.name, got)
	}
}

func TestEpochList(t *testing.T) {
	var l EpochList
	end := func(asked int32) [2]int64 { e, end := l.EndOffsetFor(asked); return [2]int64{int64(e), end} }
	require.Equal(t, int32(-1), l.LatestEpoch())
	require.Equal(t, [2]int64{-1, -1}, end(3))
	l.Assign(1, 0)
	l.Assign(1, 5)
	l.Assign(3, 10)
	l.Assign(2, 11)
	l.Assign(5, 10)
	l.End = 20
	require.Equal(t, int32(5), l.LatestEpoch())
	require.Equal(t, [][2]int64{{-1, -1}, {1, 10}, {1, 10}, {3, 10}, {3, 10}, {5, 20}, {5, 20}}, [][2]int64{end(0), end(1), end(2), end(3), end(4), end(5), end(9)})
	l.TruncateTo(10)
	require.Equal(t, []EpochStart{{5, 10}}, l.Starts)
	l.TruncateTo(12)
	require.Equal(t, []EpochStart{{5, 12}}, l.Starts)
	l.TruncateFrom(12)
	require.Empty(t, l.Starts)
}

func BenchmarkProduceAndFetch(b *testing.B) {
	p := &pair{}
	p.lead, p.follow = New(config(1), Log{}, &p.l), New(config(2), Log{}, &p.f)
	p.lead.SetState(state(1, 0, 1, 2), 0)
	p.follow.SetState(state(1, 0, 1, 2), 0)
	p.l.Assign(0, 0)
	b.ReportAllocs()
	for b.Loop() {
		p.produce(1, 7)
		p.fetch()
		p.fetch()
		p.lead.Ready()
		p.follow.Ready()
	}
}
