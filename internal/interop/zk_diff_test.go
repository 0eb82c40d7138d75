package interop

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	diffSeqs = flag.Int("diff.sequences", 0, "random sequences of TestDiff and its like; 0: what each has by default")
	diffSeed = flag.Uint64("diff.seed", 1, "the first sequence's seed")
	diffKeep = flag.Int("diff.failures", 5, "different differences after which TestDiff gives up")
)

const diffSteps = 60

var diffScriptFile = flag.String("diff.script", "", "a script that TestDiff sends instead, printing what both said")

// diffPair is ours and theirs, with equal histories.
type diffPair struct {
	start        func() (ours, theirs *diffTarget)
	generate     func(seed uint64, steps int) []diffStep
	ours, theirs *diffTarget
	runs         int
	died         bool // theirs
	sum          diffSum
}

type diffSum struct {
	sequences, operations, events int
	ops                           map[string]int
	allowed                       map[string]int
}

// TestDiff sends random sequences of everything that a client can send, and of
// some things that it cannot, to ours and to Apache ZooKeeper 3.9, and compares
// every reply, every event with its place among them, and the tree at the end.
func TestDiff(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprintf("servers=%d", servers), func(t *testing.T) {
			p := newDiffPair(generateDiff, func() (ours, theirs *diffTarget) { return diffOurs(t, servers), startApache39(t) })
			if *diffScriptFile != "" {
				p.one(t)
				return
			}
			p.scripts(t)
			p.random(t, 150, 40)
			p.report(t)
			require.NotZero(t, p.sum.events)
		})
	}
}

func newDiffPair(generate func(seed uint64, steps int) []diffStep, start func() (ours, theirs *diffTarget)) *diffPair {
	p := &diffPair{start: start, generate: generate}
	p.ours, p.theirs = start()
	return p
}

func (p *diffPair) report(t *testing.T) {
	t.Logf("%d sequences, %d replies, %d events compared; allowed differences: %v; replies by operation: %v",
		p.sum.sequences, p.sum.operations, p.sum.events, p.sum.allowed, p.sum.ops)
}

// scripts runs what is kept in testdata/diff.
func (p *diffPair) scripts(t *testing.T) {
	files, err := filepath.Glob("testdata/diff/*.txt")
	require.NoError(t, err)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			steps, err := parseDiffScript(string(text))
			require.NoError(t, err)
			if d := p.run(steps); d != nil {
				t.Error(d)
			}
		})
	}
}

// one runs one script and prints all of it.
func (p *diffPair) one(t *testing.T) {
	text, err := os.ReadFile(*diffScriptFile)
	require.NoError(t, err)
	steps, err := parseDiffScript(string(text))
	require.NoError(t, err)
	p.runs++
	root := fmt.Sprintf("/d%07d", p.runs)
	for _, tg := range []*diffTarget{p.ours, p.theirs} {
		streams := runDiff(tg, root, steps).normal()
		for _, slot := range slices.Sorted(maps.Keys(streams)) {
			for _, e := range streams[slot] {
				t.Logf("%s: slot %d, step %d: %s", tg.name, slot, e.step, e.text)
			}
		}
	}
}

// random sends sequences: n of them, or fewer with -short.
func (p *diffPair) random(t *testing.T, n, short int) {
	if testing.Short() {
		n = short
	}
	n = cmp.Or(*diffSeqs, n)
	found := map[string]bool{}
	for i := range n {
		seed := *diffSeed + uint64(i)
		steps := p.generate(seed, diffSteps)
		d := p.run(steps)
		if d == nil {
			continue
		}
		if p.died {
			t.Fatalf("Apache ZooKeeper has died of what came before seed %d", seed)
		}
		steps, d = p.minimise(steps, d)
		if key := d.kind(); !found[key] {
			found[key] = true
			t.Errorf("seed %d, after minimising:\n%s%v", seed, diffScript(steps), d)
		}
		if len(found) >= *diffKeep {
			t.Fatalf("%d different differences in %d sequences", len(found), i+1)
		}
		p.ours, p.theirs = p.start() // their histories are no longer equal
	}
}

// difference is the first place where two runs differ.
type difference struct {
	slot, step   int
	ours, theirs string
	op           string
}

func (d *difference) kind() string {
	code := func(s string) string {
		head, _, _ := strings.Cut(s, " zxid")
		return head
	}
	return d.op + ": " + code(d.ours) + " / " + code(d.theirs)
}

func (d *difference) String() string {
	return fmt.Sprintf("slot %d differs at step %d (%s)\n  ours:   %s\n  apache: %s", d.slot, d.step, d.op, d.ours, d.theirs)
}

// run sends one sequence to both, in a znode of its own.
func (p *diffPair) run(steps []diffStep) *difference {
	p.runs++
	root := fmt.Sprintf("/d%07d", p.runs)
	ours := runDiff(p.ours, root, steps)
	theirs := runDiff(p.theirs, root, steps)
	p.died = theirs.slots[diffAuditor].session == 0
	p.sum.sequences++
	p.sum.operations += ours.replies
	return p.compare(steps, ours.normal(), theirs.normal())
}

// compare finds the first step at which somebody heard something else.
func (p *diffPair) compare(steps []diffStep, ours, theirs map[int][]diffEntry) *difference {
	if p.sum.ops == nil {
		p.sum.ops, p.sum.allowed = map[string]int{}, map[string]int{}
	}
	var first *difference
	for slot := range ours {
		if d := p.compareSlot(steps, slot, ours[slot], theirs[slot]); d != nil && (first == nil || d.step < first.step) {
			first = d
		}
	}
	return first
}

func (p *diffPair) compareSlot(steps []diffStep, slot int, ours, theirs []diffEntry) *difference {
	nothing := diffEntry{step: len(steps)}
	for i, j := 0, 0; i < len(ours) || j < len(theirs); {
		x, y := nothing, nothing
		if i < len(ours) {
			x = ours[i]
		}
		if j < len(theirs) {
			y = theirs[j]
		}
		if x.text == y.text {
			p.count(slot, x.text)
			i, j = i+1, j+1
			continue
		}
		d := &difference{slot: slot, step: min(x.step, y.step), ours: x.text, theirs: y.text, op: "the tree at the end"}
		var st diffStep
		if d.step >= 0 && d.step < len(steps) {
			st = steps[d.step]
			d.op = st.Op
		}
		rule := diffAllowed(&st, x.text, y.text)
		if rule == nil {
			return d
		}
		p.sum.allowed[rule.name]++
		if j++; !rule.onlyTheirs {
			i++
		}
	}
	return nil
}

func (p *diffPair) count(slot int, text string) {
	if strings.HasPrefix(text, "event") {
		p.sum.events++
	} else if op, _, ok := strings.Cut(text, ": "); ok && slot != diffAuditor {
		p.sum.ops[op]++
	}
}

// minimise drops steps as long as the same kind of difference stays.
func (p *diffPair) minimise(steps []diffStep, d *difference) ([]diffStep, *difference) {
	deadline := time.Now().Add(15 * time.Second)
	try := func(candidate []diffStep) bool {
		if time.Now().After(deadline) {
			return false
		}
		if e := p.run(candidate); e != nil && e.kind() == d.kind() {
			steps, d = candidate, e
			return true
		}
		return false
	}
	try(slices.Clone(steps[:min(len(steps), d.step+1)]))
	for size := len(steps) / 2; size >= 1; {
		dropped := false
		for at := 0; at+size <= len(steps); {
			if try(slices.Concat(steps[:at], steps[at+size:])) {
				dropped = true
			} else {
				at += size
			}
		}
		if !dropped || size > 1 {
			size /= 2
		}
	}
	for i := range steps { // operations of a multi, and what is not needed
		for j := 0; j < len(steps[i].Ops); {
			c := slices.Clone(steps)
			c[i].Ops = slices.Delete(slices.Clone(c[i].Ops), j, j+1)
			if !try(c) {
				j++
			}
		}
		for _, simplify := range []func(*diffStep){
			func(s *diffStep) { s.Pipe = false },
			func(s *diffStep) { s.Extra = "" },
			func(s *diffStep) { s.Watch = false },
			func(s *diffStep) { s.Data = nil },
			func(s *diffStep) { s.Slot = 0 },
			func(s *diffStep) { s.Lists = [5][]quoted{} },
		} {
			c := slices.Clone(steps)
			simplify(&c[i])
			if c[i].String() != steps[i].String() {
				try(c)
			}
		}
	}
	return steps, d
}
