package zk

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// watched arms a watch on /v by Get.
func watched(t *testing.T, c *Client, s *fakeConn, fn func(Event)) {
	t.Helper()
	got := async(func() error { _, _, err := c.Get(t.Context(), "/v", Watch(fn)); return err })
	q := s.expect(jute.OpGetData)
	require.Equal(t, byte(1), q.body[len(q.body)-1], "watch flag")
	s.replyTo(q, 1, &jute.DataResponse{})
	require.NoError(t, got())
}

// eventAndReply sends an event and the reply to q in one write.
func (s *fakeConn) eventAndReply(path string, q fakeRequest, body jute.Record) {
	b := jute.AppendNotification(nil, 5, jute.EventDataChanged, path)
	reply := fakeReply(q.Xid, 6, 0, body)
	b = append(b, 0, 0, byte(len(reply)>>8), byte(len(reply)))
	if _, err := s.Write(append(b, reply...)); err != nil {
		s.t.Error(err)
	}
}

// TestWatchBeforeReply holds a reply back until the callback of the event before
// it has returned.
func TestWatchBeforeReply(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		var fired atomic.Bool
		watched(t, c, s, func(ev Event) {
			require.Equal(t, Event{EventDataChanged, StateConnected, "/v", 5}, ev)
			<-time.After(50 * time.Millisecond)
			fired.Store(true)
		})
		got := async(func() bool {
			_, _, err := c.Get(t.Context(), "/v")
			return err == nil && fired.Load()
		})
		s.eventAndReply("/v", s.expect(jute.OpGetData), &jute.DataResponse{})
		require.True(t, got(), "the event comes before newer data")
		closeWith(c, s)
	})
}

// TestWatchHoldMax has a callback wait for a lock that is held around a call: the
// reply comes after holdMax.
func TestWatchHoldMax(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		lock := make(chan struct{}, 1) // a mutex that a bubble can wait for
		lock <- struct{}{}
		var fired atomic.Int64
		watched(t, c, s, func(Event) {
			lock <- struct{}{}
			<-lock
			fired.Add(1)
		})
		begun := time.Now()
		var done []string
		c.Go(t.Context(), DeleteOp("/first", 0), func(OpResult) { done = append(done, "first") })
		first := s.expect(jute.OpDelete)
		got := async(func() error { _, _, err := c.Get(t.Context(), "/v"); return err })
		q := s.expect(jute.OpGetData)
		s.event(5, EventDataChanged, "/v")
		s.replyTo(first, 6)
		s.replyTo(q, 6, &jute.DataResponse{})
		require.NoError(t, got())
		require.Equal(t, holdMax, time.Since(begun))
		require.Empty(t, done, "asynchronous results keep their place")
		<-lock
		synctest.Wait()
		require.EqualValues(t, 1, fired.Load())
		require.Equal(t, []string{"first"}, done)
		closeWith(c, s)
	})
}

// TestWatchCallbackCalls lets a callback call the client while another event is
// queued behind it: neither waits for the other.
func TestWatchCallbackCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{OutstandingMax: 1})
		var order []string
		watched(t, c, s, func(Event) {
			begun := time.Now()
			_, err := c.Exists(t.Context(), "/inner")
			order = append(order, fmt.Sprint("first ", err, time.Since(begun)))
		})
		watched(t, c, s, func(Event) { order = append(order, "second") })
		s.event(5, EventDataChanged, "/v")
		q := s.expect(jute.OpExists)
		s.event(6, EventDeleted, "/v") // for nobody: both have fired
		s.replyTo(q, 6, &jute.Stat{})
		synctest.Wait()
		require.Equal(t, []string{"first <nil> 0s", "second"}, order)
		closeWith(c, s)
	})
}

// TestWatchCallbackCloses closes the client from its own callback.
func TestWatchCallbackCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		begun := time.Now()
		var last Event
		watched(t, c, s, func(Event) { require.NoError(t, c.Close()) })
		require.NoError(t, addWatch(t, c, s, "/p", WatchPersistent, func(ev Event) { last = ev }))
		s.event(5, EventDataChanged, "/v")
		s.endSession()
		<-c.Done()
		synctest.Wait()
		require.Equal(t, Event{Type: EventSession, State: StateClosed, Path: "/p"}, last)
		require.Zero(t, time.Since(begun))
	})
}

func addWatch(t *testing.T, c *Client, s *fakeConn, path string, mode AddWatchMode, fn func(Event)) error {
	added := async(func() error { return c.AddWatch(t.Context(), path, mode, fn) })
	s.replyTo(s.expect(jute.OpAddWatch), 1, &jute.Int32Response{})
	return added()
}

// TestWatchOtherGoroutines has a callback call the client while others do, too:
// theirs wait, its own does not.
func TestWatchOtherGoroutines(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		returned := make(chan struct{})
		watched(t, c, s, func(Event) {
			_, err := c.Exists(t.Context(), "/inner")
			require.NoError(t, err)
			<-time.After(30 * time.Millisecond)
			close(returned)
		})
		s.event(5, EventDataChanged, "/v")
		inner := s.expect(jute.OpExists)
		got := async(func() bool {
			_, _, err := c.Get(t.Context(), "/v")
			select {
			case <-returned:
				return err == nil
			default:
				return false
			}
		})
		outer := s.expect(jute.OpGetData)
		s.replyTo(inner, 6, &jute.Stat{})
		s.replyTo(outer, 6, &jute.DataResponse{})
		require.True(t, got())
		closeWith(c, s)
	})
}

// TestWatchResync checks the order of what a new connection brings: the state,
// then the news of a gap, then events; and that watches are armed before
// requests are sent.
func TestWatchResync(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		var news []string
		note := func(ev Event) { news = append(news, ev.String()) }
		c, s := f.connect(ClientConfig{Chroot: "/app", OnState: func(st State) { news = append(news, st.String()) }})
		require.NoError(t, addWatch(t, c, s, "/p", WatchPersistent, note))
		require.NoError(t, addWatch(t, c, s, "/", WatchRecursive, note))
		s.Close()
		synctest.Wait()
		read := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
		s = f.accept()
		q := s.expect(jute.OpSetWatches2)
		d := jute.NewReader(q.body)
		w := jute.SetWatchesRequest{Two: true}
		w.Decode(&d)
		require.NoError(t, d.End())
		require.Equal(t, jute.SetWatchesRequest{
			Two: true, RelativeZxid: 1, Persistent: []string{"/app/p"}, PersistentRecursive: []string{"/app"},
		}, w)
		s.replyTo(q, 1)
		q = s.expect(jute.OpExists)
		s.event(7, EventDeleted, "/app/p")
		s.event(8, EventCreated, "/app")
		s.replyTo(q, 8, &jute.Stat{})
		require.NoError(t, read())
		require.Equal(t, []string{
			"connected", "connecting", "connected", "resync /", "resync /p", "deleted /p", "deleted /p", "created /",
		}, news)
		closeWith(c, s)
	})
}

// TestWatchRearmChunks cuts what is armed again into requests of 128 KiB.
func TestWatchRearmChunks(t *testing.T) {
	var table watchTable
	w := &watcher{}
	long := strings.Repeat("x", 1000)
	want := map[string]watchKind{}
	for i := range 500 {
		kind := watchKind(i % int(watchKinds))
		path := fmt.Sprintf("/%s%d", long, i)
		table.add(kind, path, w)
		table.add(kind, path, w)
		want[path] = kind
	}
	frames := table.rearmFrames(42)
	n := 0
	for len(frames) > 0 {
		d := jute.NewReader(frames)
		size := int(d.Int32())
		require.LessOrEqual(t, size, rearmChunkBytes+100)
		var h jute.RequestHeader
		h.Decode(&d)
		require.Equal(t, jute.RequestHeader{Xid: jute.XidSetWatches, Op: jute.OpSetWatches2}, h)
		q := jute.SetWatchesRequest{Two: true}
		q.Decode(&d)
		require.NoError(t, d.Err())
		require.EqualValues(t, 42, q.RelativeZxid)
		for kind, paths := range [][]string{q.Data, q.Exist, q.Child, q.Persistent, q.PersistentRecursive} {
			for _, path := range paths {
				require.Equal(t, watchKind(kind), want[path])
				delete(want, path)
			}
		}
		frames = frames[4+size:]
		n++
	}
	require.Empty(t, want)
	require.Equal(t, 4, n)
	require.Empty(t, new(watchTable).rearmFrames(42))
}

// TestWatchTableFire goes through whom an event is for.
func TestWatchTableFire(t *testing.T) {
	names := map[*watcher]string{}
	var table watchTable
	add := func(name string, kind watchKind, path string) *watcher {
		w := &watcher{}
		names[w] = name
		table.add(kind, path, w)
		return w
	}
	fire := func(typ EventType, path string) string {
		var got []string
		for _, w := range table.fire(typ, path) {
			got = append(got, names[w])
		}
		return strings.Join(got, " ")
	}
	both := add("both", watchData, "/a")
	table.add(watchChild, "/a", both)
	add("child", watchChild, "/a")
	add("exist", watchExist, "/b")
	add("persistent", watchPersistent, "/a")
	add("root", watchRecursive, "/")
	add("rec", watchRecursive, "/a")
	require.Equal(t, "child? both child persistent", "child? "+fire(EventChildrenChanged, "/a"))
	require.Equal(t, "both persistent rec root", fire(EventDataChanged, "/a"))
	require.Equal(t, "persistent rec root", fire(EventDeleted, "/a"))
	require.Equal(t, "exist root", fire(EventCreated, "/b"))
	require.Equal(t, "root", fire(EventCreated, "/b"))
	require.Equal(t, "rec root", fire(EventCreated, "/a/b/c"))
	require.Equal(t, "root", fire(EventCreated, "/ab"))
	require.Empty(t, fire(EventChildrenChanged, "/a/b"))
	require.Len(t, table.remove(AnyWatches, "/a"), 2)
	require.Empty(t, table.remove(AnyWatches, "/a"))
}

// TestWatchCallbackStays has a callback that does not return while its connection
// breaks: others are answered on the next one, and the callback is waited for.
func TestWatchCallbackStays(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		stay := make(chan struct{})
		var order []string
		watched(t, c, s, func(Event) {
			<-stay
			order = append(order, "first")
		})
		watched(t, c, s, func(Event) { order = append(order, "second") })
		s.event(5, EventDataChanged, "/v")
		synctest.Wait()
		s.Close()
		s = f.accept()
		for range 2 { // the second reader runs no callbacks: the first is at it
			got := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
			s.replyTo(s.expect(jute.OpExists), 6, &jute.Stat{})
			require.NoError(t, got())
		}
		require.Empty(t, order)
		close(stay)
		synctest.Wait()
		require.Equal(t, []string{"first", "second"}, order)
		closeWith(c, s)
	})
}

// TestDeliveryOrder passes items from several goroutines: each's come in order,
// and none is lost.
func TestDeliveryOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDelivery(nil)
		go d.run()
		const senders, each = 4, 1000
		next := make([]int, senders)
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					w := &watcher{func(Event) {
						if next[s] == i {
							next[s]++
						}
					}}
					d.add([]item{{ws: []*watcher{w}}})
				}
			})
		}
		wg.Wait()
		d.close()
		<-d.done
		for s := range senders {
			require.Equal(t, each, next[s])
		}
		require.False(t, d.busy())
	})
}

// relativeZxid answers the setWatches of a new connection and returns what the
// client says that it has seen.
func (s *fakeConn) relativeZxid(zxid int64) int64 {
	q := s.expect(jute.OpSetWatches)
	d := jute.NewReader(q.body)
	var w jute.SetWatchesRequest
	w.Decode(&d)
	s.replyTo(q, zxid)
	return w.RelativeZxid
}

// TestWatchRelativeZxid breaks the connection between two events of one
// transaction, and between two requests that arm watches again: neither the
// first event nor the first answer shows that the rest has come.
func TestWatchRelativeZxid(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		watched(t, c, s, func(Event) {})
		got := async(func() error { _, err := c.Exists(t.Context(), "/w", Watch(func(Event) {})); return err })
		s.replyTo(s.expect(jute.OpExists), 2, &jute.Stat{})
		require.NoError(t, got())
		s.event(9, EventDataChanged, "/v") // of a multi that sets /w, too
		synctest.Wait()
		s.Close()
		s = f.accept()
		require.EqualValues(t, 9, s.hello.LastZxidSeen, "no server that is behind the event")
		require.EqualValues(t, 2, s.relativeZxid(12))
		synctest.Wait()
		s.Close()
		s = f.accept()
		require.EqualValues(t, 12, s.hello.LastZxidSeen)
		require.EqualValues(t, 2, s.relativeZxid(12))
		closeWith(c, s)
	})
}

// TestRemoveWatchesGivenUp removes a watch for somebody who does not wait for it:
// the watch hears of its end, and is not armed again.
func TestRemoveWatchesGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		var news []Event
		require.NoError(t, addWatch(t, c, s, "/p", WatchPersistent, func(ev Event) { news = append(news, ev) }))
		ctx, cancel := context.WithCancel(t.Context())
		removed := async(func() error { return c.RemoveWatches(ctx, "/p", AnyWatches) })
		q := s.expect(jute.OpRemoveWatches)
		cancel()
		require.ErrorIs(t, removed(), context.Canceled)
		s.replyTo(q, 3)
		synctest.Wait()
		require.Equal(t, []Event{{Type: EventWatchRemoved, State: StateConnected, Path: "/p"}}, news)
		s.Close()
		closeWith(c, f.accept()) // without setWatches before it
	})
}

// TestNilCallbacks passes none where somebody might.
func TestNilCallbacks(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		c.WatchState(nil)()
		require.ErrorIs(t, c.AddWatch(t.Context(), "/p", WatchRecursive, nil), ErrBadArguments)
		c.Go(t.Context(), SetOp("/a", nil, 0), nil)
		c.GoMulti(t.Context(), nil, DeleteOp("/a", 0))
		s.replyTo(s.expect(jute.OpSetData), 1, &jute.Stat{})
		s.send(fakeReply(s.expect(jute.OpMulti).Xid, 1, jute.CodeNoNode))
		got := async(func() error { _, err := c.Exists(t.Context(), "/a", Watch(nil)); return err })
		q := s.expect(jute.OpExists)
		require.Zero(t, q.body[len(q.body)-1], "watch flag")
		s.replyTo(q, 1, &jute.Stat{})
		require.NoError(t, got())
		closeWith(c, s)
	})
}

// TestWatchBeforeReplyUnderLoad has replies held at all times, each behind an
// event of its own and for less than holdMax: none comes before its event.
func TestWatchBeforeReplyUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDelivery(nil)
		go d.run()
		var fired atomic.Int64
		w := &watcher{func(Event) {
			<-time.After(40 * time.Millisecond)
			fired.Add(1)
		}}
		var wg sync.WaitGroup
		for i := range int64(5) {
			r := &request{ready: make(chan struct{}, 1)}
			d.add([]item{{ws: []*watcher{w}}, {r: r}})
			wg.Go(func() {
				<-r.ready
				if n := fired.Load(); n <= i {
					t.Errorf("reply %d came when %d events had been told", i, n)
				}
			})
			<-time.After(30 * time.Millisecond)
		}
		wg.Wait()
		d.close()
		<-d.done
	})
}
