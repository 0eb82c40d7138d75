package tree

import (
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Node is a znode as it was at some zxid. It never changes. The zero value is a znode that does not exist, of which only Exists may be
// asked.
type Node struct {
	e *entry
	v *version
}

// Exists reports whether the znode exists.
func (n Node) Exists() bool { return n.v != nil }

// Path returns the path.
func (n Node) Path() string { return n.e.path }

// Data returns the data, nil for null. The caller must not change it.
func (n Node) Data() []byte { return n.v.data }

// ACL returns the access control list.
func (n Node) ACL() *ACL { return n.v.acl }

// Stat returns what a client sees of the znode.
func (n Node) Stat() jute.Stat { return n.v.stat() }

// NumChildren returns the number of children.
func (n Node) NumChildren() int { return n.v.kids.len() }

// Mzxid returns the zxid of the last setData, Pzxid that of the last create or delete of a child.
func (n Node) Mzxid() int64 { return n.v.mzxid }

// Pzxid returns the zxid of the last create or delete of a child.
func (n Node) Pzxid() int64 { return n.v.pzxid }

// AppendChildren appends the names of the children, in byte order.
func (n Node) AppendChildren(dst []string) []string {
	n.v.kids.each(func(e *entry) bool {
		dst = append(dst, name(e.path))
		return true
	})
	return dst
}

// AppendChildrenRecord appends the names of the children as a vector of strings on the wire (jute.StringsResponse).
func (n Node) AppendChildrenRecord(dst []byte) []byte {
	dst = jute.AppendInt32(dst, int32(n.v.kids.len()))
	n.v.kids.each(func(e *entry) bool {
		dst = jute.AppendString(dst, name(e.path))
		return true
	})
	return dst
}

// stat returns what a client sees: the cversion counts creates and deletes, containers and TTL znodes have no owner.
func (v *version) stat() jute.Stat {
	n := int32(v.kids.len())
	s := jute.Stat{
		Czxid: v.czxid, Mzxid: v.mzxid, Ctime: v.ctime, Mtime: v.mtime, Version: v.version, Cversion: v.creates*2 - n,
		Aversion: v.aver, DataLength: int32(len(v.data)), NumChildren: n, Pzxid: v.pzxid,
	}
	if v.kind == kindEphemeral {
		s.EphemeralOwner = v.owner
	}
	return s
}

// readAt returns the version of the entry with a path that readers see, and the zxid at which they see it.
func (t *Tree) readAt(path string) (*entry, *version, int64) {
	for {
		z := t.published.Load()
		e := t.table.find(path)
		var v *version
		sure := false
		if e != nil {
			v, sure = e.at(z)
		}
		if !sure && t.published.Load() != z {
			continue // what was there at z may have been swept away
		}
		if v != nil && v.deleted {
			v = nil
		}
		return e, v, z
	}
}

// Lookup reads a znode at the published zxid, which it returns. The path "" is the root's, other invalid paths have no znode. It does
// not allocate.
func (t *Tree) Lookup(path string) (Node, int64) {
	if path == "" {
		path = rootPath
	}
	if path[0] != '/' {
		return Node{}, t.published.Load()
	}
	e, v, z := t.readAt(path)
	if v == nil {
		return Node{}, z
	}
	return Node{e, v}, z
}

// CountDescendants counts what lies below a znode at the published zxid, the znode itself not included; for "", which ZooKeeper
// counts so, the root is. ok is false if the znode does not exist.
func (t *Tree) CountDescendants(path string) (n int, zxid int64, ok bool) {
	if path != "" && path[0] != '/' {
		return 0, t.published.Load(), false
	}
	start := path
	if path == "" {
		start = rootPath
	}
	for {
		e, v, z := t.readAt(start)
		if v == nil {
			return 0, z, false
		}
		if n, sure := countBelow(e, z); sure || t.published.Load() == z {
			if path == "" {
				n++
			}
			return n, z, true
		}
	}
}

// countBelow counts at z; unless sure, the count stands only if z is still published afterwards.
func countBelow(e *entry, z int64) (n int, sure bool) {
	sure = true
	for stack := []*entry{e}; len(stack) > 0; {
		e := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		v, one := e.at(z)
		if sure = sure && one; v == nil {
			return 0, false
		}
		n += v.kids.len()
		v.kids.each(func(c *entry) bool {
			cv, one := c.at(z)
			if sure = sure && one; cv != nil && cv.kids.len() > 0 {
				stack = append(stack, c)
			}
			return cv != nil
		})
	}
	return n, sure
}

// Ephemerals returns the paths of a session's ephemerals that begin with prefix, in order, at the published zxid.
func (t *Tree) Ephemerals(session int64, prefix string) ([]string, int64) {
	var b [9]byte
	_, v, z := t.readAt(string(sessionPath(&b, session)))
	if v == nil {
		return nil, z
	}
	var paths []string
	v.kids.each(func(e *entry) bool {
		if strings.HasPrefix(e.path, prefix) {
			paths = append(paths, e.path)
		}
		return true
	})
	return paths, z
}

// Session is a client's session.
type Session struct {
	ID         int64
	Timeout    int32 // ms
	Ephemerals int
	Owner      uint8 // the server that its client was connected to last; 0: unknown
}

// Session returns a session at the published zxid; ok is false if there is none.
func (t *Tree) Session(id int64) (s Session, ok bool) {
	var b [9]byte
	if _, v, _ := t.readAt(string(sessionPath(&b, id))); v != nil {
		return Session{ID: id, Timeout: int32(v.owner), Ephemerals: v.kids.len(), Owner: uint8(v.aver)}, true
	}
	return Session{}, false
}

// Sessions appends the sessions at the published zxid, in the order of their ids taken as unsigned numbers.
func (t *Tree) Sessions(dst []Session) []Session {
	n := len(dst)
	t.eachOf(sessionsRoot, func() { dst = dst[:n] }, func(e *entry, v *version) {
		dst = append(dst, Session{ID: sessionID(e.path), Timeout: int32(v.owner), Ephemerals: v.kids.len(), Owner: uint8(v.aver)})
	})
	return dst
}

// eachOf calls f for the members of a hidden set at the published zxid; it calls reset whenever it has to start over.
func (t *Tree) eachOf(set string, reset func(), f func(*entry, *version)) {
	for {
		reset()
		_, v, z := t.readAt(set)
		sure := true
		v.kids.each(func(e *entry) bool {
			m, one := e.at(z)
			if sure = sure && one; m != nil {
				f(e, m)
			}
			return m != nil
		})
		if sure || t.published.Load() == z {
			return
		}
	}
}

// Property returns the value of a property at the published zxid, nil if it has none. The caller must not change it.
func (t *Tree) Property(name string) []byte {
	if _, v, _ := t.readAt(propertiesRoot + name); v != nil {
		return v.data
	}
	return nil
}

// Reapable appends the paths of the containers and TTL znodes that a deleteContainer may delete at now, in ms since 1970: TTL
// znodes without children unchanged for longer than their TTL, containers that have lost their last child, and, if neverUsed is
// not 0, those that never had one and are older than neverUsed ms.
func (t *Tree) Reapable(dst []string, now, neverUsed int64) []string {
	n := len(dst)
	t.eachOf(reapRoot, func() { dst = dst[:n] }, func(e *entry, v *version) {
		if v.kids.len() == 0 && reapable(v, now, neverUsed) {
			dst = append(dst, e.path)
		}
	})
	return dst
}
