package replica

import (
	"slices"

	"github.com/vivarium-go/vivarium/internal/invariant"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// change is what is being done to the log at present.
type change uint8

const (
	idle change = iota
	appending
	truncating
	resetting
)

// Replica is one partition's replica on one broker. Create it with New.
type Replica struct {
	cfg    Config
	epochs Epochs

	// The log. Invariant: start <= hw <= end, synced <= end.
	start, end, synced, hw int64
	busy                   change
	leaderHW               int64 // follower: what the leader said with the records being appended

	// The newest state that counts, and a newer one that waits for the end of a change of the log.
	state        layout.PartitionState
	version      int32
	later        layout.PartitionState
	laterVersion int32

	role      Role
	roleMoved bool
	hwMoved   bool
	retiring  bool
	now       int

	members []member // the other replicas, as a leader sees them
	isr     isrWrite

	all   waiters // acks=all, by high watermark
	one   waiters // acks=1, by the leader's synced end
	acks  []Ack
	given []Ack // handed out by the last Ready; swapped with acks

	readyRole  Role
	readyWrite StateWrite
}

// New returns a waiting replica with this log. Feed it SetState.
func New(cfg Config, log Log, epochs Epochs) *Replica {
	invariant.Check(log.Start <= log.End && log.Synced <= log.End, "replica: log %+v", log)
	r := &Replica{
		epochs: epochs, start: log.Start, end: log.End, synced: log.Synced,
		hw: min(max(log.HighWatermark, log.Start), log.End), version: -1, laterVersion: -1,
		role: Role{Kind: Waiting, Leader: layout.NoLeader, Epoch: -1},
	}
	r.Configure(cfg)
	return r
}

// Register says that the broker has registered anew and lives this incarnation from now on. A leader elected in the
// former life no longer leads.
func (r *Replica) Register(incarnation int64) {
	r.cfg.Incarnation = incarnation
	switch {
	case r.version < 0 || r.laterVersion >= 0:
	case r.busy != idle:
		r.later, r.laterVersion = r.state.Clone(), r.version
	default:
		r.adopt(r.state, r.version)
	}
}

// Configure changes the assignment and the topic's configuration; Broker stays what it was in New, and Incarnation what
// it was there or in Register.
func (r *Replica) Configure(cfg Config) {
	if r.cfg.Replicas != nil {
		cfg.Broker, cfg.Incarnation = r.cfg.Broker, r.cfg.Incarnation
	}
	cfg.MinInsync = max(cfg.MinInsync, 1)
	if cfg.LagTicks <= 0 {
		cfg.LagTicks = 30
	}
	cfg.Replicas = append(make([]int32, 0, len(cfg.Replicas)), cfg.Replicas...)
	r.cfg = cfg
	old := r.members
	r.members = make([]member, 0, len(cfg.Replicas))
	for _, b := range cfg.Replicas {
		if b == cfg.Broker {
			continue
		}
		m := newMember(b)
		if i := slices.IndexFunc(old, func(o member) bool { return o.broker == b }); i >= 0 {
			m = old[i]
		}
		r.members = append(r.members, m)
	}
	if r.role.Kind == Leader {
		r.checkMinInsync()
		r.advance()
	}
}

// SetState hands over the partition's state znode as it has been seen; older versions are ignored.
func (r *Replica) SetState(s layout.PartitionState, version int32) {
	if version <= max(r.version, r.laterVersion) {
		return
	}
	if r.busy != idle {
		r.later, r.laterVersion = s.Clone(), version
		return
	}
	r.adopt(s.Clone(), version)
}

// adopt makes s the state that counts, and takes the role that it gives.
func (r *Replica) adopt(s layout.PartitionState, version int32) {
	r.state, r.version, r.laterVersion = s, version, -1
	r.isr.settle()
	if r.role.Kind == Failed {
		r.resign()
		return
	}
	me := s.Leader == r.cfg.Broker
	switch {
	case me && s.LeaderIncarnation == r.cfg.Incarnation && s.LeaderIncarnation >= 0 && slices.Contains(s.ISR, r.cfg.Broker):
		if r.role.Kind != Leader || r.role.Epoch != s.LeaderEpoch {
			r.lead(s)
		}
		r.checkMinInsync()
		r.advance()
	case !me && s.Leader >= 0:
		r.step(Role{Kind: Follower, Leader: s.Leader, Epoch: s.LeaderEpoch})
	default:
		r.step(Role{Kind: Waiting, Leader: layout.NoLeader, Epoch: s.LeaderEpoch})
	}
}

// lead begins a leader epoch: nothing is known of any follower in it yet.
func (r *Replica) lead(s layout.PartitionState) {
	r.step(Role{Kind: Leader, Leader: r.cfg.Broker, Epoch: s.LeaderEpoch, EpochStart: r.end})
	for i := range r.members {
		m := newMember(r.members[i].broker)
		m.caughtUp = r.now
		r.members[i] = m
	}
}

// step takes a role that is not the present one's continuation.
func (r *Replica) step(role Role) {
	if r.role == role {
		return
	}
	if r.role.Kind == Leader {
		r.releaseAll(NotLeader)
	}
	r.role, r.roleMoved = role, true
}

// endChange ends a change of the log; a state that came meanwhile counts from here on.
func (r *Replica) endChange() {
	r.busy = idle
	if r.laterVersion >= 0 {
		s, v := r.later, r.laterVersion
		r.later = layout.PartitionState{}
		r.adopt(s, v)
	}
}

// StateGone says that the state znode is missing: the topic is being deleted.
func (r *Replica) StateGone() {
	if r.role.Kind == Failed {
		return
	}
	r.laterVersion = -1
	r.isr.settle()
	r.step(Role{Kind: Waiting, Leader: layout.NoLeader, Epoch: r.role.Epoch})
}

// Tick says that one tick has passed.
func (r *Replica) Tick() {
	r.now++
	if r.role.Kind == Leader {
		r.shrink()
	}
}

// Ready returns what the shell has to carry out; false: nothing.
func (r *Replica) Ready() (Ready, bool) {
	var rd Ready
	if r.roleMoved {
		r.readyRole, r.roleMoved = r.role, false
		rd.Role = &r.readyRole
	}
	if r.isr.fresh {
		r.isr.fresh = false
		r.readyWrite = r.isr.write
		rd.Write = &r.readyWrite
	}
	if r.isr.wantRead && !r.isr.reading {
		r.isr.wantRead, r.isr.reading = false, true
		rd.Read = true
	}
	if len(r.acks) > 0 {
		r.acks, r.given = r.given[:0], r.acks
		rd.Acks = r.given
	}
	rd.HighWatermarkMoved, r.hwMoved = r.hwMoved, false
	return rd, rd.Role != nil || rd.Write != nil || rd.Read || len(rd.Acks) > 0 || rd.HighWatermarkMoved
}

// EndAppend says that the log now ends at end.
func (r *Replica) EndAppend(end int64) {
	if r.busy != appending || end < r.end {
		invariant.Check(false, "replica: append ends at %d, log at %d, change %d", end, r.end, r.busy)
	}
	r.end = end
	if r.role.Kind == Follower {
		r.raise(min(r.leaderHW, r.end))
	} else {
		r.advance()
	}
	r.endChange()
}

// Synced says that the log is on disk below end. The shell reads end from its log under the partition's lock, so that
// it never speaks of records that a truncation has removed since.
func (r *Replica) Synced(end int64) {
	if end = min(end, r.end); end <= r.synced {
		return
	}
	r.synced = end
	if r.role.Kind == Leader {
		r.releaseSynced()
		r.advance()
	}
}

// SetLogStart says that the log's start moved up: retention, or DeleteRecords.
func (r *Replica) SetLogStart(start int64) {
	r.start = max(r.start, min(start, r.end))
	r.raise(r.start)
}

// Fail says that the log has failed and will not take another append (K15). It ends a change of the log under way. The
// replica leaves the ISR, if it is not alone there, and never leads again.
func (r *Replica) Fail() {
	if r.role.Kind == Failed {
		return
	}
	r.releaseAll(StorageError)
	r.role, r.roleMoved = Role{Kind: Failed, Leader: layout.NoLeader, Epoch: r.role.Epoch}, true
	r.endChange()
	r.resign()
}

// raise moves the high watermark up, never down.
func (r *Replica) raise(hw int64) {
	if hw > r.hw {
		r.hw, r.hwMoved = hw, true
	}
}

// Role returns what the replica is at present.
func (r *Replica) Role() Role { return r.role }

// State returns the newest state that counts and its version, -1 if there is none. The slices are the replica's.
func (r *Replica) State() (layout.PartitionState, int32) { return r.state, r.version }

// HighWatermark returns the high watermark, and whether a leader may tell it to clients as the latest offset. A new
// leader's may be behind what the last one told, until it has reached the end of the log as it was at the election.
func (r *Replica) HighWatermark() (hw int64, known bool) {
	return r.hw, r.role.Kind == Leader && r.hw >= r.role.EpochStart
}

// LogEnd returns the log end offset and the synced end.
func (r *Replica) LogEnd() (end, synced int64) { return r.end, r.synced }

// position is how far this replica's own log counts.
func (r *Replica) position() int64 {
	if r.cfg.Durable {
		return r.synced
	}
	return r.end
}
