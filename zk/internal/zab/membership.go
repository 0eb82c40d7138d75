package zab

import (
	"fmt"
)

// MembersMax and VotersMax bound a configuration.
const (
	MembersMax = 254
	VotersMax  = 31
)

// contactsMax bounds the servers that a peer ever hears of.
const contactsMax = 4 * MembersMax

// weightMax keeps sums of weights far from overflow.
const weightMax = 1 << 32

// Member is one server of a configuration.
type Member struct {
	ID       ServerID
	Observer bool  // follows and applies; no word of it counts
	Group    int64 // 0: none. Either all participants have one or none has
	Weight   int64 // in its group; meaningless without one, where every participant has one vote
}

// Membership is a configuration of the ensemble. Nobody changes one that was handed over.
//
// Without groups a quorum is more than half of the participants. With groups it is, in more than half of those groups
// that have any weight, more than half of the group's weight. A participant of weight 0 never leads.
type Membership struct {
	Version Zxid // of the entry that made it; 0: the one that an ensemble begins with
	Members []Member
	Spec    string // the shell's own: addresses and the like
}

// Validate reports the first thing that makes m no configuration.
func (m *Membership) Validate() error {
	if len(m.Members) > MembersMax {
		return fmt.Errorf("%w: %d members, more than %d", ErrConfig, len(m.Members), MembersMax)
	}
	seen := make(map[ServerID]bool, len(m.Members))
	voters, grouped := 0, 0
	for _, s := range m.Members {
		switch {
		case s.ID <= 0:
			return fmt.Errorf("%w: member %d is not positive", ErrConfig, s.ID)
		case seen[s.ID]:
			return fmt.Errorf("%w: member %d is listed twice", ErrConfig, s.ID)
		case s.Weight < 0 || s.Weight > weightMax:
			return fmt.Errorf("%w: weight %d of member %d is not between 0 and %d", ErrConfig, s.Weight, s.ID, int64(weightMax))
		}
		seen[s.ID] = true
		if s.Observer {
			continue
		}
		if s.Group != 0 {
			grouped++
		}
		voters++
	}
	switch {
	case voters > VotersMax:
		return fmt.Errorf("%w: %d voters, more than %d", ErrConfig, voters, VotersMax)
	case grouped != 0 && grouped != voters:
		return fmt.Errorf("%w: %d of %d participants are in a group", ErrConfig, grouped, voters)
	case len(newElectorate(m, func(ServerID) int { return 0 }).voters) == 0:
		return fmt.Errorf("%w: no participant has a vote", ErrConfig)
	}
	return nil
}

// Member returns the member with an id.
func (m *Membership) Member(id ServerID) (Member, bool) {
	for _, s := range m.Members {
		if s.ID == id {
			return s, true
		}
	}
	return Member{}, false
}

// self is the place of the peer itself among its contacts.
const self = -1

// voter is a participant whose word has weight.
type voter struct {
	at     int // place in Peer.others, or self
	group  int // 0, 1, …
	weight int64
}

// electorate says what is a quorum of one configuration.
type electorate struct {
	m      *Membership
	voters []voter
	need   int     // how many groups, or without groups how many voters
	halves []int64 // of each group: its weight must be exceeded in doubles; nil without groups
	votes  bool    // the peer itself is a voter
	ranks  []ranked
}

// newElectorate makes m's. index gives the place of a member.
func newElectorate(m *Membership, index func(id ServerID) int) *electorate {
	e := &electorate{m: m}
	groups := make(map[int64]int)
	for _, s := range m.Members {
		if s.Observer || s.Group != 0 && s.Weight == 0 {
			continue
		}
		v := voter{at: index(s.ID), weight: 1}
		if s.Group != 0 {
			g, ok := groups[s.Group]
			if !ok {
				g = len(e.halves)
				groups[s.Group] = g
				e.halves = append(e.halves, 0)
			}
			v.group, v.weight = g, s.Weight
			e.halves[g] += s.Weight
		}
		e.voters = append(e.voters, v)
		e.votes = e.votes || v.at == self
	}
	e.need = len(e.voters)/2 + 1
	if e.halves != nil {
		e.need = len(e.halves)/2 + 1
	}
	return e
}

// quorum reports whether those of whom has is true are one.
func (e *electorate) quorum(has func(at int) bool) bool {
	n := 0
	if e.halves == nil {
		for i := range e.voters {
			if has(e.voters[i].at) {
				n++
			}
		}
		return n >= e.need
	}
	var weights [VotersMax]int64
	for i := range e.voters {
		if v := &e.voters[i]; has(v.at) {
			weights[v.group] += v.weight
		}
	}
	for g, half := range e.halves {
		if 2*weights[g] > half {
			n++
		}
	}
	return n >= e.need
}

// ranked is a voter's value.
type ranked struct {
	value uint64
	voter *voter
}

// rank returns the greatest value that a quorum has reached. It is not safe for concurrent use.
func (e *electorate) rank(value func(at int) uint64) uint64 {
	r := e.ranks[:0]
	for i := range e.voters {
		v := ranked{value(e.voters[i].at), &e.voters[i]}
		r = append(r, v)
		j := len(r) - 1
		for ; j > 0 && r[j-1].value < v.value; j-- {
			r[j] = r[j-1]
		}
		r[j] = v
	}
	e.ranks = r
	if e.halves == nil {
		return r[e.need-1].value
	}
	var weights [VotersMax]int64
	n := 0
	for _, v := range r {
		g := v.voter.group
		before := weights[g]
		weights[g] += v.voter.weight
		if 2*before <= e.halves[g] && 2*weights[g] > e.halves[g] {
			n++
		}
		if n >= e.need {
			return v.value
		}
	}
	return 0 // every configuration has a quorum: all of it
}
