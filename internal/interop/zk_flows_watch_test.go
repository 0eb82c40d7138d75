package interop

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// watchFlows are what watches must do on one server or more.
var watchFlows = []flow{
	{"one-shot", flowOneShot},
	{"one-shot once", flowOneShotOnce},
	{"persistent", flowPersistent},
	{"recursive", flowRecursive},
	{"removed", flowRemoved},
	{"event before data", flowEventBeforeData},
	{"callback calls", flowCallbackCalls},
	{"armed again", flowArmedAgain},
	{"armed again in bulk", flowArmedAgainInBulk},
	{"resync", flowResync},
	{"reads again", flowReadsAgain},
}

func create(t testing.TB, cl *zk.Client, path string) {
	t.Helper()
	_, err := cl.Create(testContext(t), path, nil, zk.Persistent)
	require.NoError(t, err)
}

func set(t testing.TB, cl *zk.Client, path, data string) {
	t.Helper()
	_, err := cl.Set(testContext(t), path, []byte(data), zk.AnyVersion)
	require.NoError(t, err)
}

func remove(t testing.TB, cl *zk.Client, path string) {
	t.Helper()
	require.NoError(t, cl.Delete(testContext(t), path, zk.AnyVersion))
}

func flowOneShot(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	rec := newRecorder()
	_, err := cl.Exists(ctx, "/a", rec.watch())
	require.ErrorIs(t, err, zk.ErrNoNode)
	create(t, cl, "/a")
	rec.want(t, "created /a")

	_, err = cl.Exists(ctx, "/a", rec.watch())
	require.NoError(t, err)
	set(t, cl, "/a", "1")
	rec.want(t, "data changed /a")
	_, _, err = cl.Get(ctx, "/a", rec.watch())
	require.NoError(t, err)
	set(t, cl, "/a", "2")
	rec.want(t, "data changed /a")
	set(t, cl, "/a", "3") // nothing is armed
	rec.none(t, cl)

	_, _, err = cl.Children(ctx, "/a", rec.watch())
	require.NoError(t, err)
	create(t, cl, "/a/b")
	rec.want(t, "children changed /a")
	_, _, err = cl.Children(ctx, "/a", rec.watch())
	require.NoError(t, err)
	_, _, err = cl.Get(ctx, "/a/b", rec.watch())
	require.NoError(t, err)
	set(t, cl, "/a/b", "x")
	rec.want(t, "data changed /a/b")
	remove(t, cl, "/a/b")
	rec.want(t, "children changed /a")
	rec.none(t, cl)

	// Reads that fail arm nothing.
	_, _, err = cl.Get(ctx, "/none", rec.watch())
	require.ErrorIs(t, err, zk.ErrNoNode)
	_, _, err = cl.Children(ctx, "/none", rec.watch())
	require.ErrorIs(t, err, zk.ErrNoNode)
	create(t, cl, "/none")
	rec.none(t, cl)
}

// flowOneShotOnce arms many watches on one znode.
func flowOneShotOnce(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	create(t, cl, "/a")
	rec := newRecorder()
	same := rec.watch()
	for range 3 { // the same option, in all lists, is one watch
		_, _, err := cl.Get(ctx, "/a", same)
		require.NoError(t, err)
		_, err = cl.Exists(ctx, "/a", same)
		require.NoError(t, err)
		_, _, err = cl.Children(ctx, "/a", same)
		require.NoError(t, err)
	}
	other := newRecorder() // others are others
	for range 3 {
		_, _, err := cl.Get(ctx, "/a", other.watch())
		require.NoError(t, err)
	}
	remove(t, cl, "/a")
	rec.want(t, "deleted /a")
	rec.none(t, cl)
	other.want(t, "deleted /a", "deleted /a", "deleted /a")
	other.none(t, cl)
}

func flowPersistent(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	rec, once := newRecorder(), newRecorder()
	require.NoError(t, cl.AddWatch(ctx, "/a", zk.WatchPersistent, rec.fn))
	create(t, cl, "/a")
	set(t, cl, "/a", "1")
	if !tg.apache { // ZOOKEEPER-4466: in 3.8 a one-shot watch on the same path ends the persistent one
		_, _, err := cl.Get(ctx, "/a", once.watch())
		require.NoError(t, err)
	}
	set(t, cl, "/a", "2")
	create(t, cl, "/a/b")
	set(t, cl, "/a/b", "x")
	remove(t, cl, "/a/b")
	remove(t, cl, "/a")
	create(t, cl, "/a")
	rec.want(t, "created /a", "data changed /a", "data changed /a", "children changed /a", "children changed /a", "deleted /a", "created /a")
	if !tg.apache {
		once.want(t, "data changed /a")
	}
	rec.none(t, cl)
	once.none(t, cl)
}

func flowRecursive(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	rec, once := newRecorder(), newRecorder()
	create(t, cl, "/a")
	create(t, cl, "/ab")
	require.NoError(t, cl.AddWatch(ctx, "/a", zk.WatchRecursive, rec.fn))
	create(t, cl, "/a/b")
	create(t, cl, "/a/b/c")
	_, _, err := cl.Children(ctx, "/a", once.watch())
	require.NoError(t, err)
	set(t, cl, "/a/b/c", "x")
	set(t, cl, "/ab", "x")
	_, err = cl.Multi(ctx, zk.DeleteOp("/a/b/c", 1), zk.DeleteOp("/a/b", 0), zk.SetOp("/a", nil, 0))
	require.NoError(t, err)
	rec.want(t, "created /a/b", "created /a/b/c", "data changed /a/b/c", "deleted /a/b/c", "deleted /a/b", "data changed /a")
	rec.none(t, cl)
	once.want(t, "children changed /a")

	require.NoError(t, cl.AddWatch(ctx, "/", zk.WatchRecursive, once.fn))
	set(t, cl, "/ab", "y")
	once.want(t, "data changed /ab")
}

func flowRemoved(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	create(t, cl, "/a")
	data, child, persistent := newRecorder(), newRecorder(), newRecorder()
	arm := func() {
		_, _, err := cl.Get(ctx, "/a", data.watch())
		require.NoError(t, err)
		_, _, err = cl.Children(ctx, "/a", child.watch())
		require.NoError(t, err)
	}
	arm()
	require.NoError(t, cl.RemoveWatches(ctx, "/a", zk.DataWatches))
	data.want(t, "watch removed /a")
	require.ErrorIs(t, cl.RemoveWatches(ctx, "/a", zk.DataWatches), zk.ErrNoWatcher)
	set(t, cl, "/a", "1")
	data.none(t, cl)
	require.NoError(t, cl.RemoveWatches(ctx, "/a", zk.ChildWatches))
	child.want(t, "watch removed /a")
	create(t, cl, "/a/b")
	child.none(t, cl)

	arm()
	require.NoError(t, cl.AddWatch(ctx, "/a", zk.WatchPersistent, persistent.fn))
	require.NoError(t, cl.AddWatch(ctx, "/a", zk.WatchRecursive, persistent.fn))
	require.NoError(t, cl.RemoveWatches(ctx, "/a", zk.AnyWatches))
	data.want(t, "watch removed /a")
	child.want(t, "watch removed /a")
	persistent.want(t, "watch removed /a", "watch removed /a")
	set(t, cl, "/a", "2")
	remove(t, cl, "/a/b")
	persistent.none(t, cl)
	data.none(t, cl)
	child.none(t, cl)
}

// flowEventBeforeData reads with many goroutines through one client while another
// writes: a watch that was armed with what it read must have fired before anybody
// reads something newer.
func flowEventBeforeData(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	writer := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name())})
	create(t, cl, "/v")
	const last = 300
	var fired atomic.Int32 // versions of which a watch has fired
	var violations atomic.Int32
	arm := func() int32 {
		var version atomic.Int32
		version.Store(-1)
		read := make(chan struct{})
		_, stat, err := cl.Get(ctx, "/v", zk.Watch(func(zk.Event) {
			<-read // the version that it was armed with; the reply is here already
			fired.Store(max(fired.Load(), version.Load()+1))
		}))
		if err != nil {
			violations.Add(1)
		}
		version.Store(stat.Version)
		close(read)
		return stat.Version
	}
	armed := arm()
	var wg sync.WaitGroup
	wg.Go(func() {
		for armed < last {
			for armed >= fired.Load() { // until the watch has fired
				_, stat, err := cl.Get(ctx, "/v")
				if err != nil || stat.Version > armed && fired.Load() <= armed {
					violations.Add(1)
					return
				}
			}
			armed = arm()
		}
	})
	for range last {
		set(t, writer, "/v", "x")
	}
	wg.Wait()
	require.Zero(t, violations.Load())
}

// flowCallbackCalls lets callbacks call the client, and themselves be called for
// what they did.
func flowCallbackCalls(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	create(t, cl, "/a")
	done := make(chan struct{})
	var mu sync.Mutex
	var seen []string
	var on func(zk.Event)
	on = func(ev zk.Event) {
		if ev.Type == zk.EventSession {
			return
		}
		data, stat, err := cl.Get(ctx, "/a", zk.Watch(on))
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		seen = append(seen, string(data))
		mu.Unlock()
		if stat.Version == 10 {
			close(done)
			return
		}
		if _, err := cl.Set(ctx, "/a", fmt.Append(nil, stat.Version+1), stat.Version); err != nil {
			t.Error(err)
		}
	}
	_, _, err := cl.Get(ctx, "/a", zk.Watch(on))
	require.NoError(t, err)
	set(t, cl, "/a", "1")
	<-done
	require.Equal(t, "1 2 3 4 5 6 7 8 9 10", strings.Join(seen, " "))

	// One that closes it.
	closed := make(chan error, 1)
	_, _, err = cl.Children(ctx, "/a", zk.Watch(func(zk.Event) { closed <- cl.Close() }))
	require.NoError(t, err)
	create(t, cl, "/a/b")
	require.NoError(t, <-closed)
	<-cl.Done()
}

// flowArmedAgain changes things while a client has no connection.
func flowArmedAgain(t *testing.T, tg *target) {
	ctx, cut := testContext(t), tg.cutter()
	cl := tg.connect(t, zk.ClientConfig{Network: cut})
	other := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name())})
	for _, path := range []string{"/set", "/deleted", "/child", "/same", "/childdeleted"} {
		create(t, cl, path)
	}
	recs := map[string]*recorder{}
	for _, path := range []string{"/set", "/deleted", "/same"} {
		recs[path] = newRecorder()
		_, _, err := cl.Get(ctx, path, recs[path].watch())
		require.NoError(t, err)
	}
	for _, path := range []string{"/created", "/missing"} {
		recs[path] = newRecorder()
		_, err := cl.Exists(ctx, path, recs[path].watch())
		require.ErrorIs(t, err, zk.ErrNoNode)
	}
	for _, path := range []string{"/child", "/childdeleted", "/"} {
		recs[path] = newRecorder()
		_, _, err := cl.Children(ctx, path, recs[path].watch())
		require.NoError(t, err)
	}
	cut.cut(true)
	waitFor(t, "disconnected", func() bool { return cl.State() == zk.StateConnecting })
	set(t, other, "/set", "x")
	remove(t, other, "/deleted")
	create(t, other, "/created")
	create(t, other, "/child/x")
	remove(t, other, "/childdeleted")
	cut.heal()
	recs["/set"].want(t, "data changed /set")
	recs["/deleted"].want(t, "deleted /deleted")
	recs["/created"].want(t, "created /created")
	recs["/child"].want(t, "children changed /child")
	recs["/childdeleted"].want(t, "deleted /childdeleted")
	recs["/"].want(t, "children changed /")
	for _, rec := range recs {
		rec.none(t, cl)
	}
	set(t, other, "/same", "x")
	recs["/same"].want(t, "data changed /same")
	create(t, other, "/missing")
	recs["/missing"].want(t, "created /missing")
	for _, rec := range recs {
		rec.none(t, cl)
	}
}

// flowArmedAgainInBulk needs more than one setWatches.
func flowArmedAgainInBulk(t *testing.T, tg *target) {
	ctx, cut := testContext(t), tg.cutter()
	cl := tg.connect(t, zk.ClientConfig{Network: cut})
	other := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name())})
	rec := newRecorder()
	const n = 3000
	long := strings.Repeat("x", 150)
	for i := range n {
		_, err := cl.Exists(ctx, fmt.Sprintf("/%s-%04d", long, i), rec.watch())
		require.ErrorIs(t, err, zk.ErrNoNode)
	}
	cut.cut(false)
	require.NoError(t, cl.Sync(ctx, "/"))
	for i := 0; i < n; i += 500 {
		create(t, other, fmt.Sprintf("/%s-%04d", long, i))
		rec.want(t, fmt.Sprintf("created /%s-%04d", long, i))
	}
	rec.none(t, cl)
}

// flowResync checks that persistent watches learn of a gap.
func flowResync(t *testing.T, tg *target) {
	ctx, cut := testContext(t), tg.cutter()
	cl := tg.connect(t, zk.ClientConfig{Network: cut})
	other := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name())})
	rec, rec2 := newRecorder(), newRecorder()
	create(t, cl, "/a")
	require.NoError(t, cl.AddWatch(ctx, "/a", zk.WatchPersistent, rec.fn))
	require.NoError(t, cl.AddWatch(ctx, "/", zk.WatchRecursive, rec2.fn))
	for range 3 {
		cut.cut(true)
		waitFor(t, "disconnected", func() bool { return cl.State() == zk.StateConnecting })
		create(t, other, "/a/missed")
		cut.heal()
		rec.want(t, "resync /a")
		rec2.want(t, "resync /")
		require.NoError(t, cl.Sync(ctx, "/"))
		names, _, err := cl.Children(ctx, "/a")
		require.NoError(t, err)
		require.Equal(t, []string{"missed"}, names)
		remove(t, other, "/a/missed")
		rec.want(t, "children changed /a")
		rec2.want(t, "deleted /a/missed")
	}
}

// flowReadsAgain cuts the connection again and again under readers and writers:
// reads never fail, and a write fails only with an unknown outcome.
func flowReadsAgain(t *testing.T, tg *target) {
	ctx, cut := testContext(t), tg.cutter()
	cl := tg.connect(t, zk.ClientConfig{Network: cut})
	create(t, cl, "/a")
	var wg sync.WaitGroup
	var stop atomic.Bool
	var reads, written, unknown, bad atomic.Int64
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if _, _, err := cl.Get(ctx, "/a"); err != nil {
					t.Error(err)
					bad.Add(1)
					return
				}
				reads.Add(1)
			}
		})
		wg.Go(func() {
			for !stop.Load() {
				switch _, err := cl.Set(ctx, "/a", nil, zk.AnyVersion); {
				case err == nil:
					written.Add(1)
				case isUnknown(err):
					unknown.Add(1)
				default:
					t.Error(err)
					bad.Add(1)
					return
				}
			}
		})
	}
	for range 10 {
		before := written.Load() + reads.Load()
		waitFor(t, "progress", func() bool { return written.Load()+reads.Load() > before+50 || bad.Load() > 0 })
		cut.cut(false)
	}
	stop.Store(true)
	wg.Wait()
	require.Zero(t, bad.Load())
	_, stat, err := cl.Get(ctx, "/a")
	require.NoError(t, err)
	require.GreaterOrEqual(t, int64(stat.Version), written.Load())
	require.LessOrEqual(t, int64(stat.Version), written.Load()+unknown.Load())
	t.Logf("%d reads, %d writes, %d of unknown outcome", reads.Load(), written.Load(), unknown.Load())
}
