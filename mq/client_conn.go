package mq

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/wire"
)

const (
	frameHeaderBytes  = 4         // the length in front of every request and response
	correlationOffset = 4 + 2 + 2 // where the correlation id is in a request frame
	coalesceBytes     = 64 << 10
	pooledFrameBytes  = 4 << 20
	responseChunk     = 4 << 20
)

// clientConn is one connection to a broker. Requests are pipelined; the broker answers in order.
//
// Goroutines: read lives as long as the connection; flush lives while there is something to write, one at a time, so that
// what many callers enqueue meanwhile leaves in one write. Both end when the connection fails or is closed.
type clientConn struct {
	addr     string
	lane     int32
	conn     net.Conn
	clientID string
	limit    int // of one response
	versions map[int16]versionRange
	wg       *sync.WaitGroup
	onFail   func(*clientConn, error)

	mu struct {
		sync.Mutex
		err         error
		correlation int32
		out         []*frame // to be written, in order
		flushing    bool
		pending     []pendingCall // written or to be written, unanswered, in order
		head        int           // pending[:head] are answered
	}
}

// frame is an encoded request. It belongs to whoever has it; conn.send takes it over, also when it fails.
type frame struct{ b []byte }

// pendingCall is a request that awaits its answer. done is called exactly once, on the connection's reading goroutine or,
// when the connection fails, on the goroutine that noticed; it must not block. The body is the callee's.
type pendingCall struct {
	correlation int32
	slow        time.Time // from then on it is suspicious that there is no answer
	deadline    time.Time // from then on the connection counts as dead
	done        func(body []byte, err error)
}

var framePool = sync.Pool{New: func() any { return new(frame) }}

func newFrame() *frame {
	f := framePool.Get().(*frame)
	f.b = f.b[:0]
	return f
}

// release gives the frame back; nobody may hold its bytes any more.
func (f *frame) release() {
	if cap(f.b) <= pooledFrameBytes {
		framePool.Put(f)
	}
}

// appendRequest encodes a request with its header; the length and the correlation id are filled in by send.
func appendRequest(b []byte, req kmsg.Request, clientID string) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(req.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(req.GetVersion()))
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(clientID)))
	b = append(b, clientID...)
	if req.IsFlexible() {
		b = append(b, 0)
	}
	return req.AppendTo(b)
}

// decodeResponse decodes the body of an answer to req. With unsafe the response's strings and bytes alias body.
func decodeResponse(req kmsg.Request, body []byte, unsafe bool) (kmsg.Response, error) {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && req.Key() != int16(kmsg.ApiVersions) {
		rest, err := wire.SkipTags(body)
		if err != nil {
			return nil, fmt.Errorf("%w: %s response header: %w", ErrProtocol, kmsg.NameForKey(req.Key()), err)
		}
		body = rest
	}
	decode := wire.Decode
	if unsafe {
		decode = wire.DecodeAlias
	}
	if err := decode(resp, body); err != nil {
		return nil, fmt.Errorf("%w: %s response: %w", ErrProtocol, kmsg.NameForKey(req.Key()), err)
	}
	return resp, nil
}

// start begins reading. wg counts the connection's goroutines.
func (c *clientConn) start() {
	c.wg.Go(c.read)
}

// send enqueues a frame that appendRequest made. If the connection has failed it returns its error and done is not called;
// otherwise done is called once, with the body after the correlation id or with an error. A nil done is for requests that are not
// answered. If the answer takes longer than expected suspicion is raised, if it takes timeout the connection is closed.
func (c *clientConn) send(f *frame, expected, timeout time.Duration, done func([]byte, error)) error {
	binary.BigEndian.PutUint32(f.b, uint32(len(f.b)-frameHeaderBytes))
	now := time.Now()
	c.mu.Lock()
	if c.mu.err != nil {
		err := c.mu.err
		c.mu.Unlock()
		f.release()
		return err
	}
	c.mu.correlation++
	binary.BigEndian.PutUint32(f.b[correlationOffset:], uint32(c.mu.correlation))
	c.mu.out = append(c.mu.out, f)
	if done != nil {
		c.mu.pending = append(c.mu.pending, pendingCall{c.mu.correlation, now.Add(expected), now.Add(timeout), done})
	}
	start := !c.mu.flushing
	if start {
		c.mu.flushing = true
		c.wg.Add(1) // not wg.Go: its closure would be an allocation a request
		go c.flush()
	}
	c.mu.Unlock()
	return nil
}

// flush writes what is enqueued until nothing is.
func (c *clientConn) flush() {
	defer c.wg.Done()
	var frames, spare []*frame
	var joined []byte
	for {
		c.mu.Lock()
		if len(c.mu.out) == 0 || c.mu.err != nil {
			c.mu.flushing = false
			c.mu.Unlock()
			return
		}
		frames, c.mu.out = c.mu.out, spare[:0]
		c.mu.Unlock()

		var err error
		joined, err = c.writeFrames(frames, joined)
		clear(frames)
		spare = frames
		if err != nil {
			c.fail(fmt.Errorf("mq: write to %s: %w", c.addr, err))
		}
	}
}

// writeFrames writes and releases the frames, small ones joined in buf, which it returns for the next time.
func (c *clientConn) writeFrames(frames []*frame, buf []byte) ([]byte, error) {
	if len(frames) == 1 {
		_, err := c.conn.Write(frames[0].b)
		frames[0].release()
		return buf, err
	}
	buf = buf[:0]
	var err error
	write := func(b []byte) {
		if err == nil && len(b) > 0 {
			_, err = c.conn.Write(b)
		}
	}
	for _, f := range frames {
		if len(buf)+len(f.b) > coalesceBytes {
			write(buf)
			buf = buf[:0]
		}
		if len(f.b) > coalesceBytes {
			write(f.b)
		} else {
			buf = append(buf, f.b...)
		}
		f.release()
	}
	write(buf)
	return buf, err
}

// read hands each response to its call, until the connection fails.
func (c *clientConn) read() {
	r := bufio.NewReaderSize(c.conn, 64<<10)
	var head [frameHeaderBytes]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			c.fail(fmt.Errorf("mq: connection to %s: %w", c.addr, err))
			return
		}
		size := int(int32(binary.BigEndian.Uint32(head[:])))
		if size < 4 || size > c.limit {
			c.fail(fmt.Errorf("%w: %s announced a response of %d bytes; the limit is %d", ErrProtocol, c.addr, size, c.limit))
			return
		}
		body, err := readBody(r, size)
		if err != nil {
			c.fail(fmt.Errorf("mq: connection to %s: %w", c.addr, err))
			return
		}
		call, ok := c.take(int32(binary.BigEndian.Uint32(body)))
		if !ok {
			c.fail(fmt.Errorf("%w: %s answered out of order", ErrProtocol, c.addr))
			return
		}
		call.done(body[4:], nil)
	}
}

// readBody reads size bytes; memory grows with what has arrived, so an announced length alone costs little.
func readBody(r io.Reader, size int) ([]byte, error) {
	body := make([]byte, min(size, responseChunk))
	for filled := 0; ; {
		if _, err := io.ReadFull(r, body[filled:]); err != nil {
			return nil, err
		}
		if len(body) == size {
			return body, nil
		}
		filled = len(body)
		grown := make([]byte, min(size, 2*len(body)))
		copy(grown, body)
		body = grown
	}
}

// take removes the oldest unanswered call if it has the given correlation id.
func (c *clientConn) take(correlation int32) (pendingCall, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.head == len(c.mu.pending) || c.mu.pending[c.mu.head].correlation != correlation {
		return pendingCall{}, false
	}
	call := c.mu.pending[c.mu.head]
	c.mu.pending[c.mu.head] = pendingCall{}
	c.mu.head++
	if c.mu.head == len(c.mu.pending) {
		c.mu.pending, c.mu.head = c.mu.pending[:0], 0
	} else if c.mu.head >= 64 && c.mu.head*2 >= len(c.mu.pending) {
		n := copy(c.mu.pending, c.mu.pending[c.mu.head:])
		clear(c.mu.pending[n:])
		c.mu.pending, c.mu.head = c.mu.pending[:n], 0
	}
	return call, true
}

// fail closes the connection and fails what is unanswered. Only the first call has an effect.
func (c *clientConn) fail(err error) {
	c.mu.Lock()
	if c.mu.err != nil {
		c.mu.Unlock()
		return
	}
	c.mu.err = err
	pending := c.mu.pending[c.mu.head:]
	c.mu.pending, c.mu.head = nil, 0
	for _, f := range c.mu.out {
		f.release()
	}
	c.mu.out = nil
	c.mu.Unlock()

	_ = c.conn.Close()
	c.onFail(c, err)
	for _, call := range pending {
		call.done(nil, err)
	}
}

// failed returns the error the connection failed with, nil while it works.
func (c *clientConn) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}

// owes reports whether a request is unanswered.
func (c *clientConn) owes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.head < len(c.mu.pending)
}

// overdue reports whether the oldest unanswered request should have been answered by now, and whether it is too late for it.
func (c *clientConn) overdue(now time.Time) (slow, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.head == len(c.mu.pending) {
		return false, false
	}
	oldest := &c.mu.pending[c.mu.head]
	return now.After(oldest.slow), now.After(oldest.deadline)
}
