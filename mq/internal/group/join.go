package group

import (
	"bytes"
	"slices"
)

// Join takes a JoinGroup request; the answer comes out of Ready.
func (g *Group) Join(j Join) {
	if code := g.checkJoin(&j); code != None {
		g.failJoin(j.Token, code, j.MemberID)
		return
	}
	if j.MemberID == "" {
		g.joinNewcomer(&j)
		return
	}
	if j.InstanceID == "" && g.dropPending(j.MemberID) {
		g.addMember(&j, j.MemberID)
		return
	}
	m, code := g.identify(j.MemberID, j.InstanceID)
	if code != None {
		g.failJoin(j.Token, code, j.MemberID)
		return
	}
	g.rejoin(m, &j)
}

// checkJoin says why a join cannot be considered at all.
func (g *Group) checkJoin(j *Join) Code {
	if g.state == Dead {
		return CoordinatorNotAvailable
	}
	if j.SessionTimeout < g.cfg.SessionTimeoutMin || (g.cfg.SessionTimeoutMax > 0 && j.SessionTimeout > g.cfg.SessionTimeoutMax) || j.SessionTimeout <= 0 {
		return InvalidSessionTimeout
	}
	if !g.accepts(j) {
		return GroupMaxSizeReached
	}
	if !g.supports(j) {
		return InconsistentGroupProtocol
	}
	return None
}

// accepts says whether the group has room for the joiner.
func (g *Group) accepts(j *Join) bool {
	if g.cfg.MembersMax == 0 || len(g.members)+len(g.pending) < g.cfg.MembersMax {
		return true
	}
	if g.find(j.MemberID) != nil || g.findStatic(j.InstanceID) != nil {
		return true
	}
	return slices.ContainsFunc(g.pending, func(p pendingMember) bool { return p.id == j.MemberID }) && len(g.members) < g.cfg.MembersMax
}

// supports says whether the joiner's protocols leave the group one that everybody supports.
func (g *Group) supports(j *Join) bool {
	if j.ProtocolType == "" || len(j.Protocols) == 0 {
		return false
	}
	if len(g.members) == 0 {
		return true
	}
	if j.ProtocolType != g.protocolType {
		return false
	}
	return slices.ContainsFunc(j.Protocols, func(p Protocol) bool {
		return !slices.ContainsFunc(g.members, func(m *member) bool { return !m.speaks(p.Name) })
	})
}

// joinNewcomer takes a join without a member id: a static member, known or not, or a dynamic one.
func (g *Group) joinNewcomer(j *Join) {
	if m := g.findStatic(j.InstanceID); m != nil {
		g.replaceStatic(m, j)
		return
	}
	if j.InstanceID == "" && j.RequireKnownMemberID {
		g.pending = append(g.pending, pendingMember{id: j.NewMemberID, deadline: g.now + j.SessionTimeout})
		g.failJoin(j.Token, MemberIDRequired, j.NewMemberID)
		return
	}
	g.addMember(j, j.NewMemberID)
}

// addMember makes the joiner a member and starts or extends a rebalance.
func (g *Group) addMember(j *Join, id string) {
	m := &member{id: id, instance: j.InstanceID}
	if len(g.members) == 0 {
		g.protocolType = j.ProtocolType
	}
	g.members = append(g.members, m)
	if g.leader == "" {
		g.leader = id
	}
	g.takeJoin(m, j)
	if g.state == PreparingRebalance && g.initial {
		g.joinDeadline = min(g.now+g.cfg.InitialRebalanceDelay, g.initialEnd)
	}
	g.prepareRebalance()
	g.maybeCompleteJoin()
}

// takeJoin records a join of m that waits for the rebalance. A join of m that still waits is answered: its connection is gone.
func (g *Group) takeJoin(m *member, j *Join) {
	if m.joining {
		g.failJoin(m.join, UnknownMemberID, m.id)
	}
	m.update(j)
	m.joining, m.joined, m.join = true, true, j.Token
	g.touch(m)
}

// update takes a member's own description from its join.
func (m *member) update(j *Join) {
	m.clientID, m.clientHost = j.ClientID, j.ClientHost
	m.session, m.rebalance = j.SessionTimeout, j.RebalanceTimeout
	if m.rebalance <= 0 {
		m.rebalance = j.SessionTimeout // version 0 of the request has no rebalance timeout
	}
	m.protocols = j.Protocols
}

// rejoin takes a join of an existing member.
func (g *Group) rejoin(m *member, j *Join) {
	switch g.state {
	case CompletingRebalance:
		if m.matches(j.Protocols) {
			g.replyCurrent(m, j.Token, g.leader)
			return
		}
	case Stable:
		if m.id != g.leader && m.matches(j.Protocols) {
			g.touch(m)
			g.replyCurrent(m, j.Token, g.leader)
			return
		}
	}
	g.takeJoin(m, j)
	g.prepareRebalance()
	g.maybeCompleteJoin()
}

// replaceStatic gives a static member that came back without its id a new one; the old id is fenced. In a Stable group that
// keeps its protocol nobody else notices.
func (g *Group) replaceStatic(m *member, j *Join) {
	g.failWaiting(m, FencedInstanceID)
	oldLeader := g.leader
	if g.leader == m.id {
		g.leader = j.NewMemberID
	}
	m.id = j.NewMemberID
	m.update(j)
	g.touch(m)
	if g.state == Stable && g.chooseProtocol() == g.protocol {
		// The old leader's id in the reply keeps the member from computing an assignment that nobody waits for.
		reply := g.currentReply(m, j.Token, oldLeader)
		reply.Members = nil
		g.heldJoins = append(g.heldJoins, reply)
		g.persist(persistReplacement)
		return
	}
	m.joining, m.joined, m.join = true, true, j.Token
	g.prepareRebalance()
	g.maybeCompleteJoin()
}

// prepareRebalance enters PreparingRebalance, unless the group is there already.
func (g *Group) prepareRebalance() {
	if g.state == PreparingRebalance || g.state == Dead {
		return
	}
	for _, m := range g.members {
		if m.syncing {
			m.syncing = false
			g.touch(m)
			g.ready.Syncs = append(g.ready.Syncs, SyncReply{Token: m.sync, Code: RebalanceInProgress})
		}
	}
	if g.onPersist == persistAssignment {
		// That assignment is history: whatever becomes of the write, nobody waits for it.
		g.onPersist = persistNothing
	}
	g.initial = g.state == Empty && g.cfg.InitialRebalanceDelay > 0
	g.joinDeadline = g.now + g.rebalanceTimeout()
	if g.initial {
		g.initialEnd = g.joinDeadline
		g.joinDeadline = min(g.now+g.cfg.InitialRebalanceDelay, g.initialEnd)
	}
	g.setState(PreparingRebalance)
}

// rebalanceTimeout is the longest any member asks for, in milliseconds.
func (g *Group) rebalanceTimeout() int64 {
	var t int64
	for _, m := range g.members {
		t = max(t, m.rebalance)
	}
	return t
}

// maybeCompleteJoin ends the preparation when every member has joined and no newcomer is expected.
func (g *Group) maybeCompleteJoin() {
	if g.state != PreparingRebalance || g.initial || len(g.pending) > 0 {
		return
	}
	if slices.ContainsFunc(g.members, func(m *member) bool { return !m.joined }) {
		return
	}
	g.completeJoin()
}

// endInitialOrComplete is what the end of the time for joining means.
func (g *Group) endInitialOrComplete() {
	g.initial = false
	g.completeJoin()
}

// completeJoin starts the next generation with the members that joined. Dynamic members that did not are removed; static ones
// stay, for their session decides.
func (g *Group) completeJoin() {
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return !m.joined && m.instance == "" })
	if len(g.members) == 0 {
		g.becomeEmpty()
		return
	}
	if leader := g.find(g.leader); leader == nil || !leader.joined {
		i := slices.IndexFunc(g.members, func(m *member) bool { return m.joined })
		if i < 0 {
			// Static members only, none of them back: wait another round for one that can lead.
			g.joinDeadline = g.now + max(g.rebalanceTimeout(), 1)
			return
		}
		g.leader = g.members[i].id
	}
	g.generation = nextGeneration(g.generation)
	g.protocol = g.chooseProtocol()
	g.syncDeadline = g.now + g.rebalanceTimeout()
	g.setState(CompletingRebalance)
	for _, m := range g.members {
		m.assignment = nil
		if m.joining {
			m.joining = false
			g.touch(m)
			g.replyCurrent(m, m.join, g.leader)
		}
		m.joined = false
	}
}

// nextGeneration counts up and wraps to 0 rather than below it.
func nextGeneration(n int32) int32 {
	if n == 1<<31-1 {
		return 0
	}
	return n + 1
}

// becomeEmpty starts the generation without members, and has it written.
func (g *Group) becomeEmpty() {
	g.generation = nextGeneration(g.generation)
	g.protocol, g.leader = "", ""
	g.initial = false
	g.setState(Empty)
	g.persist(persistNothing)
}

// chooseProtocol counts the members' votes, each for the first of its protocols that all support; ties go to the vote cast
// first.
func (g *Group) chooseProtocol() string {
	var names []string
	votes := make(map[string]int)
	for _, m := range g.members {
		for _, p := range m.protocols {
			if slices.ContainsFunc(g.members, func(o *member) bool { return !o.speaks(p.Name) }) {
				continue
			}
			if votes[p.Name] == 0 {
				names = append(names, p.Name)
			}
			votes[p.Name]++
			break
		}
	}
	best := ""
	for _, n := range names {
		if best == "" || votes[n] > votes[best] {
			best = n
		}
	}
	return best
}

// currentReply is a join's answer from the generation as it stands.
func (g *Group) currentReply(m *member, t Token, leader string) JoinReply {
	r := JoinReply{
		Token: t, Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: leader, MemberID: m.id,
	}
	if m.id == leader {
		for _, o := range g.members {
			r.Members = append(r.Members, JoinedMember{MemberID: o.id, InstanceID: o.instance, Metadata: o.metadata(g.protocol)})
		}
	}
	return r
}

// replyCurrent answers a join from the generation as it stands.
func (g *Group) replyCurrent(m *member, t Token, leader string) {
	g.ready.Joins = append(g.ready.Joins, g.currentReply(m, t, leader))
}

// failJoin refuses a join.
func (g *Group) failJoin(t Token, code Code, memberID string) {
	g.ready.Joins = append(g.ready.Joins, JoinReply{Token: t, Code: code, Generation: -1, MemberID: memberID})
}

// remove takes a member out of the group, answers what it waits for, and rebalances the others.
func (g *Group) remove(m *member) {
	g.failWaiting(m, UnknownMemberID)
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
	switch g.state {
	case Stable, CompletingRebalance:
		g.prepareRebalance()
		g.maybeCompleteJoin()
	case PreparingRebalance:
		g.maybeCompleteJoin()
	}
}

// speaks says whether m supports the protocol.
func (m *member) speaks(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == name })
}

// metadata is what m said under the protocol.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// matches says whether the protocols are those m joined with, byte for byte.
func (m *member) matches(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}
