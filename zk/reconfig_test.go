package zk

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// flock is servers that are started one by one, each on its host of one memory
// network.
type flock struct {
	t       *testing.T
	memory  *MemoryNetwork
	disks   map[int64]*vfs.Mem
	servers map[int64]*Server
	edit    func(*Config)
}

func newFlock(t *testing.T, edit func(*Config)) *flock {
	f := &flock{t: t, memory: NewMemoryNetwork(), disks: make(map[int64]*vfs.Mem), servers: make(map[int64]*Server), edit: edit}
	t.Cleanup(f.close)
	return f
}

func flockSpec(id int64) ServerSpec {
	return ServerSpec{
		ID: id, Peer: fmt.Sprintf("zk-%d:2888", id), Election: fmt.Sprintf("zk-%d:3888", id), Client: fmt.Sprintf("zk-%d:2181", id),
	}
}

func specs(ids ...int64) (list []ServerSpec) {
	for _, id := range ids {
		list = append(list, flockSpec(id))
	}
	return list
}

// start starts a server that knows of servers. With bootstrap the ensemble is new.
func (f *flock) start(id int64, bootstrap bool, servers ...ServerSpec) *Server {
	f.t.Helper()
	if f.disks[id] == nil {
		f.disks[id] = vfs.NewMem()
	}
	host := f.memory.Host(fmt.Sprintf("zk-%d", id))
	cfg := Config{
		ID: id, Servers: servers, Peers: host, Clients: []Endpoint{{Network: host, Address: fmt.Sprintf("zk-%d:2181", id)}},
		FS: f.disks[id], DataDir: "data", Bootstrap: bootstrap, TickTime: ensembleTickTime, SyncLimit: ensembleSyncLimit,
		ReconfigEnabled: true, SkipACL: true,
	}
	if f.edit != nil {
		f.edit(&cfg)
	}
	s, err := StartServer(f.t.Context(), cfg)
	require.NoError(f.t, err)
	f.servers[id] = s
	return s
}

func (f *flock) ready(ids ...int64) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	for _, id := range ids {
		require.NoError(f.t, f.servers[id].Ready(ctx), "server %d: %+v", id, f.servers[id].Status())
	}
}

func (f *flock) connect(ids ...int64) *Client {
	f.t.Helper()
	var addresses []string
	for _, id := range ids {
		addresses = append(addresses, fmt.Sprintf("zk-%d:2181", id))
	}
	c, err := Connect(f.t.Context(), ClientConfig{Servers: addresses, Network: f.memory})
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = c.Close() }) // closed already, or the test failed
	return c
}

func (f *flock) close() {
	for _, s := range f.servers {
		require.NoError(f.t, s.Close())
	}
}

func (f *flock) leader() int64 {
	for id, s := range f.servers {
		if st := s.Status(); s.Err() == nil && st.Leader == id {
			return id
		}
	}
	return 0
}

// An ensemble of one grows to three, then moves to three others, while a client
// writes all the time; then all are stopped, and the last three start again.
func TestGrowAndMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, nil)
		f.start(1, true, specs(1)...)
		f.ready(1)
		c := f.connect(1, 2, 3, 4, 5, 6)
		var written atomic.Int64
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			w := f.connect(1, 2, 3, 4, 5, 6)
			defer func() { require.NoError(t, w.Close()) }()
			for ctx.Err() == nil {
				name := "/w-" + strconv.FormatInt(written.Load(), 10)
				for lost := true; lost; { // a server that stops may have it, and not have said so
					_, err := w.Create(t.Context(), name, nil, Persistent)
					if lost = errors.Is(err, ErrConnectionLoss); !lost && !errors.Is(err, ErrNodeExists) {
						require.NoError(t, err)
					}
				}
				written.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
		f.start(2, false, specs(1, 2)...)
		f.start(3, false, specs(1, 2, 3)...)
		f.ready(2, 3)
		require.Equal(t, "observer", f.servers[3].Status().State)
		m, st, err := c.Config(t.Context())
		require.NoError(t, err)
		require.Len(t, m.Servers, 1)
		require.Equal(t, m.Version, st.Mzxid)
		require.Equal(t, int32(-1), st.Version)

		next, _, err := c.Reconfig(t.Context(), Reconfiguration{Joining: specs(2, 3), Version: m.Version})
		require.NoError(t, err)
		require.Equal(t, specs(1, 2, 3), next.Servers)
		_, _, err = c.Reconfig(t.Context(), Reconfiguration{Leaving: []int64{3}, Version: m.Version})
		require.ErrorIs(t, err, ErrBadVersion)

		require.NoError(t, f.servers[1].Close(), "two of three go on")
		f.ready(2, 3)
		f.start(1, false, specs(1, 2, 3)...)
		f.ready(1)
		for id := int64(4); id <= 6; id++ {
			f.start(id, false, specs(1, 2, 3, id)...)
		}
		f.ready(4, 5, 6)
		next, _, err = c.Reconfig(t.Context(), Reconfiguration{Members: specs(4, 5, 6), Version: -1})
		require.NoError(t, err)
		require.Equal(t, specs(4, 5, 6), next.Servers)
		for id := int64(1); id <= 3; id++ {
			require.NoError(t, f.servers[id].Close())
		}
		f.ready(4, 5, 6)
		before := written.Load()
		time.Sleep(time.Second)
		require.Greater(t, written.Load(), before)
		stop()
		wg.Wait()

		for id := int64(4); id <= 6; id++ {
			require.NoError(t, f.servers[id].Close())
		}
		for id := int64(4); id <= 6; id++ {
			f.start(id, false, specs(1, 2, 3, id)...)
		}
		f.ready(4, 5, 6)
		names, _, err := c.Children(t.Context(), "/")
		require.NoError(t, err)
		require.Len(t, names, int(written.Load())+1, "and /zookeeper")
		require.Equal(t, specs(4, 5, 6), f.servers[5].Membership().Servers)
		require.NoError(t, c.Close())
	})
}

// What a reconfiguration is refused for, in ZooKeeper's order.
func TestReconfigRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, func(c *Config) { c.SkipACL = false })
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		c := f.connect(1)
		for _, r := range []struct {
			change Reconfiguration
			want   error
		}{
			{Reconfiguration{Joining: specs(4), Version: 7}, ErrBadVersion},
			{Reconfiguration{Joining: []ServerSpec{{ID: 4, Peer: "zk-4:2888"}}, Version: -1}, ErrBadArguments},
			{Reconfiguration{Joining: []ServerSpec{{ID: 4, Peer: "zk-1:2888", Client: "zk-4:1"}}, Version: -1}, ErrBadArguments},
			{Reconfiguration{Leaving: []int64{1, 2, 3}, Version: -1}, ErrBadArguments},
			{Reconfiguration{Members: specs(4, 5, 6), Version: -1}, ErrNewConfigNoQuorum},
			{Reconfiguration{Leaving: []int64{3}, Version: -1}, ErrNoAuth},
		} {
			_, _, err := c.Reconfig(t.Context(), r.change)
			require.ErrorIs(t, err, r.want, "%+v", r.change)
		}
		require.NoError(t, c.Close())
	})
}

func TestReconfigDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, func(c *Config) { c.ReconfigEnabled = false })
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		c := f.connect(2)
		_, _, err := c.Reconfig(t.Context(), Reconfiguration{Leaving: []int64{3}, Version: -1})
		require.ErrorIs(t, err, ErrReconfigDisabled)
		require.NoError(t, c.Sync(t.Context(), "/"))
		m, _, err := c.Config(t.Context())
		require.NoError(t, err)
		require.Equal(t, specs(1, 2, 3), m.Servers)
		require.NoError(t, c.Close())
	})
}

// An ensemble whose servers were started without Bootstrap waits; started with it
// after that, it is a new one all the same.
func TestBootstrapLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, nil)
		for _, bootstrap := range []bool{false, true} {
			for id := int64(1); id <= 3; id++ {
				f.start(id, bootstrap, specs(1, 2, 3)...)
			}
			if bootstrap {
				f.ready(1, 2, 3)
				continue
			}
			time.Sleep(time.Minute)
			for id := int64(1); id <= 3; id++ {
				require.ErrorIs(t, f.servers[id].Health(), ErrNotServing)
				require.NoError(t, f.servers[id].Close())
			}
		}
	})
}

// Observers serve clients, are no part of a quorum, and are never elected.
func TestObservers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, func(c *Config) { c.ReconfigEnabled = false })
		list := specs(1, 2, 3, 4, 5)
		list[3].Observer, list[4].Observer = true, true
		for id := int64(1); id <= 5; id++ {
			f.start(id, true, list...)
		}
		f.ready(1, 2, 3, 4, 5)
		require.Equal(t, "observer", f.servers[5].Status().State)
		c := f.connect(5)
		_, err := c.Create(t.Context(), "/a", nil, Ephemeral)
		require.NoError(t, err)
		leader := f.leader()
		require.LessOrEqual(t, leader, int64(3))
		admin := func(s *Server) string {
			w := httptest.NewRecorder()
			s.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/commands/observers", nil))
			return w.Body.String()
		}
		time.Sleep(time.Second) // who is synchronized is counted each tick
		st := f.servers[leader].Stats()
		require.Equal(t, []int{4, 2, 2}, []int{st.Learners, st.SyncedFollowers, st.SyncedObservers})
		require.GreaterOrEqual(t, st.DiffsSent+st.SnapshotsSent, int64(4))
		require.Positive(t, st.LeaderElectionTime.Count)
		require.Positive(t, f.servers[5].Stats().LearnerCommits)
		require.Regexp(t, `"sid" : 4,(?s:.*)"sid" : 5,`, admin(f.servers[leader]))
		require.Contains(t, admin(f.servers[5]), `"observers" : [ ]`)
		require.NoError(t, f.servers[leader].Close())
		_, err = c.Create(t.Context(), "/b", nil, Ephemeral)
		require.NoError(t, err, "two of three voters are a quorum")
		require.NoError(t, f.servers[f.leader()].Close())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err = c.Create(ctx, "/c", nil, Persistent)
		require.Error(t, err, "one voter and two observers are none")
		cancel()
	})
}

// Two groups of three, of which one member each weighs nothing: a quorum takes
// both members with weight of both groups.
func TestGroupsAndWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, nil)
		list := specs(1, 2, 3, 4, 5, 6)
		for i := range list {
			list[i].Group, list[i].Weight = int64(1+i/3), 1
		}
		list[2].Weight, list[5].Weight = 0, 0
		for id := int64(1); id <= 6; id++ {
			f.start(id, true, list...)
		}
		f.ready(1, 2, 3, 4, 5, 6)
		require.NotContains(t, []int64{3, 6}, f.leader(), "no weight, no election")
		c := f.connect(3)
		m, _, err := c.Config(t.Context())
		require.NoError(t, err)
		require.Equal(t, list, m.Servers)
		require.NoError(t, f.servers[6].Close())
		_, err = c.Create(t.Context(), "/a", nil, Persistent)
		require.NoError(t, err)
		require.NoError(t, f.servers[1].Close())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err = c.Create(ctx, "/b", nil, Persistent)
		require.Error(t, err)
		cancel()
	})
}
