package mq

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/wire"
)

// A broker answers a connection's requests in order, so what it holds back, such as fetches, joins and produce requests that wait for replicas, would
// hold up what follows. Each kind has a lane, and thereby a connection, of its own.
const (
	produceLane = iota // of all producers, and of administrative changes
	quickLane          // requests that are answered at once
	firstLane          // the first one that newLane gives out
)

// slowAfter is how long after it was to be expected an answer may be missing before other brokers are asked whether something has happened.
const slowAfter = time.Second

// connKey names a connection.
type connKey struct {
	addr string
	lane int32
}

// connPool holds one connection for each broker address and lane. The watch goroutine closes connections whose broker does not
// answer in time; it lives until close.
type connPool struct {
	cfg    ClientConfig
	ctx    context.Context // ends with the pool
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines of the pool and of its connections
	onSlow func()         // called every now and then while a broker owes an answer

	mu struct {
		sync.Mutex
		closed bool
		slots  map[connKey]*connSlot
		lanes  int32 // given out
		rng    *mathrand.Rand
	}
}

// connSlot is the place of one address: a connection, an attempt to connect, or neither.
type connSlot struct {
	conn    *clientConn
	dialing chan struct{} // closed when the attempt ends
	err     error         // of the attempt that ended last
}

func newConnPool(cfg ClientConfig, onSlow func()) *connPool {
	p := &connPool{cfg: cfg, onSlow: onSlow}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	var seed [16]byte
	_, _ = rand.Read(seed[:])
	p.mu.slots = make(map[connKey]*connSlot)
	p.mu.rng = mathrand.New(mathrand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])))
	p.wg.Go(p.watch)
	return p
}

// intN returns a random number below n.
func (p *connPool) intN(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.rng.IntN(n)
}

// backoff returns how long to wait before the next attempt after failures failed ones: RetryBackoff doubled for each, at
// most limit, less a random part of up to a half.
func (p *connPool) backoff(failures int, limit time.Duration) time.Duration {
	d := p.cfg.RetryBackoff << min(max(failures-1, 0), 20)
	d = max(min(d, limit), 1)
	return d - time.Duration(p.intN(int(d)/2+1))
}

// get returns a connection to addr, connecting if there is none. Callers that come meanwhile wait for the same attempt.
func (p *connPool) get(ctx context.Context, addr string, lane int32) (*clientConn, error) {
	key := connKey{addr, lane}
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	slot := p.mu.slots[key]
	if slot == nil {
		slot = &connSlot{}
		p.mu.slots[key] = slot
	}
	if slot.conn != nil {
		defer p.mu.Unlock()
		return slot.conn, nil
	}
	dialing := slot.dialing
	if dialing == nil {
		dialing = make(chan struct{})
		slot.dialing = dialing
		p.wg.Go(func() { p.connect(key, slot, dialing) })
	}
	p.mu.Unlock()

	select {
	case <-dialing:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if slot.conn != nil {
		return slot.conn, nil
	}
	return nil, slot.err
}

// connect makes one attempt to fill the slot.
func (p *connPool) connect(key connKey, slot *connSlot, dialing chan struct{}) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.DialTimeout)
	conn, err := p.dial(ctx, key, 3)
	cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	slot.dialing, slot.err = nil, err
	if err == nil {
		slot.conn = conn
		if ferr := conn.failed(); ferr != nil {
			slot.conn, slot.err = nil, ferr
		} else if p.mu.closed || p.mu.slots[key] != slot { // nobody wants it any more
			slot.conn, slot.err = nil, ErrClosed
			p.wg.Go(func() { conn.fail(ErrClosed) })
		}
	}
	close(dialing)
}

// dial connects and negotiates versions, asking with the given version of ApiVersions first.
func (p *connPool) dial(ctx context.Context, key connKey, version int16) (*clientConn, error) {
	nc, err := p.cfg.Network.DialContext(ctx, "tcp", key.addr)
	if err != nil {
		return nil, err
	}
	c := &clientConn{
		addr: key.addr, lane: key.lane, conn: nc, clientID: p.cfg.ClientID, limit: p.cfg.ResponseBytesMax, wg: &p.wg, onFail: p.onFail,
	}
	c.start()
	again, err := c.negotiate(ctx, p.cfg.RequestTimeout, version)
	if err == nil {
		p.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "mq client: connected", slog.String("broker", key.addr))
		return c, nil
	}
	if c.failed() == nil {
		c.fail(err)
	}
	if again && version > 0 && ctx.Err() == nil {
		return p.dial(ctx, key, 0) // a broker from before KIP-511 hangs up on a version it does not know
	}
	return nil, err
}

// negotiate learns the broker's versions. again says that an older ApiVersions on a new connection may succeed.
func (c *clientConn) negotiate(ctx context.Context, timeout time.Duration, version int16) (again bool, err error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "vivarium", "0"
	for {
		req.SetVersion(version)
		body, err := c.roundTripBytes(ctx, req, timeout, timeout)
		if err != nil {
			return true, err
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.SetVersion(version)
		unsupported := len(body) >= 2 && Error(binary.BigEndian.Uint16(body)) == ErrUnsupportedVersion
		if unsupported {
			resp.SetVersion(0) // KIP-511: whatever was asked, this answer is in version 0
		}
		if err := wire.Decode(resp, body); err != nil && (!unsupported || version == 0) {
			return false, fmt.Errorf("%w: ApiVersions response of %s: %w", ErrProtocol, c.addr, err)
		}
		if len(resp.ApiKeys) == 0 && unsupported && version > 0 {
			version = 0
			continue
		}
		if resp.ErrorCode != 0 && !unsupported {
			return false, &OpError{Op: "negotiate versions", Subject: c.addr, Err: Error(resp.ErrorCode)}
		}
		c.versions = make(map[int16]versionRange, len(resp.ApiKeys))
		for _, k := range resp.ApiKeys {
			c.versions[k.ApiKey] = versionRange{k.MinVersion, k.MaxVersion}
		}
		return false, nil
	}
}

// onFail empties the slot of a failed connection.
func (p *connPool) onFail(c *clientConn, err error) {
	p.mu.Lock()
	if slot := p.mu.slots[connKey{c.addr, c.lane}]; slot != nil && slot.conn == c {
		slot.conn = nil
	}
	closed := p.mu.closed
	p.mu.Unlock()
	if !closed {
		p.cfg.Logger.LogAttrs(p.ctx, slog.LevelDebug, "mq client: connection lost", slog.String("broker", c.addr), slog.Any("err", err))
	}
}

// watch fails connections that owe an answer for too long.
func (p *connPool) watch() {
	tick := time.NewTicker(max(min(p.cfg.RequestTimeout/20, slowAfter/4), 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-tick.C:
			slow := false
			for _, c := range p.conns() {
				late, overdue := c.overdue(now)
				slow = slow || late
				if overdue {
					c.fail(fmt.Errorf("mq: %s did not answer in time: %w", c.addr, os.ErrDeadlineExceeded))
				}
			}
			if slow {
				p.onSlow()
			}
		}
	}
}

// conns returns the open connections.
func (p *connPool) conns() []*clientConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var conns []*clientConn
	for _, slot := range p.mu.slots {
		if slot.conn != nil {
			conns = append(conns, slot.conn)
		}
	}
	return conns
}

// connected reports whether there is a connection for quick requests to addr.
func (p *connPool) connected(addr string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	slot := p.mu.slots[connKey{addr, quickLane}]
	return slot != nil && slot.conn != nil
}

// spawn runs fn on a goroutine of the pool's, unless the pool is closed.
func (p *connPool) spawn(fn func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return false
	}
	p.wg.Go(fn)
	return true
}

// newLane returns a lane of its own for somebody who makes brokers wait.
func (p *connPool) newLane() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.lanes++
	return firstLane + p.mu.lanes
}

// interrupt closes those of a lane's connections that owe an answer, so that the next request does not wait behind it.
func (p *connPool) interrupt(lane int32) {
	for _, c := range p.conns() {
		if c.lane == lane && c.owes() {
			c.fail(fmt.Errorf("%w: interrupted", net.ErrClosed))
		}
	}
}

// closeLane closes a lane's connections. The lane must not be used any more.
func (p *connPool) closeLane(lane int32) {
	for _, c := range p.conns() {
		if c.lane == lane {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, net.ErrClosed))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.mu.slots, func(k connKey, _ *connSlot) bool { return k.lane == lane })
}

// close closes all connections and waits until no goroutine is left.
func (p *connPool) close() {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.cancel()
	for _, c := range p.conns() {
		c.fail(fmt.Errorf("%w: %w", ErrClosed, net.ErrClosed))
	}
	p.wg.Wait()
}
