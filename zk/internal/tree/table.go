package tree

import (
	"hash/maphash"
	"sync/atomic"
)

// table maps paths to entries. One goroutine writes; any number read without locks.
//
// It is 256 open-addressed arrays of entry pointers, probed linearly and chosen by the top bits of the hash, so that growing
// copies a 256th of the tree at a time. A slot goes from empty to an entry, to a removed mark, perhaps to another entry, never
// back to empty except by a copy to a new array. A reader therefore finds every entry that was there during its whole search; one
// inserted meanwhile it may miss, which is right, since that entry's versions lie above the zxid that the reader reads.
//
// The seed of the hash is random, so that clients cannot choose paths that collide. Nothing that the tree returns depends on it.
type table struct {
	seed   maphash.Seed
	live   int
	shards [256]shard
}

type shard struct {
	slots atomic.Pointer[[]slot]
	live  int // entries
	used  int // entries and removed marks
}

type slot = atomic.Pointer[entry]

// removed marks a slot whose entry is gone. Its path is no key.
var removed = &entry{path: "\xff"}

const shardSlotsMin = 8

func (tb *table) hash(path string) uint64 { return maphash.String(tb.seed, path) }

// find returns the entry of a path, or nil.
func (tb *table) find(path string) *entry {
	h := tb.hash(path)
	p := tb.shards[h>>56].slots.Load()
	if p == nil {
		return nil
	}
	slots := *p
	mask := uint64(len(slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := slots[i].Load()
		if e == nil {
			return nil
		}
		if e.hash == h && e.path == path {
			return e
		}
	}
}

// insert adds an entry whose path is not in the table, and sets its hash.
func (tb *table) insert(e *entry) {
	e.hash = tb.hash(e.path)
	s := &tb.shards[e.hash>>56]
	p := s.slots.Load()
	if p == nil || (s.used+1)*3 > len(*p)*2 {
		p = s.grow()
	}
	slots := *p
	mask := uint64(len(slots) - 1)
	for i := e.hash & mask; ; i = (i + 1) & mask {
		old := slots[i].Load()
		if old == nil || old == removed {
			if old == nil {
				s.used++
			}
			slots[i].Store(e)
			s.live++
			tb.live++
			return
		}
	}
}

// grow copies the shard into an array that is at most a third full.
func (s *shard) grow() *[]slot {
	size := shardSlotsMin
	for size < (s.live+1)*3 {
		size *= 2
	}
	slots := make([]slot, size)
	mask := uint64(size - 1)
	if p := s.slots.Load(); p != nil {
		for i := range *p {
			e := (*p)[i].Load()
			if e == nil || e == removed {
				continue
			}
			j := e.hash & mask
			for slots[j].Load() != nil {
				j = (j + 1) & mask
			}
			slots[j].Store(e)
		}
	}
	s.used = s.live
	s.slots.Store(&slots)
	return &slots
}

// remove takes an entry out, if it is in.
func (tb *table) remove(e *entry) {
	s := &tb.shards[e.hash>>56]
	p := s.slots.Load()
	if p == nil {
		return
	}
	slots := *p
	mask := uint64(len(slots) - 1)
	for i := e.hash & mask; ; i = (i + 1) & mask {
		switch slots[i].Load() {
		case nil:
			return
		case e:
			slots[i].Store(removed)
			s.live--
			tb.live--
			return
		}
	}
}
