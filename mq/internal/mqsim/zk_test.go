package mqsim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// znode is a znode of the model.
type znode struct {
	data    []byte
	version int32
	mzxid   int64
	owner   int64
}

// change is what a transaction did to one path.
type change struct {
	path string
	node *znode // nil: deleted
}

type txn struct {
	zxid    int64
	changes []change
}

// store is the one truth: what the ensemble has committed.
type store struct {
	nodes    map[string]*znode
	children map[string]int
	log      []txn
}

func newStore() *store {
	s := &store{nodes: map[string]*znode{}, children: map[string]int{}}
	var ops []layout.Op
	for _, p := range layout.RootPaths() {
		ops = append(ops, layout.Create(p, nil))
	}
	if !s.multi(ops, 0) {
		panic("root paths")
	}
	return s
}

func (s *store) zxid() int64 { return int64(len(s.log)) }

func parent(path string) string { return path[:strings.LastIndexByte(path, '/')] }

// multi carries out all operations or none.
func (s *store) multi(ops []layout.Op, session int64) bool {
	next := map[string]*znode{}
	kids := map[string]int{}
	look := func(p string) *znode {
		if n, ok := next[p]; ok {
			return n
		}
		return s.nodes[p]
	}
	t := txn{zxid: s.zxid() + 1}
	for _, op := range ops {
		n := look(op.Path)
		matches := n != nil && (op.Version == layout.AnyVersion || n.version == op.Version)
		var after *znode
		switch op.Type {
		case layout.OpCheck:
			if !matches {
				return false
			}
			continue
		case layout.OpCreate:
			if p := parent(op.Path); n != nil || p != "" && look(p) == nil {
				return false
			}
			after = &znode{data: op.Data, mzxid: t.zxid}
			if op.Ephemeral {
				after.owner = session
			}
			kids[parent(op.Path)]++
		case layout.OpSet:
			if !matches {
				return false
			}
			after = &znode{data: op.Data, version: n.version + 1, mzxid: t.zxid, owner: n.owner}
		case layout.OpDelete:
			if !matches || s.children[op.Path]+kids[op.Path] > 0 {
				return false
			}
			kids[parent(op.Path)]--
		}
		next[op.Path] = after
		t.changes = append(t.changes, change{op.Path, after})
	}
	for p, n := range next {
		if n == nil {
			delete(s.nodes, p)
		} else {
			s.nodes[p] = n
		}
	}
	for p, d := range kids {
		s.children[p] += d
	}
	s.log = append(s.log, t)
	return true
}

// expire deletes a session's ephemeral znodes.
func (s *store) expire(session int64) {
	var ops []layout.Op
	for _, p := range slices.Sorted(maps.Keys(s.nodes)) {
		if s.nodes[p].owner == session {
			ops = append(ops, layout.Delete(p, layout.AnyVersion))
		}
	}
	if len(ops) > 0 {
		s.multi(ops, session)
	}
}

// node shows a znode as the cores take it.
func (n *znode) node(path string) nodeView {
	return nodeView{path: path, data: n.data, version: n.version, mzxid: n.mzxid, owner: n.owner}
}

type nodeView struct {
	path    string
	data    []byte
	version int32
	mzxid   int64
	owner   int64
	gone    bool
}

// zkServer is a server that follows the truth with a delay.
type zkServer struct {
	nodes   map[string]*znode
	applied int64
	last    time.Duration
	told    int64 // newest transaction handed to the servers; kept in the first one
	waiting []waitingFor
	conns   []*zkConn
}

type waitingFor struct {
	zxid int64
	fn   func()
}

type zkSession struct {
	id      int64
	timeout time.Duration
	expired bool
	lost    time.Duration // since when it has no connection; negative: it has one
}

// ensemble is the model of ZooKeeper: writes take effect at once in the truth, servers follow late, watches fire when a server
// applies, and a connection that breaks loses answers and events on their way, while a request on its way may still take effect.
type ensemble struct {
	e        *sim.Engine
	r        *rand.Rand
	store    *store
	servers  []*zkServer
	sessions map[int64]*zkSession
	lag      time.Duration // mean delay of a server
	net      time.Duration // mean delay of a message
	snap     float64       // probability that a connection breaks while a write is on its way
	onCommit func(t txn)
}

func newEnsemble(e *sim.Engine, lag, net time.Duration) *ensemble {
	z := &ensemble{e: e, r: e.Rand("zk"), store: newStore(), sessions: map[int64]*zkSession{}, lag: lag, net: net}
	for range 3 {
		z.servers = append(z.servers, &zkServer{nodes: maps.Clone(z.store.nodes), applied: z.store.zxid(), told: z.store.zxid()})
	}
	return z
}

// commit carries a multi out and lets the servers follow.
func (z *ensemble) commit(ops []layout.Op, session int64) bool {
	if !z.store.multi(ops, session) {
		return false
	}
	z.follow()
	return true
}

func (z *ensemble) follow() {
	for zxid := z.servers[0].told + 1; zxid <= z.store.zxid(); zxid++ {
		t := z.store.log[zxid-1]
		for _, s := range z.servers {
			s.last = max(s.last, z.e.Now()+sim.Exp(z.r, z.lag))
			z.e.At(s.last, func() { s.apply(t) })
		}
		z.servers[0].told = t.zxid
		if z.onCommit != nil {
			z.onCommit(t)
		}
	}
}

func (s *zkServer) apply(t txn) {
	s.applied = t.zxid
	for _, c := range t.changes {
		if c.node == nil {
			delete(s.nodes, c.path)
		} else {
			s.nodes[c.path] = c.node
		}
		for _, conn := range s.conns {
			conn.event(c.path, t.zxid)
		}
	}
	due := s.waiting
	s.waiting = nil
	for _, w := range due {
		s.when(w.zxid, w.fn)
	}
}

// when runs fn once the server has applied zxid.
func (s *zkServer) when(zxid int64, fn func()) {
	if s.applied >= zxid {
		fn()
		return
	}
	s.waiting = append(s.waiting, waitingFor{zxid, fn})
}

// zkConn is a client's connection.
type zkConn struct {
	z        *ensemble
	server   *zkServer
	session  *zkSession
	broken   bool
	watching bool
	sent     time.Duration // arrival of the last request
	received time.Duration // arrival of the last answer or event
	wrote    int64         // zxid that its last write must be seen at
	calls    []*zkCall
	onEvent  func(path string, zxid int64)
	onBreak  func()
}

// zkCall is a request under way.
type zkCall struct {
	done bool
	fail func()
}

// connect opens a connection for a session, or with id 0 a new session; nil if the session has expired. seen is the zxid
// that the client has seen: it is not shown an older state.
func (z *ensemble) connect(id int64, timeout time.Duration, seen int64) *zkConn {
	s := z.sessions[id]
	if id == 0 {
		s = &zkSession{id: int64(len(z.sessions) + 1), timeout: timeout}
		z.sessions[s.id] = s
	}
	if s.expired {
		return nil
	}
	s.lost = -1
	server := z.servers[z.r.IntN(len(z.servers))]
	if server.applied < seen {
		server = slices.MaxFunc(z.servers, func(a, b *zkServer) int { return int(a.applied - b.applied) })
	}
	c := &zkConn{z: z, server: server, session: s}
	server.conns = append(server.conns, c)
	return c
}

// sever breaks a connection: what is on its way to the client is lost, requests on their way may still arrive. The session ends
// unless it finds another connection in time.
func (c *zkConn) sever() {
	if c.broken {
		return
	}
	c.broken = true
	c.server.conns = slices.DeleteFunc(c.server.conns, func(o *zkConn) bool { return o == c })
	s, z := c.session, c.z
	s.lost = z.e.Now()
	z.e.After(s.timeout, func() {
		if s.lost >= 0 && z.e.Now()-s.lost >= s.timeout && !s.expired {
			z.expire(s)
		}
	})
	calls := c.calls
	c.calls = nil
	for _, call := range calls {
		if !call.done {
			call.done = true
			call.fail()
		}
	}
	if c.onBreak != nil {
		c.onBreak()
	}
}

func (z *ensemble) expire(s *zkSession) {
	s.expired = true
	z.e.Mark("zk.expired")
	z.store.expire(s.id)
	z.follow()
}

// close ends the session at once.
func (c *zkConn) close() {
	if c.broken {
		return
	}
	c.sever()
	c.z.expire(c.session)
}

// request sends fn to the server. A write on its way when the connection breaks may take effect much later.
func (c *zkConn) request(write bool, fn func(), fail func()) *zkCall {
	call := &zkCall{fail: fail}
	c.calls = slices.DeleteFunc(c.calls, func(o *zkCall) bool { return o.done })
	c.calls = append(c.calls, call)
	if c.broken {
		c.z.e.After(0, func() { call.done = true; fail() })
		return call
	}
	c.sent = max(c.sent, c.z.e.Now()+sim.Exp(c.z.r, c.z.net))
	if write && sim.Chance(c.z.r, c.z.snap) {
		c.z.e.Mark("zk.snap")
		c.z.e.After(sim.Exp(c.z.r, 2*c.z.net), c.sever)
	}
	c.z.e.At(c.sent, func() {
		if !c.broken {
			fn()
			return
		}
		if write && sim.Chance(c.z.r, 0.5) {
			c.z.e.After(sim.Exp(c.z.r, 300*time.Millisecond), func() {
				if !c.session.expired {
					c.z.e.Mark("zk.write.late")
					fn()
				}
			})
		}
	})
	return call
}

// answer brings fn to the client behind everything sent to it before.
func (c *zkConn) answer(fn func()) {
	c.received = max(c.received, c.z.e.Now()+sim.Exp(c.z.r, c.z.net))
	c.z.e.At(c.received, func() {
		if !c.broken {
			fn()
		}
	})
}

func (c *zkConn) event(path string, zxid int64) {
	if c.watching && !c.broken {
		c.answer(func() { c.onEvent(path, zxid) })
	}
}

// multi carries ops out and reports the outcome.
func (c *zkConn) multi(ops []layout.Op, done func(layout.Outcome)) {
	var call *zkCall
	call = c.request(true, func() {
		outcome := layout.Refused
		if c.session.expired {
			outcome = layout.Unknown
		} else if c.z.commit(ops, c.session.id) {
			outcome = layout.Committed
			c.wrote = c.z.store.zxid()
		}
		if c.broken {
			if outcome == layout.Committed {
				c.z.e.Mark("zk.write.unknown.took.effect")
			}
			return
		}
		c.server.when(c.wrote, func() {
			c.answer(func() {
				if !call.done {
					call.done = true
					done(outcome)
				}
			})
		})
	}, func() { done(layout.Unknown) })
}

// read reads paths; synced: as of now or later, else as the server has them. paths ending in / stand for everything below.
func (c *zkConn) read(synced bool, done func(nodes []nodeView, ok bool), paths ...string) {
	var call *zkCall
	call = c.request(false, func() {
		at := c.wrote
		if synced {
			at = c.z.store.zxid()
		}
		c.server.when(at, func() {
			if c.broken {
				return
			}
			var nodes []nodeView
			for _, p := range paths {
				nodes = append(nodes, c.server.collect(p)...)
			}
			c.answer(func() {
				if !call.done {
					call.done = true
					done(nodes, true)
				}
			})
		})
	}, func() { done(nil, false) })
}

func (s *zkServer) collect(path string) []nodeView {
	if !strings.HasSuffix(path, "/") {
		if n := s.nodes[path]; n != nil {
			return []nodeView{n.node(path)}
		}
		return []nodeView{{path: path, gone: true}}
	}
	var found []nodeView
	for _, p := range slices.Sorted(maps.Keys(s.nodes)) {
		if strings.HasPrefix(p, path) {
			found = append(found, s.nodes[p].node(p))
		}
	}
	return found
}
