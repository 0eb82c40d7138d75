package wal

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

var (
	seeds      = flag.Int("seeds", 60, "wal: how many seeds TestRandomCrashes runs")
	soakImages = flag.Int("soak", 0, "wal: how many random crash images TestSoak checks; 0: it is skipped")
	soakFrom   = flag.Uint64("soakfrom", 1000, "wal: the first seed of TestSoak")
	soakCommit = flag.String("soakcommit", "", "wal: the commit that is tested, for wal/SOAK.md, where git cannot tell")
)

const soakLedger = "SOAK.md"

// crashRun runs drawn operations on a log until a drawn fault, crashes, checks
// what may be left, and goes on from there with a log that has lived through it.
type crashRun struct {
	images int // first images checked; each is written on and crashes five times more
	faults map[string]int
	events map[string]int
}

func newCrashRun() *crashRun {
	return &crashRun{faults: map[string]int{}, events: map[string]int{}}
}

// rareEvents are those that a run must have reached.
var rareEvents = []string{
	"rolls", "recycled", "replaced", "torn tails", "resets", "truncations at the end", "indexes loaded", "indexes saved",
}

// fault is what goes wrong in a life, from its left-th change of the disk on.
type fault struct {
	name string
	left int
	err  func(op vfs.Op) error // nil: this one works
	once bool
	hit  bool
}

func (f *fault) hook(op vfs.Op) error {
	if !op.Changes() {
		return nil
	}
	if f.left--; f.left > 0 || f.once && f.hit {
		return nil
	}
	err := f.err(op)
	f.hit = f.hit || err != nil
	return err
}

func drawFault(rng *rand.Rand) *fault {
	f := &fault{left: 1 + rng.IntN(150)}
	power := func(vfs.Op) error { return errInjected }
	switch rng.IntN(8) {
	case 0:
		f.name, f.err, f.once = "failed operation", power, true
	case 1:
		f.name, f.once = "failed sync that loses writes", true
		f.err = func(op vfs.Op) error {
			if op.Kind != vfs.OpSync {
				return nil
			}
			return fmt.Errorf("%w: %w", errInjected, vfs.ErrSyncLost)
		}
	case 2:
		f.name = "full disk"
		f.err = func(op vfs.Op) error {
			full := fmt.Errorf("%w: %w", errInjected, syscall.ENOSPC)
			switch op.Kind {
			case vfs.OpWrite:
				return &vfs.ShortWriteError{N: op.Len / 3, Err: full}
			case vfs.OpCreate, vfs.OpMkdir:
				return full
			}
			return nil
		}
	default:
		f.name, f.err = "loss of power", power
	}
	return f
}

// seed runs ten lives, each of which ends in as many images.
func (c *crashRun) seed(seed uint64, images int) error {
	rng := rand.New(rand.NewPCG(seed, 99))
	draw := func(d *vfs.Mem) *vfs.Mem { return d.CrashClone(rng) }
	mem := vfs.NewMem()
	before, base := outcome{}, 0
	for life := range 10 {
		f := drawFault(rng)
		m := newModel(vfs.Inject(mem, f.hook))
		m.cfg.SegmentBytes = segmentBytesMin + int64(rng.IntN(3))*700
		if rng.IntN(3) == 0 {
			m.cfg.PreallocateBytes = -1
		}
		m.legal, m.life = []outcome{before}, base
		err := m.randomly(rng)
		base = m.life
		c.count(m, f)
		if err != nil && !errors.Is(err, errInjected) {
			return fmt.Errorf("life %d: %w", life, err)
		}
		for range images {
			c.images++
			if err := m.check(mem.CrashClone(rng), draw); err != nil {
				return fmt.Errorf("life %d, %s: %w", life, f.name, err)
			}
		}
		mem = mem.CrashClone(rng)
		l, got, err := recovered(m.cfg, mem)
		if err != nil {
			return fmt.Errorf("life %d, %s: %w", life, f.name, err)
		}
		if l.Stats().TornBytes > 0 {
			c.events["torn tails"]++
		}
		before = outcome{recs: got, durable: len(got), next: l.Next()}
		abandon(l)
	}
	return nil
}

func (c *crashRun) count(m *model, f *fault) {
	if f.hit || !f.once {
		c.faults[f.name]++
	}
	if m.l == nil {
		return
	}
	s := m.l.Stats()
	c.events["rolls"] += int(s.Rolls)
	c.events["recycled"] += int(s.Recycled)
	c.events["replaced"] += int(s.Replaced)
	c.events["indexes loaded"] += int(s.IndexesLoaded)
	c.events["indexes saved"] += int(s.IndexesSaved)
	c.events["resets"] += m.resets
	c.events["truncations at the end"] += m.cuts
	m.l.Close()
}

// missed returns the events that were never reached.
func (c *crashRun) missed() []string {
	return slices.DeleteFunc(slices.Clone(rareEvents), func(e string) bool { return c.events[e] > 0 })
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
	}
	return strings.Join(parts, ", ")
}

// TestRandomCrashes is the short form of TestSoak: P1, P3, W1, W4, E5, E6 in
// orders that nobody thought of.
func TestRandomCrashes(t *testing.T) {
	smallIndexes(t)
	n := *seeds
	if testing.Short() {
		n = min(n, 30)
	}
	c := newCrashRun()
	for seed := range n {
		require.NoError(t, c.seed(uint64(seed), 1), "go test ./wal -run TestRandomCrashes -seeds %d", seed+1)
	}
	t.Logf("%d seeds, %d images; %s; %s", n, c.images, counts(c.faults), counts(c.events))
	require.Empty(t, c.missed(), "events that matter were never reached")
}

// TestSoak checks as many random crash images as it is told to, and adds a line
// about the run to the ledger, wal/SOAK.md:
//
//	go test ./wal -run 'TestSoak$' -timeout 0 -v -soak 1000000
func TestSoak(t *testing.T) {
	if *soakImages == 0 {
		t.Skip("needs -soak")
	}
	smallIndexes(t)
	c := newCrashRun()
	var failed []uint64
	start, seed := time.Now(), *soakFrom
	for said := 0; c.images < *soakImages; seed++ {
		if err := c.seed(seed, 10); err != nil {
			t.Errorf("seed %d: go test ./wal -run 'TestSoak$' -v -soak 100 -soakfrom %d: %v", seed, seed, err)
			failed = append(failed, seed)
		}
		if c.images/50_000 > said {
			said = c.images / 50_000
			t.Logf("%s: %d images, %d failures", time.Since(start).Round(time.Second), c.images, len(failed))
		}
	}
	failures := "none"
	if len(failed) > 0 {
		failures = fmt.Sprintf("%d: seeds %v", len(failed), failed[:min(len(failed), 10)])
	}
	writeLedger(t, start, fmt.Sprintf("%d-%d", *soakFrom, seed-1), fmt.Sprintf("%d images", c.images), counts(c.faults), counts(c.events), failures)
	require.Empty(t, c.missed(), "events that matter were never reached")
}

// writeLedger adds a line to wal/SOAK.md.
func writeLedger(t *testing.T, start time.Time, seeds, what, faults, events, failures string) {
	line := fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s, %s/%s, %s |\n",
		start.UTC().Format("2006-01-02 15:04"), commit(), seeds, what, faults, events, failures,
		time.Since(start).Round(time.Second), runtime.GOOS, runtime.GOARCH, runtime.Version())
	t.Log(line)
	f, err := os.OpenFile(soakLedger, os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString(line)
	require.NoError(t, err)
}

// commit names what is tested.
func commit() string {
	if *soakCommit != "" {
		return *soakCommit
	}
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(out))
	if out, err := exec.Command("git", "status", "--porcelain", "--", ".").Output(); err != nil || len(out) > 0 {
		name += ", changed"
	}
	return name
}
