package zktest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// The leader is cut off: the others elect, and what the old one had is cut.
func TestIsolatedLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		c := e.Connect()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Create(ctx, "/before", nil, zk.Persistent)
		require.NoError(t, err)

		old := e.Leader()
		var others []int64
		for _, id := range e.IDs() {
			if id != old {
				others = append(others, id)
			}
		}
		e.Isolate(old)
		e.WaitLeader(old)
		d := e.ConnectTo(others...)
		_, err = d.Create(ctx, "/after", nil, zk.Persistent)
		require.NoError(t, err)
		e.Heal()
		f := e.ConnectTo(old)
		require.NoError(t, f.Sync(ctx, "/"))
		names, _, err := f.Children(ctx, "/")
		require.NoError(t, err)
		require.Equal(t, []string{"after", "before", "zookeeper"}, names)
		for _, c := range []*zk.Client{c, d, f} {
			require.NoError(t, c.Close())
		}
		require.NoError(t, e.Close())
	})
}

// A client whose host is cut off loses its session after the timeout, and its
// ephemerals go with it, once, on every server (P8).
func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		cfg := e.ClientConfig()
		cfg.Network = e.Memory.Host("away")
		cfg.SessionTimeout = 4 * time.Second
		away, err := zk.Connect(ctx, cfg)
		require.NoError(t, err)
		_, err = away.Create(ctx, "/e", nil, zk.Ephemeral)
		require.NoError(t, err)
		watcher := e.Connect()
		gone := make(chan zk.Event, 1)
		_, err = watcher.Exists(ctx, "/e", zk.Watch(func(ev zk.Event) { gone <- ev }))
		require.NoError(t, err)

		start := time.Now()
		e.Memory.Isolate("away", zktest.Host(1), zktest.Host(2), zktest.Host(3))
		ev := <-gone
		require.Equal(t, zk.EventDeleted, ev.Type)
		require.Less(t, time.Since(start), 6*time.Second)
		for _, id := range e.IDs() {
			c := e.ConnectTo(id)
			require.NoError(t, c.Sync(ctx, "/"))
			_, err = c.Exists(ctx, "/e")
			require.ErrorIs(t, err, zk.ErrNoNode)
			require.NoError(t, c.Close())
		}
		e.Heal()
		<-away.Done()
		require.ErrorIs(t, away.Err(), zk.ErrSessionExpired)
		require.NoError(t, watcher.Close())
		_ = away.Close() // expired already
		require.NoError(t, e.Close())
	})
}

// A server that was away for longer than the history in memory reaches gets a
// snapshot (SNAP), and serves the same tree.
func TestSnapshotToLearner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{SnapCount: 500}})
		c := e.Connect()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Create(ctx, "/n", nil, zk.Persistent)
		require.NoError(t, err)
		away := e.IDs()[0]
		if away == e.Leader() {
			away = e.IDs()[1]
		}
		e.Kill(away)
		const writes = 20_000
		done := make(chan error, writes)
		for i := range writes {
			c.Go(ctx, zk.SetOp("/n", fmt.Appendf(nil, "%d", i), zk.AnyVersion), func(r zk.OpResult) { done <- r.Err })
		}
		for range writes {
			require.NoError(t, <-done)
		}
		e.Restart(away)
		d := e.ConnectTo(away)
		require.NoError(t, d.Sync(ctx, "/"))
		data, stat, err := d.Get(ctx, "/n")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(writes-1), string(data))
		require.EqualValues(t, writes, stat.Version)
	})
}
