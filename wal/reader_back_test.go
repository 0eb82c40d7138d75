package wal

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// mixedLog has small and large records, gaps between keys, several segments, an
// index with holes (after reopening), and is neither empty nor aligned to
// anything.
func mixedLog(t testing.TB, fs vfs.FS, cfg Config) (*Log, []Record) {
	rng := rand.New(rand.NewPCG(4, 4))
	l := openT(t, fs, cfg)
	var want []Record
	for key := uint64(3); len(want) < 600; key += 1 + uint64(rng.IntN(3)) {
		n := rng.IntN(150)
		if rng.IntN(60) == 0 {
			n = rng.IntN(40_000)
		}
		want = append(want, recs(0, n, key)...)
		require.NoError(t, l.Append(want[len(want)-1]))
		if rng.IntN(200) == 0 {
			require.NoError(t, l.Close())
			l = openT(t, fs, cfg)
		}
	}
	return l, want
}

func TestBackward(t *testing.T) {
	for _, segmentBytes := range []int64{4 << 10, 256 << 10, 64 << 20} {
		l, want := mixedLog(t, vfs.NewMem(), Config{SegmentBytes: segmentBytes})
		var got []Record
		for rec, err := range l.All(0) {
			require.NoError(t, err)
			got = append(got, Record{rec.Key, bytes.Clone(rec.Payload)})
		}
		require.Equal(t, want, got)
		got = got[:0]
		for rec, err := range l.Backward(math.MaxUint64) {
			require.NoError(t, err)
			got = append(got, Record{rec.Key, bytes.Clone(rec.Payload)})
		}
		slices.Reverse(got)
		require.Equal(t, want, got)
		for key := uint64(0); key < want[len(want)-1].Key+3; key += 7 {
			i, _ := slices.BinarySearchFunc(want, key, func(r Record, k uint64) int { return int(r.Key) - int(k) })
			r := l.NewReader(key)
			rec, err := r.Prev()
			if i == 0 {
				require.ErrorIs(t, err, io.EOF)
				rec, err = r.Next()
				require.NoError(t, err)
				require.Equal(t, want[0], rec)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, want[i-1], rec, "before %d", key)
		}
		for range l.Backward(50) {
			break
		}
	}
}

// TestBothWays walks to and fro at random and compares with a slice.
func TestBothWays(t *testing.T) {
	for _, segmentBytes := range []int64{4 << 10, 256 << 10} {
		l, want := mixedLog(t, vfs.NewMem(), Config{SegmentBytes: segmentBytes})
		rng := rand.New(rand.NewPCG(7, 7))
		r := l.NewReader(0)
		at := 0
		for range 8000 {
			switch rng.IntN(40) {
			case 0:
				at = rng.IntN(len(want))
				r.Seek(want[at].Key)
			case 1:
				at = len(want)
				r.Seek(l.Next())
			}
			back := rng.IntN(4+at*4/len(want)) > 2
			steps := 1 + rng.IntN(5)
			for range steps {
				var rec Record
				var err error
				if back {
					if rec, err = r.Prev(); at == 0 {
						require.ErrorIs(t, err, io.EOF)
						break
					}
					at--
				} else {
					if rec, err = r.Next(); at == len(want) {
						require.ErrorIs(t, err, io.EOF)
						break
					}
					at++
				}
				require.NoError(t, err)
				i := at
				if !back {
					i--
				}
				require.Equal(t, want[i], rec)
			}
		}
		require.NoError(t, r.Close())
		_, err := r.Prev()
		require.ErrorIs(t, err, ErrClosed)
	}
}

// TestBackwardEnds: an empty log, one that was cut at both ends, one that was
// closed, damage.
func TestBackwardEnds(t *testing.T) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{SegmentBytes: 1 << 10})
	r := l.NewReader(math.MaxUint64)
	_, err := r.Prev()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, l.Append(recs(0, 100, seq(1, 20)...)...))
	rec, err := r.Prev()
	require.NoError(t, err)
	require.EqualValues(t, 20, rec.Key)
	require.NoError(t, l.TruncateAfter(15))
	_, err = r.Prev()
	require.ErrorIs(t, err, ErrGone)
	r.Seek(math.MaxUint64)
	rec, err = r.Prev()
	require.NoError(t, err)
	require.Equal(t, recs(0, 100, 15)[0], rec)
	require.NoError(t, l.TruncateBefore(15))
	first, _ := l.First()
	for rec.Key > first {
		rec, err = r.Prev()
		require.NoError(t, err)
	}
	_, err = r.Prev()
	require.ErrorIs(t, err, io.EOF)
	allocs := testing.AllocsPerRun(100, func() {
		r.Seek(16)
		_, err := r.Prev()
		require.NoError(t, err)
	})
	require.Zero(t, allocs)
	require.NoError(t, l.Close())
	_, err = r.Prev()
	require.ErrorIs(t, err, ErrClosed)

	img, want, _ := damagedLog(t, 2<<10, true)
	img[img.segments()[1]][300] ^= 1
	l = openT(t, img.mount(t), Config{})
	n := 0
	for _, err = range l.Backward(math.MaxUint64) {
		n++
	}
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, img.segments()[1])
	require.Greater(t, n, len(want)/4)
}

// TestBackwardWhileRecycling: readers that go backward while both ends are
// truncated see records, ErrGone or the end, and nothing else.
func TestBackwardWhileRecycling(t *testing.T) {
	l := openT(t, vfs.NewMem(), Config{SegmentBytes: 4 << 10})
	var stop atomic.Bool
	var wg sync.WaitGroup
	var read atomic.Int64
	for range 2 {
		wg.Go(func() {
			r := l.NewReader(math.MaxUint64)
			last := uint64(math.MaxUint64)
			for !stop.Load() {
				rec, err := r.Prev()
				switch {
				case err == nil:
					read.Add(1)
					var key uint64
					var life int
					if _, err := fmt.Sscanf(string(rec.Payload), "%d/%d ", &key, &life); err != nil || key != rec.Key || key >= last || !bytes.Equal(rec.Payload, payloadOf(key, life, 40)) {
						t.Errorf("read %d after %d: %q", rec.Key, last, rec.Payload)
						return
					}
					last = key
				case err == io.EOF || err == ErrGone:
					last = math.MaxUint64
					r.Seek(last)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for life := 0; life < 1000 || read.Load() == 0 && !t.Failed(); life++ { // readers may come late
		next := l.Next()
		require.NoError(t, l.Append(recs(life, 40, next, next+1, next+2)...))
		switch rng.IntN(12) {
		case 0:
			require.NoError(t, l.TruncateAfter(next-min(next, uint64(rng.IntN(30)))))
		case 1:
			require.NoError(t, l.TruncateBefore(next-min(next, uint64(rng.IntN(60)))))
		}
	}
	stop.Store(true)
	wg.Wait()
}
