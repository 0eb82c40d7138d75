package zab

// election is a looking server's view of the present round.
type election struct {
	round    uint64 // logical clock
	vote     Vote   // proposed; Leader 0 for a server that must not vote
	self     Vote   // what this server votes for by itself
	finalize uint64 // tick at which a quorum for vote is enough though others may still vote; 0: no quorum
	resend   uint64 // tick of the next notification
	// epochSeen is the greatest accepted epoch that anybody spoke of: the next leader's epoch is above it.
	epochSeen uint32
}

// ballot is what another voter said in this round.
type ballot struct {
	known bool // it said something that makes waiting for its vote useless
	voted bool
	vote  Vote
}

// startElection opens a round: vote for oneself and ask everybody.
func (p *Peer) startElection() {
	p.el.round++
	p.el.self = Vote{}
	if p.epochs.Voter {
		p.el.self = Vote{Epoch: p.epochs.Current, Zxid: p.win.zxid(p.durable), Leader: p.cfg.ID}
	}
	p.propose(p.el.self)
	for i := range p.others {
		if c := &p.others[i]; c.held.Type != 0 {
			m := c.held
			c.held = Message{}
			p.stepNotification(c, i, m)
			if p.state != Looking {
				return
			}
		}
	}
	p.tally()
}

// propose sets the vote of a new round, forgets all ballots and tells everybody.
func (p *Peer) propose(v Vote) {
	p.el.vote, p.el.finalize = v, 0
	for i := range p.others {
		p.others[i].ballot = ballot{}
	}
	p.notifyAll(FlagAsk)
}

func (p *Peer) notifyAll(flags Flags) {
	p.el.resend = p.now + uint64(p.cfg.ResendTicks)
	for i := range p.others {
		p.notify(p.others[i].id, flags)
	}
}

// notify tells one server where this one stands.
func (p *Peer) notify(to ServerID, flags Flags) {
	if p.epochs.Voter {
		flags |= FlagVoter
	}
	if p.established {
		flags |= FlagEstablished
	}
	epoch := p.epochs.Accepted
	if p.state != Looking {
		epoch = p.roleEpoch()
	}
	p.send(Message{Type: MsgNotification, To: to, State: p.state, Flags: flags, Round: p.el.round, Epoch: epoch, Vote: p.el.vote})
}

func (p *Peer) tickLooking() {
	if p.drained != drainedNothing {
		return
	}
	if p.now >= p.el.resend {
		p.notifyAll(FlagAsk)
	}
	p.tally()
}

func (p *Peer) stepNotification(c *contact, i int, m Message) {
	if m.State == Looking {
		c.info.Type = 0
		p.el.epochSeen = max(p.el.epochSeen, min(m.Epoch, epochMax-1))
	}
	switch {
	case p.drained == drainedElect:
		c.held = m
	case p.state == Looking:
		if m.State == Looking {
			p.lookingHearsLooking(c, m)
		} else {
			p.lookingHearsOther(c, m)
		}
		if p.state == Looking {
			p.tally()
		}
	case p.state == Following:
		p.followingHears(m)
	case p.state == Leading:
		p.leadingHears(i, m)
	}
}

func (p *Peer) lookingHearsLooking(c *contact, m Message) {
	if !m.Flags.has(FlagVoter) || !p.epochs.Voter {
		c.ballot = ballot{known: true}
		if m.Flags.has(FlagAsk) {
			p.notify(m.From, 0)
		}
		return
	}
	switch {
	case m.Round < p.el.round:
		p.notify(m.From, 0)
		return
	case m.Round > p.el.round:
		p.el.round = m.Round
		v := p.el.self
		if m.Vote.Compare(v) > 0 {
			v = m.Vote
		}
		p.propose(v)
	case m.Vote.Compare(p.el.vote) > 0:
		p.el.vote, p.el.finalize = m.Vote, 0
		p.notifyAll(0)
	case m.Flags.has(FlagAsk):
		p.notify(m.From, 0)
	}
	c.ballot = ballot{known: true, voted: true, vote: m.Vote}
}

// lookingHearsOther handles the answer of a server that has a leader, or is one.
func (p *Peer) lookingHearsOther(c *contact, m Message) {
	c.ballot.known = true
	if m.Round == p.el.round && m.Flags.has(FlagVoter) {
		c.ballot = ballot{known: true, voted: true, vote: m.Vote}
	}
	if m.State != Leading {
		return
	}
	join := p.epochs.Voter && !p.el.self.ahead(m.Vote)
	if m.Flags.has(FlagEstablished) {
		join = m.Epoch >= p.epochs.Accepted
	}
	if join {
		p.el.round, p.el.vote = m.Round, m.Vote
		p.follow(m.From)
	}
}

// tally ends the election if a quorum votes as this server does, and nobody is left who might know better.
func (p *Peer) tally() {
	if p.state != Looking || p.el.vote.Leader == 0 {
		return
	}
	votes, waiting := 1, false
	for i := range p.others {
		c := &p.others[i]
		if c.ballot.voted && c.ballot.vote == p.el.vote {
			votes++
		}
		if !c.ballot.known && !c.unreachable {
			waiting = true
		}
	}
	switch {
	case votes < p.quorum:
		p.el.finalize = 0
		return
	case p.el.finalize == 0:
		p.el.finalize = p.now + uint64(p.cfg.FinalizeTicks)
	}
	if waiting && p.now < p.el.finalize {
		return
	}
	if p.el.vote.Leader == p.cfg.ID {
		p.lead()
	} else {
		p.follow(p.el.vote.Leader)
	}
}
