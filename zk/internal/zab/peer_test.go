package zab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func testConfig(id ServerID, n int) Config {
	cfg := Config{ID: id, Rand: rand.New(rand.NewPCG(1, uint64(id)))}
	for i := range n {
		cfg.Initial.Members = append(cfg.Initial.Members, Member{ID: ServerID(i + 1)})
	}
	return cfg
}

func newTestPeer(tb testing.TB, id ServerID, n int, rec Recovered) *Peer {
	p, err := New(testConfig(id, n), rec)
	require.NoError(tb, err)
	return p
}

// testEntries returns the first n entries of an epoch.
func testEntries(epoch, n uint32) []Entry {
	var es []Entry
	for c := range n {
		es = append(es, Entry{Zxid: MakeZxid(epoch, c+1), Data: fmt.Append(nil, epoch, c+1)})
	}
	return es
}

// trio is an ensemble in one slice: messages arrive at once, writes are durable at once.
type trio struct {
	peers   []*Peer
	writes  []*Write
	after   [][]Message
	applied []int
	cut     map[ServerID]bool
}

func newTrio(tb testing.TB, n int, edit func(*Config)) *trio {
	c := &trio{writes: make([]*Write, n), after: make([][]Message, n), applied: make([]int, n), cut: make(map[ServerID]bool)}
	for i := range n {
		cfg := testConfig(ServerID(i+1), n)
		if edit != nil {
			edit(&cfg)
		}
		p, err := New(cfg, Recovered{Bootstrap: true})
		require.NoError(tb, err)
		c.peers = append(c.peers, p)
	}
	for range 10 {
		c.settle()
		for _, p := range c.peers {
			p.Tick()
		}
	}
	c.settle()
	return c
}

func (c *trio) leader() *Peer {
	for _, p := range c.peers {
		if p.state == Leading && p.established {
			return p
		}
	}
	return nil
}

func (c *trio) send(ms []Message) {
	for i := range ms {
		if !c.cut[ms[i].From] && !c.cut[ms[i].To] {
			c.peers[ms[i].To-1].Step(ms[i])
		}
	}
}

// settle runs all peers until none has anything to do.
func (c *trio) settle() {
	for busy := true; busy; {
		busy = false
		for i, p := range c.peers {
			rd, ok := p.Ready()
			if !ok {
				continue
			}
			busy = true
			c.applied[i] += len(rd.Committed)
			c.send(rd.Messages)
			if rd.Persist != nil {
				c.send(rd.AfterSync)
				p.Persisted(rd.Persist.ID, nil)
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := func(edit func(*Config)) Config {
		cfg := testConfig(1, 3)
		edit(&cfg)
		return cfg
	}
	for _, c := range []struct {
		cfg  Config
		text string
	}{
		{good(func(c *Config) { c.ID = 0 }), "ID 0 is not positive"},
		{good(func(c *Config) { c.Initial.Members = nil }), "no participant has a vote"},
		{good(func(c *Config) { c.Initial.Members = append(c.Initial.Members, Member{ID: 2}) }), "member 2 is listed twice"},
		{good(func(c *Config) { c.Initial.Members = append(c.Initial.Members, Member{ID: -2}) }), "member -2 is not positive"},
		{good(func(c *Config) { c.Initial.Members[1].Group = 7 }), "1 of 3 participants are in a group"},
		{good(func(c *Config) { c.Initial.Members[1].Weight = -1 }), "weight -1 of member 2"},
		{good(func(c *Config) { c.Rand = nil }), "Rand is nil"},
		{good(func(c *Config) { c.SyncLimitTicks, c.PingTicks = 2, 2 }), "SyncLimitTicks 2 is not above PingTicks 2"},
		{good(func(c *Config) { c.BatchBytesMax = -1 }), "BatchBytesMax -1 is negative"},
	} {
		_, err := New(c.cfg, Recovered{})
		require.ErrorIs(t, err, ErrConfig)
		require.ErrorContains(t, err, c.text)
	}
	for _, r := range []Recovered{
		{Entries: testEntries(1, 2), AcceptedEpoch: 0},
		{Entries: testEntries(1, 3)[1:], AcceptedEpoch: 1},
		{Entries: append(testEntries(2, 1), testEntries(1, 1)...), AcceptedEpoch: 2},
		{AcceptedEpoch: 1, CurrentEpoch: 2},
		{Snapshot: MakeZxid(1, 5), Entries: testEntries(1, 7)[4:], AcceptedEpoch: 1},
	} {
		_, err := New(testConfig(1, 3), r)
		require.ErrorIs(t, err, ErrRecovered)
	}
}

// TestLimits: a leader that nobody answers takes no more than its limits.
func TestLimits(t *testing.T) {
	c := newTrio(t, 3, func(cfg *Config) { cfg.InFlightEntriesMax, cfg.InFlightBytesMax = 10, 60 })
	l := c.leader()
	require.NotNil(t, l)
	_, err := c.peers[0].Propose(nil)
	require.ErrorIs(t, err, ErrNotLeader)
	require.ErrorIs(t, c.peers[0].Barrier(1), ErrNotLeader)
	n := 0
	for ; err == nil || n == 0; n++ {
		_, err = l.Propose(nil)
	}
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, 11, n)
	c.settle()
	for n = 0; n < 100; n++ {
		if _, err = l.Propose(make([]byte, 16)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, 4, n)
	c.settle()
	require.Equal(t, []int{14, 14, 14}, c.applied)
}

// TestPersistedError: after a failed write a peer is mute.
func TestPersistedError(t *testing.T) {
	c := newTrio(t, 3, nil)
	l := c.leader()
	_, err := l.Propose([]byte("x"))
	require.NoError(t, err)
	rd, ok := l.Ready()
	require.True(t, ok)
	require.Equal(t, WriteEntries, rd.Persist.Kind)
	cause := errors.New("no space left")
	l.Persisted(rd.Persist.ID+1, cause) // of no write
	l.Persisted(rd.Persist.ID, cause)
	rd, ok = l.Ready()
	require.True(t, ok)
	require.Equal(t, Failed, rd.Role.State)
	require.ErrorIs(t, rd.Role.Err, cause)
	require.Empty(t, rd.Messages)
	for range 100 {
		l.Tick()
		l.Step(Message{Type: MsgNotification, From: 1, To: l.cfg.ID, Flags: FlagAsk})
		l.Unreachable(1)
	}
	_, ok = l.Ready()
	require.False(t, ok)
	_, err = l.Propose(nil)
	require.ErrorIs(t, err, ErrNotLeader)
}

// TestAckBeforeNewLeaderAck: a leader takes any first ACK of a session for that of NEWLEADER (Z5), from whatever
// message it comes.
func TestAckBeforeNewLeaderAck(t *testing.T) {
	c := newTrio(t, 3, nil)
	l := c.leader()
	i := l.index(1)
	l.Step(Message{Type: MsgFollowerInfo, From: 1, To: l.cfg.ID, Session: 77, Epoch: l.ld.epoch, Flags: FlagVoter})
	l.Step(Message{Type: MsgAckEpoch, From: 1, To: l.cfg.ID, Session: 77, Epoch: l.ld.epoch})
	require.Equal(t, learnerSyncing, l.ld.learners[i].phase)
	z, err := l.Propose([]byte("x"))
	require.NoError(t, err)
	l.Ready()
	l.Step(Message{Type: MsgAck, From: 1, To: l.cfg.ID, Session: 77, Epoch: l.ld.epoch, Zxid: z})
	require.Equal(t, learnerSynced, l.ld.learners[i].phase)
	require.Equal(t, Leading, l.state)
	l.Step(Message{Type: MsgAck, From: 1, To: l.cfg.ID, Session: 76, Epoch: l.ld.epoch, Zxid: z})
	rd, _ := l.Ready()
	var types []MessageType
	for _, m := range rd.Messages {
		if m.To == 1 {
			types = append(types, m.Type)
		}
	}
	require.Equal(t, []MessageType{MsgUpToDate, MsgReset}, types)
}

// TestDiverged: a follower that is told to give up what it knows to be committed fails for good.
func TestDiverged(t *testing.T) {
	c := newTrio(t, 3, nil)
	l := c.leader()
	for range 3 {
		_, err := l.Propose([]byte("x"))
		require.NoError(t, err)
	}
	c.settle()
	p := c.peers[0]
	p.look()
	p.Step(Message{
		Type: MsgNotification, From: 2, To: 1, State: Leading, Flags: FlagVoter | FlagEstablished, Round: 9, Epoch: 9, Vote: Vote{Leader: 2},
	})
	step := func(m Message) {
		m.From, m.To, m.Session, m.Epoch = 2, 1, p.fl.session, 9
		p.Step(m)
		if rd, _ := p.Ready(); rd.Persist != nil {
			p.Persisted(rd.Persist.ID, nil)
		}
	}
	step(Message{Type: MsgLeaderInfo})
	step(Message{Type: MsgTrunc, Zxid: MakeZxid(1, 1)})
	require.Equal(t, Failed, p.Status().State)
	require.ErrorIs(t, p.Status().Err, ErrDiverged)
}

// TestWindowBounds: what was delivered leaves the memory, what was not stays.
func TestWindowBounds(t *testing.T) {
	c := newTrio(t, 3, func(cfg *Config) { cfg.WindowEntriesMax, cfg.WindowBytesMax = 100, 1500 })
	l := c.leader()
	for range 500 {
		_, err := l.Propose(make([]byte, 10))
		require.NoError(t, err)
		c.settle()
	}
	for _, p := range c.peers {
		require.Len(t, p.win.entries, 100)
		require.Equal(t, MakeZxid(1, 400), p.Status().WindowBase)
		require.LessOrEqual(t, cap(p.win.entries), 512)
		p.Compact(MakeZxid(1, 480))
		require.Len(t, p.win.entries, 20)
	}
	c.cut[1], c.cut[2] = true, true
	for range 300 {
		_, err := l.Propose(make([]byte, 10))
		require.NoError(t, err)
		c.settle()
	}
	require.Len(t, l.win.entries, 320)
	l.Compact(MakeZxid(1, 790))
	require.Len(t, l.win.entries, 300, "what is not committed stays")
}

// TestSlowLearner: a learner that does not acknowledge is sent no more than the limit, and gets a new session
// when the window has moved on.
func TestSlowLearner(t *testing.T) {
	c := newTrio(t, 3, func(cfg *Config) { cfg.WindowEntriesMax, cfg.InFlightEntriesMax = 50, 20 })
	l := c.leader()
	c.cut[1] = true
	sent := uint64(0)
	for range 200 {
		_, err := l.Propose([]byte("x"))
		require.NoError(t, err)
		c.settle()
		if i := l.index(1); l.ld.learners[i].phase == learnerSynced {
			sent = l.ld.learners[i].sent - l.ld.learners[i].acked
			require.LessOrEqual(t, sent, uint64(20))
		}
	}
	require.Equal(t, uint64(20), sent)
	require.Equal(t, learnerGone, l.ld.learners[l.index(1)].phase)
	require.Equal(t, 200, c.applied[1])
}

func TestWindow(t *testing.T) {
	var w window
	w.append(testEntries(1, 5)...)
	w.append(testEntries(3, 4)...)
	require.Equal(t, uint64(9), w.end())
	require.Equal(t, []Zxid{MakeZxid(1, 5), MakeZxid(3, 4)}, w.tails())
	for pos := range w.end() + 1 {
		require.Equal(t, pos, w.pos(w.zxid(pos)))
	}
	require.Equal(t, uint64(5), w.pos(MakeZxid(2, 7)))
	require.Equal(t, uint64(9), w.pos(MakeZxid(4, 1)))
	require.Equal(t, uint64(3), w.batch(0, 9, 3, 1000))
	require.Equal(t, uint64(1), w.batch(0, 9, 3, 1))
	for _, c := range []struct {
		base  Zxid
		tails []Zxid
		want  Zxid
		ok    bool
	}{
		{0, nil, 0, true},
		{0, []Zxid{MakeZxid(1, 3)}, MakeZxid(1, 3), true},
		{0, []Zxid{MakeZxid(1, 7)}, MakeZxid(1, 5), true},
		{0, []Zxid{MakeZxid(1, 3), MakeZxid(2, 9)}, MakeZxid(1, 3), true},
		{0, []Zxid{MakeZxid(1, 5), MakeZxid(3, 2)}, MakeZxid(3, 2), true},
		{0, []Zxid{MakeZxid(1, 5), MakeZxid(3, 9), MakeZxid(5, 1)}, MakeZxid(3, 4), true},
		{MakeZxid(1, 4), nil, MakeZxid(1, 4), true},
		{MakeZxid(1, 4), []Zxid{MakeZxid(2, 1)}, MakeZxid(1, 4), true},
	} {
		z, ok := w.common(c.base, c.tails)
		require.Equal(t, c.ok, ok)
		require.Equal(t, c.want, z, "%v %v", c.base, c.tails)
	}
	kept := w.slice(0, 9)
	w.trim(6)
	require.Equal(t, MakeZxid(3, 1), w.base)
	_, ok := w.common(0, []Zxid{MakeZxid(1, 3)})
	require.False(t, ok)
	_, ok = w.common(0, []Zxid{MakeZxid(1, 3), MakeZxid(2, 9)})
	require.False(t, ok)
	w.cut(8)
	w.append(testEntries(4, 1)...)
	require.Equal(t, MakeZxid(3, 4), kept[8].Zxid, "slots are written once")
	require.Equal(t, MakeZxid(4, 1), w.last())
	w.reset(MakeZxid(7, 7))
	require.Equal(t, MakeZxid(7, 7), w.last())
	require.Zero(t, w.bytes)
}
