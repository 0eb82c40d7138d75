package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// OpKind is a kind of operation on a file system.
type OpKind int

// The operations. Those up to OpReadDir change nothing on the disk.
const (
	OpOpen OpKind = iota // of an existing file, or one that is not created by it
	OpRead
	OpSize
	OpReadDir
	OpClose
	OpDropCache
	OpCreate // OpenFile with O_CREATE or O_TRUNC
	OpWrite
	OpSync
	OpTruncate
	OpRename
	OpRemove
	OpMkdir
	OpSyncDir
)

var opNames = [...]string{
	"open", "read", "size", "readdir", "close", "dropcache",
	"create", "write", "sync", "truncate", "rename", "remove", "mkdir", "syncdir",
}

// String returns the operation's name.
func (k OpKind) String() string {
	if k < 0 || int(k) >= len(opNames) {
		return fmt.Sprintf("OpKind(%d)", int(k))
	}
	return opNames[k]
}

// Op is an operation about to happen.
type Op struct {
	Kind OpKind
	// Name is the file or directory; for a rename, the old name.
	Name string
	// Off and Len are the range of a read or write; Off is the size for a
	// truncation.
	Off int64
	Len int
}

// Changes reports whether the operation may change what is on the disk.
func (o Op) Changes() bool { return o.Kind >= OpCreate }

// ErrSyncLost makes an injected Sync failure the worst of its kind: what was
// not durable never will be, though it stays visible and later syncs succeed
// (until DropCache). Works on Mem.
var ErrSyncLost = errors.New("writes lost by a failed sync")

// ShortWriteError, injected into a write, lets its first N bytes through.
type ShortWriteError struct {
	N   int
	Err error
}

// Error implements error.
func (e *ShortWriteError) Error() string {
	return fmt.Sprintf("short write of %d bytes: %v", e.N, e.Err)
}

// Unwrap returns the cause.
func (e *ShortWriteError) Unwrap() error { return e.Err }

// Inject returns a file system that calls hook before each operation of fsys and
// its files. If hook returns an error the operation fails with it, undone. The
// hook may be called by several goroutines at once.
func Inject(fsys FS, hook func(Op) error) FS {
	return &injectFS{fsys: fsys, hook: hook}
}

type injectFS struct {
	fsys FS
	hook func(Op) error
}

// InMemory says whether fsys is a *Mem, or one behind Inject: a disk that has
// no use for zeros written ahead, or for a cache to be dropped.
func InMemory(fsys FS) bool {
	for {
		i, ok := fsys.(*injectFS)
		if !ok {
			break
		}
		fsys = i.fsys
	}
	_, ok := fsys.(*Mem)
	return ok
}

func (i *injectFS) fail(op Op) error {
	if err := i.hook(op); err != nil {
		return &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: err}
	}
	return nil
}

func (i *injectFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	kind := OpOpen
	if flag&createFlags != 0 {
		kind = OpCreate
	}
	if err := i.fail(Op{Kind: kind, Name: name}); err != nil {
		return nil, err
	}
	f, err := i.fsys.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &injectFile{i: i, f: f, name: name}, nil
}

func (i *injectFS) Rename(oldName, newName string) error {
	if err := i.fail(Op{Kind: OpRename, Name: oldName}); err != nil {
		return err
	}
	return i.fsys.Rename(oldName, newName)
}

func (i *injectFS) Remove(name string) error {
	if err := i.fail(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return i.fsys.Remove(name)
}

func (i *injectFS) ReadDir(name string) ([]string, error) {
	if err := i.fail(Op{Kind: OpReadDir, Name: name}); err != nil {
		return nil, err
	}
	return i.fsys.ReadDir(name)
}

func (i *injectFS) MkdirAll(name string, perm fs.FileMode) error {
	if err := i.fail(Op{Kind: OpMkdir, Name: name}); err != nil {
		return err
	}
	return i.fsys.MkdirAll(name, perm)
}

func (i *injectFS) SyncDir(name string) error {
	if err := i.fail(Op{Kind: OpSyncDir, Name: name}); err != nil {
		return err
	}
	return i.fsys.SyncDir(name)
}

func (i *injectFS) lock(name string, shared bool) (io.Closer, error) {
	return lock(i.fsys, name, shared)
}

type injectFile struct {
	i    *injectFS
	f    File
	name string
}

func (f *injectFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.i.fail(Op{Kind: OpRead, Name: f.name, Off: off, Len: len(p)}); err != nil {
		return 0, err
	}
	return f.f.ReadAt(p, off)
}

func (f *injectFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.i.fail(Op{Kind: OpWrite, Name: f.name, Off: off, Len: len(p)}); err != nil {
		n := 0
		if short, ok := errors.AsType[*ShortWriteError](err); ok {
			n, _ = f.f.WriteAt(p[:min(short.N, len(p))], off)
		}
		return n, err
	}
	return f.f.WriteAt(p, off)
}

func (f *injectFile) Sync() error {
	if err := f.i.fail(Op{Kind: OpSync, Name: f.name}); err != nil {
		if m, ok := f.f.(*memFile); ok && errors.Is(err, ErrSyncLost) {
			m.loseWrites()
		}
		return err
	}
	return f.f.Sync()
}

func (f *injectFile) Truncate(size int64) error {
	if err := f.i.fail(Op{Kind: OpTruncate, Name: f.name, Off: size}); err != nil {
		return err
	}
	return f.f.Truncate(size)
}

// DropCache implements CacheDropper where the file below does.
func (f *injectFile) DropCache() error {
	if err := f.i.fail(Op{Kind: OpDropCache, Name: f.name}); err != nil {
		return err
	}
	if d, ok := f.f.(CacheDropper); ok {
		return d.DropCache()
	}
	return nil
}

func (f *injectFile) Size() (int64, error) {
	if err := f.i.fail(Op{Kind: OpSize, Name: f.name}); err != nil {
		return 0, err
	}
	return f.f.Size()
}

func (f *injectFile) Close() error {
	err := f.i.fail(Op{Kind: OpClose, Name: f.name})
	if cerr := f.f.Close(); err == nil {
		err = cerr
	}
	return err
}
