package zk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// cutNetwork ends the next connection that is dialled to an address after so many bytes.
type cutNetwork struct {
	Network
	to   string
	left atomic.Int64 // negative: no cut
	used atomic.Bool
	cut  atomic.Bool
}

type cutConn struct {
	net.Conn
	left int64
	cut  *atomic.Bool
}

func (n *cutNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := n.Network.DialContext(ctx, network, address)
	if left := n.left.Load(); err == nil && address == n.to && left >= 0 {
		n.left.Store(-1)
		n.used.Store(true)
		return &cutConn{Conn: c, left: left, cut: &n.cut}, nil
	}
	return c, err
}

var errCut = errors.New("cut by a test")

func (c *cutConn) Write(b []byte) (int, error) {
	if int64(len(b)) < c.left {
		c.left -= int64(len(b))
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:c.left])
	c.left = 0
	c.cut.Store(true)
	_ = c.Conn.Close()
	return n, errCut
}

// A server that gets a snapshot, and whose leader's connection ends at any byte
// of the hello, the handshake or the snapshot, synchronizes all the same.
func TestSnapshotCutAtEachByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemoryNetwork()
		specs := []ServerSpec{{ID: 1, Peer: "a:1"}, {ID: 2, Peer: "b:1"}, {ID: 3, Peer: "c:1"}}
		leader := &cutNetwork{Network: memory, to: "c:1"}
		leader.left.Store(-1)
		config := func(id int64, n Network, disk vfs.FS) Config {
			return Config{
				ID: id, Servers: specs, Peers: n, FS: disk, DataDir: "d", Bootstrap: true, SnapCount: 30,
				PeerQueueBytesMax: 8 * 8192, FrameBytesMax: 8192, TickTime: 50 * time.Millisecond, SyncLimit: 10,
			}
		}
		var servers []*Server
		for id, n := range []Network{memory, leader} {
			s, err := StartServer(t.Context(), config(int64(id+1), n, vfs.NewMem()))
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			servers = append(servers, s)
		}
		require.NoError(t, servers[1].Ready(t.Context()))
		require.Equal(t, "leader", servers[1].Status().State)
		for i := range 40 { // more than the history in memory holds
			txn := tree.AppendTxn(nil, &tree.Txn{
				Kind: tree.KindSetProperty, Features: tree.FeatureInternal, Name: fmt.Sprintf("p%d", i%20), Value: make([]byte, 40),
			})
			o, ok := servers[1].ask(t.Context(), &submission{kind: workWrite, txn: txn})
			require.True(t, ok)
			require.Equal(t, jute.CodeOK, o.code)
		}
		time.Sleep(5 * time.Second)
		cuts, step := 0, int64(1)
		if testing.Short() {
			step = 13
		}
		for cut := int64(0); ; cut += step {
			leader.left.Store(cut)
			leader.used.Store(false)
			leader.cut.Store(false)
			time.Sleep(time.Second) // the leader dials in vain
			s, err := StartServer(t.Context(), config(3, memory, vfs.NewMem()))
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			require.NoError(t, s.Ready(ctx), "cut after %d bytes", cut)
			cancel()
			synctest.Wait()
			require.Equal(t, servers[1].Status().Zxid, s.Status().Zxid)
			require.True(t, leader.used.Load())
			require.NoError(t, s.Close())
			cuts++
			if !leader.cut.Load() {
				break // it all went through
			}
		}
		t.Log("cuts:", cuts)
	})
}

// A connection to the peer port that ends within the hello, or says something
// else, is nobody's.
func TestHelloCutAtEachByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := StartEnsemble(t.Context(), EnsembleConfig{})
		require.NoError(t, err)
		memory := e.Network().(*MemoryNetwork)
		term := e.Server(1).Status().Epoch
		hello := (&peerHello{from: 2, to: 1, address: "zk-2:2888"}).append(nil)
		for cut := range hello {
			for _, wrong := range []bool{false, true} {
				c, err := memory.DialContext(t.Context(), "tcp", "zk-1:2888")
				require.NoError(t, err)
				b := append([]byte(nil), hello[:cut]...)
				if wrong && cut >= 22 {
					continue // the nonce, and an address that nobody asks a member for
				}
				if wrong {
					b = append([]byte(nil), hello...)
					b[cut] ^= 0x40
				}
				_, err = c.Write(b)
				require.NoError(t, err)
				synctest.Wait()
				require.NoError(t, c.Close())
			}
		}
		synctest.Wait()
		require.Equal(t, term, e.Server(1).Status().Epoch, "no election")
		require.NoError(t, e.Close())
	})
}

// Clients that come, write, watch and go in numbers leave nothing behind (P16).
func TestFloodLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := StartEnsemble(t.Context(), EnsembleConfig{Server: Config{SnapCount: 500}})
		require.NoError(t, err)
		s := e.Server(e.Leader())
		settle := func() {
			time.Sleep(10 * time.Second) // a tick and a deadline
			synctest.Wait()
		}
		settle()
		goroutines := runtime.NumGoroutine()
		var used [3]uint64
		for round := range used {
			var wg sync.WaitGroup
			for range 15 {
				wg.Go(func() { flood(t, e) })
			}
			wg.Wait()
			settle()
			require.Equal(t, goroutines, runtime.NumGoroutine())
			require.Zero(t, s.door.count())
			require.Empty(t, s.outstanding.places)
			s.pub.RLock()
			require.Empty(t, s.clients)
			require.Empty(t, s.bySession)
			require.Zero(t, s.watches.Stats())
			s.pub.RUnlock()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			used[round] = m.HeapAlloc
		}
		require.Less(t, used[2], used[1]+24<<20) // history and disk are in memory
		require.NoError(t, e.Close())
	})
}

func flood(t *testing.T, e *Ensemble) {
	c, err := e.Connect(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	for i := range 20 {
		_, err := c.Create(t.Context(), fmt.Sprintf("/f-%d-", i), make([]byte, 500), EphemeralSequential)
		if err == nil {
			_, err = c.Exists(t.Context(), fmt.Sprintf("/%d", i), Watch(func(Event) {}))
		}
		if err != nil && !errors.Is(err, ErrNoNode) {
			t.Error(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
