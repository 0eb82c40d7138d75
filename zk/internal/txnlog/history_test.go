package txnlog_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// What a learner's log and this one have in common ends where both have an entry
// of one epoch, whatever came after.
func TestBehind(t *testing.T) {
	o, err := open(vfs.NewMem(), 1)
	require.NoError(t, err)
	require.NoError(t, o.Append(entries(1, 1, 5)))
	require.NoError(t, o.Append(entries(3, 1, 4)))
	z := zab.MakeZxid
	for _, c := range []struct {
		base  zab.Zxid
		tails []zab.Zxid
		from  zab.Zxid
		n     int
	}{
		{0, nil, 0, 9},
		{0, []zab.Zxid{z(1, 3)}, z(1, 3), 6},
		{0, []zab.Zxid{z(1, 7)}, z(1, 5), 4},
		{0, []zab.Zxid{z(1, 3), z(2, 9)}, z(1, 3), 6},
		{0, []zab.Zxid{z(1, 5), z(3, 2)}, z(3, 2), 2},
		{0, []zab.Zxid{z(1, 5), z(3, 9), z(5, 1)}, z(3, 4), 0},
		{z(1, 4), nil, z(1, 4), 5},
		{z(1, 4), []zab.Zxid{z(2, 1)}, z(1, 4), 5},
	} {
		from, es, err := o.Behind(&zab.HistoryWanted{Base: c.base, Tails: c.tails}, 1<<20)
		require.NoError(t, err)
		require.Equal(t, c.from, from, "%v %v", c.base, c.tails)
		require.Len(t, es, c.n)
	}
	_, es, err := o.Behind(&zab.HistoryWanted{}, 8)
	require.NoError(t, err)
	require.Empty(t, es, "more than a queue takes")
	require.NoError(t, o.InstallSnapshot(z(3, 4), z(3, 4), text(z(3, 4))))
	require.NoError(t, o.Append(entries(3, 5, 6)))
	for _, w := range []zab.HistoryWanted{{}, {Base: z(1, 4)}, {Tails: []zab.Zxid{z(1, 5)}}, {Tails: []zab.Zxid{z(3, 3)}}} {
		_, es, err = o.Behind(&w, 1<<20)
		require.NoError(t, err)
		require.Empty(t, es, "there is a hole: %v", w)
	}
	from, es, err := o.Behind(&zab.HistoryWanted{Base: z(3, 4)}, 1<<20)
	require.NoError(t, err)
	require.Equal(t, z(3, 4), from)
	require.Len(t, es, 2)
	require.NoError(t, o.Close())
}

// Purge counts what can be read: damaged snapshots are not among those it keeps
// (Z22), and nothing goes while there are too few.
func TestPurgeKeepsValid(t *testing.T) {
	fs := vfs.NewMem()
	o, err := open(fs, 1)
	require.NoError(t, err)
	z := func(c uint32) zab.Zxid { return zab.MakeZxid(1, c) }
	require.NoError(t, o.Append(entries(1, 1, 9)))
	for c := uint32(1); c <= 6; c++ {
		require.NoError(t, o.SaveSnapshot(z(c), text(z(c))))
	}
	require.NoError(t, o.Close())
	for _, c := range []uint32{4, 6} {
		f, err := fs.OpenFile(fmt.Sprintf("d/snapshot.%016x", uint64(z(c))), os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("?"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	o, err = open(fs, 1)
	require.NoError(t, err)
	require.Equal(t, z(5), o.rec.Snapshot)
	require.NoError(t, o.Purge(5))
	require.Len(t, snapshotsIn(t, fs), 6, "only four are valid")
	require.NoError(t, o.Purge(3))
	require.Equal(t, []string{"2", "3", "4", "5", "6"}, snapshotsIn(t, fs))
	require.NoError(t, o.Purge(1))
	require.Equal(t, []string{"5", "6"}, snapshotsIn(t, fs))
	require.NoError(t, o.Close())
}

func snapshotsIn(t *testing.T, fs vfs.FS) (names []string) {
	all, err := fs.ReadDir("d")
	require.NoError(t, err)
	for _, n := range all {
		if c, ok := strings.CutPrefix(n, "snapshot.00000001"); ok {
			names = append(names, strings.TrimLeft(c, "0"))
		}
	}
	return names
}
