package zk_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// ends fails the test if f is not done after a minute of virtual time.
func ends(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not done after a minute", what)
	}
}

// A request that waits behind a write which will never be answered, because no
// quorum is left, does not keep its server from closing.
func TestCloseWhileRequestsWait(t *testing.T) {
	for name, last := range map[string][]byte{
		"sync":   request(2, jute.OpSync, &jute.PathRequest{Path: "/"}),
		"answer": frame(append((&jute.RequestHeader{Xid: 2, Op: jute.OpSetData}).Append(nil), 0, 0, 0, 9)),
		"read":   request(2, jute.OpExists, &jute.PathWatchRequest{Path: "/"}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := zktest.Start(t)
				id := e.Leader()
				w := newSession(t, e, id)
				e.Isolate(id)
				w.raw(append(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/x", ACL: openACL}), last...))
				synctest.Wait()
				ends(t, "close", func() { _ = e.Server(id).Close() })
				require.NoError(t, w.Close())
				require.NoError(t, e.Close())
			})
		})
	}
}

// The same client goes away by itself: its goroutines end when its connection is
// given up, not with its write.
func TestClientLeavesWhileRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		id := e.Leader()
		w := newSession(t, e, id)
		e.Isolate(id)
		w.raw(append(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/x", ACL: openACL}), request(2, jute.OpSync, &jute.PathRequest{Path: "/"})...))
		synctest.Wait()
		require.True(t, strings.Contains(stacks(), "(*conn).waitIdle"))
		require.NoError(t, w.Close())
		time.Sleep(10 * time.Second) // a third of its timeout has passed without a leader
		require.False(t, strings.Contains(stacks(), "(*conn).waitIdle"))
		require.NoError(t, e.Close())
	})
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// A connection that takes the place of another, which had not delivered all, is
// noticed: what was lost on it is asked for again. Else this sync is never answered.
func TestPeerConnectionReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		leader := e.Leader()
		follower := e.IDs()[0]
		if follower == leader {
			follower = e.IDs()[1]
		}
		c := e.ConnectTo(follower)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.NoError(t, c.Sync(ctx, "/"))
		impostor, err := e.Memory.Host(zktest.Host(leader)).DialContext(ctx, "tcp", zktest.Host(follower)+":2888")
		require.NoError(t, err)
		hello := []byte("VVZB\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
		hello[12], hello[20] = byte(leader), byte(follower)
		_, err = impostor.Write(hello)
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, c.Sync(ctx, "/"))
		require.NoError(t, impostor.Close())
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// Identities travel in every write of a connection, so they have a limit: else
// one client makes an entry that no peer accepts, and the ensemble stands still.
func TestIdentitiesHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		for _, size := range []int{10, 900 << 10} {
			w := newSession(t, e, 1)
			user := make([]byte, size)
			accepted := 0
			for i := range 200 {
				copy(user, fmt.Sprintf("%06d:pw", i))
				w.raw(request(jute.XidAuth, jute.OpAuth, &jute.AuthRequest{Scheme: "digest", Auth: user}))
				h, _ := w.reply()
				if h.Err != jute.CodeOK {
					require.Equal(t, jute.CodeAuthFailed, h.Err)
					break
				}
				accepted++
			}
			require.Less(t, accepted, 100)
			w.ended()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := e.Connect().Create(ctx, "/fine", nil, zk.Persistent)
		require.NoError(t, err)
	})
}

// allocated is what f allocates in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A small request with a huge answer, or many of them, costs its server no more
// than the limit on output, whatever its client reads (P16). Who was sent more
// than the limit is cut off, who had to wait goes on.
func TestAnswersHaveALimit(t *testing.T) {
	const limit, size, count = 4 << 20, 1_000_000, 100
	get := &jute.PathWatchRequest{Path: "/big"}
	reads := func(first int32) (out []byte) {
		for i := range int32(count) {
			out = append(out, request(first+i, jute.OpGetData, get)...)
		}
		return out
	}
	multi := &jute.MultiRequest{Read: true}
	for range count {
		multi.Ops = append(multi.Ops, jute.Op{Type: jute.OpGetData, Path: "/big"})
	}
	for name, of := range map[string]struct {
		requests []byte
		goesOn   bool
	}{
		"multiRead":            {requests: request(0, jute.OpMultiRead, multi)},
		"reads":                {requests: reads(0), goesOn: true},
		"reads behind a write": {requests: append(request(0, jute.OpCreate, &jute.CreateRequest{Path: "/x", ACL: openACL}), reads(1)...)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{OutputBytesMax: limit}})
				_, err := e.Connect().Create(t.Context(), "/big", make([]byte, size), zk.Persistent)
				require.NoError(t, err)
				w := newSession(t, e, 1)
				e.SlowDisk(1, time.Second) // so that every request is there before the write is done
				used := allocated(func() {
					w.raw(of.requests)
					time.Sleep(5 * time.Second)
					synctest.Wait()
				})
				// What is being sent and what waits to be, each a buffer that has at most
				// one answer above the limit and grew to its size by a quarter at a time.
				require.Less(t, used, uint64(2*5*(limit+size)))
				for i := range int32(count) {
					b, err := w.tryFrame()
					if !of.goesOn && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
						return // cut off
					}
					require.NoError(t, err)
					require.Equal(t, i, int32(binary.BigEndian.Uint32(b)))
				}
				require.True(t, of.goesOn, "not cut off")
			})
		})
	}
}

// Large requests and answers leave no large buffers behind them.
func TestIdleConnectionsAreSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{
			Servers: 1, DataDir: t.TempDir(), Server: zk.Config{PeerQueueBytesMax: 16 << 20, SnapRetainCount: 1},
		})
		c := e.Connect()
		_, err := c.Create(t.Context(), "/big", nil, zk.Persistent)
		require.NoError(t, err)
		const conns = 50
		before := heap()
		for range conns {
			w := newSession(t, e, 1)
			w.raw(request(1, jute.OpSetData, &jute.SetDataRequest{Path: "/big", Data: make([]byte, 900_000), Version: -1}))
			_, _ = w.reply()
			w.raw(request(2, jute.OpGetData, &jute.PathWatchRequest{Path: "/big"}))
			_, _ = w.reply()
			w.raw(request(3, jute.OpExists, &jute.PathWatchRequest{Path: "/"}))
			_, _ = w.reply()
		}
		_, err = c.Set(t.Context(), "/big", nil, zk.AnyVersion)
		require.NoError(t, err)
		const rings = 2 * 512 << 10                      // of the network in memory
		limit := before + 32<<20 + conns*(rings+300<<10) // the history in memory, and what a connection adds
		synctest.Wait()
		require.Less(t, heap(), uint64(limit))
	})
}

// A setWatches tells nothing of a znode that its client may not read (S14).
func TestSetWatchesAsksTheACL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		owner, other := newSession(t, e, 1), newSession(t, e, 1)
		owner.raw(request(jute.XidAuth, jute.OpAuth, &jute.AuthRequest{Scheme: "digest", Auth: []byte("a:b")}))
		_, _ = owner.reply()
		acl := []jute.ACL{{Perms: jute.PermAll, ID: jute.ID{Scheme: "auth"}}}
		owner.raw(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/hidden", ACL: acl}))
		h, _ := owner.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		q := &jute.SetWatchesRequest{Data: []string{"/hidden"}, Exist: []string{"/hidden"}, Child: []string{"/hidden"}}
		other.raw(request(jute.XidSetWatches, jute.OpSetWatches, q))
		h, _ = other.reply()
		require.Equal(t, jute.XidSetWatches, h.Xid, "no event comes first")
		owner.raw(request(jute.XidSetWatches, jute.OpSetWatches, q))
		for range 3 { // created, changed, children changed
			h, _ = owner.reply()
			require.Equal(t, jute.XidNotification, h.Xid)
		}
	})
}

// Shutdown and Close may be called by everybody at once.
func TestShutdownByMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		clients := []*zk.Client{e.Connect(), e.Connect()}
		for _, id := range e.IDs() {
			ends(t, "shutdown", func() {
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						if err := e.Server(id).Shutdown(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			})
			require.ErrorIs(t, e.Server(id).Err(), zk.ErrServerClosed)
			require.ErrorIs(t, e.Server(id).Ready(t.Context()), zk.ErrServerClosed)
		}
		for _, c := range clients {
			_ = c.Close() // nobody is there to hear it
		}
		require.NoError(t, e.Close())
	})
}

// A connection's watches have a limit; one-shot ones that fired do not count (P16).
func TestWatchesHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{WatchBytesMax: 100_000}})
		name := strings.Repeat("x", 900)
		exists := func(w *wire, i int32) {
			w.raw(request(i, jute.OpExists, &jute.PathWatchRequest{Path: fmt.Sprintf("/%s%d", name, i), Watch: true}))
		}
		fair := newSession(t, e, 1)
		for i := range int32(300) {
			exists(fair, i)
			h, _ := fair.reply()
			require.Equal(t, i, h.Xid)
			fair.raw(request(i, jute.OpRemoveWatches, &jute.PathTypeRequest{Path: fmt.Sprintf("/%s%d", name, i), Type: jute.WatcherAny}))
			h, _ = fair.reply()
			require.Equal(t, jute.CodeOK, h.Err)
		}
		greedy := newSession(t, e, 1)
		for i := range int32(90) {
			exists(greedy, i)
			h, _ := greedy.reply()
			require.Equal(t, i, h.Xid)
		}
		for i := range int32(20) {
			exists(greedy, 90+i)
			if _, err := greedy.tryFrame(); err != nil {
				return
			}
		}
		t.Fatal("not cut off")
	})
}

// Writes that no quorum answers pile up to their limit in bytes, not in number
// alone: the server stops reading (P16). All are done when there is a quorum again.
func TestLargeRequestsHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{OutstandingBytesMax: 4 << 20, TickTime: time.Second}})
		c := e.Connect()
		_, err := c.Create(t.Context(), "/x", nil, zk.Persistent)
		require.NoError(t, err)
		at := followers(e)[0]
		w := newSession(t, e, at)
		w.raw(request(0, jute.OpSync, &jute.PathRequest{Path: "/"}))
		w.reply()
		e.Isolate(at)
		set := request(1, jute.OpSetData, &jute.SetDataRequest{Path: "/x", Data: make([]byte, 900<<10), Version: -1})
		const count = 40
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for range count {
				_, _ = w.Write(set)
			}
		}()
		synctest.Wait()
		select {
		case <-sent:
			t.Fatal("36 MB were taken")
		default:
		}
		e.Heal()
		for range count {
			h, _ := w.reply()
			require.Equal(t, jute.CodeOK, h.Err)
		}
		<-sent
		require.NoError(t, c.Close())
		require.NoError(t, w.Close())
		require.NoError(t, e.Close())
	})
}
