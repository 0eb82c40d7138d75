package zk

import (
	"sync"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/session"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// locals are the sessions that only this server knows (local sessions): no entry of
// the history makes, moves or ends them. They own no ephemerals, and end with the
// server. One that wants an ephemeral becomes a session of the ensemble first,
// under the same id, if that is allowed.
type locals struct {
	mu    sync.Mutex
	table *session.Table
}

func newLocals(cfg *Config) *locals {
	return &locals{table: session.New(session.Config{TickMillis: cfg.TickTime.Milliseconds()})}
}

func (l *locals) add(id int64, timeout int32, now int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Add(id, timeout, now)
}

func (l *locals) has(id int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.table.Has(id)
}

func (l *locals) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.table.Len()
}

func (l *locals) remove(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Remove(id)
}

// resume takes a session up again on a new connection; false if it has ended.
func (l *locals) resume(id int64, timeout int32, now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.table.Touch(id, now) {
		return false
	}
	l.table.Add(id, timeout, now)
	return true
}

// touch restarts the timers of those that are local, and returns those that have
// run out, which are gone.
func (l *locals) touch(heard []int64, now int64) (expired []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.table.Len() == 0 {
		return nil
	}
	for _, id := range heard {
		l.table.Touch(id, now)
	}
	expired = l.table.Expired(now, nil)
	for _, id := range expired {
		l.table.Remove(id)
	}
	return expired
}

// touchLocals keeps the timers of local sessions.
func (s *Server) touchLocals() {
	if s.locals.len() == 0 {
		return
	}
	s.pub.RLock()
	var heard []int64
	for _, c := range s.clients {
		if c.local.Load() && c.heard.Swap(false) {
			heard = append(heard, c.session)
		}
	}
	s.pub.RUnlock()
	for _, id := range s.locals.touch(heard, s.now()) {
		s.log.Info("local session expired", "session", sessionID(id))
		s.endSession(id, errSessionClosed)
	}
}

// makesEphemeral says whether a transaction creates one.
func makesEphemeral(txn *tree.Txn) bool {
	is := func(op *jute.Op) bool {
		return (op.Type == jute.OpCreate || op.Type == jute.OpCreate2) && (op.Flags == jute.FlagEphemeral || op.Flags == jute.FlagEphemeralSequential)
	}
	if txn.Kind == tree.KindOp {
		return is(&txn.Op)
	}
	for i := range txn.Ops {
		if is(&txn.Ops[i]) {
			return true
		}
	}
	return false
}

// localWrite makes a local session's write one that the tree lets through, or
// the session one of the ensemble. False if the connection has ended.
func (q *requestReader) localWrite() bool {
	c, s := q.c, q.c.s
	if !s.cfg.LocalSessionsUpgrading || !makesEphemeral(&q.txn) {
		q.txn.Features |= tree.FeatureLocalSession
		return true
	}
	q.flush()
	if !c.waitIdle() {
		return false
	}
	txn := tree.Txn{Kind: tree.KindCreateSession, Session: c.session, Timeout: int32(c.timeout.Milliseconds()), Owner: uint8(s.cfg.ID)}
	o, ok := s.ask(c.ctx, &submission{kind: workWrite, session: c.session, txn: tree.AppendTxn(nil, &txn), conn: c})
	if !ok || o.code != jute.CodeOK {
		return false
	}
	c.local.Store(false)
	s.locals.remove(c.session)
	return true
}
