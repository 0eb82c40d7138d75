package zab

import (
	"fmt"

	"github.com/vivarium-go/vivarium/internal/invariant"
)

// drained says what to do once no write is outstanding.
type drained uint8

const (
	drainedNothing drained = iota
	drainedElect
	drainedJoin
)

// contact is what a peer knows of another server.
type contact struct {
	id          ServerID
	unreachable bool // its connection broke or was refused, and nothing was heard since
	ballot      ballot
	held        Message // a notification that arrived before the election began here; Type 0 if none
	info        Message // a FOLLOWERINFO that arrived before this peer led; Type 0 if none
}

// Peer is one server's part in the protocol. It is a value in memory: it does no I/O and starts nothing. All
// methods must be called from one goroutine at a time.
type Peer struct {
	cfg    Config
	others []contact // every other server ever heard of; none is removed or moves

	configs      []configAt    // those of the history that may count
	rules        []*electorate // the active one and, if any, the pending one
	pending      uint64        // position of the pending one, 0 if none
	proven       Zxid          // version of a configuration that somebody knows to be committed
	alone        bool          // this server is a quorum
	leaver       bool          // this server has no vote
	reconfigured bool          // Ready has not said so yet
	reportedTo   Memberships   // what Ready said last
	members      Memberships   // storage for Ready.Memberships

	now    uint64 // ticks since New
	epochs Epochs // durable
	// acceptedFrom is the leader from which epochs.Accepted was accepted in this incarnation, 0 if another one
	// did.
	acceptedFrom ServerID

	win window
	// Positions in win. Invariants: delivered <= durable <= issued <= win.end(), committed <= win.end().
	issued    uint64 // handed to a write
	durable   uint64
	committed uint64 // in state Leading and Following: known to be committed
	delivered uint64 // handed out in Ready.Committed or covered by a snapshot

	write     Write // the outstanding write
	busy      bool  // a write is outstanding
	handed    bool  // Ready has returned it
	afterSync []Message
	lastWrite WriteID
	drained   drained

	state       State
	leader      ServerID
	established bool
	err         error
	reported    Role // what Ready last returned
	role        Role // storage for Ready.Role

	el election
	fl following
	ld leading

	msgs, msgsSpare         []Message
	barriers, barriersSpare []Barrier
	wanted, wantedSpare     []SnapshotWanted
	history, historySpare   []HistoryWanted
}

// New returns a looking peer with what its disk holds. Its first Ready asks the others for their votes, or,
// alone in its ensemble, makes it lead. Errors wrap ErrConfig or ErrRecovered.
func New(cfg Config, rec Recovered) (*Peer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := rec.validate(); err != nil {
		return nil, err
	}
	p := &Peer{
		cfg:    cfg,
		epochs: Epochs{Accepted: rec.AcceptedEpoch, Current: rec.CurrentEpoch, Voter: rec.HasEpochs || rec.Bootstrap},
		win:    window{base: rec.Snapshot, entries: rec.Entries[:len(rec.Entries):len(rec.Entries)]},
	}
	for _, e := range rec.Entries {
		p.win.bytes += len(e.Data)
	}
	for _, m := range cfg.Initial.Members {
		p.contact(m.ID) // members or not, they may know who is
	}
	p.issued, p.durable = p.win.end(), p.win.end()
	p.committed, p.delivered = p.win.start, p.win.start
	p.rebase(rec.Membership)
	p.noteConfigs(p.win.start, p.win.entries)
	p.reported = Role{State: Looking}
	p.startElection()
	return p, nil
}

// Tick tells the peer that one tick has passed.
func (p *Peer) Tick() {
	p.now++
	switch p.state {
	case Looking:
		p.tickLooking()
	case Following:
		p.tickFollowing()
	case Leading:
		p.tickLeading()
	}
}

// Step hands the peer a message that arrived. The peer keeps the message's slices and their data. Messages that
// make no sense, or no sense any more, are ignored.
func (p *Peer) Step(m Message) {
	if p.state == Failed || m.To != p.cfg.ID {
		return
	}
	i := p.contact(m.From)
	if i < 0 {
		return
	}
	c := &p.others[i]
	c.unreachable = false
	switch m.Type {
	case MsgNotification:
		p.stepNotification(c, i, m)
	case MsgFollowerInfo:
		p.stepFollowerInfo(c, i, m)
	case MsgAckEpoch, MsgAck, MsgPong:
		p.stepLearner(i, m)
	default:
		p.stepLeader(m)
	}
}

// Unreachable says that the connection with id broke or was refused. A follower leaves a leader that is
// unreachable at once; an election does not wait for the vote of a server that is. The mark ends with the next
// message from id.
func (p *Peer) Unreachable(id ServerID) {
	i := p.index(id)
	if p.state == Failed || i < 0 {
		return
	}
	c := &p.others[i]
	c.unreachable, c.held.Type, c.info.Type = true, 0, 0
	switch {
	case p.state == Following && p.leader == id:
		p.look()
	case p.state == Looking && p.drained == drainedNothing:
		if p.el.vote.Leader == id {
			p.startElection()
			return
		}
		p.tally()
	}
}

// Heard says that bytes of a long message (a snapshot) are still moving from or to id, which therefore lives and
// makes progress.
func (p *Peer) Heard(id ServerID) {
	i := p.index(id)
	if i < 0 {
		return
	}
	switch {
	case p.state == Following && p.leader == id:
		p.fl.heard, p.fl.progress = p.now, p.now
	case p.state == Leading:
		p.ld.progress = p.now
		if l := &p.ld.learners[i]; l.phase != learnerGone {
			l.heard = p.now
		}
	}
}

// Compact says that the shell has a durable local snapshot that covers all up to upTo: delivered entries up to
// there leave the memory, and a learner that lacks one of them will get SNAP.
func (p *Peer) Compact(upTo Zxid) {
	p.win.trim(min(p.win.pos(upTo), p.delivered))
	if len(p.configs) > 1 {
		p.recount()
	}
}

// Status returns the peer's state.
func (p *Peer) Status() Status {
	s := Status{
		ID: p.cfg.ID, State: p.state, Leader: p.leader, Established: p.established, Voter: p.epochs.Voter,
		Epoch: p.roleEpoch(), AcceptedEpoch: p.epochs.Accepted, CurrentEpoch: p.epochs.Current,
		Round: p.el.round, Vote: p.el.vote, WindowBase: p.win.base, LastZxid: p.win.last(),
		Durable: p.win.zxid(p.durable), Committed: p.win.zxid(p.committed), Delivered: p.win.zxid(p.delivered), Err: p.err,
	}
	for i := range p.ld.learners {
		if p.ld.learners[i].phase == learnerSynced {
			s.Learners++
		}
	}
	return s
}

// AppendSynced appends the learners that this leader has synchronized to dst, none if it leads nobody.
func (p *Peer) AppendSynced(dst []ServerID) []ServerID {
	for i := range p.ld.learners {
		if p.ld.learners[i].phase == learnerSynced {
			dst = append(dst, p.others[i].id)
		}
	}
	return dst
}

// look leaves whatever role the peer has and, once no write is outstanding, starts an election.
func (p *Peer) look() {
	p.leave()
	p.state, p.leader, p.established = Looking, 0, false
	p.fl = following{}
	p.whenDrained(drainedElect)
}

// leave drops what belongs to the present session or leadership only: entries that no write has taken on,
// barriers.
func (p *Peer) leave() {
	p.cut(p.issued)
	p.committed = min(p.committed, p.issued)
	p.ld.reset()
}

func (p *Peer) whenDrained(then drained) {
	p.drained = then
	if !p.busy {
		p.runDrained()
	}
}

func (p *Peer) runDrained() {
	then := p.drained
	p.drained = drainedNothing
	switch then {
	case drainedElect:
		p.startElection()
	case drainedJoin:
		p.openSession()
	}
}

// fail ends the peer's life.
func (p *Peer) fail(err error) {
	p.leave()
	p.state, p.leader, p.established, p.err = Failed, 0, false, err
	p.drained, p.fl = drainedNothing, following{}
	p.msgs, p.wanted, p.history = p.msgs[:0], p.wanted[:0], p.history[:0]
}

func (p *Peer) roleEpoch() uint32 {
	switch p.state {
	case Following:
		return p.fl.epoch
	case Leading:
		return p.ld.epoch
	}
	return 0
}

// index returns the place of id in p.others, -1 if it is unknown.
func (p *Peer) index(id ServerID) int {
	for i := range p.others {
		if p.others[i].id == id {
			return i
		}
	}
	return -1
}

// send queues a message.
func (p *Peer) send(m Message) {
	m.From = p.cfg.ID
	p.msgs = append(p.msgs, m)
}

// check states what holds between any two calls.
func (p *Peer) check() {
	ok := p.win.start <= p.delivered && p.delivered <= p.durable && p.durable <= p.issued && p.issued <= p.win.end() &&
		p.committed <= p.win.end() && p.epochs.Current <= p.epochs.Accepted
	if !ok {
		invariant.Check(false, "%s", fmt.Sprintf("positions: start %d delivered %d durable %d issued %d end %d committed %d, epochs %+v",
			p.win.start, p.delivered, p.durable, p.issued, p.win.end(), p.committed, p.epochs))
	}
}
