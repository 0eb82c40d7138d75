package zktest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

var errDisk = errors.New("disk error of a test")

// One server's disk fails at its n-th write, sync, truncation, rename, and so on.
// The server stops with that error; the others go on; it comes back on the disk
// that it has, with everything acknowledged (Z10, Z16).
func TestDiskErrorsOfRunningServer(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpTruncate, vfs.OpRename, vfs.OpRemove, vfs.OpSyncDir} {
		t.Run(kind.String(), func(t *testing.T) {
			stopped := 0
			for nth := range int32(6) {
				for id := int64(1); id <= 3; id++ {
					synctest.Test(t, func(t *testing.T) {
						if diskError(t, kind, nth, id) {
							stopped++
						}
					})
				}
			}
			t.Log("servers stopped:", stopped)
			if kind == vfs.OpWrite || kind == vfs.OpSync || kind == vfs.OpRename {
				require.NotZero(t, stopped)
			}
		})
	}
}

func diskError(t *testing.T, kind vfs.OpKind, nth int32, id int64) (stopped bool) {
	var armed atomic.Bool
	var seen atomic.Int32
	disk := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if armed.Load() && op.Kind == kind && strings.Contains(op.Name, zktest.Host(id)+"/") && seen.Add(1) > nth {
			return errDisk // from now on, as a full or broken disk
		}
		return nil
	})
	e := zktest.Start(t, zk.EnsembleConfig{DataDir: "d", FS: disk, Server: zk.Config{SnapCount: 20}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c := e.Connect()
	_, err := c.Create(ctx, "/n", nil, zk.Persistent)
	require.NoError(t, err)
	armed.Store(true)
	const writes = 60
	acked := int32(0)
	for i := range writes {
		if leader := e.Leader(); i == writes/2 { // an election, so epochs are written
			for _, other := range e.IDs() {
				e.Memory.Reset(zktest.Host(leader), zktest.Host(other))
			}
		}
		_, err := c.Set(ctx, "/n", nil, zk.AnyVersion)
		if err == nil {
			acked++
		} else {
			require.ErrorIs(t, err, zk.ErrConnectionLoss)
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(time.Second)
	armed.Store(false)
	if err := e.Server(id).Err(); err != nil {
		stopped = true
		require.ErrorIs(t, err, errDisk)
		require.NotEqual(t, id, e.WaitLeader())
		e.Restart(id)
	}
	for _, id := range e.IDs() {
		require.NoError(t, e.Server(id).Err())
		d := e.ConnectTo(id)
		require.NoError(t, d.Sync(ctx, "/"))
		stat, err := d.Exists(ctx, "/n")
		require.NoError(t, err)
		require.GreaterOrEqual(t, stat.Version, acked)
		require.LessOrEqual(t, stat.Version, int32(writes))
		require.NoError(t, d.Close())
	}
	require.NoError(t, c.Close())
	_ = e.Close() // a server that failed does not close well
	return stopped
}

// A history larger than the limit of a peer's queue is sent to a server that
// lacks it, though all else is lost: not cut off for ever for being too long.
func TestLongHistoryOfLargeWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{PeerQueueBytesMax: 8 << 20}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		lacks := e.IDs()[0]
		if lacks == e.Leader() {
			lacks = e.IDs()[1]
		}
		e.Kill(lacks)
		c := e.Connect()
		const writes = 26
		data := bytes.Repeat([]byte("x"), 1_000_000)
		_, err := c.Create(ctx, "/n", nil, zk.Persistent)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range writes { // more than is let in flight
			wg.Go(func() {
				if _, err := c.Set(ctx, "/n", data, zk.AnyVersion); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		has := e.Leader()
		for _, id := range e.IDs() {
			if id != lacks {
				e.Kill(id)
			}
		}
		_ = c.Close()                                                            // nobody is there to hear it
		e.Memory.Delay(zktest.Host(has), zktest.Host(lacks), 5*time.Millisecond) // the queue fills faster than it drains
		short, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		require.ErrorIs(t, e.Ensemble.Restart(short, has), context.DeadlineExceeded)
		e.Restart(lacks)
		d := e.ConnectTo(lacks)
		require.NoError(t, d.Sync(ctx, "/"))
		got, stat, err := d.Get(ctx, "/n")
		require.NoError(t, err)
		require.Equal(t, len(data), len(got))
		require.EqualValues(t, writes, stat.Version)
		require.NoError(t, d.Close())
		require.NoError(t, e.Close())
	})
}

// Two clients on different servers watch what others write concurrently. Each
// sees, by the time it hears of a change, that change or a later one, never
// hears of the same change twice, and the versions that it reads never go back.
func TestWatchOrderOfTwoClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		setup := e.Connect()
		const nodes, writes = 3, 200
		for i := range nodes {
			_, err := setup.Create(ctx, fmt.Sprintf("/n%d", i), nil, zk.Persistent)
			require.NoError(t, err)
		}
		watchers := []*follower{{t: t, c: e.ConnectTo(1)}, {t: t, c: e.ConnectTo(2)}}
		for _, w := range watchers {
			require.NoError(t, w.c.AddWatch(ctx, "/", zk.WatchRecursive, w.hear))
		}
		var wg sync.WaitGroup
		clients := []*zk.Client{setup}
		for i := range nodes {
			c := e.ConnectTo(int64(i + 1))
			clients = append(clients, c)
			wg.Go(func() {
				for range writes {
					if _, err := c.Set(ctx, fmt.Sprintf("/n%d", i), nil, zk.AnyVersion); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for _, w := range watchers {
			wg.Go(func() { w.read(ctx, nodes, writes) })
		}
		wg.Wait()
		for _, w := range watchers {
			require.NoError(t, w.c.Sync(ctx, "/"))
			synctest.Wait()
			require.Len(t, w.heard(), nodes*writes)
			require.NoError(t, w.c.Close())
		}
		require.Equal(t, watchers[0].heard(), watchers[1].heard(), "both hear the same, in the same order")
		for _, c := range clients {
			require.NoError(t, c.Close())
		}
		require.NoError(t, e.Close())
	})
}

// follower is a client that hears of every change and reads meanwhile.
type follower struct {
	t  *testing.T
	c  *zk.Client
	mu sync.Mutex
	// zxids of the events, in their order
	zxids []int64
}

func (f *follower) hear(ev zk.Event) {
	if ev.Type != zk.EventDataChanged {
		return // of the session
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.zxids); n > 0 && ev.Zxid <= f.zxids[n-1] {
		f.t.Errorf("event %x after %x", ev.Zxid, f.zxids[n-1])
	}
	f.zxids = append(f.zxids, ev.Zxid)
}

func (f *follower) heard() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.zxids
}

// read reads until every znode has its last version. What a read shows has been
// heard of before.
func (f *follower) read(ctx context.Context, nodes, writes int) {
	last := make([]int64, nodes)
	for done := 0; done < nodes; {
		done = 0
		for i := range nodes {
			stat, err := f.c.Exists(ctx, fmt.Sprintf("/n%d", i))
			if err != nil {
				f.t.Error(err)
				return
			}
			heard := f.heard()
			if stat.Version > 0 && (len(heard) == 0 || heard[len(heard)-1] < stat.Mzxid) {
				f.t.Errorf("read of %x before the event", stat.Mzxid)
			}
			if stat.Mzxid < last[i] {
				f.t.Errorf("read %x after %x", stat.Mzxid, last[i])
			}
			last[i] = stat.Mzxid
			if int(stat.Version) == writes {
				done++
			}
		}
	}
}
