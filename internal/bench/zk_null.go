package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/vivarium-go/vivarium/zk"
)

// nullServer speaks as much of the protocol of ZooKeeper as the rows ask for,
// over a map: no replication, no sessions, no order among clients. It is what
// the protocol and the client cost alone.
type nullServer struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu      sync.Mutex
	data    map[string][]byte
	watches map[string][]*nullConn
	open    map[*nullConn]struct{} // nil: closed
	zxid    int64
}

// nullConn is one client's connection.
type nullConn struct {
	net.Conn

	mu  sync.Mutex // of writes
	out []byte     // of the reader's goroutine
}

func startNull(ctx context.Context, _ *Env) (coordinator, error) {
	l, err := (&tcp{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &nullServer{
		listener: l, data: make(map[string][]byte), watches: make(map[string][]*nullConn), open: make(map[*nullConn]struct{}),
	}
	s.conns.Go(s.accept)
	return s, nil
}

func (s *nullServer) leader() int { return 0 }

func (s *nullServer) connect(ctx context.Context, _ int) (session, error) {
	return connectZK(ctx, zk.ClientConfig{Servers: []string{s.listener.Addr().String()}})
}

func (s *nullServer) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.conns.Wait()
	return err
}

// accept is a goroutine, as serve is for each connection.
func (s *nullServer) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		c := &nullConn{Conn: nc}
		s.mu.Lock()
		closed := s.open == nil
		if !closed {
			s.open[c] = struct{}{}
		}
		s.mu.Unlock()
		if closed {
			_ = nc.Close()
			return
		}
		s.conns.Go(func() {
			_ = s.serve(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
		})
	}
}

// serve answers all requests that a read brought with one write.
func (s *nullServer) serve(c *nullConn) error {
	buf := make([]byte, 64<<10)
	have, greeted := 0, false
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		rest := buf[:have]
		c.out = c.out[:0]
		for len(rest) >= 4 && len(rest) >= 4+int(binary.BigEndian.Uint32(rest)) {
			frame := rest[4 : 4+binary.BigEndian.Uint32(rest)]
			rest = rest[4+len(frame):]
			if !greeted {
				greeted = true
				c.greet(len(frame))
			} else if err := s.answer(c, frame); err != nil {
				return err
			}
		}
		have = copy(buf, rest)
		c.mu.Lock()
		_, err = c.Write(c.out)
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// greet accepts a session of ten seconds; with the flag of a read-only server if
// the client's request, of 45 bytes, has one.
func (c *nullConn) greet(request int) {
	size := 36 + max(0, request-44)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(size))
	body := make([]byte, size)
	binary.BigEndian.PutUint32(body[4:], 10_000)
	binary.BigEndian.PutUint64(body[8:], 1)
	binary.BigEndian.PutUint32(body[16:], 16)
	c.out = append(c.out, body...)
}

var errNull = errors.New("the null server does not know this")

const nullStatBytes = 68

// answer appends the reply to one request: xid, operation and what it takes.
func (s *nullServer) answer(c *nullConn, frame []byte) error {
	if len(frame) < 8 {
		return errNull
	}
	xid, op, body := frame[:4], binary.BigEndian.Uint32(frame[4:]), frame[8:]
	path, body := nullBytes(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(c.out)
	c.out = append(append(c.out, 0, 0, 0, 0), xid...)
	c.out = append(binary.BigEndian.AppendUint64(c.out, uint64(s.zxid)), 0, 0, 0, 0)
	switch op {
	case 1, 15: // create, create2
		data, _ := nullBytes(body)
		s.data[string(path)] = append([]byte(nil), data...)
		c.out = append(binary.BigEndian.AppendUint32(c.out, uint32(len(path))), path...)
		if op == 15 {
			c.out = append(c.out, make([]byte, nullStatBytes)...)
		}
	case 4: // getData
		data, ok := s.data[string(path)]
		if !ok {
			binary.BigEndian.PutUint32(c.out[len(c.out)-4:], 0xffffff9b) // -101, no such znode
			break
		}
		if len(body) > 0 && body[0] == 1 {
			s.watches[string(path)] = append(s.watches[string(path)], c)
		}
		c.out = append(binary.BigEndian.AppendUint32(c.out, uint32(len(data))), data...)
		c.out = append(c.out, make([]byte, nullStatBytes)...)
	case 5: // setData
		data, _ := nullBytes(body)
		s.zxid++
		s.data[string(path)] = append([]byte(nil), data...)
		c.out = append(c.out, make([]byte, nullStatBytes)...)
		s.tell(string(path))
	case 11, 0xfffffff5: // ping, closeSession
	default:
		return errNull
	}
	binary.BigEndian.PutUint32(c.out[at:], uint32(len(c.out)-at-4))
	return nil
}

// tell sends everyone who watches a path that it was set. The caller holds mu.
func (s *nullServer) tell(path string) {
	watchers := s.watches[path]
	if len(watchers) == 0 {
		return
	}
	delete(s.watches, path)
	event := []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}
	event = append(binary.BigEndian.AppendUint64(event, uint64(s.zxid)), 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3)
	event = append(binary.BigEndian.AppendUint32(event, uint32(len(path))), path...)
	binary.BigEndian.PutUint32(event, uint32(len(event)-4))
	for _, c := range watchers {
		c.mu.Lock()
		_, _ = c.Write(event) // who is gone is not told
		c.mu.Unlock()
	}
}

// nullBytes takes a string or buffer off a body.
func nullBytes(b []byte) (taken, rest []byte) {
	if len(b) < 4 {
		return nil, nil
	}
	n := int(int32(binary.BigEndian.Uint32(b)))
	if n < 0 || n > len(b)-4 {
		return nil, b[4:]
	}
	return b[4 : 4+n], b[4+n:]
}
