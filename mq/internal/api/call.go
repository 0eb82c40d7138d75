package api

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/wire"
)

// call is one request on its way to its answer. The handler owns it until it calls reply, replyRaw or replyNothing, once.
type call struct {
	c        *conn
	api      *api
	key      int16
	version  int16
	corr     int32
	clientID string
	flexible bool
	req      kmsg.Request
	// inline says that the answer comes from the reading goroutine. A handler that lets others answer clears it first.
	inline bool

	// buf is the answer, frame size included; empty if there is none. done is guarded by the connection's mutex.
	buf  *[]byte
	done bool
}

// errMalformed says that a request cannot be decoded.
var errMalformed = errors.New("malformed request")

// handle decodes the request in c.frame and calls its handler.
func (c *conn) handle(a *api) error {
	if c.waiting != nil {
		c.waiting.cut()
		c.waiting = nil
	}
	cl := &call{c: c, api: a, inline: true}
	body, err := cl.parseHeader(c.frame)
	if err != nil {
		return err
	}
	if err := c.enqueue(cl); err != nil {
		return err
	}
	if cl.key == keyApiVersions {
		return cl.apiVersions(body)
	}
	if !a.serves(cl.version) {
		return fmt.Errorf("request of api key %d has version %d, want %d to %d", cl.key, cl.version, a.min, a.max)
	}
	if err := cl.decode(body); err != nil {
		return err
	}
	a.handle(c.s, cl)
	return nil
}

// parseHeader reads a request header, version 1 or 2, and returns what follows.
func (cl *call) parseHeader(frame []byte) ([]byte, error) {
	cl.key = int16(binary.BigEndian.Uint16(frame))
	cl.version = int16(binary.BigEndian.Uint16(frame[2:]))
	cl.corr = int32(binary.BigEndian.Uint32(frame[4:]))
	rest := frame[8:]
	if len(rest) < 2 {
		return nil, fmt.Errorf("%w: api key %d: no client id", errMalformed, cl.key)
	}
	n := int(int16(binary.BigEndian.Uint16(rest)))
	rest = rest[2:]
	if n > len(rest) || n < -1 {
		return nil, fmt.Errorf("%w: api key %d: client id of %d bytes", errMalformed, cl.key, n)
	}
	if n > 0 {
		cl.clientID, rest = string(rest[:n]), rest[n:]
	}
	cl.req = kmsg.RequestForKey(cl.key)
	cl.req.SetVersion(cl.version)
	cl.flexible = cl.req.IsFlexible()
	if !cl.flexible || !cl.api.serves(cl.version) {
		return rest, nil // answered or refused, whatever follows
	}
	rest, err := wire.SkipTags(rest)
	if err != nil {
		return nil, fmt.Errorf("%w: api key %d: header: %w", errMalformed, cl.key, err)
	}
	return rest, nil
}

// decode reads the request's body. Bytes alias the frame, which the next request overwrites, and so do the strings of Produce and
// Fetch: who keeps them copies them.
func (cl *call) decode(body []byte) error {
	decode := wire.Decode
	if cl.key == keyProduce || cl.key == keyFetch {
		decode = wire.DecodeAlias
	}
	if err := decode(cl.req, body); err != nil {
		return fmt.Errorf("%w: api key %d version %d: %w", errMalformed, cl.key, cl.version, err)
	}
	return nil
}

// begin starts the answer's frame: its size, to be set by end, and the response header.
func (cl *call) begin() []byte {
	cl.buf = getBuffer(cl.key == keyFetch)
	b := append(*cl.buf, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(cl.corr))
	if cl.flexible && cl.key != keyApiVersions {
		b = append(b, 0)
	}
	return b
}

// end completes the answer that begin started and sends it in its turn.
func (cl *call) end(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	*cl.buf = b
	cl.c.finish(cl, cl.inline)
}

// reply answers. Any goroutine may call it.
func (cl *call) reply(resp kmsg.Response) {
	resp.SetVersion(cl.version)
	cl.end(resp.AppendTo(cl.begin()))
}

// replyNothing is for requests that have no answer: their place in the order is given up.
func (cl *call) replyNothing() {
	cl.buf = getBuffer(false)
	cl.c.finish(cl, cl.inline)
}

// response returns the empty response of the call's request, with its defaults set.
func response[T kmsg.Response](cl *call) T {
	r := cl.req.ResponseKind()
	if d, ok := r.(interface{ Default() }); ok {
		d.Default()
	}
	return r.(T)
}

// background runs the rest of a handler on a goroutine of its own: for what waits, other than for data or for members. ctx-bound
// by the server; the connection's limit of requests in flight bounds how many there are.
func (cl *call) background(fn func()) {
	cl.inline = false
	cl.c.s.wg.Go(fn)
}
