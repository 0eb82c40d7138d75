package wal

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// TestReadOnly: a log that was closed, one that crashed, one with a torn tail,
// one without a lock file are read, and nothing at all is done to the disk.
func TestReadOnly(t *testing.T) {
	smallIndexes(t)
	for _, clean := range []bool{true, false} {
		img, want, synced := damagedLog(t, 4<<10, clean)
		last := img.segments()[2]
		for _, torn := range []bool{false, true} {
			if clean && torn {
				continue
			}
			if torn {
				img[last][synced+recHeaderBytes] ^= 1
				want = want[:len(want)-2]
			}
			fs := vfs.Inject(img.mount(t), func(op vfs.Op) error {
				if op.Changes() {
					t.Errorf("%s of %s", op.Kind, op.Name)
				}
				return nil
			})
			cfg := Config{FS: fs, ReadOnly: true}
			l, err := Open("d/log", cfg)
			require.NoError(t, err)
			other, err := Open("d/log", cfg)
			require.NoError(t, err, "there is no lock file to be shared")
			require.Equal(t, want, contents(t, l))
			require.Equal(t, want, contents(t, other))
			require.Equal(t, torn, l.Stats().TornBytes > 0)
			mid := want[len(want)/2]
			k, ok, err := l.Floor(mid.Key)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, mid.Key, k)
			n := 0
			for rec, err := range l.Backward(math.MaxUint64) {
				require.NoError(t, err)
				n++
				require.True(t, bytes.Equal(want[len(want)-n].Payload, rec.Payload))
			}
			require.Equal(t, len(want), n)
			for _, err := range []error{
				l.Append(Record{Key: l.Next()}), l.Sync(), l.TruncateAfter(0), l.TruncateBefore(math.MaxUint64), l.Reset(0),
			} {
				require.ErrorIs(t, err, ErrReadOnly)
			}
			_, err = l.NewReplacement(0, KeyMax)
			require.ErrorIs(t, err, ErrReadOnly)
			require.NoError(t, l.Close())
			require.ErrorIs(t, l.Append(Record{Key: l.Next()}), ErrClosed)
			require.NoError(t, other.Close())
		}
	}
}

// TestReadOnlyLock: readers share, writers do not, and a directory that is not
// there is an error.
func TestReadOnlyLock(t *testing.T) {
	for _, fsys := range []vfs.FS{vfs.NewMem(), vfs.OS} {
		dir := t.TempDir()
		_, err := Open(dir+"/log", Config{FS: fsys, ReadOnly: true})
		require.ErrorIs(t, err, fs.ErrNotExist)
		w, err := Open(dir+"/log", Config{FS: fsys})
		require.NoError(t, err)
		require.NoError(t, w.Append(recs(0, 5, 1, 2, 3)...))
		_, err = Open(dir+"/log", Config{FS: fsys, ReadOnly: true})
		require.ErrorIs(t, err, ErrLocked)
		require.NoError(t, w.Close())
		if fsys == vfs.OS {
			names, err := os.ReadDir(dir + "/log")
			require.NoError(t, err)
			for _, n := range names {
				require.NoError(t, os.Chmod(dir+"/log/"+n.Name(), 0o400))
			}
		}
		a, err := Open(dir+"/log", Config{FS: fsys, ReadOnly: true})
		require.NoError(t, err)
		b, err := Open(dir+"/log", Config{FS: fsys, ReadOnly: true})
		require.NoError(t, err)
		require.Equal(t, contents(t, a), contents(t, b))
		require.NoError(t, a.Close())
		_, err = Open(dir+"/log", Config{FS: fsys})
		require.ErrorIs(t, err, ErrLocked)
		require.NoError(t, b.Close())
	}
}

// TestProgress: Open tells how far it has come: of the segments, and of a tail
// that it has to read.
func TestProgress(t *testing.T) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{SegmentBytes: 1 << 20})
	for k := range uint64(40) {
		require.NoError(t, l.Append(Record{k, make([]byte, 100_000)}))
	}
	require.NoError(t, l.Sync())
	require.NoError(t, l.Append(recs(0, 10, 40, 41)...)) // behind what the manifest knows
	var got []Progress
	open := func(fs vfs.FS) {
		got = nil
		l, err := Open("d/log", Config{FS: fs, ReadOnly: true, NoLock: true, Progress: func(p Progress) { got = append(got, p) }})
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	open(fs.Clone()) // as after a crash
	n := len(l.Segments())
	require.Equal(t, Progress{SegmentsTotal: n}, got[0])
	require.Equal(t, Progress{Segments: n, SegmentsTotal: n}, got[len(got)-1])
	require.Equal(t, n+2, len(got))
	require.Positive(t, got[n].BytesTotal)
	require.NoError(t, l.Close())
	open(fs)
	require.Equal(t, n+1, len(got))
}
