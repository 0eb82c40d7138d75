package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"
)

// Role says what a subject is to a row.
type Role int

// The roles.
const (
	Ours    Role = iota
	Peer         // what ours is compared with
	Ceiling      // what the machine allows, with no guarantees around it
)

// Row is one workload and those that are measured by it.
type Row struct {
	Name     string // a path, such as wal/append-100B
	Title    string // what is measured
	Unit     string // of the figures
	Lower    bool   // less is better: a time
	Subjects []Subject
}

// Subject is one of those measured.
type Subject struct {
	Name   string
	Role   Role
	Target Target // of ours
	// Start prepares one repetition. An error that is ErrMissing leaves the
	// subject out.
	Start func(ctx context.Context, env *Env) (*Bench, error)
}

// Target is what one of our subjects is meant to reach.
type Target struct {
	Value     float64  // in the row's unit, on the machine of the figures; 0: none. Where it is set it decides
	Ratio     float64  // times better than the best of the peers; 0: none
	OfCeiling bool     // Ratio is against the ceiling
	Versus    []string // the peers that count, by the beginning of their names; nil: all
	Figure    string   // what that is on a quiet machine
}

// Bench is a subject that is ready to be measured.
type Bench struct {
	Run   func(ctx context.Context) (float64, error) // once, in the row's unit
	Close func() error                               // nil: nothing to close
}

// ErrMissing says that a subject is not installed on this machine.
var ErrMissing = errors.New("not installed")

// Env is what a run gives its subjects.
type Env struct {
	Dur      time.Duration // of one repetition, about
	BytesMax int64         // written at most by one repetition
	Warm     time.Duration // unmeasured load before a JVM is measured
	Dir      string        // for data
	// PerCore has rates be per second of processor time, of this process and of
	// those that it started, rather than of time: for a machine that others use.
	// Times stay what they are.
	PerCore bool

	mu     sync.Mutex
	dirs   int
	shared map[string]any
	close  []func() error
}

// TempDir makes an empty directory below Dir. remove deletes it.
func (e *Env) TempDir() (dir string, remove func() error, err error) {
	e.mu.Lock()
	e.dirs++
	dir = filepath.Join(e.Dir, fmt.Sprint("d", e.dirs))
	e.mu.Unlock()
	return dir, func() error { return os.RemoveAll(dir) }, os.MkdirAll(dir, 0o755)
}

// shared returns what start makes, once for all rows of a run; it is closed at
// the end of the run.
func shared[T interface{ Close() error }](e *Env, name string, start func() (T, error)) (T, error) {
	e.mu.Lock()
	v, ok := e.shared[name].(T)
	e.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := start()
	if err != nil {
		return v, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shared == nil {
		e.shared = make(map[string]any)
	}
	e.shared[name] = v
	e.close = append(e.close, v.Close)
	return v, nil
}

// Close ends what rows shared.
func (e *Env) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, c := range slices.Backward(e.close) {
		errs = append(errs, c())
	}
	e.close, e.shared = nil, nil
	return errors.Join(errs...)
}

// stopwatch begins to measure and returns what tells the seconds since then.
func (e *Env) stopwatch() (seconds func() float64) {
	if e.PerCore {
		used := ownSeconds()
		return func() float64 { return max(ownSeconds()-used, 1e-6) }
	}
	start := time.Now()
	return func() float64 { return time.Since(start).Seconds() }
}

// Result is what became of one subject in one row.
type Result struct {
	Values []float64 // one for each repetition
	Err    error     // why there are none
}

// Median is the middle value, the lesser of two in the middle.
func (r Result) Median() float64 {
	v := slices.Clone(r.Values)
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[(len(v)-1)/2]
}

// Options of Measure.
type Options struct {
	Reps       int
	ProfileDir string    // CPU profiles of our subjects' last repetitions; empty: none
	Progress   io.Writer // a line for each repetition; nil: none
	// Timeout bounds a repetition with its start.
	Timeout time.Duration
	// QuietCores has a repetition be done again, up to quietTries times, during
	// which other processes used more cores than this; of those that were all
	// disturbed the one that was the least counts. 0: once is enough.
	QuietCores float64
}

const quietTries = 20

// Measure runs a row: Reps times it measures all subjects in turn, each time
// beginning with another one. A subject runs only while it is measured, so that
// none pays for what another keeps in memory or does when it is idle.
func Measure(ctx context.Context, env *Env, row Row, opt Options) []Result {
	results := make([]Result, len(row.Subjects))
	for rep := range opt.Reps {
		for k := range row.Subjects {
			i := (rep + k) % len(row.Subjects)
			s, r := row.Subjects[i], &results[i]
			if r.Err != nil {
				continue
			}
			name := row.Name + "-" + s.Name
			if s.Role != Ours || rep < opt.Reps-1 {
				name = ""
			}
			v, err := undisturbed(ctx, env, s, opt, name)
			if err != nil {
				*r = Result{Err: fmt.Errorf("%s: %s: %w", row.Name, s.Name, err)}
				continue
			}
			r.Values = append(r.Values, v)
			if opt.Progress != nil {
				fmt.Fprintf(opt.Progress, "%s\t%d\t%s\t%s %s\n", row.Name, rep+1, s.Name, figure(v), row.Unit)
			}
		}
	}
	return results
}

// undisturbed measures a subject once while others leave the machine alone.
func undisturbed(ctx context.Context, env *Env, s Subject, opt Options, name string) (v float64, err error) {
	least := math.Inf(1)
	for range quietTries {
		if opt.QuietCores > 0 {
			awaitQuiet(opt.QuietCores)
		}
		again, others, err := once(ctx, env, s, opt, name)
		if err != nil {
			return 0, err
		}
		if others < least {
			v, least = again, others
		}
		if opt.QuietCores <= 0 || least <= opt.QuietCores {
			break
		}
	}
	return v, nil
}

// awaitQuiet waits, for ten seconds at most, until others use no more than so
// many cores.
func awaitQuiet(cores float64) {
	for range 100 {
		meter := NewMeter()
		time.Sleep(100 * time.Millisecond)
		if meter.OtherCores() <= cores {
			return
		}
	}
}

// once starts a subject, measures it and closes it, and says how many cores others
// used meanwhile. A profile is taken under the given name, if there is one.
func once(ctx context.Context, env *Env, s Subject, opt Options, name string) (v, others float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()
	b, err := s.Start(ctx, env)
	if err != nil {
		return 0, 0, fmt.Errorf("start: %w", err)
	}
	defer func() {
		if b.Close == nil {
			return
		}
		if failed := b.Close(); failed != nil {
			err = errors.Join(err, fmt.Errorf("close: %w", failed))
		}
	}()
	runtime.GC() // nobody pays for the garbage of others
	if opt.ProfileDir != "" && name != "" {
		defer profile(opt.ProfileDir, name)()
	}
	meter := NewMeter()
	if v, err = b.Run(ctx); err != nil {
		return 0, 0, fmt.Errorf("run: %w", err)
	}
	return v, meter.OtherCores(), nil
}

// profile starts a CPU profile and returns what ends it.
func profile(dir, name string) (stop func()) {
	clean := strings.Map(func(r rune) rune {
		if strings.ContainsRune("/ ·,:()", r) {
			return '_'
		}
		return r
	}, name)
	f, err := os.Create(filepath.Join(dir, clean+".prof"))
	if err != nil {
		return func() {}
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		_ = f.Close()
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}
}

// Rows returns all rows.
func Rows() []Row {
	return slices.Concat(walRows(), zkRows(), mqRows(), failoverRows())
}
