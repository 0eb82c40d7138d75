package zk

import (
	"math/bits"
	"sync/atomic"
)

// Distribution is what was measured of something that happens often. The zero
// value: it has not happened. Values are in the unit that the field says.
type Distribution struct {
	Count, Sum               int64
	Min, Max                 int64
	P50, P90, P95, P99, P999 int64 // to within an eighth
}

// summaryBuckets covers every value: those below 8 exactly, others to within an eighth.
const (
	summarySubBits = 3
	summaryBuckets = (64 - summarySubBits) << summarySubBits
)

// summary counts values. Any goroutine may observe; it is cheap when one does.
type summary struct {
	count, sum, max atomic.Int64
	least           atomic.Int64 // minimum plus one; 0: nothing yet
	buckets         [summaryBuckets]atomic.Uint32
}

func bucketOf(v uint64) int {
	if v < 1<<summarySubBits {
		return int(v)
	}
	exp := bits.Len64(v) - 1 - summarySubBits
	return (exp+1)<<summarySubBits + int(v>>exp)&(1<<summarySubBits-1)
}

// bucketLeast is the smallest value of a bucket.
func bucketLeast(i int) int64 {
	if i < 1<<summarySubBits {
		return int64(i)
	}
	exp := i>>summarySubBits - 1
	return int64(1<<summarySubBits+i&(1<<summarySubBits-1)) << exp
}

func (s *summary) observe(v int64) { s.observeN(v, 1) }

// observeN counts a value n times.
func (s *summary) observeN(v, n int64) {
	v = max(v, 0)
	s.count.Add(n)
	s.sum.Add(v * n)
	s.buckets[bucketOf(uint64(v))].Add(uint32(n))
	for m := s.max.Load(); v > m && !s.max.CompareAndSwap(m, v); m = s.max.Load() {
	}
	for m := s.least.Load(); (m == 0 || v+1 < m) && !s.least.CompareAndSwap(m, v+1); m = s.least.Load() {
	}
}

// reset forgets everything; what is observed meanwhile may be half forgotten.
func (s *summary) reset() {
	s.count.Store(0)
	s.sum.Store(0)
	s.max.Store(0)
	s.least.Store(0)
	for i := range s.buckets {
		s.buckets[i].Store(0)
	}
}

// distribution returns what several summaries counted together.
func distribution(all ...*summary) Distribution {
	var d Distribution
	var counts [summaryBuckets]int64
	var inBuckets, least int64
	for _, s := range all {
		d.Count += s.count.Load()
		d.Sum += s.sum.Load()
		d.Max = max(d.Max, s.max.Load())
		if l := s.least.Load(); l != 0 && (least == 0 || l < least) {
			least = l
		}
		for i := range s.buckets {
			n := int64(s.buckets[i].Load())
			counts[i] += n
			inBuckets += n
		}
	}
	d.Min = max(least-1, 0)
	for _, q := range []struct {
		at       *int64
		perMille int64
	}{{&d.P50, 500}, {&d.P90, 900}, {&d.P95, 950}, {&d.P99, 990}, {&d.P999, 999}} {
		rank, seen := (inBuckets*q.perMille+999)/1000, int64(0)
		for i, n := range counts {
			if seen += n; n > 0 && seen >= rank {
				*q.at = min(bucketLeast(i), d.Max)
				break
			}
		}
	}
	return d
}

// Avg returns the mean, 0 if there is none.
func (d Distribution) Avg() float64 {
	if d.Count == 0 {
		return 0
	}
	return float64(d.Sum) / float64(d.Count)
}
