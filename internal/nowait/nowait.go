package nowait

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// Conn is a connection that can write without waiting.
type Conn interface {
	// WriteNow writes as much of p as there is room for. Less than all is no
	// error: a Write of the rest waits for room, or tells what is wrong.
	WriteNow(p []byte) (n int, err error)
}

// New returns the Conn that c is, or can be made into: one in memory, where
// writing is cheaper than waking a goroutine, or a TCP connection of the operating
// system. It returns nil if c can only wait, like one with TLS. One goroutine at a
// time may write, be it to the Conn or to c.
func New(c net.Conn) (w Conn, cheap bool) {
	switch c := c.(type) {
	case Conn:
		return c, true
	case *net.TCPConn:
		return newSocket(c), false
	}
	return nil, false
}

// socket is a connection of the operating system, which never blocks in write(2).
type socket struct {
	raw   syscall.RawConn
	write func(fd uintptr) (done bool) // made once

	p   []byte
	n   int
	err error
}

func (s *socket) WriteNow(p []byte) (int, error) {
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Write(s.write)
	s.p = nil
	if err == nil {
		err = s.err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // of the last Write; the next one has its own
		err = nil
	}
	return s.n, err
}
