package zk

import (
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/watch"
)

const noZxid = -1 // of an event whose zxid nobody knows any more

// reader is a read in progress: its connection, the tree, and the reply so far.
// It holds Server.pub for reading and the connection's output.
type reader struct {
	c    *conn
	tree *tree.Tree
	out  []byte

	canWait bool  // see serveRead
	lacks   int64 // of room for out
}

// reads says how each read is served. A function appends the reply's body, or
// returns the error that takes its place.
var reads map[jute.OpCode]func(*reader, *jute.Reader) jute.Code

func init() {
	reads = map[jute.OpCode]func(*reader, *jute.Reader) jute.Code{
		jute.OpExists:               (*reader).exists,
		jute.OpGetData:              (*reader).getData,
		jute.OpGetACL:               (*reader).getACL,
		jute.OpGetChildren:          (*reader).getChildren,
		jute.OpGetChildren2:         (*reader).getChildren2,
		jute.OpGetAllChildrenNumber: (*reader).getAllChildrenNumber,
		jute.OpGetEphemerals:        (*reader).getEphemerals,
		jute.OpMultiRead:            (*reader).multiRead,
		jute.OpAddWatch:             (*reader).addWatch,
		jute.OpCheckWatches:         (*reader).checkWatches,
		jute.OpRemoveWatches:        (*reader).removeWatches,
		jute.OpSetWatches:           (*reader).setWatches,
		jute.OpSetWatches2:          (*reader).setWatches2,
		jute.OpWhoAmI:               (*reader).whoAmI,
		jute.OpPing:                 func(*reader, *jute.Reader) jute.Code { return jute.CodeOK },
	}
}

// serveRead reads at the published zxid and puts the reply in its place in the
// output, both while nothing is published (R4). It says whether the client has
// so much to read that its next request must wait. If a large reply lacks room
// and canWait, there is none: it is to be tried again after waitForShare.
func (c *conn) serveRead(xid int32, op jute.OpCode, body *jute.Reader, canWait bool) (full bool, lacks int64) {
	c.s.pub.RLock()
	defer c.s.pub.RUnlock()
	c.output.Lock()
	defer c.output.Unlock()
	if c.output.closed {
		return true, 0
	}
	r := reader{c: c, tree: c.s.tree.Load(), out: c.output.buf, canWait: canWait}
	bytes := r.reply(xid, op, body)
	if c.output.closed || !r.hasRoom() {
		return true, r.lacks
	}
	c.output.buf = r.out
	c.sentLocked(bytes, false)
	c.wroteLocked()
	return c.fullLocked(), 0
}

// hasRoom takes room for the reply so far, if it is a large one that can wait. A
// one-shot watch is left only behind a reply that has it.
func (r *reader) hasRoom() bool {
	if !r.canWait || cap(r.out) <= r.c.output.paid || len(r.out)-len(r.c.output.buf) <= outputSmall {
		return true
	}
	if r.lacks == 0 {
		r.lacks = r.c.payLocked(r.out, true)
	}
	return r.lacks == 0
}

// reply appends a whole frame, of so many bytes. Events that a setWatches brings
// to light come before it.
func (r *reader) reply(xid int32, op jute.OpCode, body *jute.Reader) (bytes int) {
	if op == jute.OpSetWatches || op == jute.OpSetWatches2 {
		r.renewWatches(op, body)
	}
	start := len(r.out)
	header := jute.ReplyHeader{Xid: xid, Zxid: r.tree.Published()}
	r.out = header.Append(jute.BeginFrame(r.out))
	code := reads[op](r, body)
	if body.Err() != nil {
		code = jute.CodeMarshallingError
	}
	if code != jute.CodeOK {
		header.Err = code
		r.out = header.Append(r.out[:start+4])
	}
	r.out = jute.EndFrame(r.out, start)
	return len(r.out) - start
}

// allowed says whether the client has one of the permissions perm on n.
func (r *reader) allowed(n tree.Node, perm int32) bool {
	return r.c.s.cfg.SkipACL || r.tree.Allowed(n.ACL(), perm, r.c.identity())
}

// find looks a znode up for one who wants to read it.
func (r *reader) find(path string, perm int32) (tree.Node, jute.Code) {
	n, _ := r.tree.Lookup(path)
	if !n.Exists() {
		return n, jute.CodeNoNode
	}
	if !r.allowed(n, perm) {
		return n, jute.CodeNoAuth
	}
	return n, jute.CodeOK
}

func (r *reader) watch(path string, kind watch.Kind) {
	s := r.c.s
	s.watchesMu.Lock()
	defer s.watchesMu.Unlock()
	s.watches.Add(strings.Clone(path), kind, r.c.id)
	if s.watches.Bytes(r.c.id) > s.cfg.WatchBytesMax {
		r.c.cutOffLocked(errWatchesMany)
	}
}

func (r *reader) exists(body *jute.Reader) jute.Code {
	path, watching := body.String(), body.Bool()
	if body.Err() != nil {
		return jute.CodeMarshallingError
	}
	if strings.IndexByte(path, 0) >= 0 {
		return jute.CodeBadArguments
	}
	n, code := r.find(path, jute.PermRead)
	if watching && code != jute.CodeNoAuth {
		r.watch(path, watch.Data)
	}
	if code == jute.CodeOK {
		stat := n.Stat()
		r.out = stat.Append(r.out)
	}
	return code
}

func (r *reader) getData(body *jute.Reader) jute.Code {
	path, watching := body.String(), body.Bool()
	if body.Err() != nil {
		return jute.CodeMarshallingError
	}
	n, code := r.find(path, jute.PermRead)
	if code != jute.CodeOK {
		return code
	}
	stat := n.Stat()
	r.out = stat.Append(jute.AppendBuffer(r.out, n.Data()))
	if watching && r.hasRoom() {
		r.watch(path, watch.Data)
	}
	return jute.CodeOK
}

func (r *reader) getACL(body *jute.Reader) jute.Code {
	path := body.String()
	if body.Err() != nil {
		return jute.CodeMarshallingError
	}
	n, code := r.find(path, jute.PermRead|jute.PermAdmin)
	if code != jute.CodeOK {
		return code
	}
	entries := n.ACL().Entries()
	if !r.allowed(n, jute.PermAdmin) {
		entries = n.ACL().Masked()
	}
	stat := n.Stat()
	r.out = stat.Append(jute.AppendACLs(r.out, entries))
	return jute.CodeOK
}

func (r *reader) getChildren(body *jute.Reader) jute.Code {
	_, code := r.children(body)
	return code
}

func (r *reader) getChildren2(body *jute.Reader) jute.Code {
	n, code := r.children(body)
	if code == jute.CodeOK {
		stat := n.Stat()
		r.out = stat.Append(r.out)
	}
	return code
}

func (r *reader) children(body *jute.Reader) (tree.Node, jute.Code) {
	path, watching := body.String(), body.Bool()
	if body.Err() != nil {
		return tree.Node{}, jute.CodeMarshallingError
	}
	n, code := r.find(path, jute.PermRead)
	if code != jute.CodeOK {
		return n, code
	}
	r.out = n.AppendChildrenRecord(r.out)
	if watching && r.hasRoom() {
		r.watch(path, watch.Child)
	}
	return n, jute.CodeOK
}

func (r *reader) getAllChildrenNumber(body *jute.Reader) jute.Code {
	path := body.String()
	if body.Err() != nil {
		return jute.CodeMarshallingError
	}
	if _, code := r.find(path, jute.PermRead); code != jute.CodeOK {
		return code
	}
	n, _, ok := r.tree.CountDescendants(path)
	if !ok {
		return jute.CodeNoNode
	}
	r.out = jute.AppendInt32(r.out, int32(n))
	return jute.CodeOK
}

func (r *reader) getEphemerals(body *jute.Reader) jute.Code {
	prefix := body.String()
	if body.Err() != nil {
		return jute.CodeMarshallingError
	}
	paths, _ := r.tree.Ephemerals(r.c.session, strings.TrimSpace(prefix))
	r.out = jute.AppendStrings(r.out, paths)
	return jute.CodeOK
}

func (r *reader) multiRead(body *jute.Reader) jute.Code {
	q := jute.MultiRequest{Read: true}
	q.Decode(body)
	if body.Err() != nil {
		return jute.CodeMarshallingError
	}
	for i := range q.Ops {
		if len(r.out) > r.c.s.cfg.OutputBytesMax {
			break // more than anybody may ask for: the connection is cut off
		}
		result := r.readOne(&q.Ops[i])
		r.out = result.Append(r.out)
	}
	r.out = jute.AppendMultiEnd(r.out)
	return jute.CodeOK
}

func (r *reader) readOne(op *jute.Op) jute.OpResult {
	n, code := r.find(op.Path, jute.PermRead)
	switch {
	case code != jute.CodeOK:
		return jute.OpResult{Type: jute.OpError, Err: code}
	case op.Type == jute.OpGetChildren:
		if op.Watch {
			r.watch(op.Path, watch.Child)
		}
		return jute.OpResult{Type: op.Type, Children: n.AppendChildren(nil)}
	default:
		if op.Watch {
			r.watch(op.Path, watch.Data)
		}
		return jute.OpResult{Type: op.Type, Data: n.Data(), Stat: n.Stat()}
	}
}

func (r *reader) addWatch(body *jute.Reader) jute.Code {
	path, mode := body.String(), body.Int32()
	kind := watch.Persistent
	switch {
	case body.Err() != nil:
		return jute.CodeMarshallingError
	case mode == jute.AddWatchPersistentRecursive:
		kind = watch.PersistentRecursive
	case mode != jute.AddWatchPersistent:
		return jute.CodeMarshallingError
	}
	r.watch(path, kind)
	r.out = jute.AppendInt32(r.out, 0)
	return jute.CodeOK
}

func (r *reader) checkWatches(body *jute.Reader) jute.Code {
	return r.onWatches(body, func(t *watch.Table[uint64], path string, typ int32) bool {
		return t.Contains(path, typ, r.c.id)
	})
}

func (r *reader) removeWatches(body *jute.Reader) jute.Code {
	return r.onWatches(body, func(t *watch.Table[uint64], path string, typ int32) bool {
		return t.Remove(path, typ, r.c.id)
	})
}

func (r *reader) onWatches(body *jute.Reader, do func(*watch.Table[uint64], string, int32) bool) jute.Code {
	path, typ := body.String(), body.Int32()
	if body.Err() != nil || !watch.ValidWatcherType(typ) {
		return jute.CodeMarshallingError
	}
	s := r.c.s
	s.watchesMu.Lock()
	defer s.watchesMu.Unlock()
	if !do(s.watches, path, typ) {
		return jute.CodeNoWatcher
	}
	return jute.CodeOK
}

func (r *reader) setWatches(*jute.Reader) jute.Code  { return jute.CodeOK }
func (r *reader) setWatches2(*jute.Reader) jute.Code { return jute.CodeOK }

// renewWatches arms a reconnected client's watches again, or tells it what they
// have missed since the zxid that it saw last.
func (r *reader) renewWatches(op jute.OpCode, body *jute.Reader) {
	q := jute.SetWatchesRequest{Two: op == jute.OpSetWatches2}
	q.Decode(body)
	if body.Err() != nil {
		return
	}
	for _, l := range []struct {
		kind  watch.Kind
		paths []string
	}{{watch.Data, q.Data}, {watch.Exist, q.Exist}, {watch.Child, q.Child}} {
		for _, path := range l.paths {
			r.renewWatch(l.kind, path, q.RelativeZxid)
		}
	}
	for _, path := range q.Persistent {
		r.watch(path, watch.Persistent)
	}
	for _, path := range q.PersistentRecursive {
		r.watch(path, watch.PersistentRecursive)
	}
}

func (r *reader) renewWatch(kind watch.Kind, path string, seen int64) {
	var mzxid, pzxid int64
	n, _ := r.tree.Lookup(path)
	if n.Exists() {
		if !r.allowed(n, jute.PermRead) {
			r.watch(path, kind) // what it missed is nothing that it may know; what it will hear is filtered
			return
		}
		mzxid, pzxid = n.Mzxid(), n.Pzxid()
	}
	if typ, missed := watch.Missed(kind, n.Exists(), mzxid, pzxid, seen); missed {
		r.out = jute.AppendNotification(r.out, noZxid, typ, path)
		return
	}
	r.watch(path, kind)
}

func (r *reader) whoAmI(*jute.Reader) jute.Code {
	var who jute.WhoAmIResponse
	for _, id := range r.c.identity() {
		if id.Scheme == "digest" {
			id.ID, _, _ = strings.Cut(id.ID, ":")
		}
		who.Clients = append(who.Clients, id)
	}
	r.out = who.Append(r.out)
	return jute.CodeOK
}
