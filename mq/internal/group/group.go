package group

import "slices"

// Group is one classic group. See the package's comment for how to drive it.
type Group struct {
	cfg   Config
	id    string
	now   int64
	state State
	// stateTime is when state last changed.
	stateTime    int64
	generation   int32
	protocolType string
	protocol     string
	leader       string
	// members in the order they joined first. Invariant: ids are unique, instance ids too where set.
	members []*member
	// pending are newcomers told to come back with the id they were given, with their deadlines.
	pending []pendingMember

	// joinDeadline ends PreparingRebalance, syncDeadline CompletingRebalance. Meaningful in those states only.
	joinDeadline, syncDeadline int64
	// initial: this rebalance is the first of an empty group, which waits for more members.
	initial bool
	// initialEnd is the latest end of an initial rebalance, extensions included.
	initialEnd int64

	ready Ready
	// persistID numbers writes; outstanding is the newest that is not confirmed, 0 if none.
	persistID, outstanding uint64
	// onPersist is what the outstanding write's completion answers.
	onPersist persistPurpose
	// heldJoins wait for the outstanding write: replies to replaced static members.
	heldJoins []JoinReply
}

// persistPurpose says what a confirmed write of the metadata completes.
type persistPurpose uint8

const (
	persistNothing persistPurpose = iota
	// persistAssignment makes the group Stable and answers the members' syncs.
	persistAssignment
	// persistReplacement answers the join of a static member that came back.
	persistReplacement
)

type pendingMember struct {
	id       string
	deadline int64
}

// member is one member. Invariant: at most one join and one sync of it wait for an answer.
type member struct {
	id, instance, clientID, clientHost string
	session, rebalance                 int64
	protocols                          []Protocol
	assignment                         []byte
	// heartbeatDeadline is when it is taken for dead unless it waits for the group.
	heartbeatDeadline int64
	join, sync        Token
	joining, syncing  bool
	// joined: it has joined the generation being prepared.
	joined bool
}

// New returns an empty group. now is the time in milliseconds.
func New(cfg Config, id string, now int64) *Group {
	return &Group{cfg: cfg, id: id, now: now, stateTime: now}
}

// Restore returns the group a record of __consumer_offsets describes. Its members have a full session timeout from now to show
// themselves to their new coordinator.
func Restore(cfg Config, s Snapshot, now int64) *Group {
	g := New(cfg, s.Group, now)
	g.stateTime = s.StateTimestamp
	g.generation, g.protocolType = s.Generation, s.ProtocolType
	if len(s.Members) == 0 {
		return g
	}
	g.state, g.protocol, g.leader = Stable, s.Protocol, s.Leader
	for _, m := range s.Members {
		g.members = append(g.members, &member{
			id: m.MemberID, instance: m.InstanceID, clientID: m.ClientID, clientHost: m.ClientHost,
			session: m.SessionTimeout, rebalance: m.RebalanceTimeout,
			protocols:  []Protocol{{Name: s.Protocol, Metadata: m.Metadata}},
			assignment: m.Assignment, heartbeatDeadline: now + m.SessionTimeout,
		})
	}
	return g
}

// ID is the group's id.
func (g *Group) ID() string { return g.id }

// State is the group's state.
func (g *Group) State() State { return g.state }

// StateTime is when the state last changed, in milliseconds.
func (g *Group) StateTime() int64 { return g.stateTime }

// ProtocolType is what kind of group this is, "consumer" as a rule; empty before the first member.
func (g *Group) ProtocolType() string { return g.protocolType }

// Generation is the number of the last completed rebalance.
func (g *Group) Generation() int32 { return g.generation }

// Idle reports whether the group needs no ticks: nothing in it can expire.
func (g *Group) Idle() bool {
	return len(g.members) == 0 && len(g.pending) == 0 && g.state != PreparingRebalance
}

// Snapshot describes the group. The byte slices are the group's own; they must not be changed.
func (g *Group) Snapshot() Snapshot {
	s := Snapshot{
		Group: g.id, State: g.state, ProtocolType: g.protocolType, Generation: g.generation,
		Protocol: g.protocol, Leader: g.leader, StateTimestamp: g.stateTime,
	}
	for _, m := range g.members {
		s.Members = append(s.Members, MemberSnapshot{
			MemberID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			SessionTimeout: m.session, RebalanceTimeout: m.rebalance,
			Metadata: m.metadata(g.protocol), Assignment: m.assignment,
		})
	}
	return s
}

// Ready returns what is to be done and forgets it; false if there is nothing.
func (g *Group) Ready() (Ready, bool) {
	rd := g.ready
	g.ready = Ready{}
	return rd, rd.Persist != nil || len(rd.Joins) > 0 || len(rd.Syncs) > 0
}

// Tick moves time to now (milliseconds; earlier values are ignored) and expires what is due: pending newcomers, members whose
// session ended, and rebalances that waited long enough.
func (g *Group) Tick(now int64) {
	if now <= g.now {
		return
	}
	g.now = now
	before := len(g.pending)
	g.pending = slices.DeleteFunc(g.pending, func(p pendingMember) bool { return p.deadline <= now })
	for _, m := range slices.Clone(g.members) {
		if !m.joining && !m.syncing && m.heartbeatDeadline <= now {
			g.remove(m)
		}
	}
	switch g.state {
	case PreparingRebalance:
		if now >= g.joinDeadline {
			g.endInitialOrComplete()
		} else if before != len(g.pending) {
			g.maybeCompleteJoin()
		}
	case CompletingRebalance:
		if now >= g.syncDeadline {
			g.expireSync()
		}
	}
}

// Fail ends the group with code for everybody who waits: its partition is moving to another coordinator, or it was deleted.
// Afterwards the group is Dead and answers everything with CoordinatorNotAvailable.
func (g *Group) Fail(code Code) {
	for _, m := range g.members {
		g.failWaiting(m, code)
	}
	for _, r := range g.heldJoins {
		g.ready.Joins = append(g.ready.Joins, JoinReply{Token: r.Token, Code: code, Generation: -1, MemberID: r.MemberID})
	}
	g.heldJoins, g.members, g.pending = nil, nil, nil
	g.outstanding, g.onPersist = 0, persistNothing
	g.ready.Persist = nil
	g.setState(Dead)
}

// failWaiting answers what m waits for with code.
func (g *Group) failWaiting(m *member, code Code) {
	if m.joining {
		m.joining = false
		g.ready.Joins = append(g.ready.Joins, JoinReply{Token: m.join, Code: code, Generation: -1, MemberID: m.id})
	}
	if m.syncing {
		m.syncing = false
		g.ready.Syncs = append(g.ready.Syncs, SyncReply{Token: m.sync, Code: code})
	}
}

// setState changes the state and remembers when.
func (g *Group) setState(s State) {
	if g.state != s {
		g.state, g.stateTime = s, g.now
	}
}

// persist offers the group's metadata for writing. A newer offer supersedes an older one that nobody has confirmed.
func (g *Group) persist(why persistPurpose) {
	g.persistID++
	g.outstanding, g.onPersist = g.persistID, why
	g.ready.Persist = &Persist{ID: g.persistID, Snapshot: g.Snapshot()}
}

// Persisted reports that the write offered as id is replicated (code None) or failed. Completions of superseded writes are
// ignored.
func (g *Group) Persisted(id uint64, code Code) {
	if id != g.outstanding || g.state == Dead {
		return
	}
	why := g.onPersist
	g.outstanding, g.onPersist = 0, persistNothing
	switch why {
	case persistAssignment:
		if g.state == CompletingRebalance {
			g.completeSync(code)
		}
	case persistReplacement:
		g.releaseHeldJoins(code)
	}
}

// releaseHeldJoins answers static members that came back; a failed write sends them away to try again.
func (g *Group) releaseHeldJoins(code Code) {
	for _, r := range g.heldJoins {
		if code != None {
			r = JoinReply{Token: r.Token, Code: code, Generation: -1, MemberID: r.MemberID}
		}
		g.ready.Joins = append(g.ready.Joins, r)
	}
	g.heldJoins = nil
}

// find returns the member with this id, or nil.
func (g *Group) find(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// findStatic returns the member with this instance id, or nil.
func (g *Group) findStatic(instance string) *member {
	if instance == "" {
		return nil
	}
	for _, m := range g.members {
		if m.instance == instance {
			return m
		}
	}
	return nil
}

// touch restarts m's session.
func (g *Group) touch(m *member) { m.heartbeatDeadline = g.now + m.session }

// identify returns the member that a request names by member and instance id, or why it is not one.
func (g *Group) identify(memberID, instanceID string) (*member, Code) {
	if instanceID != "" {
		m := g.findStatic(instanceID)
		switch {
		case m == nil:
			return nil, UnknownMemberID
		case m.id != memberID:
			return nil, FencedInstanceID
		}
		return m, None
	}
	m := g.find(memberID)
	if m == nil {
		return nil, UnknownMemberID
	}
	return m, None
}

// hear notes that a member is alive, if it is one of this generation.
func (g *Group) hear(memberID, instanceID string, generation int32) Code {
	m, code := g.identify(memberID, instanceID)
	if code != None {
		return code
	}
	if generation != g.generation {
		return IllegalGeneration
	}
	g.touch(m)
	return None
}

// Heartbeat keeps a member alive and tells it whether to rejoin (RebalanceInProgress).
func (g *Group) Heartbeat(memberID, instanceID string, generation int32) Code {
	if g.state == Dead {
		return CoordinatorNotAvailable
	}
	if code := g.hear(memberID, instanceID, generation); code != None {
		return code
	}
	if g.state == PreparingRebalance {
		return RebalanceInProgress
	}
	return None
}

// Leave removes members, and newcomers that were told to come back. It answers for each in order.
func (g *Group) Leave(leavers []Leaver) []Code {
	codes := make([]Code, len(leavers))
	for i, l := range leavers {
		if g.state == Dead {
			codes[i] = CoordinatorNotAvailable
			continue
		}
		if l.InstanceID == "" && g.dropPending(l.MemberID) {
			g.maybeCompleteJoin()
			continue
		}
		memberID := l.MemberID
		if static := g.findStatic(l.InstanceID); static != nil && memberID == "" {
			memberID = static.id
		}
		m, code := g.identify(memberID, l.InstanceID)
		if code != None {
			codes[i] = code
			continue
		}
		g.remove(m)
	}
	return codes
}

// dropPending forgets a newcomer that was given id; false if there is none.
func (g *Group) dropPending(id string) bool {
	before := len(g.pending)
	g.pending = slices.DeleteFunc(g.pending, func(p pendingMember) bool { return p.id == id })
	return len(g.pending) != before
}

// ValidateCommit says whether a member may commit offsets now. A negative generation without a member is a consumer that uses
// the group for its offsets only, which is fine while the group has no members.
func (g *Group) ValidateCommit(memberID, instanceID string, generation int32) Code {
	if g.state == Dead {
		return CoordinatorNotAvailable
	}
	if generation < 0 && g.state == Empty {
		return None
	}
	if generation < 0 && memberID == "" && instanceID == "" {
		return UnknownMemberID
	}
	if code := g.hear(memberID, instanceID, generation); code != None {
		return code
	}
	if g.state == CompletingRebalance {
		return RebalanceInProgress
	}
	return None
}

// Delete makes an empty group Dead; NonEmptyGroup if it has members.
func (g *Group) Delete() Code {
	switch {
	case g.state == Dead:
		return CoordinatorNotAvailable
	case len(g.members) > 0 || g.state != Empty:
		return NonEmptyGroup
	}
	g.Fail(CoordinatorNotAvailable)
	return None
}
