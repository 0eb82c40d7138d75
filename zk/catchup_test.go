package zk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// snapshotsOf lists the snapshots on a server's disk.
func (f *flock) snapshotsOf(id int64) []string {
	names, err := f.disks[id].ReadDir("data")
	require.NoError(f.t, err)
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "snapshot.") })
}

// A server that was away while the others took snapshots gets what it lacks from
// the leader's log; one whose disk was lost, or that lacks more than the log
// holds, gets a snapshot. All end with the same tree.
func TestCatchingUp(t *testing.T) {
	for _, c := range []struct {
		name   string
		writes int
		lost   bool
		snap   bool // is sent
	}{
		{"log", 70, false, false},
		{"beyond-the-log", 700, false, true},
		{"disk-lost", 70, true, false},
		{"disk-lost-beyond-the-log", 700, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlock(t, func(cfg *Config) { cfg.SnapCount, cfg.FrameBytesMax, cfg.PeerQueueBytesMax = 100, 64<<10, 512<<10 })
				for id := int64(1); id <= 3; id++ {
					f.start(id, true, specs(1, 2, 3)...)
				}
				f.ready(1, 2, 3)
				away := int64(3)
				if f.leader() == away {
					away = 2
				}
				cl := f.connect(1, 5-away) // those that stay
				write := func(n int) {
					for range n {
						_, err := cl.Create(t.Context(), "/n-", make([]byte, 1500), PersistentSequential)
						require.NoError(t, err)
					}
				}
				write(50)
				require.NoError(t, f.servers[away].Close())
				write(c.writes)
				if c.lost {
					f.disks[away] = vfs.NewMem()
				}
				f.start(away, false, specs(1, 2, 3)...)
				f.ready(away)
				if c.snap {
					require.NotEmpty(t, f.snapshotsOf(away))
				} else {
					require.Empty(t, f.snapshotsOf(away), "it got entries only")
				}
				write(1)
				there := f.connect(away)
				require.NoError(t, there.Sync(t.Context(), "/"))
				names, _, err := there.Children(t.Context(), "/")
				require.NoError(t, err)
				require.Len(t, names, 50+c.writes+1+1)
				require.NoError(t, f.servers[away].Err())
				require.NoError(t, there.Close())
				require.NoError(t, cl.Close())
			})
		})
	}
}

// The disk fails at each operation in turn while a deposed leader gives up what
// it alone had logged (TRUNC), and writes what the others have (Z16): it stops,
// never serves what it should have given up, and is like the others once its disk
// is.
func TestDiskErrorsDuringTruncation(t *testing.T) {
	struck := true
	for at := int64(1); struck; at++ {
		synctest.Test(t, func(t *testing.T) { struck = truncateOnFailingDisk(t, at) })
	}
}

func truncateOnFailingDisk(t *testing.T, at int64) (struck bool) {
	var left, old atomic.Int64 // operations until the error; whose disk
	left.Store(-1)
	f := newFlock(t, nil)
	f.edit = func(c *Config) {
		id := c.ID
		c.FS = vfs.Inject(f.disks[id], func(vfs.Op) error {
			if old.Load() == id && left.Load() > 0 && left.Add(-1) == 0 {
				return errDiskFull
			}
			return nil
		})
	}
	for id := int64(1); id <= 3; id++ {
		f.start(id, true, specs(1, 2, 3)...)
	}
	f.ready(1, 2, 3)
	leader := f.leader()
	old.Store(leader)
	others := slices.DeleteFunc([]int64{1, 2, 3}, func(id int64) bool { return id == leader })
	host := func(id int64) string { return fmt.Sprintf("zk-%d", id) }
	epoch := f.servers[leader].Status().Epoch
	lonely := f.connect(leader)
	for _, id := range others {
		f.memory.Partition(host(leader), host(id))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	_, err := lonely.Create(ctx, "/lost", nil, Persistent)
	cancel()
	require.Error(t, err)
	c := f.connect(others...)
	_, err = c.Create(t.Context(), "/kept", nil, Persistent)
	require.NoError(t, err)
	left.Store(at)
	f.memory.Heal()
	wait, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := f.servers[leader]
	if err := s.Ready(wait); err != nil {
		require.ErrorIs(t, err, errDiskFull)
		<-s.Done()
		delete(f.servers, leader)
		old.Store(0)
		f.start(leader, false, specs(1, 2, 3)...)
		f.ready(leader)
	}
	struck = left.Load() == 0
	old.Store(0)
	there := f.connect(leader)
	require.NoError(t, there.Sync(t.Context(), "/"))
	if st, err := there.Exists(t.Context(), "/lost"); err == nil { // its server has submitted it again (R7)
		require.Greater(t, uint32(st.Czxid>>32), epoch, "what was given up is there")
	} else {
		require.ErrorIs(t, err, ErrNoNode)
	}
	_, err = there.Exists(t.Context(), "/kept")
	require.NoError(t, err)
	return struck
}

var errDiskFull = errors.New("no space left on device")
