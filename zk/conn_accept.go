package zk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

const (
	acceptBackoff      = 100 * time.Millisecond
	helloFrameBytesMax = 64 << 10
	helloTimeout       = 10 * time.Second // of the first frame
)

// acceptClients is a goroutine for each client listener.
func (s *Server) acceptClients(l net.Listener, at Endpoint) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			s.log.Warn("accepting a client", "err", err)
			if !s.pause(acceptBackoff) {
				return
			}
			continue
		}
		if !s.door.enter(nc) {
			s.stats.rejected.Add(1)
			_ = nc.Close()
			continue
		}
		s.goroutines.Go(func() { s.serveClient(nc, at) })
	}
}

// serveClient is the reader's goroutine of one client.
func (s *Server) serveClient(nc net.Conn, at Endpoint) {
	defer s.door.leave(nc)
	c := newConn(s, nc, s.nextConn.Add(1))
	c.stats.tls = at.TLS != nil
	s.stats.enter(c)
	defer s.stats.leave(c)
	defer context.AfterFunc(c.ctx, c.abandonQueue)()
	err := s.serveConn(c, at)
	if c.finishing() {
		c.waitClosed() // the last reply goes out before the connection ends
	}
	c.close(err)
	s.unregister(c)
	c.abandonQueue()
	why := c.closeReason()
	if !errors.Is(why, errSessionClosed) && c.session != 0 {
		s.stats.dropped.Add(1)
	}
	c.log.Log(s.ctx, farewellLevel(why), "client gone", "session", sessionID(c.session), "err", why)
}

// farewellLevel says who wants to know why a connection ended: an operator, if
// the client broke the protocol or was cut off for not reading.
func farewellLevel(why error) slog.Level {
	for _, fault := range []error{errClientFrame, jute.ErrMalformed, errUnknownOp, errSlowClient, errOutputFull} {
		if errors.Is(why, fault) {
			return slog.LevelWarn
		}
	}
	return slog.LevelDebug
}

func (s *Server) serveConn(c *conn, at Endpoint) error {
	if err := c.net.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if err := c.startTLS(at.TLS); err != nil {
		return err
	}
	q := &requestReader{c: c}
	hello, err := q.hello()
	if err != nil || hello == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.clampTimeout(hello.Timeout)/3)
	defer cancel()
	if err := s.openSession(ctx, c, hello); err != nil {
		return err
	}
	if err := c.net.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	s.goroutines.Go(c.write)
	return q.serve()
}

// hello reads the first frame: a connect request, or a four letter word, which
// is answered here, and nil returned.
func (q *requestReader) hello() (*jute.ConnectRequest, error) {
	for {
		if len(q.buf) >= 4 {
			if word, ok := fourLetterWord(q.buf); ok {
				return nil, q.answerWord(word, q.buf[4:])
			}
			if n := int(int32(binary.BigEndian.Uint32(q.buf))); n <= 0 || n > helloFrameBytesMax {
				return nil, fmt.Errorf("%w: %d", errClientFrame, n)
			}
		}
		frame, err := q.next()
		if err != nil {
			return nil, err
		}
		if frame != nil {
			r := jute.NewReader(frame)
			hello := new(jute.ConnectRequest)
			hello.Decode(&r)
			hello.Password = append([]byte(nil), hello.Password...)
			return hello, r.Err()
		}
		if err := q.fill(); err != nil {
			return nil, err
		}
	}
}

// clientList appends the connections that have a session. The caller holds pub.
func (s *Server) clientList(dst []*conn) []*conn {
	for _, c := range s.clients {
		dst = append(dst, c)
	}
	return dst
}

// endSession closes the connection of a session that ended or went to another
// server, unless it is the client's own doing: then the reply goes out first.
func (s *Server) endSession(session int64, why error) {
	s.pub.RLock()
	c := s.bySession[session]
	s.pub.RUnlock()
	if c != nil && !c.finishing() {
		c.close(why)
	}
}

// dropStranded closes clients' connections when there has been no leader for a
// third of their timeout: another server may have one (R7).
func (s *Server) dropStranded(now time.Duration) {
	if s.role.Established {
		return
	}
	s.pub.RLock()
	conns := s.clientList(nil)
	s.pub.RUnlock()
	for _, c := range conns {
		if !c.readOnly && now-s.strandedAt > c.timeout/3 {
			c.close(errStranded)
		}
	}
}

// finishing says whether the connection ends once its output is sent.
func (c *conn) finishing() bool {
	c.output.Lock()
	defer c.output.Unlock()
	return c.output.finish
}

// waitClosed waits until the writer has sent the last reply, or given up.
func (c *conn) waitClosed() {
	c.output.Lock()
	defer c.output.Unlock()
	for !c.output.closed {
		c.output.cond.Wait()
	}
}

// closeReason is why the connection ended.
func (c *conn) closeReason() error {
	if why := context.Cause(c.ctx); !errors.Is(why, context.Canceled) {
		return why
	}
	return io.EOF
}
