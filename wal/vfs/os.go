package vfs

import (
	"io"
	"io/fs"
	"os"
	"slices"
)

const createFlags = os.O_CREATE | os.O_TRUNC

// OS is the operating system's file system. Files are opened without following
// a symbolic link in the last place, where the system can do that.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag|openFlags, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }
func (osFS) Remove(name string) error             { return os.Remove(name) }

func (osFS) ReadDir(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (osFS) SyncDir(name string) error                    { return syncDir(name) }

func (osFS) lock(name string, shared bool) (io.Closer, error) {
	return lockFile(name, shared)
}

// osFile is a file whose Sync is the cheapest call that keeps File's promise.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

// Reserve implements Reserver.
func (f osFile) Reserve(n int64) error { return reserve(f.File, n) }

// DropCache implements CacheDropper.
func (f osFile) DropCache() error { return dropCache(f.File) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
