package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raftCluster is three members of hashicorp/raft in this process, everything in
// memory, over a map. It has no sessions, no protocol and no versions.
type raftCluster struct {
	members    []*raft.Raft // nil: killed
	dead       []raft.Future
	transports []*raft.InmemTransport
	maps       []*raftMap
}

// raftMap is the state machine.
type raftMap struct {
	mu sync.RWMutex
	m  map[string][]byte
}

// Apply takes a path, a zero and the data.
func (m *raftMap) Apply(l *raft.Log) any {
	path, data, _ := bytes.Cut(l.Data, []byte{0})
	m.mu.Lock()
	m.m[string(path)] = data
	m.mu.Unlock()
	return nil
}

func (m *raftMap) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots") }
func (m *raftMap) Restore(r io.ReadCloser) error       { return r.Close() }

// startRaft starts clusters; impatient ones have timeouts of 100 ms.
func startRaft(impatient bool) func(context.Context, *Env) (coordinator, error) {
	return func(ctx context.Context, _ *Env) (coordinator, error) {
		c := &raftCluster{}
		var servers []raft.Server
		for i := range 3 {
			addr, t := raft.NewInmemTransport(raft.ServerAddress(fmt.Sprint("member-", i)))
			servers = append(servers, raft.Server{ID: raft.ServerID(addr), Address: addr})
			for _, other := range c.transports {
				t.Connect(other.LocalAddr(), other)
				other.Connect(addr, t)
			}
			c.transports = append(c.transports, t)
			c.maps = append(c.maps, &raftMap{m: make(map[string][]byte)})
		}
		for i := range 3 {
			conf := raft.DefaultConfig()
			conf.LocalID, conf.LogOutput, conf.SnapshotThreshold = servers[i].ID, io.Discard, 1<<40
			if impatient {
				conf.HeartbeatTimeout, conf.ElectionTimeout = 100*time.Millisecond, 100*time.Millisecond
				conf.LeaderLeaseTimeout, conf.CommitTimeout = 50*time.Millisecond, 5*time.Millisecond
			}
			store, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
			err := raft.BootstrapCluster(conf, store, store, snaps, c.transports[i], raft.Configuration{Servers: servers})
			if err == nil {
				var r *raft.Raft
				r, err = raft.NewRaft(conf, c.maps[i], store, store, snaps, c.transports[i])
				c.members = append(c.members, r)
			}
			if err != nil {
				return nil, errors.Join(err, c.Close())
			}
		}
		if err := c.apply(ctx, "/", nil); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}
}

func (c *raftCluster) leader() int {
	for i, r := range c.members {
		if r != nil && r.State() == raft.Leader {
			return i
		}
	}
	return 0
}

func (c *raftCluster) Close() error {
	var errs []error
	for _, r := range c.members {
		if r != nil {
			errs = append(errs, r.Shutdown().Error())
		}
	}
	for _, d := range c.dead {
		errs = append(errs, d.Error())
	}
	return errors.Join(errs...)
}

// apply tries again when there is no leader, as a client would: a leader that
// was starved of the processor steps down.
func (c *raftCluster) apply(ctx context.Context, path string, data []byte) error {
	command := append(append([]byte(path), 0), data...)
	return c.retry(ctx, func(r *raft.Raft) error { return r.Apply(command, time.Second).Error() })
}

func (c *raftCluster) retry(ctx context.Context, fn func(*raft.Raft) error) error {
	return await(ctx, func() error {
		if r := c.members[c.leader()]; r != nil {
			return fn(r)
		}
		return errors.New("no leader")
	})
}

func (c *raftCluster) connect(_ context.Context, i int) (session, error) {
	return &raftSession{c, c.maps[i%len(c.maps)]}, nil
}

// raftSession calls the leader and reads a member's map.
type raftSession struct {
	c *raftCluster
	m *raftMap
}

func (s *raftSession) create(ctx context.Context, path string, data []byte) error {
	return s.set(ctx, path, data)
}

func (s *raftSession) set(ctx context.Context, path string, data []byte) error {
	return s.c.apply(ctx, path, data)
}

func (s *raftSession) get(_ context.Context, path string) error { return s.m.get(path) }

// read asks the leader's peers whether it still leads, and then its map.
func (s *raftSession) read(ctx context.Context, path string) error {
	return s.c.retry(ctx, func(r *raft.Raft) error {
		if err := r.VerifyLeader().Error(); err != nil {
			return err
		}
		return s.c.maps[s.c.leader()].get(path)
	})
}

func (m *raftMap) get(path string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, ok := m.m[path]; !ok {
		return errors.New("no such key")
	}
	return nil
}

func (s *raftSession) Close() error { return nil }
