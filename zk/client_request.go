package zk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// A request's phase. It moves under Client.mu only.
const (
	phaseNew      uint8 = iota
	phaseQueued         // in clientState.queue; not sent
	phaseSent           // in clientState.sent; an answer is due
	phaseAnswered       // taken off both; whoever took it finishes it
)

// request is one call on its way. Its maker owns it until submit; then the
// client does until it is finished, which is when ready is signalled or done is
// called; then its maker again, unless the maker has abandoned it.
type request struct {
	next *request // in a requestList

	name, path string // for errors; path as the caller wrote it
	typ        jute.OpCode
	xid        int32

	// buf is the frame to send; once answered, the body of the reply.
	buf []byte

	phase      uint8
	lost       uint8 // connections that broke when it was the oldest on them
	again      bool  // without effect on znodes: may be sent again when the answer was lost
	abandoned  bool  // guarded by Client.mu: nobody waits for it
	inCallback bool  // passed by a callback, which waits for it: never held back

	w          *watcher // to arm, if the reply says so
	watchKind  watchKind
	watchPath  string // at the server
	removeKind WatchKind
	auth       *Auth

	ready chan struct{}    // capacity 1
	done  func(r *request) // asynchronous: called instead, on the delivery goroutine

	context *contextWatch // of an asynchronous request

	err     error // why it failed; an Error from the server, too
	unknown bool  // see OpError
	zxid    int64

	ops     []Op // of a multi
	res     OpResult
	results []OpResult
	acl     []ACL
	ids     []ID
	count   int
}

// requestList is a queue of requests.
type requestList struct {
	head, tail *request
}

func (l *requestList) push(r *request) {
	r.next = nil
	if l.tail == nil {
		l.head = r
	} else {
		l.tail.next = r
	}
	l.tail = r
}

func (l *requestList) pop() *request {
	r := l.head
	if r == nil {
		return nil
	}
	if l.head = r.next; l.head == nil {
		l.tail = nil
	}
	r.next = nil
	return r
}

// remove takes out the requests that match, and returns them in their order.
func (l *requestList) remove(match func(*request) bool) (removed requestList) {
	var kept requestList
	for r := l.pop(); r != nil; r = l.pop() {
		if match(r) {
			removed.push(r)
		} else {
			kept.push(r)
		}
	}
	*l = kept
	return removed
}

// prepend puts all of other before l and empties it.
func (l *requestList) prepend(other *requestList) {
	if other.head == nil {
		return
	}
	other.tail.next = l.head
	if l.tail == nil {
		l.tail = other.tail
	}
	l.head = other.head
	*other = requestList{}
}

// finalErr is the error that the caller gets.
func (r *request) finalErr() error {
	if r.err == nil {
		return nil
	}
	if e, ok := r.err.(*OpError); ok { //nolint:errorlint // one that we made, not one wrapped
		return e
	}
	return &OpError{Op: r.name, Path: r.path, Err: r.err, Unknown: r.unknown}
}

// result is what Do and Go give.
func (r *request) result() OpResult {
	res := r.res
	res.Zxid = r.zxid
	if res.Err = r.finalErr(); res.Err != nil {
		return OpResult{Path: r.path, Zxid: r.zxid, Err: res.Err}
	}
	return res
}

var opNames = [...]string{
	opInvalid: "invalid operation", opCreate: "create", opSet: "set", opDelete: "delete", opCheck: "check",
	opGet: "get", opExists: "exists", opChildren: "children", opSync: "sync",
}

func (o Op) name() string { return opNames[o.kind] }

// code is the operation's type on the wire, alone or in a multi.
func (o Op) code(multi bool) jute.OpCode {
	switch o.kind {
	case opCreate:
		switch {
		case o.mode == Container:
			return jute.OpCreateContainer
		case o.mode.hasTTL():
			return jute.OpCreateTTL
		}
		return jute.OpCreate2
	case opSet:
		return jute.OpSetData
	case opDelete:
		return jute.OpDelete
	case opCheck:
		return jute.OpCheck
	case opGet:
		return jute.OpGetData
	case opExists:
		return jute.OpExists
	case opChildren:
		if multi {
			return jute.OpGetChildren
		}
		return jute.OpGetChildren2
	case opSync:
		return jute.OpSync
	}
	return jute.OpError
}

// badOp is the error for what is refused without asking a server.
func badOp(name, path, reason string) error {
	return &OpError{Op: name, Path: path, Err: fmt.Errorf("%w: %s", ErrBadArguments, reason)}
}

func (c *Client) checkPath(name, path string) error {
	if fault := pathFault(path); fault != "" {
		return badOp(name, path, fmt.Sprintf("path %q %s", path, fault))
	}
	return nil
}

// checkOp validates what the server would refuse less clearly.
func (c *Client) checkOp(o Op, name string) error {
	switch {
	case o.kind == opInvalid:
		return badOp(name, o.path, "an Op that no function made")
	case o.kind == opCreate && (o.mode < 0 || o.mode.flags() > flagTTLSequential || o.mode.ttl() != 0 && !o.mode.hasTTL()):
		return badOp(name, o.path, fmt.Sprintf("create mode %d", int64(o.mode)))
	case o.kind == opCreate && o.mode.Sequential():
		return c.checkPath(name, o.path+"1") // the name may be all digits
	}
	return c.checkPath(name, o.path)
}

// newRequest gives a request whose buf holds a header for the type.
func (c *Client) newRequest(name, path string, typ jute.OpCode) *request {
	r := c.requests.Get().(*request)
	r.name, r.path, r.typ = name, path, typ
	r.buf = jute.AppendInt32(append(r.buf[:0], 0, 0, 0, 0, 0, 0, 0, 0), int32(typ))
	return r
}

// sealed checks the request's size, when its body is complete.
func (c *Client) sealed(r *request) (*request, error) {
	if n := len(r.buf) - 4; n > c.cfg.RequestBytesMax {
		err := fmt.Errorf("request %w: %d bytes, RequestBytesMax is %d", ErrTooLarge, n, c.cfg.RequestBytesMax)
		return nil, &OpError{Op: r.name, Path: r.path, Err: err}
	}
	r.buf = jute.EndFrame(r.buf, 0)
	return r, nil
}

func (c *Client) newOpRequest(o Op) (*request, error) {
	if err := c.checkOp(o, o.name()); err != nil {
		return nil, err
	}
	if o.kind == opCheck {
		return nil, badOp(o.name(), o.path, "a check works in Multi only")
	}
	r := c.newRequest(o.name(), o.path, o.code(false))
	r.again = o.kind >= opGet
	r.buf = c.appendOp(r.buf, o)
	return c.sealed(r)
}

func (c *Client) newReadRequest(o Op, opts []ReadOption) (*request, error) {
	r, err := c.newOpRequest(o)
	if err != nil {
		return nil, err
	}
	for _, opt := range opts {
		if opt.w == nil {
			continue
		}
		r.w, r.watchPath = opt.w, serverPath(c.cfg.Chroot, o.path)
		r.watchKind = watchData
		if o.kind == opChildren {
			r.watchKind = watchChild
		}
		r.buf[len(r.buf)-1] = 1 // the request's watch flag
	}
	return r, nil
}

// appendOp appends the operation's body.
func (c *Client) appendOp(b []byte, o Op) []byte {
	if o.mode.Sequential() { // a prefix: "/" is a name of digits only
		b = jute.AppendString(b, c.cfg.Chroot+o.path)
	} else {
		b = c.appendPath(b, o.path)
	}
	switch o.kind {
	case opCreate:
		b = jute.AppendInt32(appendACL(jute.AppendBuffer(b, o.data), o.acl), o.mode.flags())
		if o.mode.hasTTL() {
			b = jute.AppendInt64(b, o.mode.ttl())
		}
	case opSet:
		b = jute.AppendInt32(jute.AppendBuffer(b, o.data), o.version)
	case opDelete, opCheck:
		b = jute.AppendInt32(b, o.version)
	case opGet, opExists, opChildren:
		b = append(b, 0)
	}
	return b
}

// appendPath appends the path at the server as a string.
func (c *Client) appendPath(b []byte, path string) []byte {
	if c.cfg.Chroot == "" {
		return jute.AppendString(b, path)
	}
	return jute.AppendString(b, serverPath(c.cfg.Chroot, path))
}

func appendACL(b []byte, acl []ACL) []byte {
	if len(acl) == 0 {
		return jute.AppendString(jute.AppendString(jute.AppendInt32(jute.AppendInt32(b, 1), int32(PermAll)), "world"), "anyone")
	}
	b = jute.AppendInt32(b, int32(len(acl)))
	for _, a := range acl {
		b = jute.AppendString(jute.AppendString(jute.AppendInt32(b, int32(a.Perms)), a.ID.Scheme), a.ID.ID)
	}
	return b
}

func (c *Client) newMultiRequest(ops []Op, read bool) (*request, error) {
	name, typ := "multi", jute.OpMulti
	if read {
		name, typ = "multi read", jute.OpMultiRead
	}
	for _, o := range ops {
		if err := c.checkOp(o, name+" "+o.name()); err != nil {
			return nil, err
		}
		switch o.kind {
		case opGet, opChildren:
			if read {
				continue
			}
		case opCreate, opSet, opDelete, opCheck:
			if !read {
				continue
			}
		}
		return nil, badOp(name, o.path, "a "+o.name()+" does not go into it")
	}
	r := c.newRequest(name, "", typ)
	r.again = read
	r.ops = slices.Clone(ops)
	for i := range r.ops {
		b := jute.AppendInt32(r.buf, int32(r.ops[i].code(true)))
		b = jute.AppendInt32(append(b, 0), -1)
		r.buf = c.appendOp(b, r.ops[i])
		r.ops[i].data, r.ops[i].acl = nil, nil // the caller's
	}
	r.buf = jute.AppendMultiEnd(r.buf)
	return c.sealed(r)
}

func (c *Client) newACLRequest(path string) (*request, error) {
	if err := c.checkPath("acl", path); err != nil {
		return nil, err
	}
	r := c.newRequest("acl", path, jute.OpGetACL)
	r.again = true
	r.buf = c.appendPath(r.buf, path)
	return c.sealed(r)
}

func (c *Client) newSetACLRequest(path string, aversion int32, acl []ACL) (*request, error) {
	if err := c.checkPath("set acl", path); err != nil {
		return nil, err
	}
	if len(acl) == 0 {
		return nil, &OpError{Op: "set acl", Path: path, Err: fmt.Errorf("%w: it is empty", ErrInvalidACL)}
	}
	r := c.newRequest("set acl", path, jute.OpSetACL)
	r.buf = jute.AppendInt32(appendACL(c.appendPath(r.buf, path), acl), aversion)
	return c.sealed(r)
}

func (c *Client) newAuthRequest(a Auth) (*request, error) {
	r := c.newRequest("add auth", "", jute.OpAuth)
	r.again = true
	r.auth = &Auth{a.Scheme, bytes.Clone(a.Data)}
	r.buf = appendAuthFrame(r.buf[:0], a)
	return c.sealed(r)
}

func (c *Client) newAddWatchRequest(path string, mode AddWatchMode, w *watcher) (*request, error) {
	if err := c.checkPath("add watch", path); err != nil {
		return nil, err
	}
	if mode != WatchPersistent && mode != WatchRecursive {
		return nil, badOp("add watch", path, fmt.Sprintf("watch mode %d", mode))
	}
	r := c.newRequest("add watch", path, jute.OpAddWatch)
	r.again = true
	r.w, r.watchPath, r.watchKind = w, serverPath(c.cfg.Chroot, path), watchPersistent
	if mode == WatchRecursive {
		r.watchKind = watchRecursive
	}
	r.buf = jute.AppendInt32(c.appendPath(r.buf, path), int32(mode))
	return c.sealed(r)
}

// newWatchesRequest is one about watches that are armed: jute.OpRemoveWatches or
// jute.OpCheckWatches.
func (c *Client) newWatchesRequest(name string, op jute.OpCode, path string, kind WatchKind) (*request, error) {
	if err := c.checkPath(name, path); err != nil {
		return nil, err
	}
	if kind < ChildWatches || kind > RecursiveWatches {
		return nil, badOp(name, path, fmt.Sprintf("watch kind %d", kind))
	}
	r := c.newRequest(name, path, op)
	r.watchPath, r.removeKind = serverPath(c.cfg.Chroot, path), kind
	r.again = true
	r.buf = jute.AppendInt32(c.appendPath(r.buf, path), int32(kind))
	return c.sealed(r)
}

func (c *Client) newWhoAmIRequest() *request {
	r := c.newRequest("who am i", "", jute.OpWhoAmI)
	r.again = true
	r.buf = jute.EndFrame(r.buf, 0)
	return r
}

func (c *Client) newEphemeralsRequest(prefix string) (*request, error) {
	r := c.newRequest("ephemerals", prefix, jute.OpGetEphemerals)
	r.again = true
	if prefix == "" {
		prefix = "/"
	}
	r.buf = jute.AppendString(r.buf, c.cfg.Chroot+prefix) // not of the chroot's siblings
	return c.sealed(r)
}

func (c *Client) newCountRequest(path string) (*request, error) {
	if err := c.checkPath("count descendants", path); err != nil {
		return nil, err
	}
	r := c.newRequest("count descendants", path, jute.OpGetAllChildrenNumber)
	r.again = true
	r.buf = c.appendPath(r.buf, path)
	return c.sealed(r)
}

// createAt creates a plain znode at a path of the server, for EnsurePath.
func (c *Client) createAt(ctx context.Context, full, path string, acl []ACL) error {
	r := c.newRequest("create", path, jute.OpCreate2)
	r.buf = jute.AppendBuffer(jute.AppendString(r.buf, full), []byte{})
	r.buf = jute.AppendInt32(appendACL(r.buf, acl), int32(Persistent))
	r, err := c.sealed(r)
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// existsAt asks for a znode at a path of the server, for EnsurePath.
func (c *Client) existsAt(ctx context.Context, full, path string) error {
	r := c.newRequest("exists", path, jute.OpExists)
	r.again = true
	r.buf = append(jute.AppendString(r.buf, full), 0)
	r, err := c.sealed(r)
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// decode reads the reply's body, which is r.buf, into the result. What the
// result keeps is copied.
func (r *request) decode(chroot string) {
	if r.err != nil {
		return
	}
	d := jute.NewReader(r.buf)
	r.res.Path = r.path
	switch r.typ {
	case jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		var p jute.Create2Response
		p.Decode(&d)
		r.res.Path, r.res.Stat = clientPath(chroot, p.Path), Stat(p.Stat)
	case jute.OpSetData, jute.OpExists, jute.OpSetACL:
		var p jute.Stat
		p.Decode(&d)
		r.res.Stat = Stat(p)
	case jute.OpGetData, jute.OpReconfig:
		var p jute.DataResponse
		p.Decode(&d)
		r.res.Data, r.res.Stat = bytes.Clone(p.Data), Stat(p.Stat)
	case jute.OpGetChildren2:
		var p jute.Children2Response
		p.Decode(&d)
		r.res.Children, r.res.Stat = p.Children, Stat(p.Stat)
		slices.Sort(r.res.Children)
	case jute.OpGetACL:
		var p jute.ACLResponse
		p.Decode(&d)
		r.res.Stat = Stat(p.Stat)
		for _, a := range p.ACL {
			r.acl = append(r.acl, ACL{Perm(a.Perms), ID(a.ID)})
		}
	case jute.OpWhoAmI:
		var p jute.WhoAmIResponse
		p.Decode(&d)
		for _, id := range p.Clients {
			r.ids = append(r.ids, ID(id))
		}
	case jute.OpGetEphemerals:
		var p jute.StringsResponse
		p.Decode(&d)
		for i, path := range p.Strings {
			p.Strings[i] = clientPath(chroot, path)
		}
		r.res.Children = p.Strings
		slices.Sort(r.res.Children)
	case jute.OpGetAllChildrenNumber:
		r.count = int(d.Int32())
	case jute.OpMulti, jute.OpMultiRead:
		r.decodeMulti(&d, chroot)
	}
	if err := d.Err(); err != nil {
		r.err, r.unknown = fmt.Errorf("reply of the server: %w", err), !r.again
	}
}

// decodeMulti reads the results of a multi and, if one failed, which.
func (r *request) decodeMulti(d *jute.Reader, chroot string) {
	var p jute.MultiResponse
	p.Decode(d)
	if d.Err() == nil && len(p.Results) != len(r.ops) {
		d.Fail(fmt.Sprintf("%d results for %d operations", len(p.Results), len(r.ops)))
	}
	if d.Err() != nil {
		return
	}
	r.results = make([]OpResult, len(p.Results))
	failed := false
	for i := range p.Results {
		from, to := &p.Results[i], &r.results[i]
		*to = OpResult{Path: r.ops[i].path, Stat: Stat(from.Stat), Data: bytes.Clone(from.Data), Children: from.Children}
		slices.Sort(to.Children)
		if from.Path != "" {
			to.Path = clientPath(chroot, from.Path)
		}
		if from.Type != jute.OpError {
			continue
		}
		to.Err = Error(from.Err)
		if r.typ == jute.OpMultiRead {
			to.Err = &OpError{Op: "multi read " + r.ops[i].name(), Path: to.Path, Err: to.Err}
			continue
		}
		failed = true
		if from.Err == 0 {
			to.Err = ErrRuntimeInconsistency // executed, then undone
		}
		if r.err == nil && !errors.Is(to.Err, ErrRuntimeInconsistency) {
			r.err = &OpError{Op: "multi " + r.ops[i].name(), Path: to.Path, Err: to.Err}
		}
	}
	if failed && r.err == nil {
		r.err = ErrRuntimeInconsistency
	}
}
