package zk

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// The followers' disks stand still for longer than a session lasts, so that the
// leader has to keep back what it is asked for. Clients that live are heard all the
// same: their sessions live on (E4).
func TestSessionsOutliveAStalledQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stalled atomic.Int64 // the server whose disk works on
		var f *flock
		f = newFlock(t, func(c *Config) {
			id := c.ID
			c.FrameBytesMax, c.PeerQueueBytesMax, c.ReconfigEnabled = 8192, 8*8192, false
			c.FS = vfs.Inject(f.disks[id], func(vfs.Op) error {
				for works := stalled.Load(); works != 0 && works != id; works = stalled.Load() {
					time.Sleep(10 * time.Millisecond)
				}
				return nil
			})
		})
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		leader := f.leader()
		quiet, err := Connect(t.Context(), ClientConfig{
			Servers: []string{flockSpec(leader%3 + 1).Client}, Network: f.memory, SessionTimeout: time.Second,
		})
		require.NoError(t, err)
		_, err = quiet.Create(t.Context(), "/here", nil, Ephemeral)
		require.NoError(t, err)
		busy := f.connect(leader)
		_, err = busy.Create(t.Context(), "/a", nil, Persistent)
		require.NoError(t, err)

		stalled.Store(leader)
		var wg sync.WaitGroup
		for range 8 { // more than may be on its way at a time
			wg.Go(func() {
				_, err := busy.Set(t.Context(), "/a", make([]byte, 4000), AnyVersion)
				if err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(5 * time.Second)
		stalled.Store(0)
		wg.Wait()
		_, err = busy.Exists(t.Context(), "/here")
		require.NoError(t, err)
		require.NoError(t, quiet.Close())
		require.NoError(t, busy.Close())
	})
}

// A leader stands still (its process is stopped, its machine is busy elsewhere) for
// longer than sessions last, but not for so long that it is deposed. What it has not
// heard meanwhile is nobody's silence: sessions live on.
func TestSessionsOutliveAStalledLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, func(c *Config) { c.SyncLimit, c.ReconfigEnabled = 200, false })
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		leader := f.leader()
		var here []*Client
		for i := range int64(20) {
			c, err := Connect(t.Context(), ClientConfig{
				Servers: []string{flockSpec(i%3 + 1).Client}, Network: f.memory, SessionTimeout: time.Second,
			})
			require.NoError(t, err)
			_, err = c.Create(t.Context(), "/n-", nil, EphemeralSequential)
			require.NoError(t, err)
			here = append(here, c)
		}
		for range 10 {
			require.True(t, f.servers[leader].onLoop(t.Context(), func() { time.Sleep(4 * time.Second) }))
			time.Sleep(500 * time.Millisecond)
		}
		require.Equal(t, leader, f.leader())
		names, _, err := here[0].Children(t.Context(), "/")
		require.NoError(t, err)
		require.Len(t, names, len(here)+1)
		for _, c := range here {
			require.NoError(t, c.Close())
		}
	})
}
