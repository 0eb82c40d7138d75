package tree

import (
	"hash/maphash"
	"sync/atomic"
)

// table maps paths to entries. One goroutine writes; any number read without locks.
//
// It is 256 open-addressed arrays of slots, probed linearly and chosen by the top bits of the hash, so that growing copies a 256th
// of the tree at a time. A slot goes from empty to an entry, to a removed mark, perhaps to another entry, never back to empty
// except by a copy to a new array. A reader therefore finds every entry that was there during its whole search; one inserted
// meanwhile it may miss, which is right, since that entry's versions lie above the zxid that the reader reads.
//
// The hashes in the slots spare readers entries that are not theirs. They are hints: one that belongs to the slot's former entry
// makes a reader miss an entry that was inserted during its search, or compare a path for nothing.
//
// The seed of the hash is random, so that clients cannot choose paths that collide. Nothing that the tree returns depends on it.
type table struct {
	seed   maphash.Seed
	live   int
	shards [256]shard
}

type shard struct {
	slots atomic.Pointer[slots]
	live  int // entries
	used  int // entries and removed marks
}

type slots struct {
	mask uint64 // their number - 1
	s    []slot
}

type slot struct {
	hash atomic.Uint64 // written before entry
	e    atomic.Pointer[entry]
}

// removed marks a slot whose entry is gone. Its path is no key.
var removed = &entry{path: "\xff"}

const shardSlotsMin = 8

func (tb *table) hash(path string) uint64 { return maphash.String(tb.seed, path) }

// find returns the entry of a path, or nil.
func (tb *table) find(path string) *entry {
	h := tb.hash(path)
	a := tb.shards[h>>56].slots.Load()
	if a == nil {
		return nil
	}
	for i := h & a.mask; ; i = (i + 1) & a.mask {
		s := &a.s[i]
		e := s.e.Load()
		if e == nil {
			return nil
		}
		if s.hash.Load() == h && e.path == path {
			return e
		}
	}
}

// insert adds an entry whose path is not in the table.
func (tb *table) insert(e *entry) {
	h := tb.hash(e.path)
	sh := &tb.shards[h>>56]
	a := sh.slots.Load()
	if a == nil || (sh.used+1)*3 > len(a.s)*2 {
		a = sh.grow()
	}
	i := h & a.mask
	for {
		old := a.s[i].e.Load()
		if old == nil {
			sh.used++
		}
		if old == nil || old == removed {
			break
		}
		i = (i + 1) & a.mask
	}
	a.s[i].hash.Store(h)
	a.s[i].e.Store(e)
	sh.live++
	tb.live++
}

// grow copies the shard into an array that is at most a third full.
func (sh *shard) grow() *slots {
	size := shardSlotsMin
	for size < (sh.live+1)*3 {
		size *= 2
	}
	a := &slots{mask: uint64(size - 1), s: make([]slot, size)}
	if old := sh.slots.Load(); old != nil {
		for i := range old.s {
			e, h := old.s[i].e.Load(), old.s[i].hash.Load()
			if e == nil || e == removed {
				continue
			}
			j := h & a.mask
			for a.s[j].e.Load() != nil {
				j = (j + 1) & a.mask
			}
			a.s[j].hash.Store(h)
			a.s[j].e.Store(e)
		}
	}
	sh.used = sh.live
	sh.slots.Store(a)
	return a
}

// remove takes an entry out, if it is in.
func (tb *table) remove(e *entry) {
	h := tb.hash(e.path)
	sh := &tb.shards[h>>56]
	a := sh.slots.Load()
	if a == nil {
		return
	}
	for i := h & a.mask; ; i = (i + 1) & a.mask {
		switch a.s[i].e.Load() {
		case nil:
			return
		case e:
			a.s[i].e.Store(removed)
			sh.live--
			tb.live--
			return
		}
	}
}
