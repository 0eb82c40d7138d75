package mq

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/mq/internal/partition"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
	"github.com/vivarium-go/vivarium/zk"
)

const (
	// replicaTick is the tick of the replica cores: what replica.lag.time.max is counted in.
	replicaTick = 100 * time.Millisecond
	// checkpointPeriod is how often high watermarks and checkpoints are written.
	checkpointPeriod = 5 * time.Second
)

// topicIndex names a partition by its topic's name.
type topicIndex struct {
	topic string
	index int32
}

// partitionHost keeps the broker's replicas: it opens, configures and closes partitions as the image says, ticks them, and runs
// a fetcher for each broker that partitions are copied from.
type partitionHost struct {
	cfg    *Config
	self   int32
	log    *slog.Logger
	disk   *brokerDisk
	life   func() *brokerLife // the present session's, nil in between
	image  func() *meta.Image
	onRole func(p *hostedPartition, role replica.Role)
	ctx    context.Context
	wg     sync.WaitGroup
	// clean says how partitions are closed when the host ends.
	clean atomic.Bool

	mu struct {
		sync.RWMutex
		closed bool
		byName map[topicIndex]*hostedPartition
		byID   map[partitionKey]*hostedPartition
		// progress is closed and replaced when the image has been followed.
		progress chan struct{}
	}
	fetchers struct {
		sync.Mutex
		closed bool
		m      map[int32]*fetcher
	}
	// pending are topics whose change has not been looked at; all means every one.
	pending struct {
		sync.Mutex
		topics map[string]struct{}
		all    bool
	}
	wake chan struct{}
}

func newPartitionHost(ctx context.Context, cfg *Config, disk *brokerDisk) *partitionHost {
	h := &partitionHost{cfg: cfg, self: cfg.BrokerID, log: cfg.Logger, disk: disk, ctx: ctx, wake: make(chan struct{}, 1)}
	h.mu.byName, h.mu.byID = map[topicIndex]*hostedPartition{}, map[partitionKey]*hostedPartition{}
	h.mu.progress = make(chan struct{})
	h.fetchers.m = map[int32]*fetcher{}
	h.pending.topics = map[string]struct{}{}
	return h
}

// spawn runs fn on a goroutine that close waits for.
func (h *partitionHost) spawn(fn func()) { h.wg.Go(fn) }

// start runs the host's loops.
func (h *partitionHost) start() {
	h.spawn(h.run)
	h.spawn(h.upkeep)
}

// changed takes note that an image has these topics changed.
func (h *partitionHost) changed(topics []string) {
	h.pending.Lock()
	for _, t := range topics {
		h.pending.topics[t] = struct{}{}
	}
	h.pending.Unlock()
	h.nudge()
}

// changedAll takes note that everything must be looked at again.
func (h *partitionHost) changedAll() {
	h.pending.Lock()
	h.pending.all = true
	h.pending.Unlock()
	h.nudge()
}

func (h *partitionHost) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run follows the image until the host ends.
func (h *partitionHost) run() {
	for {
		select {
		case <-h.wake:
		case <-h.ctx.Done():
			return
		}
		life := h.life()
		if life == nil || life.incarnation() < 0 {
			continue // woken again when the broker is registered
		}
		h.pending.Lock()
		topics, all := h.pending.topics, h.pending.all
		h.pending.topics, h.pending.all = map[string]struct{}{}, false
		h.pending.Unlock()
		img := h.image()
		if all {
			for name := range img.Topics {
				topics[name] = struct{}{}
			}
			for _, p := range h.partitions() {
				topics[p.topic] = struct{}{}
			}
		}
		for name := range topics {
			h.follow(img, name, life)
		}
		h.progressed()
		h.dropTombstoned(img, life)
		h.nudgeFetchers()
	}
}

// follow makes the replicas of one topic what the image says.
func (h *partitionHost) follow(img *meta.Image, name string, life *brokerLife) {
	t := img.Topics[name]
	for _, p := range h.ofTopic(name) {
		gone := t == nil || t.ID != p.key.topic || int(p.key.index) >= len(t.Partitions) ||
			!slices.Contains(t.Partitions[p.key.index].Replicas, h.self)
		if gone {
			h.release(p, true)
		}
	}
	if t == nil || t.ID.IsZero() {
		return
	}
	s := h.cfg.settingsOf(t)
	for i := range t.Partitions {
		mp := &t.Partitions[i]
		if !slices.Contains(mp.Replicas, h.self) {
			continue
		}
		key := partitionKey{t.ID, int32(i)}
		p := h.byKey(key)
		if p == nil {
			var err error
			if p, err = h.host(name, key, &s, mp.Replicas, life.incarnation()); err != nil {
				h.log.Error("a partition cannot be opened", "topic", name, "partition", i, "err", err)
				continue
			}
		} else {
			p.configure(&s, mp.Replicas, h.lagTicks())
		}
		p.show(mp)
	}
}

// lagTicks is replica.lag.time.max in ticks.
func (h *partitionHost) lagTicks() int { return int(max(h.cfg.ReplicaLagTimeMax/replicaTick, 1)) }

// configure takes a changed configuration or assignment.
func (p *hostedPartition) configure(s *topicSettings, replicas []int32, lagTicks int) {
	p.log.Configure(s.log)
	p.with(func(c *replica.Replica) {
		p.mu.retains = s.retains
		c.Configure(replica.Config{Replicas: replicas, MinInsync: s.minInsync, Durable: s.durable, LagTicks: lagTicks})
	})
}

// openLog opens a partition's log.
func (h *partitionHost) openLog(key partitionKey, s *topicSettings, onSynced func(int64), onError func(error)) (*partition.Partition, error) {
	return partition.Open(partition.Config{
		Dir: h.disk.partitionDir(key), FS: h.disk.fs, Flusher: h.disk.flusher, TopicID: key.topic,
		SegmentBytes: h.cfg.LogSegmentBytes, Settings: s.log, OnSynced: onSynced, OnError: onError, Logger: h.log,
	})
}

// host opens a partition and puts it where requests find it.
func (h *partitionHost) host(name string, key partitionKey, s *topicSettings, replicas []int32, incarnation int64) (*hostedPartition, error) {
	p := &hostedPartition{host: h, topic: name, key: key, gate: make(chan struct{}, 1)}
	log, err := h.openLog(key, s, p.synced, p.failed)
	if err != nil {
		return nil, err
	}
	p.log = log
	p.mu.acks = map[uint64]ackWaiter{}
	p.mu.retains = s.retains
	p.mu.core = replica.New(replica.Config{
		Broker: h.self, Incarnation: incarnation, Replicas: replicas, MinInsync: s.minInsync, Durable: s.durable, LagTicks: h.lagTicks(),
	}, replica.Log{Start: log.LogStart(), End: log.LEO(), Synced: log.SyncedEnd(), HighWatermark: h.disk.watermarks[key]}, log)
	h.mu.Lock()
	if h.mu.closed {
		h.mu.Unlock()
		log.Abort()
		return nil, ErrClosed
	}
	h.mu.byName[topicIndex{name, key.index}], h.mu.byID[key] = p, p
	h.mu.Unlock()
	return p, nil
}

// release closes a replica that this broker has no more; its data stays.
func (h *partitionHost) release(p *hostedPartition, clean bool) {
	h.mu.Lock()
	delete(h.mu.byID, p.key)
	if i := (topicIndex{p.topic, p.key.index}); h.mu.byName[i] == p {
		delete(h.mu.byName, i)
	}
	h.mu.Unlock()
	h.assign(p, replica.Role{Kind: replica.Waiting, Leader: layout.NoLeader})
	if err := p.close(clean); err != nil {
		h.log.Warn("closing a partition failed", "topic", p.topic, "partition", p.key.index, "err", err)
	}
	h.onRole(p, replica.Role{Kind: replica.Waiting, Leader: layout.NoLeader, Epoch: 1<<31 - 1})
}

// dropTombstoned deletes what is left of deleted topics, and confirms it (R12).
func (h *partitionHost) dropTombstoned(img *meta.Image, life *brokerLife) {
	for id, t := range img.Tombstones {
		if t.Confirmed[h.self] || !slices.Contains(t.Brokers(), h.self) {
			continue
		}
		if err := h.deleteTopic(id, len(t.Replicas)); err != nil {
			h.log.Error("a deleted topic's data cannot be deleted", "topic", t.Topic, "id", id.String(), "err", err)
			continue
		}
		life.zk.Go(life.ctx, zk.CreateOp(layout.TombstoneConfirmPath(id, h.self), nil, zk.Persistent), func(r zk.OpResult) {
			if r.Err != nil && !errors.Is(r.Err, zk.ErrNodeExists) && !errors.Is(r.Err, zk.ErrNoNode) {
				pause(life.ctx, 0)
				h.nudge()
			}
		})
	}
}

// deleteTopic deletes the data of a topic's partitions.
func (h *partitionHost) deleteTopic(id layout.ID, partitions int) error {
	for _, p := range h.partitions() {
		if p.key.topic == id {
			h.release(p, true)
		}
	}
	names, err := h.disk.fs.ReadDir(h.disk.name(topicsDir, id.String()))
	if err != nil {
		return nil //nolint:nilerr // there is nothing to delete
	}
	for i := range partitions {
		key := partitionKey{id, int32(i)}
		if !slices.Contains(names, strconv.Itoa(i)) {
			continue
		}
		log, err := h.openLog(key, &topicSettings{}, nil, nil)
		if err == nil {
			err = log.Delete()
		}
		if err != nil {
			return err
		}
	}
	return h.disk.fs.Remove(h.disk.name(topicsDir, id.String()))
}

// partitions returns every replica.
func (h *partitionHost) partitions() []*hostedPartition {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := make([]*hostedPartition, 0, len(h.mu.byID))
	for _, p := range h.mu.byID {
		out = append(out, p)
	}
	return out
}

// ofTopic returns the replicas of a topic's partitions.
func (h *partitionHost) ofTopic(name string) []*hostedPartition {
	var out []*hostedPartition
	for _, p := range h.partitions() {
		if p.topic == name {
			out = append(out, p)
		}
	}
	return out
}

func (h *partitionHost) byKey(key partitionKey) *hostedPartition {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.mu.byID[key]
}

// Find implements api.Logs.
func (h *partitionHost) Find(topic string, index int32) (api.Partition, api.Code) {
	name := topicIndex{topic, index}
	h.mu.RLock()
	p := h.mu.byName[name]
	h.mu.RUnlock()
	if p != nil && p.leads.Load() {
		return p, api.None
	}
	img := h.image()
	mp := img.Partition(topic, index)
	if mp == nil && p == nil {
		return nil, api.UnknownTopicOrPartition
	}
	if mp != nil && h.about(mp) {
		p = h.awaitLeading(partitionKey{img.Topics[topic].ID, index})
	}
	if p == nil {
		return nil, api.NotLeaderOrFollower
	}
	return p, api.None
}

// FindByID implements api.Logs.
func (h *partitionHost) FindByID(topic layout.ID, index int32) (api.Partition, api.Code) {
	key := partitionKey{topic, index}
	p := h.byKey(key)
	if p != nil && p.leads.Load() {
		return p, api.None
	}
	t := h.image().TopicByID(topic)
	switch {
	case t == nil && p == nil:
		return nil, api.UnknownTopicID
	case t != nil && (index < 0 || int(index) >= len(t.Partitions)):
		return nil, api.UnknownTopicOrPartition
	case t != nil && h.about(&t.Partitions[index]):
		p = h.awaitLeading(key)
	}
	if p == nil {
		return nil, api.NotLeaderOrFollower
	}
	return p, api.None
}

// about says whether the image has this broker, in this life, lead a partition: its replica is about to, if it does not.
func (h *partitionHost) about(mp *meta.Partition) bool {
	life := h.life()
	return life != nil && mp.Version >= 0 && mp.State.Leader == h.self && mp.State.LeaderIncarnation == life.incarnation()
}

// leadWait is how long a request waits for a replica that is about to lead. Without it the first request after an election or a
// creation would be sent away, and clients take their time to come back.
const leadWait = 200 * time.Millisecond

// awaitLeading waits until the replica leads.
func (h *partitionHost) awaitLeading(key partitionKey) *hostedPartition {
	deadline := time.NewTimer(leadWait)
	defer deadline.Stop()
	for {
		h.mu.RLock()
		next := h.mu.progress
		h.mu.RUnlock()
		p := h.byKey(key)
		if p != nil && p.leads.Load() {
			return p
		}
		select {
		case <-next:
		case <-deadline.C:
			return p
		case <-h.ctx.Done():
			return p
		}
	}
}

// progressed wakes who waits for a replica to lead.
func (h *partitionHost) progressed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.mu.progress)
	h.mu.progress = make(chan struct{})
}

// roleChanged is told of a role that has been applied to a partition's log. The partition's gate is held.
func (h *partitionHost) roleChanged(p *hostedPartition, role replica.Role) {
	h.log.Debug("role", "topic", p.topic, "partition", p.key.index, "role", role.Kind.String(), "leader", role.Leader, "epoch", role.Epoch)
	h.assign(p, role)
	h.onRole(p, role)
}

// staleEpoch has the partition's state read again: somebody knows another leader epoch than this replica (R8).
func (h *partitionHost) staleEpoch(p *hostedPartition, code replica.Code) {
	if code != replica.UnknownLeaderEpoch {
		return
	}
	if life := h.life(); life != nil {
		life.reader.mark(layout.StatePath(p.topic, p.key.index))
	}
}

// register tells every replica that the broker lives a new incarnation.
func (h *partitionHost) register(incarnation int64) {
	for _, p := range h.partitions() {
		p.enter()
		p.withGate(func(c *replica.Replica) { c.Register(incarnation) })
		p.leave()
	}
	h.changedAll()
}

// retire has every replica leave its in-sync set for good when it is taken out of it: the broker is about to stop.
func (h *partitionHost) retire() {
	for _, p := range h.partitions() {
		p.with(func(c *replica.Replica) { c.Retire() })
	}
}

// upkeep ticks the replicas, writes checkpoints and applies retention.
func (h *partitionHost) upkeep() {
	tick := time.NewTicker(replicaTick)
	defer tick.Stop()
	checkpoint, retention := time.Duration(0), time.Duration(0)
	for {
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			return
		}
		all := h.partitions()
		for _, p := range all {
			p.with(func(c *replica.Replica) { c.Tick() })
		}
		if checkpoint += replicaTick; checkpoint >= checkpointPeriod {
			checkpoint = 0
			h.checkpoint(all)
		}
		if retention += replicaTick; retention >= h.cfg.LogRetentionCheckInterval {
			retention = 0
			for _, p := range all {
				p.retain(time.Now().UnixMilli())
			}
		}
	}
}

// checkpoint saves what makes the next start quick, and the high watermarks.
func (h *partitionHost) checkpoint(all []*hostedPartition) {
	for _, p := range all {
		if err := p.log.Checkpoint(); err != nil && !errors.Is(err, partition.ErrClosed) && p.log.Err() == nil {
			h.log.Warn("a checkpoint failed", "topic", p.topic, "partition", p.key.index, "err", err)
		}
	}
	h.saveWatermarks(all)
}

// saveWatermarks writes the high watermarks. A stale one costs a follower or a new leader nothing but a moment.
func (h *partitionHost) saveWatermarks(all []*hostedPartition) {
	offsets := make([]partition.Offset, 0, len(all))
	for _, p := range all {
		offsets = append(offsets, partition.Offset{TopicID: p.key.topic, Partition: p.key.index, Offset: p.highWatermark()})
	}
	slices.SortFunc(offsets, func(a, b partition.Offset) int {
		if c := slices.Compare(a.TopicID[:], b.TopicID[:]); c != 0 {
			return c
		}
		return int(a.Partition - b.Partition)
	})
	if err := partition.SaveOffsets(h.disk.fs, h.disk.name(offsetsFile), offsets); err != nil {
		h.log.Warn("saving high watermarks failed", "err", err)
	}
}

// retain removes old records, if the topic's policy is to.
func (p *hostedPartition) retain(nowMillis int64) {
	p.mu.Lock()
	retains := p.mu.retains && !p.mu.closed
	hw, _ := p.mu.core.HighWatermark()
	p.mu.Unlock()
	if !retains {
		return
	}
	start, err := p.log.ApplyRetention(nowMillis, hw)
	if err != nil {
		if !errors.Is(err, partition.ErrClosed) {
			p.host.log.Warn("retention failed", "topic", p.topic, "partition", p.key.index, "err", err)
		}
		return
	}
	p.with(func(c *replica.Replica) { c.SetLogStart(start) })
}

// close ends the host: loops and fetchers have been told by their context. Partitions are closed cleanly if clean is set.
func (h *partitionHost) close() error {
	h.mu.Lock()
	h.mu.closed = true
	h.mu.Unlock()
	h.closeFetchers()
	all := h.partitions()
	clean := h.clean.Load()
	if clean {
		h.saveWatermarks(all)
	}
	var errs []error
	for _, p := range all {
		if err := p.close(clean); err != nil {
			errs = append(errs, err)
		}
	}
	h.wg.Wait()
	return errors.Join(errs...)
}
