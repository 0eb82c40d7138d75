package zk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

var (
	errRefused      = errors.New("zk: session refused")
	errSessionsMany = errors.New("zk: as many sessions as SessionsMax allows")
	errSessionsFast = errors.New("zk: more new sessions than SessionRateMax allows")
)

// openSession makes a new session, or moves one here, and answers the client.
func (s *Server) openSession(ctx context.Context, c *conn, hello *jute.ConnectRequest) error {
	readOnly, err := s.waitServing(ctx, hello.ReadOnly)
	if err != nil {
		return err
	}
	if hello.LastZxidSeen > s.tree.Load().Published() {
		return fmt.Errorf("%w: client has seen zxid %#x, this server %#x", errRefused, hello.LastZxidSeen, s.tree.Load().Published())
	}
	s.stats.hellos.Add(1)
	if readOnly {
		return s.openReadOnly(c, hello)
	}
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
		if err := s.admitSession(c); err != nil {
			return 0, err
		}
		txn.Kind, txn.Session = tree.KindCreateSession, s.newSessionID()
	case !s.ownsSession(hello):
		c.pauseRefused()
		return 0, fmt.Errorf("%w: wrong password for %v", errRefused, sessionID(txn.Session))
	}
	c.session = txn.Session
	switch {
	case txn.Kind == tree.KindCreateSession && s.cfg.LocalSessions:
		s.locals.add(c.session, timeout, s.now())
		c.local.Store(true)
		return timeout, nil
	case s.locals.resume(c.session, timeout, s.now()):
		c.local.Store(true)
		return timeout, nil
	}
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

// admitSession says whether there may be one more session.
func (s *Server) admitSession(c *conn) error {
	sessions := s.tree.Load().Stats().Sessions + int64(s.locals.len())
	if limit := s.cfg.SessionsMax; limit > 0 && sessions >= int64(limit) {
		return fmt.Errorf("%w: %d", errSessionsMany, sessions)
	}
	if ip := remoteIP(c.net); ip == nil || ip.IsLoopback() || s.cfg.SessionRateMax < 0 {
		return nil
	}
	if !s.newSessions.take(s.cfg.SessionRateMax, time.Since(s.started)) {
		return errSessionsFast
	}
	return nil
}

// ownsSession says whether the client knows its session's password.
func (s *Server) ownsSession(hello *jute.ConnectRequest) bool {
	return s.tree.Load().Property(secretProperty) != nil && hmac.Equal(hello.Password, s.password(hello.SessionID))
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
	if !s.lives(c) {
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

// lives says whether a connection's session has not ended. The caller holds pub.
func (s *Server) lives(c *conn) bool {
	switch {
	case c.readOnly:
		return s.readOnly.isOpen()
	case c.local.Load():
		return s.locals.has(c.session)
	}
	session, there := s.tree.Load().Session(c.session)
	return there && session.Owner == uint8(s.cfg.ID) // else it has gone on already
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
