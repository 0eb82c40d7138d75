package zab

import "github.com/vivarium-go/vivarium/internal/invariant"

// tailsMax bounds the epochs that ACKEPOCH speaks of; a log with more of them may need SNAP where DIFF would do.
const tailsMax = 128

// heldMax bounds the messages kept while an acceptedEpoch's completion is on its way; what exceeds it is lost,
// which is harmless.
const heldMax = 1024

// synchronize brings a learner in learnerAcked to this server's history: by DIFF or TRUNC if the end of their
// common prefix is in the window, else by SNAP.
func (p *Peer) synchronize(i int) {
	l := &p.ld.learners[i]
	z, ok := p.win.common(l.base, l.tails)
	switch {
	case !ok && p.cfg.LogHistory:
		l.phase = learnerLog
		p.history = append(p.history, HistoryWanted{
			To: p.others[i].id, Session: l.session, Base: l.base, Tails: l.tails, UpTo: p.win.base,
		})
		return
	case !ok:
		p.wantSnapshot(i)
		return
	}
	p.sendDiff(i, z)
	p.sendHistory(i, p.win.pos(z))
}

func (p *Peer) wantSnapshot(i int) {
	l := &p.ld.learners[i]
	l.phase, l.truncate = learnerSnap, p.win.base
	p.wanted = append(p.wanted, SnapshotWanted{To: p.others[i].id, Session: l.session})
}

// sendDiff tells a learner which of its log remains: all up to z.
func (p *Peer) sendDiff(i int, z Zxid) {
	l := &p.ld.learners[i]
	m := Message{Type: MsgDiff, To: p.others[i].id, Session: l.session, Epoch: p.ld.epoch, Zxid: z}
	last := l.base
	if n := len(l.tails); n > 0 {
		last = l.tails[n-1]
	}
	if z != last {
		m.Type = MsgTrunc
	}
	p.send(m)
}

// HistoryRead answers Ready.HistoryWanted with the entries behind from, up to the wanted zxid at least; the peer keeps
// the slice. Without entries, or if they do not reach the window any more, the learner gets SNAP. What lies below the
// window is committed, so it does not matter when it was read.
func (p *Peer) HistoryRead(to ServerID, session uint64, from Zxid, entries []Entry) {
	i := p.index(to)
	if p.state != Leading || i < 0 {
		return
	}
	l := &p.ld.learners[i]
	if l.phase != learnerLog || l.session != session {
		return
	}
	base, last, n := p.win.base, from, 0
	for n < len(entries) && entries[n].Zxid <= base && follows(last, entries[n].Zxid) {
		last = entries[n].Zxid
		n++
	}
	if last != base {
		p.wantSnapshot(i)
		return
	}
	l.heard = p.now
	p.sendDiff(i, from)
	w := window{base: from, entries: entries[:n:n]}
	for pos := uint64(0); pos < w.end(); {
		next := w.batch(pos, w.end(), p.cfg.BatchEntriesMax, p.cfg.BatchBytesMax)
		p.send(Message{
			Type: MsgProposal, To: to, Session: session, Epoch: p.ld.epoch, Prev: w.zxid(pos), Entries: w.slice(pos, next),
		})
		pos = next
	}
	p.sendHistory(i, p.win.start)
}

// SnapshotTaken answers Ready.SnapshotsWanted with a snapshot of what was handed out as committed so far, or
// less; a nil snapshot says that none can be had and ends the learner's session. An answer for a session that is
// no more is ignored. The leader's shell may release the snapshot when it has sent the MsgSnap that bears it or,
// if none comes out of the next Ready, at once.
func (p *Peer) SnapshotTaken(to ServerID, session uint64, snap Snapshot) {
	i := p.index(to)
	if p.state != Leading || i < 0 {
		return
	}
	l := &p.ld.learners[i]
	if l.phase != learnerSnap || l.session != session {
		return
	}
	if snap == nil {
		l.phase = learnerGone
		p.send(Message{Type: MsgReset, To: to, Session: session})
		return
	}
	z := snap.Zxid()
	invariant.Check(z <= p.win.zxid(p.delivered), "snapshot of %v, but only %v was handed out", z, p.win.zxid(p.delivered))
	if z < p.win.base { // the window has moved on
		p.wanted = append(p.wanted, SnapshotWanted{To: to, Session: session})
		return
	}
	l.heard = p.now
	p.send(Message{
		Type: MsgSnap, To: to, Session: session, Epoch: p.ld.epoch, Zxid: z, Prev: min(l.truncate, z), Snapshot: snap,
	})
	p.sendHistory(i, p.win.pos(z))
}

// sendHistory sends all entries after position from and NEWLEADER; later proposals follow through flush.
func (p *Peer) sendHistory(i int, from uint64) {
	l := &p.ld.learners[i]
	end := p.win.end()
	l.sent = from
	p.sendProposals(i, end)
	l.phase, l.synced, l.tails = learnerSyncing, end, nil
	p.send(Message{
		Type: MsgNewLeader, To: p.others[i].id, Session: l.session, Epoch: p.ld.epoch, Zxid: p.win.zxid(end),
	})
}

// sendProposals sends the entries after l.sent up to position to.
func (p *Peer) sendProposals(i int, to uint64) {
	l := &p.ld.learners[i]
	var commit Zxid
	for l.sent < to {
		if p.established {
			commit, l.commit = p.win.zxid(p.committed), p.committed
		}
		next := p.win.batch(l.sent, to, p.cfg.BatchEntriesMax, p.cfg.BatchBytesMax)
		p.send(Message{
			Type: MsgProposal, To: p.others[i].id, Session: l.session, Epoch: p.ld.epoch,
			Prev: p.win.zxid(l.sent), Commit: commit, Entries: p.win.slice(l.sent, next),
		})
		l.sent = next
	}
}
