package zk

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

const (
	passwordBytes = 16

	// closeWait bounds how long Close waits for the server and for callbacks.
	closeWait = time.Second

	// lostMax is how many connections may break under one request, the oldest that
	// is not answered, before it is not sent again.
	lostMax = 10

	// A round over all servers without success is followed by a pause, doubling
	// between these.
	pauseMin = 10 * time.Millisecond
	pauseMax = time.Second
)

// newClient makes a client that has not been started.
//
// Goroutines of a client, by name, owner and end:
//
//	session   Connect; one; ends when the state is final or by Close, Abandon
//	delivery  Connect; one; ends after the session goroutine, with its queue empty;
//	          Go on a closed client starts it again to call done
//	reader    session; one a connection; ends with the connection. When it runs
//	          callbacks and one of them takes long, or waits for an answer, another
//	          is started in its place, and it ends with the queue of delivery empty
//	writer    session; one a connection; ends with the connection
//	prober    session; one a read-only connection; ends with the connection
//
// A connection ends by clientConn.fail, from whoever notices first; the session
// goroutine waits for its goroutines before it dials again. Timers (delivery's
// release, contexts' AfterFunc) run for an instant.
func newClient(cfg ClientConfig) *Client {
	c := &Client{
		cfg:   cfg,
		log:   cfg.Logger,
		ended: make(chan struct{}),
		done:  make(chan struct{}),
	}
	c.del = newDelivery(c)
	c.requests.New = func() any { return &request{ready: make(chan struct{}, 1)} }
	c.timeout.Store(int64(cfg.SessionTimeout))
	c.mu.auths = slices.Clone(cfg.Auth)
	c.mu.connected = make(chan struct{})
	c.mu.password = make([]byte, passwordBytes)
	if s := cfg.Session; s != nil {
		c.sessionID.Store(s.ID)
		c.mu.password = bytes.Clone(s.Password)
		c.mu.seenWritable = true
	}
	if cfg.OnState != nil {
		c.mu.stateWatchers = []*stateWatcher{{fn: cfg.OnState}}
	}
	return c
}

// start starts the goroutines that live as long as the client.
func (c *Client) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.del.run()
	go c.run(ctx)
}

// waitConnected waits for the first connection.
func (c *Client) waitConnected(ctx context.Context) error {
	c.mu.Lock()
	connected := c.mu.connected
	c.mu.Unlock()
	var err error
	select {
	case <-connected:
		return nil
	case <-c.done:
		err = c.Err()
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.lastErr != nil {
		return fmt.Errorf("zk: connect to %v: %w (last attempt: %w)", c.cfg.Servers, err, c.mu.lastErr)
	}
	return fmt.Errorf("zk: connect to %v: %w", c.cfg.Servers, err)
}

// run is the session goroutine: it connects, has the connection served until it
// breaks, and so on until the session has ended.
func (c *Client) run(ctx context.Context) {
	defer close(c.ended)
	seed := c.cfg.Seed
	if seed == 0 {
		var b [8]byte
		crand.Read(b[:])
		seed = binary.LittleEndian.Uint64(b[:])
	}
	rng := rand.New(rand.NewPCG(seed, 0x7a6b))
	servers := slices.Clone(c.cfg.Servers)
	rng.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })

	pause := pauseMin
	for next, failed := 0, 0; ctx.Err() == nil; next++ {
		if failed == len(servers) {
			failed = 0
			sleep(ctx, pause/2+time.Duration(rng.Int64N(int64(pause/2))))
			pause = min(2*pause, pauseMax)
		}
		server := servers[next%len(servers)]
		cn, err := c.connect(ctx, server)
		if err != nil {
			failed++
			c.noteFailure(server, err)
			if state := endedBy(err); state.Final() {
				c.end(state)
				return
			}
			continue
		}
		err = c.serve(ctx, cn)
		c.noteFailure(server, err)
		if time.Since(cn.begun) >= pauseMax {
			failed, pause = 0, pauseMin
		} else {
			failed++ // a server that lets nobody stay is no better than none
		}
		if better, ok := errors.AsType[*writableFoundError](err); ok {
			next = slices.Index(servers, better.server) - 1
		}
		if state := endedBy(err); state.Final() {
			c.end(state)
			return
		}
	}
	c.end(StateClosed)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// endedBy is the final state that an error brings, or StateConnecting.
func endedBy(err error) State {
	switch {
	case errors.Is(err, ErrSessionExpired):
		return StateExpired
	case errors.Is(err, ErrAuthFailed):
		return StateAuthFailed
	case errors.Is(err, ErrClosed):
		return StateClosed
	}
	return StateConnecting
}

func (c *Client) noteFailure(server string, err error) {
	c.mu.Lock()
	c.mu.lastErr = fmt.Errorf("%s: %w", server, err)
	c.mu.Unlock()
	if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
		c.log.Info("zk: no connection", "server", server, "err", err)
	}
}

// connect dials a server and takes up the session there.
func (c *Client) connect(ctx context.Context, server string) (*clientConn, error) {
	timeout := max(c.SessionTimeout()/time.Duration(len(c.cfg.Servers)), 10*time.Millisecond)
	dialCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := c.dial(dialCtx, server)
	if err != nil {
		return nil, err
	}
	cn := newClientConn(c, nc, server)
	stop := context.AfterFunc(dialCtx, func() { nc.Close() })
	err = cn.handshake()
	if !stop() && err == nil {
		err = dialCtx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return cn, nil
}

// dial connects to a server, with TLS if that is wanted.
func (c *Client) dial(ctx context.Context, server string) (net.Conn, error) {
	nc, err := c.cfg.Network.DialContext(ctx, "tcp", server)
	if err != nil || c.cfg.TLS == nil {
		return nc, err
	}
	cfg := c.cfg.TLS
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(server) // every one has a port
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS: %w", err), nc.Close())
	}
	return tc, nil
}

// serve uses a connection until it breaks, and says why it did.
func (c *Client) serve(ctx context.Context, cn *clientConn) error {
	c.adopt(cn)
	cn.goroutines.Add(1)
	go cn.read(0)
	cn.goroutines.Go(func() { cn.fail(cn.write()) })
	if cn.readOnly {
		cn.goroutines.Go(cn.probe)
	}
	cn.keep(ctx)
	cn.goroutines.Wait()
	c.dismiss(cn)
	return cn.err
}

// adopt makes a connection the client's. What it puts at the front of the
// connection's output precedes every request, and what it delivers precedes
// everything that the connection will bring.
func (c *Client) adopt(cn *clientConn) {
	c.mu.Lock()
	c.mu.conn = cn
	c.mu.seenWritable = c.mu.seenWritable || !cn.readOnly
	cn.out = c.mu.watches.rearmFrames(c.mu.answeredZxid)
	state := StateConnected
	if cn.readOnly {
		state = StateReadOnly
	}
	items := c.setStateLocked(nil, state)
	c.mu.watches.each(watchPersistent, watchRecursive, func(path string, ws []*watcher) {
		ev := Event{Type: EventResync, State: state, Path: clientPath(c.cfg.Chroot, path)}
		items = append(items, item{ev: ev, ws: ws})
	})
	select {
	case <-c.mu.connected:
	default:
		close(c.mu.connected)
	}
	c.del.add(items)
	c.mu.Unlock()
	c.log.Info("zk: connected", "server", cn.server, "session", fmt.Sprintf("%#x", c.SessionID()), "state", state)
}

// dismiss takes a broken connection away: reads are queued again, writes fail.
func (c *Client) dismiss(cn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.conn = nil
	c.mu.writerIdle = false
	var again requestList
	var items []item
	for _, list := range []*requestList{&cn.authSent, &c.mu.sent} {
		blamed := false // the oldest: a request that servers cannot stand would break every connection
		for r := list.pop(); r != nil; r = list.pop() {
			if r.again && !r.abandoned && !blamed {
				blamed = true
				r.lost++
			}
			if r.again && !r.abandoned && r.lost < lostMax {
				r.phase = phaseQueued
				again.push(r)
				continue
			}
			c.answeredLocked(r)
			r.err, r.unknown = ErrConnectionLoss, !r.again
			items = finished(items, r)
		}
	}
	c.mu.queue.prepend(&again)
	if !endedBy(cn.err).Final() {
		items = c.setStateLocked(items, StateConnecting)
	}
	c.del.add(items)
}

// end gives everything that still waits its last news. The session goroutine
// calls it, last.
func (c *Client) end(state State) {
	c.mu.Lock()
	err := finalError(state)
	c.mu.refuse = err
	var items []item
	for r := c.mu.queue.pop(); r != nil; r = c.mu.queue.pop() {
		c.answeredLocked(r)
		if r.err = err; r.typ == jute.OpCloseSession {
			r.err = nil // it is
		}
		items = finished(items, r)
	}
	items = c.setStateLocked(items, state)
	c.mu.watches.each(0, watchKinds-1, func(path string, ws []*watcher) {
		ev := Event{Type: EventSession, State: state, Path: clientPath(c.cfg.Chroot, path)}
		items = append(items, item{ev: ev, ws: ws})
	})
	c.mu.watches = watchTable{}
	for _, room := range c.mu.waiters {
		close(room)
	}
	c.mu.waiters = nil
	close(c.done) // first: who hears of the end finds that the client has ended
	c.del.add(items)
	c.mu.Unlock()
	c.del.close()
}

// Close ends the session: the ensemble deletes its ephemerals. Requests passed
// before are executed first; later ones fail with ErrClosed. It waits for the
// server's answer and for running callbacks, each at most a second. An error
// says that no server is known to have ended the session: its timeout will.
// Closing again, or after the session has expired, does nothing.
func (c *Client) Close() error {
	r := c.newRequest("close", "", jute.OpCloseSession)
	r.again = true
	r.buf = jute.EndFrame(r.buf, 0)
	c.mu.Lock()
	if c.mu.refuse != nil {
		c.mu.Unlock()
		return c.waitEnded()
	}
	c.mu.refuse = ErrClosed
	r.inCallback = true // never held back
	c.enqueue(r)
	c.del.onIt() // a callback lets others read
	var err error
	t := time.NewTimer(closeWait)
	defer t.Stop()
	select {
	case <-r.ready:
		err = r.finalErr()
	case <-t.C:
		err = &OpError{Op: "close", Err: fmt.Errorf("%w: no server answered; the session ends after %v", ErrOperationTimeout, c.SessionTimeout())}
	}
	c.cancel()
	c.waitEnded()
	return err
}

// Abandon ends the client but not the session, as the death of its process would:
// ephemerals live until the session's timeout, or are taken over through
// ClientConfig.Session. It waits for running callbacks at most a second.
func (c *Client) Abandon() {
	c.mu.Lock()
	if c.mu.refuse == nil {
		c.mu.refuse = ErrClosed
	}
	c.mu.Unlock()
	c.cancel()
	c.waitEnded()
}

// waitEnded waits for the client's goroutines, but not for the callback that it
// is called from, nor for one that does not return.
func (c *Client) waitEnded() error {
	callback := c.del.onIt()
	t := time.NewTimer(2 * closeWait)
	defer t.Stop()
	select {
	case <-c.ended:
	case <-t.C:
		return nil
	}
	if callback {
		return nil
	}
	t.Reset(closeWait)
	select {
	case <-c.del.done:
	case <-t.C:
	}
	return nil
}
