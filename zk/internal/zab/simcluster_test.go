package zab

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
)

const simTick = 50 * time.Millisecond

var errSimDisk = errors.New("input/output error")

type proposal struct {
	data []byte
	prev Zxid
}

// term is an established leadership.
type term struct {
	leader      ServerID
	incarnation int
	initial     int // entries in its initial history
}

// simNode is a server: the peer, and a shell around it that does what doc.go says.
type simNode struct {
	id          ServerID
	disk        simDisk
	peer        *Peer // nil while down
	role        Role
	state       stateSnap
	incarnation int
	writing     *Write // outstanding
	fuse        int    // the process dies when that many more effects have happened; 0: not lit
	failNext    bool   // the next write fails
	hold        string // kind of the writes that do not end, "" for none, "any" for all
	held        func() // ends the write held back
	barriers    map[uint64]int
	drift       float64
	proving     bool
}

// simCluster is an ensemble, and all that an omniscient observer knows about it.
type simCluster struct {
	e      *sim.Engine
	net    *sim.Net[Message]
	nodes  []*simNode
	quorum int    // of the first configuration
	hand   bool   // a script plays servers by hand: what they hold is on nobody's disk
	cfg    Config // but for ID and Rand
	reconf bool   // configurations change
	rPeer  *rand.Rand
	rDisk  *rand.Rand
	rLoad  *rand.Rand
	codec  bool // messages go through their encoding

	calm     bool          // the chaos is over
	fsync    time.Duration // mean
	slowDisk ServerID

	history     []Entry     // all that was ever committed
	states      []stateSnap // state after each prefix of history
	proposed    map[Zxid]proposal
	terms       map[uint32]term
	electorates map[Zxid]*electorate // by version
	maxEpoch    uint32
	accepted    int // proposals that got a zxid
	token       uint64
	err         error
	onSend      func(m *Message) // sees every message that leaves; may be nil
}

// newSimCluster makes an ensemble of n voters, and extra servers that may join it.
func newSimCluster(e *sim.Engine, n, extra int, f sim.NetFaults, cfg Config) *simCluster {
	c := &simCluster{
		e: e, cfg: cfg, quorum: n/2 + 1, rPeer: e.Rand("peer"), rDisk: e.Rand("disk"), rLoad: e.Rand("load"),
		states: make([]stateSnap, 1, 2048), proposed: make(map[Zxid]proposal, 2048), terms: make(map[uint32]term),
		electorates: make(map[Zxid]*electorate),
		fsync:       time.Millisecond,
	}
	c.cfg.Membership = simMembership
	c.net = sim.NewNet[Message](e, n+extra, f, c)
	for i := range n + extra {
		id := ServerID(i + 1)
		c.cfg.Initial.Members = append(c.cfg.Initial.Members, Member{ID: id, Observer: i >= n})
		c.nodes = append(c.nodes, &simNode{id: id, disk: simDisk{boot: i < n}, drift: 0.9 + 0.2*c.rPeer.Float64()})
	}
	return c
}

func (c *simCluster) node(id ServerID) *simNode { return c.nodes[id-1] }

// start starts a server from its disk.
func (c *simCluster) start(nd *simNode) {
	if nd.peer != nil {
		return
	}
	cfg := c.cfg
	cfg.ID, cfg.Rand = nd.id, rand.New(rand.NewPCG(c.rPeer.Uint64(), uint64(nd.id)))
	if nd.incarnation == 0 && nd.disk.boot && len(c.nodes)%2 == 0 {
		// It has not heard of the others, but learns of them before it starts again.
		cfg.Initial.Members = slices.DeleteFunc(slices.Clone(cfg.Initial.Members), func(m Member) bool { return m.Observer })
	}
	p, err := New(cfg, nd.disk.recovered())
	if err != nil {
		c.failf("node %d does not start: %v", nd.id, err)
		return
	}
	c.e.Tracef("%d starts: %+v snapshot %v log to %v (%d)", nd.id, nd.disk.epochs, nd.disk.snap.zxid, nd.disk.last(), nd.disk.count())
	if !nd.disk.voter() {
		c.e.Mark("r3.wiped-start")
	}
	nd.peer, nd.role, nd.state, nd.writing, nd.fuse, nd.failNext, nd.held = p, Role{}, nd.disk.snap, nil, 0, false, nil
	nd.proving = false
	if p.pending != 0 {
		c.e.Mark("reconfig.pending-start")
	}
	nd.barriers = make(map[uint64]int)
	nd.incarnation++
	c.net.Up(int(nd.id) - 1)
	c.tick(nd, nd.incarnation)
	c.drain(nd)
}

// crash kills a server; of its outstanding write any part may have become durable.
func (c *simCluster) crash(nd *simNode) {
	if nd.peer == nil {
		return
	}
	n := 0
	if nd.writing != nil {
		n = c.rDisk.IntN(steps(nd.writing) + 1)
	}
	c.crashAfter(nd, n)
}

// crashAfter kills a server when n steps of its outstanding write have become durable.
func (c *simCluster) crashAfter(nd *simNode, n int) {
	if w := nd.writing; w != nil {
		if n < steps(w) {
			c.e.Mark("crash.lost-unsynced")
		}
		if n > 0 && n < steps(w) {
			c.e.Mark("crash.torn-write")
		}
		c.perform(nd, w, n)
	}
	c.e.Tracef("%d crashes", nd.id)
	nd.peer, nd.writing, nd.role = nil, nil, Role{}
	c.net.Down(int(nd.id) - 1)
	c.checkDurability()
}

// wipe empties a crashed server's disk.
func (c *simCluster) wipe(nd *simNode) {
	c.crash(nd)
	nd.disk, nd.state = simDisk{forgot: nd.disk.voter() || nd.disk.forgot}, stateSnap{}
	c.e.Tracef("%d is wiped", nd.id)
	c.checkDurability()
}

// spark burns the fuse by one effect and reports whether the process is dead.
func (c *simCluster) spark(nd *simNode) bool {
	if nd.fuse > 0 {
		nd.fuse--
		if nd.fuse == 0 {
			c.e.Mark("crash.between-effects")
			c.crash(nd)
		}
	}
	return nd.peer == nil
}

func (c *simCluster) tick(nd *simNode, incarnation int) {
	c.e.After(time.Duration(float64(simTick)*nd.drift), func() {
		if nd.incarnation != incarnation || nd.peer == nil {
			return
		}
		if c.net.Paused(int(nd.id)-1) <= c.e.Now() {
			nd.peer.Tick()
			c.drain(nd)
		}
		c.tick(nd, incarnation)
	})
}

// Deliver implements sim.Receiver.
func (c *simCluster) Deliver(to, from int, m Message) {
	nd := c.nodes[to]
	if nd.peer == nil {
		return
	}
	if c.e.Tracing() {
		c.e.Tracef("%d < %d %s", to+1, from+1, traceMessage(&m))
	}
	if c.codec {
		b := AppendMessage(nil, &m)
		d, err := DecodeMessage(b)
		if err != nil {
			c.failf("codec: %v: %s", err, traceMessage(&m))
		}
		d.Snapshot = m.Snapshot
		m = d
	}
	nd.peer.Step(m)
	c.drain(nd)
}

// Reset implements sim.Receiver.
func (c *simCluster) Reset(at, peer int) {
	if nd := c.nodes[at]; nd.peer != nil {
		c.e.Tracef("%d finds %d unreachable", at+1, peer+1)
		nd.peer.Unreachable(ServerID(peer + 1))
		c.drain(nd)
	}
}

func (c *simCluster) sendAll(nd *simNode, ms []Message) bool {
	for i := range ms {
		if c.spark(nd) {
			return false
		}
		c.checkSend(nd, &ms[i])
		c.e.Mark(markSent[ms[i].Type])
		if c.onSend != nil {
			c.onSend(&ms[i])
		}
		c.net.Send(int(nd.id)-1, int(ms[i].To)-1, ms[i])
	}
	return true
}

// drain does what the peer is ready for, in one of the orders that are allowed.
func (c *simCluster) drain(nd *simNode) {
	for nd.peer != nil {
		rd, ok := nd.peer.Ready()
		if !ok {
			c.proveSoon(nd)
			return
		}
		if rd.Role != nil {
			c.checkRole(nd, *rd.Role) // before a crash among the effects below hides it
		}
		if rd.Persist != nil {
			c.persist(nd, rd.Persist, rd.AfterSync)
		}
		if !c.sendAll(nd, rd.Messages) {
			return
		}
		for _, e := range rd.Committed {
			if c.spark(nd) {
				return
			}
			c.checkCommit(nd, e)
			nd.state = nd.state.apply(e)
		}
		for _, b := range rd.Barriers {
			c.checkBarrier(nd, b)
		}
		for _, w := range rd.SnapshotsWanted {
			c.snapshotWanted(nd, w)
		}
		for _, w := range rd.HistoryWanted {
			c.historyWanted(nd, w)
		}
		if rd.Role != nil {
			c.roleChanged(nd, *rd.Role)
		}
	}
}

func (c *simCluster) roleChanged(nd *simNode, r Role) {
	c.e.Tracef("%d is %v of %d epoch %d established %v %v", nd.id, r.State, r.Leader, r.Epoch, r.Established, r.Err)
	if nd.role.Established && r.State == Following && !r.Established && r.Leader == nd.role.Leader {
		c.e.Mark("role.resync")
	}
	nd.role = r
	if r.State != Failed {
		return
	}
	if !errors.Is(r.Err, errSimDisk) {
		c.failf("node %d failed: %v", nd.id, r.Err)
	}
	c.e.Mark("role.failed")
	c.crash(nd) // it reloads from disk
	incarnation := nd.incarnation
	c.e.After(sim.Exp(c.rDisk, 200*time.Millisecond), func() {
		if nd.incarnation == incarnation {
			c.start(nd)
		}
	})
}

func (c *simCluster) persist(nd *simNode, w *Write, after []Message) {
	if nd.writing != nil {
		c.failf("node %d writes while writing", nd.id)
	}
	nd.writing = w
	d := sim.Exp(c.rDisk, c.fsync)
	if nd.id == c.slowDisk {
		d += sim.Exp(c.rDisk, 300*time.Millisecond)
	}
	incarnation := nd.incarnation
	end := func() {
		if nd.incarnation == incarnation && nd.peer != nil {
			nd.held = nil
			c.persisted(nd, w, after)
		}
	}
	if nd.hold == "any" || nd.hold == w.Kind.String() {
		nd.held = end
		return
	}
	c.e.After(d, end)
}

// persisted ends a write.
func (c *simCluster) persisted(nd *simNode, w *Write, after []Message) {
	incarnation := nd.incarnation
	if nd.failNext {
		nd.failNext = false
		c.perform(nd, w, c.rDisk.IntN(steps(w)+1))
		nd.writing = nil
		c.e.Mark("disk.error")
		nd.peer.Persisted(w.ID, errSimDisk)
		c.drain(nd)
		return
	}
	c.perform(nd, w, steps(w))
	c.e.Tracef("%d wrote %v %+v %v to %v", nd.id, w.Kind, nd.disk.epochs, w.Truncate, nd.disk.last())
	nd.writing = nil
	if w.Kind == WriteSnapshot {
		nd.state = w.Snapshot.(stateSnap)
	}
	if c.checkDurability(); c.spark(nd) || !c.sendAll(nd, after) || c.spark(nd) {
		return
	}
	id := w.ID
	c.e.After(sim.Exp(c.rDisk, 50*time.Microsecond), func() {
		if nd.incarnation == incarnation && nd.peer != nil {
			nd.peer.Persisted(id, nil)
			c.drain(nd)
		}
	})
}

func (c *simCluster) snapshotWanted(nd *simNode, w SnapshotWanted) {
	c.e.Mark("snapshot.wanted")
	incarnation := nd.incarnation
	c.e.After(sim.Exp(c.rDisk, 5*time.Millisecond), func() {
		if nd.incarnation != incarnation || nd.peer == nil {
			return
		}
		var s Snapshot
		if !sim.Chance(c.rDisk, 0.05) {
			s = nd.state
		}
		nd.peer.SnapshotTaken(w.To, w.Session, s)
		c.drain(nd)
	})
}

// propose proposes n entries at a server that believes that it leads.
func (c *simCluster) propose(nd *simNode, n int) {
	for range n {
		data := binary.BigEndian.AppendUint64(nil, uint64(c.accepted))
		prev := nd.peer.Status().LastZxid
		z, err := nd.peer.Propose(data)
		if err != nil {
			c.e.Mark("propose." + map[error]string{ErrFull: "full", ErrRollover: "rollover", ErrNotLeader: "not-leader", ErrReconfig: "reconfig"}[err])
			break
		}
		c.accepted++
		if _, ok := c.proposed[z]; ok {
			c.failf("node %d proposes %v a second time", nd.id, z)
		}
		c.proposed[z] = proposal{data: data, prev: prev}
	}
	c.drain(nd)
}

// barrier asks a server that believes that it leads for a confirmation.
func (c *simCluster) barrier(nd *simNode) {
	c.token++
	nd.barriers[c.token] = len(c.history)
	if err := nd.peer.Barrier(c.token); err != nil {
		delete(nd.barriers, c.token)
	}
	c.drain(nd)
}
