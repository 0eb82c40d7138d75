package zk

import (
	"fmt"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// batch is what has been applied and not yet published.
type batch struct {
	events []tree.Event
	frames []byte // replies to this server's clients, one after the other
	done   []completion
	told   []*conn // that events were queued at; some more than once
	closed []int64 // sessions that ended
	moved  []int64 // sessions that went to another server
	zxid   zab.Zxid
}

// completion is a client's write whose reply stands in frames[from:to], or, with
// done, something else that waits for its outcome.
type completion struct {
	conn     *conn
	op       *operation
	from, to int

	done    func(outcome)
	outcome outcome
}

// batchFramesKeepMax bounds what a batch keeps for the next one.
const batchFramesKeepMax = 1 << 20

func (b *batch) reset() {
	clear(b.events)
	clear(b.done)
	clear(b.told)
	if cap(b.frames) > batchFramesKeepMax {
		b.frames = nil
	}
	b.events, b.frames, b.done, b.closed, b.zxid = b.events[:0], b.frames[:0], b.done[:0], b.closed[:0], 0
	b.moved, b.told = b.moved[:0], b.told[:0]
}

// apply applies committed entries and publishes them in batches (R4): a batch
// ends behind a write after which a client of this server has a read waiting.
func (s *Server) apply(entries []zab.Entry) {
	for i := range entries {
		readWaits, err := s.applyOne(&entries[i])
		if err != nil {
			s.fail(err)
			return
		}
		if readWaits {
			s.publish()
		}
	}
	if len(entries) > 0 {
		s.stats.commits.Add(int64(len(entries)))
		if s.lead == nil {
			s.stats.learnerCommits.Add(int64(len(entries)))
		}
		s.publish()
		s.afterApplying()
	}
}

func (s *Server) applyOne(e *zab.Entry) (readWaits bool, err error) {
	env, txn, err := cutEnvelope(e.Data)
	if err == nil {
		err = tree.DecodeTxn(txn, &s.txn)
	}
	if err != nil {
		return false, fmt.Errorf("zk: entry %v cannot be applied: %w", e.Zxid, err)
	}
	s.compareDigest(&env)
	if len(s.held) > 0 {
		s.releaseReplies()
	}
	t := s.tree.Load()
	t.Apply(int64(e.Zxid), &s.txn, &s.res)
	s.noteDigest(e.Zxid, t.Digest())
	s.appliedSince++
	s.appliedBytes += len(e.Data)
	s.applied = e.Zxid
	s.batch.zxid = e.Zxid
	s.batch.events = append(s.batch.events, s.res.Events...)
	s.followSessions(&env)
	s.warnOfQuota()
	if env.Origin == zab.ServerID(s.cfg.ID) {
		return s.answer(&env, e.Zxid), nil
	}
	return false, nil
}

// followSessions keeps the leader's table, and notes which clients to cut off.
func (s *Server) followSessions(env *envelope) {
	if s.res.Err != jute.CodeOK {
		return
	}
	switch s.txn.Kind {
	case tree.KindCreateSession:
		if s.lead != nil {
			s.lead.addSession(s.txn.Session, s.txn.Timeout, env.Origin, s.now())
		}
	case tree.KindAttachSession:
		if env.Origin != zab.ServerID(s.cfg.ID) {
			s.batch.moved = append(s.batch.moved, s.txn.Session)
		}
		if s.lead != nil {
			s.lead.moveSession(s.applied, s.txn.Session, s.txn.Timeout, env.Origin, s.now())
		}
	case tree.KindCloseSession:
		if s.lead != nil {
			s.lead.removeSession(s.txn.Session)
		}
		s.batch.closed = append(s.batch.closed, s.txn.Session)
	}
}

// answer hands an outcome to the request of this server that waits for it.
func (s *Server) answer(env *envelope, z zab.Zxid) (readWaits bool) {
	r := s.requests[env.Seq]
	if r == nil {
		return false
	}
	delete(s.requests, env.Seq)
	if r.done != nil {
		s.batch.done = append(s.batch.done, completion{done: r.done, outcome: outcome{code: s.res.Err, zxid: z}})
		return false
	}
	if r.op.op == jute.OpReconfig && s.res.Err == jute.CodeOK {
		s.holdReply(r, z)
		return false
	}
	from := len(s.batch.frames)
	s.batch.frames = appendWriteReply(s.batch.frames, r.op, z, &s.res)
	s.batch.done = append(s.batch.done, completion{conn: r.conn, op: r.op, from: from, to: len(s.batch.frames)})
	return r.conn.readWaitsBehind(r.op)
}

// publish lets readers see the batch, tells watchers, then answers writers: an
// event is in its connection's queue before any reply that shows the change.
func (s *Server) publish() {
	b := &s.batch
	if b.zxid == 0 {
		return
	}
	s.pub.Lock()
	s.tree.Load().Publish(int64(b.zxid))
	for i := range b.events {
		s.notify(&b.events[i])
	}
	s.pub.Unlock()
	var now time.Duration
	if len(b.done) > 0 {
		now = time.Since(s.started)
	}
	for i := range b.done {
		c := &b.done[i]
		if c.done != nil {
			c.done(c.outcome)
			continue
		}
		c.conn.complete(c.op, b.frames[c.from:c.to], now)
	}
	b.flush()
	for _, session := range b.closed {
		s.endSession(session, errSessionClosed)
	}
	for _, session := range b.moved {
		s.endSession(session, errSessionMoved)
	}
	b.reset()
}

// flush sends clients what the batch has for them.
func (b *batch) flush() {
	few := len(b.done)+len(b.told) <= fewAtATime
	for i := range b.done {
		if c := b.done[i].conn; c != nil {
			c.flush(few)
		}
	}
	for _, c := range b.told {
		c.flush(few)
	}
}

// notify queues an event at every connection that watches for it and may read
// the znode. The caller holds pub.
func (s *Server) notify(e *tree.Event) {
	s.watchers = s.watches.Trigger(s.watchers[:0], e.Type, e.Path)
	s.stats.triggered(e.Type, len(s.watchers))
	for _, id := range s.watchers {
		c := s.clients[id]
		if c == nil || e.ACL != nil && !s.cfg.SkipACL && !s.tree.Load().Allowed(e.ACL, jute.PermRead, c.identity()) {
			continue
		}
		c.notify(e)
		s.batch.told = append(s.batch.told, c)
	}
}

// afterApplying does what waits for a zxid to be applied.
func (s *Server) afterApplying() {
	s.answerSyncs()
	s.passFence()
	s.checkServing()
	s.retryBacklog()
	if len(s.polled) > 0 {
		s.answerPolls()
	}
}

// goLive puts a leader's snapshot in the place of this server's tree. What
// clients here have watched and asked for may lie between the two, so they start over.
func (s *Server) goLive(t *tree.Tree) {
	s.pub.Lock()
	s.tree.Store(t)
	s.applied = zab.Zxid(t.Applied())
	clear(s.digests[:])
	s.noteDigest(s.applied, t.Digest())
	s.poll = poll{} // it was about the tree that is no more
	conns := s.clientList(nil)
	s.pub.Unlock()
	for _, c := range conns {
		c.close(errTreeReplaced)
	}
	for seq, r := range s.requests {
		delete(s.requests, seq)
		if r.done != nil {
			r.done(outcome{code: jute.CodeConnectionLoss})
		}
	}
	s.syncs = s.syncs[:0]
	clear(s.held)
	s.held = s.held[:0]
}
