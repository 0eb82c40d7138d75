package zk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Read-only mode: a server that has lost its quorum goes on showing what it had,
// to clients that say they want that (ClientConfig.ReadOnly). What it shows is a
// prefix of the history, so a client sees no zxid twice; what it is asked to write is
// -119. Its sessions are nobody's: they end with the connection. When the server
// has a leader again it closes them, as Apache's does.

var (
	errReadOnlyBegins = errors.New("zk: this server has no quorum and serves reads only")
	errReadOnlyEnds   = errors.New("zk: this server has a quorum again")
)

// checkReadOnly opens or closes the gate for clients that only read. It opens
// when there has been no leader for a tick.
func (s *Server) checkReadOnly(now time.Duration) {
	open := s.cfg.ReadOnlyMode && !s.role.Established && now-s.strandedAt >= s.cfg.TickTime
	if open == s.readOnly.isOpen() {
		return
	}
	s.pub.Lock() // nobody registers meanwhile
	s.readOnly.set(open)
	conns := s.clientList(nil)
	s.pub.Unlock()
	s.log.Info("read-only mode", "on", open)
	for _, c := range conns {
		if c.readOnly && !open {
			c.close(errReadOnlyEnds)
		}
	}
	s.publishStatus()
}

// waitServing waits until the server can serve a client, and says whether for
// reads only. Who wants more is sent away at once if that is all there is.
func (s *Server) waitServing(ctx context.Context, readOnlyToo bool) (readOnly bool, err error) {
	select {
	case <-s.serving.channel():
		return false, nil
	default:
	}
	select {
	case <-s.serving.channel():
		return false, nil
	case <-s.readOnly.channel():
		if !readOnlyToo {
			return false, errReadOnlyBegins
		}
		return true, nil
	case <-ctx.Done():
		return false, errStranded
	}
}

// openReadOnly gives a client a session of this connection, or lets one that
// the quorum knows look on. Whether that one lives is not for this server to say:
// one that it does not know it sends away without an answer.
func (s *Server) openReadOnly(c *conn, hello *jute.ConnectRequest) error {
	c.readOnly = true
	answer := jute.ConnectResponse{HasReadOnly: hello.HasReadOnly, ReadOnly: true}
	c.session = hello.SessionID
	switch {
	case c.session == 0:
		c.session, answer.Password = s.newSessionID(), s.randomBytes(passwordBytes)
	case !s.ownsSession(hello):
		c.pauseRefused()
		return fmt.Errorf("%w: wrong password for %v", errRefused, sessionID(c.session))
	case !s.isGlobal(c.session):
		return fmt.Errorf("%w: %v is not known here", errRefused, sessionID(c.session))
	default:
		answer.Password = s.password(c.session)
	}
	c.timeout = s.clampTimeout(hello.Timeout)
	answer.Timeout, answer.SessionID = int32(c.timeout.Milliseconds()), c.session
	if !s.register(c) {
		return errReadOnlyEnds
	}
	c.append(jute.EndFrame(answer.Append(jute.BeginFrame(nil)), 0))
	return nil
}

// isGlobal says whether the tree knows a session.
func (s *Server) isGlobal(session int64) bool {
	_, there := s.tree.Load().Session(session)
	return there
}

// handleReadOnly takes what is no read on a read-only connection.
func (q *requestReader) handleReadOnly(h *jute.RequestHeader) error {
	switch h.Op {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL, jute.OpDelete, jute.OpDeleteContainer, jute.OpSetData,
		jute.OpSetACL, jute.OpMulti, jute.OpCheck, jute.OpSync, jute.OpReconfig:
		return q.answer(h, jute.CodeNotReadOnly)
	case jute.OpCloseSession:
		if q.c.s.isGlobal(q.c.session) {
			return q.answer(h, jute.CodeNotReadOnly)
		}
		return q.closeHere(h)
	}
	return q.unknown(h)
}

// closeHere ends a session that nobody else knows.
func (q *requestReader) closeHere(h *jute.RequestHeader) error {
	if err := q.answer(h, jute.CodeOK); err != nil {
		return err
	}
	q.c.finishOutput()
	return errSessionClosed
}
