package wal

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

var rewrite = flag.Bool("rewrite", false, "wal: write the golden files anew")

// TestGolden holds the format: version 1 is what testdata/golden-1 has, and a
// log must for ever be able to read it.
func TestGolden(t *testing.T) {
	const dir = "testdata/golden-1"
	var want []Record
	var img image
	synctest.Test(t, func(t *testing.T) { // time stands still
		fs := vfs.NewMem()
		l := openT(t, fs, Config{SegmentBytes: 1 << 10})
		id := uint64(0x1111111111111111)
		l.newID = func() uint64 { id += 0x0101010101010101; return id }
		add := func(rs ...Record) {
			want = append(want, rs...)
			require.NoError(t, l.Append(rs...))
		}
		add(recs(0, 0, 1, 2)...)
		require.NoError(t, l.Sync())
		add(recs(0, 30, 3)...)
		add(Record{5, []byte{}})
		require.NoError(t, l.Sync())
		require.NoError(t, l.Append(recs(0, 3, 7)...))
		require.NoError(t, l.TruncateAfter(6))
		add(recs(1, 100, 7)...)
		add(recs(1, 250, 8, 1<<40)...) // rolls
		require.NoError(t, l.Sync())
		add(recs(1, 1, 1<<40+1)...)
		require.NoError(t, l.Close())
		img = imageOf(t, fs, "d/log")
	})
	golden := goldenFiles(t, dir, img)
	require.Equal(t, golden, img)
	got, err := reopenDamaged(golden.mount(t))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// goldenFiles returns what a directory has, after -rewrite the given files.
func goldenFiles(t *testing.T, dir string, img image) image {
	if *rewrite {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, b := range img {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		}
	}
	return imageOf(t, vfs.OS, dir)
}

// TestGoldenIndex holds the form of index files, and what a replacement leaves.
// Other than those of segments it may change; then its version does.
func TestGoldenIndex(t *testing.T) {
	smallIndexes(t)
	var want []Record
	var img image
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		l := openT(t, fs, Config{SegmentBytes: 1 << 10, Flusher: closedFlusher()})
		id := uint64(0x1111111111111111)
		l.newID = func() uint64 { id += 0x0101010101010101; return id }
		require.NoError(t, l.Append(recs(0, 20, seq(1, 40)...)...))
		require.NoError(t, l.Sync())
		p, err := l.NewReplacement(0, 20)
		require.NoError(t, err)
		end := p.Segments()[len(p.Segments())-1].Last
		for rec, err := range l.All(0) {
			require.NoError(t, err)
			keep := rec.Key > end || rec.Key%2 == 0
			if keep {
				want = append(want, Record{rec.Key, bytes.Clone(rec.Payload)})
			}
			if keep && rec.Key <= end {
				require.NoError(t, p.Append(rec))
			}
		}
		require.NoError(t, p.Commit())
		require.NoError(t, l.Close())
		img = imageOf(t, fs, "d/log")
	})
	golden := goldenFiles(t, "testdata/golden-index-1", img)
	require.Equal(t, golden, img)
	l := openT(t, golden.mount(t), Config{})
	for _, r := range want {
		k, ok, err := l.Floor(r.Key)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, r.Key, k)
	}
	require.Equal(t, want, contents(t, l))
	require.EqualValues(t, len(l.Segments()), l.Stats().IndexesLoaded)
}
