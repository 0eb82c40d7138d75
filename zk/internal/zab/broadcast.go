package zab

// Propose appends data, which nobody writes to any more, to the history of an established leader and returns its
// zxid. It leaves with the next Ready, together with all that was proposed until then. That it is committed
// shows when Ready.Committed hands it out; if this peer stops leading first, the outcome is open. Errors:
// ErrNotLeader, ErrFull, ErrReconfig, ErrRollover.
func (p *Peer) Propose(data []byte) (Zxid, error) {
	if p.state != Leading || !p.established {
		return 0, ErrNotLeader
	}
	switch {
	case p.ld.draining:
		return 0, ErrRollover
	case p.pending != 0:
		return 0, ErrReconfig
	}
	if p.win.end()-p.committed >= uint64(p.cfg.InFlightEntriesMax) || p.ld.bytes >= p.cfg.InFlightBytesMax {
		return 0, ErrFull
	}
	p.ld.counter++
	p.ld.draining = p.ld.counter == p.cfg.CounterMax || p.leaver
	e := Entry{Zxid: MakeZxid(p.ld.epoch, p.ld.counter), Data: data}
	p.ld.bytes += len(data)
	p.win.append(e)
	return e.Zxid, nil
}

// Barrier asks an established leader to have its leadership confirmed by a quorum. Ready.Barriers answers with
// the token and the zxid committed when this was called, unless the leadership ends before. All barriers asked
// between two calls of Ready share one round of pings. It returns ErrNotLeader if there is nothing to confirm.
func (p *Peer) Barrier(token uint64) error {
	if p.state != Leading || !p.established {
		return ErrNotLeader
	}
	a := asked{token: token, round: p.askRound(), zxid: p.win.zxid(p.committed)}
	p.ld.asked = append(p.ld.asked, a)
	if p.alone {
		p.countPongs()
	}
	return nil
}

// askRound returns the round of a ping that has not left yet, and sees to it that it leaves with the next Ready.
func (p *Peer) askRound() uint64 {
	p.ld.ask = true
	return p.ld.round + 1
}

// ping asks all learners for a sign of life in a fresh round.
func (p *Peer) ping() {
	p.ld.ask = false
	p.ld.round++
	p.ld.pings = p.now + uint64(p.cfg.PingTicks)
	for i := range p.ld.learners {
		l := &p.ld.learners[i]
		if l.phase == learnerGone {
			continue
		}
		m := Message{Type: MsgPing, To: p.others[i].id, Session: l.session, Epoch: p.ld.epoch, Round: p.ld.round}
		if l.phase >= learnerSyncing {
			m.Flags, m.Zxid = FlagNewLeader, p.win.zxid(max(l.sent, p.win.start))
		}
		if l.phase == learnerSynced && p.established {
			m.Flags |= FlagEstablished
			m.Commit = p.win.zxid(p.committed)
			l.commit = p.committed
		}
		p.send(m)
	}
}

// countPongs answers the barriers and invites the learners that wait for a round which a quorum has now
// answered.
func (p *Peer) countPongs() {
	confirmed := p.rank(func(at int) uint64 {
		if at == self {
			return p.ld.round + 1 // alone, a leader confirms itself before it asks
		}
		if l := &p.ld.learners[at]; l.phase == learnerSynced {
			return l.pong
		}
		return 0
	})
	n := 0
	for n < len(p.ld.asked) && p.ld.asked[n].round <= confirmed {
		p.barriers = append(p.barriers, Barrier{Token: p.ld.asked[n].token, Zxid: p.ld.asked[n].zxid})
		n++
	}
	p.ld.asked = p.ld.asked[:copy(p.ld.asked, p.ld.asked[n:])]
	for i := range p.ld.learners {
		if l := &p.ld.learners[i]; l.phase == learnerWaiting && l.confirm != 0 && l.confirm <= confirmed {
			l.phase = learnerInvited
			p.sendLeaderInfo(i)
		}
	}
}

// onAck handles the word of a learner that all up to z is durable there; its first one acknowledges NEWLEADER.
func (p *Peer) onAck(i int, z Zxid) {
	l := &p.ld.learners[i]
	if l.phase < learnerSyncing || z > p.win.zxid(max(l.sent, p.win.start)) {
		return
	}
	if pos := p.win.pos(z); pos > l.acked {
		l.acked = pos
	}
	if l.phase == learnerSyncing {
		l.phase = learnerSynced
		if !p.established {
			p.ld.progress = p.now
			p.countSynced()
			return
		}
		p.advance()
		p.sendUpToDate(i)
		return
	}
	if l.acked > p.committed {
		p.advance()
	}
}

// advance commits what a quorum holds.
func (p *Peer) advance() {
	if !p.established {
		return
	}
	acked := func(at int) uint64 {
		if at == self {
			return p.durable
		}
		if l := &p.ld.learners[at]; l.phase == learnerSynced {
			return l.acked
		}
		return 0
	}
	to := p.rules[0].rank(acked)
	if p.pending != 0 && to >= p.pending && p.rules[1].rank(acked) < p.pending {
		to = p.pending - 1 // a configuration needs its own quorum, too
	}
	if to <= p.committed {
		return
	}
	for _, e := range p.win.slice(max(p.committed, p.ld.initial), max(to, p.ld.initial)) {
		p.ld.bytes -= len(e.Data)
	}
	p.committed = to
	if p.pending != 0 && to >= p.pending {
		p.recount()
	}
}

// flush sends what was proposed since the last Ready, and commits that no proposal carries.
func (p *Peer) flush() {
	if p.ld.ask {
		p.ping()
		if p.alone {
			p.countPongs()
		}
	}
	end := p.win.end()
	for i := range p.ld.learners {
		l := &p.ld.learners[i]
		if l.phase < learnerSyncing {
			continue
		}
		if l.sent < p.win.start {
			l.phase = learnerGone // what it lacks is no longer in memory
			p.send(Message{Type: MsgReset, To: p.others[i].id, Session: l.session})
			continue
		}
		if l.sent < end {
			p.sendProposals(i, min(end, max(l.acked, l.synced)+uint64(p.cfg.InFlightEntriesMax)))
		}
		if l.phase == learnerSynced && p.established && l.commit < p.committed {
			l.commit = p.committed
			p.send(Message{
				Type: MsgCommit, To: p.others[i].id, Session: l.session, Epoch: p.ld.epoch, Commit: p.win.zxid(p.committed),
			})
		}
	}
}

// NextZxid returns the zxid that an established leader's next proposal gets.
func (p *Peer) NextZxid() Zxid { return MakeZxid(p.ld.epoch, p.ld.counter+1) }
