package zk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/internal/nowait"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

const (
	replyHeaderBytes  = 16
	handshakeBytesMax = 64 << 10
	readBufferBytes   = 32 << 10
	writeBatchBytes   = 64 << 10
)

// clientConn is one connection of a client.
type clientConn struct {
	c        *Client
	nc       net.Conn
	server   string
	readOnly bool
	timeout  time.Duration
	begun    time.Time

	goroutines sync.WaitGroup
	failOnce   sync.Once
	err        error         // why it ended; read after stop is closed
	stop       chan struct{} // closed when it ends

	lastRead, lastWrite atomic.Int64 // ns since begun; of the begin of a write
	writing             atomic.Bool  // lastWrite's has not ended
	pingDue             atomic.Bool

	// Whose turn it is to write: the writer goroutine's, or that of a caller who
	// found it idle, see writeNow.
	wake   chan struct{} // a token: it is the writer's turn
	direct nowait.Conn   // nil: it always is
	out    []byte        // to be written
	xid    int32

	// Whose turn it is to read: the reader goroutine's, see deliver.
	turn atomic.Uint64 // number of the reader goroutine << 1 | it runs callbacks
	buf  []byte
	in   []byte // of buf: not yet parsed
	skip int    // bytes of an oversize reply still to come

	replied bool // a reply was among what was read last
	items   []item

	authSent requestList // guarded by Client.mu: auth requests, answered in order, but out of the order of others
}

func newClientConn(c *Client, nc net.Conn, server string) *clientConn {
	cn := &clientConn{c: c, nc: nc, server: server, begun: time.Now(), stop: make(chan struct{}), wake: make(chan struct{}, 1), buf: make([]byte, readBufferBytes)}
	cn.direct, _ = nowait.New(nc)
	return cn
}

// fail ends the connection. Only the first reason counts.
func (cn *clientConn) fail(err error) {
	cn.failOnce.Do(func() {
		cn.err = err
		close(cn.stop)
		cn.nc.Close()
	})
}

func (cn *clientConn) age() int64 { return int64(time.Since(cn.begun)) }

// handshake starts or resumes the session and shows the credentials.
func (cn *clientConn) handshake() error {
	c := cn.c
	c.mu.Lock()
	q := jute.ConnectRequest{
		LastZxidSeen: c.lastZxid.Load(),
		Timeout:      int32(min(c.cfg.SessionTimeout.Milliseconds(), 1<<31-1)),
		Password:     c.mu.password,
		ReadOnly:     c.cfg.ReadOnly,
		HasReadOnly:  true,
	}
	if c.mu.seenWritable {
		q.SessionID = c.sessionID.Load()
	} else {
		q.Password = make([]byte, passwordBytes)
	}
	auths := c.mu.auths
	c.mu.Unlock()

	out := jute.EndFrame(q.Append(jute.BeginFrame(nil)), 0)
	if _, err := cn.nc.Write(out); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	body, err := cn.readFrame()
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	d := jute.NewReader(body)
	var p jute.ConnectResponse
	p.Decode(&d)
	switch {
	case d.Err() != nil:
		return fmt.Errorf("handshake: %w", d.Err())
	case p.Timeout <= 0 && q.SessionID != 0:
		return ErrSessionExpired
	case p.Timeout <= 0:
		return errors.New("handshake: the server refuses a new session")
	case len(p.Password) != passwordBytes:
		return fmt.Errorf("handshake: a password of %d bytes", len(p.Password))
	}
	cn.readOnly = p.ReadOnly
	cn.timeout = time.Duration(p.Timeout) * time.Millisecond
	c.mu.Lock()
	c.timeout.Store(int64(cn.timeout))
	c.sessionID.Store(p.SessionID)
	c.mu.password = append([]byte(nil), p.Password...)
	c.mu.Unlock()
	return cn.authenticate(auths)
}

// authenticate shows the credentials. Nothing else can be on the connection yet.
func (cn *clientConn) authenticate(auths []Auth) error {
	for _, a := range auths {
		if _, err := cn.nc.Write(appendAuthFrame(nil, a)); err != nil {
			return fmt.Errorf("auth: %w", err)
		}
		body, err := cn.readFrame()
		if err != nil {
			return fmt.Errorf("auth: %w", err)
		}
		d := jute.NewReader(body)
		var h jute.ReplyHeader
		h.Decode(&d)
		switch {
		case d.Err() != nil || h.Xid != jute.XidAuth:
			return errors.New("auth: not the reply to it")
		case h.Err != jute.CodeOK:
			return fmt.Errorf("scheme %q: %w", a.Scheme, ErrAuthFailed)
		}
	}
	return nil
}

func appendAuthFrame(b []byte, a Auth) []byte {
	start := len(b)
	b = (&jute.RequestHeader{Xid: jute.XidAuth, Op: jute.OpAuth}).Append(jute.BeginFrame(b))
	return jute.EndFrame((&jute.AuthRequest{Scheme: a.Scheme, Auth: a.Data}).Append(b), start)
}

// readFrame reads one small frame, before the reader runs.
func (cn *clientConn) readFrame() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(cn.nc, head[:]); err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(head[:]))
	if n < 0 || n > handshakeBytesMax {
		return nil, fmt.Errorf("a frame of %d bytes: is this a ZooKeeper server?", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(cn.nc, body)
	return body, err
}

// keep watches over the connection until it ends: pings when nothing was written
// for a third of the session timeout, and gives up when nothing was read, or a
// write has not ended, for two.
func (cn *clientConn) keep(ctx context.Context) {
	third := cn.timeout / 3
	ping := min(third, 10*time.Second)
	t := time.NewTimer(ping)
	defer t.Stop()
	for {
		select {
		case <-cn.stop:
			return
		case <-ctx.Done():
			cn.fail(ErrClosed)
			return
		case <-t.C:
		}
		now := cn.age()
		unheard := time.Duration(now - cn.lastRead.Load())
		idle := time.Duration(now - cn.lastWrite.Load())
		if unheard >= 2*third {
			cn.fail(fmt.Errorf("nothing heard for %v", unheard))
			return
		}
		if idle >= 2*third && cn.writing.Load() { // cheaper than a deadline for each write
			cn.fail(fmt.Errorf("a write is stuck for %v", idle))
			return
		}
		if idle >= ping {
			cn.pingDue.Store(true)
			cn.wakeIdle()
			idle = 0
		}
		t.Reset(min(ping-idle, 2*third-unheard))
	}
}

// write is the writer goroutine: it writes whatever is queued, in one go.
func (cn *clientConn) write() error {
	for {
		if !cn.collect() {
			select {
			case <-cn.wake:
				gather()
			case <-cn.stop:
				return net.ErrClosed
			}
			continue
		}
		cn.lastWrite.Store(cn.age())
		cn.writing.Store(true)
		if _, err := cn.nc.Write(cn.out); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		cn.writing.Store(false)
		cn.wrote(len(cn.out))
	}
}

// wrote takes n bytes off the output.
func (cn *clientConn) wrote(n int) {
	if cn.out = cn.out[:copy(cn.out, cn.out[n:])]; cap(cn.out) > 16*writeBatchBytes && len(cn.out) == 0 {
		cn.out = nil
	}
}

// writeNow writes what is queued, on the goroutine of a caller whose turn it is:
// it found the writer idle and so is spared waking it. What the connection does
// not take without waiting, and what is queued meanwhile, is the writer's.
func (cn *clientConn) writeNow() {
	if !cn.collect() {
		return
	}
	if n, err := cn.direct.WriteNow(cn.out); err == nil { // else the writer will hear of it
		cn.wrote(n)
	}
	if len(cn.out) > 0 || cn.collect() {
		cn.wake <- struct{}{}
	}
}

// wakeIdle wakes the writer if it is idle; else it will look by itself.
func (cn *clientConn) wakeIdle() {
	c := cn.c
	c.mu.Lock()
	idle := c.mu.conn == cn && c.mu.writerIdle
	if idle {
		c.mu.writerIdle = false
	}
	c.mu.Unlock()
	if idle {
		cn.wake <- struct{}{}
	}
}

var pingFrame = jute.EndFrame((&jute.RequestHeader{Xid: jute.XidPing, Op: jute.OpPing}).Append(jute.BeginFrame(nil)), 0)

// collect moves requests from the queue to the output. If there is none it says
// so, and whose turn it was has had it.
func (cn *clientConn) collect() (more bool) {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.conn != cn {
		return false // it has ended
	}
	if cn.pingDue.Swap(false) {
		cn.out = append(cn.out, pingFrame...)
	}
	for len(cn.out) < writeBatchBytes {
		r := c.mu.queue.pop()
		if r == nil {
			break
		}
		r.phase = phaseSent
		if r.typ == jute.OpAuth {
			cn.authSent.push(r)
		} else {
			cn.xid = max(cn.xid+1, 1) // past the greatest int32 it is 1 again
			r.xid = cn.xid
			binary.BigEndian.PutUint32(r.buf[4:], uint32(r.xid))
			c.mu.sent.push(r)
		}
		cn.out = append(cn.out, r.buf...)
	}
	c.mu.writerIdle = len(cn.out) == 0
	return len(cn.out) > 0
}

// read is the reader goroutine, or one that goes on in its place, see deliver.
func (cn *clientConn) read(turn uint64) {
	id := goroutineID()
	for {
		n, err := cn.nc.Read(cn.buf[len(cn.in):])
		if err != nil {
			err = fmt.Errorf("read: %w", err)
		}
		if n > 0 {
			cn.in = cn.buf[:len(cn.in)+n]
			cn.replied = false
			if perr := cn.parse(); perr != nil {
				err = perr
			}
			if cn.replied || len(cn.in) > 0 || cn.skip > 0 {
				cn.lastRead.Store(cn.age()) // whole events alone do not show that the server hears us
			}
			cn.makeRoom()
			if !cn.deliver(turn, id, err) {
				return
			}
		}
		if err != nil {
			cn.fail(err)
			cn.goroutines.Done()
			return
		}
	}
}

// makeRoom moves what is left to the front, and makes room for the rest of it.
func (cn *clientConn) makeRoom() {
	want := readBufferBytes
	if len(cn.in) >= 4 {
		frame := 4 + int(binary.BigEndian.Uint32(cn.in))
		want = max(want, min(frame, 2*len(cn.in))) // memory grows with the bytes that have come
	}
	buf := cn.buf
	if want > len(buf) || want < len(buf)/4 {
		cn.buf = make([]byte, want)
	}
	cn.in = cn.buf[:copy(cn.buf, cn.in)]
}

// deliver passes on what was read. The reader runs callbacks itself if nobody
// else does, which spares waking a goroutine for each. A callback may take long,
// and may need the connection: then another goroutine goes on reading, and deliver
// returns false when its own has nothing more to do.
func (cn *clientConn) deliver(turn, id uint64, err error) bool {
	d := cn.c.del
	drain := d.put(cn.items, err == nil)
	clear(cn.items)
	cn.items = cn.items[:0]
	if !drain {
		return true
	}
	cn.turn.Store(turn | 1)
	d.reader.Store(cn)
	d.drain(id)
	return cn.turn.CompareAndSwap(turn|1, turn)
}

// leave has another goroutine go on reading if the reader runs callbacks.
func (cn *clientConn) leave() {
	turn := cn.turn.Load()
	if turn&1 == 1 && cn.turn.CompareAndSwap(turn, turn+1) {
		go cn.read(turn + 1)
	}
}

// parse takes all whole frames from cn.in; what they bring is in cn.items.
func (cn *clientConn) parse() error {
	c := cn.c
	var err error
	c.mu.Lock()
	c.mu.answered = 0
	for err == nil {
		if cn.skip > 0 {
			n := min(cn.skip, len(cn.in))
			cn.in = cn.in[n:]
			cn.skip -= n
		}
		if len(cn.in) < 4 {
			break
		}
		n := int(int32(binary.BigEndian.Uint32(cn.in)))
		if n < replyHeaderBytes {
			err = fmt.Errorf("malformed frame: a reply of %d bytes", n)
			break
		}
		if len(cn.in) < 4+replyHeaderBytes {
			break
		}
		if n > c.cfg.ReplyBytesMax {
			err = cn.oversizeLocked(cn.in[4:4+replyHeaderBytes], n)
			cn.in = cn.in[4+replyHeaderBytes:]
			cn.skip = n - replyHeaderBytes
			continue
		}
		if len(cn.in) < 4+n {
			break
		}
		err = cn.frameLocked(cn.in[4 : 4+n])
		cn.in = cn.in[4+n:]
	}
	c.mu.Unlock()
	return err
}

// frameLocked handles one frame from the server.
func (cn *clientConn) frameLocked(frame []byte) error {
	c := cn.c
	d := jute.NewReader(frame)
	var h jute.ReplyHeader
	h.Decode(&d)
	if h.Zxid > c.lastZxid.Load() {
		c.lastZxid.Store(h.Zxid)
	}
	cn.replied = cn.replied || h.Xid != jute.XidNotification
	switch h.Xid {
	case jute.XidNotification: // there may be more events of its transaction
		return cn.eventLocked(h.Zxid, &d)
	case jute.XidSetWatches: // there may be more watches to arm
		if h.Err != jute.CodeOK {
			return fmt.Errorf("watches were not armed again: %w", Error(h.Err))
		}
		return nil
	}
	c.mu.answeredZxid = max(c.mu.answeredZxid, h.Zxid)
	switch h.Xid {
	case jute.XidPing:
		return nil
	case jute.XidAuth:
		return cn.authLocked(h)
	}
	r, err := cn.answeredLocked(h)
	if err != nil {
		return err
	}
	r.err = nil
	if h.Err != jute.CodeOK {
		r.err = Error(h.Err)
	}
	if r.abandoned && r.typ != jute.OpRemoveWatches { // its watches are gone, whoever waits
		return nil
	}
	r.buf = append(r.buf[:0], d.Rest()...)
	cn.watchesLocked(r)
	cn.items = finished(cn.items, r)
	if r.typ == jute.OpCloseSession {
		return ErrClosed
	}
	return nil
}

// answeredLocked takes the request that a reply is to, which must be the oldest.
func (cn *clientConn) answeredLocked(h jute.ReplyHeader) (*request, error) {
	r := cn.c.mu.sent.head
	if r == nil || r.xid != h.Xid {
		return nil, fmt.Errorf("malformed frame: a reply to request %d, which is not the oldest", h.Xid)
	}
	cn.c.mu.sent.pop()
	cn.c.mu.answered++
	cn.c.answeredLocked(r)
	r.zxid = h.Zxid
	return r, nil
}

// oversizeLocked fails the request whose reply is too large.
func (cn *clientConn) oversizeLocked(header []byte, n int) error {
	d := jute.NewReader(header)
	var h jute.ReplyHeader
	h.Decode(&d)
	r, err := cn.answeredLocked(h)
	if err != nil {
		return err
	}
	r.err = fmt.Errorf("reply %w: %d bytes, ReplyBytesMax is %d", ErrTooLarge, n, cn.c.cfg.ReplyBytesMax)
	r.unknown = !r.again
	cn.items = finished(cn.items, r)
	return nil
}

// eventLocked passes an event to its watches.
func (cn *clientConn) eventLocked(zxid int64, d *jute.Reader) error {
	var e jute.WatcherEvent
	e.Decode(d)
	if err := d.Err(); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	ws := cn.c.mu.watches.fire(EventType(e.Type), e.Path)
	if len(ws) == 0 {
		return nil // all who asked have been told, or have given up
	}
	ev := Event{Type: EventType(e.Type), State: cn.c.State(), Path: clientPath(cn.c.cfg.Chroot, e.Path), Zxid: max(zxid, 0)}
	cn.items = append(cn.items, item{ev: ev, ws: ws})
	return nil
}

// watchesLocked arms or removes what the request asked for, when the reply shows
// that the server has.
func (cn *clientConn) watchesLocked(r *request) {
	t := &cn.c.mu.watches
	switch {
	case r.w != nil && r.err == nil:
		t.add(r.watchKind, r.watchPath, r.w)
	case r.w != nil && r.typ == jute.OpExists && r.err == error(ErrNoNode): //nolint:errorlint // set by frameLocked
		t.add(watchExist, r.watchPath, r.w)
	case r.typ == jute.OpRemoveWatches && r.err == nil:
		if ws := t.remove(r.removeKind, r.watchPath); len(ws) > 0 {
			ev := Event{Type: EventWatchRemoved, State: cn.c.State(), Path: r.path}
			cn.items = append(cn.items, item{ev: ev, ws: ws})
		}
	}
}

// authLocked handles the reply to an AddAuth.
func (cn *clientConn) authLocked(h jute.ReplyHeader) error {
	c := cn.c
	r := cn.authSent.pop()
	if r == nil {
		return errors.New("malformed frame: a reply to no auth")
	}
	c.answeredLocked(r)
	r.zxid, r.buf = h.Zxid, r.buf[:0]
	if h.Err != jute.CodeOK {
		r.err = Error(h.Err)
		cn.items = finished(cn.items, r)
		return fmt.Errorf("scheme %q: %w", r.auth.Scheme, ErrAuthFailed)
	}
	auths := make([]Auth, 0, len(c.mu.auths)+1)
	for _, a := range c.mu.auths {
		if a.Scheme != r.auth.Scheme || string(a.Data) != string(r.auth.Data) {
			auths = append(auths, a)
		}
	}
	c.mu.auths = append(auths, *r.auth)
	cn.items = finished(cn.items, r)
	return nil
}
