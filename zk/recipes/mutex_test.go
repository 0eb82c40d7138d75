package recipes_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

func (w *world) lock(c *zk.Client) *result[*recipes.Grant] {
	return background(func() (*recipes.Grant, error) { return recipes.NewMutex(c, "/l/m").Lock(w.ctx) })
}

// One holds, the others wait in the order of arrival, and tokens grow.
func TestMutexOrder(t *testing.T) {
	bubble(t, func(w *world) {
		var got []*result[*recipes.Grant]
		for range 4 {
			got = append(got, w.lock(w.Connect()))
		}
		token := int64(0)
		for i, r := range got {
			for _, later := range got[i+1:] {
				require.True(t, later.pending())
			}
			g := r.get(t)
			require.Greater(t, g.Token(), token)
			token = g.Token()
			require.NoError(t, g.Confirm(w.ctx))
			require.NoError(t, g.Release(w.ctx))
			require.ErrorIs(t, g.Err(), recipes.ErrReleased)
			require.True(t, closed(g.Done()))
			require.NoError(t, g.Release(w.ctx), "again")
			require.ErrorIs(t, g.Confirm(w.ctx), recipes.ErrReleased)
			synctest.Wait()
		}
		require.Empty(t, w.children("/l/m"))
	})
}

// A release wakes the one next in line. The others do not so much as read.
func TestMutexNoHerd(t *testing.T) {
	bubble(t, func(w *world) {
		first := w.lock(w.Connect()).get(t)
		var got []*result[*recipes.Grant]
		var counters []*counter
		for i := range 5 {
			nw := newCounter(w.Memory.Host("waiter-" + string(rune('a'+i))))
			counters = append(counters, nw)
			got = append(got, w.lock(w.ConnectConfig(zk.ClientConfig{Network: nw})))
		}
		for _, nw := range counters {
			nw.reset()
		}
		require.NoError(t, first.Release(w.ctx))
		got[0].get(t)
		synctest.Wait()
		require.Equal(t, 2, counters[0].count(opChildren2, opGetData, opExists), "looks, and watches its own")
		for _, nw := range counters[1:] {
			require.Zero(t, nw.count(opChildren2, opGetData, opExists, opCreate2, opDelete))
		}
	})
}

// The answer to the create is lost: the znode is found again, or none is left
// over, and nobody waits for a stray.
func TestMutexLostCreateReply(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		require.NoError(t, c.EnsurePath(w.ctx, "/l/m"))
		w.LoseReply(c)
		g := w.lock(c).get(t)
		require.Len(t, w.children("/l/m"), 1)
		require.True(t, strings.HasSuffix(g.Path(), "-lock-0000000000"), "the first one was found, not another made")
		next := w.lock(w.Connect())
		require.True(t, next.pending())
		require.NoError(t, g.Release(w.ctx))
		require.NoError(t, next.get(t).Release(w.ctx))
		require.Empty(t, w.children("/l/m"))
	})
}

// The answer is lost, and the caller gives up before it can be found out: the
// stray goes when the client has a connection again.
func TestMutexLostCreateReplyAndCancelled(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		require.NoError(t, c.EnsurePath(w.ctx, "/l/m"))
		ctx, cancel := context.WithCancel(w.ctx)
		// The request gets through; then nothing does until Heal.
		for _, id := range w.IDs() {
			w.Memory.PartitionOneWay("zk-"+string(rune('0'+id)), w.ClientHost(c))
		}
		r := background(func() (*recipes.Grant, error) { return recipes.NewMutex(c, "/l/m").Lock(ctx) })
		require.True(t, r.pending())
		cancel()
		require.ErrorIs(t, r.failure(), context.Canceled)
		require.Len(t, w.children("/l/m"), 1, "a stray")
		w.Heal()
		g := w.lock(w.Connect()).get(t)
		require.NoError(t, g.Release(w.ctx))
		require.Empty(t, w.children("/l/m"))
	})
}

// Who gives up waiting leaves the line, even without a connection; who stood
// behind goes on waiting for the holder.
func TestMutexCancelWhileWaiting(t *testing.T) {
	bubble(t, func(w *world) {
		holder := w.lock(w.Connect()).get(t)
		c := w.Connect()
		ctx, cancel := context.WithCancel(w.ctx)
		waiter := background(func() (*recipes.Grant, error) { return recipes.NewMutex(c, "/l/m").Lock(ctx) })
		behind := w.lock(w.Connect())
		w.CutOff(c)
		cancel()
		require.ErrorIs(t, waiter.failure(), context.Canceled)
		require.Len(t, w.children("/l/m"), 3)
		w.Heal()
		w.Reset(c)
		require.NoError(t, c.Sync(w.ctx, "/"))
		synctest.Wait()
		require.Len(t, w.children("/l/m"), 2)
		require.True(t, behind.pending())
		require.NoError(t, holder.Release(w.ctx))
		require.NoError(t, behind.get(t).Release(w.ctx))
	})
}

// Trying again and again does not pile up watches.
func TestMutexTriesShareAWatch(t *testing.T) {
	bubble(t, func(w *world) {
		holder := w.lock(w.Connect()).get(t)
		m := recipes.NewMutex(w.Connect(), "/l/m")
		for range 50 {
			ctx, cancel := context.WithTimeout(w.ctx, 10*time.Millisecond)
			_, err := m.Lock(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
			_, err = m.TryLock(w.ctx)
			require.ErrorIs(t, err, recipes.ErrTaken)
		}
		require.Equal(t, 1, m.Watches())
		require.NoError(t, holder.Release(w.ctx))
		g, err := m.TryLock(w.ctx)
		require.NoError(t, err)
		require.Zero(t, m.Watches())
		require.NoError(t, g.Release(w.ctx))
		require.Empty(t, w.children("/l/m"))
	})
}

// The holder is cut off: it is in doubt before its session ends, somebody else
// gets the lock after that, and it learns that it has lost.
func TestMutexSessionExpiresWhileHolding(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.short()
		g := w.lock(c).get(t)
		work, stop := g.Context(w.ctx)
		defer stop()
		next := w.lock(w.Connect())
		require.False(t, closed(g.Doubt()))
		w.CutOff(c)
		<-g.Doubt()
		require.ErrorIs(t, context.Cause(work), recipes.ErrInDoubt)
		require.True(t, next.pending(), "the doubt comes before the loss")
		require.NoError(t, g.Err())
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		require.ErrorIs(t, g.Confirm(ctx), context.DeadlineExceeded)
		cancel()

		h := next.get(t)
		require.Greater(t, h.Token(), g.Token())
		require.NoError(t, g.Err(), "nobody has told it")
		w.Heal()
		<-g.Done()
		require.ErrorIs(t, g.Err(), recipes.ErrLost)
		require.ErrorIs(t, g.Err(), zk.ErrSessionExpired)
		require.ErrorIs(t, g.Release(w.ctx), recipes.ErrLost)
		_, err := recipes.NewMutex(c, "/l/m").Lock(w.ctx)
		require.ErrorIs(t, err, zk.ErrSessionExpired)
	})
}

// A short interruption is a doubt that passes.
func TestMutexDoubtPasses(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		g := w.lock(c).get(t)
		doubt := g.Doubt()
		w.Reset(c)
		require.NoError(t, g.Confirm(w.ctx))
		require.True(t, closed(doubt))
		require.False(t, closed(g.Doubt()))
		require.NoError(t, g.Err())
		work, stop := g.Context(w.ctx)
		require.NoError(t, g.Release(w.ctx))
		require.ErrorIs(t, context.Cause(work), recipes.ErrReleased)
		stop()
	})
}

// Waiting and holding survive the death of leaders.
func TestMutexLeaderChanges(t *testing.T) {
	bubble(t, func(w *world) {
		g := w.lock(w.Connect()).get(t)
		next := w.lock(w.Connect())
		for range 2 {
			leader := w.Leader()
			w.Kill(leader)
			w.WaitLeader(leader)
			w.Restart(leader)
		}
		require.True(t, next.pending())
		require.NoError(t, g.Confirm(w.ctx))
		require.NoError(t, g.Release(w.ctx))
		require.NoError(t, next.get(t).Release(w.ctx))
	})
}

// The znode of this process's previous session is still there (CURATOR-604): the
// new session waits for its end as for anybody's.
func TestMutexPreviousSession(t *testing.T) {
	bubble(t, func(w *world) {
		old := w.short()
		before := w.lock(old).get(t)
		old.Abandon()
		require.ErrorIs(t, before.Err(), recipes.ErrLost)
		require.ErrorIs(t, before.Err(), zk.ErrClosed)
		next := w.lock(w.Connect())
		require.True(t, next.pending())
		require.Greater(t, next.get(t).Token(), before.Token())
	})
}

// Somebody deletes the znode of the holder, or of one who waits.
func TestMutexDeletedByOthers(t *testing.T) {
	bubble(t, func(w *world) {
		admin := w.Connect()
		g := w.lock(w.Connect()).get(t)
		next := w.lock(w.Connect())
		names := w.children("/l/m")
		require.Len(t, names, 2)
		for _, name := range names {
			if path := zk.JoinPath("/l/m", name); path != g.Path() {
				require.NoError(t, admin.Delete(w.ctx, path, zk.AnyVersion))
			}
		}
		require.True(t, next.pending())
		_, err := admin.Set(w.ctx, g.Path(), []byte("x"), zk.AnyVersion)
		require.NoError(t, err)
		require.False(t, closed(g.Done()), "a change of its data is none of the holder's business")
		require.NoError(t, admin.Delete(w.ctx, g.Path(), zk.AnyVersion))
		<-g.Done()
		require.ErrorIs(t, g.Err(), recipes.ErrLost)
		require.ErrorIs(t, g.Confirm(w.ctx), recipes.ErrLost)
		h := next.get(t)
		_, err = admin.Multi(w.ctx, g.Check(), zk.CreateOp("/late", nil, zk.Persistent))
		require.ErrorIs(t, err, zk.ErrNoNode)
		_, err = admin.Multi(w.ctx, h.Check(), zk.CreateOp("/late", nil, zk.Persistent))
		require.NoError(t, err)
	})
}

// Readers share, writers do not, both in the order of arrival.
func TestRWMutex(t *testing.T) {
	bubble(t, func(w *world) {
		lock := func(write bool) *result[*recipes.Grant] {
			m := recipes.NewRWMutex(w.Connect(), "/rw")
			if write {
				return background(func() (*recipes.Grant, error) { return m.Lock(w.ctx) })
			}
			return background(func() (*recipes.Grant, error) { return m.RLock(w.ctx) })
		}
		r1, r2, w1, r3, r4, w2 := lock(false), lock(false), lock(true), lock(false), lock(false), lock(true)
		g1, g2 := r1.get(t), r2.get(t)
		require.True(t, w1.pending())
		require.True(t, r3.pending(), "no reader overtakes a writer that waits")
		try := recipes.NewRWMutex(w.Connect(), "/rw")
		_, err := try.TryRLock(w.ctx)
		require.ErrorIs(t, err, recipes.ErrTaken)

		require.NoError(t, g1.Release(w.ctx))
		require.True(t, w1.pending())
		require.NoError(t, g2.Release(w.ctx))
		g := w1.get(t)
		require.True(t, r3.pending())

		m := recipes.NewRWMutex(w.Connect(), "/rw")
		require.NoError(t, m.Downgrade(w.ctx, g))
		g3, g4 := r3.get(t), r4.get(t)
		require.True(t, w2.pending())
		require.NoError(t, g3.Release(w.ctx))
		require.NoError(t, g4.Release(w.ctx))
		require.True(t, w2.pending(), "the downgraded writer still reads")
		require.NoError(t, g.Release(w.ctx))
		require.NoError(t, w2.get(t).Release(w.ctx))

		rg, err := try.TryRLock(w.ctx)
		require.NoError(t, err)
		_, err = try.TryLock(w.ctx)
		require.ErrorIs(t, err, recipes.ErrTaken)
		require.NoError(t, rg.Release(w.ctx))
		wg, err := try.TryLock(w.ctx)
		require.NoError(t, err)
		require.NoError(t, try.Downgrade(w.ctx, wg))
		rg, err = try.TryRLock(w.ctx)
		require.NoError(t, err)
		require.NoError(t, rg.Release(w.ctx))
		require.NoError(t, wg.Release(w.ctx))
		require.Empty(t, w.children("/rw"))
	})
}

// A release without a connection returns with its context and goes on.
func TestReleaseWithoutConnection(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		g := w.lock(c).get(t)
		w.CutOff(c)
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, g.Release(ctx), context.DeadlineExceeded)
		require.ErrorIs(t, g.Err(), recipes.ErrReleased)
		w.Heal()
		require.NoError(t, w.lock(w.Connect()).get(t).Release(w.ctx))
	})
}

// Wrong paths and missing rights are errors that say so, and leave nothing.
func TestMutexRefused(t *testing.T) {
	bubble(t, func(w *world) {
		_, err := recipes.NewMutex(w.Connect(), "no/slash").Lock(w.ctx)
		require.ErrorIs(t, err, zk.ErrBadArguments)
		admin := w.Connect()
		_, err = admin.Create(w.ctx, "/ro", nil, zk.Persistent, zk.WorldACL(zk.PermRead))
		require.NoError(t, err)
		_, err = recipes.NewMutex(w.Connect(), "/ro").Lock(w.ctx)
		require.ErrorIs(t, err, zk.ErrNoAuth)
		require.True(t, strings.Contains(err.Error(), "/ro"), err)
		require.False(t, errors.Is(err, zk.ErrConnectionLoss))
	})
}
