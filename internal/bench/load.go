package bench

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// payload is n bytes that are neither all the same nor random.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*131 + i>>3)
	}
	return b
}

// rate calls fn for about env.Dur, n calls between looks at the clock, and
// returns how many units a second that was; fn returns the units that it did. It
// ends early when fn says that it has done all it may.
func rate(env *Env, n int, fn func() (units int, more bool, err error)) (float64, error) {
	var done int
	start, seconds := time.Now(), env.stopwatch()
	for {
		for range n {
			units, more, err := fn()
			done += units
			if err != nil {
				return 0, err
			}
			if !more {
				return float64(done) / seconds(), nil
			}
		}
		if time.Since(start) >= env.Dur {
			return float64(done) / seconds(), nil
		}
	}
}

// together runs fn in a closed loop on each of n goroutines for about env.Dur and
// returns calls a second. Each has a context of its own, as the requests of a
// service have. A goroutine ends at its first error.
func together(ctx context.Context, env *Env, n int, fn func(ctx context.Context, goroutine, call int) error) (float64, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, n), make([]error, n)
	start, seconds := time.Now(), env.stopwatch()
	for g := range n {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			for counts[g] == 0 || time.Since(start) < env.Dur {
				if errs[g] = fn(ctx, g, counts[g]); errs[g] != nil {
					return
				}
				counts[g]++
			}
		})
	}
	wg.Wait()
	elapsed := seconds()
	total := 0
	for _, c := range counts {
		total += c
	}
	return float64(total) / elapsed, errors.Join(errs...)
}

// latency calls fn one call after the other for about dur and returns the median
// time of a call in microseconds.
func latency(dur time.Duration, fn func(call int) error) (float64, error) {
	var took []time.Duration
	for begin := time.Now(); ; {
		t := time.Now()
		if len(took) > 0 && t.Sub(begin) >= dur {
			break
		}
		if err := fn(len(took)); err != nil {
			return 0, err
		}
		took = append(took, time.Since(t))
	}
	slices.Sort(took)
	return micros(took[len(took)/2]), nil
}

// latencyMillis calls fn for about dur, and returns the median of the times that
// it says it took, in milliseconds.
func latencyMillis(dur time.Duration, fn func() (time.Duration, error)) (float64, error) {
	var took []time.Duration
	for begin := time.Now(); len(took) == 0 || time.Since(begin) < dur; {
		t, err := fn()
		if err != nil {
			return 0, err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	return micros(took[len(took)/2]) / 1e3, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// await calls fn until it succeeds or ctx ends.
func await(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}
