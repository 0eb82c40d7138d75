package tree

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// ttlMax is the longest TTL in ms, as much as ZooKeeper's ephemeralOwner has room for.
const ttlMax = 0xffffffffff

// createKind reads the flags of a create operation.
func createKind(txn *Txn, op *jute.Op) (kind nodeKind, sequential bool, code jute.Code) {
	ttl := false
	switch op.Flags {
	case jute.FlagPersistent, jute.FlagContainer:
	case jute.FlagPersistentSequential:
		sequential = true
	case jute.FlagEphemeral, jute.FlagEphemeralSequential:
		kind, sequential = kindEphemeral, op.Flags == jute.FlagEphemeralSequential
	case jute.FlagTTL, jute.FlagPersistentSequentialTTL:
		ttl, sequential = true, op.Flags == jute.FlagPersistentSequentialTTL
	default:
		return 0, false, jute.CodeBadArguments
	}
	if ttl && txn.Features&FeatureExtendedTypes == 0 {
		return 0, false, jute.CodeUnimplemented
	}
	switch {
	case ttl != (op.Type == jute.OpCreateTTL), ttl && (op.TTL <= 0 || op.TTL > ttlMax):
		return 0, false, jute.CodeBadArguments
	case ttl:
		kind = kindTTL
	}
	return kind, sequential, jute.CodeOK
}

func (t *Tree) create(txn *Txn, op *jute.Op, res *Result) jute.Code {
	kind, sequential, code := createKind(txn, op)
	if code != jute.CodeOK {
		return code
	}
	if kind == kindEphemeral {
		if code := t.checkOwner(txn); code != jute.CodeOK {
			return code
		}
	} else if code := t.checkSession(txn); code != jute.CodeOK {
		return code
	}
	if op.Type == jute.OpCreateContainer {
		kind = kindContainer // whatever the flags say, as in DataTree.processTxn
	}
	slash := strings.LastIndexByte(op.Path, '/')
	if slash < 0 || strings.IndexByte(op.Path, 0) >= 0 {
		return jute.CodeBadArguments
	}
	acl, code := t.fixACL(op.ACL, txn.Auth)
	if code != jute.CodeOK {
		return code
	}
	pe, pv := t.lookup(op.Path[:slash])
	if pv == nil {
		return jute.CodeNoNode
	}
	if code := t.checkACL(txn, pv.acl, jute.PermCreate); code != jute.CodeOK {
		return code
	}
	path := append(t.pathBuf[:0], op.Path...)
	if sequential {
		path = appendSequence(path, pv.creates)
	}
	t.pathBuf = path
	e := t.table.find(string(path))
	switch {
	case e.live() == nil && !ValidPath(string(path)), len(path) > pathMax(txn):
		return jute.CodeBadArguments
	case e.live() != nil:
		return jute.CodeNodeExists
	case pv.kind == kindEphemeral:
		return jute.CodeNoChildrenForEphemerals
	}
	if e == nil {
		e = t.newEntry(string(path))
	}
	if code := t.checkQuota(txn, e.path, int64(len(op.Data)), 1); code != jute.CodeOK {
		return code
	}
	e.parent = pe
	v := &version{znode: znode{
		data: bytes.Clone(op.Data), acl: acl, kind: kind,
		czxid: t.zxid, mzxid: t.zxid, pzxid: t.zxid, ctime: txn.Time, mtime: txn.Time,
	}}
	switch kind {
	case kindEphemeral:
		v.owner = txn.Session
	case kindTTL:
		v.owner = op.TTL
	}
	t.born(e, v, res)
	return jute.CodeOK
}

// born puts a new znode into the tree and tells of it.
func (t *Tree) born(e *entry, v *version, res *Result) {
	size := int64(len(v.data)) // startQuota may change it
	t.plant(e, v)
	pv := t.writable(e.parent)
	pv.creates++
	pv.pzxid = t.zxid
	t.resum(e.parent, pv)
	res.Path, res.Stat = e.path, v.stat()
	t.startQuota(e.path)
	t.account(e.path, size, 1, res)
	res.Events = append(res.Events,
		Event{jute.EventCreated, t.zxid, e.path, v.acl},
		Event{jute.EventChildrenChanged, t.zxid, e.parent.path, pv.acl})
}

func pathMax(txn *Txn) int {
	if txn.PathMax == 0 {
		return DefaultPathMax
	}
	return int(min(txn.PathMax, pathBytesMax))
}

// checkOwner reports whether the caller's session may own an ephemeral.
func (t *Tree) checkOwner(txn *Txn) jute.Code {
	switch {
	case txn.Features&FeatureLocalSession != 0:
		return jute.CodeEphemeralOnLocalSession
	case t.session(txn.Session) == nil:
		return jute.CodeSessionExpired
	}
	return jute.CodeOK
}

// appendSequence appends n as Java's %010d does.
func appendSequence(dst []byte, n int32) []byte {
	var b [12]byte
	digits := strconv.AppendInt(b[:0], int64(n), 10)
	width := 10
	if n < 0 {
		dst, digits, width = append(dst, '-'), digits[1:], 9
	}
	for range width - len(digits) {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}

// deletable checks the path of a delete and returns its parent.
func deletable(path string) (string, jute.Code) {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 || strings.IndexByte(path, 0) >= 0 || specialPath(path) {
		return "", jute.CodeBadArguments
	}
	return path[:slash], jute.CodeOK
}

func (t *Tree) delete(txn *Txn, op *jute.Op, res *Result) jute.Code {
	if code := t.checkSession(txn); code != jute.CodeOK {
		return code
	}
	parent, code := deletable(op.Path)
	if code != jute.CodeOK {
		return code
	}
	_, pv := t.lookup(parent)
	if pv == nil {
		return jute.CodeNoNode
	}
	if code := t.checkACL(txn, pv.acl, jute.PermDelete); code != jute.CodeOK {
		return code
	}
	e, v := t.lookup(op.Path)
	if v == nil {
		return jute.CodeNoNode
	}
	if _, code := nextVersion(v.version, op.Version); code != jute.CodeOK {
		return code
	}
	if v.kids.len() > 0 {
		return jute.CodeNotEmpty
	}
	t.deleteNode(e, v, res)
	return jute.CodeOK
}

// deleteNode deletes a znode without children.
func (t *Tree) deleteNode(e *entry, v *version, res *Result) {
	acl, bytes := v.acl, int64(len(v.data))
	t.uproot(e)
	t.account(e.path, -bytes, -1, res)
	pv := t.writable(e.parent)
	pv.pzxid = t.zxid
	t.resum(e.parent, pv)
	res.Events = append(res.Events,
		Event{jute.EventDeleted, t.zxid, e.path, acl},
		Event{jute.EventChildrenChanged, t.zxid, e.parent.path, pv.acl})
}

// deleteContainer deletes a container without children, or a TTL znode whose time is over. Only the server itself asks for it.
// A container that never had a child stays, unless op.TTL is not 0 and it is older than that: it may have been made since the
// server looked.
func (t *Tree) deleteContainer(txn *Txn, op *jute.Op, res *Result) jute.Code {
	if txn.Features&FeatureInternal == 0 {
		return jute.CodeUnimplemented
	}
	if _, code := deletable(op.Path); code != jute.CodeOK {
		return code
	}
	e, v := t.lookup(op.Path)
	switch {
	case v == nil:
		return jute.CodeNoNode
	case v.kids.len() > 0:
		return jute.CodeNotEmpty
	case !reapable(v, txn.Time, op.TTL):
		return jute.CodeBadVersion
	}
	t.deleteNode(e, v, res)
	return jute.CodeOK
}

// reapable reports whether the time of a container or TTL znode without children is over at now.
func reapable(v *version, now, neverUsed int64) bool {
	switch v.kind {
	case kindTTL:
		return elapsed(v.mtime, now, v.owner)
	case kindContainer:
		return v.creates != 0 || neverUsed > 0 && elapsed(v.mtime, now, neverUsed)
	}
	return false
}

// elapsed reports whether more than d ms lie between since and now, which may be any numbers.
func elapsed(since, now, d int64) bool {
	return now > since && uint64(now)-uint64(since) > uint64(d)
}

func (t *Tree) setData(txn *Txn, op *jute.Op, res *Result) jute.Code {
	if code := t.checkSession(txn); code != jute.CodeOK {
		return code
	}
	e, v := t.lookup(op.Path)
	if !t.validTarget(op.Path, v) {
		return jute.CodeBadArguments
	}
	if v == nil {
		return jute.CodeNoNode
	}
	if code := t.checkACL(txn, v.acl, jute.PermWrite); code != jute.CodeOK {
		return code
	}
	diff := int64(len(op.Data) - len(v.data))
	if code := t.checkQuota(txn, op.Path, diff, 0); code != jute.CodeOK {
		return code
	}
	next, code := nextVersion(v.version, op.Version)
	if code != jute.CodeOK {
		return code
	}
	if e == t.config && txn.Features&FeatureInternal != 0 {
		next = -1 // as QuorumPeer does: the configuration has a version of its own
	}
	v = t.writable(e)
	t.stats.DataBytes += diff
	v.data = bytes.Clone(op.Data)
	v.dataSum = hashData(v.data)
	v.version, v.mzxid, v.mtime = next, t.zxid, txn.Time
	t.resum(e, v)
	res.Path, res.Stat = e.path, v.stat()
	t.account(e.path, diff, 0, res)
	res.Events = append(res.Events, Event{jute.EventDataChanged, t.zxid, e.path, v.acl})
	return jute.CodeOK
}

// validTarget checks the path of an operation on a znode. The znode's presence, v not nil, makes looking at each byte needless.
func (t *Tree) validTarget(path string, v *version) bool {
	return path != "" && (v != nil || ValidPath(path))
}

func (t *Tree) setACL(txn *Txn, op *jute.Op, res *Result) jute.Code {
	if code := t.checkSession(txn); code != jute.CodeOK {
		return code
	}
	e, v := t.lookup(op.Path)
	if !t.validTarget(op.Path, v) {
		return jute.CodeBadArguments
	}
	acl, code := t.fixACL(op.ACL, txn.Auth)
	if code != jute.CodeOK {
		return code
	}
	if v == nil {
		return jute.CodeNoNode
	}
	if code := t.checkACL(txn, v.acl, jute.PermAdmin); code != jute.CodeOK {
		return code
	}
	next, code := nextVersion(v.aver, op.Version)
	if code != jute.CodeOK {
		return code
	}
	v = t.writable(e)
	v.acl, v.aver = acl, next
	t.resum(e, v)
	res.Path, res.Stat = e.path, v.stat()
	return jute.CodeOK
}

func (t *Tree) check(txn *Txn, op *jute.Op) jute.Code {
	if code := t.checkSession(txn); code != jute.CodeOK {
		return code
	}
	_, v := t.lookup(op.Path)
	if !t.validTarget(op.Path, v) {
		return jute.CodeBadArguments
	}
	if v == nil {
		return jute.CodeNoNode
	}
	if code := t.checkACL(txn, v.acl, jute.PermRead); code != jute.CodeOK {
		return code
	}
	_, code := nextVersion(v.version, op.Version)
	return code
}
