package tree

import (
	"bytes"
	"fmt"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Znode is a znode that comes from elsewhere.
type Znode struct {
	Path    string
	Data    []byte     // nil: null
	ACL     []jute.ACL // empty: open to anyone
	Czxid   int64
	Mzxid   int64
	Pzxid   int64
	Ctime   int64 // ms
	Mtime   int64 // ms
	Version int32
	Creates int32 // of children, ever: the number of the next sequential one
	Aver    int32

	// At most one of them is set: the session that owns an ephemeral, that this is a
	// container, or a time to live in ms.
	Session   int64
	Container bool
	TTL       int64
}

// Builder makes a Tree of sessions and znodes that come from elsewhere. One
// goroutine at a time uses it.
type Builder struct{ l *Loader }

// NewBuilder returns a Builder of a tree at a zxid.
func NewBuilder(cfg Config, zxid int64) *Builder {
	b := &Builder{l: NewLoader(cfg)}
	b.l.t.zxid, b.l.t.applied = zxid, zxid
	return b
}

// Session adds a session. Sessions come before their ephemerals.
func (b *Builder) Session(id int64, timeout int32) error {
	var key [9]byte
	t := b.l.t
	e := t.newEntry(string(sessionPath(&key, id)))
	if id == 0 || timeout < 0 || t.table.find(e.path) != nil {
		return fmt.Errorf("session 0x%x: impossible, or there already", uint64(id))
	}
	t.plant(e, &version{znode: znode{kind: kindSession, owner: int64(timeout), czxid: t.zxid}})
	return nil
}

// Znode adds a znode. Parents come before their children. It keeps nothing of n.
func (b *Builder) Znode(n *Znode) error {
	t := b.l.t
	v := &version{znode: znode{
		data: bytes.Clone(n.Data), acl: openACL, czxid: n.Czxid, mzxid: n.Mzxid, pzxid: n.Pzxid, ctime: n.Ctime, mtime: n.Mtime,
		version: n.Version, creates: n.Creates, aver: n.Aver,
	}}
	switch {
	case n.Session != 0:
		v.kind, v.owner = kindEphemeral, n.Session
	case n.Container:
		v.kind = kindContainer
	case n.TTL != 0:
		v.kind, v.owner = kindTTL, n.TTL
	}
	if len(n.ACL) > aclEntriesMax {
		return fmt.Errorf("znode %.200q: %d access control entries, at most %d", n.Path, len(n.ACL), aclEntriesMax)
	}
	if len(n.ACL) > 0 {
		v.acl = t.intern(n.ACL)
	}
	reason := b.l.impossible(n.Path, v)
	if reason == "" && t.table.find(n.Path) != nil {
		reason = "there already"
	}
	if reason == "" && len(n.Path) > pathBytesMax {
		reason = "path too long"
	}
	if reason != "" {
		return fmt.Errorf("znode %.200q: %s", n.Path, reason)
	}
	t.plant(t.newEntry(n.Path), v)
	return nil
}

// Finish returns the tree, its state published, with such of the special znodes
// as have not come. The Builder must not be used any more.
func (b *Builder) Finish() (*Tree, error) {
	t := b.l.t
	if t.root == nil {
		return nil, fmt.Errorf("no znode %s", rootPath)
	}
	t.plantSpecial()
	t.frozen = t.zxid
	t.show()
	return t, nil
}
