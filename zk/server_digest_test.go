package zk

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// plantWrongTree has a server apply the newest transaction once more, to the tree
// before it, as if it had said something else.
func (f *flock) plantWrongTree(id int64, write func()) {
	s := f.servers[id]
	onLoop := func(do func()) {
		require.True(f.t, s.onLoop(f.t.Context(), do))
	}
	synctest.Wait()
	wrong := tree.NewLoader(s.treeConfig())
	var err error
	onLoop(func() { err = (&snapshotHandle{snap: s.tree.Load().Snapshot()}).writeTo(wrong) })
	require.NoError(f.t, err)
	t, err := wrong.Finish()
	require.NoError(f.t, err)
	write()
	synctest.Wait()
	var res tree.Result
	onLoop(func() {
		t.Apply(int64(s.applied), &tree.Txn{
			Kind: tree.KindOp, Features: tree.FeatureInternal,
			Op: jute.Op{Type: jute.OpCreate, Path: "/wrong", ACL: []jute.ACL{{Perms: jute.PermAll, ID: jute.ID{Scheme: "world", ID: "anyone"}}}},
		}, &res)
		s.pub.Lock()
		defer s.pub.Unlock()
		t.Publish(int64(s.applied))
		s.tree.Store(t)
		s.noteDigest(s.applied, t.Digest())
	})
	require.Equal(f.t, jute.CodeOK, res.Err)
}

// startDigests starts an ensemble of n servers.
func startDigests(t *testing.T, n int64, edit func(*Config)) *flock {
	f := newFlock(t, func(c *Config) {
		c.ReconfigEnabled = false
		if edit != nil {
			edit(c)
		}
	})
	var ids []int64
	for id := int64(1); id <= n; id++ {
		ids = append(ids, id)
	}
	for _, id := range ids {
		f.start(id, true, specs(ids...)...)
	}
	f.ready(ids...)
	return f
}

func (f *flock) stops(id int64, why string) {
	f.t.Helper()
	s := f.servers[id]
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		require.FailNow(f.t, "it goes on", "server %d: %+v", id, s.Status())
	}
	require.ErrorContains(f.t, s.Err(), why)
	delete(f.servers, id) // its Close has said what it had to
}

// One server's tree differs from what a quorum holds: it stops, be it the leader
// or not, and the others go on (P10).
func TestDifferingTreeStops(t *testing.T) {
	for _, c := range []struct {
		name   string
		n      int64
		leader bool
	}{{"follower-of-3", 3, false}, {"leader-of-3", 3, true}, {"follower-of-5", 5, false}, {"leader-of-5", 5, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := startDigests(t, c.n, nil)
				wrong := f.leader()
				if !c.leader {
					wrong = wrong%c.n + 1
				}
				other := wrong%c.n + 1
				cl := f.connect(other)
				set := func() {
					_, err := cl.Set(t.Context(), "/a", []byte("y"), AnyVersion)
					require.NoError(t, err)
				}
				_, err := cl.Create(t.Context(), "/a", []byte("x"), Persistent)
				require.NoError(t, err)
				f.plantWrongTree(wrong, set)
				for range 3 {
					set()
				}
				f.stops(wrong, "differs from a quorum's")
				for id := range f.servers {
					f.ready(id)
				}
				set()
				require.NoError(t, cl.Sync(t.Context(), "/"))
				_, err = cl.Exists(t.Context(), "/wrong")
				require.ErrorIs(t, err, ErrNoNode)
				synctest.Wait()
				for id, s := range f.servers {
					require.NoError(t, s.Err(), "server %d", id)
				}
				require.NoError(t, cl.Close())
			})
		})
	}
}

// A leader whose tree is wrong, and that has proposed nothing since, so that nobody
// has noticed, does not give it to a server that lost its disk: it is found out.
func TestWrongTreeIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startDigests(t, 3, func(c *Config) { c.SnapCount, c.FrameBytesMax, c.PeerQueueBytesMax = 20, 8192, 8*8192 })
		wrong := f.leader()
		empty, other := wrong%3+1, (wrong+1)%3+1
		cl := f.connect(wrong, other)
		_, err := cl.Create(t.Context(), "/a", []byte("x"), Persistent)
		require.NoError(t, err)
		set := func() {
			_, err := cl.Set(t.Context(), "/a", make([]byte, 4000), AnyVersion)
			require.NoError(t, err)
		}
		require.NoError(t, f.servers[empty].Close())
		for range 100 { // more than the log keeps
			set()
		}
		time.Sleep(time.Second) // no snapshot is due
		f.plantWrongTree(wrong, set)
		delete(f.disks, empty)
		f.start(empty, false, specs(1, 2, 3)...)
		f.stops(wrong, "no quorum holds one")
		f.stops(other, "no quorum holds one")
		require.Empty(t, f.snapshotsOf(empty), "it got a tree that nobody vouches for")

		// What was wrong was in memory only: the two come back, and give what is right.
		f.start(wrong, false, specs(1, 2, 3)...)
		f.start(other, false, specs(1, 2, 3)...)
		f.ready(1, 2, 3)
		require.NotEmpty(t, f.snapshotsOf(empty))
		there := f.connect(empty)
		require.NoError(t, there.Sync(t.Context(), "/"))
		_, err = there.Exists(t.Context(), "/wrong")
		require.ErrorIs(t, err, ErrNoNode)
		require.NoError(t, there.Close())
		require.NoError(t, cl.Close())
	})
}

// With five servers there is a quorum that finds the wrong leader out before it
// hands out its tree; the next leader gives the right one.
func TestWrongLeaderOfFiveIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startDigests(t, 5, func(c *Config) { c.SnapCount, c.FrameBytesMax, c.PeerQueueBytesMax = 20, 8192, 8*8192 })
		wrong := f.leader()
		empty := wrong%5 + 1
		cl := f.connect(empty%5 + 1)
		_, err := cl.Create(t.Context(), "/a", []byte("x"), Persistent)
		require.NoError(t, err)
		set := func() {
			_, err := cl.Set(t.Context(), "/a", make([]byte, 4000), AnyVersion)
			require.NoError(t, err)
		}
		require.NoError(t, f.servers[empty].Close())
		for range 100 {
			set()
		}
		f.plantWrongTree(wrong, set)
		delete(f.disks, empty)
		f.start(empty, false, specs(1, 2, 3, 4, 5)...)
		f.stops(wrong, "differs from a quorum's")
		f.ready(empty)
		require.NotEmpty(t, f.snapshotsOf(empty))
		there := f.connect(empty)
		require.NoError(t, there.Sync(t.Context(), "/"))
		_, err = there.Exists(t.Context(), "/wrong")
		require.ErrorIs(t, err, ErrNoNode)
		require.NoError(t, there.Close())
		require.NoError(t, cl.Close())
	})
}

// Two servers that differ cannot tell who is right: both stop.
func TestTwoThatDifferStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startDigests(t, 2, nil)
		cl := f.connect(1)
		_, err := cl.Create(t.Context(), "/a", []byte("x"), Persistent)
		require.NoError(t, err)
		set := func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, _ = cl.Set(ctx, "/a", []byte("y"), AnyVersion) // may come to nothing
		}
		f.plantWrongTree(1, set)
		set()
		set()
		f.stops(1, "no quorum holds one")
		f.stops(2, "no quorum holds one")
		_ = cl.Close() // nobody is there to hear it
	})
}
