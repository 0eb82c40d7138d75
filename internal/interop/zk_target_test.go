package interop

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// target is an ensemble that flows run against.
type target struct {
	name    string
	apache  bool // Apache ZooKeeper 3.8, which differs from 3.9 where the flows say so
	ttl     bool // it has znodes with a time to live
	servers []string
	network zk.Network // nil: TCP
	kill    func(i int)
	restart func(t testing.TB, i int) // returns when the server serves
}

// flow is one story, told to any target.
type flow struct {
	name string
	run  func(t *testing.T, tg *target)
}

// run tells all flows, one after the other, to one target.
func (tg *target) run(t *testing.T, flows []flow) {
	for _, f := range flows {
		t.Run(f.name, func(t *testing.T) { f.run(t, tg) })
	}
}

// testContext bounds a flow.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// connect gives a client in a chroot of the test's own, which exists.
func (tg *target) connect(t testing.TB, cfgs ...zk.ClientConfig) *zk.Client {
	t.Helper()
	cfg := zk.ClientConfig{}
	if len(cfgs) > 0 {
		cfg = cfgs[0]
	}
	if cfg.Servers == nil {
		cfg.Servers = tg.servers
	}
	if cfg.Network == nil {
		cfg.Network = tg.network
	}
	if cfg.Chroot == "" {
		cfg.Chroot = "/" + escaped(t.Name())
	}
	ctx := testContext(t)
	cl, err := zk.Connect(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { cl.Close() })
	require.NoError(t, cl.EnsurePath(ctx, "/"))
	return cl
}

// escaped makes a test's name a znode's.
func escaped(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c == '/' || c <= ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}

// cutter is a Network whose connections a test can cut.
type cutter struct {
	inner zk.Network

	mu      sync.Mutex
	conns   []net.Conn
	refused bool
}

func (tg *target) cutter() *cutter {
	if tg.network != nil {
		return &cutter{inner: tg.network}
	}
	return &cutter{inner: &struct {
		net.Dialer
		net.ListenConfig
	}{}}
}

func (c *cutter) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return c.inner.Listen(ctx, network, address)
}

func (c *cutter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	refused := c.refused
	c.mu.Unlock()
	if refused {
		return nil, net.UnknownNetworkError("cut")
	}
	nc, err := c.inner.DialContext(ctx, network, address)
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, nc)
		c.mu.Unlock()
	}
	return nc, err
}

// cut breaks all connections; refuse also keeps new ones from being made, until
// heal.
func (c *cutter) cut(refuse bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = refuse
	for _, nc := range c.conns {
		nc.Close()
	}
	c.conns = nil
}

func (c *cutter) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = false
}

// recorder collects events.
type recorder struct {
	ch chan zk.Event
}

func newRecorder() *recorder { return &recorder{make(chan zk.Event, 10_000)} }

func (r *recorder) watch() zk.ReadOption { return zk.Watch(r.fn) }
func (r *recorder) fn(ev zk.Event)       { r.ch <- ev }

// next is the next event.
func (r *recorder) next(t testing.TB) zk.Event {
	t.Helper()
	select {
	case ev := <-r.ch:
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		panic("unreachable")
	}
}

// want checks the next events, in their String form.
func (r *recorder) want(t testing.TB, events ...string) {
	t.Helper()
	for _, want := range events {
		require.Equal(t, want, r.next(t).String())
	}
}

// none checks that no event has come; since calls return after the events that
// precede their replies, a sync before it makes that certain.
func (r *recorder) none(t testing.TB, cl *zk.Client) {
	t.Helper()
	require.NoError(t, cl.Sync(testContext(t), "/"))
	select {
	case ev := <-r.ch:
		t.Fatalf("event %v, want none", ev)
	default:
	}
}

// waitFor polls a condition.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
