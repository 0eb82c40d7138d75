package apache

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Image is the state of a server.
type Image struct {
	Zxid     int64           // of the last transaction
	Sessions map[int64]int32 // by id: timeout in ms
	Nodes    map[string]*Node

	ephemerals map[int64]map[string]struct{} // by session: paths
}

// Node is a znode, as it is stored.
type Node struct {
	Data  []byte     // nil: null
	ACL   []jute.ACL // nil: not known yet, the log tells
	Czxid int64
	Mzxid int64
	Pzxid int64
	Ctime int64 // ms
	Mtime int64 // ms

	Version  int32
	Cversion int32 // children created, ever
	Aversion int32
	Owner    int64 // see Kind
}

// Kind is what kind of znode an owner makes.
type Kind uint8

// The kinds of znodes.
const (
	Persistent Kind = iota
	Ephemeral
	Container
	TTL
)

const (
	ownerContainer = -1 << 63
	ownerExtended  = 0xff // the uppermost byte
	ownerTTLMax    = 1<<40 - 1
)

// Kind returns the znode's kind and, of an ephemeral, its session or, of a TTL
// znode, its time to live in ms.
func (n *Node) Kind() (Kind, int64) {
	switch {
	case n.Owner == 0:
		return Persistent, 0
	case n.Owner == ownerContainer:
		return Container, 0
	case uint64(n.Owner)>>56 == ownerExtended && uint64(n.Owner)>>40&0xffff == 0:
		return TTL, n.Owner & ownerTTLMax
	}
	return Ephemeral, n.Owner
}

func newImage(zxid int64) *Image {
	return &Image{
		Zxid: zxid, Sessions: map[int64]int32{}, Nodes: map[string]*Node{}, ephemerals: map[int64]map[string]struct{}{},
	}
}

func (im *Image) add(path string, n *Node) {
	im.Nodes[path] = n
	kind, session := n.Kind()
	if kind != Ephemeral {
		return
	}
	if im.ephemerals[session] == nil {
		im.ephemerals[session] = map[string]struct{}{}
	}
	im.ephemerals[session][path] = struct{}{}
}

// Paths returns the paths of all znodes, parents before their children.
func (im *Image) Paths() []string {
	return slices.SortedFunc(maps.Keys(im.Nodes), func(a, b string) int {
		return cmp.Or(cmp.Compare(depth(a), depth(b)), cmp.Compare(a, b))
	})
}

func depth(path string) int {
	if path == "/" {
		return 0
	}
	return strings.Count(path, "/")
}

func parent(path string) string { return path[:max(1, strings.LastIndexByte(path, '/'))] }

// settle removes what a leader removes when it starts, ephemerals of sessions
// that are no more, and says what the log should have told.
func (im *Image) settle() error {
	for session := range im.ephemerals {
		if _, alive := im.Sessions[session]; !alive {
			im.endSession(session, 0)
		}
	}
	for path, n := range im.Nodes {
		if n.ACL == nil {
			return fmt.Errorf("%w: znode %.200q has an access control list that is nowhere", ErrCorrupt, path)
		}
	}
	return nil
}

// header is what every transaction begins with.
type header struct {
	session, zxid, time int64
	op                  jute.OpCode
}

// Apply does what a transaction of the log says, if it is newer than the image.
func (im *Image) Apply(txn []byte) error {
	r := jute.NewReader(txn)
	h := header{session: r.Int64()}
	_ = r.Int32() // cxid
	h.zxid, h.time, h.op = r.Int64(), r.Int64(), jute.OpCode(r.Int32())
	if r.Err() != nil {
		return fmt.Errorf("transaction header: %w", r.Err())
	}
	if h.zxid <= im.Zxid {
		return nil
	}
	if err := im.apply(&h, &r); err != nil {
		return fmt.Errorf("transaction 0x%x of type %d: %w", h.zxid, h.op, err)
	}
	im.Zxid = h.zxid
	return nil
}

// apply does one operation. What cannot be done has been done: the image may be
// ahead of the log.
func (im *Image) apply(h *header, r *jute.Reader) error {
	switch h.op {
	case jute.OpCreateSession:
		im.Sessions[h.session] = r.Int32()
	case jute.OpCloseSession:
		delete(im.Sessions, h.session)
		im.endSession(h.session, h.zxid)
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		im.create(h, r)
	case jute.OpDelete, jute.OpDeleteContainer:
		im.remove(r.String(), h.zxid)
	case jute.OpSetData, jute.OpReconfig:
		path, data, version := r.String(), r.Buffer(), r.Int32()
		if n := im.Nodes[path]; n != nil {
			n.Data, n.Version, n.Mzxid, n.Mtime = data, version, h.zxid, h.time
		}
	case jute.OpSetACL:
		path, acl, version := r.String(), r.ACLs(), r.Int32()
		if n := im.Nodes[path]; n != nil {
			n.ACL, n.Aversion = acl, version
		}
	case jute.OpMulti:
		return im.multi(h, r)
	case jute.OpCheck, jute.OpError:
		return nil
	default:
		return fmt.Errorf("type %d is not known", h.op)
	}
	return r.Err()
}

func (im *Image) create(h *header, r *jute.Reader) {
	path := r.String()
	n := &Node{Data: r.Buffer(), ACL: r.ACLs(), Czxid: h.zxid, Mzxid: h.zxid, Pzxid: h.zxid, Ctime: h.time, Mtime: h.time}
	if h.op == jute.OpCreate || h.op == jute.OpCreate2 {
		if r.Bool() {
			n.Owner = h.session
		}
	} else if h.op == jute.OpCreateContainer {
		n.Owner = ownerContainer
	}
	cversion := int32(-1) // before 3.4 it was not there
	if r.Len() >= 4 {
		cversion = r.Int32()
	}
	if h.op == jute.OpCreateTTL {
		n.Owner = -1<<56 | r.Int64()
	}
	p := im.Nodes[parent(max(path, "/"))]
	if r.Err() != nil || p == nil {
		return
	}
	if old := im.Nodes[path]; old == nil {
		im.add(path, n)
	} else if old.ACL == nil {
		old.ACL = n.ACL
	}
	if cversion < 0 {
		cversion = p.Cversion + 1
	}
	if cversion > p.Cversion {
		p.Cversion, p.Pzxid = cversion, max(p.Pzxid, h.zxid)
	}
}

func (im *Image) remove(path string, zxid int64) {
	n := im.Nodes[path]
	if n == nil || path == "/" {
		return
	}
	delete(im.Nodes, path)
	if kind, session := n.Kind(); kind == Ephemeral {
		delete(im.ephemerals[session], path)
	}
	if p := im.Nodes[parent(path)]; p != nil {
		p.Pzxid = max(p.Pzxid, zxid)
	}
}

// endSession removes a session's ephemerals.
func (im *Image) endSession(session, zxid int64) {
	for path := range im.ephemerals[session] {
		im.remove(path, zxid)
	}
	delete(im.ephemerals, session)
}

// multi does all operations of a transaction, or none if one of them failed.
func (im *Image) multi(h *header, r *jute.Reader) error {
	type part struct {
		op   jute.OpCode
		body []byte
	}
	var parts []part
	for range r.Count(8) {
		p := part{jute.OpCode(r.Int32()), r.Buffer()}
		if p.op == jute.OpError {
			return r.Err()
		}
		parts = append(parts, p)
	}
	if r.Err() != nil {
		return r.Err()
	}
	for i, p := range parts {
		if p.op == jute.OpMulti {
			return fmt.Errorf("operation %d: a multi in a multi", i)
		}
		sub, body := *h, jute.NewReader(p.body)
		sub.op = p.op
		if err := im.apply(&sub, &body); err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	return nil
}
