package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// TestConformance holds every FS to the same rules.
func TestConformance(t *testing.T) {
	t.Run("OS", func(t *testing.T) { conformance(t, vfs.OS, t.TempDir()) })
	t.Run("Mem", func(t *testing.T) { conformance(t, vfs.NewMem(), "") })
	t.Run("Inject", func(t *testing.T) {
		conformance(t, vfs.Inject(vfs.NewMem(), func(vfs.Op) error { return nil }), "x")
	})
	t.Run("MemInBubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { nameRules(t, vfs.NewMem(), ".") })
	})
}

func conformance(t *testing.T, fsys vfs.FS, root string) {
	t.Run("content", func(t *testing.T) { contentRules(t, fsys, filepath.Join(root, "content")) })
	t.Run("names", func(t *testing.T) { nameRules(t, fsys, filepath.Join(root, "names")) })
	t.Run("helpers", func(t *testing.T) { helperRules(t, fsys, filepath.Join(root, "helpers")) })
	t.Run("lock", func(t *testing.T) { lockRules(t, fsys, filepath.Join(root, "lock")) })
}

func contentRules(t *testing.T, fsys vfs.FS, dir string) {
	require.NoError(t, fsys.MkdirAll(dir, 0o700))
	name := filepath.Join(dir, "f")
	_, err := fsys.OpenFile(name, os.O_RDWR, 0o600)
	require.ErrorIs(t, err, fs.ErrNotExist, "a file that is not there is not made without O_CREATE")
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	require.NoError(t, err)
	_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	require.ErrorIs(t, err, fs.ErrExist, "O_EXCL refuses a file that is there")

	data := []byte(strings.Repeat("0123456789", 20_000))
	n, err := f.WriteAt(data, 70_000)
	require.NoError(t, err)
	require.Equal(t, len(data), n)
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 70_000+len(data), size)
	b := make([]byte, 10)
	_, err = f.ReadAt(b, 69_995)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x00\x00\x0001234", string(b), "a gap reads as zeros")
	n, err = f.ReadAt(b, size-4)
	require.ErrorIs(t, err, io.EOF, "a read across the end is short")
	require.Equal(t, 4, n)
	_, err = f.ReadAt(b, size+100)
	require.ErrorIs(t, err, io.EOF)
	got := make([]byte, len(data))
	_, err = f.ReadAt(got, 70_000)
	require.NoError(t, err)
	require.Equal(t, data, got)
	_, err = f.ReadAt(b, -1)
	require.Error(t, err)
	_, err = f.WriteAt(b, -1)
	require.Error(t, err)

	if r, ok := f.(vfs.Reserver); ok {
		require.NoError(t, r.Reserve(1<<20))
		again, err := f.Size()
		require.NoError(t, err)
		require.Equal(t, size, again, "Reserve does not change the size")
	}
	require.NoError(t, f.Truncate(70_003))
	require.NoError(t, f.Truncate(70_008))
	n, err = f.ReadAt(b, 70_000)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "012\x00\x00\x00\x00\x00", string(b[:n]), "what was cut off is zeros when the file grows again")
	require.NoError(t, f.Sync())

	g, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	require.NoError(t, err)
	_, err = g.WriteAt(b, 0)
	require.Error(t, err, "a file opened for reading is not written")
	_, err = f.WriteAt([]byte("shared"), 0)
	require.NoError(t, err)
	_, err = g.ReadAt(b[:6], 0)
	require.NoError(t, err)
	require.Equal(t, "shared", string(b[:6]), "all see a write at once")
	if d, ok := g.(vfs.CacheDropper); ok {
		require.NoError(t, d.DropCache())
		_, err = g.ReadAt(b[:6], 0)
		require.NoError(t, err)
		require.Equal(t, "shared", string(b[:6]), "DropCache loses nothing that may still be written")
	}
	lifeRules(t, fsys, name, f, g)
}

// lifeRules: f and g are the named file, open; their content is "shared…".
func lifeRules(t *testing.T, fsys vfs.FS, name string, f, g vfs.File) {
	b := make([]byte, 10)
	require.NoError(t, fsys.Remove(name))
	_, err := g.ReadAt(b[:6], 0)
	require.NoError(t, err, "a removed file lives until it is closed")
	require.NoError(t, g.Close())
	require.Error(t, g.Close())
	_, err = g.ReadAt(b, 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.NoError(t, f.Close())

	f, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.Zero(t, size, "a name used again is a new file")
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	f, err = fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0o600)
	require.NoError(t, err)
	size, err = f.Size()
	require.NoError(t, err)
	require.Zero(t, size, "O_TRUNC empties it")
	require.NoError(t, f.Close())
}

func nameRules(t *testing.T, fsys vfs.FS, dir string) {
	require.NoError(t, fsys.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	require.NoError(t, fsys.MkdirAll(filepath.Join(dir, "a", "b"), 0o700), "MkdirAll of what is there")
	_, err := fsys.ReadDir(filepath.Join(dir, "no"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = fsys.OpenFile(filepath.Join(dir, "no", "f"), os.O_RDWR|os.O_CREATE, 0o600)
	require.ErrorIs(t, err, fs.ErrNotExist, "the directory must exist")
	for _, name := range []string{"z", "y", "x"} {
		require.NoError(t, vfs.WriteFile(fsys, filepath.Join(dir, "a", name), []byte(name)))
	}
	names, err := fsys.ReadDir(filepath.Join(dir, "a"))
	require.NoError(t, err)
	require.Equal(t, []string{"b", "x", "y", "z"}, names, "sorted")
	require.NoError(t, fsys.Rename(filepath.Join(dir, "a", "x"), filepath.Join(dir, "a", "y")))
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, "a", "y"), 10)
	require.NoError(t, err)
	require.Equal(t, "x", string(b), "Rename replaces")
	require.ErrorIs(t, fsys.Rename(filepath.Join(dir, "a", "x"), filepath.Join(dir, "a", "y")), fs.ErrNotExist)
	require.ErrorIs(t, fsys.Remove(filepath.Join(dir, "a", "x")), fs.ErrNotExist)
	require.Error(t, fsys.Remove(filepath.Join(dir, "a")), "a directory that is not empty stays")
	require.NoError(t, fsys.Remove(filepath.Join(dir, "a", "b")))
	require.NoError(t, fsys.SyncDir(filepath.Join(dir, "a")))
	require.Error(t, fsys.SyncDir(filepath.Join(dir, "no")))
	require.Error(t, fsys.MkdirAll(filepath.Join(dir, "a", "y", "d"), 0o700), "a file is in the way")
}

func helperRules(t *testing.T, fsys vfs.FS, dir string) {
	require.NoError(t, vfs.MakeDir(fsys, filepath.Join(dir, "p", "q")))
	name := filepath.Join(dir, "p", "q", "f")
	require.NoError(t, vfs.WriteFile(fsys, name, []byte("hello")))
	require.NoError(t, vfs.WriteFile(fsys, name, []byte("bye")))
	_, err := vfs.ReadFile(fsys, name, 2)
	require.ErrorContains(t, err, "limit")
	b, err := vfs.ReadFile(fsys, name, 3)
	require.NoError(t, err)
	require.Equal(t, "bye", string(b))
	names, err := fsys.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	require.Equal(t, []string{"f"}, names, "no temporary file is left")
}

func lockRules(t *testing.T, fsys vfs.FS, dir string) {
	require.NoError(t, vfs.MakeDir(fsys, dir))
	name := filepath.Join(dir, "LOCK")
	lock, err := vfs.Lock(fsys, name)
	require.NoError(t, err)
	_, err = vfs.Lock(fsys, name)
	require.ErrorIs(t, err, vfs.ErrLocked)
	other, err := vfs.Lock(fsys, name+"2")
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.NoError(t, lock.Close())
	lock, err = vfs.Lock(fsys, name)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	_, err = vfs.LockShared(fsys, name+"3")
	require.ErrorIs(t, err, fs.ErrNotExist, "a shared lock creates nothing")
	lock, err = vfs.LockShared(fsys, name)
	require.NoError(t, err)
	second, err := vfs.LockShared(fsys, name)
	require.NoError(t, err, "it is shared")
	_, err = vfs.Lock(fsys, name)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.NoError(t, lock.Close())
	_, err = vfs.Lock(fsys, name)
	require.ErrorIs(t, err, vfs.ErrLocked, "one still has it")
	require.NoError(t, second.Close())
	lock, err = vfs.Lock(fsys, name)
	require.NoError(t, err)
	_, err = vfs.LockShared(fsys, name)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.NoError(t, lock.Close())
	_, err = vfs.Lock(fsys, filepath.Join(dir, "no", "LOCK"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestLockNeedsSupport(t *testing.T) {
	_, err := vfs.Lock(struct{ vfs.FS }{vfs.OS}, "x")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}
