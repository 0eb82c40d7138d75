package recipes_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

func TestCounter(t *testing.T) {
	bubble(t, func(w *world) {
		k := recipes.NewCounter(w.Connect(), "/k/x")
		v, err := k.Value(w.ctx)
		require.NoError(t, err)
		require.Zero(t, v)
		v, err = k.Add(w.ctx, 5)
		require.NoError(t, err)
		require.EqualValues(t, 5, v)
		v, err = k.Add(w.ctx, -7)
		require.NoError(t, err)
		require.EqualValues(t, -2, v)
		other := recipes.NewCounter(w.Connect(), "/k/x")
		ok, err := other.CompareAndSwap(w.ctx, 3, 4)
		require.NoError(t, err)
		require.False(t, ok)
		ok, err = other.CompareAndSwap(w.ctx, -2, math.MaxInt64)
		require.NoError(t, err)
		require.True(t, ok)
		_, err = k.Add(w.ctx, 1)
		require.ErrorIs(t, err, zk.ErrBadArguments)
		v, err = k.Value(w.ctx)
		require.NoError(t, err)
		require.EqualValues(t, math.MaxInt64, v)
		_, err = w.Connect().Create(w.ctx, "/k/bad", []byte("x"), zk.Persistent)
		require.NoError(t, err)
		_, err = recipes.NewCounter(w.Connect(), "/k/bad").Value(w.ctx)
		require.ErrorContains(t, err, "/k/bad")
	})
}

// Concurrent adds all count; a lost answer is found out, and nothing counts twice.
func TestCounterLostReplies(t *testing.T) {
	bubble(t, func(w *world) {
		const adders, adds = 3, 20
		var wg sync.WaitGroup
		for range adders {
			k := recipes.NewCounter(w.Connect(), "/k")
			wg.Go(func() {
				for range adds {
					if _, err := k.Add(w.ctx, 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		c := w.Connect()
		k := recipes.NewCounter(c, "/k")
		for i := range 20 {
			for _, id := range w.IDs() {
				w.Memory.CutAfter(fmt.Sprintf("zk-%d", id), w.ClientHost(c), int64(i*10))
			}
			v, err := k.Add(w.ctx, 1)
			require.NoError(t, err, "nobody else writes")
			require.EqualValues(t, adders*adds+i+1, v)
		}
	})
}

// Members come and go with their sessions; who watches sees the last state.
func TestMembership(t *testing.T) {
	bubble(t, func(w *world) {
		watcher := recipes.NewMembership(w.Connect(), "/g")
		ctx, cancel := context.WithCancel(w.ctx)
		seen := make(chan []recipes.Member)
		watch := background(func() (struct{}, error) {
			for ms, err := range watcher.Watch(ctx) {
				if err != nil {
					return struct{}{}, err
				}
				seen <- ms
			}
			return struct{}{}, nil
		})
		want := func(names ...string) { // sooner or later
			for all := (*[]string)(nil); all == nil || !slices.Equal(*all, names); {
				all = new([]string)
				for _, m := range <-seen {
					*all = append(*all, m.Name)
				}
			}
		}
		want()
		a, b := w.Connect(), w.Connect()
		ma := recipes.NewMembership(a, "/g")
		w.LoseReply(a)
		ga, err := ma.Join(w.ctx, "a", []byte("1"))
		require.NoError(t, err)
		want("a")
		_, err = ma.Join(w.ctx, "a", nil)
		require.ErrorIs(t, err, recipes.ErrTaken)
		require.NoError(t, ga.SetData(w.ctx, []byte("2")))
		_, err = recipes.NewMembership(b, "/g").Join(w.ctx, "b", nil)
		require.NoError(t, err)
		want("a", "b")
		require.NoError(t, a.Sync(w.ctx, "/g"))
		all, err := recipes.NewMembership(a, "/g").Members(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "2", string(all[0].Data))
		require.Equal(t, ga.Token(), all[0].Token)

		// The same name waits for the end of the session that has it.
		again := background(func() (*recipes.Grant, error) {
			return recipes.NewMembership(w.Connect(), "/g").Join(w.ctx, "b", []byte("new"))
		})
		require.True(t, again.pending())
		w.Expire(b)
		again.get(t)
		require.NoError(t, ga.Release(w.ctx))
		want("b")
		cancel()
		require.ErrorIs(t, watch.failure(), context.Canceled)
	})
}

// A join that was given up leaves nothing, and does not harm the next one.
func TestMembershipJoinGivenUp(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.short()
		m := recipes.NewMembership(c, "/g")
		g, err := m.Join(w.ctx, "other", nil)
		require.NoError(t, err)
		for range 2 {
			ctx, cancel := context.WithCancel(w.ctx)
			for _, id := range w.IDs() {
				w.Memory.PartitionOneWay(fmt.Sprintf("zk-%d", id), w.ClientHost(c))
			}
			r := background(func() (*recipes.Grant, error) { return m.Join(ctx, "x", nil) })
			cancel()
			require.ErrorIs(t, r.failure(), context.Canceled)
			require.Len(t, w.children("/g"), 2)
			w.Heal()
			require.NoError(t, c.Sync(w.ctx, "/"))
			synctest.Wait()
			require.Len(t, w.children("/g"), 1, "cleaned up")
		}
		x, err := m.Join(w.ctx, "x", []byte("mine"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(w.ctx, 3*c.SessionTimeout())
		defer cancel()
		<-ctx.Done()
		require.NoError(t, x.Confirm(w.ctx))
		require.NoError(t, x.Release(w.ctx))
		require.NoError(t, g.Release(w.ctx))
		require.Empty(t, w.children("/g"))
		_, err = c.Create(w.ctx, "/g/persistent", nil, zk.Persistent)
		require.NoError(t, err)
		_, err = m.Join(w.ctx, "persistent", nil)
		require.ErrorIs(t, err, zk.ErrNodeExists)
	})
}

// The newest value arrives, through sets, deletion, creation and reconnects.
func TestConfigWatch(t *testing.T) {
	bubble(t, func(w *world) {
		c, admin := w.Connect(), w.Connect()
		conf := recipes.NewConfigWatch(c, "/conf")
		v, err := conf.Value(w.ctx)
		require.NoError(t, err)
		require.False(t, v.Exists)
		ctx, cancel := context.WithCancel(w.ctx)
		seen := make(chan recipes.Config)
		watch := background(func() (struct{}, error) {
			for v, err := range conf.Values(ctx) {
				if err != nil {
					return struct{}{}, err
				}
				seen <- v
			}
			return struct{}{}, nil
		})
		require.Equal(t, recipes.Config{}, <-seen)
		_, err = admin.Create(w.ctx, "/conf", []byte("1"), zk.Persistent)
		require.NoError(t, err)
		require.Equal(t, "1", string((<-seen).Data))
		w.Reset(c)
		for i := range 5 { // faster than they are taken
			_, err = admin.Set(w.ctx, "/conf", fmt.Append(nil, i), zk.AnyVersion)
			require.NoError(t, err)
			synctest.Wait()
		}
		for v = <-seen; string(v.Data) != "4"; {
			v = <-seen
		}
		require.EqualValues(t, 5, v.Version)
		require.NoError(t, admin.Delete(w.ctx, "/conf", v.Version))
		require.False(t, (<-seen).Exists)
		w.Expire(c)
		require.ErrorIs(t, watch.failure(), zk.ErrSessionExpired)
		cancel()
	})
}

// It is made again when somebody deletes it, waits for one of another session,
// and ends with its own.
func TestPersistentEphemeral(t *testing.T) {
	bubble(t, func(w *world) {
		old, admin := w.short(), w.Connect()
		_, err := old.Create(w.ctx, "/p", nil, zk.Ephemeral)
		require.NoError(t, err)
		old.Abandon()
		c := w.Connect()
		p := recipes.NewPersistentEphemeral(c, "/p", []byte("1"))
		require.NoError(t, p.Stop(w.ctx), "not started")
		require.NoError(t, p.SetData(w.ctx, []byte("2")))
		start := background(func() (struct{}, error) { return struct{}{}, p.Start(w.ctx) })
		require.True(t, start.pending())
		start.get(t)
		data := func() string {
			synctest.Wait()
			require.NoError(t, admin.Sync(w.ctx, "/"))
			data, stat, err := admin.Get(w.ctx, "/p")
			require.NoError(t, err)
			require.Equal(t, c.SessionID(), stat.EphemeralOwner)
			return string(data)
		}
		require.Equal(t, "2", data())
		first := p.Grant()
		require.NoError(t, admin.Delete(w.ctx, "/p", zk.AnyVersion))
		<-first.Done()
		require.Equal(t, "2", data())
		require.NoError(t, p.SetData(w.ctx, []byte("3")))
		require.NoError(t, admin.Sync(w.ctx, "/"))
		require.NoError(t, admin.Delete(w.ctx, "/p", zk.AnyVersion))
		synctest.Wait()
		require.Equal(t, "3", data())
		require.NoError(t, p.Err())
		w.Expire(c)
		<-p.Done()
		require.ErrorIs(t, p.Err(), recipes.ErrLost)
		require.ErrorIs(t, p.Err(), zk.ErrSessionExpired)

		q := recipes.NewPersistentEphemeral(admin, "/p", nil)
		require.NoError(t, q.Start(w.ctx))
		require.NoError(t, q.Stop(w.ctx))
		<-q.Done()
		require.ErrorIs(t, q.Err(), recipes.ErrReleased)
		_, err = admin.Exists(w.ctx, "/p")
		require.ErrorIs(t, err, zk.ErrNoNode)
		require.NoError(t, q.Stop(w.ctx))
	})
}

// What is set last is what is there: while the znode is still waited for, while it
// is made again, and by several at once.
func TestPersistentEphemeralData(t *testing.T) {
	bubble(t, func(w *world) {
		old, admin, c := w.short(), w.Connect(), w.Connect()
		_, err := old.Create(w.ctx, "/p", nil, zk.Ephemeral)
		require.NoError(t, err)
		p := recipes.NewPersistentEphemeral(c, "/p", []byte("1"))
		start := background(func() (struct{}, error) { return struct{}{}, p.Start(w.ctx) })
		require.True(t, start.pending())
		require.NoError(t, p.SetData(w.ctx, []byte("2")))
		require.NoError(t, old.Close())
		start.get(t)
		require.NoError(t, admin.Sync(w.ctx, "/"))
		data, _, err := admin.Get(w.ctx, "/p")
		require.NoError(t, err)
		require.Equal(t, "2", string(data))
		require.ErrorIs(t, p.Start(w.ctx), recipes.ErrTaken)
		for i := range 100 {
			require.NoError(t, admin.Sync(w.ctx, "/"))
			gone := background(func() (struct{}, error) { return struct{}{}, admin.Delete(w.ctx, "/p", zk.AnyVersion) })
			for n := range 3 { // in any order
				go func() { _ = p.SetData(w.ctx, fmt.Append(nil, i, n)) }()
			}
			gone.get(t)
			synctest.Wait()
			require.NoError(t, admin.Sync(w.ctx, "/"))
			before, _, err := admin.Get(w.ctx, "/p")
			require.NoError(t, err)
			require.NoError(t, admin.Delete(w.ctx, "/p", zk.AnyVersion))
			synctest.Wait()
			require.NoError(t, admin.Sync(w.ctx, "/"))
			again, _, err := admin.Get(w.ctx, "/p")
			require.NoError(t, err)
			require.Equal(t, string(before), string(again))
		}
		require.NoError(t, p.Stop(w.ctx))
		require.ErrorIs(t, p.Start(w.ctx), recipes.ErrReleased)
	})
}

// Names are those of one znode.
func TestNamesOfMembers(t *testing.T) {
	c := zktest.Start(t, zk.EnsembleConfig{Servers: 1}).Connect()
	for _, name := range []string{"", "a/b"} {
		_, err := recipes.NewMembership(c, "/m").Join(t.Context(), name, nil)
		require.ErrorIs(t, err, zk.ErrBadArguments)
		_, err = recipes.NewRegistry(c, "/r").Register(t.Context(), recipes.Instance{Service: "s", ID: name})
		require.ErrorIs(t, err, zk.ErrBadArguments)
		_, err = recipes.NewRegistry(c, "/r").Register(t.Context(), recipes.Instance{Service: name, ID: "1"})
		require.ErrorIs(t, err, zk.ErrBadArguments)
	}
}
