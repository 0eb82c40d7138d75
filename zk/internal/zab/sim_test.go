package zab

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
)

// TestSim runs ensembles of 1, 3 and 5 through chaos, healing and a final check.
//
//	go test ./zk/internal/zab -run TestSim -v -seeds 1-2000
func TestSim(t *testing.T) {
	simBatch("TestSim").Test(t)
}

func simBatch(name string) sim.Batch {
	return sim.Batch{
		Package: "./zk/internal/zab", Name: name, Seeds: "1-40", Run: simSeed,
		RequiredSeeds: 300,
		Required: []string{
			"sent.DIFF", "sent.TRUNC", "sent.SNAP", "sent.RESET", "sent.COMMIT", "propose.full", "propose.rollover", "role.leads",
			"role.resync", "proposals", "committed",
			"role.failed", "role.epoch-skipped", "barrier.answered", "r3.wiped-start", "r3.synchronized", "disk.truncated", "disk.error",
			"crash.lost-unsynced", "crash.torn-write", "crash.between-effects", "snapshot.wanted", "net.lost", "net.cut", "net.stale",
			"net.duplicated", "net.slow", "fault.crash", "fault.crash-leader", "fault.crash-all", "fault.wipe", "fault.partition",
			"fault.one-way", "fault.isolate-leader", "fault.reset", "fault.usurp", "fault.pause", "fault.disk-error", "fault.slow-disk",
			"servers.1", "servers.3", "servers.5", "reconfig.proposed", "reconfig.committed", "reconfig.refused", "reconfig.groups",
			"reconfig.leader-leaves", "reconfig.joins", "reconfig.pending-start", "history.wanted", "history.read", "propose.reconfig",
		},
	}
}

var markSent = func() (s [msgTypeEnd]string) {
	for t := range s {
		s[t] = "sent." + MessageType(t).String()
	}
	return s
}()

// A seed's chaos lasts simChaos, and longer, up to simChaosMax, until simProposals were accepted and
// simFaultsMin faults took effect; after simFaultsMax there are no more.
const (
	simChaos     = 60 * time.Second
	simChaosMax  = 10 * time.Minute
	simProposals = 1000
	simFaultsMin = 3
	simFaultsMax = 12
)

// simSeed runs one seed.
func simSeed(e *sim.Engine) error {
	r := e.Rand("swarm")
	n := []int{1, 3, 3, 5, 5}[r.IntN(5)]
	extra := []int{0, 0, 0, 1, 2, 3}[r.IntN(6)]
	e.Mark(fmt.Sprintf("servers.%d", n))
	c := newSimCluster(e, n, extra, sim.DrawNetFaults(r), drawConfig(r))
	c.reconf = extra > 0 || sim.Chance(r, 0.3)
	c.codec = sim.Chance(r, 0.1)
	c.fsync = time.Duration(sim.LogUniform(r, 1e5, 2e7))
	for _, nd := range c.nodes {
		e.After(sim.Exp(c.rPeer, 100*time.Millisecond), func() { c.start(nd) })
	}
	check := func() error { return c.err }
	nem := sim.NewNemesis(e, simChaosMax, simFaultsMax, c.faults())
	c.load()
	for until := simChaos; until == simChaos || until < simChaosMax && (c.accepted < simProposals || nem.Effects() < simFaultsMin); until += simChaos / 6 {
		if err := e.RunUntil(until, check); err != nil {
			return err
		}
	}
	nem.Stop()
	c.calm = true
	e.Count("proposals", uint64(c.accepted))
	e.Count("committed", uint64(len(c.history)))
	e.Count("faults", uint64(nem.Effects()))
	if c.accepted < simProposals || nem.Effects() < simFaultsMin {
		return fmt.Errorf("an empty run: %d proposals accepted, %d faults took effect in %v", c.accepted, nem.Effects(), e.Now())
	}
	return c.settle(r, check)
}

func drawConfig(r *rand.Rand) Config {
	cfg := Config{
		SyncLimitTicks: 5, InitLimitTicks: 20, FinalizeTicks: 1 + r.IntN(4), ResendTicks: 1 + r.IntN(4),
		WindowEntriesMax: int(sim.LogUniform(r, 4, 2000)), BatchEntriesMax: int(sim.LogUniform(r, 1, 256)),
		InFlightEntriesMax: int(sim.LogUniform(r, 4, 500)),
	}
	cfg.LogHistory = sim.Chance(r, 0.6)
	if sim.Chance(r, 0.3) {
		cfg.CounterMax = uint32(sim.LogUniform(r, 5, 500))
	}
	if sim.Chance(r, 0.2) {
		cfg.WindowBytesMax, cfg.BatchBytesMax, cfg.InFlightBytesMax = 8*(4+r.IntN(100)), 8*(1+r.IntN(10)), 8*(8+r.IntN(200))
	}
	return cfg
}

// load proposes in bursts, asks for barriers and takes local snapshots, until the chaos is over.
func (c *simCluster) load() {
	r := c.rLoad
	if c.calm {
		return
	}
	burst := 1 + r.IntN(32)
	for at := time.Duration(0); burst > 0; at += sim.Exp(r, 2*time.Millisecond) {
		k := min(burst, 1+r.IntN(8))
		burst -= k
		c.e.After(at, func() {
			for _, nd := range c.nodes { // stale leaders, too
				if nd.peer != nil && nd.role.State == Leading && nd.role.Established {
					c.propose(nd, k)
				}
			}
		})
	}
	if nd := c.nodes[r.IntN(len(c.nodes))]; nd.peer != nil {
		if sim.Chance(r, 0.1) && nd.writing == nil {
			nd.compact(r)
		}
		if nd.role.State == Leading && nd.role.Established {
			c.barrier(nd)
		}
	}
	if l := c.leader(); l != nil && c.reconf && sim.Chance(r, 0.1) {
		c.reconfigure(l)
	}
	c.e.After(sim.Exp(r, 300*time.Millisecond), c.load)
}

// settle heals a majority, which must get on, then everybody, who must become equal.
func (c *simCluster) settle(r *rand.Rand, check func() error) error {
	c.net.Calm()
	c.fsync, c.slowDisk = time.Millisecond, 0
	perm := r.Perm(len(c.nodes))
	core := make([]*simNode, 0, len(c.nodes))
	for _, i := range perm {
		nd := c.nodes[i]
		nd.fuse, nd.failNext = 0, false
		if !c.enough(core) || sim.Chance(r, 0.5) {
			core = append(core, nd)
			c.start(nd)
		} else {
			c.crash(nd)
			nd.incarnation++ // it stays down
		}
	}
	if err := c.converge(core, check, "a healed majority"); err != nil {
		return err
	}
	for _, nd := range c.nodes {
		c.start(nd)
	}
	return c.converge(c.nodes, check, "everybody")
}

// converge demands that all of nodes have one established leader within 200 ticks, that it commits what is
// proposed, and that all hold the same.
func (c *simCluster) converge(nodes []*simNode, check func() error, who string) error {
	deadline := c.e.Now() + 200*simTick
	target := -1
	var leader *simNode
	for c.e.Now() < deadline {
		if err := c.e.RunUntil(c.e.Now()+simTick, check); err != nil {
			return err
		}
		var lead *simNode
		all := true
		for _, nd := range nodes {
			if nd.role.State == Leading && nd.role.Established {
				lead = nd
			}
			all = all && nd.role.Established
		}
		switch {
		case lead == nil || !all:
			target = -1
			continue
		case target < 0 || lead != leader:
			leader = lead
			before := c.accepted
			c.propose(lead, 3)
			if c.accepted == before+3 {
				target = lead.disk.count() // a lower bound; all of it and the three must arrive
			}
			continue
		}
		last := leader.peer.Status().LastZxid
		same := true
		for _, nd := range nodes {
			same = same && nd.state.zxid == last && nd.disk.last() == last && nd.state == leader.state && nd.writing == nil
		}
		if same && len(c.history) == leader.disk.count() && leader.disk.count() > target {
			if c.accepted == 0 {
				return fmt.Errorf("nothing was ever proposed")
			}
			return nil
		}
	}
	var b strings.Builder
	for _, nd := range nodes {
		if nd.peer == nil {
			fmt.Fprintf(&b, "\n%d down", nd.id)
			continue
		}
		fmt.Fprintf(&b, "\n%+v disk %+v to %v", nd.peer.Status(), nd.disk.epochs, nd.disk.last())
		for _, e := range nd.peer.rules {
			fmt.Fprintf(&b, " %+v", *e.m)
		}
	}
	return fmt.Errorf("liveness: %s did not converge within 200 ticks%s", who, b.String())
}

func traceMessage(m *Message) string {
	var b strings.Builder
	b.WriteString(m.Type.String())
	if m.Type == MsgNotification {
		fmt.Fprintf(&b, " %v round %d vote %v", m.State, m.Round, m.Vote)
	} else if m.Session != 0 {
		fmt.Fprintf(&b, " s%04x", m.Session&0xffff)
	}
	if m.Epoch != 0 {
		fmt.Fprintf(&b, " epoch %d", m.Epoch)
	}
	if m.Type == MsgPing || m.Type == MsgPong {
		fmt.Fprintf(&b, " round %d", m.Round)
	}
	if m.Type == MsgAckEpoch {
		fmt.Fprintf(&b, " has %v tails %v", m.Vote, m.Tails)
	}
	for _, z := range []struct {
		name string
		z    Zxid
	}{{"zxid", m.Zxid}, {"prev", m.Prev}, {"commit", m.Commit}} {
		if z.z != 0 {
			fmt.Fprintf(&b, " %s %v", z.name, z.z)
		}
	}
	if n := len(m.Entries); n > 0 {
		fmt.Fprintf(&b, " %v..%v", m.Entries[0].Zxid, m.Entries[n-1].Zxid)
	}
	for bit, name := range []string{"ask", "voter", "established", "promise", "synced", "newleader"} {
		if m.Flags&(1<<bit) != 0 {
			b.WriteString(" " + name)
		}
	}
	return b.String()
}
