package zab

// election is a looking server's view of the present round.
type election struct {
	round    uint64 // logical clock
	vote     Vote   // proposed; Leader 0 for a server that must not vote
	self     Vote   // what this server votes for by itself; Leader 0 if it must not lead
	own      Vote   // what it has, and may vote for nobody that has less; Leader 0 if it must not vote (R3)
	finalize uint64 // tick at which a quorum for vote is enough though others may still vote; 0: no quorum
	resend   uint64 // tick of the next notification
	// epochSeen is the greatest accepted epoch that anybody spoke of: the next leader's epoch is above it.
	epochSeen uint32
}

// ballot is what another server said in this round.
type ballot struct {
	known bool // it said something that makes waiting for its vote useless
	voted bool
	vote  Vote
}

// startElection opens a round: vote for oneself and ask everybody.
func (p *Peer) startElection() {
	p.el.round++
	p.el.self, p.el.own = Vote{}, Vote{}
	if p.epochs.Voter {
		p.el.own = Vote{Epoch: p.epochs.Current, Zxid: p.win.zxid(p.durable), Leader: p.cfg.ID}
	}
	if p.votes() {
		p.el.self = p.el.own
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
	p.send(Message{
		Type: MsgNotification, To: to, State: p.state, Flags: flags, Round: p.el.round, Epoch: epoch, Vote: p.el.vote,
		Commit: p.rules[0].m.Version,
	})
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
	if p.prove(m.Commit) && p.state == Looking && p.drained == drainedNothing {
		p.startElection() // by what is now known
		if p.state != Looking {
			p.notify(m.From, 0)
			return
		}
		c = &p.others[i]
	}
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

// prefers reports whether this server votes rather for v than for w. One that has no vote as far as it knows may be
// asked all the same, by a configuration that it has not heard of.
func (p *Peer) prefers(v, w Vote) bool { return v.Compare(w) > 0 && !p.el.own.ahead(v) }

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
		if p.prefers(m.Vote, v) {
			v = m.Vote
		}
		p.propose(v)
	case p.prefers(m.Vote, p.el.vote):
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
		if m.State == Following && p.index(m.Vote.Leader) < 0 && p.contact(m.Vote.Leader) >= 0 {
			p.notify(m.Vote.Leader, FlagAsk) // a leader from after this server's time
		}
		return
	}
	join := p.epochs.Voter && !p.el.own.ahead(m.Vote)
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
	waiting := false
	for i := range p.others {
		if c := &p.others[i]; !c.ballot.known && !c.unreachable && p.counts(i) {
			waiting = true
		}
	}
	elected := p.quorate(func(at int) bool {
		return at == self || p.others[at].ballot.voted && p.others[at].ballot.vote == p.el.vote
	})
	switch {
	case !elected:
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
