package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is a file system. Names are slash or OS paths as package path/filepath
// cleans them. Errors are *fs.PathError (or *os.LinkError) and answer errors.Is
// for fs.ErrNotExist, fs.ErrExist and the like. Safe for concurrent use.
type FS interface {
	// OpenFile opens a file with the flags of package os (O_RDONLY or O_RDWR,
	// with O_CREATE, O_EXCL, O_TRUNC). Its directory must exist.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename moves a file over another name of the same directory, replacing
	// what was there. Durable after SyncDir.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory. Durable after SyncDir.
	Remove(name string) error
	// ReadDir returns the names in a directory, sorted.
	ReadDir(name string) ([]string, error)
	// MkdirAll creates a directory and those above it. Durable after a SyncDir
	// of each parent; see MakeDir.
	MkdirAll(name string, perm fs.FileMode) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
}

// File is an open file. Safe for concurrent use; writes that overlap one
// another or a read have no order among themselves.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes the file's content and size durable, not its name. After it
	// failed, nothing is known about what was written since the last success,
	// and a later success proves nothing.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// CacheDropper is what a File may implement beside: DropCache forgets what the
// system holds of the file in memory and is not waiting to be written, so that
// the next read shows what the disk has. It matters after a failed Sync, when
// the cache may show bytes that never reached the disk.
type CacheDropper interface {
	DropCache() error
}

// Reserver is what a File may implement beside: Reserve asks for room for n
// bytes behind the end of the file, without changing its size. It is a hint that
// keeps a growing file in one piece where the system has a call for it.
type Reserver interface {
	Reserve(n int64) error
}

// ErrLocked says that another holder has the lock. Returned by Lock.
var ErrLocked = errors.New("locked by another holder")

// locker is what a file system implements so that Lock works on it.
type locker interface {
	lock(name string, shared bool) (io.Closer, error)
}

// Lock takes an exclusive lock named by a file, which it creates. It fails with
// an error that Is ErrLocked when this or another process holds it. The lock
// ends with Close, with the process, and on Mem with a crash.
func Lock(fsys FS, name string) (io.Closer, error) { return lock(fsys, name, false) }

// LockShared takes the lock together with others who share it, while nobody has
// it exclusively. It creates nothing: a file that is not there is an error that
// Is fs.ErrNotExist.
func LockShared(fsys FS, name string) (io.Closer, error) { return lock(fsys, name, true) }

func lock(fsys FS, name string, shared bool) (io.Closer, error) {
	l, ok := fsys.(locker)
	if !ok {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: errors.ErrUnsupported}
	}
	return l.lock(name, shared)
}

// ReadFile returns the content of a file of at most limit bytes; a longer one
// is an error, found before anything is allocated.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes, more than the limit of %d", size, limit)}
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && (err != io.EOF || int64(n) < size) {
		return nil, err
	}
	return data, nil
}

// WriteFile replaces a file's content atomically and durably: after a crash it
// holds the old content or the new. It writes name+".tmp", syncs it, renames it
// and syncs the directory. One writer at a time for each name.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		// It must not be written over: after a crash in the midst of a rename it
		// may be the very file that has the final name.
		if err = fsys.Remove(tmp); err == nil {
			f, err = fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MakeDir creates a directory and those above it, durably. Directories above it
// that were there before are synced too, since nobody may have done so; those
// that this process may not read, or that do not support it, are taken for
// durable.
func MakeDir(fsys FS, name string) error {
	if err := fsys.MkdirAll(name, 0o700); err != nil {
		return err
	}
	for dir := filepath.Clean(name); ; {
		up := filepath.Dir(dir)
		if up == dir {
			return nil
		}
		err := fsys.SyncDir(up)
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
			return err
		}
		dir = up
	}
}
