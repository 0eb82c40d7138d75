package sim

import (
	"math/rand/v2"
	"time"

	"github.com/vivarium-go/vivarium/internal/invariant"
)

// Receiver is what a Net delivers to. Both methods are called from events, never
// from within a call of the Net's own methods.
type Receiver[M any] interface {
	// Deliver hands over a message.
	Deliver(to, from int, m M)
	// Reset says that at's connection with peer broke, or that a dial was refused.
	Reset(at, peer int)
}

// NetFaults are the faults of a Net that need no event of their own. The zero value is a
// perfect network without delay.
type NetFaults struct {
	// Delay is the mean of a message's exponentially distributed delay.
	Delay time.Duration
	// Loss is the probability that a message is lost though its connection stays.
	Loss float64
	// Duplicate is the probability that a message arrives a second time, later, after others.
	Duplicate float64
	// Slow is the probability that a message, and thereby all behind it, takes SlowDelay longer.
	Slow      float64
	SlowDelay time.Duration
	// Stale is the probability that a message in flight on a connection that breaks is
	// delivered all the same, late, beside the messages of the next connection.
	Stale float64
	// Silent is the probability that a crash resets no connections, as when a
	// host vanishes: its peers hear nothing.
	Silent float64
}

// DrawNetFaults draws which faults there are, and how strong.
func DrawNetFaults(r *rand.Rand) NetFaults {
	f := NetFaults{Delay: time.Duration(LogUniform(r, float64(50*time.Microsecond), float64(5*time.Millisecond)))}
	if Chance(r, 0.3) {
		f.Loss = LogUniform(r, 0.0005, 0.1)
	}
	if Chance(r, 0.3) {
		f.Duplicate = LogUniform(r, 0.001, 0.3)
	}
	if Chance(r, 0.3) {
		f.Slow, f.SlowDelay = LogUniform(r, 0.0005, 0.02), time.Duration(LogUniform(r, 5e6, 1e9))
	}
	if Chance(r, 0.5) {
		f.Stale = r.Float64()
	}
	if Chance(r, 0.3) {
		f.Silent = r.Float64()
	}
	return f
}

type flight[M any] struct {
	m        M
	from, to int
	conn     uint64 // generation of the connection it travels on
	reset    bool
	loose    bool // outlived its connection: arrives on its own
	next     int  // free list
}

type link struct {
	cut  bool          // messages vanish
	last time.Duration // latest arrival scheduled: connections are FIFO
}

// Net carries messages of type M between nodes 0..n-1. Each pair has one
// connection at a time, FIFO in each direction. Nodes are up from the start.
type Net[M any] struct {
	e      *Engine
	r      *rand.Rand
	n      int
	f      NetFaults
	to     Receiver[M]
	links  []link   // [from*n+to]
	conns  []uint64 // generation of the pair's connection, [from*n+to] for from < to
	down   []bool
	silent []bool
	paused []time.Duration // until when
	slab   []flight[M]
	free   int // 1 + index of the first free flight
}

// NewNet returns a network of n nodes.
func NewNet[M any](e *Engine, n int, f NetFaults, to Receiver[M]) *Net[M] {
	return &Net[M]{
		e: e, r: e.Rand("net"), n: n, f: f, to: to, links: make([]link, n*n), conns: make([]uint64, n*n),
		down: make([]bool, n), silent: make([]bool, n), paused: make([]time.Duration, n),
	}
}

// Faults returns the faults in force, to be changed.
func (n *Net[M]) Faults() *NetFaults { return &n.f }

// Calm ends all faults but the delay, which becomes short, and all partitions and pauses.
func (n *Net[M]) Calm() {
	n.f = NetFaults{Delay: min(n.f.Delay, time.Millisecond)}
	n.Heal()
	clear(n.paused)
}

// Send sends m. What is sent to a node that is down, or that crashed while it
// was on its way, comes back as a reset, or vanishes if that node vanished silently.
func (n *Net[M]) Send(from, to int, m M) {
	invariant.Check(from != to, "node %d sends to itself", from)
	if n.links[from*n.n+to].cut {
		n.e.Mark("net.cut")
		return
	}
	if Chance(n.r, n.f.Loss) {
		n.e.Mark("net.lost")
		return
	}
	n.schedule(from, to, m)
	if Chance(n.r, n.f.Duplicate) {
		n.e.Mark("net.duplicated")
		i := n.take(flight[M]{m: m, from: from, to: to, conn: n.conn(from, to), loose: true})
		n.e.Wake(n.e.now+Exp(n.r, 10*n.f.Delay), n, uint64(i))
	}
}

func (n *Net[M]) schedule(from, to int, m M) {
	l := &n.links[from*n.n+to]
	at := n.e.now + Exp(n.r, n.f.Delay)
	if Chance(n.r, n.f.Slow) {
		n.e.Mark("net.slow")
		at += Exp(n.r, n.f.SlowDelay)
	}
	at = max(at, l.last)
	l.last = at
	n.e.Wake(at, n, uint64(n.take(flight[M]{m: m, from: from, to: to, conn: n.conn(from, to)})))
}

// Act delivers the flight i; it is called by the Engine only.
func (n *Net[M]) Act(i uint64) {
	f := n.slab[i]
	if until := n.paused[f.to]; until > n.e.now {
		n.e.Wake(until, n, i) // order is kept: flights of one link are woken in order, ties too
		return
	}
	n.slab[i] = flight[M]{next: n.free}
	n.free = int(i) + 1
	switch {
	case f.reset:
		if !n.down[f.to] {
			n.to.Reset(f.to, f.from)
		}
	case n.down[f.to]:
		n.refuse(f.to, f.from)
	case f.conn != n.conn(f.from, f.to) && !f.loose:
		if Chance(n.r, n.f.Stale) {
			n.e.Mark("net.stale")
			f.loose = true
			n.e.Wake(n.e.now+Exp(n.r, 20*n.f.Delay), n, uint64(n.take(f)))
		}
	default:
		n.to.Deliver(f.to, f.from, f.m)
	}
}

// refuse tells who that there is nobody at dead.
func (n *Net[M]) refuse(dead, who int) {
	if n.down[who] || n.silent[dead] || n.links[dead*n.n+who].cut {
		return
	}
	i := n.take(flight[M]{from: dead, to: who, reset: true})
	n.e.Wake(n.e.now+Exp(n.r, n.f.Delay), n, uint64(i))
}

// ResetConn breaks the connection between a and b: what is on its way is lost, or arrives
// late, and both ends are told.
func (n *Net[M]) ResetConn(a, b int) {
	n.conns[min(a, b)*n.n+max(a, b)]++
	n.links[a*n.n+b].last, n.links[b*n.n+a].last = 0, 0
	n.refuse(a, b)
	n.refuse(b, a)
}

// Down crashes node x: its connections break and those who write to it are
// refused, unless it vanishes silently.
func (n *Net[M]) Down(x int) {
	if n.down[x] {
		return
	}
	n.down[x], n.silent[x] = true, Chance(n.r, n.f.Silent)
	for y := range n.n {
		if y != x {
			n.conns[min(x, y)*n.n+max(x, y)]++
			n.links[x*n.n+y].last, n.links[y*n.n+x].last = 0, 0
			n.refuse(x, y)
		}
	}
}

// Up restarts node x.
func (n *Net[M]) Up(x int) { n.down[x], n.silent[x], n.paused[x] = false, false, 0 }

// IsDown reports whether x is down.
func (n *Net[M]) IsDown(x int) bool { return n.down[x] }

// Pause holds back all that is delivered to x until virtual time t. The caller
// holds back x's own timers, see Paused.
func (n *Net[M]) Pause(x int, t time.Duration) { n.paused[x] = t }

// Paused returns until when x is paused; zero or a past time if it is not.
func (n *Net[M]) Paused(x int) time.Duration { return n.paused[x] }

// CutOneWay makes all messages from a to b vanish, silently.
func (n *Net[M]) CutOneWay(a, b int) { n.links[a*n.n+b].cut = true }

// Cut makes all messages between a and b vanish, silently.
func (n *Net[M]) Cut(a, b int) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// Isolate cuts x from everybody.
func (n *Net[M]) Isolate(x int) {
	for y := range n.n {
		if y != x {
			n.Cut(x, y)
		}
	}
}

// Partition cuts every pair whose members have different values in side, which
// has one value a node.
func (n *Net[M]) Partition(side []int) {
	for a := range n.n {
		for b := range a {
			if side[a] != side[b] {
				n.Cut(a, b)
			}
		}
	}
}

// Heal ends all cuts.
func (n *Net[M]) Heal() {
	for i := range n.links {
		n.links[i].cut = false
	}
}

// IsCut reports whether messages from a to b vanish.
func (n *Net[M]) IsCut(a, b int) bool { return n.links[a*n.n+b].cut }

func (n *Net[M]) conn(a, b int) uint64 { return n.conns[min(a, b)*n.n+max(a, b)] }

func (n *Net[M]) take(f flight[M]) int {
	if n.free == 0 {
		n.slab = append(n.slab, f)
		return len(n.slab) - 1
	}
	i := n.free - 1
	n.free = n.slab[i].next
	n.slab[i] = f
	return i
}
