package zk_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

func (w *wire) must(xid int32, op jute.OpCode, body jute.Record) (jute.ReplyHeader, jute.Reader) {
	w.t.Helper()
	w.raw(request(xid, op, body))
	h, rest := w.reply()
	require.Equal(w.t, xid, h.Xid, op.String())
	require.Equal(w.t, jute.CodeOK, h.Err, op.String())
	return h, rest
}

// event reads a notification.
func (w *wire) event() (jute.ReplyHeader, jute.WatcherEvent) {
	w.t.Helper()
	h, rest := w.reply()
	require.Equal(w.t, jute.XidNotification, h.Xid)
	var ev jute.WatcherEvent
	ev.Decode(&rest)
	require.NoError(w.t, rest.End())
	require.Equal(w.t, jute.StateSyncConnected, ev.State)
	return h, ev
}

// Row 18 on another server than before: what was missed is told before the
// reply, with the zxid -1; the rest is armed; persistent watches are armed and not
// told of the past.
func TestSetWatchesOnAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		c := e.Connect()
		ctx := t.Context()
		for _, p := range []string{"/same", "/changed", "/gone", "/kids", "/kids-same", "/kids-gone", "/p"} {
			_, err := c.Create(ctx, p, nil, zk.Persistent)
			require.NoError(t, err)
		}
		seen := c.LastZxid()
		_, err := c.Multi(ctx, zk.SetOp("/changed", nil, -1), zk.DeleteOp("/gone", -1), zk.DeleteOp("/kids-gone", -1),
			zk.CreateOp("/kids/x", nil, zk.Persistent), zk.CreateOp("/born", nil, zk.Persistent), zk.SetOp("/p", nil, -1))
		require.NoError(t, err)
		w := newSession(t, e, followers(e)[0])
		w.must(1, jute.OpSync, &jute.PathRequest{Path: "/"})
		w.raw(request(jute.XidSetWatches, jute.OpSetWatches2, &jute.SetWatchesRequest{
			Two: true, RelativeZxid: seen,
			Data: []string{"/same", "/changed", "/gone"}, Exist: []string{"/born", "/unborn"}, Child: []string{"/kids", "/kids-same", "/kids-gone"},
			Persistent: []string{"/p"}, PersistentRecursive: []string{"/kids-same"},
		}))
		want := map[string]jute.EventType{
			"/changed": jute.EventDataChanged, "/gone": jute.EventDeleted, "/born": jute.EventCreated,
			"/kids": jute.EventChildrenChanged, "/kids-gone": jute.EventDeleted,
		}
		for range len(want) {
			h, ev := w.event()
			require.EqualValues(t, -1, h.Zxid)
			require.Equal(t, want[ev.Path], ev.Type, ev.Path)
			delete(want, ev.Path)
		}
		h, rest := w.reply()
		require.Equal(t, jute.ReplyHeader{Xid: jute.XidSetWatches, Zxid: h.Zxid}, h)
		require.Empty(t, rest.Rest())

		for _, step := range []struct {
			op   zk.Op
			want []jute.WatcherEvent
		}{
			{zk.SetOp("/changed", nil, -1), nil}, // spent
			{zk.SetOp("/same", nil, -1), []jute.WatcherEvent{{Type: jute.EventDataChanged, Path: "/same"}}},
			{zk.SetOp("/same", nil, -1), nil},
			{zk.CreateOp("/unborn", nil, zk.Persistent), []jute.WatcherEvent{{Type: jute.EventCreated, Path: "/unborn"}}},
			{zk.CreateOp("/kids-same/x", nil, zk.Persistent), []jute.WatcherEvent{
				{Type: jute.EventCreated, Path: "/kids-same/x"}, {Type: jute.EventChildrenChanged, Path: "/kids-same"},
			}},
			{zk.SetOp("/kids-same/x", nil, -1), []jute.WatcherEvent{{Type: jute.EventDataChanged, Path: "/kids-same/x"}}},
			{zk.CreateOp("/p/x", nil, zk.Persistent), []jute.WatcherEvent{{Type: jute.EventChildrenChanged, Path: "/p"}}},
			{zk.SetOp("/p", nil, -1), []jute.WatcherEvent{{Type: jute.EventDataChanged, Path: "/p"}}},
		} {
			res, err := c.Do(ctx, step.op)
			require.NoError(t, err)
			for _, want := range step.want {
				h, ev := w.event()
				require.Equal(t, res.Zxid, h.Zxid)
				want.State = jute.StateSyncConnected
				require.Equal(t, want, ev)
			}
		}
		w.must(9, jute.OpSync, &jute.PathRequest{Path: "/"}) // and nothing else before it
	})
}

// Rows 17, 104, 106, 107 and the multi read, as frames.
func TestReadsOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		w := newSession(t, e, 1)
		w.must(1, jute.OpCreate, &jute.CreateRequest{Path: "/a", Data: []byte("x"), ACL: openACL})
		w.must(2, jute.OpCreate, &jute.CreateRequest{Path: "/a/b", ACL: openACL})
		_, rest := w.must(3, jute.OpAddWatch, &jute.PathTypeRequest{Path: "/no/such", Type: jute.AddWatchPersistent})
		require.Equal(t, []byte{0, 0, 0, 0}, rest.Rest(), "an error code that is none")
		for xid, row := range []struct {
			op   jute.OpCode
			typ  int32
			want jute.Code
		}{
			{jute.OpAddWatch, 2, jute.CodeMarshallingError},
			{jute.OpCheckWatches, jute.WatcherData, jute.CodeNoWatcher},
			{jute.OpCheckWatches, jute.WatcherPersistent, jute.CodeOK},
			{jute.OpCheckWatches, 6, jute.CodeMarshallingError},
			{jute.OpRemoveWatches, jute.WatcherData, jute.CodeNoWatcher},
			{jute.OpRemoveWatches, jute.WatcherPersistentRecursive, jute.CodeNoWatcher},
			{jute.OpRemoveWatches, 0, jute.CodeMarshallingError},
			{jute.OpRemoveWatches, jute.WatcherAny, jute.CodeOK},
			{jute.OpRemoveWatches, jute.WatcherAny, jute.CodeNoWatcher},
		} {
			w.raw(request(int32(xid), row.op, &jute.PathTypeRequest{Path: "/no/such", Type: row.typ}))
			h, rest := w.reply()
			require.Equal(t, row.want, h.Err, "%v %d", row.op, row.typ)
			require.Empty(t, rest.Rest())
		}
		_, rest = w.must(4, jute.OpGetAllChildrenNumber, &jute.PathRequest{Path: "/a"})
		require.Equal(t, []byte{0, 0, 0, 1}, rest.Rest())
		_, rest = w.must(5, jute.OpWhoAmI, nil)
		require.Equal(t, append([]byte{0, 0, 0, 1, 0, 0, 0, 2, 'i', 'p', 0, 0, 0, 9}, "127.0.0.1"...), rest.Rest())
		_, rest = w.must(6, jute.OpMultiRead, &jute.MultiRequest{Read: true, Ops: []jute.Op{
			{Type: jute.OpGetData, Path: "/a"}, {Type: jute.OpGetData, Path: "/none"}, {Type: jute.OpGetChildren, Path: "/a"},
		}})
		var m jute.MultiResponse
		m.Decode(&rest)
		require.NoError(t, rest.End())
		require.Equal(t, "x", string(m.Results[0].Data))
		require.Equal(t, jute.CodeNoNode, m.Results[1].Err)
		require.Equal(t, []string{"b"}, m.Results[2].Children)
		for _, code := range []jute.OpCode{jute.OpExists, jute.OpSetACL} { // what has no place in a multi
			for _, typ := range []jute.OpCode{jute.OpMulti, jute.OpMultiRead} {
				w.raw(request(7, typ, &jute.MultiRequest{Ops: []jute.Op{{Type: code, Path: "/a"}}}))
				h, _ := w.reply()
				require.Equal(t, jute.CodeMarshallingError, h.Err)
			}
		}
	})
}
