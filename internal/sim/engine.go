package sim

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// Actor is told of events that were scheduled for it; arg is what it passed. It
// spares the closure that After needs.
type Actor interface {
	Act(arg uint64)
}

type event struct {
	at  time.Duration
	seq uint64 // breaks ties, so that the order is total
	fn  func()
	who Actor
	arg uint64
}

// Engine is a virtual clock and the events that it has still to run.
type Engine struct {
	seed  uint64
	now   time.Duration
	seq   uint64
	heap  []event
	steps uint64
	marks map[string]uint64
	trace io.Writer
}

// NewEngine returns an engine at virtual time zero.
func NewEngine(seed uint64) *Engine {
	return &Engine{seed: seed, marks: make(map[string]uint64)}
}

// Seed returns the seed.
func (e *Engine) Seed() uint64 { return e.seed }

// Now returns the virtual time since the start.
func (e *Engine) Now() time.Duration { return e.now }

// Steps returns the number of events run so far.
func (e *Engine) Steps() uint64 { return e.steps }

// Rand returns a stream of random numbers that depends on the seed and the name
// alone: draws from one stream do not shift another. Each call returns the
// stream from its beginning.
func (e *Engine) Rand(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return rand.New(rand.NewPCG(e.seed, h.Sum64()))
}

// After runs fn once, d from now; a negative d counts as zero. Events of one
// instant run in the order of scheduling.
func (e *Engine) After(d time.Duration, fn func()) { e.push(e.now+max(d, 0), event{fn: fn}) }

// At runs fn at virtual time t, or now if t has passed.
func (e *Engine) At(t time.Duration, fn func()) { e.push(max(t, e.now), event{fn: fn}) }

// Wake calls who.Act(arg) once, at virtual time t, or now if t has passed.
func (e *Engine) Wake(t time.Duration, who Actor, arg uint64) {
	e.push(max(t, e.now), event{who: who, arg: arg})
}

// Step runs the next event and reports whether there was one.
func (e *Engine) Step() bool {
	if len(e.heap) == 0 {
		return false
	}
	ev := e.pop()
	e.now = ev.at
	e.steps++
	if ev.fn != nil {
		ev.fn()
	} else {
		ev.who.Act(ev.arg)
	}
	return true
}

// RunUntil runs all events up to virtual time t, and check after each of them.
// It stops at the first error, which it returns with the time and step.
func (e *Engine) RunUntil(t time.Duration, check func() error) error {
	for len(e.heap) > 0 && e.heap[0].at <= t {
		e.Step()
		if check == nil {
			continue
		}
		if err := check(); err != nil {
			return fmt.Errorf("at %v, step %d: %w", e.now, e.steps, err)
		}
	}
	e.now = max(e.now, t)
	return nil
}

// Mark counts one more occurrence of something rare, or of anything else worth
// counting in a Batch's report.
func (e *Engine) Mark(name string) { e.marks[name]++ }

// Count adds n to a mark.
func (e *Engine) Count(name string, n uint64) { e.marks[name] += n }

// Marked returns how often name was marked.
func (e *Engine) Marked(name string) uint64 { return e.marks[name] }

// Tracing reports whether Tracef writes anywhere, for arguments that cost.
func (e *Engine) Tracing() bool { return e.trace != nil }

// TraceTo makes Tracef write to w; nil turns it off.
func (e *Engine) TraceTo(w io.Writer) { e.trace = w }

// Tracef writes one line, with the time, if the engine is traced.
func (e *Engine) Tracef(format string, args ...any) {
	if e.trace != nil {
		fmt.Fprintf(e.trace, "%11.3fms ", float64(e.now)/float64(time.Millisecond))
		fmt.Fprintf(e.trace, format, args...)
		fmt.Fprintln(e.trace)
	}
}

func (e *Engine) push(at time.Duration, ev event) {
	e.seq++
	ev.at, ev.seq = at, e.seq
	e.heap = append(e.heap, ev)
	i := len(e.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !ev.before(&e.heap[up]) {
			break
		}
		e.heap[i] = e.heap[up]
		i = up
	}
	e.heap[i] = ev
}

func (e *Engine) pop() event {
	top := e.heap[0]
	n := len(e.heap) - 1
	last := e.heap[n]
	e.heap[n] = event{}
	e.heap = e.heap[:n]
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && e.heap[c+1].before(&e.heap[c]) {
			c++
		}
		if !e.heap[c].before(&last) {
			break
		}
		e.heap[i] = e.heap[c]
		i = c
	}
	if n > 0 {
		e.heap[i] = last
	}
	return top
}

func (ev *event) before(o *event) bool {
	return ev.at < o.at || ev.at == o.at && ev.seq < o.seq
}

// Exp draws from the exponential distribution with the given mean, capped at 20
// times the mean.
func Exp(r *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(min(r.ExpFloat64(), 20) * float64(mean))
}

// LogUniform draws between lo and hi, which are positive, so that every order of
// magnitude is equally likely.
func LogUniform(r *rand.Rand, lo, hi float64) float64 {
	return lo * math.Pow(hi/lo, r.Float64())
}

// Chance reports true with probability p.
func Chance(r *rand.Rand, p float64) bool { return p > 0 && r.Float64() < p }
