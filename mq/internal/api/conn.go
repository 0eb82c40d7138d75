package api

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBufferBytes = 4 << 10
	// frameKeepBytes is the largest frame buffer a connection keeps between requests.
	frameKeepBytes = 2 << 20
	// frameStepBytes is how much of a frame is allocated before any of it has arrived.
	frameStepBytes = 64 << 10
	// coalesceBytes: answers up to this size are written together.
	coalesceBytes = 16 << 10
	// unsentBytesMax is how many bytes of answers may wait to be written before the connection is not read any more.
	unsentBytesMax = 8 << 20
)

// errDraining ends a connection's reading when the server drains.
var errDraining = errors.New("draining")

// conn is one client's connection.
type conn struct {
	s        *Server
	nc       net.Conn
	listener string
	remote   string
	host     string // the client's address without its port
	br       *bufio.Reader
	frame    []byte // owned by the reading goroutine
	// waiting is the fetch that waits for data, to be cut short by the next request. Owned by the reading goroutine.
	waiting *fetchOp

	// The janitor's clocks, in rounds; 0 means not waiting.
	lastFrame, frameSince, writeSince atomic.Int64

	mu struct {
		sync.Mutex
		queue    []*call // in order; the head is the next to be written
		unsent   int     // bytes of done calls in queue
		writing  bool
		closed   bool
		draining bool // no more requests are read
	}
	ready *sync.Cond // the head of the queue is done, or the connection is closed
	room  *sync.Cond // the queue has become shorter
}

func newConn(s *Server, nc net.Conn, listener string) *conn {
	c := &conn{s: s, nc: nc, listener: listener, remote: nc.RemoteAddr().String(), br: bufio.NewReaderSize(nc, readBufferBytes)}
	c.host = c.remote
	if host, _, err := net.SplitHostPort(c.remote); err == nil {
		c.host = host
	}
	c.ready, c.room = sync.NewCond(&c.mu), sync.NewCond(&c.mu)
	c.lastFrame.Store(s.ticks.Load())
	return c
}

// close breaks the connection. Any goroutine may call it, any number of times.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return
	}
	c.mu.closed = true
	_ = c.nc.Close()
	c.ready.Broadcast()
	c.room.Broadcast()
}

// drain has the connection end when everything received has been answered.
func (c *conn) drain() {
	c.mu.Lock()
	c.mu.draining = true
	c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	c.ready.Broadcast()
}

// overdue says why the connection should be closed, if it should.
func (c *conn) overdue(now, idle, stall int64) string {
	if t := c.writeSince.Load(); t != 0 && now-t > stall {
		return "an answer was not taken in time"
	}
	if t := c.frameSince.Load(); t != 0 && now-t > stall {
		return "a request did not arrive in time"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mu.queue) == 0 && now-c.lastFrame.Load() > idle {
		return "idle"
	}
	return ""
}

// read takes requests until the connection ends.
func (c *conn) read() {
	var err error
	for err == nil {
		err = c.readOne()
	}
	if c.waiting != nil {
		c.waiting.cut()
		c.waiting = nil
	}
	if errors.Is(err, errDraining) {
		return // the writer closes when the queue is empty
	}
	if !quietEnd(err) {
		c.s.cfg.Logger.Warn("connection closed", "remote", c.remote, "err", err)
	}
	c.close()
}

// quietEnd says whether a connection's end is nothing to tell.
func quietEnd(err error) bool {
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &ne)
}

// readOne takes one request and has it handled.
func (c *conn) readOne() error {
	var head [8]byte
	if _, err := io.ReadFull(c.br, head[:4]); err != nil {
		return c.readEnd(err, false)
	}
	now := c.s.ticks.Load()
	c.lastFrame.Store(now)
	c.frameSince.Store(max(now, 1))
	size := int64(int32(binary.BigEndian.Uint32(head[:4])))
	if size < 8 || size > int64(c.s.cfg.RequestBytesMax) {
		return fmt.Errorf("request of %d bytes, want 8 to %d", size, c.s.cfg.RequestBytesMax)
	}
	if _, err := io.ReadFull(c.br, head[4:]); err != nil {
		return c.readEnd(err, true)
	}
	key := int16(binary.BigEndian.Uint16(head[4:]))
	a := apis[key]
	if a == nil {
		return fmt.Errorf("request of unknown api key %d", key)
	}
	if limit := a.requestBytesMax; limit >= 0 && size > apiRequestBytesMax {
		return fmt.Errorf("request of api key %d has %d bytes, limit is %d", key, size, apiRequestBytesMax)
	}
	if !c.s.queued.take(size) {
		return net.ErrClosed
	}
	defer c.s.queued.put(size)
	if err := c.readBody(head[4:], int(size)); err != nil {
		return c.readEnd(err, true)
	}
	c.frameSince.Store(0)
	err := c.handle(a)
	if cap(c.frame) > frameKeepBytes {
		c.frame = nil
	}
	return err
}

// readEnd tells the end of the connection from the end of what is to be read while it drains.
func (c *conn) readEnd(err error, inFrame bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.draining && !c.mu.closed && !inFrame {
		return errDraining
	}
	return err
}

// readBody reads a frame of n bytes, whose first four have been read, into c.frame. Memory grows with what has arrived.
func (c *conn) readBody(first []byte, n int) error {
	if cap(c.frame) < n {
		c.frame = make([]byte, 0, min(n, max(frameStepBytes, 2*cap(c.frame))))
	}
	c.frame = append(c.frame[:0], first...)
	for len(c.frame) < n {
		if len(c.frame) == cap(c.frame) {
			grown := make([]byte, len(c.frame), min(n, 2*cap(c.frame)))
			copy(grown, c.frame)
			c.frame = grown
		}
		step := c.frame[len(c.frame):min(n, cap(c.frame))]
		if _, err := io.ReadFull(c.br, step); err != nil {
			return err
		}
		c.frame = c.frame[:len(c.frame)+len(step)]
	}
	return nil
}

// enqueue takes a call's place in the order of answers. It waits while too many are before it.
func (c *conn) enqueue(cl *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.mu.closed && (len(c.mu.queue) >= c.s.cfg.InFlightMax || c.mu.unsent > unsentBytesMax) {
		c.room.Wait()
	}
	if c.mu.closed {
		return net.ErrClosed
	}
	c.mu.queue = append(c.mu.queue, cl)
	return nil
}

// finish takes a call's answer. The reading goroutine (inline) writes it itself if nothing is before it.
func (c *conn) finish(cl *call, inline bool) {
	c.mu.Lock()
	cl.done = true
	c.mu.unsent += len(*cl.buf)
	if c.mu.closed || c.mu.writing || len(c.mu.queue) == 0 || !c.mu.queue[0].done {
		c.mu.Unlock()
		return
	}
	if !inline {
		c.mu.Unlock()
		c.ready.Signal()
		return
	}
	c.flushLocked()
	c.mu.Unlock()
}

// write writes the answers that other goroutines completed, until the connection is closed or drained.
func (c *conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for !c.mu.closed && (c.mu.writing || len(c.mu.queue) == 0 || !c.mu.queue[0].done) {
			if c.mu.draining && len(c.mu.queue) == 0 && !c.mu.writing {
				c.mu.closed = true
				_ = c.nc.Close()
				c.room.Broadcast()
				return
			}
			c.ready.Wait()
		}
		if c.mu.closed {
			return
		}
		c.flushLocked()
	}
}

// flushLocked writes every answer that is due. The mutex is released while writing.
func (c *conn) flushLocked() {
	c.mu.writing = true
	for !c.mu.closed && len(c.mu.queue) > 0 && c.mu.queue[0].done {
		n := 1
		for n < len(c.mu.queue) && c.mu.queue[n].done {
			n++
		}
		due := append([]*call(nil), c.mu.queue[:n]...)
		c.mu.queue = append(c.mu.queue[:0], c.mu.queue[n:]...)
		for _, cl := range due {
			c.mu.unsent -= len(*cl.buf)
		}
		c.mu.Unlock()
		err := c.send(due)
		c.mu.Lock()
		c.room.Broadcast()
		if err != nil && !c.mu.closed {
			c.mu.closed = true
			_ = c.nc.Close()
			c.ready.Broadcast()
		}
	}
	c.mu.writing = false
	if c.mu.draining || c.mu.closed {
		c.ready.Broadcast()
	}
}

// send writes answers, small ones together, and gives their buffers back.
func (c *conn) send(due []*call) error {
	c.writeSince.Store(max(c.s.ticks.Load(), 1))
	defer c.writeSince.Store(0)
	var err error
	for i := 0; i < len(due); i++ {
		buf := due[i].buf
		for len(*buf) < coalesceBytes && i+1 < len(due) {
			*buf = append(*buf, *due[i+1].buf...)
			putBuffer(due[i+1].buf)
			i++
		}
		if err == nil && len(*buf) > 0 {
			_, err = c.nc.Write(*buf)
		}
		putBuffer(buf)
	}
	return err
}

// Response buffers are pooled by size, so that a fetch finds one that has room for what the last one read, and a heartbeat does
// not take it away.
var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, largeBufferBytes); return &b }}
)

const (
	// largeBufferBytes is from where on a buffer is a large one.
	largeBufferBytes = 64 << 10
	// bufferKeepBytes is the largest buffer that goes back to its pool.
	bufferKeepBytes = 16 << 20
)

func getBuffer(large bool) *[]byte {
	pool := &smallBuffers
	if large {
		pool = &largeBuffers
	}
	b := pool.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

// putBuffer gives a buffer back. In tests it is poisoned first, so that who still reads it notices.
func putBuffer(b *[]byte) {
	if b == nil || cap(*b) > bufferKeepBytes {
		return
	}
	if poisonBuffers {
		full := (*b)[:cap(*b)]
		for i := range full {
			full[i] = 0xdb
		}
	}
	if cap(*b) >= largeBufferBytes {
		largeBuffers.Put(b)
		return
	}
	smallBuffers.Put(b)
}

// poisonBuffers is set by this package's tests.
var poisonBuffers bool
