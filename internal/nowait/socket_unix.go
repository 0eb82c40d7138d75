//go:build unix

package nowait

import (
	"net"
	"syscall"
)

func newSocket(c *net.TCPConn) Conn {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil // it is closed
	}
	s := &socket{raw: raw}
	s.write = func(fd uintptr) bool {
		n, err := syscall.Write(int(fd), s.p)
		switch err {
		case nil:
			s.n = n
		case syscall.EAGAIN, syscall.EINTR: // no room; or a Write does it
		default:
			s.err = err
		}
		return true
	}
	return s
}
