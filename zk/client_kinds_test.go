package zk_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// Rows 17 and 18: each kind of watch is found and removed as its kind, and as any;
// one on the data is none that is persistent.
func TestCheckAndRemoveWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		c := e.ConnectTo(1)
		ctx := t.Context()
		arm := map[zk.WatchKind]func(fn func(zk.Event)) error{
			zk.ChildWatches: func(fn func(zk.Event)) error {
				_, _, err := c.Children(ctx, "/", zk.Watch(fn))
				return err
			},
			zk.DataWatches: func(fn func(zk.Event)) error {
				_, err := c.Exists(ctx, "/", zk.Watch(fn))
				return err
			},
			zk.PersistentWatches: func(fn func(zk.Event)) error { return c.AddWatch(ctx, "/", zk.WatchPersistent, fn) },
			zk.RecursiveWatches:  func(fn func(zk.Event)) error { return c.AddWatch(ctx, "/", zk.WatchRecursive, fn) },
		}
		for kind, f := range arm {
			for _, as := range []zk.WatchKind{kind, zk.AnyWatches} {
				removed := make(chan zk.Event, 1)
				require.ErrorIs(t, c.CheckWatches(ctx, "/", kind), zk.ErrNoWatcher)
				require.NoError(t, f(func(ev zk.Event) { removed <- ev }))
				for other := range arm {
					if other != kind {
						require.ErrorIs(t, c.CheckWatches(ctx, "/", other), zk.ErrNoWatcher, "%d as %d", kind, other)
						require.ErrorIs(t, c.RemoveWatches(ctx, "/", other), zk.ErrNoWatcher)
					}
				}
				require.NoError(t, c.CheckWatches(ctx, "/", kind))
				require.NoError(t, c.CheckWatches(ctx, "/", zk.AnyWatches))
				require.NoError(t, c.RemoveWatches(ctx, "/", as))
				require.Equal(t, zk.EventWatchRemoved, (<-removed).Type)
				require.ErrorIs(t, c.CheckWatches(ctx, "/", zk.AnyWatches), zk.ErrNoWatcher)
			}
		}
		require.ErrorIs(t, c.CheckWatches(ctx, "/", 6), zk.ErrBadArguments)
		require.ErrorIs(t, c.RemoveWatches(ctx, "/", 0), zk.ErrBadArguments)
	})
}

// What a host program asks of its servers: whether they serve, and why not.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		require.NoError(t, e.Ready(t.Context()))
		require.NoError(t, e.Health())
		cut, gone := followers(e)[0], followers(e)[1]
		e.Isolate(cut)
		synctest.Wait()
		require.NoError(t, e.Server(gone).Health())
		e.Kill(gone)
		require.ErrorIs(t, e.Server(gone).Health(), zk.ErrServerClosed)
		for e.Server(cut).Health() == nil || e.Leader() != 0 {
			time.Sleep(time.Second) // virtual
		}
		require.ErrorIs(t, e.Server(cut).Health(), zk.ErrNotServing)
		require.ErrorIs(t, e.Health(), zk.ErrNotServing)
		require.ErrorIs(t, e.Health(), zk.ErrServerClosed)
		e.Heal()
		require.NoError(t, e.Ready(t.Context()), "of those that run")
		require.NoError(t, e.Close())
	})
}
