package wal

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// compacted has segments of some ten records each, all durable.
func compacted(t *testing.T, fs vfs.FS) (*Log, []Record) {
	l := openT(t, fs, Config{SegmentBytes: 2 << 10})
	want := recs(0, 50, seq(10, 99)...)
	require.NoError(t, l.Append(want...))
	require.NoError(t, l.Sync())
	require.Greater(t, len(l.Segments()), 6)
	return l, want
}

func TestReplace(t *testing.T) {
	fs := vfs.NewMem()
	l, want := compacted(t, fs)
	before := l.Segments()
	p, err := l.NewReplacement(before[1].First, before[4].Last+1)
	require.NoError(t, err)
	require.Equal(t, before[1:5], p.Segments())
	require.ErrorIs(t, p.Append(Record{Key: before[1].First - 1}), ErrKeyOrder)
	require.ErrorIs(t, p.Append(Record{Key: before[4].Last + 1}), ErrKeyOrder)

	// One reader is within the run, on either side of a record that goes.
	fwd, back := l.NewReader(before[2].First+1), l.NewReader(before[4].Last)
	rec, err := fwd.Next()
	require.NoError(t, err)
	require.Equal(t, before[2].First+1, rec.Key)
	rec, err = back.Prev()
	require.NoError(t, err)
	require.Equal(t, before[4].Last-1, rec.Key)

	var kept []Record
	for _, r := range want {
		if r.Key < before[1].First || r.Key > before[4].Last {
			kept = append(kept, r)
		} else if r.Key%3 == 0 {
			kept = append(kept, r)
			require.NoError(t, p.Append(r))
		}
	}
	require.ErrorIs(t, p.Append(kept[len(kept)-1]), ErrKeyOrder, "no longer increasing")
	require.Equal(t, want, contents(t, l), "nothing changes before the commit")
	require.NoError(t, p.Commit())
	require.ErrorIs(t, p.Commit(), ErrClosed)
	require.ErrorIs(t, p.Append(), ErrClosed)
	p.Abort() // does nothing
	require.Equal(t, kept, contents(t, l))
	after := l.Segments()
	require.Less(t, len(after), len(before))
	require.Equal(t, before[4].LastAppend, after[2].LastAppend)
	require.EqualValues(t, 4, l.Stats().Replaced)

	rec, err = fwd.Next()
	require.NoError(t, err)
	i := slices.IndexFunc(kept, func(r Record) bool { return r.Key > before[2].First+1 })
	require.Equal(t, kept[i], rec)
	rec, err = back.Prev()
	require.NoError(t, err)
	i = slices.IndexFunc(kept, func(r Record) bool { return r.Key >= before[4].Last-1 })
	require.Equal(t, kept[i-1], rec)

	add := recs(1, 90, seq(100, 130)...)
	require.NoError(t, l.Append(add...))
	kept = append(kept, add...)
	require.Positive(t, l.Stats().Recycled, "the files of replaced segments serve again")
	require.NoError(t, l.Close())
	l = openT(t, fs, Config{})
	require.Equal(t, kept, contents(t, l))
	k, ok, err := l.Floor(before[4].Last)
	require.NoError(t, err)
	require.True(t, ok)
	require.Zero(t, k%3)
}

// TestReplaceAborted: a truncation between, an abort, a run of no sealed
// segment, a log that was closed: the log is as it was.
func TestReplaceAborted(t *testing.T) {
	fs := vfs.NewMem()
	l, want := compacted(t, fs)
	segs := l.Segments()
	_, err := l.NewReplacement(segs[1].First+1, segs[2].Last-1)
	require.ErrorIs(t, err, ErrGone)
	_, err = l.NewReplacement(segs[len(segs)-1].First, math.MaxUint64)
	require.ErrorIs(t, err, ErrGone)

	begin := func() *Replacement {
		p, err := l.NewReplacement(0, segs[3].Last)
		require.NoError(t, err)
		require.NoError(t, p.Append(recs(9, 700, p.Segments()[0].First, segs[2].Last, segs[3].Last)...))
		return p
	}
	p := begin()
	p.Abort()
	p.Abort()
	require.ErrorIs(t, p.Commit(), ErrClosed)
	require.Equal(t, want, contents(t, l))

	p = begin()
	require.NoError(t, l.TruncateBefore(segs[1].First))
	require.ErrorIs(t, p.Commit(), ErrGone)
	want = want[slices.IndexFunc(want, func(r Record) bool { return r.Key == segs[1].First }):]
	require.Equal(t, want, contents(t, l))

	p = begin()
	require.NoError(t, l.TruncateAfter(segs[3].Last-1))
	require.ErrorIs(t, p.Commit(), ErrGone)
	want = want[:slices.IndexFunc(want, func(r Record) bool { return r.Key == segs[3].Last })]
	require.Equal(t, want, contents(t, l))
	names, err := fs.ReadDir("d/log")
	require.NoError(t, err)
	n := 0
	for _, name := range names {
		if strings.HasSuffix(name, segSuffix) {
			n++
		}
	}
	require.LessOrEqual(t, n, len(l.Segments())+1, "aborted files are gone")

	require.NoError(t, l.Append(recs(0, 50, 900)...))
	require.NoError(t, l.Sync())
	p, err = l.NewReplacement(0, segs[2].Last)
	require.NoError(t, err)
	require.NoError(t, p.Append(want[0]))
	require.NoError(t, l.Close())
	require.ErrorIs(t, p.Commit(), ErrClosed)
	l = openT(t, fs, Config{})
	require.Equal(t, append(want, recs(0, 50, 900)...), contents(t, l))
}

// TestReplaceFails: a failed write or sync of the new files poisons the log, as
// any other (P3), and reopened it has its old records.
func TestReplaceFails(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpRename} {
		mem := vfs.NewMem()
		armed := false
		l, want := compacted(t, vfs.Inject(mem, func(op vfs.Op) error {
			if armed && op.Kind == kind {
				return errInjected
			}
			return nil
		}))
		p, err := l.NewReplacement(0, KeyMax)
		require.NoError(t, err)
		armed = true
		err = p.Append(want[:3]...)
		if err == nil {
			err = p.Commit()
		} else {
			p.Abort()
		}
		require.ErrorIs(t, err, ErrPoisoned)
		require.ErrorIs(t, err, errInjected)
		require.ErrorIs(t, l.Sync(), ErrPoisoned)
		require.ErrorIs(t, l.Close(), ErrPoisoned)
		l = openT(t, mem, Config{})
		require.Equal(t, want, contents(t, l))
	}
}

// TestReplaceWhileReading: readers pass a run that is replaced again and again,
// and see every record that stays, once and in order.
func TestReplaceWhileReading(t *testing.T) {
	l, want := compacted(t, vfs.NewMem())
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			r := l.NewReader(0)
			for last := uint64(0); ; {
				rec, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil || rec.Key <= last || rec.Key%10 != 0 && rec.Key < last {
					t.Errorf("key %d after %d: %v", rec.Key, last, err)
					return
				}
				if last/10 < (rec.Key-1)/10 && last > 0 {
					t.Errorf("from %d to %d: a record that stays was left out", last, rec.Key)
					return
				}
				last = rec.Key
			}
		}
	}()
	for round := uint64(1); round < 100; round++ {
		p, err := l.NewReplacement(0, KeyMax)
		require.NoError(t, err)
		segs := p.Segments()
		for _, r := range want {
			if r.Key <= segs[len(segs)-1].Last && (r.Key%10 == 0 || r.Key%(round%7+1) == 0) {
				require.NoError(t, p.Append(r))
			}
		}
		require.NoError(t, p.Commit())
		if _, err := l.NewReplacement(0, KeyMax); errors.Is(err, ErrGone) {
			t.Fatal("nothing is left to be replaced")
		}
	}
	close(stop)
	<-done
}
