package vfs

import (
	"os"
	"syscall"
)

// syncData does not wait for times of change, which no reader needs; sizes and
// block maps it does write.
func syncData(f *os.File) error {
	return control(f, "fdatasync", syscall.Fdatasync)
}

const fadvDontNeed = 4 // POSIX_FADV_DONTNEED

// dropCache makes the kernel forget the file's clean pages. A page that it
// failed to write counts as clean, so the next read shows the disk's version.
func dropCache(f *os.File) error {
	return control(f, "fadvise", func(fd int) error { return fadvise(fd, fadvDontNeed) })
}

// control runs a system call on the file's descriptor, again if interrupted.
func control(f *os.File, op string, call func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var cerr error
	err = c.Control(func(fd uintptr) {
		for {
			if cerr = call(int(fd)); cerr != syscall.EINTR {
				return
			}
		}
	})
	if err == nil && cerr != nil {
		err = &os.PathError{Op: op, Path: f.Name(), Err: cerr}
	}
	return err
}
