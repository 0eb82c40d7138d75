package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

const openFlags = 0

func syncData(f *os.File) error { return f.Sync() }

func dropCache(*os.File) error { return nil }

// syncDir does nothing: NTFS journals names, and there is no call to wait for it.
func syncDir(string) error { return nil }

// lockFile opens the file without sharing, which excludes all others.
func lockFile(name string) (io.Closer, error) {
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		const sharingViolation = syscall.Errno(32)
		if err == sharingViolation {
			err = ErrLocked
		}
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}
