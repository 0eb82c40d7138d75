package zk_test

import (
	"fmt"
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

const (
	bigBytes = 1_000_000
	ringMax  = 512 << 10 // what the network in memory holds on the way to a client
)

// roomy starts a server of its own with a znode /big.
func roomy(t *testing.T, total int) (*zktest.Ensemble, *zk.Client) {
	e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{OutputBytesTotalMax: total}})
	c := e.Connect()
	_, err := c.Create(t.Context(), "/big", make([]byte, bigBytes), zk.Persistent)
	require.NoError(t, err)
	return e, c
}

// pipe is count requests for /big.
func pipe(count int32) []byte {
	var out []byte
	for i := range count {
		out = append(out, request(i, jute.OpGetData, &jute.PathWatchRequest{Path: "/big"})...)
	}
	return out
}

func (w *wire) big() error {
	_, err := w.tryFrame()
	return err
}

func unread(e *zktest.Ensemble) int64 { return e.Server(1).Stats().UnreadBytes }

// Many clients that ask and never read hold no more than the limit between them;
// whoever reads is served meanwhile, at once if that is little, and is not cut
// off. When they are gone nothing is left of them (S10, P16).
func TestClientsThatNeverRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conns, total = 100, 16 << 20
		e, c := roomy(t, total)
		reader := newSession(t, e, 1)
		reader.raw(pipe(2))
		require.NoError(t, reader.big())
		require.NoError(t, reader.big())
		before := heap()
		var idle []*wire
		for range conns {
			w := newSession(t, e, 1)
			w.raw(pipe(20))
			idle = append(idle, w)
		}
		synctest.Wait()
		require.Positive(t, unread(e))
		require.LessOrEqual(t, unread(e), int64(total))
		// Beside the limit: the network's rings, a buffer's share twice, the reader's buffer.
		const each = 2*ringMax + 2*64<<10 + 64<<10
		require.Less(t, heap(), before+total+conns*each)
		require.NoError(t, reader.SetDeadline(time.Now().Add(time.Minute)))
		for range 5 {
			start := time.Now()
			_, err := c.Create(t.Context(), "/small-", nil, zk.PersistentSequential)
			require.NoError(t, err)
			_, _, err = c.Children(t.Context(), "/")
			require.NoError(t, err)
			require.Less(t, time.Since(start), time.Second, "of virtual time")
			reader.raw(pipe(2))
			require.NoError(t, reader.big())
			require.NoError(t, reader.big())
			require.LessOrEqual(t, unread(e), int64(total))
		}
		for _, w := range idle {
			require.NoError(t, w.Close())
		}
		synctest.Wait()
		require.Zero(t, unread(e))
		require.NoError(t, reader.Close())
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// Many who read, all at once and far more than there is room for, wait for each
// other, and none is cut off.
func TestClientsThatReadAreAllServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conns, each = 60, 4
		e, c := roomy(t, 4<<20)
		dropped := e.Server(1).Stats().ConnectionsDropped
		var all []*wire
		for range conns {
			w := newSession(t, e, 1)
			w.raw(pipe(each))
			all = append(all, w)
		}
		var wg sync.WaitGroup
		for _, w := range all {
			wg.Go(func() {
				for range each {
					if err := w.big(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		require.Zero(t, unread(e))
		require.Equal(t, dropped, e.Server(1).Stats().ConnectionsDropped)
		for _, w := range all {
			require.NoError(t, w.Close())
		}
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// What cannot wait has the limit, too: events, and reads in the turn of a write.
// Those are cut off that do not read; who does gets every event.
func TestUnreadEventsAndQueuedReadsHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conns, total, events, slow = 30, 8 << 20, 600, 16
		e, c := roomy(t, total)
		watch := request(1, jute.OpAddWatch, &jute.PathTypeRequest{Path: "/", Type: jute.AddWatchPersistentRecursive})
		var idle []*wire
		for range conns {
			w := newSession(t, e, 1)
			w.raw(watch)
			w.reply()
			idle = append(idle, w)
		}
		fair := newSession(t, e, 1)
		fair.raw(watch)
		fair.reply()
		heard := make(chan int)
		go func() {
			n := 0
			for err := error(nil); err == nil && n < events+slow; n++ {
				_, err = fair.tryFrame()
			}
			heard <- n
		}()
		name := "/" + strings.Repeat("x", 4000)
		for i := range events {
			_, err := c.Create(t.Context(), fmt.Sprintf("%s%03d", name, i), nil, zk.Persistent)
			require.NoError(t, err)
			require.LessOrEqual(t, unread(e), int64(total))
		}
		for i := range slow {
			w := newSession(t, e, 1)
			w.raw(append(request(1, jute.OpCreate, &jute.CreateRequest{Path: fmt.Sprintf("/w%d", i), ACL: openACL}), pipe(10)...))
			idle = append(idle, w)
			synctest.Wait()
			require.LessOrEqual(t, unread(e), int64(total))
		}
		require.Equal(t, events+slow, <-heard)
		for _, w := range append(idle, fair) {
			require.NoError(t, w.Close())
		}
		synctest.Wait()
		require.Zero(t, unread(e))
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// A watch is not left behind by a read that has to wait for room: the event
// comes behind the answer, once.
func TestWatchOfAReadThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := roomy(t, 4<<20)
		idle := newSession(t, e, 1)
		idle.raw(pipe(20))
		synctest.Wait()
		w := newSession(t, e, 1)
		w.raw(request(1, jute.OpGetData, &jute.PathWatchRequest{Path: "/big", Watch: true}))
		synctest.Wait()
		_, err := c.Set(t.Context(), "/big", make([]byte, bigBytes), zk.AnyVersion)
		require.NoError(t, err)
		h, _ := w.reply()
		require.EqualValues(t, 1, h.Xid, "no event before it")
		_, err = c.Set(t.Context(), "/big", nil, zk.AnyVersion)
		require.NoError(t, err)
		h, _ = w.reply()
		require.Equal(t, jute.XidNotification, h.Xid)
		idle.ended()
		require.NoError(t, w.Close())
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

func TestOutputBytesTotalMaxIsChecked(t *testing.T) {
	cfg := zk.Config{ID: 1, Servers: []zk.ServerSpec{{ID: 1, Peer: "127.0.0.1:1"}}, OutputBytesTotalMax: 1 << 20}
	_, err := zk.StartServer(t.Context(), cfg)
	require.ErrorContains(t, err, "OutputBytesTotalMax 1048576 is less than 4 times FrameBytesMax")
	cfg.OutputBytesTotalMax = -1
	_, err = zk.StartServer(t.Context(), cfg)
	require.ErrorContains(t, err, "OutputBytesTotalMax is negative")
}
