//go:build linux && (amd64 || arm64 || riscv64 || loong64 || ppc64le || mips64le || s390x)

package vfs

import "syscall"

func fadvise(fd, advice int) error {
	if _, _, e := syscall.Syscall6(syscall.SYS_FADVISE64, uintptr(fd), 0, 0, uintptr(advice), 0, 0); e != 0 {
		return e
	}
	return nil
}
