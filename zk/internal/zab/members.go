package zab

import (
	"errors"
	"fmt"
)

// Errors of ProposeMembership.
var (
	// ErrReconfig is returned by Propose and ProposeMembership while a configuration is proposed and not yet known to be
	// committed. Retry after the next commit.
	ErrReconfig = errors.New("zab: a configuration is on its way")
	// ErrNoQuorum is returned by CheckMembership and ProposeMembership if no quorum of the new configuration is
	// synchronized with this leader.
	ErrNoQuorum = errors.New("zab: no quorum of the new configuration is synchronized")
)

// configAt is a configuration and where the history has it.
type configAt struct {
	pos uint64 // after its entry; configs[0]: at or below the window's start
	e   *electorate
}

// Memberships are the configurations that count: Pending, not nil while a configuration is in the history that is not
// known to be committed, beside Active.
type Memberships struct{ Active, Pending *Membership }

// Memberships returns the configurations that count.
func (p *Peer) Memberships() Memberships {
	ms := Memberships{Active: p.rules[0].m}
	if len(p.rules) > 1 {
		ms.Pending = p.rules[1].m
	}
	return ms
}

// contact returns the place of a server among p.others, which is made if there is none, or -1: strangers in numbers are
// not heard.
func (p *Peer) contact(id ServerID) int {
	if id == p.cfg.ID || id <= 0 {
		return -1
	}
	if i := p.index(id); i >= 0 || len(p.others) >= contactsMax {
		return i
	}
	return p.newContact(id)
}

func (p *Peer) newContact(id ServerID) int {
	p.others = append(p.others, contact{id: id})
	p.ld.learners = append(p.ld.learners, learner{})
	p.ld.contact = append(p.ld.contact, 0)
	return len(p.others) - 1
}

func (p *Peer) electorate(m *Membership) *electorate {
	return newElectorate(m, func(id ServerID) int {
		if id == p.cfg.ID {
			return self
		}
		if i := p.index(id); i >= 0 {
			return i
		}
		return p.newContact(id) // however many strangers there were
	})
}

// rebase makes m, or without one the configuration that ensembles begin with, that of the window's base.
func (p *Peer) rebase(m *Membership) {
	if m == nil {
		m = &p.cfg.Initial
	}
	p.configs = append(p.configs[:0], configAt{pos: p.win.start, e: p.electorate(m)})
	p.recount()
}

// noteConfigs looks for configurations in the entries behind pos, which were appended.
func (p *Peer) noteConfigs(pos uint64, es []Entry) {
	if p.cfg.Membership == nil {
		return
	}
	for i := range es {
		m := p.cfg.Membership(es[i].Zxid, es[i].Data)
		if m == nil || m.Validate() != nil {
			continue
		}
		p.configs = append(p.configs, configAt{pos: pos + uint64(i) + 1, e: p.electorate(m)})
		p.recount()
	}
	if len(p.rules) > 1 {
		p.recount() // what follows a configuration proves it
	}
}

// cut removes all entries after pos.
func (p *Peer) cut(pos uint64) {
	p.win.cut(pos)
	n := len(p.configs)
	for n > 1 && p.configs[n-1].pos > pos {
		n--
	}
	if n < len(p.configs) || len(p.configs) > 1 {
		p.configs = p.configs[:n]
		p.recount()
	}
}

// recount decides which configurations count. The last one in the history counts alone if it is known to be committed:
// because this peer was told, or because something follows it, which no leader proposes before. Else the one before it
// counts, too, which is committed for the same reason.
func (p *Peer) recount() {
	for len(p.configs) > 1 && p.configs[1].pos <= p.win.start {
		p.configs = p.configs[:copy(p.configs, p.configs[1:])]
	}
	n := len(p.configs)
	last := p.configs[n-1]
	p.rules, p.pending = p.rules[:0], 0
	if n > 1 && p.committed < last.pos && p.win.end() == last.pos && p.proven != last.e.m.Version {
		p.rules, p.pending = append(p.rules, p.configs[n-2].e), last.pos
	}
	p.rules = append(p.rules, last.e)
	p.alone = p.quorate(func(at int) bool { return at == self })
	p.leaver = len(p.rules) == 1 && !last.e.votes
	p.reconfigured = p.reconfigured || p.reportedTo != p.Memberships()
}

// prove says that the configuration of that version is committed, as another server knows, and whether that makes a
// difference. One that has no vote any more may have what proves it, and nobody else.
func (p *Peer) prove(version Zxid) bool {
	if p.pending == 0 || version != p.rules[1].m.Version {
		return false
	}
	p.proven = version
	p.recount()
	return true
}

// quorate reports whether those of whom has is true are a quorum of every configuration that counts.
func (p *Peer) quorate(has func(at int) bool) bool {
	for _, e := range p.rules {
		if !e.quorum(has) {
			return false
		}
	}
	return true
}

// rank returns the greatest value that a quorum of every configuration that counts has reached.
func (p *Peer) rank(value func(at int) uint64) uint64 {
	v := p.rules[0].rank(value)
	if len(p.rules) > 1 {
		v = min(v, p.rules[1].rank(value))
	}
	return v
}

// votes reports whether this peer's vote counts, as far as it knows.
func (p *Peer) votes() bool {
	if !p.epochs.Voter {
		return false
	}
	for _, e := range p.rules {
		if e.votes {
			return true
		}
	}
	return false
}

// counts reports whether the word of contact i does in some configuration.
func (p *Peer) counts(i int) bool {
	for _, e := range p.rules {
		for _, v := range e.voters {
			if v.at == i {
				return true
			}
		}
	}
	return false
}

// Quorum reports whether those servers of whom has is true are a quorum of every configuration that counts.
func (p *Peer) Quorum(has func(id ServerID) bool) bool {
	return p.quorate(func(at int) bool {
		if at == self {
			return has(p.cfg.ID)
		}
		return has(p.others[at].id)
	})
}

// Votes reports whether the word of another server counts in some configuration.
func (p *Peer) Votes(id ServerID) bool {
	i := p.index(id)
	return i >= 0 && p.counts(i)
}

// CheckMembership says whether an established leader could propose m now: ErrNotLeader, ErrReconfig, ErrNoQuorum, or an
// error that wraps ErrConfig.
func (p *Peer) CheckMembership(m *Membership) error {
	switch {
	case p.state != Leading || !p.established:
		return ErrNotLeader
	case p.pending != 0 || p.ld.draining:
		return ErrReconfig
	}
	if err := m.Validate(); err != nil {
		return err
	}
	e := p.electorate(m)
	if !e.quorum(func(at int) bool { return at == self || p.ld.learners[at].phase == learnerSynced }) {
		return ErrNoQuorum
	}
	return nil
}

// ProposeMembership proposes an entry that Config.Membership takes for a configuration. It counts from now on, beside the
// present one: both of their quorums commit it. Nothing else is proposed until then, and the present one counts no
// more. A leader that has no vote in it takes one more proposal, hands it out, and stands down; see Unproven. Errors
// are those of CheckMembership and Propose.
func (p *Peer) ProposeMembership(data []byte) (Zxid, error) {
	z := MakeZxid(p.ld.epoch, p.ld.counter+1)
	m := p.cfg.Membership(z, data)
	if m == nil {
		return 0, fmt.Errorf("%w: the data is none", ErrConfig)
	}
	if err := p.CheckMembership(m); err != nil {
		return 0, err
	}
	z, err := p.Propose(data)
	if err == nil {
		p.configs = append(p.configs, configAt{pos: p.win.end(), e: p.electorate(m)})
		p.recount()
	}
	return z, err
}

// Unproven reports whether an established leader's history ends in a configuration that is committed. It should propose
// something then, however empty, for what follows a configuration proves to later leaders that it was committed: they
// need no quorum of the configuration before it. Whoever asked for the configuration should hear of it when that is
// committed.
func (p *Peer) Unproven() bool {
	if p.state != Leading || !p.established || p.pending != 0 {
		return false
	}
	v := p.rules[0].m.Version
	return v != 0 && v == p.win.last()
}
