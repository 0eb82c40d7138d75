package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"sync"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"
)

// goClientFlows are what go-zookeeper, the client that Go programs use, must find.
var goClientFlows = []flow{
	{"znodes", goZnodes},
	{"sequences and ephemerals", goSequences},
	{"multi", goMulti},
	{"acl", goACL},
	{"watches", goWatches},
	{"reconnect", goReconnect},
	{"expiry", goExpiry},
	{"lock", goLock},
	{"pipeline", goPipeline},
	{"four-letter words", goFourLetterWords},
}

// hosts is a HostProvider that resolves nothing: in memory there is no DNS.
type hosts struct {
	mu          sync.Mutex
	servers     []string
	next, tried int
}

func (h *hosts) Init(servers []string) error { h.servers = servers; return nil }
func (h *hosts) Len() int                    { return len(h.servers) }

func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = 0
}

func (h *hosts) Next() (server string, retryStart bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	h.tried++
	return h.servers[h.next%len(h.servers)], h.tried > len(h.servers)
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// goConnect gives a client of go-zookeeper, connected, and a znode for the test.
func goConnect(t testing.TB, tg *target, cut *cutter, timeout time.Duration) (c *gozk.Conn, events <-chan gozk.Event, root string) {
	t.Helper()
	if cut == nil {
		cut = tg.cutter()
	}
	dialer := func(network, address string, timeout time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		return cut.DialContext(ctx, network, address)
	}
	c, events, err := gozk.Connect(tg.servers, timeout, gozk.WithDialer(dialer), gozk.WithHostProvider(&hosts{}), gozk.WithLogger(silent{}))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	goWaitState(t, events, gozk.StateHasSession)
	root = "/go-" + escaped(t.Name())
	if _, err := c.Create(root, nil, 0, gozk.WorldACL(gozk.PermAll)); err != nil {
		require.ErrorIs(t, err, gozk.ErrNodeExists)
	}
	return c, events, root
}

func goWaitState(t testing.TB, events <-chan gozk.Event, want gozk.State) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case ev := <-events:
			if ev.State == want {
				return
			}
		case <-deadline:
			t.Fatalf("waited 30 s for the state %v", want)
		}
	}
}

func goNext(t testing.TB, ch <-chan gozk.Event) gozk.Event {
	t.Helper()
	select {
	case ev := <-ch:
		return ev
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
		panic("unreachable")
	}
}

var goOpen = gozk.WorldACL(gozk.PermAll)

func goZnodes(t *testing.T, tg *target) {
	c, _, root := goConnect(t, tg, nil, 4*time.Second)
	p := root + "/a"
	got, err := c.Create(p, []byte("one"), 0, goOpen)
	require.NoError(t, err)
	require.Equal(t, p, got)
	_, err = c.Create(p, nil, 0, goOpen)
	require.ErrorIs(t, err, gozk.ErrNodeExists)
	data, stat, err := c.Get(p)
	require.NoError(t, err)
	require.Equal(t, "one", string(data))
	require.Zero(t, stat.Version)
	require.EqualValues(t, 3, stat.DataLength)
	require.Equal(t, stat.Czxid, stat.Mzxid)
	stat, err = c.Set(p, []byte("two"), 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, stat.Version)
	_, err = c.Set(p, nil, 0)
	require.ErrorIs(t, err, gozk.ErrBadVersion)
	_, err = c.Create(p+"/b", nil, 0, goOpen)
	require.NoError(t, err)
	names, stat, err := c.Children(p)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, names)
	require.EqualValues(t, 1, stat.NumChildren)
	require.ErrorIs(t, c.Delete(p, -1), gozk.ErrNotEmpty)
	require.NoError(t, c.Delete(p+"/b", 0))
	require.ErrorIs(t, c.Delete(p, 0), gozk.ErrBadVersion)
	require.NoError(t, c.Delete(p, 1))
	ok, _, err := c.Exists(p)
	require.NoError(t, err)
	require.False(t, ok)
	_, _, err = c.Get(p)
	require.ErrorIs(t, err, gozk.ErrNoNode)
	synced, err := c.Sync(root)
	require.NoError(t, err)
	require.Equal(t, root, synced)
	got, err = c.CreateContainer(root+"/c", nil, gozk.FlagContainer, goOpen)
	require.NoError(t, err)
	require.Equal(t, root+"/c", got)
	if tg.ttl {
		_, err = c.CreateTTL(root+"/t", nil, gozk.FlagTTL, goOpen, time.Hour)
		require.NoError(t, err)
	}
}

func goSequences(t *testing.T, tg *target) {
	c, _, root := goConnect(t, tg, nil, 4*time.Second)
	other, _, _ := goConnect(t, tg, nil, 4*time.Second)
	for i := range 3 {
		got, err := other.Create(root+"/s-", nil, gozk.FlagEphemeral|gozk.FlagSequence, goOpen)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%s/s-%010d", root, i), got)
	}
	protected, err := other.CreateProtectedEphemeralSequential(root+"/p-", nil, goOpen)
	require.NoError(t, err)
	require.Contains(t, protected, "/_c_")
	_, err = c.Sync(root)
	require.NoError(t, err)
	_, stat, gone, err := c.ExistsW(root + "/s-0000000002")
	require.NoError(t, err)
	require.Equal(t, other.SessionID(), stat.EphemeralOwner)
	_, err = c.Create(root+"/s-0000000002/x", nil, 0, goOpen)
	require.ErrorIs(t, err, gozk.ErrNoChildrenForEphemerals)
	other.Close()
	require.Equal(t, gozk.EventNodeDeleted, goNext(t, gone).Type)
	_, err = c.Sync(root)
	require.NoError(t, err)
	names, _, err := c.Children(root)
	require.NoError(t, err)
	require.Empty(t, names)
}

func goMulti(t *testing.T, tg *target) {
	c, _, root := goConnect(t, tg, nil, 4*time.Second)
	p := root + "/m"
	res, err := c.Multi(
		&gozk.CreateRequest{Path: p, Data: []byte("1"), Acl: goOpen},
		&gozk.SetDataRequest{Path: p, Data: []byte("2"), Version: 0},
		&gozk.CheckVersionRequest{Path: p, Version: 1},
	)
	require.NoError(t, err)
	require.Len(t, res, 3)
	require.Equal(t, p, res[0].String)
	require.EqualValues(t, 1, res[1].Stat.Version)
	res, err = c.Multi(
		&gozk.DeleteRequest{Path: p, Version: -1},
		&gozk.CheckVersionRequest{Path: root, Version: 99},
	)
	require.ErrorIs(t, err, gozk.ErrBadVersion)
	require.ErrorIs(t, res[1].Error, gozk.ErrBadVersion)
	ok, _, err := c.Exists(p)
	require.NoError(t, err)
	require.True(t, ok)
}

func goACL(t *testing.T, tg *target) {
	c, _, root := goConnect(t, tg, nil, 4*time.Second)
	other, _, _ := goConnect(t, tg, nil, 4*time.Second)
	p := root + "/locked"
	require.NoError(t, c.AddAuth("digest", []byte("ann:secret")))
	_, err := c.Create(p, []byte("x"), 0, gozk.DigestACL(gozk.PermAll, "ann", "secret"))
	require.NoError(t, err)
	_, err = other.Sync(root)
	require.NoError(t, err)
	_, _, err = other.Get(p)
	require.ErrorIs(t, err, gozk.ErrNoAuth)
	acl, stat, err := c.GetACL(p)
	require.NoError(t, err)
	require.Equal(t, gozk.DigestACL(gozk.PermAll, "ann", "secret"), acl)
	_, err = c.SetACL(p, gozk.WorldACL(gozk.PermRead), stat.Aversion)
	require.NoError(t, err)
	_, err = other.Sync(root)
	require.NoError(t, err)
	data, _, err := other.Get(p)
	require.NoError(t, err)
	require.Equal(t, "x", string(data))
	_, err = c.Create(root+"/bad", nil, 0, []gozk.ACL{{Perms: gozk.PermAll, Scheme: "nonsense", ID: "x"}})
	require.ErrorIs(t, err, gozk.ErrInvalidACL)
}

func goWatches(t *testing.T, tg *target) {
	c, _, root := goConnect(t, tg, nil, 4*time.Second)
	p := root + "/w"
	ok, _, created, err := c.ExistsW(p)
	require.NoError(t, err)
	require.False(t, ok)
	_, _, children, err := c.ChildrenW(root)
	require.NoError(t, err)
	_, err = c.Create(p, nil, 0, goOpen)
	require.NoError(t, err)
	ev := goNext(t, created)
	require.Equal(t, gozk.EventNodeCreated, ev.Type)
	require.Equal(t, p, ev.Path)
	require.Equal(t, gozk.EventNodeChildrenChanged, goNext(t, children).Type)
	_, _, changed, err := c.GetW(p)
	require.NoError(t, err)
	_, err = c.Set(p, nil, -1)
	require.NoError(t, err)
	require.Equal(t, gozk.EventNodeDataChanged, goNext(t, changed).Type)
	_, _, deleted, err := c.GetW(p)
	require.NoError(t, err)
	require.NoError(t, c.Delete(p, -1))
	require.Equal(t, gozk.EventNodeDeleted, goNext(t, deleted).Type)
}

// goReconnect cuts the connection: the session, its ephemerals and its watches
// must outlive it.
func goReconnect(t *testing.T, tg *target) {
	cut := tg.cutter()
	c, events, root := goConnect(t, tg, cut, 4*time.Second)
	other, _, _ := goConnect(t, tg, nil, 4*time.Second)
	session := c.SessionID()
	e := root + "/e"
	_, err := c.Create(e, nil, gozk.FlagEphemeral, goOpen)
	require.NoError(t, err)
	_, _, changed, err := c.GetW(e)
	require.NoError(t, err)
	_, _, missing, err := c.ExistsW(root + "/missing")
	require.NoError(t, err)
	cut.cut(true)
	goWaitState(t, events, gozk.StateDisconnected)
	_, err = other.Set(e, []byte("x"), -1)
	require.NoError(t, err)
	cut.heal()
	goWaitState(t, events, gozk.StateHasSession)
	require.Equal(t, session, c.SessionID())
	require.Equal(t, gozk.EventNodeDataChanged, goNext(t, changed).Type)
	_, err = other.Create(root+"/missing", nil, 0, goOpen)
	require.NoError(t, err)
	require.Equal(t, gozk.EventNodeCreated, goNext(t, missing).Type)
	_, stat, err := c.Exists(e)
	require.NoError(t, err)
	require.Equal(t, session, stat.EphemeralOwner)
}

func goExpiry(t *testing.T, tg *target) {
	cut := tg.cutter()
	c, events, root := goConnect(t, tg, cut, time.Second)
	other, _, _ := goConnect(t, tg, nil, 4*time.Second)
	session := c.SessionID()
	_, err := c.Create(root+"/e", nil, gozk.FlagEphemeral, goOpen)
	require.NoError(t, err)
	_, err = other.Sync(root)
	require.NoError(t, err)
	_, _, gone, err := other.ExistsW(root + "/e")
	require.NoError(t, err)
	cut.cut(true)
	require.Equal(t, gozk.EventNodeDeleted, goNext(t, gone).Type)
	cut.heal()
	goWaitState(t, events, gozk.StateExpired)
	goWaitState(t, events, gozk.StateHasSession)
	require.NotEqual(t, session, c.SessionID())
}

// goLock runs go-zookeeper's lock recipe from several sessions.
func goLock(t *testing.T, tg *target) {
	var wg sync.WaitGroup
	var held sync.Mutex
	_, _, root := goConnect(t, tg, nil, 4*time.Second)
	for range 4 {
		c, _, _ := goConnect(t, tg, nil, 4*time.Second)
		wg.Go(func() {
			for range 5 {
				l := gozk.NewLock(c, path.Join(root, "lock"), goOpen)
				if err := l.Lock(); err != nil {
					t.Error(err)
					return
				}
				if !held.TryLock() {
					t.Error("two hold the lock")
				} else {
					held.Unlock()
				}
				if err := l.Unlock(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// goPipeline has many goroutines share one connection.
func goPipeline(t *testing.T, tg *target) {
	c, _, root := goConnect(t, tg, nil, 4*time.Second)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			p := fmt.Sprintf("%s/%d", root, i)
			_, err := c.Create(p, nil, 0, goOpen)
			for v := range int32(30) {
				if err == nil {
					_, err = c.Set(p, fmt.Append(nil, v), v)
				}
				var data []byte
				if err == nil {
					data, _, err = c.Get(p)
				}
				if err == nil && string(data) != fmt.Sprint(v) {
					err = errors.New("a read that does not see the write before it")
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func goFourLetterWords(t *testing.T, tg *target) {
	if tg.network != nil {
		t.Skip("go-zookeeper's four-letter words dial TCP only")
	}
	for _, ok := range gozk.FLWRuok(tg.servers, 5*time.Second) {
		require.True(t, ok)
	}
	if tg.apache {
		return // its srvr since 3.7 is not what go-zookeeper parses
	}
	stats, ok := gozk.FLWSrvr(tg.servers, 5*time.Second)
	for _, s := range stats {
		require.NoError(t, s.Error)
		require.Positive(t, s.NodeCount)
	}
	require.True(t, ok)
}
