package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

const openFlags = 0

// syncData is os.File.Sync, which on Windows is FlushFileBuffers.
func syncData(f *os.File) error { return f.Sync() }

func dropCache(*os.File) error { return nil }

// syncDir does nothing: NTFS journals names, and there is no call to wait for it.
func syncDir(string) error { return nil }

// lockFile opens the file without sharing, or sharing it with readers only: the
// system keeps the others out, and lets them in when the process ends, as with
// LockFileEx, but for the name too, which thus cannot be removed meanwhile.
func lockFile(name string, shared bool) (io.Closer, error) {
	access, share, create := uint32(syscall.GENERIC_READ|syscall.GENERIC_WRITE), uint32(0), uint32(syscall.OPEN_ALWAYS)
	if shared {
		access, share, create = syscall.GENERIC_READ, syscall.FILE_SHARE_READ, syscall.OPEN_EXISTING
	}
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	h, err := syscall.CreateFile(p, access, share, nil, create, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		const sharingViolation = syscall.Errno(32)
		if err == sharingViolation {
			err = ErrLocked
		}
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
