package zk

import (
	"cmp"
	"maps"
	"slices"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// submission is something that only the leader can decide: a write or a
// sync. It stays in the server's table until its
// outcome is known, through elections too: what is certain not to have been
// proposed is submitted again (R7).
type submission struct {
	kind    workKind // workWrite or workSync
	seq     uint64   // set by the loop
	session int64
	txn     []byte // workWrite, workReconfig

	conn *conn      // a client's write: op is in its queue
	op   *operation //
	done func(outcome)
}

// outcome is what became of a request with a done function, which is called
// once, on the loop's goroutine, and must not wait.
type outcome struct {
	code jute.Code
	zxid zab.Zxid
}

// fence is what a server learns from its leader before it submits anything.
//
// Requests that were sent to an earlier leader, or on an earlier connection,
// may be on their way still. The server picks a nonce; from its arrival on the
// leader drops what bears another, and answers with its last proposed zxid.
// What is not among the entries up to there was never proposed and never will be.
type fence struct {
	nonce  uint64
	index  uint64 // of the last work sent under nonce
	zxid   zab.Zxid
	fenced bool // zxid is known
	passed bool // and applied: the way to the leader is open
}

// onRequest takes a new submission, unless its connection has ended: its client
// may have gone on elsewhere in its session, and a write must not overtake that.
func (s *Server) onRequest(r *submission) {
	if r.conn != nil && r.conn.isClosed() {
		return
	}
	s.seq++
	r.seq = s.seq
	s.requests[r.seq] = r
	if s.lead != nil || s.fence.passed {
		s.submit(r)
	}
}

// submit sends a request to the leader, which may be this server.
func (s *Server) submit(r *submission) {
	w := &peerWork{Kind: r.kind, Seq: r.seq, Session: r.session, Data: r.txn}
	if s.lead != nil {
		s.admit(zab.ServerID(s.cfg.ID), w)
		return
	}
	s.sendToLeader(w)
}

// resubmit sends every request whose outcome is unknown, in their order, but
// for those whose client is gone.
func (s *Server) resubmit() {
	s.forgetClosed()
	for _, r := range slices.SortedFunc(maps.Values(s.requests), func(a, b *submission) int { return cmp.Compare(a.seq, b.seq) }) {
		s.submit(r)
	}
}

// forgetClosed drops requests whose connection has ended: nobody waits for what
// becomes of them, and without a leader they would pile up.
func (s *Server) forgetClosed() {
	maps.DeleteFunc(s.requests, func(_ uint64, r *submission) bool { return r.conn != nil && r.conn.isClosed() })
}

// openFence asks the leader just joined to forget this server's past.
func (s *Server) openFence() {
	s.fence = fence{nonce: s.rand.Uint64() | 1}
	s.sendToLeader(&peerWork{Kind: workFence})
}

func (s *Server) sendToLeader(w *peerWork) {
	l := s.link(s.role.Leader)
	if l == nil {
		return
	}
	w.Nonce, w.Index = s.fence.nonce, s.fence.index
	s.fence.index++
	l.sendWork(w)
}

// passFence opens the way once all that the fence knows of is applied.
func (s *Server) passFence() {
	if !s.fence.fenced || s.fence.passed || s.applied < s.fence.zxid {
		return
	}
	s.fence.passed = true
	s.resubmit()
	s.checkServing()
}

// onWork takes work of a peer: a leader's answers, or what a leader is asked.
func (s *Server) onWork(from zab.ServerID, w *peerWork) {
	switch w.Kind {
	case workFence, workWrite, workSync, workTouch, workReconfig:
		if s.lead != nil {
			s.lead.onWork(s, from, w)
		}
	case workPoll, workDigest, workNoDigest:
		s.onPollWork(from, w)
	default:
		if from == s.role.Leader && w.Nonce == s.fence.nonce && s.fence.nonce != 0 {
			s.onAnswer(w)
		}
	}
}

// onAnswer takes the leader's answer to work of this server.
func (s *Server) onAnswer(w *peerWork) {
	if w.Kind == workFenced {
		s.fence.fenced, s.fence.zxid = true, w.Zxid
		s.passFence()
		return
	}
	r := s.requests[w.Seq]
	if r == nil {
		return
	}
	switch w.Kind {
	case workRejected:
		s.finish(r, outcome{code: w.Code})
	case workSynced:
		s.syncs = append(s.syncs, pendingSync{submission: r, zxid: w.Zxid})
		s.answerSyncs()
	}
}

// finish ends a request that has no entry, once.
func (s *Server) finish(r *submission, o outcome) {
	if s.requests[r.seq] != r {
		return
	}
	delete(s.requests, r.seq)
	if r.done != nil {
		r.done(o)
		return
	}
	r.conn.reject(r.op, s.applied, o.code)
}

// pendingSync is a sync that is answered once zxid is applied here.
type pendingSync struct {
	submission *submission
	zxid       zab.Zxid
}

func (s *Server) answerSyncs() {
	s.syncs = slices.DeleteFunc(s.syncs, func(p pendingSync) bool {
		if p.zxid > s.applied {
			return false
		}
		s.finish(p.submission, outcome{zxid: s.applied})
		return true
	})
}
