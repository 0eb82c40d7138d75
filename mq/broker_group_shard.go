package mq

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/group"
)

const (
	// offsetsCommitTimeout is how long a commit waits to be replicated.
	offsetsCommitTimeout = 5 * time.Second
	// shardQueueMax bounds the records that wait to be appended; commits beyond it are refused.
	shardQueueMax = 100_000
)

// groupShard holds the groups of one partition of __consumer_offsets for one leader epoch. Its mutex is never held while
// anything is appended or answered: a goroutine appends what was queued, many records as one batch, in order.
type groupShard struct {
	g     *groupCoordinator
	p     *hostedPartition
	epoch int32
	wake  chan struct{}
	done  chan struct{} // closed by close

	mu struct {
		sync.Mutex
		loaded bool
		closed bool
		groups map[string]*groupEntry
		token  group.Token
		joins  map[group.Token]func(group.JoinReply)
		syncs  map[group.Token]func(group.SyncReply)
		queue  []*shardWrite
		// sent are writes that wait to be replicated, oldest first.
		sent []*shardWrite
	}
}

// groupEntry is a group with its offsets.
type groupEntry struct {
	g       *group.Group
	offsets group.Offsets
}

// shardWrite is some records that are appended together, and what follows.
type shardWrite struct {
	records []shardRecord
	// at is the offset of the first record, set before settle.
	at int64
	// settle is called under the shard's mutex when the records are replicated, or not; then answer without it.
	settle   func(w *shardWrite, code api.Code)
	answer   func(code api.Code)
	deadline time.Time
	answered bool
	// entry is the group whose metadata this is; nil for offsets.
	entry *groupEntry
}

// shardRecord is one record of __consumer_offsets. A nil value is a tombstone.
type shardRecord struct{ key, value []byte }

func newGroupShard(g *groupCoordinator, p *hostedPartition, epoch int32) *groupShard {
	s := &groupShard{g: g, p: p, epoch: epoch, wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.mu.groups = map[string]*groupEntry{}
	s.mu.joins, s.mu.syncs = map[group.Token]func(group.JoinReply){}, map[group.Token]func(group.SyncReply){}
	return s
}

// ready says whether the shard answers.
func (s *groupShard) ready() api.Code {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed:
		return api.NotCoordinator
	case !s.mu.loaded:
		return api.CoordinatorLoadInProgress
	}
	return api.None
}

// run loads the groups and then appends what is queued, until the shard is closed.
func (s *groupShard) run() {
	if err := s.load(); err != nil {
		s.g.b.cfg.Logger.Error("loading groups failed", "partition", s.p.key.index, "epoch", s.epoch, "err", err)
	}
	s.mu.Lock()
	s.mu.loaded = true
	s.mu.Unlock()
	for {
		select {
		case <-s.wake:
			s.appendQueued()
		case <-s.done:
			return
		}
	}
}

// close ends the shard: whoever waits is told that the coordinator is elsewhere.
func (s *groupShard) close() {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return
	}
	s.mu.closed = true
	var after []func()
	for _, e := range s.mu.groups {
		e.g.Fail(group.NotCoordinator)
		after = append(after, s.drainLocked(e)...)
	}
	writes := append(s.mu.sent, s.mu.queue...)
	s.mu.sent, s.mu.queue = nil, nil
	for _, w := range writes {
		if !w.answered && w.answer != nil {
			w.answered = true
			after = append(after, func() { w.answer(api.NotCoordinator) })
		}
	}
	s.mu.Unlock()
	close(s.done)
	for _, fn := range after {
		fn()
	}
}

// existing calls fn with a group, if it exists, and carries out what follows.
func (s *groupShard) existing(name string, fn func(e *groupEntry)) {
	s.with(name, false, fn)
}

// with calls fn with a group, creating it if wanted, and carries out what follows. It reports false if there is none.
func (s *groupShard) with(name string, create bool, fn func(e *groupEntry)) bool {
	s.mu.Lock()
	e := s.mu.groups[name]
	if e == nil && create && !s.mu.closed {
		e = &groupEntry{g: group.New(s.g.cfg, name, time.Now().UnixMilli())}
		s.mu.groups[name] = e
	}
	if e == nil {
		s.mu.Unlock()
		return false
	}
	fn(e)
	after := s.drainLocked(e)
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
	return true
}

// drainLocked takes what a group wants: replies to be sent without the mutex, and its metadata to be queued.
func (s *groupShard) drainLocked(e *groupEntry) []func() {
	var after []func()
	for rd, ok := e.g.Ready(); ok; rd, ok = e.g.Ready() {
		for _, r := range rd.Joins {
			if done := s.mu.joins[r.Token]; done != nil {
				delete(s.mu.joins, r.Token)
				after = append(after, func() { done(r) })
			}
		}
		for _, r := range rd.Syncs {
			if done := s.mu.syncs[r.Token]; done != nil {
				delete(s.mu.syncs, r.Token)
				after = append(after, func() { done(r) })
			}
		}
		if p := rd.Persist; p != nil {
			id := p.ID
			rec := shardRecord{group.AppendGroupKey(nil, p.Snapshot.Group), group.AppendGroupValue(nil, p.Snapshot)}
			s.queueLocked(&shardWrite{entry: e, records: []shardRecord{rec}, settle: func(_ *shardWrite, code api.Code) {
				e.g.Persisted(id, group.Code(coordinatorCode(code)))
			}})
		}
	}
	return after
}

// queueLocked queues records for the appending goroutine.
func (s *groupShard) queueLocked(w *shardWrite) {
	w.deadline = time.Now().Add(offsetsCommitTimeout)
	s.mu.queue = append(s.mu.queue, w)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// coordinatorCode is what a client of the coordinator is told about a failed append.
func coordinatorCode(code api.Code) api.Code {
	switch code {
	case api.None:
		return api.None
	case api.NotLeaderOrFollower, api.KafkaStorageError:
		return api.NotCoordinator
	case api.MessageTooLarge:
		return api.UnknownServerError
	}
	return api.CoordinatorNotAvailable
}

// join passes a join to its group, which is created if need be.
func (s *groupShard) join(name string, j group.Join, done func(group.JoinReply)) {
	created := j.MemberID == ""
	ok := s.with(name, created, func(e *groupEntry) {
		s.mu.token++
		j.Token = s.mu.token
		s.mu.joins[j.Token] = done
		e.g.Join(j)
	})
	if !ok {
		done(group.JoinReply{Code: group.UnknownMemberID, Generation: -1, MemberID: j.MemberID})
	}
}

// sync passes a sync to its group.
func (s *groupShard) sync(name string, sy group.Sync, done func(group.SyncReply)) {
	ok := s.with(name, false, func(e *groupEntry) {
		s.mu.token++
		sy.Token = s.mu.token
		s.mu.syncs[sy.Token] = done
		e.g.Sync(sy)
	})
	if !ok {
		done(group.SyncReply{Code: group.UnknownMemberID})
	}
}

// commit queues offsets if the group allows it. Who commits without being a member creates the group.
func (s *groupShard) commit(c api.Commit, done func(api.Code)) {
	refuse := api.None
	now := time.Now().UnixMilli()
	queued := false
	ok := s.with(c.Group, c.Generation < 0, func(e *groupEntry) {
		if code := e.g.ValidateCommit(c.Member, c.Instance, c.Generation); code != group.None {
			refuse = api.Code(code)
			return
		}
		if len(s.mu.queue) >= shardQueueMax {
			refuse = api.CoordinatorNotAvailable
			return
		}
		if len(c.Offsets) == 0 {
			return
		}
		w := &shardWrite{answer: func(code api.Code) { done(coordinatorCode(code)) }}
		for i := range c.Offsets {
			o := &c.Offsets[i]
			o.CommitTime = now
			w.records = append(w.records, shardRecord{group.AppendOffsetKey(nil, c.Group, o.TopicPartition), group.AppendOffsetValue(nil, o.Offset)})
		}
		w.settle = func(w *shardWrite, code api.Code) {
			if code != api.None {
				return
			}
			for i := range c.Offsets {
				e.offsets.Set(c.Offsets[i].TopicPartition, c.Offsets[i].Offset, w.at+int64(i))
			}
		}
		s.queueLocked(w)
		queued = true
	})
	switch {
	case !ok:
		done(api.Code(group.IllegalGeneration))
	case !queued:
		done(refuse)
	}
}

// offsets looks committed offsets up.
func (s *groupShard) offsets(name string, partitions []group.TopicPartition) []api.OffsetFetched {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.mu.groups[name]
	if e == nil {
		e = &groupEntry{}
	}
	if partitions == nil {
		partitions = e.offsets.Partitions()
	}
	out := make([]api.OffsetFetched, len(partitions))
	for i, tp := range partitions {
		out[i].TopicPartition = tp
		out[i].Offset, out[i].Known = e.offsets.Lookup(tp)
	}
	return out
}

// list describes every group.
func (s *groupShard) list() []group.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.mu.groups))
	for name := range s.mu.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]group.Snapshot, len(names))
	for i, name := range names {
		out[i] = s.mu.groups[name].g.Snapshot()
	}
	return out
}

// tick moves time to now: groups' timeouts, and commits that wait too long.
func (s *groupShard) tick(now int64, expire bool) {
	s.mu.Lock()
	if !s.mu.loaded || s.mu.closed {
		s.mu.Unlock()
		return
	}
	var after []func()
	for name, e := range s.mu.groups {
		if !e.g.Idle() {
			e.g.Tick(now)
			after = append(after, s.drainLocked(e)...)
		}
		if expire {
			s.expireLocked(name, e, now)
		}
	}
	at := time.Now()
	for _, w := range s.mu.sent {
		if !w.answered && w.answer != nil && at.After(w.deadline) {
			w.answered = true
			after = append(after, func() { w.answer(api.RequestTimedOut) })
		}
	}
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// expireLocked has the offsets of an empty group forgotten that are older than the retention, and an empty group that has none.
func (s *groupShard) expireLocked(name string, e *groupEntry, now int64) {
	if e.g.State() != group.Empty {
		return
	}
	before := now - s.g.b.cfg.OffsetsRetention.Milliseconds()
	if e.g.StateTime() > before {
		return
	}
	old := e.offsets.Expired(before)
	w := &shardWrite{records: tombstones(name, old)}
	last := len(old) == e.offsets.Len()
	if last {
		w.records = append(w.records, shardRecord{key: group.AppendGroupKey(nil, name)})
	}
	if len(w.records) == 0 {
		return
	}
	w.settle = func(w *shardWrite, code api.Code) {
		if code != api.None {
			return
		}
		for i, tp := range old {
			e.offsets.Delete(tp, w.at+int64(i))
		}
		if last && e.offsets.Len() == 0 && e.g.State() == group.Empty && s.mu.groups[name] == e {
			delete(s.mu.groups, name)
		}
	}
	s.queueLocked(w)
}

// tombstones are the records that make offsets forgotten.
func tombstones(name string, partitions []group.TopicPartition) []shardRecord {
	var out []shardRecord
	for _, tp := range partitions {
		out = append(out, shardRecord{key: group.AppendOffsetKey(nil, name, tp)})
	}
	return out
}

// await queues a write and waits until it is replicated or not.
func (s *groupShard) await(ctx context.Context, queue func(answer func(api.Code)) bool) api.Code {
	ch := make(chan api.Code, 1)
	if !queue(func(code api.Code) { ch <- code }) {
		return api.GroupIDNotFound
	}
	select {
	case code := <-ch:
		return coordinatorCode(code)
	case <-ctx.Done():
		return api.RequestTimedOut
	}
}

// deleteGroup forgets an empty group with its offsets.
func (s *groupShard) deleteGroup(ctx context.Context, name string) api.Code {
	return s.await(ctx, func(answer func(api.Code)) bool {
		var refuse api.Code
		ok := s.with(name, false, func(e *groupEntry) {
			if e.g.State() != group.Empty {
				refuse = api.Code(group.NonEmptyGroup)
				return
			}
			old := e.offsets.Partitions()
			w := &shardWrite{records: append(tombstones(name, old), shardRecord{key: group.AppendGroupKey(nil, name)}), answer: answer}
			w.settle = func(_ *shardWrite, code api.Code) {
				if code == api.None && s.mu.groups[name] == e {
					e.g.Fail(group.UnknownMemberID)
					delete(s.mu.groups, name)
				}
			}
			s.queueLocked(w)
		})
		if refuse != api.None {
			answer(refuse)
		}
		return ok
	})
}

// deleteOffsets forgets offsets of partitions. With members in the group that could consume them it is refused.
func (s *groupShard) deleteOffsets(ctx context.Context, name string, partitions []group.TopicPartition) ([]api.Code, api.Code) {
	codes := make([]api.Code, len(partitions))
	code := s.await(ctx, func(answer func(api.Code)) bool {
		var refuse api.Code
		ok := s.with(name, false, func(e *groupEntry) {
			if e.g.State() != group.Empty {
				refuse = api.Code(group.NonEmptyGroup)
				return
			}
			w := &shardWrite{records: tombstones(name, partitions), answer: answer}
			w.settle = func(w *shardWrite, code api.Code) {
				for i, tp := range partitions {
					if code == api.None {
						e.offsets.Delete(tp, w.at+int64(i))
					}
				}
			}
			s.queueLocked(w)
		})
		if refuse != api.None {
			answer(refuse)
		}
		return ok
	})
	return codes, code
}
