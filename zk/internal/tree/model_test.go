package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// model is the tree as simply as it can be said: maps, copied whole where something may have to be undone.
type model struct {
	nodes    map[string]mnode
	sessions map[int64]int32
	owners   map[int64]uint8
	props    map[string]string
}

type mnode struct {
	data    []byte
	acl     []jute.ACL
	stat    jute.Stat // Cversion, DataLength, NumChildren are computed
	creates int32
	kind    string // "", "ephemeral", "container", "ttl"
	ttl     int64
}

func newModel() *model {
	m := &model{nodes: map[string]mnode{}, sessions: map[int64]int32{}, owners: map[int64]uint8{}, props: map[string]string{}}
	for _, p := range []string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"} {
		n := mnode{data: []byte{}, acl: jute.OpenACL()}
		if p == "/zookeeper/config" {
			n.acl[0].Perms, n.stat.Aversion = jute.PermRead, -1
		}
		m.nodes[p] = n
	}
	return m
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.nodes), maps.Clone(m.sessions), maps.Clone(m.owners), maps.Clone(m.props)}
}

func mparent(p string) string {
	if i := strings.LastIndex(p, "/"); i > 0 {
		return p[:i]
	}
	return "/"
}

func (m *model) children(p string) []string {
	var names []string
	for q := range m.nodes {
		if q != "/" && mparent(q) == p {
			names = append(names, q[strings.LastIndex(q, "/")+1:])
		}
	}
	slices.Sort(names)
	return names
}

func (m *model) stat(p string) jute.Stat {
	n := m.nodes[p]
	s := n.stat
	s.NumChildren = int32(len(m.children(p)))
	s.Cversion = 2*n.creates - s.NumChildren
	s.DataLength = int32(len(n.data))
	return s
}

func mallowed(txn *Txn, acl []jute.ACL, perm int32) bool {
	if txn.Features&(FeatureSkipACL|FeatureInternal) != 0 {
		return true
	}
	for _, id := range txn.Auth {
		if id.Scheme == "super" {
			return true
		}
	}
	for _, a := range acl {
		if a.Perms&perm == 0 {
			continue
		}
		if a.ID == (jute.ID{Scheme: "world", ID: "anyone"}) {
			return true
		}
		for _, id := range txn.Auth {
			if id == a.ID || a.ID == (jute.ID{Scheme: "ip", ID: "10.0.0.0/8"}) && id.Scheme == "ip" && strings.HasPrefix(id.ID, "10.") {
				return true
			}
		}
	}
	return false
}

// mfix knows the lists that the generator makes.
func mfix(txn *Txn, acl []jute.ACL) []jute.ACL {
	var out []jute.ACL
	for i, a := range acl {
		if slices.Contains(acl[:i], a) {
			continue
		}
		switch {
		case a.ID.Scheme == "auth":
			n := len(out)
			for _, id := range txn.Auth {
				if id.Scheme == "digest" {
					out = append(out, jute.ACL{Perms: a.Perms, ID: id})
				}
			}
			if len(out) == n {
				return nil
			}
		case a.ID.Scheme == "bogus":
			return nil
		default:
			out = append(out, a)
		}
	}
	return out
}

func (m *model) apply(zxid int64, txn *Txn) Result {
	var r Result
	switch txn.Kind {
	case KindError:
		r.Err = txn.Code
	case KindCreateSession:
		if txn.Session == 0 {
			r.Err = jute.CodeBadArguments
			break
		}
		m.sessions[txn.Session] = txn.Timeout
		m.owners[txn.Session] = txn.Owner
	case KindAttachSession:
		if _, ok := m.sessions[txn.Session]; !ok {
			r.Err = jute.CodeSessionExpired
			break
		}
		m.sessions[txn.Session] = txn.Timeout
		m.owners[txn.Session] = txn.Owner
	case KindCloseSession:
		if _, ok := m.sessions[txn.Session]; !ok {
			break
		}
		delete(m.sessions, txn.Session)
		for _, p := range slices.Sorted(maps.Keys(m.nodes)) {
			if n := m.nodes[p]; n.kind == "ephemeral" && n.stat.EphemeralOwner == txn.Session {
				m.remove(zxid, p, &r)
			}
		}
	case KindSetProperty:
		switch {
		case txn.Name == "":
			r.Err = jute.CodeBadArguments
		case txn.Value == nil:
			delete(m.props, txn.Name)
		default:
			m.props[txn.Name] = string(txn.Value)
		}
	case KindOp:
		r.Err = m.op(zxid, txn, &txn.Op, &r)
	case KindMulti:
		before := m.clone()
		for i := range txn.Ops {
			var one Result
			err := m.op(zxid, txn, &txn.Ops[i], &one)
			if err != 0 {
				*m = *before
				r = Result{Failed: true}
				for j := range txn.Ops {
					code := jute.CodeRuntimeInconsistency
					if j < i {
						code = 0
					} else if j == i {
						code = err
					}
					r.Ops = append(r.Ops, jute.OpResult{Type: jute.OpError, Err: code})
				}
				break
			}
			r.Ops = append(r.Ops, jute.OpResult{Type: txn.Ops[i].Type, Path: one.Path, Stat: one.Stat})
			r.Events = append(r.Events, one.Events...)
		}
	}
	return r
}

func (m *model) event(r *Result, typ jute.EventType, zxid int64, p string) {
	r.Events = append(r.Events, Event{Type: typ, Zxid: zxid, Path: p, ACL: newACL(m.nodes[p].acl)})
}

func (m *model) remove(zxid int64, p string, r *Result) {
	m.event(r, jute.EventDeleted, zxid, p)
	delete(m.nodes, p)
	up := m.nodes[mparent(p)]
	up.stat.Pzxid = zxid
	m.nodes[mparent(p)] = up
	m.event(r, jute.EventChildrenChanged, zxid, mparent(p))
}

func (m *model) noSession(txn *Txn) bool {
	_, ok := m.sessions[txn.Session]
	return !ok && txn.Session != 0 && txn.Features&(FeatureInternal|FeatureLocalSession) == 0
}

func mbump(current, want int32) (int32, bool) {
	next := current + 1
	if next == -1 {
		next = 0
	}
	return next, want == -1 || want == current
}

var mspecial = []string{"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}

func (m *model) op(zxid int64, txn *Txn, o *jute.Op, r *Result) jute.Code {
	switch o.Type {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		return m.create(zxid, txn, o, r)
	case jute.OpDelete:
		return m.delete(zxid, txn, o, r)
	case jute.OpDeleteContainer:
		return m.reap(zxid, txn, o, r)
	}
	if m.noSession(txn) {
		return jute.CodeSessionExpired
	}
	if !mvalid(o.Path) {
		return jute.CodeBadArguments
	}
	acl := mfix(txn, o.ACL)
	if o.Type == jute.OpSetACL && len(acl) == 0 {
		return jute.CodeInvalidACL
	}
	n, there := m.nodes[o.Path]
	perm := map[jute.OpCode]int32{jute.OpSetData: jute.PermWrite, jute.OpSetACL: jute.PermAdmin, jute.OpCheck: jute.PermRead}[o.Type]
	version, right := mbump(n.stat.Version, o.Version)
	if o.Type == jute.OpSetACL {
		version, right = mbump(n.stat.Aversion, o.Version)
	}
	switch {
	case !there:
		return jute.CodeNoNode
	case !mallowed(txn, n.acl, perm):
		return jute.CodeNoAuth
	case !right:
		return jute.CodeBadVersion
	}
	switch o.Type {
	case jute.OpSetData:
		n.data, n.stat.Version, n.stat.Mzxid, n.stat.Mtime = o.Data, version, zxid, txn.Time
		if o.Path == "/zookeeper/config" && txn.Features&FeatureInternal != 0 {
			n.stat.Version = -1
		}
		m.nodes[o.Path] = n
		m.event(r, jute.EventDataChanged, zxid, o.Path)
	case jute.OpSetACL:
		n.acl, n.stat.Aversion = acl, version
		m.nodes[o.Path] = n
	case jute.OpCheck:
		return 0
	}
	r.Path, r.Stat = o.Path, m.stat(o.Path)
	return 0
}

func (m *model) delete(zxid int64, txn *Txn, o *jute.Op, r *Result) jute.Code {
	if m.noSession(txn) {
		return jute.CodeSessionExpired
	}
	if !strings.Contains(o.Path, "/") || strings.Contains(o.Path, "\x00") || slices.Contains(mspecial, o.Path) {
		return jute.CodeBadArguments
	}
	up, ok := m.nodes[o.Path[:strings.LastIndex(o.Path, "/")]]
	if strings.LastIndex(o.Path, "/") == 0 {
		up, ok = m.nodes["/"]
	}
	n, there := m.nodes[o.Path]
	_, right := mbump(n.stat.Version, o.Version)
	switch {
	case !ok:
		return jute.CodeNoNode
	case !mallowed(txn, up.acl, jute.PermDelete):
		return jute.CodeNoAuth
	case !there:
		return jute.CodeNoNode
	case !right:
		return jute.CodeBadVersion
	case len(m.children(o.Path)) > 0:
		return jute.CodeNotEmpty
	}
	m.remove(zxid, o.Path, r)
	return 0
}

func (m *model) reap(zxid int64, txn *Txn, o *jute.Op, r *Result) jute.Code {
	n, there := m.nodes[o.Path]
	switch {
	case txn.Features&FeatureInternal == 0:
		return jute.CodeUnimplemented
	case !strings.Contains(o.Path, "/") || strings.Contains(o.Path, "\x00") || slices.Contains(mspecial, o.Path):
		return jute.CodeBadArguments
	case !there:
		return jute.CodeNoNode
	case len(m.children(o.Path)) > 0:
		return jute.CodeNotEmpty
	case n.kind == "container" && n.creates == 0 && (o.TTL <= 0 || txn.Time-n.stat.Mtime <= o.TTL):
		return jute.CodeBadVersion
	case n.kind != "container" && (n.kind != "ttl" || txn.Time-n.stat.Mtime <= n.ttl):
		return jute.CodeBadVersion
	}
	m.remove(zxid, o.Path, r)
	return 0
}

func (m *model) create(zxid int64, txn *Txn, o *jute.Op, r *Result) jute.Code {
	ephemeral, sequential := o.Flags == 1 || o.Flags == 3, o.Flags == 2 || o.Flags == 3 || o.Flags == 6
	ttl := o.Flags == 5 || o.Flags == 6
	if o.Flags < 0 || o.Flags > 6 {
		return jute.CodeBadArguments
	}
	if ttl && txn.Features&FeatureExtendedTypes == 0 {
		return jute.CodeUnimplemented
	}
	if ttl != (o.Type == jute.OpCreateTTL) || ttl && (o.TTL <= 0 || o.TTL > 0xffffffffff) {
		return jute.CodeBadArguments
	}
	if ephemeral && txn.Features&FeatureLocalSession != 0 {
		return jute.CodeEphemeralOnLocalSession
	}
	if _, ok := m.sessions[txn.Session]; ephemeral && !ok || m.noSession(txn) {
		return jute.CodeSessionExpired
	}
	if !strings.Contains(o.Path, "/") || strings.Contains(o.Path, "\x00") {
		return jute.CodeBadArguments
	}
	acl := mfix(txn, o.ACL)
	if len(acl) == 0 {
		return jute.CodeInvalidACL
	}
	at := o.Path[:strings.LastIndex(o.Path, "/")]
	if at == "" {
		at = "/"
	}
	up, ok := m.nodes[at]
	if !ok {
		return jute.CodeNoNode
	}
	if !mallowed(txn, up.acl, jute.PermCreate) {
		return jute.CodeNoAuth
	}
	p := o.Path
	if sequential {
		p += fmt.Sprintf("%010d", up.creates)
	}
	if _, exists := m.nodes[p]; !mvalid(p) || len(p) > DefaultPathMax {
		return jute.CodeBadArguments
	} else if exists {
		return jute.CodeNodeExists
	}
	if up.kind == "ephemeral" {
		return jute.CodeNoChildrenForEphemerals
	}
	n := mnode{data: o.Data, acl: acl, stat: jute.Stat{Czxid: zxid, Mzxid: zxid, Pzxid: zxid, Ctime: txn.Time, Mtime: txn.Time}}
	switch {
	case o.Type == jute.OpCreateContainer:
		n.kind = "container"
	case ttl:
		n.kind, n.ttl = "ttl", o.TTL
	case ephemeral:
		n.kind, n.stat.EphemeralOwner = "ephemeral", txn.Session
	}
	m.nodes[p] = n
	up.creates++
	up.stat.Pzxid = zxid
	m.nodes[at] = up
	m.event(r, jute.EventCreated, zxid, p)
	m.event(r, jute.EventChildrenChanged, zxid, at)
	r.Path, r.Stat = p, m.stat(p)
	return 0
}

// mvalid knows the ways in which the generator makes paths invalid.
func mvalid(p string) bool {
	if p == "/" {
		return true
	}
	names := strings.Split(p, "/")
	if names[0] != "" || len(names) < 2 {
		return false
	}
	for _, n := range names[1:] {
		if n == "" || n == "." || n == ".." || strings.ContainsAny(n, "\x00\x1f\u0080\ue000\uffff😀") {
			return false
		}
	}
	return true
}

// generator makes random transactions, most of which can succeed.
type generator struct {
	rng  *rand.Rand
	time int64
	wide bool // many children below few parents
}

func pick[T any](g *generator, from ...T) T { return from[g.rng.IntN(len(from))] }

func (g *generator) path() string {
	if g.rng.IntN(12) == 0 {
		return pick(g, "", "/", "//", "/a/", "a", "a/b", "/a/..", "/./a", "/a\x00", "/a\x1f", "/a/b\u0080", "/\ue000", "/\uffff", "/😀",
			"/zookeeper", "/zookeeper/quota", "/zookeeper/config", "/zookeeper/x", "/missing/.",
			"\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\x01p", "/"+strings.Repeat("x", 5000))
	}
	if g.wide {
		return pick(g, "", "", "/a") + fmt.Sprintf("/n%02d", g.rng.IntN(70))
	}
	var b strings.Builder
	for range 1 + g.rng.IntN(3) {
		b.WriteString("/" + pick(g, "a", "b", "c", "d0", ".x", "é"))
	}
	return b.String()
}

func (g *generator) acl() []jute.ACL {
	id := func(s, i string) jute.ID { return jute.ID{Scheme: s, ID: i} }
	one := func() jute.ACL {
		return jute.ACL{Perms: pick(g, int32(31), 31, 31, 1, 2, 7, 23), ID: pick(g, id("world", "anyone"), id("world", "anyone"),
			id("digest", "u:h"), id("digest", "v:h"), id("auth", ""), id("ip", "10.0.0.0/8"), id("bogus", "x"))}
	}
	switch g.rng.IntN(8) {
	case 0:
		return []jute.ACL{one()}
	case 1:
		return []jute.ACL{one(), one(), one()}
	case 2:
		return pick(g, nil, []jute.ACL{})
	}
	return jute.OpenACL()
}

func (g *generator) data() []byte {
	switch g.rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return []byte{}
	}
	b := make([]byte, g.rng.IntN(40))
	for i := range b {
		b[i] = byte(g.rng.Uint32())
	}
	return b
}

func (g *generator) op() jute.Op {
	o := jute.Op{Path: g.path(), Version: pick(g, int32(-1), -1, -1, 0, 1, 2, -2)}
	switch g.rng.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		o.Type, o.Flags = pick(g, jute.OpCreate, jute.OpCreate2), pick(g, int32(0), 0, 0, 1, 1, 2, 3, 4)
	case 6:
		o.Type, o.Flags, o.TTL = jute.OpCreateTTL, pick(g, int32(5), 5, 6, 0), pick(g, int64(1), 50, 0, -1, 0xffffffffff, 1<<40)
	case 7:
		o.Type, o.Flags = jute.OpCreateContainer, pick(g, int32(4), 0, 2)
	case 8:
		o.Type, o.Flags = pick(g, jute.OpCreate, jute.OpCreateTTL), pick(g, int32(-1), 5, 6, 7)
	case 9, 10, 11, 12:
		o.Type = jute.OpDelete
	case 13, 14, 15:
		o.Type = jute.OpSetData
	case 16:
		o.Type = jute.OpSetACL
	case 17:
		o.Type, o.TTL = jute.OpDeleteContainer, pick(g, int64(0), 1, 20)
	default:
		o.Type = jute.OpCheck
	}
	o.Data, o.ACL = g.data(), g.acl()
	return o
}

func (g *generator) txn() *Txn {
	g.time += g.rng.Int64N(30)
	t := &Txn{Session: g.rng.Int64N(6), Time: g.time, Features: FeatureExtendedTypes}
	switch g.rng.IntN(12) {
	case 0:
		t.Features = 0
	case 1:
		t.Features |= pick(g, FeatureInternal, FeatureSkipACL, FeatureLocalSession)
	}
	switch g.rng.IntN(4) {
	case 0:
		t.Auth = []jute.ID{{Scheme: "ip", ID: "10.1.2.3"}, {Scheme: "digest", ID: "u:h"}}
	case 1:
		t.Auth = []jute.ID{{Scheme: "ip", ID: "192.168.0.1"}, {Scheme: "digest", ID: "v:h"}, {Scheme: pick(g, "super", "digest"), ID: "u:h"}}
	}
	switch g.rng.IntN(16) {
	case 0, 1:
		t.Kind, t.Timeout, t.Owner = pick(g, KindCreateSession, KindAttachSession), g.rng.Int32N(10000), uint8(g.rng.IntN(4))
	case 2:
		t.Kind = KindCloseSession
	case 3:
		t.Kind, t.Name, t.Value = KindSetProperty, pick(g, "", "p", "q"), g.data()
	case 4:
		t.Kind, t.Code = pick(g, KindNone, KindError), jute.CodeSessionMoved
	case 5, 6, 7, 8:
		t.Kind = KindMulti
		for range g.rng.IntN(6) {
			t.Ops = append(t.Ops, g.op())
		}
	default:
		t.Kind, t.Op = KindOp, g.op()
	}
	return t
}
