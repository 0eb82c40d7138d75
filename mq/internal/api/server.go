package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config holds the limits of a Server. All must be positive.
type Config struct {
	// RequestBytesMax bounds a frame, FetchBytesMax a fetch response whatever the client asks.
	RequestBytesMax, FetchBytesMax int
	// ConnectionsMax bounds open connections; further ones are closed at once.
	ConnectionsMax int
	// InFlightMax is how many requests of a connection may wait for their answers before it is not read any more.
	InFlightMax int
	// QueuedBytesMax bounds the bytes of all requests being received and decoded.
	QueuedBytesMax int64
	// IdleMax is how long a connection may say nothing.
	IdleMax time.Duration
	// StallMax is how long a frame may take to arrive, and an answer to be taken.
	StallMax time.Duration
	// Logger is told of connections that misbehave.
	Logger *slog.Logger
}

// Server serves the Kafka protocol on any number of listeners. See the package's comment. Its methods may be called
// concurrently.
type Server struct {
	cfg     Config
	backend Backend
	ctx     context.Context // ends with the server
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	queued  budget
	// ticks counts the janitor's rounds: the clock of idle and stalled connections.
	ticks atomic.Int64

	mu struct {
		sync.Mutex
		closed    bool
		draining  bool
		listeners map[net.Listener]struct{}
		conns     map[*conn]struct{}
	}
}

// janitorPeriod is how often connections are looked at; idle and stall limits are that exact.
const janitorPeriod = time.Second

// New returns a server without listeners. Close it.
func New(cfg Config, backend Backend) *Server {
	s := &Server{cfg: cfg, backend: backend}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.queued.init(cfg.QueuedBytesMax)
	s.mu.listeners = map[net.Listener]struct{}{}
	s.mu.conns = map[*conn]struct{}{}
	s.wg.Go(s.janitor)
	return s
}

// Serve accepts connections from l, which the server closes, until the server is closed. name is the listener's name: its
// clients are told the addresses of listeners of that name. It returns at once.
func (s *Server) Serve(l net.Listener, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || s.mu.draining {
		_ = l.Close()
		return
	}
	s.mu.listeners[l] = struct{}{}
	s.wg.Go(func() { s.accept(l, name) })
}

// accept takes connections until the listener is closed. Errors that may pass, such as having no file descriptors left, slow it
// down.
func (s *Server) accept(l net.Listener, name string) {
	delay := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("accepting a connection failed", "listener", name, "err", err, "retry", delay)
			select {
			case <-time.After(delay):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		delay = 0
		s.admit(nc, name)
	}
}

// admit starts serving a connection, or closes it if there are too many.
func (s *Server) admit(nc net.Conn, listener string) {
	c := newConn(s, nc, listener)
	s.mu.Lock()
	full := len(s.mu.conns) >= s.cfg.ConnectionsMax
	if s.mu.closed || s.mu.draining || full {
		s.mu.Unlock()
		_ = nc.Close()
		if full {
			s.cfg.Logger.Warn("connection refused: too many are open", "remote", nc.RemoteAddr().String(), "limit", s.cfg.ConnectionsMax)
		}
		return
	}
	s.mu.conns[c] = struct{}{}
	s.wg.Go(func() {
		c.read()
		s.mu.Lock()
		delete(s.mu.conns, c)
		s.mu.Unlock()
	})
	s.wg.Go(c.write)
	s.mu.Unlock()
}

// Drop closes every connection and listener now, without waiting: nothing that a handler answers from here on reaches anybody.
func (s *Server) Drop() {
	s.mu.Lock()
	s.mu.closed = true
	for l := range s.mu.listeners {
		_ = l.Close()
	}
	for c := range s.mu.conns {
		c.close()
	}
	s.mu.Unlock()
	s.cancel()
	s.queued.close()
}

// Close drops everything and waits until no goroutine of the server is left. Handlers must have been made to answer.
func (s *Server) Close() {
	s.Drop()
	s.wg.Wait()
}

// Drain stops accepting, lets every connection answer what it has received, then closes it; it returns when all are closed, or
// when ctx ends.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.mu.draining = true
	for l := range s.mu.listeners {
		_ = l.Close()
	}
	for c := range s.mu.conns {
		c.drain()
	}
	s.mu.Unlock()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		left := len(s.mu.conns)
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Connections is how many connections are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
}

// janitor closes connections that are idle, whose frame does not arrive, or whose answer is not taken.
func (s *Server) janitor() {
	t := time.NewTicker(janitorPeriod)
	defer t.Stop()
	idle := int64(s.cfg.IdleMax/janitorPeriod) + 1
	stall := int64(s.cfg.StallMax/janitorPeriod) + 1
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		now := s.ticks.Add(1)
		s.mu.Lock()
		for c := range s.mu.conns {
			if why := c.overdue(now, idle, stall); why != "" {
				s.cfg.Logger.Info("connection closed", "remote", c.remote, "reason", why)
				c.close()
			}
		}
		s.mu.Unlock()
	}
}

// budget is a bounded number of bytes that many goroutines share.
type budget struct {
	mu   sync.Mutex
	free *sync.Cond
	left int64
	max  int64
	shut bool
}

func (b *budget) init(n int64) {
	b.left, b.max = n, n
	b.free = sync.NewCond(&b.mu)
}

// take waits for n bytes; a request larger than the whole waits for all of it. It returns false when the budget is closed.
func (b *budget) take(n int64) bool {
	n = min(n, b.max)
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.left < n && !b.shut {
		b.free.Wait()
	}
	b.left -= n
	return !b.shut
}

// put gives n bytes back.
func (b *budget) put(n int64) {
	b.mu.Lock()
	b.left += min(n, b.max)
	b.mu.Unlock()
	b.free.Broadcast()
}

func (b *budget) close() {
	b.mu.Lock()
	b.shut = true
	b.mu.Unlock()
	b.free.Broadcast()
}
