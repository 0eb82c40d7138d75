package zab

import "math"

// epochMax is the last epoch there is: zxids are signed.
const epochMax = math.MaxInt32

// leaderPhase is how far a leader has come.
type leaderPhase uint8

const (
	leaderDiscovery   leaderPhase = iota // collects FOLLOWERINFO of a quorum
	leaderAccepting                      // its own acceptedEpoch is being written
	leaderPromising                      // collects ACKEPOCH of a quorum
	leaderSyncing                        // collects ACK of NEWLEADER of a quorum, its own being currentEpoch
	leaderEstablished                    // broadcasts
)

// learnerPhase is how far a leader has come with a learner.
type learnerPhase uint8

const (
	learnerGone    learnerPhase = iota // no session
	learnerWaiting                     // FOLLOWERINFO seen
	learnerInvited                     // LEADERINFO sent
	learnerAcked                       // ACKEPOCH seen
	learnerLog                         // waits for the shell's reading of the log
	learnerSnap                        // waits for the shell's snapshot
	learnerSyncing                     // NEWLEADER sent
	learnerSynced                      // NEWLEADER acknowledged: its acknowledgements count
)

// learner is a leader's view of one session.
type learner struct {
	session  uint64
	phase    learnerPhase
	voter    bool // R3
	promised bool
	accepted uint32
	base     Zxid   // start of its log
	tails    []Zxid // last zxid of each epoch of its log
	truncate Zxid   // learnerSnap: what MsgSnap removes first
	confirm  uint64 // not a voter: round that must be confirmed before it is invited; 0: not asked yet
	heard    uint64 // tick
	pong     uint64 // greatest round that it answered
	sent     uint64 // position up to which history was sent
	acked    uint64 // position up to which it is durable there, once synced
	synced   uint64 // position of its NEWLEADER
	commit   uint64 // position of the last commit it was told of
}

// leading is a leader's term.
type leading struct {
	phase    leaderPhase
	epoch    uint32
	vote     Vote   // what this server was elected with
	initial  uint64 // position of the end of the initial history
	counter  uint32 // of the last proposal
	draining bool   // counters are used up
	progress uint64 // tick of the last progress towards leaderEstablished
	contact  []uint64
	learners []learner // as Peer.others
	bytes    int       // proposed and not committed
	pings    uint64    // tick of the next ping
	round    uint64    // of the last ping
	ask      bool      // a barrier wants a ping of a fresh round
	asked    []asked
}

type asked struct {
	token uint64
	round uint64
	zxid  Zxid
}

func (l *leading) reset() {
	clear(l.learners)
	*l = leading{learners: l.learners, contact: l.contact[:0], asked: l.asked[:0]}
}

// lead begins a leadership. No write is outstanding.
func (p *Peer) lead() {
	p.ld.reset()
	p.state, p.leader, p.established = Leading, p.cfg.ID, false
	p.ld.vote, p.ld.initial, p.ld.progress = p.el.vote, p.win.end(), p.now
	p.ld.pings = p.now + uint64(p.cfg.PingTicks)
	for i := range p.others {
		if c := &p.others[i]; c.info.Type != 0 {
			m := c.info
			c.info = Message{}
			p.stepFollowerInfo(c, i, m)
			if p.state != Leading {
				return
			}
		}
	}
	p.chooseEpoch()
}

// stepFollowerInfo handles a learner's wish for a session.
func (p *Peer) stepFollowerInfo(c *contact, i int, m Message) {
	switch {
	case p.state == Looking:
		// The sender has elected this server, which may be about to find out.
		c.info = m
		if p.drained != drainedNothing {
			return
		}
		if m.Round == p.el.round && m.Flags.has(FlagVoter) && p.el.self.Leader != 0 {
			c.ballot = ballot{known: true, voted: true, vote: p.el.self}
			p.tally()
		}
		if p.state == Looking {
			p.notify(m.From, 0)
		}
		return
	case p.state != Leading:
		p.notify(m.From, 0)
		return
	}
	l := &p.ld.learners[i]
	if l.phase != learnerGone && l.session == m.Session {
		l.heard = p.now
		if l.phase == learnerInvited {
			p.sendLeaderInfo(i)
		}
		return
	}
	if m.Epoch >= epochMax {
		return // no epoch could follow
	}
	*l = learner{session: m.Session, phase: learnerWaiting, voter: m.Flags.has(FlagVoter), accepted: m.Epoch, heard: p.now}
	p.el.epochSeen = max(p.el.epochSeen, m.Epoch)
	switch {
	case p.ld.phase == leaderDiscovery:
		p.chooseEpoch()
	case m.Epoch > p.ld.epoch:
		p.look() // it can follow a later epoch only
	case p.ld.phase >= leaderPromising:
		p.invite(i)
	}
}

// chooseEpoch ends discovery once a quorum has said which epochs it accepted.
func (p *Peer) chooseEpoch() {
	if p.ld.phase != leaderDiscovery {
		return
	}
	e := max(p.epochs.Accepted, p.el.epochSeen)
	for i := range p.ld.learners {
		if l := &p.ld.learners[i]; l.phase == learnerWaiting {
			e = max(e, l.accepted)
		}
	}
	joined := p.quorate(func(at int) bool {
		return at == self || p.ld.learners[at].phase == learnerWaiting && p.ld.learners[at].voter
	})
	if !joined || e >= epochMax {
		return
	}
	p.ld.phase, p.ld.epoch, p.ld.progress = leaderAccepting, e+1, p.now
	p.acceptedFrom = p.cfg.ID
	p.issue(Write{Kind: WriteAcceptedEpoch, Epochs: Epochs{Accepted: e + 1, Current: p.epochs.Current, Voter: true}})
}

// invite goes on with a learner in learnerWaiting, once the epoch is this server's durable promise.
func (p *Peer) invite(i int) {
	l := &p.ld.learners[i]
	switch {
	case l.voter:
		l.phase = learnerInvited
		p.sendLeaderInfo(i)
	case p.ld.phase == leaderEstablished && l.confirm == 0:
		l.confirm = p.askRound()
	}
}

func (p *Peer) sendLeaderInfo(i int) {
	p.send(Message{Type: MsgLeaderInfo, To: p.others[i].id, Session: p.ld.learners[i].session, Epoch: p.ld.epoch})
}

func (p *Peer) leaderPersisted(k WriteKind) {
	switch {
	case k == WriteAcceptedEpoch && p.ld.phase == leaderAccepting:
		p.ld.phase, p.ld.progress = leaderPromising, p.now
		for i := range p.ld.learners {
			if p.ld.learners[i].phase == learnerWaiting {
				p.invite(i)
			}
		}
		p.countPromises()
	case k == WriteCurrentEpoch && p.ld.phase == leaderSyncing:
		p.countSynced()
	case k == WriteEntries:
		p.advance()
	}
}

// stepLearner handles what a learner sends to its leader.
func (p *Peer) stepLearner(i int, m Message) {
	switch {
	case p.state == Looking && p.drained != drainedNothing:
		return
	case p.state != Leading:
		p.notify(m.From, 0)
		return
	}
	l := &p.ld.learners[i]
	if l.phase == learnerGone || l.session != m.Session {
		p.send(Message{Type: MsgReset, To: m.From, Session: m.Session})
		return
	}
	if m.Epoch != p.ld.epoch {
		return
	}
	l.heard = p.now
	switch m.Type {
	case MsgAckEpoch:
		p.onAckEpoch(i, m)
	case MsgAck:
		p.onAck(i, m.Zxid)
	case MsgPong:
		if m.Flags.has(FlagSynced) {
			p.onAck(i, m.Zxid)
		}
		if p.state == Leading && l.phase == learnerSynced && m.Round > l.pong && m.Round <= p.ld.round {
			l.pong = m.Round
			p.countPongs()
		}
	}
}

func (p *Peer) onAckEpoch(i int, m Message) {
	l := &p.ld.learners[i]
	if l.phase != learnerInvited {
		return
	}
	if p.ld.phase < leaderEstablished && l.voter && p.counts(i) && m.Vote.Epoch != p.ld.epoch && m.Vote.ahead(p.ld.vote) {
		p.look() // it should lead instead
		return
	}
	l.phase, l.base, l.tails = learnerAcked, m.Prev, m.Tails
	l.promised = l.voter && m.Flags.has(FlagPromise)
	if p.ld.phase == leaderPromising {
		p.countPromises()
	} else {
		p.synchronize(i)
	}
}

// countPromises ends discovery for good once a quorum has promised the epoch: this server's history is now the epoch's.
func (p *Peer) countPromises() {
	promised := p.quorate(func(at int) bool {
		return at == self || p.ld.learners[at].phase == learnerAcked && p.ld.learners[at].promised
	})
	if !promised {
		return
	}
	p.ld.phase, p.ld.progress = leaderSyncing, p.now
	p.issue(Write{Kind: WriteCurrentEpoch, Epochs: Epochs{Accepted: p.ld.epoch, Current: p.ld.epoch, Voter: true}})
	for i := range p.ld.learners {
		if p.ld.learners[i].phase == learnerAcked {
			p.synchronize(i)
		}
	}
}

// countSynced establishes the leadership once a quorum, this server included, holds the initial history and the epoch.
func (p *Peer) countSynced() {
	if p.ld.phase != leaderSyncing || p.epochs.Current != p.ld.epoch {
		return
	}
	if !p.quorate(func(at int) bool { return at == self || p.ld.learners[at].phase == learnerSynced }) {
		return
	}
	p.ld.phase, p.established = leaderEstablished, true
	p.ld.contact = p.ld.contact[:0]
	for range p.others {
		p.ld.contact = append(p.ld.contact, p.now)
	}
	p.advance()
	for i := range p.ld.learners {
		switch p.ld.learners[i].phase {
		case learnerSynced:
			p.sendUpToDate(i)
		case learnerWaiting:
			p.invite(i)
		}
	}
}

func (p *Peer) sendUpToDate(i int) {
	l := &p.ld.learners[i]
	l.commit = p.committed
	p.send(Message{
		Type: MsgUpToDate, To: p.others[i].id, Session: l.session, Epoch: p.ld.epoch, Commit: p.win.zxid(p.committed),
	})
}

// leadingHears handles a notification while leading: whoever looks is told who leads.
func (p *Peer) leadingHears(i int, m Message) {
	if m.State != Looking {
		return
	}
	p.ld.learners[i].phase = learnerGone
	switch {
	case p.ld.phase < leaderEstablished && m.Flags.has(FlagVoter) && p.counts(i) && m.Vote.ahead(p.ld.vote) && m.Vote.Epoch != p.ld.epoch,
		p.ld.phase > leaderDiscovery && m.Epoch > p.ld.epoch:
		p.look()
	default:
		p.notify(m.From, 0)
	}
}

func (p *Peer) tickLeading() {
	established := p.ld.phase == leaderEstablished
	for i := range p.ld.learners {
		l := &p.ld.learners[i]
		limit := p.cfg.InitLimitTicks
		if l.phase == learnerSynced && established {
			limit = p.cfg.SyncLimitTicks
			p.ld.contact[i] = max(p.ld.contact[i], l.heard)
		}
		if l.phase != learnerGone && p.now-l.heard > uint64(limit) {
			l.phase = learnerGone
		}
	}
	switch {
	case !established && p.now-p.ld.progress > uint64(p.cfg.InitLimitTicks),
		established && p.now-p.quorumContact() > uint64(p.cfg.SyncLimitTicks),
		p.ld.draining && p.delivered == p.win.end():
		p.look()
		return
	}
	if p.now >= p.ld.pings {
		p.ping()
	}
}

// quorumContact returns the latest tick by which a quorum was heard from.
func (p *Peer) quorumContact() uint64 {
	return p.rank(func(at int) uint64 {
		if at == self {
			return p.now
		}
		return p.ld.contact[at]
	})
}
