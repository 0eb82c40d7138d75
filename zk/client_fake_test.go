package zk

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// fakeServers is a Network on whose other side a test plays the servers, frame by
// frame. It is for bubbles.
type fakeServers struct {
	t       *testing.T
	arrived chan *fakeConn

	mu      sync.Mutex
	dialled []string // addresses, in order
	dial    func(ctx context.Context, address string) error
}

// fakeConn is the server's end of a connection.
type fakeConn struct {
	net.Conn
	t       *testing.T
	address string
	hello   jute.ConnectRequest
}

func newFakeServers(t *testing.T) *fakeServers {
	return &fakeServers{t: t, arrived: make(chan *fakeConn, 1000)}
}

func (f *fakeServers) Listen(context.Context, string, string) (net.Listener, error) {
	return nil, net.ErrClosed
}

func (f *fakeServers) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	f.mu.Lock()
	f.dialled = append(f.dialled, address)
	dial := f.dial
	f.mu.Unlock()
	if dial != nil {
		if err := dial(ctx, address); err != nil {
			return nil, err
		}
	}
	client, server := net.Pipe()
	f.arrived <- &fakeConn{Conn: server, t: f.t, address: address}
	return client, nil
}

// refuse has every dial fail with err, or none if it is nil.
func (f *fakeServers) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dial = func(context.Context, string) error { return err }
}

func (f *fakeServers) dials() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.dialled)
}

const (
	fakeSession = 0x1234
	fakeTimeout = 9 * time.Second // so that a third is 3 s
)

var fakePassword = []byte("0123456789abcdef")

// connect connects a client and returns it with its first connection.
func (f *fakeServers) connect(cfg ClientConfig) (*Client, *fakeConn) {
	f.t.Helper()
	cfg.Network = f
	if cfg.Servers == nil {
		cfg.Servers = []string{"fake:2181"}
	}
	if cfg.Seed == 0 {
		cfg.Seed = 1
	}
	var s *fakeConn
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		s = f.accept()
		for range cfg.Auth {
			s.replyTo(s.expect(jute.OpAuth), 0)
		}
	}()
	c, err := Connect(f.t.Context(), cfg)
	require.NoError(f.t, err)
	<-accepted
	return c, s
}

// accept takes the next connection and grants the session.
func (f *fakeServers) accept() *fakeConn {
	s := f.take()
	s.grant(jute.ConnectResponse{
		Timeout: int32(fakeTimeout.Milliseconds()), SessionID: fakeSession, Password: fakePassword, HasReadOnly: true,
	})
	return s
}

// take takes the next connection and reads its ConnectRequest.
func (f *fakeServers) take() *fakeConn {
	s := <-f.arrived
	d := jute.NewReader(s.frame())
	s.hello.Decode(&d)
	if d.Err() != nil {
		s.t.Errorf("ConnectRequest: %v", d.Err())
	}
	return s
}

func (s *fakeConn) grant(p jute.ConnectResponse) {
	s.send(p.Append(nil))
}

// send writes one frame.
func (s *fakeConn) send(payload []byte) {
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	if _, err := s.Write(frame); err != nil {
		s.t.Errorf("the client has closed the connection: %v", err)
	}
}

// frame reads one frame; nil when the client has closed the connection.
func (s *fakeConn) frame() []byte {
	var head [4]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return nil
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(s, payload); err != nil {
		return nil
	}
	return payload
}

// fakeRequest is a request as the server sees it.
type fakeRequest struct {
	jute.RequestHeader
	body []byte
}

// next reads the next request that is not a ping; it answers those.
func (s *fakeConn) next() (q fakeRequest, ok bool) {
	for {
		payload := s.frame()
		if payload == nil {
			return q, false
		}
		d := jute.NewReader(payload)
		q.Decode(&d)
		q.body = d.Rest()
		if q.Op != jute.OpPing {
			return q, true
		}
		s.replyTo(q, 0)
	}
}

// expect reads the next request, which must be of the type.
func (s *fakeConn) expect(op jute.OpCode) fakeRequest {
	q, ok := s.next()
	if !ok || q.Op != op {
		s.t.Errorf("request %v (%v), want %v", q.Op, ok, op)
	}
	return q
}

func (q fakeRequest) path() string {
	d := jute.NewReader(q.body)
	return d.String()
}

// reply is the frame's payload of a reply.
func fakeReply(xid int32, zxid int64, code jute.Code, body ...jute.Record) []byte {
	b := (&jute.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}).Append(nil)
	for _, r := range body {
		b = r.Append(b)
	}
	return b
}

// replyTo answers a request successfully.
func (s *fakeConn) replyTo(q fakeRequest, zxid int64, body ...jute.Record) {
	s.send(fakeReply(q.Xid, zxid, jute.CodeOK, body...))
}

func (s *fakeConn) event(zxid int64, typ EventType, path string) {
	frame := jute.AppendNotification(nil, zxid, jute.EventType(typ), path)
	if _, err := s.Write(frame); err != nil {
		s.t.Errorf("event: %v", err)
	}
}

// endSession answers a closeSession, which is the next request.
func (s *fakeConn) endSession() {
	s.replyTo(s.expect(jute.OpCloseSession), 0)
	s.Close()
}

// closeWith closes a client whose server is s.
func closeWith(c *Client, s *fakeConn) {
	go s.endSession()
	if err := c.Close(); err != nil {
		s.t.Errorf("close: %v", err)
	}
}

// inBubble runs a test on fake servers; that the bubble ends shows that the
// client has left no goroutine.
func inBubble(t *testing.T, fn func(t *testing.T, f *fakeServers)) {
	synctest.Test(t, func(t *testing.T) { fn(t, newFakeServers(t)) })
}

// async runs fn and returns a function that waits for its result.
func async[T any](fn func() T) (wait func() T) {
	ch := make(chan T, 1)
	go func() { ch <- fn() }()
	return func() T { return <-ch }
}
