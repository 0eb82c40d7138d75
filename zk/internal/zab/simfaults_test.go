package zab

import (
	"math/rand/v2"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
)

// faults are all that may strike; a seed's swarm has some of them.
func (c *simCluster) faults() []sim.Fault {
	fs := []sim.Fault{
		{Name: "crash", Mean: 4 * time.Second, Do: func(r *rand.Rand) bool { return c.kill(r, c.pick(r)) }},
		{Name: "crash-leader", Mean: 5 * time.Second, Do: func(r *rand.Rand) bool { return c.kill(r, c.leader()) }},
		{Name: "crash-all", Mean: 15 * time.Second, Do: c.killAll},
		{Name: "disk-error", Mean: 8 * time.Second, Do: func(r *rand.Rand) bool { return c.failDisk(c.pick(r)) }},
		{Name: "slow-disk", Mean: 8 * time.Second, Do: c.slowDown},
		{Name: "pause", Mean: 6 * time.Second, Do: c.pause},
	}
	if len(c.nodes) == 1 {
		return fs
	}
	return append(fs, []sim.Fault{
		{Name: "wipe", Mean: 8 * time.Second, Do: c.wipeOne},
		{Name: "partition", Mean: 6 * time.Second, Do: c.partition},
		{Name: "one-way", Mean: 6 * time.Second, Do: c.oneWay},
		{Name: "isolate-leader", Mean: 6 * time.Second, Do: c.isolateLeader},
		{Name: "reset", Mean: 3 * time.Second, Do: c.resetConn},
		{Name: "usurp", Mean: 8 * time.Second, Do: c.usurp},
		{Name: "heal", Mean: 4 * time.Second, Always: true, Do: func(*rand.Rand) bool { c.net.Heal(); return false }},
	}...)
}

func (c *simCluster) pick(r *rand.Rand) *simNode {
	if nd := c.nodes[r.IntN(len(c.nodes))]; nd.peer != nil {
		return nd
	}
	return nil
}

// leader returns the established leader of the greatest epoch, if any.
func (c *simCluster) leader() *simNode {
	var l *simNode
	for _, nd := range c.nodes {
		if nd.peer != nil && nd.role.State == Leading && nd.role.Established && (l == nil || nd.role.Epoch > l.role.Epoch) {
			l = nd
		}
	}
	return l
}

// kill crashes a server at once or between two of its next effects, and restarts it later.
func (c *simCluster) kill(r *rand.Rand, nd *simNode) bool {
	if nd == nil {
		return false
	}
	if sim.Chance(r, 0.6) {
		nd.fuse = 1 + r.IntN(20)
	} else {
		c.crash(nd)
	}
	c.restartLater(r, nd)
	return true
}

func (c *simCluster) restartLater(r *rand.Rand, nd *simNode) {
	incarnation := nd.incarnation
	c.e.After(sim.Exp(r, 800*time.Millisecond), func() {
		if nd.incarnation == incarnation {
			c.crash(nd) // if its fuse still burns
			c.start(nd)
		}
	})
}

func (c *simCluster) killAll(r *rand.Rand) bool {
	for _, nd := range c.nodes {
		if nd.peer != nil {
			c.kill(r, nd)
		}
	}
	return true
}

// wipeOne takes away a disk, unless a quorum's disks would then be lost.
func (c *simCluster) wipeOne(r *rand.Rand) bool {
	nd := c.pick(r)
	if nd == nil || !c.wipeIfSafe(nd) {
		return false
	}
	c.restartLater(r, nd)
	return true
}

func (c *simCluster) wipeIfSafe(nd *simNode) bool {
	if nd.disk.boot {
		return false
	}
	for _, e := range c.inPlay() {
		if !e.quorum(func(at int) bool { return c.nodes[at] != nd && c.nodes[at].disk.voter() }) {
			return false
		}
	}
	c.wipe(nd)
	return true
}

func (c *simCluster) failDisk(nd *simNode) bool {
	if nd == nil {
		return false
	}
	nd.failNext = true
	return true
}

func (c *simCluster) slowDown(r *rand.Rand) bool {
	c.slowDisk = ServerID(1 + r.IntN(len(c.nodes)))
	c.e.After(sim.Exp(r, 2*time.Second), func() { c.slowDisk = 0 })
	return true
}

func (c *simCluster) pause(r *rand.Rand) bool {
	nd := c.pick(r)
	if nd == nil {
		return false
	}
	c.net.Pause(int(nd.id)-1, c.e.Now()+sim.Exp(r, time.Second))
	return true
}

func (c *simCluster) partition(r *rand.Rand) bool {
	side := make([]int, len(c.nodes))
	for i := range side {
		side[i] = r.IntN(2)
	}
	c.net.Partition(side)
	return true
}

func (c *simCluster) oneWay(r *rand.Rand) bool {
	a, b := r.IntN(len(c.nodes)), r.IntN(len(c.nodes))
	if a == b {
		return false
	}
	c.net.CutOneWay(a, b)
	return true
}

func (c *simCluster) isolateLeader(*rand.Rand) bool {
	nd := c.leader()
	if nd == nil {
		return false
	}
	c.net.Isolate(int(nd.id) - 1)
	return true
}

// usurp cuts the leader off with a minority, lets the others elect another, and then moves one of these,
// restarted or wiped, back to the old leader's side before that one has noticed.
func (c *simCluster) usurp(r *rand.Rand) bool {
	old := c.leader()
	if old == nil {
		return false
	}
	c.net.Heal()
	side := make([]int, len(c.nodes))
	var moved *simNode
	stay := c.quorum - 2 // who stays with the old leader
	for _, i := range r.Perm(len(c.nodes)) {
		nd := c.nodes[i]
		switch {
		case nd == old:
		case stay > 0:
			stay--
		default:
			side[i], moved = 1, nd
		}
	}
	for a := range side {
		for b := range a {
			if side[a] != side[b] {
				c.net.ResetConn(a, b)
			}
		}
	}
	c.e.After(c.net.Faults().Delay, func() { c.net.Partition(side) })
	c.e.After(time.Duration(sim.LogUniform(r, 2e7, 4e8)), func() {
		if moved.peer == nil || c.calm {
			return
		}
		if sim.Chance(r, 0.3) {
			c.crash(moved)
		} else if !c.wipeIfSafe(moved) {
			return
		}
		c.net.Heal()
		side[moved.id-1] = 0
		c.net.Partition(side)
		c.start(moved)
		c.e.After(sim.Exp(r, time.Second), c.net.Heal)
	})
	return true
}

func (c *simCluster) resetConn(r *rand.Rand) bool {
	a, b := r.IntN(len(c.nodes)), r.IntN(len(c.nodes))
	if a == b || c.net.IsDown(a) || c.net.IsDown(b) {
		return false
	}
	c.net.ResetConn(a, b)
	return true
}
