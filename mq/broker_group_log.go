package mq

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
	"github.com/vivarium-go/vivarium/mq/internal/group"
)

const (
	// shardBatchBytes is how large a batch of __consumer_offsets becomes, unless one write alone is larger.
	shardBatchBytes = 256 << 10
	// loadChunkBytes is how much of the partition is read at a time when it is loaded.
	loadChunkBytes = 1 << 20
)

// appendQueued appends everything queued, in order, as few batches.
func (s *groupShard) appendQueued() {
	for {
		s.mu.Lock()
		if s.mu.closed || len(s.mu.queue) == 0 {
			s.mu.Unlock()
			return
		}
		n, size := 0, 0
		for n < len(s.mu.queue) && (n == 0 || size < shardBatchBytes) {
			for _, r := range s.mu.queue[n].records {
				size += len(r.key) + len(r.value)
			}
			n++
		}
		writes := s.mu.queue[:n:n]
		s.mu.queue = s.mu.queue[n:]
		s.mu.sent = append(s.mu.sent, writes...)
		s.mu.Unlock()
		s.appendBatch(writes)
	}
}

// appendBatch appends some writes as one batch, in the shard's leader epoch only, and settles them when it is replicated.
func (s *groupShard) appendBatch(writes []*shardWrite) {
	var b batch.Builder
	now := time.Now().UnixMilli()
	var err error
	for _, w := range writes {
		for _, r := range w.records {
			if err == nil {
				err = b.Append(now, r.key, r.value, nil)
			}
		}
	}
	if err != nil {
		s.settle(writes, refused(api.MessageTooLarge))
		return
	}
	s.p.appendIn(s.epoch, b.Build(batch.NewSpec()), -1, func(res api.AppendResult) { s.settle(writes, res) })
}

// settle completes writes.
func (s *groupShard) settle(writes []*shardWrite, res api.AppendResult) {
	var after []func()
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return
	}
	at := res.BaseOffset
	for _, w := range writes {
		w.at = at
		at += int64(len(w.records))
		if w.settle != nil {
			w.settle(w, res.Code)
		}
		if w.answer != nil && !w.answered {
			w.answered = true
			after = append(after, func() { w.answer(res.Code) })
		}
	}
	s.forgetLocked(writes)
	for _, w := range writes {
		if w.entry != nil {
			after = append(after, s.drainLocked(w.entry)...)
		}
	}
	s.mu.Unlock()
	for _, fn := range after {
		fn()
	}
}

// forgetLocked takes completed writes off the list of those sent. They complete in order, mostly.
func (s *groupShard) forgetLocked(writes []*shardWrite) {
	done := make(map[*shardWrite]struct{}, len(writes))
	for _, w := range writes {
		done[w] = struct{}{}
	}
	kept := s.mu.sent[:0]
	for _, w := range s.mu.sent {
		if _, ok := done[w]; !ok {
			kept = append(kept, w)
		}
	}
	clear(s.mu.sent[len(kept):])
	s.mu.sent = kept
}

// load reads the partition from its start to its end as it is now: the groups' newest metadata and offsets.
func (s *groupShard) load() error {
	end := s.p.log.LEO()
	snaps := map[string]group.Snapshot{}
	entries := map[string]*groupEntry{}
	entry := func(name string) *groupEntry {
		e := entries[name]
		if e == nil {
			e = &groupEntry{}
			entries[name] = e
		}
		return e
	}
	var buf []byte
	for next := s.p.log.LogStart(); next < end; {
		var err error
		if buf, err = s.p.log.Read(buf[:0], next, loadChunkBytes, end); err != nil {
			return err
		}
		after, err := eachRecord(buf, next, func(at int64, key, value []byte) { s.loadRecord(at, key, value, snaps, entry) })
		if err != nil {
			return err
		}
		if after == next { // a gap up to the end
			break
		}
		next = after
	}
	now := time.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, e := range entries {
		snap, ok := snaps[name]
		switch {
		case ok:
			e.g = group.Restore(s.g.cfg, snap, now)
		case e.offsets.Len() > 0:
			e.g = group.New(s.g.cfg, name, now)
		default:
			continue
		}
		s.mu.groups[name] = e
	}
	return nil
}

// loadRecord takes one record of __consumer_offsets. Records of kinds this version does not know are passed over.
func (s *groupShard) loadRecord(at int64, key, value []byte, snaps map[string]group.Snapshot, entry func(string) *groupEntry) {
	k, err := group.ParseKey(key)
	if err != nil {
		s.g.b.cfg.Logger.Warn("a record of __consumer_offsets is passed over", "partition", s.p.key.index, "offset", at, "err", err)
		return
	}
	e := entry(k.Group)
	switch {
	case k.IsOffset && value == nil:
		e.offsets.Delete(k.TopicPartition, at)
	case k.IsOffset:
		var o group.Offset
		if o, err = group.ParseOffsetValue(value); err == nil {
			e.offsets.Set(k.TopicPartition, o, at)
		}
	case value == nil:
		delete(snaps, k.Group)
	default:
		var snap group.Snapshot
		if snap, err = group.ParseGroupValue(k.Group, value); err == nil {
			snaps[k.Group] = snap
		}
	}
	if err != nil {
		s.g.b.cfg.Logger.Warn("a record of __consumer_offsets cannot be read", "partition", s.p.key.index, "offset", at, "err", err)
	}
}

// eachRecord calls fn for every record from an offset on in whole batches, and returns the offset after them. Keys and values are
// copied by who keeps them.
func eachRecord(buf []byte, from int64, fn func(at int64, key, value []byte)) (next int64, err error) {
	next = from
	for len(buf) > 0 {
		h, b, rest, err := batch.Cut(buf)
		if errors.Is(err, batch.ErrPartial) || errors.Is(err, io.EOF) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		buf, next = rest, h.NextOffset()
		if h.IsControl() {
			continue
		}
		section := batch.Section(b)
		if h.Codec() != batch.None {
			if section, err = codec.Decompress(nil, section, h.Codec(), 0); err != nil {
				return next, fmt.Errorf("batch at %d: %w", h.BaseOffset, err)
			}
		}
		r := batch.NewReader(h, section)
		for r.Next() {
			rec := r.Record()
			if rec.Offset >= from {
				fn(rec.Offset, rec.Key, rec.Value)
			}
		}
		if err := r.Err(); err != nil {
			return next, fmt.Errorf("batch at %d: %w", h.BaseOffset, err)
		}
	}
	return next, nil
}

// eachBatch walks over whole batches and returns the offset after them.
func eachBatch(buf []byte, from int64) (next int64, err error) {
	next = from
	for len(buf) > 0 {
		h, _, rest, err := batch.Cut(buf)
		if err != nil {
			return next, err
		}
		buf, next = rest, h.NextOffset()
	}
	return next, nil
}
