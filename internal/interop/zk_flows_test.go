package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// clientFlows are what zk.Client must do on one server or more, whoever made it.
var clientFlows = []flow{
	{"znodes", flowZnodes},
	{"modes", flowModes},
	{"errors", flowErrors},
	{"null data", flowNullData},
	{"children", flowChildren},
	{"multi", flowMulti},
	{"pipeline", flowPipeline},
	{"conveniences", flowConveniences},
	{"limits", flowLimits},
	{"acl", flowACL},
	{"auth refused", flowAuthRefused},
	{"chroot", flowChroot},
	{"session ends", flowSessionEnds},
	{"session expires", flowSessionExpires},
	{"session resumed", flowSessionResumed},
}

func flowZnodes(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	path, err := cl.Create(ctx, "/a", []byte("one"), zk.Persistent)
	require.NoError(t, err)
	require.Equal(t, "/a", path)

	data, stat, err := cl.Get(ctx, "/a")
	require.NoError(t, err)
	require.Equal(t, "one", string(data))
	require.Equal(t, zk.Stat{
		Czxid: stat.Czxid, Mzxid: stat.Czxid, Pzxid: stat.Czxid, Ctime: stat.Ctime, Mtime: stat.Ctime, DataLength: 3,
	}, stat)
	require.WithinDuration(t, time.Now(), stat.CreatedAt(), time.Minute)

	set, err := cl.Set(ctx, "/a", []byte("three"), 0)
	require.NoError(t, err)
	require.EqualValues(t, 1, set.Version)
	require.Greater(t, set.Mzxid, stat.Mzxid)
	require.Equal(t, stat.Czxid, set.Czxid)
	got, err := cl.Exists(ctx, "/a")
	require.NoError(t, err)
	require.Equal(t, set, got)
	require.GreaterOrEqual(t, cl.LastZxid(), set.Mzxid)

	_, err = cl.Set(ctx, "/a", nil, 0)
	require.ErrorIs(t, err, zk.ErrBadVersion)
	require.ErrorIs(t, cl.Delete(ctx, "/a", 0), zk.ErrBadVersion)
	require.NoError(t, cl.Delete(ctx, "/a", 1))
	_, err = cl.Exists(ctx, "/a")
	require.ErrorIs(t, err, zk.ErrNoNode)

	res, err := cl.Do(ctx, zk.CreateOp("/a", nil, zk.Ephemeral))
	require.NoError(t, err)
	require.Equal(t, cl.SessionID(), res.Stat.EphemeralOwner)
	require.Equal(t, res.Zxid, res.Stat.Czxid)
}

func flowModes(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	for i, c := range []struct {
		path string
		mode zk.CreateMode
		want string
	}{
		{"/p", zk.Persistent, "/p"},
		{"/s-", zk.PersistentSequential, "/s-0000000001"},
		{"/e", zk.Ephemeral, "/e"},
		{"/es-", zk.EphemeralSequential, "/es-0000000003"},
		{"/c", zk.Container, "/c"},
		{"/", zk.PersistentSequential, "/0000000005"},
		{"/t", zk.PersistentTTL(time.Hour), "/t"},
		{"/ts-", zk.PersistentSequentialTTL(time.Hour), "/ts-0000000007"},
	} {
		if strings.HasPrefix(c.path, "/t") && !tg.ttl {
			_, err := cl.Create(ctx, c.path, nil, c.mode)
			require.ErrorIs(t, err, zk.ErrUnimplemented)
			continue
		}
		path, err := cl.Create(ctx, c.path, nil, c.mode)
		require.NoError(t, err, "create %d", i)
		require.Equal(t, c.want, path)
		stat, err := cl.Exists(ctx, path)
		require.NoError(t, err)
		owner := int64(0)
		if c.mode.Ephemeral() {
			owner = cl.SessionID()
		}
		require.Equal(t, owner, stat.EphemeralOwner, "%s", path)
	}
	_, err := cl.Create(ctx, "/e/x", nil, zk.Persistent)
	require.ErrorIs(t, err, zk.ErrEphemeralParent)
	_, err = cl.Create(ctx, "/bad", nil, zk.PersistentTTL(-time.Second))
	require.ErrorIs(t, err, zk.ErrBadArguments)
	if tg.ttl {
		_, err = cl.Create(ctx, "/bad", nil, zk.PersistentTTL(0))
		require.ErrorIs(t, err, zk.ErrBadArguments)
	}
}

func flowErrors(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	_, err := cl.Create(ctx, "/x/y", nil, zk.Persistent)
	require.ErrorIs(t, err, zk.ErrNoNode)
	require.EqualError(t, err, "zk: create /x/y: no such znode")
	_, err = cl.Create(ctx, "/x", nil, zk.Persistent)
	require.NoError(t, err)
	_, err = cl.Create(ctx, "/x", nil, zk.Persistent)
	require.ErrorIs(t, err, zk.ErrNodeExists)
	_, err = cl.Create(ctx, "/x/y", nil, zk.Persistent)
	require.NoError(t, err)
	require.ErrorIs(t, cl.Delete(ctx, "/x", zk.AnyVersion), zk.ErrNotEmpty)
	require.ErrorIs(t, cl.Delete(ctx, "/x", 7), zk.ErrBadVersion)
	require.ErrorIs(t, cl.Delete(ctx, "/none", zk.AnyVersion), zk.ErrNoNode)
	_, _, err = cl.Get(ctx, "/none")
	require.ErrorIs(t, err, zk.ErrNoNode)
	_, _, err = cl.Children(ctx, "/none")
	require.ErrorIs(t, err, zk.ErrNoNode)
	_, err = cl.Set(ctx, "/none", nil, zk.AnyVersion)
	require.ErrorIs(t, err, zk.ErrNoNode)
	_, _, err = cl.ACL(ctx, "/none")
	require.ErrorIs(t, err, zk.ErrNoNode)
	require.ErrorIs(t, cl.RemoveWatches(ctx, "/none", zk.AnyWatches), zk.ErrNoWatcher)
	require.NoError(t, cl.Sync(ctx, "/none"))
	for _, path := range []string{"", "x", "/x/", "//", "/x//y", "/x/./y", "/..", "/a\x00", "/\u0085"} {
		_, err = cl.Create(ctx, path, nil, zk.Persistent)
		require.ErrorIs(t, err, zk.ErrBadArguments, "%q", path)
		_, _, err = cl.Get(ctx, path)
		require.ErrorIs(t, err, zk.ErrBadArguments, "%q", path)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = cl.Set(canceled, "/x", nil, zk.AnyVersion)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, zk.ErrConnectionLoss)
}

func flowNullData(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	for _, data := range [][]byte{nil, {}, {0}, bytes.Repeat([]byte("x"), 900_000)} {
		_, err := cl.Create(ctx, "/d", data, zk.Persistent)
		require.NoError(t, err)
		got, stat, err := cl.Get(ctx, "/d")
		require.NoError(t, err)
		require.Equal(t, data == nil, got == nil)
		require.True(t, bytes.Equal(data, got))
		require.EqualValues(t, len(data), stat.DataLength)
		require.NoError(t, cl.Delete(ctx, "/d", 0))
	}
}

func flowChildren(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	_, err := cl.Create(ctx, "/p", nil, zk.Persistent)
	require.NoError(t, err)
	names, _, err := cl.Children(ctx, "/p")
	require.NoError(t, err)
	require.Empty(t, names)
	for _, name := range []string{"c", "a", "é", "b"} {
		_, err := cl.Create(ctx, "/p/"+name, nil, zk.Persistent)
		require.NoError(t, err)
	}
	require.NoError(t, cl.Delete(ctx, "/p/b", 0))
	names, stat, err := cl.Children(ctx, "/p")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c", "é"}, names)
	require.EqualValues(t, 3, stat.NumChildren)
	require.EqualValues(t, 5, stat.Cversion)
	require.Zero(t, stat.Version)
	require.Greater(t, stat.Pzxid, stat.Mzxid)
	n, err := cl.CountDescendants(ctx, "/p")
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

func flowMulti(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	res, err := cl.Multi(ctx,
		zk.CreateOp("/m", []byte("1"), zk.Persistent),
		zk.CreateOp("/m/s-", nil, zk.EphemeralSequential),
		zk.CreateOp("/m/c", nil, zk.Container),
		zk.CreateOp("/m/t", nil, zk.Persistent),
		zk.SetOp("/m", []byte("22"), 0),
		zk.CheckOp("/m", 1),
		zk.DeleteOp("/m/c", 0),
	)
	require.NoError(t, err)
	require.Len(t, res, 7)
	require.Equal(t, "/m/s-0000000000", res[1].Path)
	require.EqualValues(t, 1, res[4].Stat.Version)
	for i := range res {
		require.NoError(t, res[i].Err)
	}
	m, err := cl.Exists(ctx, "/m")
	require.NoError(t, err)
	s, err := cl.Exists(ctx, "/m/s-0000000000")
	require.NoError(t, err)
	require.Equal(t, cl.SessionID(), s.EphemeralOwner)
	require.Equal(t, m.Czxid, s.Czxid, "one zxid")
	if !tg.apache { // which sends zeros
		require.Equal(t, s, res[1].Stat)
	}

	res, err = cl.Multi(ctx,
		zk.SetOp("/m", []byte("333"), zk.AnyVersion),
		zk.CheckOp("/m", 1),
		zk.DeleteOp("/m", zk.AnyVersion),
	)
	require.ErrorIs(t, err, zk.ErrBadVersion)
	require.EqualError(t, err, "zk: multi check /m: version conflict")
	require.NotErrorIs(t, err, zk.ErrConnectionLoss)
	require.Len(t, res, 3)
	require.Equal(t, zk.ErrRuntimeInconsistency, res[0].Err)
	require.Equal(t, zk.ErrBadVersion, res[1].Err)
	require.Equal(t, zk.ErrRuntimeInconsistency, res[2].Err)
	data, _, err := cl.Get(ctx, "/m")
	require.NoError(t, err)
	require.Equal(t, "22", string(data))

	res, err = cl.Multi(ctx)
	require.NoError(t, err)
	require.Empty(t, res)
	_, err = cl.Multi(ctx, zk.GetOp("/m"))
	require.ErrorIs(t, err, zk.ErrBadArguments)

	res, err = cl.MultiRead(ctx, zk.GetOp("/m"), zk.ChildrenOp("/m"), zk.GetOp("/none"))
	require.NoError(t, err)
	require.Equal(t, "22", string(res[0].Data))
	require.EqualValues(t, 1, res[0].Stat.Version)
	require.Equal(t, []string{"s-0000000000", "t"}, res[1].Children)
	require.ErrorIs(t, res[2].Err, zk.ErrNoNode)
}

// flowPipeline checks that requests passed by Go are executed in their order, and
// that many goroutines share one client.
func flowPipeline(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	const n = 500
	var order []int
	done := make(chan struct{})
	for i := range n {
		cl.Go(ctx, zk.CreateOp("/q-", fmt.Append(nil, i), zk.PersistentSequential), func(res zk.OpResult) {
			if res.Err == nil && res.Path == fmt.Sprintf("/q-%010d", i) {
				order = append(order, i)
			}
			if i == n-1 {
				close(done)
			}
		})
	}
	<-done
	require.Len(t, order, n)

	_, err := cl.Create(ctx, "/n", nil, zk.Persistent)
	require.NoError(t, err)
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range 20 {
		wg.Go(func() {
			for range 25 {
				stat, err := cl.Set(ctx, "/n", nil, zk.AnyVersion)
				_, after, err2 := cl.Get(ctx, "/n")
				if err != nil || err2 != nil || after.Version < stat.Version {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	_, stat, err := cl.Get(ctx, "/n")
	require.NoError(t, err)
	require.EqualValues(t, n, stat.Version)

	canceled, cancel := context.WithCancel(ctx)
	cancel()
	got := make(chan error, 1)
	cl.Go(canceled, zk.GetOp("/n"), func(res zk.OpResult) { got <- res.Err })
	require.ErrorIs(t, <-got, context.Canceled)
	cl.GoMulti(ctx, func(_ []zk.OpResult, err error) { got <- err }, zk.CheckOp("/n", n), zk.CheckOp("/n", 0))
	require.ErrorIs(t, <-got, zk.ErrBadVersion)
}

func flowConveniences(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	require.NoError(t, cl.EnsurePath(ctx, "/a/b/c"))
	require.NoError(t, cl.EnsurePath(ctx, "/a/b/c"))
	require.NoError(t, cl.EnsurePath(ctx, "/a/b/d"))
	names, _, err := cl.Children(ctx, "/a/b")
	require.NoError(t, err)
	require.Equal(t, []string{"c", "d"}, names)
	_, err = cl.Create(ctx, "/a/e-", nil, zk.EphemeralSequential)
	require.NoError(t, err)
	paths, err := cl.Ephemerals(ctx, "/a")
	require.NoError(t, err)
	require.Equal(t, []string{"/a/e-0000000001"}, paths)
	require.NoError(t, cl.DeleteAll(ctx, "/a"))
	require.NoError(t, cl.DeleteAll(ctx, "/a"))
	_, err = cl.Exists(ctx, "/a")
	require.ErrorIs(t, err, zk.ErrNoNode)
}

// flowLimits checks that what is too large is an error, and not a reconnect loop.
func flowLimits(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t, zk.ClientConfig{ReplyBytesMax: 1000}), testContext(t)
	_, err := cl.Create(ctx, "/big", make([]byte, 2_000), zk.Persistent)
	require.NoError(t, err)
	session := cl.SessionID()
	for range 3 {
		_, _, err = cl.Get(ctx, "/big")
		require.ErrorIs(t, err, zk.ErrTooLarge)
		require.Equal(t, zk.StateConnected, cl.State())
	}
	_, err = cl.Exists(ctx, "/big")
	require.NoError(t, err)
	_, err = cl.Set(ctx, "/big", make([]byte, 1<<20), zk.AnyVersion)
	require.ErrorIs(t, err, zk.ErrTooLarge)
	require.NotErrorIs(t, err, zk.ErrConnectionLoss)
	require.Equal(t, session, cl.SessionID())

	// A request that the server refuses by closing the connection ends, too.
	cl = tg.connect(t, zk.ClientConfig{RequestBytesMax: 4 << 20})
	_, err = cl.Create(ctx, "/big2", make([]byte, 2<<20), zk.Persistent)
	require.ErrorIs(t, err, zk.ErrConnectionLoss)
	_, err = cl.Exists(ctx, "/")
	require.NoError(t, err)
}

func flowACL(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	_, err := cl.Create(ctx, "/open", nil, zk.Persistent)
	require.NoError(t, err)
	acl, _, err := cl.ACL(ctx, "/open")
	require.NoError(t, err)
	require.Equal(t, []zk.ACL{zk.WorldACL(zk.PermAll)}, acl)
	_, err = cl.Create(ctx, "/mine", nil, zk.Persistent, zk.AuthACL(zk.PermAll))
	require.ErrorIs(t, err, zk.ErrInvalidACL, "no identity yet")

	require.NoError(t, cl.AddAuth(ctx, zk.DigestAuth("ann", "secret")))
	_, err = cl.Create(ctx, "/mine", []byte("x"), zk.Persistent, zk.AuthACL(zk.PermAll), zk.WorldACL(zk.PermCreate))
	require.NoError(t, err)
	acl, stat, err := cl.ACL(ctx, "/mine")
	require.NoError(t, err)
	require.Equal(t, []zk.ACL{zk.DigestACL(zk.PermAll, "ann", "secret"), zk.WorldACL(zk.PermCreate)}, acl)
	require.Zero(t, stat.Aversion)
	ids, err := cl.WhoAmI(ctx)
	require.NoError(t, err)
	require.Contains(t, ids, zk.ID{Scheme: "digest", ID: "ann"})

	other := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name())})
	require.NoError(t, other.Sync(ctx, "/"))
	_, _, err = other.Get(ctx, "/mine")
	require.ErrorIs(t, err, zk.ErrNoAuth)
	_, err = other.Set(ctx, "/mine", nil, zk.AnyVersion)
	require.ErrorIs(t, err, zk.ErrNoAuth)
	_, err = other.Create(ctx, "/mine/child", nil, zk.Persistent)
	require.NoError(t, err)
	require.ErrorIs(t, other.Delete(ctx, "/mine/child", 0), zk.ErrNoAuth)

	stat, err = cl.SetACL(ctx, "/mine", 0, zk.DigestACL(zk.PermAll, "ann", "secret"), zk.WorldACL(zk.PermRead))
	require.NoError(t, err)
	require.EqualValues(t, 1, stat.Aversion)
	_, err = cl.SetACL(ctx, "/mine", 0, zk.WorldACL(zk.PermAll))
	require.ErrorIs(t, err, zk.ErrBadVersion)
	_, err = cl.SetACL(ctx, "/mine", zk.AnyVersion)
	require.ErrorIs(t, err, zk.ErrInvalidACL)
	require.NoError(t, other.Sync(ctx, "/"))
	data, _, err := other.Get(ctx, "/mine")
	require.NoError(t, err)
	require.Equal(t, "x", string(data))
	acl, _, err = other.ACL(ctx, "/mine")
	require.NoError(t, err)
	require.Equal(t, zk.ID{Scheme: "digest", ID: "ann:x"}, acl[0].ID, "masked")

	// A credential of the configuration is shown on every connection.
	cut := tg.cutter()
	cl = tg.connect(t, zk.ClientConfig{Network: cut, Auth: []zk.Auth{zk.DigestAuth("ann", "secret")}, Chroot: "/" + escaped(t.Name())})
	for range 3 {
		_, err = cl.Exists(ctx, "/") // sent again on the next connection, if need be
		require.NoError(t, err)
		_, err = cl.Set(ctx, "/mine", []byte("y"), zk.AnyVersion)
		require.NoError(t, err)
		cut.cut(false)
	}
}

func flowAuthRefused(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	rec := newRecorder()
	_, err := cl.Exists(ctx, "/x", rec.watch())
	require.ErrorIs(t, err, zk.ErrNoNode)
	require.ErrorIs(t, cl.AddAuth(ctx, zk.Auth{Scheme: "palmistry", Data: []byte("x")}), zk.ErrAuthFailed)
	<-cl.Done()
	require.ErrorIs(t, cl.Err(), zk.ErrAuthFailed)
	require.Equal(t, zk.StateAuthFailed, cl.State())
	rec.want(t, "session authentication failed: /x")
	_, err = cl.Exists(ctx, "/x")
	require.ErrorIs(t, err, zk.ErrAuthFailed)
	require.NoError(t, cl.Close())

	_, err = zk.Connect(ctx, zk.ClientConfig{Servers: tg.servers, Network: tg.network, Auth: []zk.Auth{{Scheme: "palmistry"}}})
	require.ErrorIs(t, err, zk.ErrAuthFailed)
}

func flowChroot(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name()) + "/deep"}), testContext(t)
	outer := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name())})
	path, err := cl.Create(ctx, "/x-", nil, zk.PersistentSequential)
	require.NoError(t, err)
	require.Equal(t, "/x-0000000000", path)
	require.NoError(t, outer.Sync(ctx, "/"))
	_, err = outer.Exists(ctx, "/deep/x-0000000000")
	require.NoError(t, err)
	names, _, err := cl.Children(ctx, "/")
	require.NoError(t, err)
	require.Equal(t, []string{"x-0000000000"}, names)

	rec := newRecorder()
	_, _, err = cl.Get(ctx, "/", rec.watch())
	require.NoError(t, err)
	_, _, err = cl.Get(ctx, path, rec.watch())
	require.NoError(t, err)
	_, err = outer.Set(ctx, "/deep/x-0000000000", nil, 0)
	require.NoError(t, err)
	_, err = outer.Set(ctx, "/deep", nil, 0)
	require.NoError(t, err)
	rec.want(t, "data changed /x-0000000000", "data changed /")
	res, err := cl.Multi(ctx, zk.CreateOp("/y-", nil, zk.PersistentSequential))
	require.NoError(t, err)
	require.Equal(t, "/y-0000000001", res[0].Path)
}

func flowSessionEnds(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	var states []zk.State
	other := tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name()), OnState: func(s zk.State) { states = append(states, s) }})
	_, err := other.Create(ctx, "/e", nil, zk.Ephemeral)
	require.NoError(t, err)
	rec, theirs := newRecorder(), newRecorder()
	require.NoError(t, cl.Sync(ctx, "/e"))
	_, err = cl.Exists(ctx, "/e", rec.watch())
	require.NoError(t, err)
	_, err = other.Exists(ctx, "/never", theirs.watch())
	require.ErrorIs(t, err, zk.ErrNoNode)

	require.NoError(t, other.Close())
	require.NoError(t, other.Close())
	theirs.want(t, "session closed: /never")
	rec.want(t, "deleted /e")
	require.ErrorIs(t, other.Err(), zk.ErrClosed)
	_, err = other.Exists(ctx, "/e")
	require.ErrorIs(t, err, zk.ErrClosed)
	require.Equal(t, []zk.State{zk.StateConnected, zk.StateClosed}, states)
}

func flowSessionExpires(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	cut := tg.cutter()
	states := make(chan zk.State, 10)
	other := tg.connect(t, zk.ClientConfig{
		Chroot: "/" + escaped(t.Name()), Network: cut, SessionTimeout: time.Second,
		OnState: func(s zk.State) { states <- s },
	})
	require.LessOrEqual(t, other.SessionTimeout(), 4*time.Second)
	_, err := other.Create(ctx, "/e", nil, zk.Ephemeral)
	require.NoError(t, err)
	rec, theirs := newRecorder(), newRecorder()
	require.NoError(t, cl.Sync(ctx, "/e"))
	_, err = cl.Exists(ctx, "/e", rec.watch())
	require.NoError(t, err)
	require.NoError(t, other.AddWatch(ctx, "/e", zk.WatchPersistent, theirs.fn))

	cut.cut(true)
	rec.want(t, "deleted /e")
	require.Equal(t, zk.StateConnecting, other.State())
	cut.heal()
	<-other.Done()
	require.ErrorIs(t, other.Err(), zk.ErrSessionExpired)
	theirs.want(t, "session expired: /e")
	for _, want := range []zk.State{zk.StateConnected, zk.StateConnecting, zk.StateExpired} {
		require.Equal(t, want, <-states)
	}
	_, err = other.Create(ctx, "/e", nil, zk.Ephemeral)
	require.ErrorIs(t, err, zk.ErrSessionExpired)
	require.NoError(t, other.Close())
}

// flowSessionResumed moves a session from a client that dies to another one.
func flowSessionResumed(t *testing.T, tg *target) {
	cl, ctx := tg.connect(t), testContext(t)
	_, err := cl.Create(ctx, "/e", nil, zk.Ephemeral)
	require.NoError(t, err)
	s := cl.Session()
	cl.Abandon()
	require.ErrorIs(t, cl.Err(), zk.ErrClosed)

	cl = tg.connect(t, zk.ClientConfig{Chroot: "/" + escaped(t.Name()), Session: &s})
	require.Equal(t, s.ID, cl.SessionID())
	stat, err := cl.Exists(ctx, "/e")
	require.NoError(t, err)
	require.Equal(t, s.ID, stat.EphemeralOwner)
	require.NoError(t, cl.Close())

	_, err = zk.Connect(ctx, zk.ClientConfig{Servers: tg.servers, Network: tg.network, Session: &s})
	require.ErrorIs(t, err, zk.ErrSessionExpired, "it has been closed")
	s.Password = []byte(strings.Repeat("x", 16))
	_, err = zk.Connect(ctx, zk.ClientConfig{Servers: tg.servers, Network: tg.network, Session: &s})
	require.ErrorIs(t, err, zk.ErrSessionExpired, "wrong password")
	require.False(t, errors.Is(err, context.DeadlineExceeded))
}
