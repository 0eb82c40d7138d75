package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/internal/nowait"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Why a server ends a client's connection; for its log.
var (
	errTreeReplaced  = errors.New("zk: this server's tree was replaced by its leader's")
	errSlowClient    = errors.New("zk: client does not read what it is sent")
	errWatchesMany   = errors.New("zk: client watches more than WatchBytesMax allows")
	errSessionMoved  = errors.New("zk: session has moved to another connection")
	errSessionClosed = errors.New("zk: session has ended")
	errStranded      = errors.New("zk: no leader for a third of the session's timeout")
	errRejected      = errors.New("zk: request was refused by the leader")
)

const (
	outputPause        = 1 << 20  // unread bytes above which a client's requests wait
	outputKeepBytesMax = 64 << 10 // of a buffer that an idle connection keeps
	clientWriteTimeout = 30 * time.Second
)

// sessionID prints a session as ZooKeeper's tools do.
type sessionID int64

func (id sessionID) String() string { return fmt.Sprintf("0x%x", uint64(id)) }

// conn is one client's connection.
//
// The reader's goroutine decodes requests. It serves a read itself if nothing of
// this client is before it, or queues it behind the writes that are; the loop
// serves those when the write before them is published. The writer's goroutine
// sends whatever output there is.
//
// Lock order: queue, then Server.pub, then output, then Server.room.
type conn struct {
	s   *Server
	net net.Conn
	id  uint64
	log *slog.Logger
	ctx context.Context // ends with the connection
	end context.CancelCauseFunc
	tls *tls.ConnectionState // nil without TLS; set before the first frame

	stats connStats

	session  int64 // set before the connection is registered, as the next two
	timeout  time.Duration
	readOnly bool        // see openReadOnly
	local    atomic.Bool // see locals; the reader's
	heard    atomic.Bool // since the leader was told last
	ids      atomic.Pointer[[]jute.ID]
	hold     outputHold

	queue struct {
		sync.Mutex
		idle       sync.Cond // head became nil, or the connection closed
		head, tail *operation
		closed     bool
	}
	output struct {
		sync.Mutex
		cond    sync.Cond
		direct  nowait.Conn // set by the writer; nil: only it writes
		cheap   bool        // see nowait.New
		writing bool        // somebody does
		full    bool        // it did not take all: the writer goes on
		buf     []byte
		spare   []byte
		closed  bool
		finish  bool // close when buf is sent

		paid    int   // of buf's capacity: its share, and what it has of Server.room
		granted int64 // of Server.room, for a reply that lacked it

		sent, bytes       int64 // replies and events
		last, least, most int32 // bytes of a reply; 0: none
	}
}

// operation is a request that is not answered yet, in the order of its queue.
type operation struct {
	next *operation
	xid  int32
	op   jute.OpCode
	read []byte // the body of a read that waits; nil for a write

	large bool // it has a place among the large ones, too
	at    time.Duration
}

func newConn(s *Server, nc net.Conn, id uint64) *conn {
	c := &conn{s: s, net: nc, id: id}
	c.stats.established, c.stats.remote = time.Now(), nc.RemoteAddr().String()
	c.ctx, c.end = context.WithCancelCause(s.ctx)
	c.log = s.log.With("client", nc.RemoteAddr().String())
	c.queue.idle.L = &c.queue.Mutex
	c.output.cond.L, c.output.paid = &c.output.Mutex, outputShare
	ip := remoteIP(nc)
	if ip == nil {
		ip = net.IPv4(127, 0, 0, 1) // memory: this machine
	}
	c.ids.Store(&[]jute.ID{{Scheme: "ip", ID: ip.String()}})
	return c
}

// identity is who the client is by now; not to be changed.
func (c *conn) identity() []jute.ID { return *c.ids.Load() }

// close ends the connection at once; what is not sent is lost. Idempotent.
func (c *conn) close(why error) {
	c.output.Lock()
	c.closeOutputLocked()
	c.output.Unlock()
	c.hangUp(why)
}

// hangUp ends whatever waits on the connection: its reader, its writer, a sync.
func (c *conn) hangUp(why error) {
	c.end(why)
	_ = c.net.Close()
}

func (c *conn) isClosed() bool {
	c.output.Lock()
	defer c.output.Unlock()
	return c.output.closed
}

// abandonQueue drops what will never be answered and wakes who waits for it. It
// runs when ctx ends, since the reader may be the one that waits. Idempotent.
func (c *conn) abandonQueue() {
	c.queue.Lock()
	defer c.queue.Unlock()
	c.queue.closed = true
	for op := c.queue.head; op != nil; op = op.next {
		c.s.giveBack(op)
	}
	c.queue.head, c.queue.tail = nil, nil
	c.queue.idle.Broadcast()
}

// enqueue puts an operation behind the others; false if the connection ended.
// The caller has acquired a place among the outstanding requests.
func (c *conn) enqueue(op *operation) bool {
	c.queue.Lock()
	defer c.queue.Unlock()
	return c.enqueueLocked(op)
}

func (c *conn) enqueueLocked(op *operation) bool {
	if c.queue.closed {
		c.s.giveBack(op)
		return false
	}
	if c.queue.tail == nil {
		c.queue.head = op
	} else {
		c.queue.tail.next = op
	}
	c.queue.tail = op
	return true
}

// waitIdle waits until every request before is answered; false if that will not be.
func (c *conn) waitIdle() bool {
	c.queue.Lock()
	defer c.queue.Unlock()
	for c.queue.head != nil && !c.queue.closed {
		c.queue.idle.Wait()
	}
	return !c.queue.closed
}

// readWaitsBehind says whether the next request after op is a read.
func (c *conn) readWaitsBehind(op *operation) bool {
	c.queue.Lock()
	defer c.queue.Unlock()
	return op.next != nil && op.next.read != nil
}

// complete sends the reply of the oldest operation, a write, and then serves the
// reads that waited for it.
func (c *conn) complete(op *operation, frame []byte, now time.Duration) {
	c.queue.Lock()
	defer c.queue.Unlock()
	if c.queue.head != op {
		return // the connection has ended
	}
	c.popLocked()
	c.appendReply(frame, op.op == jute.OpCloseSession && c.queue.head == nil)
	c.answered(op, now)
	for c.queue.head != nil && c.queue.head.read != nil {
		next := c.queue.head
		c.popLocked()
		r := jute.NewAliasReader(next.read)
		c.serveRead(next.xid, next.op, &r, false) // nothing once the connection is cut off
		c.answered(next, now)
	}
	if op.op == jute.OpCloseSession {
		c.finishOutput()
	}
}

func (c *conn) popLocked() {
	c.s.giveBack(c.queue.head)
	c.queue.head = c.queue.head.next
	if c.queue.head == nil {
		c.queue.tail = nil
		c.queue.idle.Broadcast()
	}
}

// reject ends the connection of a write that the leader did not propose: it
// cannot be answered in its turn, and the client starts over.
func (c *conn) reject(_ *operation, _ zab.Zxid, code jute.Code) {
	if code == jute.CodeSessionMoved {
		c.close(errSessionMoved)
		return
	}
	c.close(fmt.Errorf("%w: %w", errRejected, code))
}
