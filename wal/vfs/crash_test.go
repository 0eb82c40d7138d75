package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

func create(t *testing.T, fsys vfs.FS, name, content string) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	write(t, f, content, 0)
	return f
}

func write(t *testing.T, f vfs.File, content string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(content), off)
	require.NoError(t, err)
}

// tree describes a file system: short contents as they are, long ones by what
// runs of bytes they have.
func tree(t *testing.T, fsys vfs.FS) string {
	t.Helper()
	names, err := fsys.ReadDir("/")
	require.NoError(t, err)
	var b strings.Builder
	for _, name := range names {
		data, err := vfs.ReadFile(fsys, name, 1<<20)
		require.NoError(t, err)
		fmt.Fprintf(&b, "%s=%s ", name, bytes.ReplaceAll(data, []byte{0}, []byte{'.'}))
	}
	return strings.TrimSpace(b.String())
}

// states returns all that a crash may leave, without garbage and drawn ones.
func states(t *testing.T, m *vfs.Mem) []string {
	seen := map[string]bool{}
	for c := range m.Crashes(vfs.CrashOptions{ExhaustiveMax: 12}) {
		s := tree(t, c)
		if strings.IndexFunc(s, func(r rune) bool { return r > 126 || r < 32 }) < 0 {
			seen[s] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func TestCrashStates(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "f", "old")
	require.Equal(t, []string{"", "f=", "f=...", "f=old"}, states(t, m), "name and content fare apart; size may be ahead")
	require.NoError(t, f.Sync())
	require.Equal(t, []string{"", "f=old"}, states(t, m), "Sync is not for the name")
	require.NoError(t, m.SyncDir("."))
	require.Equal(t, []string{"f=old"}, states(t, m))

	write(t, f, "N", 1)
	require.Equal(t, []string{"f=o.d", "f=oNd", "f=old"}, states(t, m), "bytes beside a write are safe")
	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(1))
	require.Equal(t, []string{"f=o", "f=oNd"}, states(t, m), "a truncation may be undone")
	write(t, f, "xy", 1)
	require.Contains(t, states(t, m), "f=oxy")
	require.Contains(t, states(t, m), "f=oNd")
	require.NoError(t, f.Sync())

	g := create(t, m, "g", "new")
	require.NoError(t, g.Sync())
	require.NoError(t, m.SyncDir("."))
	require.NoError(t, m.Rename("g", "f"))
	require.Equal(t, []string{"f=new", "f=new g=new", "f=oxy", "f=oxy g=new"}, states(t, m), "four states of a rename")
	require.NoError(t, m.SyncDir("."))
	require.NoError(t, m.Remove("f"))
	require.Equal(t, []string{"", "f=new"}, states(t, m))
	require.Equal(t, "", tree(t, m.Clone()), "only the process was killed")
}

func TestCrashSectors(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "f", strings.Repeat("a", 2000))
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	write(t, f, strings.Repeat("b", 700), 500) // sectors 0, 1 and 2
	mixed := 0
	for _, s := range states(t, m) {
		s = s[2:]
		require.Len(t, s, 2000)
		require.Equal(t, strings.Repeat("a", 500), s[:500])
		require.Equal(t, strings.Repeat("a", 800), s[1200:])
		for _, piece := range []string{s[500:512], s[512:1024], s[1024:1200]} {
			require.Empty(t, strings.Trim(piece, piece[:1]), "a sector is old, new or zero")
		}
		if s[500] != s[1100] {
			mixed++
		}
	}
	require.Positive(t, mixed)
	garbage := 0
	for c := range m.Crashes(vfs.CrashOptions{ExhaustiveMax: 12, Random: 50, Rand: rand.New(rand.NewPCG(1, 1))}) {
		b, err := vfs.ReadFile(c, "f", 1<<20)
		require.NoError(t, err)
		if bytes.IndexFunc(b, func(r rune) bool { return r != 'a' && r != 'b' && r != 0 }) >= 0 {
			garbage++
		}
	}
	require.Positive(t, garbage)
}

// TestCrashModel draws operations and crashes, and checks against a model that
// what was synced is there, and what was not is one of its versions.
func TestCrashModel(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 7))
		m := vfs.NewMem()
		f := create(t, m, "f", "")
		require.NoError(t, m.SyncDir("."))
		visible, durable := []byte{}, []byte{}
		for range 60 {
			switch rng.IntN(5) {
			case 0, 1, 2:
				off := rng.IntN(len(visible) + 1)
				b := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, 1+rng.IntN(900))
				visible = append(visible, make([]byte, max(0, off+len(b)-len(visible)))...)
				copy(visible[off:], b)
				write(t, f, string(b), int64(off))
			case 3:
				visible = visible[:rng.IntN(len(visible)+1)]
				require.NoError(t, f.Truncate(int64(len(visible))))
			case 4:
				require.NoError(t, f.Sync())
				durable = bytes.Clone(visible)
			}
			b, err := vfs.ReadFile(m, "f", 1<<20)
			require.NoError(t, err)
			require.Equal(t, visible, b)
			if bytes.Equal(visible, durable) {
				continue
			}
			b, err = vfs.ReadFile(m.Clone(), "f", 1<<20)
			require.NoError(t, err)
			require.Equal(t, visible, b)
			for c := range m.Crashes(vfs.CrashOptions{}) { // the first: nothing survives
				b, err := vfs.ReadFile(c, "f", 1<<20)
				require.NoError(t, err)
				require.Equal(t, durable, b)
				break
			}
		}
	}
}

func TestSyncLost(t *testing.T) {
	m := vfs.NewMem()
	lose := false
	fsys := vfs.Inject(m, func(op vfs.Op) error {
		if lose && op.Kind == vfs.OpSync {
			return vfs.ErrSyncLost
		}
		return nil
	})
	f := create(t, fsys, "f", "aaaa")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	write(t, f, "bb", 1)
	lose = true
	require.ErrorIs(t, f.Sync(), vfs.ErrSyncLost)
	lose = false
	write(t, f, "cc", 4)
	require.NoError(t, f.Sync(), "the next one succeeds")
	require.Equal(t, "f=abbacc", tree(t, m), "and the cache shows it all")
	require.Equal(t, []string{"f=aaaacc"}, states(t, m), "but the disk has it not")
	require.NoError(t, f.(vfs.CacheDropper).DropCache())
	require.Equal(t, "f=aaaacc", tree(t, m))
}

func TestInject(t *testing.T) {
	boom := errors.New("boom")
	var fail func(vfs.Op) error
	fsys := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if fail != nil {
			return fail(op)
		}
		return nil
	})
	f := create(t, fsys, "f", "x")
	fail = func(op vfs.Op) error {
		if op.Kind == vfs.OpWrite && op.Off == 2 && op.Len == 4 && op.Name == "f" && op.Changes() {
			return &vfs.ShortWriteError{N: 3, Err: boom}
		}
		return nil
	}
	n, err := f.WriteAt([]byte("abcd"), 2)
	require.ErrorIs(t, err, boom)
	require.ErrorContains(t, err, "write f: short write of 3 bytes: boom")
	require.Equal(t, 3, n)
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 5, size)
	fail = func(vfs.Op) error { return boom }
	_, err = fsys.ReadDir(".")
	require.ErrorIs(t, err, boom)
	require.ErrorIs(t, f.Close(), boom)
	require.Equal(t, "syncdir", vfs.OpSyncDir.String())
}

// TestUnsyncedHistory: a file that is never synced keeps a bounded history, and
// still crashes right.
func TestUnsyncedHistory(t *testing.T) {
	m := vfs.NewMem()
	f := create(t, m, "f", "")
	require.NoError(t, m.SyncDir("."))
	for i := range int64(5000) {
		write(t, f, "ab", 2*i)
	}
	first := true
	for c := range m.Crashes(vfs.CrashOptions{}) {
		if first {
			require.Equal(t, "f=", tree(t, c))
			first = false
			continue
		}
		break
	}
	require.Equal(t, "f="+strings.Repeat("ab", 5000), tree(t, m.Clone()))
}
