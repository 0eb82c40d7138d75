package group

import "slices"

// Sync takes a SyncGroup request; the answer comes out of Ready.
func (g *Group) Sync(s Sync) {
	m, code := g.checkSync(&s)
	if code != None {
		g.ready.Syncs = append(g.ready.Syncs, SyncReply{Token: s.Token, Code: code})
		return
	}
	g.touch(m)
	switch g.state {
	case PreparingRebalance:
		g.ready.Syncs = append(g.ready.Syncs, SyncReply{Token: s.Token, Code: RebalanceInProgress})
	case Stable:
		g.ready.Syncs = append(g.ready.Syncs, g.syncReply(m, s.Token))
	case CompletingRebalance:
		if m.syncing {
			g.ready.Syncs = append(g.ready.Syncs, SyncReply{Token: m.sync, Code: UnknownMemberID})
		}
		m.syncing, m.sync = true, s.Token
		if m.id == g.leader && g.onPersist != persistAssignment {
			g.assign(s.Assignments)
		}
	}
}

// checkSync returns the member that syncs, or why it may not.
func (g *Group) checkSync(s *Sync) (*member, Code) {
	if g.state == Dead {
		return nil, CoordinatorNotAvailable
	}
	m, code := g.identify(s.MemberID, s.InstanceID)
	if code != None {
		return nil, code
	}
	if s.Generation != g.generation {
		return nil, IllegalGeneration
	}
	if (s.ProtocolType != "" && s.ProtocolType != g.protocolType) || (s.Protocol != "" && s.Protocol != g.protocol) {
		return nil, InconsistentGroupProtocol
	}
	return m, None
}

// assign takes the leader's assignments and has them written. Who got none has an empty one.
func (g *Group) assign(assignments []Assignment) {
	for _, m := range g.members {
		m.assignment = nil
	}
	for _, a := range assignments {
		if m := g.find(a.MemberID); m != nil {
			m.assignment = a.Data
		}
	}
	g.persist(persistAssignment)
}

// completeSync ends the rebalance: the assignment is replicated, or it failed and all must join again.
func (g *Group) completeSync(code Code) {
	if code != None {
		for _, m := range g.members {
			m.assignment = nil
			g.failWaiting(m, code)
			g.touch(m)
		}
		g.prepareRebalance()
		return
	}
	g.setState(Stable)
	for _, m := range g.members {
		if m.syncing {
			m.syncing = false
			g.touch(m)
			g.ready.Syncs = append(g.ready.Syncs, g.syncReply(m, m.sync))
		}
	}
}

// expireSync removes the members that did not sync in time, which rebalances the rest. While the leader's assignment is being
// written nobody is late.
func (g *Group) expireSync() {
	if g.onPersist == persistAssignment {
		g.syncDeadline = g.now + g.rebalanceTimeout()
		return
	}
	late := slices.Clone(g.members)
	late = slices.DeleteFunc(late, func(m *member) bool { return m.syncing })
	for _, m := range late {
		g.failWaiting(m, UnknownMemberID)
		g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	}
	if g.find(g.leader) == nil {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
	g.prepareRebalance()
	g.maybeCompleteJoin()
}

// syncReply is m's assignment.
func (g *Group) syncReply(m *member, t Token) SyncReply {
	return SyncReply{Token: t, ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}
