package zktest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// inAndOut runs a test inside of a bubble and outside.
func inAndOut(t *testing.T, test func(t *testing.T)) {
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("outside", test)
}

func minute(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Every fault, one after the other, on one ensemble; what was written is there
// at the end.
func TestFaults(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		e, ctx := zktest.Start(t), minute(t)
		c := e.Connect()
		writes := 0
		write := func() {
			_, err := c.Create(ctx, "/n-", nil, zk.PersistentSequential)
			require.NoError(t, err)
			writes++
		}
		write()
		leader := e.Leader()
		e.Kill(leader)
		e.WaitLeader(leader)
		require.NoError(t, c.Sync(ctx, "/"))
		write()
		e.Restart(leader)

		leader = e.Leader()
		e.Isolate(leader)
		d := e.ConnectTo(e.WaitLeader(leader))
		_, err := d.Create(ctx, "/n-", nil, zk.PersistentSequential)
		require.NoError(t, err)
		writes++
		e.Heal()
		e.Partition(zktest.Host(1), zktest.Host(2))
		e.Heal()

		e.Reset(c)
		require.NoError(t, c.Sync(ctx, "/"))
		write()
		names, _, err := c.Children(ctx, "/")
		require.NoError(t, err)
		require.Len(t, names, writes+1, "and /zookeeper")
	})
}

// The request is executed, and its answer lost.
func TestLoseReply(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		e, ctx := zktest.Start(t), minute(t)
		c := e.Connect()
		e.LoseReply(c)
		_, err := c.Create(ctx, "/a", nil, zk.Persistent)
		require.ErrorIs(t, err, zk.ErrConnectionLoss)
		require.NoError(t, c.Sync(ctx, "/"))
		_, err = c.Exists(ctx, "/a")
		require.NoError(t, err)
	})
}

// The session is gone at once, and its ephemerals; the client is told when it
// comes back.
func TestExpire(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		e, ctx := zktest.Start(t), minute(t)
		c, d := e.Connect(), e.Connect()
		_, err := c.Create(ctx, "/a", nil, zk.Ephemeral)
		require.NoError(t, err)
		e.Expire(c)
		require.NoError(t, d.Sync(ctx, "/"))
		_, err = d.Exists(ctx, "/a")
		require.ErrorIs(t, err, zk.ErrNoNode)
		<-c.Done()
		require.ErrorIs(t, c.Err(), zk.ErrSessionExpired)
	})
}

// A client that is cut off loses its session by the timeout.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, ctx := zktest.Start(t), minute(t)
		c, d := e.ConnectConfig(zk.ClientConfig{SessionTimeout: 2 * time.Second}), e.Connect()
		_, err := c.Create(ctx, "/a", nil, zk.Ephemeral)
		require.NoError(t, err)
		gone := make(chan struct{})
		require.NoError(t, d.Sync(ctx, "/"))
		_, err = d.Exists(ctx, "/a", zk.Watch(func(zk.Event) { close(gone) }))
		require.NoError(t, err)
		e.CutOff(c)
		<-gone
		require.NotEqual(t, zk.StateConnected, c.State(), "it noticed before its session ended")
		e.Heal()
		<-c.Done()
	})
}

// A slow disk slows a majority that needs it, and nothing else; a failing one
// stops its server, and the others go on.
func TestDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, ctx := zktest.Start(t), minute(t)
		leader := e.Leader()
		c := e.ConnectTo(leader)
		one, two := leader%3+1, (leader+1)%3+1
		took := func() time.Duration {
			start := time.Now()
			_, err := c.Create(ctx, "/n-", nil, zk.PersistentSequential)
			require.NoError(t, err)
			return time.Since(start)
		}
		const slow = 50 * time.Millisecond
		e.SlowDisk(one, slow)
		require.Less(t, took(), slow, "two are a majority")
		e.SlowDisk(two, slow)
		require.GreaterOrEqual(t, took(), slow)
		e.Heal()
		took() // behind what the slow disks still do
		require.Less(t, took(), slow)

		full := errors.New("disk full")
		e.FailDisk(one, full)
		took()
		<-e.Server(one).Done()
		require.ErrorIs(t, e.Server(one).Err(), full)
		took()
		e.FailDisk(one, nil)
		e.Restart(one)
		require.NoError(t, e.ConnectTo(one).Sync(ctx, "/"))
	})
}
