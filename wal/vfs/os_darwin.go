package vfs

import (
	"os"
	"syscall"
	"unsafe"
)

// reserve asks for blocks behind the last one that the file has: F_PREALLOCATE.
func reserve(f *os.File, n int64) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	st := syscall.Fstore_t{Flags: syscall.F_ALLOCATEALL, Posmode: syscall.F_PEOFPOSMODE, Length: n}
	var errno syscall.Errno
	err = c.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_PREALLOCATE, uintptr(unsafe.Pointer(&st)))
	})
	if err == nil && errno != 0 {
		err = &os.PathError{Op: "preallocate", Path: f.Name(), Err: errno}
	}
	return err
}
