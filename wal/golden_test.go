package wal

import (
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
	if *rewrite {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, b := range img {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		}
	}
	golden := imageOf(t, vfs.OS, dir)
	require.Equal(t, golden, img)
	got, err := reopenDamaged(golden.mount(t))
	require.NoError(t, err)
	require.Equal(t, want, got)
}
