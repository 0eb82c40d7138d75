package tree

import "sync/atomic"

// entry is what a path leads to. It outlives its znode by as long as a reader or snapshot may want an older version.
type entry struct {
	path    string
	pathSum uint64 // the digest's, the same on every server
	head    atomic.Pointer[version]
	parent  *entry // the writer's; nil for roots
	queued  bool   // the writer's: in pending or ready
	held    bool   // the writer's: in held
}

// nodeKind tells znodes, sessions and properties apart. The numbers are part of the snapshot format.
type nodeKind uint8

const (
	kindPersistent nodeKind = iota
	kindEphemeral
	kindContainer
	kindTTL
	kindSession
	kindProperty
	kindRoot // of the hidden entries; never stored
)

// znode is the state of an entry in one version.
type znode struct {
	data    []byte // nil: null; never changed, shared by versions
	acl     *ACL
	kids    *childSet // nil: none. Children; of a session, its ephemerals
	czxid   int64
	mzxid   int64
	pzxid   int64
	ctime   int64 // ms
	mtime   int64 // ms
	owner   int64 // ephemeral: session id; TTL: ms; session: timeout in ms; else 0
	dataSum uint64
	sum     uint64 // what this version adds to the digest
	version int32
	creates int32 // of children, ever: the number of the next sequential one
	aver    int32 // session: the owner, a server
	kind    nodeKind
	deleted bool
	ownKids bool // kids was made for this version, so the writer may change it with the version
}

// version is a znode between two zxids: its own and the next newer version's. Versions up to the frozen zxid are immutable but
// for prev, which sweeping shortens.
type version struct {
	zxid int64 // of the first transaction of its batch that made it
	prev atomic.Pointer[version]
	znode
}

// at returns the version of e at zxid z, nil if there was none. Unless it is sure, the answer stands only if z is pinned by a snapshot,
// or published, still, after the call: else the version may have been swept away, with an older one that a snapshot pins left.
func (e *entry) at(z int64) (v *version, sure bool) {
	v = e.head.Load()
	if v != nil && v.zxid <= z {
		return v, true
	}
	for v != nil && v.zxid > z {
		v = v.prev.Load()
	}
	return v, false
}

// live returns the newest version if its znode exists. It is for the writer.
func (e *entry) live() *version {
	if e == nil {
		return nil
	}
	if v := e.head.Load(); v != nil && !v.deleted {
		return v
	}
	return nil
}

// push makes v, whose state is set, the newest version of e.
func (t *Tree) push(e *entry, v *version) {
	v.zxid = t.zxid
	old := e.head.Load()
	v.prev.Store(old)
	e.head.Store(v)
	if t.inMulti {
		t.touched = append(t.touched, e)
	}
	if old != nil || v.deleted {
		t.enqueue(e)
	}
}

// writable returns the newest version of e for changing in place, pushing a copy unless nobody can see the newest one.
func (t *Tree) writable(e *entry) *version {
	v := e.head.Load()
	if v.zxid > t.frozen {
		return v
	}
	w := &version{znode: v.znode}
	w.ownKids = false
	t.push(e, w)
	return w
}

// writableKids returns the child set of w, a writable version, for changing in place.
func (w *version) writableKids() *childSet {
	if !w.ownKids {
		w.kids = w.kids.clone()
		w.ownKids = true
	}
	return w.kids
}

// The sweep lists. An entry that got a second version, or a tombstone, waits in pending until the next publication, then in
// ready until an Apply gets to it. One whose old versions a snapshot pins is also remembered in held until a snapshot closes.

func (t *Tree) enqueue(e *entry) {
	if e.queued {
		return
	}
	if len(t.pending) == 0 {
		t.pendingAt = t.zxid
	}
	e.queued = true
	t.pending = append(t.pending, e)
}

// sweepPerApply is how many entries an Apply sweeps; it exceeds what most transactions add, so the lists drain.
const sweepPerApply = 8

// Sweep unlinks versions that nobody can reach, of up to n entries, and reports whether some are left. Apply does as much as it
// adds; an idle server may call Sweep to free the rest. It belongs to the writer.
func (t *Tree) Sweep(n int) bool {
	t.dropClosedPins()
	if len(t.pending) > 0 && t.pendingAt <= t.published.Load() {
		t.ready = append(t.ready, t.pending...)
		clear(t.pending)
		t.pending = t.pending[:0]
	}
	for ; n > 0 && len(t.ready) > 0; n-- {
		last := len(t.ready) - 1
		e := t.ready[last]
		t.ready[last] = nil
		t.ready = t.ready[:last]
		e.queued = false
		t.sweep(e)
	}
	if cap(t.ready) > 4096 && len(t.ready) == 0 {
		t.ready = nil
	}
	return len(t.ready) > 0
}

// sweep unlinks e's unreachable versions, and e itself if only a tombstone is left. What cannot go yet is queued again.
func (t *Tree) sweep(e *entry) {
	head := e.head.Load()
	if head == nil {
		return
	}
	keep, published := head, t.published.Load()
	for keep.zxid > published {
		prev := keep.prev.Load()
		if prev == nil {
			break
		}
		keep = prev
	}
	for i := len(t.pins) - 1; i >= 0; i-- {
		pin := t.pins[i].zxid
		if keep.zxid <= pin {
			continue
		}
		prev := keep.prev.Load()
		for prev != nil && prev.zxid > pin {
			prev = prev.prev.Load()
		}
		keep.prev.Store(prev)
		if prev == nil {
			break
		}
		keep = prev
	}
	keep.prev.Store(nil)
	switch {
	case head.zxid > published:
		if head.deleted || head.prev.Load() != nil {
			t.enqueue(e)
		}
	case head.prev.Load() != nil:
		if !e.held {
			e.held = true
			t.held = append(t.held, e)
		}
	case head.deleted: // no snapshot reaches e: its child sets lead to entries that have a version at its zxid
		t.table.remove(e)
	}
}

// dropClosedPins forgets snapshots that were closed, and lets what they held be swept.
func (t *Tree) dropClosedPins() {
	kept := t.pins[:0]
	for _, p := range t.pins {
		if !p.closed.Load() {
			kept = append(kept, p)
		}
	}
	if len(kept) == len(t.pins) {
		return
	}
	clear(t.pins[len(kept):])
	t.pins = kept
	for _, e := range t.held {
		if e.held = false; !e.queued {
			e.queued = true
			t.ready = append(t.ready, e)
		}
	}
	clear(t.held)
	t.held = t.held[:0]
}
