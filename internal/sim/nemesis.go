package sim

import (
	"math/rand/v2"
	"time"
)

// Fault is something that a Nemesis does now and then.
type Fault struct {
	Name string
	// Mean is the mean time between two strikes while the fault is on; each seed
	// draws its own within a factor of three.
	Mean time.Duration
	// Do strikes, and reports whether it had an effect.
	Do func(r *rand.Rand) bool
	// Always puts the fault into every seed's set, in every period, whatever the
	// limit: for what ends other faults.
	Always bool
}

// Nemesis makes faults happen. Each seed has its own set of faults; the set in
// force rotates every quarter of a minute or so, and about a quarter of all periods
// have none, so that the system recovers and reaches new states.
type Nemesis struct {
	e       *Engine
	r       *rand.Rand
	faults  []Fault
	stop    time.Duration
	on      []bool
	effects int
	limit   int
}

// NewNemesis draws a set of faults and lets them happen from now to virtual time
// until, at most limit strikes with an effect (0: no limit).
func NewNemesis(e *Engine, until time.Duration, limit int, faults []Fault) *Nemesis {
	n := &Nemesis{e: e, r: e.Rand("nemesis"), stop: until, limit: limit}
	n.draw(faults)
	n.on = make([]bool, len(n.faults))
	n.rotate(15 * time.Second)
	for i := range n.faults {
		n.schedule(i)
	}
	return n
}

// draw picks each fault with probability one half, but at least one that is not there always.
func (n *Nemesis) draw(faults []Fault) {
	var idle []Fault
	picked := false
	add := func(f Fault) {
		f.Mean = time.Duration(float64(f.Mean) * LogUniform(n.r, 1.0/3, 3))
		n.faults = append(n.faults, f)
		picked = picked || !f.Always
	}
	for _, f := range faults {
		if f.Always || Chance(n.r, 0.5) {
			add(f)
		} else {
			idle = append(idle, f)
		}
	}
	if !picked && len(idle) > 0 {
		add(idle[n.r.IntN(len(idle))])
	}
}

// Stop ends the faults now.
func (n *Nemesis) Stop() { n.stop = n.e.now }

// Effects returns the number of strikes that had an effect.
func (n *Nemesis) Effects() int { return n.effects }

func (n *Nemesis) rotate(period time.Duration) {
	quiet := Chance(n.r, 0.25)
	for i := range n.on {
		n.on[i] = !quiet && Chance(n.r, 0.7)
	}
	n.e.After(Exp(n.r, period), func() {
		if n.e.now < n.stop {
			n.rotate(period)
		}
	})
}

func (n *Nemesis) schedule(i int) {
	f := &n.faults[i]
	n.e.After(Exp(n.r, f.Mean), func() {
		if n.e.now >= n.stop || !f.Always && n.limit > 0 && n.effects >= n.limit {
			return
		}
		if (n.on[i] || f.Always) && f.Do(n.r) {
			n.effects++
			n.e.Mark("fault." + f.Name)
			n.e.Tracef("fault %s", f.Name)
		}
		n.schedule(i)
	})
}
