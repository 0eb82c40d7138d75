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

// rate calls fn for about dur, n calls between looks at the clock, and returns
// how many units a second that was; fn returns the units that it did. It ends
// early when fn says that it has done all it may.
func rate(dur time.Duration, n int, fn func() (units int, more bool, err error)) (float64, error) {
	var done int
	start := time.Now()
	for {
		for range n {
			units, more, err := fn()
			done += units
			if err != nil {
				return 0, err
			}
			if !more {
				return float64(done) / time.Since(start).Seconds(), nil
			}
		}
		if d := time.Since(start); d >= dur {
			return float64(done) / d.Seconds(), nil
		}
	}
}

// together runs fn in a closed loop on each of n goroutines for about dur and
// returns calls a second. It ends at the first error.
func together(ctx context.Context, n int, dur time.Duration, fn func(ctx context.Context, goroutine, call int) error) (float64, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, n), make([]error, n)
	start := time.Now()
	for g := range n {
		wg.Go(func() {
			for time.Since(start) < dur {
				if errs[g] = fn(ctx, g, counts[g]); errs[g] != nil {
					return
				}
				counts[g]++
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	total := 0
	for _, c := range counts {
		total += c
	}
	return float64(total) / elapsed.Seconds(), errors.Join(errs...)
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
