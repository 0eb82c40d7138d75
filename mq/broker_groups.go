package mq

import (
	"cmp"
	"context"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/group"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

const (
	// groupTick is how often groups' timeouts are looked at.
	groupTick = 20 * time.Millisecond
	// offsetsExpiryPeriod is how often old offsets of empty groups are looked for.
	offsetsExpiryPeriod = 10 * time.Minute
	// groupNameMax bounds the id of a group, in bytes.
	groupNameMax = 1024
)

// groupCoordinator coordinates the groups of those partitions of __consumer_offsets that this broker leads: a shard each, for one
// leader epoch (R13). It implements api.Members, api.Offsets and api.Groups.
type groupCoordinator struct {
	b   *Broker
	cfg group.Config
	wg  sync.WaitGroup

	mu struct {
		sync.RWMutex
		closed bool
		shards map[int32]*groupShard
	}
	// roles are the newest roles of the partitions that have not been acted on, by partition.
	roles struct {
		sync.Mutex
		m map[int32]shardRole
	}
	wake  chan struct{}
	rngMu sync.Mutex
	rng   *rand.Rand
}

// shardRole is what has become of a partition of __consumer_offsets.
type shardRole struct {
	p    *hostedPartition
	role replica.Role
}

func newGroupCoordinator(b *Broker) *groupCoordinator {
	g := &groupCoordinator{b: b, wake: make(chan struct{}, 1), rng: b.newRand()}
	g.cfg = group.Config{
		MembersMax: b.cfg.GroupMaxSize, SessionTimeoutMin: b.cfg.GroupMinSessionTimeout.Milliseconds(),
		SessionTimeoutMax: b.cfg.GroupMaxSessionTimeout.Milliseconds(), InitialRebalanceDelay: b.cfg.GroupInitialRebalanceDelay.Milliseconds(),
	}
	g.mu.shards = map[int32]*groupShard{}
	g.roles.m = map[int32]shardRole{}
	return g
}

// start runs the coordinator's loops.
func (g *groupCoordinator) start() {
	g.wg.Go(g.followRoles)
	g.wg.Go(g.tick)
}

// close ends every shard; whoever waits is told. The broker's context has ended.
func (g *groupCoordinator) close() {
	g.mu.Lock()
	g.mu.closed = true
	shards := g.mu.shards
	g.mu.shards = map[int32]*groupShard{}
	g.mu.Unlock()
	for _, s := range shards {
		s.close()
	}
	g.wg.Wait()
}

// roleChanged takes note of a partition's new role. It is told them in order, and never blocks.
func (g *groupCoordinator) roleChanged(p *hostedPartition, role replica.Role) {
	if p.topic != api.OffsetsTopic {
		return
	}
	g.roles.Lock()
	g.roles.m[p.key.index] = shardRole{p, role}
	g.roles.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// followRoles loads and unloads shards, in the order of leader epochs.
func (g *groupCoordinator) followRoles() {
	for {
		select {
		case <-g.wake:
		case <-g.b.ctx.Done():
			return
		}
		g.roles.Lock()
		roles := g.roles.m
		g.roles.m = map[int32]shardRole{}
		g.roles.Unlock()
		for index, r := range roles {
			g.follow(index, r)
		}
	}
}

// follow ends the shard of an earlier epoch and, if this broker leads, starts one for the new epoch.
func (g *groupCoordinator) follow(index int32, r shardRole) {
	g.mu.Lock()
	old := g.mu.shards[index]
	same := old != nil && old.p == r.p && r.role.Kind == replica.Leader && old.epoch == r.role.Epoch
	if same || g.mu.closed {
		g.mu.Unlock()
		return
	}
	delete(g.mu.shards, index)
	g.mu.Unlock()
	if old != nil {
		old.close()
	}
	if r.role.Kind != replica.Leader {
		return
	}
	s := newGroupShard(g, r.p, r.role.Epoch)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return
	}
	g.mu.shards[index] = s
	g.wg.Go(s.run)
}

// tick moves the groups' time.
func (g *groupCoordinator) tick() {
	t := time.NewTicker(groupTick)
	defer t.Stop()
	sinceExpiry := time.Duration(0)
	for {
		select {
		case <-t.C:
		case <-g.b.ctx.Done():
			return
		}
		sinceExpiry += groupTick
		expire := sinceExpiry >= offsetsExpiryPeriod
		if expire {
			sinceExpiry = 0
		}
		for _, s := range g.all() {
			s.tick(time.Now().UnixMilli(), expire)
		}
	}
}

// all returns the shards by partition.
func (g *groupCoordinator) all() []*groupShard {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := make([]*groupShard, 0, len(g.mu.shards))
	for _, s := range g.mu.shards {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *groupShard) int { return cmp.Compare(a.p.key.index, b.p.key.index) })
	return out
}

// shard returns the shard of a group, or why it is not here.
func (g *groupCoordinator) shard(name string) (*groupShard, api.Code) {
	if len(name) > groupNameMax {
		return nil, api.InvalidGroupID
	}
	t := g.b.image.Load().Topics[api.OffsetsTopic]
	if t == nil {
		return nil, api.NotCoordinator
	}
	g.mu.RLock()
	s := g.mu.shards[group.PartitionFor(name, int32(len(t.Partitions)))]
	g.mu.RUnlock()
	if s == nil {
		return nil, api.NotCoordinator
	}
	return s, s.ready()
}

// Coordinator implements api.Groups: the leader of the group's partition. The first question creates the topic.
func (g *groupCoordinator) Coordinator(ctx context.Context, name string) (int32, api.Code) {
	ctx, cancel := context.WithTimeout(ctx, coordinatorWait)
	defer cancel()
	cfg := &g.b.cfg
	replicas := int16(g.b.admin.replicationFactor(-1, cfg.OffsetsTopicReplicationFactor))
	code := g.b.admin.ensureTopic(ctx, api.OffsetsTopic, cfg.OffsetsTopicNumPartitions, replicas, map[string]string{"cleanup.policy": "compact"})
	if code != api.None {
		return -1, api.CoordinatorNotAvailable
	}
	leader := int32(-1)
	err := g.b.awaitImage(ctx, func(img *meta.Image) bool {
		t := img.Topics[api.OffsetsTopic]
		if t == nil || len(t.Partitions) == 0 {
			return false
		}
		leader = img.Leader(&t.Partitions[group.PartitionFor(name, int32(len(t.Partitions)))])
		return leader >= 0
	})
	if err != nil {
		return -1, api.CoordinatorNotAvailable
	}
	return leader, api.None
}

// coordinatorWait is how long a client that looks for its coordinator is kept waiting for one to be elected.
const coordinatorWait = 3 * time.Second

// NewMemberID implements api.Members: the client's id and 128 random bits.
func (g *groupCoordinator) NewMemberID(clientID string) string {
	var b [16]byte
	g.rngMu.Lock()
	hi, lo := g.rng.Uint64(), g.rng.Uint64()
	g.rngMu.Unlock()
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	if len(clientID) > 255 {
		clientID = clientID[:255]
	}
	return clientID + "-" + hex.EncodeToString(b[:])
}

// Join implements api.Members.
func (g *groupCoordinator) Join(name string, j group.Join, done func(group.JoinReply)) {
	s, code := g.shard(name)
	if code != api.None {
		done(group.JoinReply{Code: group.Code(code), Generation: -1, MemberID: j.MemberID})
		return
	}
	s.join(name, j, done)
}

// Sync implements api.Members.
func (g *groupCoordinator) Sync(name string, sy group.Sync, done func(group.SyncReply)) {
	s, code := g.shard(name)
	if code != api.None {
		done(group.SyncReply{Code: group.Code(code)})
		return
	}
	s.sync(name, sy, done)
}

// Heartbeat implements api.Members.
func (g *groupCoordinator) Heartbeat(name, member, instance string, generation int32) api.Code {
	s, code := g.shard(name)
	if code != api.None {
		return code
	}
	result := group.UnknownMemberID
	s.existing(name, func(e *groupEntry) { result = e.g.Heartbeat(member, instance, generation) })
	return api.Code(result)
}

// Leave implements api.Members.
func (g *groupCoordinator) Leave(name string, leavers []group.Leaver) (api.Code, []group.Code) {
	s, code := g.shard(name)
	if code != api.None {
		return code, nil
	}
	codes := make([]group.Code, len(leavers))
	for i := range codes {
		codes[i] = group.UnknownMemberID
	}
	s.existing(name, func(e *groupEntry) { codes = e.g.Leave(leavers) })
	return api.None, codes
}

// Commit implements api.Offsets.
func (g *groupCoordinator) Commit(c api.Commit, done func(api.Code)) {
	s, code := g.shard(c.Group)
	if code != api.None {
		done(code)
		return
	}
	for i := range c.Offsets {
		if len(c.Offsets[i].Metadata) > g.b.cfg.OffsetMetadataBytesMax {
			done(api.OffsetMetadataTooLarge)
			return
		}
	}
	s.commit(c, done)
}

// Fetch implements api.Offsets.
func (g *groupCoordinator) Fetch(name string, partitions []group.TopicPartition) ([]api.OffsetFetched, api.Code) {
	s, code := g.shard(name)
	if code != api.None {
		return nil, code
	}
	return s.offsets(name, partitions), api.None
}

// Delete implements api.Offsets.
func (g *groupCoordinator) Delete(ctx context.Context, name string, partitions []group.TopicPartition) ([]api.Code, api.Code) {
	s, code := g.shard(name)
	if code != api.None {
		return nil, code
	}
	return s.deleteOffsets(ctx, name, partitions)
}

// Describe implements api.Groups. A group that does not exist is described as Dead.
func (g *groupCoordinator) Describe(name string) (group.Snapshot, api.Code) {
	s, code := g.shard(name)
	if code != api.None {
		return group.Snapshot{}, code
	}
	snap := group.Snapshot{Group: name, State: group.Dead}
	s.existing(name, func(e *groupEntry) { snap = e.g.Snapshot() })
	return snap, api.None
}

// List implements api.Groups.
func (g *groupCoordinator) List() ([]group.Snapshot, api.Code) {
	var out []group.Snapshot
	for _, s := range g.all() {
		if code := s.ready(); code != api.None {
			return nil, code
		}
		out = append(out, s.list()...)
	}
	return out, api.None
}

// DeleteGroup implements api.Groups.
func (g *groupCoordinator) DeleteGroup(ctx context.Context, name string) api.Code {
	s, code := g.shard(name)
	if code != api.None {
		return code
	}
	return s.deleteGroup(ctx, name)
}
