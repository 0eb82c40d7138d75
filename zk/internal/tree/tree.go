package tree

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/vivarium-go/vivarium/internal/invariant"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Config configures a Tree. The zero value is ready to use.
type Config struct {
	Schemes map[string]Scheme // by name; nil: DefaultSchemes. The same on every server; not changed after New
}

// Tree is the state of a server. See the package's documentation for who may call what.
type Tree struct {
	table     table
	root      *entry
	config    *entry
	sessions  *entry
	props     *entry
	reap      *entry
	schemes   map[string]Scheme
	published atomic.Int64
	shown     shownStats

	// The writer's.
	applied int64 // last transaction applied
	zxid    int64 // the one being applied, or applied
	frozen  int64 // versions up to here may be visible: the newest of published and snapshots
	digest  uint64
	stats   Stats
	acls    map[string]*ACL
	aclBuf  []jute.ACL
	keyBuf  []byte
	pathBuf []byte
	doomed  []*entry // by a closeSession

	quotas       map[string]quota // by the path that they are on; nil: none
	quotasBefore map[string]quota // the current multi, if quotasSaved
	quotasSaved  bool

	inMulti bool
	touched []*entry // by the current multi

	pins      []*Snapshot // open ones, oldest first
	pending   []*entry    // see enqueue
	pendingAt int64
	ready     []*entry
	held      []*entry
}

// Stats counts what a tree holds.
type Stats struct {
	Znodes     int64 // the special ones included
	Ephemerals int64
	Sessions   int64
	DataBytes  int64 // lengths of paths and data
}

type shownStats struct{ znodes, ephemerals, sessions, dataBytes atomic.Int64 }

// New returns a tree at zxid 0 with the special znodes: /, /zookeeper, /zookeeper/quota and /zookeeper/config.
func New(cfg Config) *Tree {
	t := newEmpty(cfg)
	t.frozen = -1
	t.plantSpecial()
	t.frozen = 0
	t.show()
	return t
}

// plantSpecial plants those of the special znodes that are not there.
func (t *Tree) plantSpecial() {
	for _, p := range []string{rootPath, zkPath, configPath, quotaPath} {
		if t.table.find(p) != nil {
			continue
		}
		v := &version{znode: znode{data: []byte{}, acl: openACL}}
		if p == configPath {
			v.acl = t.intern([]jute.ACL{{Perms: jute.PermRead, ID: jute.ID{Scheme: "world", ID: "anyone"}}})
			v.aver = -1
		}
		t.plant(t.newEntry(p), v)
	}
}

// newEmpty returns a tree without znodes, but with the hidden roots.
func newEmpty(cfg Config) *Tree {
	t := &Tree{schemes: cfg.Schemes, acls: map[string]*ACL{}}
	if t.schemes == nil {
		t.schemes = DefaultSchemes()
	}
	t.table.seed = maphash.MakeSeed()
	for _, r := range []struct {
		path string
		e    **entry
	}{{sessionsRoot, &t.sessions}, {propertiesRoot, &t.props}, {reapRoot, &t.reap}} {
		*r.e = t.newEntry(r.path)
		(*r.e).head.Store(&version{znode: znode{kind: kindRoot}})
		t.table.insert(*r.e)
	}
	return t
}

func (t *Tree) newEntry(path string) *entry { return &entry{path: path, pathSum: hashBytes(path)} }

// plant puts a new entry with its first version, which is complete but for its sums, into the tree and into the sets it belongs to. Its
// parent must be there, except the root's.
func (t *Tree) plant(e *entry, v *version) {
	v.zxid = t.zxid
	v.dataSum = hashData(v.data)
	switch old := e.head.Load(); {
	case old != nil && old.zxid > t.frozen: // a tombstone that nobody has seen
		v.prev.Store(old.prev.Load())
		e.head.Store(v)
	case old != nil:
		t.push(e, v)
	default:
		e.head.Store(v)
		t.table.insert(e)
		if t.inMulti {
			t.touched = append(t.touched, e)
		}
	}
	t.resum(e, v)
	switch v.kind {
	case kindSession:
		e.parent = t.sessions
		t.stats.Sessions++
	case kindProperty:
		e.parent = t.props
	default:
		t.stats.Znodes++
		t.stats.DataBytes += int64(len(e.path) + len(v.data))
		t.watchQuota(e.path, false)
		switch e.path {
		case rootPath:
			t.root = e
			return
		case configPath:
			t.config = e
		}
		if e.parent == nil || e.parent.live() == nil {
			e.parent = t.table.find(parentPath(e.path))
		}
	}
	t.writable(e.parent).writableKids().insert(e)
	if set := t.ownerSet(v); set != nil {
		t.writable(set).writableKids().insert(e)
	}
	if v.kind == kindEphemeral {
		t.stats.Ephemerals++
	}
}

// uproot turns the newest version of e into a tombstone and takes e out of the sets it belongs to.
func (t *Tree) uproot(e *entry) {
	v := t.writable(e)
	t.digest -= v.sum
	switch v.kind {
	case kindSession:
		t.stats.Sessions--
	case kindProperty:
	default:
		t.stats.Znodes--
		t.stats.DataBytes -= int64(len(e.path) + len(v.data))
		t.watchQuota(e.path, true)
	}
	t.writable(e.parent).writableKids().remove(e)
	if set := t.ownerSet(v); set != nil {
		t.writable(set).writableKids().remove(e)
	}
	if v.kind == kindEphemeral {
		t.stats.Ephemerals--
	}
	v.znode = znode{deleted: true}
	t.enqueue(e)
}

// ownerSet returns the hidden entry in whose set a znode like v is listed beside its parent's, or nil.
func (t *Tree) ownerSet(v *version) *entry {
	switch v.kind {
	case kindEphemeral:
		var b [9]byte
		return t.table.find(string(sessionPath(&b, v.owner)))
	case kindContainer, kindTTL:
		return t.reap
	}
	return nil
}

// lookup returns the entry and newest version of a znode, or nils. It is for the writer.
func (t *Tree) lookup(path string) (*entry, *version) {
	if path == "" {
		return t.root, t.root.live()
	}
	if path[0] != '/' {
		return nil, nil
	}
	e := t.table.find(path)
	return e, e.live()
}

// session returns the entry of a session that exists, or nil.
func (t *Tree) session(id int64) *entry {
	var b [9]byte
	if e := t.table.find(string(sessionPath(&b, id))); e.live() != nil {
		return e
	}
	return nil
}

// Applied returns the zxid of the last transaction applied. It belongs to the writer.
func (t *Tree) Applied() int64 { return t.applied }

// Digest returns the digest of the state at Applied. It belongs to the writer.
func (t *Tree) Digest() uint64 { return t.digest }

// Published returns the zxid at which reads happen. It is safe for concurrent use.
func (t *Tree) Published() int64 { return t.published.Load() }

// Publish lets readers see everything applied. zxid must be Applied's, which tells that the caller and the tree agree about it. It
// belongs to the writer and costs a few stores.
func (t *Tree) Publish(zxid int64) {
	if zxid != t.applied {
		invariant.Check(false, "publishing zxid %#x where %#x is the last applied", zxid, t.applied)
	}
	t.frozen = zxid
	t.show()
}

func (t *Tree) show() {
	t.shown.znodes.Store(t.stats.Znodes)
	t.shown.ephemerals.Store(t.stats.Ephemerals)
	t.shown.sessions.Store(t.stats.Sessions)
	t.shown.dataBytes.Store(t.stats.DataBytes)
	t.published.Store(t.applied)
}

// Stats returns the counts at the last publication. It is safe for concurrent use.
func (t *Tree) Stats() Stats {
	return Stats{t.shown.znodes.Load(), t.shown.ephemerals.Load(), t.shown.sessions.Load(), t.shown.dataBytes.Load()}
}
