package mqsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

const (
	chaos = 60 * time.Second
	heal  = 20 * time.Second
)

// TestSim runs seeds: brokers under faults for a minute, then healed; see package sim for the flag -seeds.
func TestSim(t *testing.T) {
	seeds := "1-40"
	if testing.Short() {
		seeds = "1-10"
	}
	sim.Batch{
		Package: "./mq/internal/mqsim", Name: "TestSim", Seeds: seeds, RequiredSeeds: 40,
		Required: []string{
			"state.election", "state.offline", "state.isr.grew", "state.isr.alone", "state.suspect", "isr.shrink", "isr.expand", "isr.settle",
			"isr.expand.unknown", "isr.expand.refused", "truncate", "crash.lost.tail", "lost.committed", "rejoin.left.isr", "zk.expired",
			"zk.reconnect", "zk.write.late", "zk.write.unknown.took.effect", "scan.deletion", "register.waits.for.former", "human.loss",
			"reset", "slow.write", "isr.resign", "failed.leader", "trim",
		},
		Run: run,
	}.Test(t)
}

// run is one seed.
func run(e *sim.Engine) error {
	c := draw(e)
	for _, b := range c.brokers {
		e.After(sim.Exp(c.r, 200*time.Millisecond), b.start)
	}
	e.After(300*time.Millisecond, c.create)
	for _, k := range c.clients {
		e.After(time.Second, k.run)
	}
	nem := sim.NewNemesis(e, chaos, 30, c.faults())
	if err := e.RunUntil(chaos, c.check.error); err != nil {
		return err
	}
	nem.Stop()
	c.calm()
	if err := e.RunUntil(chaos+heal, c.check.error); err != nil {
		return err
	}
	for _, k := range c.clients {
		k.stop = true
	}
	if err := e.RunUntil(chaos+heal+5*time.Second, c.check.error); err != nil {
		return err
	}
	for _, k := range c.clients {
		for i := range 8 {
			e.After(time.Duration(i)*100*time.Millisecond, k.read)
		}
		e.Count("ops", uint64(k.sent))
		e.Count("acked", uint64(k.done))
		if k.done == 0 {
			return fmt.Errorf("nothing was acknowledged of %d", k.sent)
		}
	}
	if err := e.RunUntil(chaos+heal+6*time.Second, c.check.error); err != nil {
		return err
	}
	e.Count("faults", uint64(nem.Effects()))
	return c.check.final()
}

// calm ends all faults and starts every broker.
func (c *cluster) calm() {
	c.net.Calm()
	c.zk.snap = 0
	c.zk.lag, c.slowWrites = min(c.zk.lag, 5*time.Millisecond), 0
	for _, b := range c.brokers {
		b.cutUntil = 0
		if b.up && slices.ContainsFunc(c.nums, func(n int32) bool { return b.parts[n] != nil && b.parts[n].failed }) {
			b.crash(false)
		}
		if !b.up {
			c.e.After(sim.Exp(c.r, 300*time.Millisecond), func() {
				if !b.up {
					b.start()
				}
			})
		}
	}
	c.e.After(8*time.Second, c.human)
}

// human is a person who finds partitions offline because every replica that could lead is suspect.
func (c *cluster) human() {
	for _, n := range c.nums {
		s, ok := c.state(n)
		if b := c.controller(); ok && s.Leader < 0 && b != nil {
			c.e.Mark("human.unclean.election")
			c.check.truth[n].human = true
			b.ctl.ElectLeader(c.token(), topicName, n, controller.Unclean)
			b.drain()
		}
	}
}

func up(b *broker) bool { return b.up }

// later starts a broker again after a while.
func (c *cluster) later(b *broker, r *rand.Rand, mean time.Duration) {
	c.e.After(sim.Exp(r, mean), func() {
		if !b.up {
			b.start()
		}
	})
}

// mayWipe reports whether the fault model allows to lose a broker's disk: each partition has another member of its ISR that holds all.
func (c *cluster) mayWipe(b *broker) bool {
	for _, n := range c.nums {
		t := c.check.truth[n]
		if t.known && !slices.ContainsFunc(t.state.ISR, func(m int32) bool { return m != b.id && !t.tainted[m] }) {
			return false
		}
	}
	return true
}

func (c *cluster) faults() []sim.Fault {
	down := func(name string, mean, away time.Duration, how func(b *broker) bool) sim.Fault {
		return sim.Fault{Name: name, Mean: mean, Do: func(r *rand.Rand) bool {
			b := c.pick(r, up)
			if b == nil || !how(b) {
				return false
			}
			if away == 0 {
				b.start()
			} else {
				c.later(b, r, away)
			}
			return true
		}}
	}
	kill := func(b *broker) bool { b.crash(false); return true }
	power := func(b *broker) bool { b.crash(true); return true }
	wipe := func(b *broker) bool {
		if !c.mayWipe(b) {
			return false
		}
		b.crash(true)
		b.wipe()
		return true
	}
	return []sim.Fault{
		down("kill", 6*time.Second, 2*time.Second, kill),
		down("power", 6*time.Second, 2*time.Second, power),
		down("power.bounce", 8*time.Second, 0, power),
		down("wipe", 9*time.Second, 2*time.Second, wipe),
		down("wipe.bounce", 9*time.Second, 0, wipe),
		down("stop", 9*time.Second, time.Second, c.stop),
		{Name: "disk.fail", Mean: 12 * time.Second, Do: c.failDisk},
		{Name: "storm", Mean: 20 * time.Second, Do: c.storm},
		{Name: "zk.disconnect", Mean: 2 * time.Second, Do: func(r *rand.Rand) bool { return c.unplug(r, 0) }},
		{Name: "zk.partition", Mean: 6 * time.Second, Do: func(r *rand.Rand) bool { return c.unplug(r, 1500*time.Millisecond) }},
		{Name: "net.partition", Mean: 6 * time.Second, Do: c.cut},
		{Name: "pause", Mean: 6 * time.Second, Do: c.pause},
		{Name: "rebalance", Mean: 5 * time.Second, Do: c.rebalance, Always: true},
		{Name: "depose", Mean: 8 * time.Second, Do: func(*rand.Rand) bool {
			return c.zk.commit([]layout.Op{layout.Delete(layout.ControllerPath, layout.AnyVersion)}, 0)
		}},
		{Name: "retention", Mean: 5 * time.Second, Do: c.retain},
	}
}

// stop ends a broker the way an operator does.
func (c *cluster) stop(b *broker) bool {
	if ctl := c.controller(); ctl != nil && b.registered {
		ctl.ctl.ShutDown(c.token(), b.id, b.incarnation)
		ctl.drain()
		for _, p := range b.parts {
			p.r.Retire()
		}
	}
	life := b.life
	c.e.After(300*time.Millisecond, func() {
		if b.life == life {
			b.stop()
			c.later(b, c.r, time.Second)
		}
	})
	return true
}

// failDisk lets a partition's log fail: nothing is written to it until the broker starts again.
func (c *cluster) failDisk(r *rand.Rand) bool {
	b := c.pick(r, func(b *broker) bool { return b.up && len(b.parts) > 0 })
	if b == nil {
		return false
	}
	for _, n := range c.nums {
		if p := b.parts[n]; p != nil && p.r.Role().Kind != replica.Failed {
			c.e.Mark("failed." + p.r.Role().Kind.String())
			p.failed = true
			p.r.Fail()
			b.drain()
			break
		}
	}
	life := b.life
	c.e.After(sim.Exp(r, 3*time.Second), func() {
		if b.life == life {
			b.crash(false)
			b.start()
		}
	})
	return true
}

// storm takes the power from every broker.
func (c *cluster) storm(r *rand.Rand) bool {
	for _, b := range c.brokers {
		if b.up {
			b.crash(true)
			c.later(b, r, time.Second)
		}
	}
	return true
}

func (c *cluster) unplug(r *rand.Rand, mean time.Duration) bool {
	b := c.pick(r, func(b *broker) bool { return b.up && b.conn != nil })
	if b == nil {
		return false
	}
	b.cutUntil = c.e.Now() + sim.Exp(r, mean)
	b.conn.sever()
	return true
}

func (c *cluster) cut(r *rand.Rand) bool {
	if a, b := r.IntN(len(c.brokers)), r.IntN(len(c.brokers)); a == b || sim.Chance(r, 0.3) {
		c.net.Isolate(a)
	} else {
		c.net.CutOneWay(a, b)
	}
	c.e.After(sim.Exp(r, 1500*time.Millisecond), c.net.Heal)
	return true
}

func (c *cluster) pause(r *rand.Rand) bool {
	b := c.pick(r, up)
	if b == nil {
		return false
	}
	c.net.Pause(b.node(), c.e.Now()+sim.Exp(r, time.Second))
	return true
}

func (c *cluster) rebalance(*rand.Rand) bool {
	b := c.controller()
	if b == nil {
		return false
	}
	b.ctl.Rebalance(0)
	b.drain()
	return true
}

// retain moves a leader's log start up, at most to its high watermark.
func (c *cluster) retain(r *rand.Rand) bool {
	for _, n := range c.nums {
		s, ok := c.state(n)
		if !ok || s.Leader < 0 {
			continue
		}
		p := c.broker(s.Leader).parts[n]
		if p == nil || !c.broker(s.Leader).up {
			continue
		}
		if hw, known := p.r.HighWatermark(); known && hw > p.log.start && p.log.synced >= hw {
			c.broker(s.Leader).trim(p, p.log.start+1+r.Int64N(hw-p.log.start))
			return true
		}
	}
	return false
}
