package zk

import (
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/session"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// secretProperty is the key that session passwords are made with. The first
// leader draws it; it lives in the replicated state, so that every server can
// check every password.
const (
	secretProperty = "session-secret"
	secretBytes    = 32
)

// leadership is what an established leader knows beside the history. It ends
// with the epoch.
type leadership struct {
	sessions *session.Table
	owners   map[int64]zab.ServerID // the server that a session is attached to, by the newest entry proposed
	history  zab.Zxid               // the last entry of earlier epochs
	origins  map[zab.ServerID]*origin
	barriers map[uint64]admitted // by token
	token    uint64
	backlog  []admitted // waits for room in the protocol's queue
	lastTime int64      // ms, of the newest entry
	secret   bool       // proposed
}

// origin is one server's channel of work, see fence.
type origin struct{ nonce, next uint64 }

// admitted is a piece of work that was accepted from a server.
type admitted struct {
	from zab.ServerID
	work *peerWork
}

// becomeLeader starts a leadership: every session gets its whole timeout anew.
func (s *Server) becomeLeader() {
	s.lead = &leadership{
		sessions: session.New(session.Config{
			TickMillis:       s.cfg.TickTime.Milliseconds(),
			MinTimeoutMillis: int32(s.cfg.MinSessionTimeout.Milliseconds()),
			MaxTimeoutMillis: int32(s.cfg.MaxSessionTimeout.Milliseconds()),
		}),
		owners:   make(map[int64]zab.ServerID),
		origins:  make(map[zab.ServerID]*origin),
		barriers: make(map[uint64]admitted),
		history:  s.peer.Status().LastZxid,
	}
	now := s.now()
	for _, e := range s.tree.Load().Sessions(nil) {
		s.lead.sessions.Add(e.ID, e.Timeout, now)
		if e.Owner != 0 {
			s.lead.owners[e.ID] = zab.ServerID(e.Owner)
		}
	}
	s.ensureMembership()
	s.ensureSecret()
	s.resubmit()
	s.checkServing()
	s.offerSnapshots()
}

// now is the clock of sessions, in ms. It moves with the loop's ticks: a server that
// stood still for a while takes nobody for silent whom it could not hear.
func (s *Server) now() int64 { return time.Duration(s.sessionClock.Load()).Milliseconds() }

// advanceClock moves it to now, a time since started, but by one TickTime at most.
func (s *Server) advanceClock(now time.Duration) {
	s.sessionClock.Add(int64(min(now-s.tickedAt, s.cfg.TickTime)))
	s.tickedAt = now
}

func (s *Server) ensureSecret() {
	if s.tree.Load().Property(secretProperty) != nil || s.lead.secret {
		return
	}
	s.lead.secret = true
	s.proposeInternal(&tree.Txn{Kind: tree.KindSetProperty, Features: tree.FeatureInternal, Name: secretProperty, Value: s.randomBytes(secretBytes)})
}

func (s *Server) proposeInternal(txn *tree.Txn) {
	s.admit(zab.ServerID(s.cfg.ID), &peerWork{Kind: workWrite, Data: tree.AppendTxn(nil, txn)})
}

func (l *leadership) addSession(id int64, timeout int32, owner zab.ServerID, now int64) {
	l.sessions.Add(id, timeout, now)
	if _, moved := l.owners[id]; !moved {
		l.owners[id] = owner
	}
}

// moveSession hears of an applied move. Those of this epoch count already.
func (l *leadership) moveSession(z zab.Zxid, id int64, timeout int32, owner zab.ServerID, now int64) {
	l.sessions.Add(id, timeout, now)
	if z <= l.history {
		l.owners[id] = owner
	}
}

func (l *leadership) removeSession(id int64) {
	l.sessions.Remove(id)
	delete(l.owners, id)
}

// onWork takes work of another server, if it is next in its channel.
func (l *leadership) onWork(s *Server, from zab.ServerID, w *peerWork) {
	if w.Kind == workFence {
		l.origins[from] = &origin{nonce: w.Nonce, next: 1}
		s.sendWork(from, &peerWork{Kind: workFenced, Nonce: w.Nonce, Zxid: s.peer.Status().LastZxid})
		return
	}
	o := l.origins[from]
	if o == nil || o.nonce != w.Nonce || o.next != w.Index {
		return // of the past, or behind a loss that its sender will learn of
	}
	o.next++
	if w.Kind == workTouch { // who lives does not wait behind writes
		l.touch(w.Sessions, s.now())
		return
	}
	s.admit(from, w)
}

func (l *leadership) touch(sessions []int64, now int64) {
	for _, id := range sessions {
		l.sessions.Touch(id, now)
	}
}

// admit does what a leader is asked to, in the order in which it was asked.
func (s *Server) admit(from zab.ServerID, w *peerWork) {
	if len(s.lead.backlog) > 0 || !s.tryAdmit(from, w) {
		s.lead.backlog = append(s.lead.backlog, admitted{from, w})
	}
}

// retryBacklog goes on with what had to wait, unless its channel has ended.
func (s *Server) retryBacklog() {
	if s.lead == nil || len(s.lead.backlog) == 0 {
		return
	}
	done := 0
	for _, a := range s.lead.backlog {
		if s.lead.isCurrent(a) && !s.tryAdmit(a.from, a.work) {
			break
		}
		done++
	}
	s.lead.backlog = slices.Delete(s.lead.backlog, 0, done)
}

func (l *leadership) isCurrent(a admitted) bool {
	o := l.origins[a.from]
	return a.work.Nonce == 0 || o != nil && o.nonce == a.work.Nonce
}

// tryAdmit returns false if the protocol's queue is full, or this server has to
// apply more before it can answer.
func (s *Server) tryAdmit(from zab.ServerID, w *peerWork) bool {
	switch w.Kind {
	case workWrite:
		return s.admitWrite(from, w)
	case workReconfig:
		return s.admitReconfig(from, w)
	case workSync:
		s.lead.token++
		s.lead.barriers[s.lead.token] = admitted{from, w}
		if err := s.peer.Barrier(s.lead.token); err != nil {
			delete(s.lead.barriers, s.lead.token) // no leader any more: asked again of the next one
		}
	}
	return true
}

// admitSession says whether a server may do this for a session now. Only the
// server that its client is attached to writes for it. A session moves when the
// entry that says so is proposed, so that nothing of the server that it left comes
// after it; whoever leads next finds the move in the history. A session that is
// not known here may be one that this leader has not applied yet: the entry finds out.
func (l *leadership) admitSession(from zab.ServerID, txn *tree.Txn, now int64) jute.Code {
	switch owner, known := l.owners[txn.Session]; {
	case txn.Kind == tree.KindAttachSession:
		l.owners[txn.Session] = from
	case txn.Kind == tree.KindCreateSession:
		return jute.CodeOK
	case known && owner != from:
		return jute.CodeSessionMoved
	}
	l.sessions.Touch(txn.Session, now)
	return jute.CodeOK
}

// admitWrite resolves what the entry must not depend on (R5), and proposes it.
func (s *Server) admitWrite(from zab.ServerID, w *peerWork) bool {
	if s.applied < s.lead.history {
		return false // where sessions have moved to is not all known yet
	}
	if err := tree.DecodeTxn(w.Data, &s.admitting); err != nil {
		s.log.Error("undecodable transaction", "from", from, "err", err)
		s.reply(from, w, peerWork{Kind: workRejected, Code: jute.CodeMarshallingError})
		return true
	}
	txn := &s.admitting
	if txn.Session != 0 && w.Seq != 0 {
		if code := s.lead.admitSession(from, txn, s.now()); code != jute.CodeOK {
			s.reply(from, w, peerWork{Kind: workRejected, Code: code})
			return true
		}
	}
	txn.Time = s.leaderTime()
	txn.Features = txn.Features&^leaderFeatures | s.cfg.features()
	data := make([]byte, 0, envelopeBytes+len(w.Data)+16)
	data = appendEnvelope(data, envelope{
		Origin: from, Seq: w.Seq, DigestZxid: s.applied, Digest: s.tree.Load().Digest(),
	})
	data = tree.AppendTxn(data, txn)
	_, err := s.peer.Propose(data)
	if err == nil {
		s.stats.proposed(len(data))
	}
	return !mustWait(err)
}

// onBarrier answers a sync: this server led when it was asked.
func (s *Server) onBarrier(b zab.Barrier) {
	if s.lead == nil {
		return
	}
	a, ok := s.lead.barriers[b.Token]
	if !ok {
		return
	}
	delete(s.lead.barriers, b.Token)
	s.reply(a.from, a.work, peerWork{Kind: workSynced, Zxid: b.Zxid})
}

// reply sends an answer to the server that asked, which may be this one.
func (s *Server) reply(to zab.ServerID, asked *peerWork, answer peerWork) {
	answer.Seq, answer.Nonce = asked.Seq, asked.Nonce
	if to == zab.ServerID(s.cfg.ID) {
		s.onAnswer(&answer)
		return
	}
	if s.lead.isCurrent(admitted{to, asked}) {
		s.sendWork(to, &answer)
	}
}

func (s *Server) sendWork(to zab.ServerID, w *peerWork) {
	if l := s.link(to); l != nil {
		l.sendWork(w)
	}
}

// touchSessions tells the leader which clients of this server were heard of.
func (s *Server) touchSessions() {
	if s.lead == nil && !s.fence.passed {
		return // nobody to tell; it is kept until there is
	}
	s.pub.RLock()
	s.touched = s.touched[:0]
	for _, c := range s.clients {
		if c.heard.Swap(false) {
			s.touched = append(s.touched, c.session)
		}
	}
	s.pub.RUnlock()
	switch {
	case len(s.touched) == 0:
	case s.lead != nil:
		s.lead.touch(s.touched, s.now())
	case s.fence.passed:
		s.sendToLeader(&peerWork{Kind: workTouch, Sessions: s.touched})
	}
}

// expireSessions proposes the end of sessions that nobody has heard of. They
// end when that is committed, not before (E4).
func (s *Server) expireSessions() {
	if s.lead == nil {
		return
	}
	s.expired = s.lead.sessions.Expired(s.now(), s.expired[:0])
	for _, id := range s.expired {
		s.stats.expired.Add(1)
		s.log.Info("session expired", "session", sessionID(id))
		s.proposeInternal(&tree.Txn{Kind: tree.KindCloseSession, Session: id})
	}
}
