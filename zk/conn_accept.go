package zk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

const (
	acceptBackoff      = 100 * time.Millisecond
	helloFrameBytesMax = 64 << 10
	helloTimeout       = 10 * time.Second // of the first frame
)

var errRefused = errors.New("zk: session refused")

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
	for _, fault := range []error{errClientFrame, jute.ErrMalformed, errUnknownOp, errSlowClient} {
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
	if err := s.serving.wait(ctx); err != nil {
		return errStranded
	}
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

// openSession makes a new session, or moves one here, and answers the client.
func (s *Server) openSession(ctx context.Context, c *conn, hello *jute.ConnectRequest) error {
	if hello.LastZxidSeen > s.tree.Load().Published() {
		return fmt.Errorf("%w: client has seen zxid %#x, this server %#x", errRefused, hello.LastZxidSeen, s.tree.Load().Published())
	}
	s.stats.hellos.Add(1)
	answer := jute.ConnectResponse{Password: make([]byte, passwordBytes), HasReadOnly: hello.HasReadOnly}
	timeout, err := s.negotiate(ctx, c, hello)
	if err == nil {
		answer.Timeout, answer.SessionID, answer.Password = timeout, c.session, s.password(c.session)
		c.timeout = time.Duration(timeout) * time.Millisecond
		if !s.register(c) {
			return errSessionClosed
		}
	}
	if err != nil && !errors.Is(err, errRefused) {
		return err
	}
	c.append(jute.EndFrame(answer.Append(jute.BeginFrame(nil)), 0))
	if err != nil {
		c.finishOutput()
		s.goroutines.Go(c.write)
	}
	return err
}

// negotiate returns the session's timeout in ms, or errRefused.
func (s *Server) negotiate(ctx context.Context, c *conn, hello *jute.ConnectRequest) (timeout int32, err error) {
	timeout = int32(s.clampTimeout(hello.Timeout).Milliseconds())
	txn := tree.Txn{Kind: tree.KindAttachSession, Session: hello.SessionID, Timeout: timeout, Owner: uint8(s.cfg.ID)}
	switch {
	case txn.Session == 0:
		txn.Kind, txn.Session = tree.KindCreateSession, s.newSessionID()
	case !hmac.Equal(hello.Password, s.password(txn.Session)):
		c.pauseRefused()
		return 0, fmt.Errorf("%w: wrong password for %v", errRefused, sessionID(txn.Session))
	}
	c.session = txn.Session
	o, ok := s.ask(ctx, &submission{kind: workWrite, session: c.session, txn: tree.AppendTxn(nil, &txn), conn: c})
	switch {
	case ok && o.code == jute.CodeSessionExpired:
		return 0, fmt.Errorf("%w: %v has expired", errRefused, sessionID(c.session))
	case !ok || o.code != jute.CodeOK:
		return 0, fmt.Errorf("zk: session neither made nor attached: %w", o.code)
	case txn.Kind == tree.KindAttachSession:
		s.stats.revalidated.Add(1)
	}
	return timeout, nil
}

func (s *Server) clampTimeout(ms int32) time.Duration {
	return min(max(time.Duration(ms)*time.Millisecond, s.cfg.MinSessionTimeout), s.cfg.MaxSessionTimeout)
}

// newSessionID draws an id that cannot be guessed, but for its first byte, which
// names the server as ZooKeeper's do.
func (s *Server) newSessionID() int64 {
	b := s.randomBytes(8)
	b[0] = byte(s.cfg.ID)
	return int64(binary.BigEndian.Uint64(b))
}

// password is what proves that a client owns a session: a MAC of its id, so
// that any server can check it without having heard of it (S13).
func (s *Server) password(session int64) []byte {
	mac := hmac.New(sha256.New, s.tree.Load().Property(secretProperty))
	_ = binary.Write(mac, binary.BigEndian, session) // a hash does not fail
	return mac.Sum(nil)[:passwordBytes]
}

// register makes a connection its session's; an older one is closed at once,
// and what it asked for and the loop has not seen yet will not be done. False if
// the session has ended since the leader was asked: who is not registered at that
// publication is not told of it by endSession.
func (s *Server) register(c *conn) bool {
	s.pub.Lock()
	if _, lives := s.tree.Load().Session(c.session); !lives {
		s.pub.Unlock()
		return false
	}
	old := s.bySession[c.session]
	s.bySession[c.session] = c
	s.clients[c.id] = c
	c.stats.session.Store(c.session)
	s.pub.Unlock()
	if old != nil {
		old.close(errSessionMoved)
	}
	return true
}

func (s *Server) unregister(c *conn) {
	s.pub.Lock()
	defer s.pub.Unlock()
	delete(s.clients, c.id)
	if s.bySession[c.session] == c {
		delete(s.bySession, c.session)
	}
	s.watches.RemoveAll(c.id)
}

// clientList appends the connections that have a session. The caller holds pub.
func (s *Server) clientList(dst []*conn) []*conn {
	for _, c := range s.clients {
		dst = append(dst, c)
	}
	return dst
}

// endSession closes the connection of a session that ended, unless it is the
// client's own doing: then the reply goes out first.
func (s *Server) endSession(session int64) {
	s.pub.RLock()
	c := s.bySession[session]
	s.pub.RUnlock()
	if c != nil && !c.finishing() {
		c.close(errSessionClosed)
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
		if now-s.strandedAt > c.timeout/3 {
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

func (c *conn) closeReason() error {
	c.output.Lock()
	defer c.output.Unlock()
	if c.output.closing == nil {
		return io.EOF
	}
	return c.output.closing
}
