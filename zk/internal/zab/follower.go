package zab

import "fmt"

// followerPhase is how far a follower has come with its leader.
type followerPhase uint8

const (
	followerDrain     followerPhase = iota // waits for a write of an earlier session
	followerDiscovery                      // FOLLOWERINFO sent
	followerAccepting                      // acceptedEpoch is being written
	followerSync                           // ACKEPOCH sent
	followerHistory                        // DIFF, TRUNC or SNAP seen
	followerNewLeader                      // NEWLEADER seen
	followerActive                         // UPTODATE seen
)

// following is a follower's session.
type following struct {
	session  uint64
	phase    followerPhase
	epoch    uint32
	heard    uint64 // tick of the last message from the leader
	progress uint64 // tick of the last progress towards followerActive
	resend   uint64 // tick at which the last handshake message is sent again

	newLeader uint64 // followerNewLeader: position up to which NEWLEADER wants the history durable
	acked     bool   // the ACK of NEWLEADER is in p.msgs or p.afterSync, or has left
	upToDate  bool   // UPTODATE overtook the completion of the write that was acknowledged
	commit    Zxid   // greatest the leader spoke of
	held      []Message
}

// follow joins a leader. No write is outstanding.
func (p *Peer) follow(leader ServerID) {
	p.state, p.leader, p.established = Following, leader, false
	p.fl = following{progress: p.now, heard: p.now}
	p.openSession()
}

// openSession begins the handshake with p.leader under a fresh nonce.
func (p *Peer) openSession() {
	p.fl = following{
		session: p.cfg.Rand.Uint64() | 1, phase: followerDiscovery, heard: p.now, progress: p.fl.progress,
	}
	p.sendFollowerInfo()
}

func (p *Peer) sendFollowerInfo() {
	var flags Flags
	if p.epochs.Voter {
		flags = FlagVoter
	}
	p.fl.resend = p.now + uint64(p.cfg.ResendTicks)
	p.send(Message{
		Type: MsgFollowerInfo, To: p.leader, Session: p.fl.session, Epoch: p.epochs.Accepted, Round: p.el.round, Flags: flags,
	})
}

// resync gives up the session, in which something was lost, and opens another with the same leader.
func (p *Peer) resync() {
	p.leave()
	p.established = false
	progress := p.fl.progress
	if p.fl.phase == followerActive {
		progress = p.now
	}
	p.fl = following{progress: progress, heard: p.now}
	p.whenDrained(drainedJoin)
}

func (p *Peer) tickFollowing() {
	silent := p.now - p.fl.heard
	if silent > uint64(p.cfg.SyncLimitTicks) {
		p.look()
		return
	}
	if p.fl.phase == followerActive {
		if silent > uint64(p.cfg.PingTicks) && silent%uint64(p.cfg.ResendTicks) == 0 {
			p.pong(0) // a leader that has lost the session says so
		}
		return
	}
	if p.now-p.fl.progress > uint64(p.cfg.InitLimitTicks) {
		p.look()
		return
	}
	if p.now < p.fl.resend {
		return
	}
	switch p.fl.phase {
	case followerDiscovery:
		p.sendFollowerInfo()
	case followerSync:
		p.fl.resend = p.now + uint64(p.cfg.ResendTicks)
		p.send(p.ackEpoch())
	}
}

// followingHears handles a notification while following: whoever looks is told who leads, and a leader that does not
// lead is left.
func (p *Peer) followingHears(m Message) {
	if m.From == p.leader {
		lost := m.State == Following ||
			m.State == Looking && (p.fl.phase > followerDiscovery || m.Round != p.el.round || m.Vote.Leader != p.leader)
		if lost {
			p.look()
			return
		}
		p.fl.heard = p.now
	}
	if m.State == Looking {
		p.notify(m.From, 0)
	}
}

// stepLeader handles what a leader sends to its learner.
func (p *Peer) stepLeader(m Message) {
	if p.state != Following || m.From != p.leader || m.Session != p.fl.session || p.fl.phase == followerDrain {
		return
	}
	p.fl.heard = p.now
	if m.Type != MsgLeaderInfo && m.Type != MsgReset && m.Epoch != p.fl.epoch {
		return
	}
	if p.fl.phase == followerAccepting && m.Type != MsgReset && m.Type != MsgLeaderInfo {
		// The acknowledgement left with the write; its completion has not been reported here yet.
		if len(p.fl.held) < heldMax {
			p.fl.held = append(p.fl.held, m)
		}
		return
	}
	switch m.Type {
	case MsgLeaderInfo:
		p.onLeaderInfo(m)
	case MsgDiff, MsgTrunc, MsgSnap:
		if p.fl.phase == followerSync {
			p.onSync(m)
		}
	case MsgProposal:
		p.onProposal(m)
	case MsgNewLeader:
		p.onNewLeader(m)
	case MsgUpToDate:
		p.onUpToDate(m)
	case MsgCommit:
		p.onCommit(m.Commit)
	case MsgPing:
		p.onPing(m)
	case MsgReset:
		p.resync()
	}
}

func (p *Peer) onLeaderInfo(m Message) {
	if p.fl.phase != followerDiscovery {
		return
	}
	if m.Epoch < p.epochs.Accepted || m.Epoch == 0 {
		p.look()
		return
	}
	p.fl.epoch, p.fl.progress = m.Epoch, p.now
	p.fl.resend = p.now + uint64(p.cfg.ResendTicks)
	if m.Epoch == p.epochs.Accepted {
		p.fl.phase = followerSync
		p.send(p.ackEpoch())
		return
	}
	p.fl.phase = followerAccepting
	p.acceptedFrom = p.leader
	e := p.epochs
	e.Accepted = m.Epoch
	p.issue(Write{Kind: WriteAcceptedEpoch, Epochs: e}, p.ackEpoch())
}

// ackEpoch describes the durable log, which is all of the window as nothing is outstanding.
func (p *Peer) ackEpoch() Message {
	var flags Flags
	if p.acceptedFrom == p.leader {
		flags = FlagPromise
	}
	return Message{
		Type: MsgAckEpoch, To: p.leader, Session: p.fl.session, Epoch: p.fl.epoch, Flags: flags,
		Vote: Vote{Epoch: p.epochs.Current, Zxid: p.win.zxid(p.durable), Leader: p.cfg.ID},
		Prev: p.win.base, Tails: p.win.tails(),
	}
}

// onSync handles the leader's decision how to bring this server's log to its own.
func (p *Peer) onSync(m Message) {
	switch m.Type {
	case MsgDiff:
		if m.Zxid != p.win.last() {
			p.look()
			return
		}
	case MsgTrunc:
		pos := p.win.pos(m.Zxid)
		if m.Zxid < p.win.zxid(p.committed) {
			p.fail(fmt.Errorf("%w: TRUNC to %v, committed %v", ErrDiverged, m.Zxid, p.win.zxid(p.committed)))
			return
		}
		if p.win.zxid(pos) != m.Zxid {
			p.look()
			return
		}
		if pos < p.win.end() {
			p.issued, p.durable, p.committed = pos, pos, min(p.committed, pos)
			p.cut(pos)
			p.issue(Write{Kind: WriteTruncate, Truncate: m.Zxid})
		}
	case MsgSnap:
		if m.Snapshot == nil || m.Snapshot.Zxid() != m.Zxid || m.Zxid < m.Prev || m.Zxid.Epoch() > p.fl.epoch {
			p.look()
			return
		}
		if m.Zxid < p.win.zxid(p.committed) {
			p.fail(fmt.Errorf("%w: SNAP of %v, committed %v", ErrDiverged, m.Zxid, p.win.zxid(p.committed)))
			return
		}
		p.win.reset(m.Zxid)
		pos := p.win.start
		p.issued, p.durable, p.committed, p.delivered = pos, pos, pos, pos
		p.rebase(m.Snapshot.Membership())
		p.issue(Write{Kind: WriteSnapshot, Truncate: m.Prev, Snapshot: m.Snapshot})
	}
	p.fl.phase, p.fl.progress = followerHistory, p.now
}

func (p *Peer) onProposal(m Message) {
	if p.fl.phase < followerHistory || m.Prev > p.win.last() {
		p.resync() // something before it was lost
		return
	}
	es, last := m.Entries, p.win.last()
	for len(es) > 0 && es[0].Zxid <= last {
		es = es[1:] // known: a connection before this one delivered it
	}
	for i := range es {
		if z := es[i].Zxid; !follows(last, z) || z.Epoch() > p.fl.epoch {
			p.resync()
			return
		}
		last = es[i].Zxid
	}
	end := p.win.end()
	p.win.append(es...)
	p.noteConfigs(end, es)
	if p.fl.phase < followerActive {
		p.fl.progress = p.now
	}
	p.onCommit(m.Commit)
}

func (p *Peer) onNewLeader(m Message) {
	switch {
	case p.fl.phase > followerHistory:
		return
	case p.fl.phase < followerHistory || m.Zxid != p.win.last():
		p.resync()
		return
	}
	p.fl.phase, p.fl.newLeader, p.fl.progress = followerNewLeader, p.win.end(), p.now
}

func (p *Peer) onUpToDate(m Message) {
	if p.fl.phase != followerNewLeader || !p.fl.acked {
		return
	}
	p.fl.commit = max(p.fl.commit, m.Commit)
	if p.busy && p.write.Kind == WriteCurrentEpoch {
		p.fl.upToDate = true
		return
	}
	p.activate()
}

func (p *Peer) activate() {
	p.fl.phase, p.established = followerActive, true
	p.onCommit(p.fl.commit)
}

func (p *Peer) onCommit(z Zxid) {
	p.fl.commit = max(p.fl.commit, z)
	if p.fl.phase == followerActive {
		p.committed = max(p.committed, p.win.pos(p.fl.commit))
		if p.pending != 0 && p.committed >= p.pending {
			p.recount()
		}
	}
}

func (p *Peer) onPing(m Message) {
	sent, seen := m.Flags.has(FlagNewLeader), p.fl.phase >= followerNewLeader
	switch {
	case sent != seen, sent && m.Zxid > p.win.last():
		// Something was lost, or the leader has begun this session again because a copy of its first message came late.
		p.resync()
		return
	case m.Flags.has(FlagEstablished):
		p.onUpToDate(m)
	}
	p.onCommit(m.Commit)
	p.pong(m.Round)
}

func (p *Peer) pong(round uint64) {
	m := Message{Type: MsgPong, To: p.leader, Session: p.fl.session, Epoch: p.fl.epoch, Round: round}
	if p.fl.acked && p.epochs.Current == p.fl.epoch && p.epochs.Voter {
		m.Flags, m.Zxid = FlagSynced, p.win.zxid(p.durable)
	}
	p.send(m)
}

// followerPersisted goes on after a write of the present session.
func (p *Peer) followerPersisted(k WriteKind) {
	switch {
	case k == WriteAcceptedEpoch && p.fl.phase == followerAccepting:
		p.fl.phase = followerSync
		held, session := p.fl.held, p.fl.session
		p.fl.held = nil
		for _, m := range held {
			if p.state == Following && p.fl.session == session {
				p.stepLeader(m)
			}
		}
	case p.fl.upToDate && k == WriteCurrentEpoch:
		p.fl.upToDate = false
		p.activate()
	}
}

// pumpFollower issues the next write: history up to NEWLEADER, then the current epoch, then the rest. Nothing is
// acknowledged before the current epoch is.
func (p *Peer) pumpFollower() {
	ack := Message{Type: MsgAck, To: p.leader, Session: p.fl.session, Epoch: p.fl.epoch}
	if p.fl.phase == followerNewLeader && !p.fl.acked {
		if p.durable < p.fl.newLeader {
			p.issueEntries(p.fl.newLeader)
			return
		}
		p.fl.acked = true
		ack.Zxid = p.win.zxid(p.fl.newLeader)
		if p.epochs.Current != p.fl.epoch || !p.epochs.Voter {
			p.issue(Write{Kind: WriteCurrentEpoch, Epochs: Epochs{Accepted: p.fl.epoch, Current: p.fl.epoch, Voter: true}}, ack)
			return
		}
		p.send(ack)
	}
	if p.issued == p.win.end() {
		return
	}
	if !p.fl.acked {
		p.issueEntries(p.win.end())
		return
	}
	to := p.win.batch(p.issued, p.win.end(), p.cfg.BatchEntriesMax, p.cfg.BatchBytesMax)
	ack.Zxid = p.win.zxid(to)
	p.issueEntries(to, ack)
}
