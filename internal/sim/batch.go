package sim

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var seedsFlag = flag.String("seeds", "", "simulated seeds, first-last or one alone, instead of each test's few")

// Batch runs a simulation over a range of seeds.
type Batch struct {
	// Package and Name make the replay command: go test Package -run '^Name$' -seeds N.
	Package, Name string
	// Seeds is the range that runs without the flag -seeds: "first-last".
	Seeds string
	// Required are marks of which none may be zero in the sum over all seeds, if
	// there are at least RequiredSeeds of them.
	Required      []string
	RequiredSeeds int
	// Run runs one seed. A panic counts as an error. It is called from several
	// goroutines, each with its own engine.
	Run func(e *Engine) error
}

// Report is what a range of seeds came to.
type Report struct {
	Seeds   int
	Steps   uint64
	Virtual time.Duration // in all
	Marks   map[string]uint64
	Failed  []Failure // ordered by seed; at most a few, since a batch stops soon after a failure
}

// Failure is a seed that failed.
type Failure struct {
	Seed uint64
	Err  error
}

// Test runs the seeds of the flag, or b.Seeds, logs the report, and fails t as
// the type says. A failed seed is run again with a trace, which goes to t's
// artifact directory, its end to the log.
func (b Batch) Test(t *testing.T) {
	t.Helper()
	spec := b.Seeds
	if *seedsFlag != "" {
		spec = *seedsFlag
	}
	first, last, err := ParseSeeds(spec)
	if err != nil {
		t.Fatalf("-seeds: %v", err)
	}
	start := time.Now()
	rep := b.Range(first, last)
	t.Logf("seeds %d-%d: %d run in %v, %v virtual, %d steps\n%s", first, last, rep.Seeds,
		time.Since(start).Round(time.Millisecond), rep.Virtual.Round(time.Second), rep.Steps, rep.marks())
	for _, f := range rep.Failed {
		t.Errorf("seed %d: %v\nreplay: go test %s -run '^%s$' -v -seeds %d", f.Seed, f.Err, b.Package, b.Name, f.Seed)
	}
	if len(rep.Failed) > 0 {
		b.replay(t, rep.Failed[0].Seed)
		return
	}
	if rep.Seeds < b.RequiredSeeds {
		return
	}
	for _, m := range b.Required {
		if rep.Marks[m] == 0 {
			t.Errorf("mark %q was never reached in %d seeds", m, rep.Seeds)
		}
	}
}

// Range runs the seeds first to last on all processors and stops soon after the first failure.
func (b Batch) Range(first, last uint64) Report {
	var (
		mu   sync.Mutex
		next = first
		rep  = Report{Marks: make(map[string]uint64)}
		wg   sync.WaitGroup
	)
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next > last || len(rep.Failed) > 0 {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				e := NewEngine(seed)
				err := b.one(e)
				mu.Lock()
				rep.add(e, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(rep.Failed, func(x, y Failure) int { return int(int64(x.Seed - y.Seed)) })
	return rep
}

func (b Batch) one(e *Engine) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return b.Run(e)
}

func (b Batch) replay(t *testing.T, seed uint64) {
	t.Helper()
	var buf bytes.Buffer
	e := NewEngine(seed)
	e.TraceTo(&buf)
	err := b.one(e)
	name := filepath.Join(t.ArtifactDir(), fmt.Sprintf("seed-%d.txt", seed))
	if werr := os.WriteFile(name, buf.Bytes(), 0o600); werr != nil {
		t.Errorf("trace: %v", werr)
	}
	lines := strings.Split(strings.TrimRight(buf.String(), "\n"), "\n")
	const tail = 80
	if len(lines) > tail {
		lines = lines[len(lines)-tail:]
	}
	t.Logf("trace of seed %d in %s (kept with -artifacts), its end:\n%s\n%v", seed, name, strings.Join(lines, "\n"), err)
}

func (r *Report) add(e *Engine, err error) {
	r.Seeds++
	r.Steps += e.steps
	r.Virtual += e.now
	for k, v := range e.marks {
		r.Marks[k] += v
	}
	if err != nil {
		r.Failed = append(r.Failed, Failure{Seed: e.seed, Err: err})
	}
}

func (r *Report) marks() string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(r.Marks)) {
		if i > 0 {
			b.WriteString("  ")
		}
		fmt.Fprintf(&b, "%s=%d", k, r.Marks[k])
	}
	return b.String()
}

// ParseSeeds parses "first-last" or a single seed, in any base that Go writes.
func ParseSeeds(s string) (first, last uint64, err error) {
	a, z, isRange := strings.Cut(s, "-")
	if first, err = strconv.ParseUint(a, 0, 64); err != nil {
		return 0, 0, fmt.Errorf("seeds %q: %w", s, err)
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = strconv.ParseUint(z, 0, 64); err != nil {
		return 0, 0, fmt.Errorf("seeds %q: %w", s, err)
	}
	if last < first {
		return 0, 0, fmt.Errorf("seeds %q: the last is below the first", s)
	}
	return first, last, nil
}
