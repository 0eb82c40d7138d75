package zk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

const (
	clientReadBytes   = 16 << 10
	largeRequestBytes = 64 << 10
	clientKeepBytes   = 64 << 10 // of a buffer that an idle connection keeps
	txnMoreBytes      = 64       // of a transaction than of its request, mostly
)

var errClientFrame = errors.New("zk: client sent a frame of a length that is not allowed")

// requestReader is the reader's goroutine once the session is there.
type requestReader struct {
	c       *conn
	buf     []byte // bytes read and not yet taken: buf[from:]
	from    int
	txn     tree.Txn
	pending []event // writes that the loop has not been told of
	tally   tally
	taken   int // requests of what was read last
}

// serve reads and handles requests until the connection ends, as many at a time
// as a read brings.
func (q *requestReader) serve() error {
	defer q.tell()
	for {
		for {
			frame, err := q.next()
			if err != nil {
				return err
			}
			if frame == nil {
				break
			}
			q.c.heard.Store(true)
			q.taken++
			if err := q.handle(frame); err != nil {
				return err
			}
		}
		q.tell()
		q.flush()
		q.taken = 0
		q.c.waitForRoom()
		if err := q.fill(); err != nil {
			return err
		}
	}
}

// next takes a whole frame from the buffer; nil if there is none yet. It is
// valid until fill.
func (q *requestReader) next() ([]byte, error) {
	have := q.buf[q.from:]
	if len(have) < 4 {
		return nil, nil
	}
	n := int(int32(binary.BigEndian.Uint32(have)))
	if n <= 0 || n > q.c.s.cfg.FrameBytesMax {
		q.c.s.stats.tooLong.Add(1)
		return nil, fmt.Errorf("%w: %d", errClientFrame, n)
	}
	if len(have) < 4+n {
		return nil, nil
	}
	q.from += 4 + n
	return have[4 : 4+n], nil
}

// fill reads more. The buffer grows with what has arrived of a frame, not with
// the length that the frame announces.
func (q *requestReader) fill() error {
	if q.from > 0 {
		rest := q.buf[q.from:]
		if cap(q.buf) > clientKeepBytes && len(rest) < clientReadBytes {
			q.buf, q.txn = make([]byte, 0, clientReadBytes), tree.Txn{} // a large frame is no reason to keep its room
		}
		q.buf = append(q.buf[:0], rest...)
		q.from = 0
	}
	if len(q.buf) == cap(q.buf) {
		q.buf = slices.Grow(q.buf, max(clientReadBytes, len(q.buf)))
	}
	if q.c.readOnly { // nobody else expires its session
		if err := q.c.net.SetReadDeadline(time.Now().Add(q.c.timeout)); err != nil {
			return err
		}
	}
	n, err := q.c.net.Read(q.buf[len(q.buf):cap(q.buf)])
	q.buf = q.buf[:len(q.buf)+n]
	q.tally.at = time.Since(q.c.s.started)
	if n > 0 {
		return nil
	}
	return err
}

// flush hands the writes decoded so far to the loop, and the client its answers.
func (q *requestReader) flush() {
	if len(q.pending) > 0 {
		q.c.s.inbox.push(q.pending...)
		clear(q.pending)
		q.pending = q.pending[:0]
	}
	q.c.flush(q.taken <= fewAtATime)
}

// acquire takes a place for op among the server's outstanding requests, and one
// among the large ones if it has that many bytes, waiting if there is none.
func (q *requestReader) acquire(op *operation, bytes int) bool {
	if !q.acquireOf(q.c.s.outstanding) {
		return false
	}
	if op.large = bytes > largeRequestBytes; !op.large || q.acquireOf(q.c.s.large) {
		return true
	}
	q.c.s.outstanding.release()
	return false
}

func (q *requestReader) acquireOf(l *limiter) bool {
	if l.tryAcquire() {
		return true
	}
	q.flush()
	return l.acquire(q.c.ctx)
}

// giveBack gives an operation's places back.
func (s *Server) giveBack(op *operation) {
	s.outstanding.release()
	if op.large {
		s.large.release()
	}
}

// handle takes one request. An error ends the connection.
func (q *requestReader) handle(frame []byte) error {
	body := jute.NewAliasReader(frame)
	var h jute.RequestHeader
	h.Decode(&body)
	if body.Err() != nil {
		return body.Err()
	}
	q.tally.note(&h, frame)
	if _, isRead := reads[h.Op]; q.c.readOnly && !isRead && h.Op != jute.OpAuth && h.Op != jute.OpSASL {
		return q.handleReadOnly(&h)
	}
	switch h.Op {
	case jute.OpPing:
		if full, _ := q.c.serveRead(jute.XidPing, h.Op, &body, false); full { // whatever the client called it, as there
			q.flush()
			q.c.waitForRoom()
		}
		return nil
	case jute.OpAuth:
		return q.auth(&h, &body)
	case jute.OpSync:
		return q.sync(&h, &body)
	case jute.OpSASL:
		return q.sasl(&h, &body)
	case jute.OpCreateSession:
		return q.answer(&h, jute.CodeMarshallingError) // a server's own operation
	case jute.OpReconfig:
		return q.reconfig(&h, &body)
	}
	if _, ok := reads[h.Op]; ok {
		return q.read(&h, &body)
	}
	return q.write(&h, &body)
}

// answer sends a reply without a body, in its turn.
func (q *requestReader) answer(h *jute.RequestHeader, code jute.Code) error {
	q.flush()
	if !q.c.waitIdle() {
		return io.EOF
	}
	q.c.reply(h.Xid, code, nil)
	return nil
}

// reply appends a frame at the published zxid.
func (c *conn) reply(xid int32, code jute.Code, body jute.Record) {
	c.s.pub.RLock()
	defer c.s.pub.RUnlock()
	c.replyAt(c.s.tree.Load().Published(), xid, code, body)
}

// replyAt appends a frame whose zxid says nothing of what was read, or whose
// caller holds pub.
func (c *conn) replyAt(zxid int64, xid int32, code jute.Code, body jute.Record) {
	header := jute.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}
	frame := header.Append(jute.BeginFrame(nil))
	if body != nil {
		frame = body.Append(frame)
	}
	c.append(jute.EndFrame(frame, 0))
}

// read serves a read at once, or behind the writes that are before it. A client
// that has much to read waits before its next request is looked at.
func (q *requestReader) read(h *jute.RequestHeader, body *jute.Reader) error {
	again := *body
	full, lacks, err := q.serveOrQueue(h, body)
	for lacks > 0 {
		q.flush()
		if !q.c.waitForShare(lacks) {
			return io.EOF
		}
		*body = again
		full, lacks, err = q.serveOrQueue(h, body)
		q.c.giveGranted()
	}
	if full {
		q.flush()
		q.c.waitForRoom()
	}
	return err
}

func (q *requestReader) serveOrQueue(h *jute.RequestHeader, body *jute.Reader) (full bool, lacks int64, err error) {
	c := q.c
	c.queue.Lock()
	if c.queue.head == nil {
		defer c.queue.Unlock()
		return q.serveLocked(h, body)
	}
	c.queue.Unlock()
	if c.s.room.tight.Load() { // in the loop's turn it could not wait for room
		q.flush()
		if !c.waitIdle() {
			return false, 0, io.EOF
		}
		c.queue.Lock()
		defer c.queue.Unlock()
		return q.serveLocked(h, body)
	}
	op := &operation{xid: h.Xid, op: h.Op, at: q.tally.at}
	if !q.acquire(op, len(body.Rest())) {
		return false, 0, io.EOF
	}
	op.read = append([]byte{}, body.Rest()...) // not nil: it is what makes it a read
	c.queue.Lock()
	defer c.queue.Unlock()
	if c.queue.head == nil { // answered meanwhile
		c.s.giveBack(op)
		return q.serveLocked(h, body)
	}
	if !c.enqueueLocked(op) {
		return false, 0, io.EOF
	}
	return false, 0, nil
}

// serveLocked serves a read that nothing of its client is before. The caller
// holds the queue.
func (q *requestReader) serveLocked(h *jute.RequestHeader, body *jute.Reader) (full bool, lacks int64, err error) {
	full, lacks = q.c.serveRead(h.Xid, h.Op, body, true)
	if lacks == 0 {
		q.tally.served++
	}
	return full, lacks, nil
}

// write decodes a write whole (R6) and queues it for the loop.
func (q *requestReader) write(h *jute.RequestHeader, body *jute.Reader) error {
	c, size := q.c, len(body.Rest())
	q.txn = tree.Txn{Kind: tree.KindOp, Session: c.session, Auth: c.identity(), Op: q.txn.Op}
	switch h.Op {
	case jute.OpMulti:
		var m jute.MultiRequest
		m.Decode(body)
		q.txn.Kind, q.txn.Ops = tree.KindMulti, m.Ops
	case jute.OpCloseSession:
		if c.local.Load() {
			c.s.locals.remove(c.session)
			return q.closeHere(h)
		}
		q.txn.Kind = tree.KindCloseSession
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL, jute.OpDelete, jute.OpSetData, jute.OpSetACL:
		q.txn.Op.DecodeBody(body, h.Op)
	case jute.OpDeleteContainer: // the leader's own operation; Apache's finds no path in it either
		q.txn.Kind, q.txn.Code = tree.KindError, jute.CodeBadArguments
	default:
		return q.unknown(h)
	}
	if body.Err() != nil {
		return q.answer(h, jute.CodeMarshallingError)
	}
	if c.local.Load() && !q.localWrite() {
		return io.EOF
	}
	op := &operation{xid: h.Xid, op: h.Op, at: q.tally.at}
	if !q.acquire(op, size) {
		return io.EOF
	}
	if !c.enqueue(op) {
		return io.EOF
	}
	q.pending = append(q.pending, event{kind: eventSubmission, submission: &submission{
		kind: workWrite, session: c.session, txn: tree.AppendTxn(make([]byte, 0, size+txnMoreBytes), &q.txn), conn: c, op: op,
	}})
	return nil
}

// unknown answers an operation that does not exist, and ends the connection.
func (q *requestReader) unknown(h *jute.RequestHeader) error {
	q.flush()
	if !q.c.waitIdle() {
		return io.EOF
	}
	q.c.replyAt(noZxid, h.Xid, jute.CodeUnimplemented, nil)
	q.c.finishOutput()
	return fmt.Errorf("%w: operation %d", errUnknownOp, h.Op)
}

var errUnknownOp = errors.New("zk: client sent an unknown operation")

// sync waits until this server has seen all that was committed when the leader
// was asked. Nothing of this client goes on meanwhile.
func (q *requestReader) sync(h *jute.RequestHeader, body *jute.Reader) error {
	path := strings.Clone(body.String())
	if body.Err() != nil {
		return q.answer(h, jute.CodeMarshallingError)
	}
	q.flush()
	if !q.c.waitIdle() {
		return io.EOF
	}
	o, ok := q.c.s.ask(q.c.ctx, &submission{kind: workSync, session: q.c.session})
	if !ok || o.code != jute.CodeOK {
		return fmt.Errorf("%w: sync: %w", errRejected, o.code)
	}
	q.c.reply(h.Xid, jute.CodeOK, &jute.SyncResponse{Path: path})
	return nil
}

// sasl answers as a server without a login configuration does: no token, and the
// client goes on without.
func (q *requestReader) sasl(h *jute.RequestHeader, body *jute.Reader) error {
	var token jute.SASLToken
	token.Decode(body)
	if body.Err() != nil {
		return q.answer(h, jute.CodeMarshallingError)
	}
	q.c.replyAt(0, h.Xid, jute.CodeOK, &jute.SASLToken{})
	return nil
}

// appendWriteReply appends the reply frame of an applied write.
func appendWriteReply(dst []byte, op *operation, z zab.Zxid, res *tree.Result) []byte {
	start := len(dst)
	header := jute.ReplyHeader{Xid: op.xid, Zxid: int64(z), Err: res.Err}
	dst = header.Append(jute.BeginFrame(dst))
	if res.Err == jute.CodeOK {
		switch op.op {
		case jute.OpCreate:
			dst = jute.AppendString(dst, res.Path)
		case jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
			dst = res.Stat.Append(jute.AppendString(dst, res.Path))
		case jute.OpSetData, jute.OpSetACL:
			dst = res.Stat.Append(dst)
		case jute.OpMulti:
			dst = (&jute.MultiResponse{Results: res.Ops}).Append(dst)
		}
	}
	return jute.EndFrame(dst, start)
}

// ask has the loop do something that only the leader can decide, and waits for
// it.
func (s *Server) ask(ctx context.Context, r *submission) (outcome, bool) {
	answered := make(chan outcome, 1)
	r.done = func(o outcome) {
		select {
		case answered <- o:
		default: // answered already
		}
	}
	s.inbox.push(event{kind: eventSubmission, submission: r})
	select {
	case o := <-answered:
		return o, true
	case <-ctx.Done():
		return outcome{}, false
	}
}

// limiter counts requests that are not answered yet.
type limiter struct{ places chan struct{} }

func newLimiter(n int) *limiter { return &limiter{places: make(chan struct{}, n)} }

func (l *limiter) tryAcquire() bool {
	select {
	case l.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *limiter) acquire(ctx context.Context) bool {
	select {
	case l.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *limiter) release() { <-l.places }

// waitEmpty waits until nothing is outstanding, or ctx ends. Meanwhile less and
// less is let in. One caller at a time.
func (l *limiter) waitEmpty(ctx context.Context) {
	held := 0
	defer func() {
		for range held {
			l.release()
		}
	}()
	for held < cap(l.places) && l.acquire(ctx) {
		held++
	}
}
