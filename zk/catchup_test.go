package zk

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

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
				cl := f.connect(1, 2)
				away := int64(3)
				if f.leader() == away {
					away = 2
				}
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

// A server whose tree differs from the leader's at the same zxid stops, and says
// so (P10). The others go on.
func TestDifferingTreeStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, nil)
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		wrong := f.leader()%3 + 1
		c := f.connect(f.leader())
		_, err := c.Create(t.Context(), "/a", []byte("x"), Persistent)
		require.NoError(t, err)
		synctest.Wait()
		s := f.servers[wrong]
		s.inbox.push(event{kind: eventCall, call: func() { s.digests[uint64(s.applied)%digestsKept].digest++ }})
		synctest.Wait()
		for range 3 {
			_, err = c.Set(t.Context(), "/a", []byte("y"), AnyVersion)
			require.NoError(t, err)
		}
		<-s.Done()
		require.ErrorContains(t, s.Err(), "differs from the leader's")
		_, err = c.Set(t.Context(), "/a", []byte("z"), AnyVersion)
		require.NoError(t, err)
		delete(f.servers, wrong) // its Close has said what it had to
		require.NoError(t, c.Close())
	})
}
