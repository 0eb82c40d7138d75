package memnet

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection. It reads from in and writes to out; its peer
// has them the other way round.
type conn struct {
	net           *Network
	peer          *conn
	in, out       *half
	local, remote Addr
	from, to      string // hosts

	closing sync.Mutex
	closed  bool
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	if err != nil && err != io.EOF {
		err = opError("read", "tcp", c.remote, err)
	}
	return n, err
}

// Write is atomic against other writers and may keep nothing of p.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	if err != nil {
		err = opError("write", "tcp", c.remote, err)
	}
	return n, err
}

// WriteNow is Write without waiting: it writes as much as there is room for. Where
// a Write would fail it writes nothing, and leaves it to a Write to say why.
func (c *conn) WriteNow(p []byte) (int, error) { return c.out.writeNow(p), nil }

// Close lets the peer read what was written, then io.EOF.
func (c *conn) Close() error {
	c.closing.Lock()
	if c.closed {
		c.closing.Unlock()
		return opError("close", "tcp", c.remote, net.ErrClosed)
	}
	c.closed = true
	c.closing.Unlock()
	c.out.finish()
	c.in.abandon()
	if c.peer.isClosed() {
		c.net.forget(c)
	}
	return nil
}

// CloseWrite ends the stream to the peer; reading goes on.
func (c *conn) CloseWrite() error {
	c.out.finish()
	return nil
}

func (c *conn) isClosed() bool {
	c.closing.Lock()
	defer c.closing.Unlock()
	return c.closed
}

// reset breaks both directions at once.
func (c *conn) reset() {
	c.in.reset(syscall.ECONNRESET)
	c.out.reset(syscall.ECONNRESET)
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if c.isClosed() {
		return opError("set", "tcp", c.remote, net.ErrClosed)
	}
	c.in.readExpired.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.isClosed() {
		return opError("set", "tcp", c.remote, net.ErrClosed)
	}
	c.out.writeExpired.set(t)
	return nil
}
