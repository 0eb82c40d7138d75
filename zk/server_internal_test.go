package zk

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// alone starts a server that is its own ensemble, on a disk that do is asked about.
func alone(t *testing.T, cfg Config, disk *vfs.Mem, do func(vfs.Op) error) *Server {
	t.Helper()
	cfg.ID, cfg.Servers, cfg.Bootstrap = 1, []ServerSpec{{ID: 1, Peer: "127.0.0.1:1"}}, true
	cfg.FS, cfg.DataDir = vfs.Inject(disk, do), "zk-1"
	s, err := StartServer(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Ready(t.Context()))
	return s
}

func nothing(vfs.Op) error { return nil }

func pipeConn(t *testing.T, s *Server) *conn {
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return newConn(s, near, s.nextConn.Add(1))
}

func createTxn(path string) []byte {
	return tree.AppendTxn(nil, &tree.Txn{Kind: tree.KindOp, Features: tree.FeatureInternal, Op: jute.Op{
		Type: jute.OpCreate, Path: path, ACL: jute.OpenACL(),
	}})
}

// A session that ended between the leader's word and the registration of its
// connection is not served: endSession would not have found the connection, and
// its client would believe in ephemerals that are gone (P8).
func TestDeadSessionIsNotRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, Config{}, vfs.NewMem(), nothing)
		c := pipeConn(t, s)
		c.session = 4711
		require.False(t, s.register(c))
		create := tree.AppendTxn(nil, &tree.Txn{Kind: tree.KindCreateSession, Session: 4711, Timeout: 4000, Owner: 1})
		o, ok := s.ask(t.Context(), &submission{kind: workWrite, txn: create})
		require.True(t, ok)
		require.Equal(t, jute.CodeOK, o.code)
		require.True(t, s.register(c), "whoever has the outcome finds the session")
		require.NoError(t, s.Close())
	})
}

// What a closed connection's reader hands in late is not done: its client may
// have written more in the same session on another connection.
func TestLateWriteOfClosedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, Config{}, vfs.NewMem(), nothing)
		c := pipeConn(t, s)
		c.close(errSessionMoved)
		s.inbox.push(event{kind: eventSubmission, submission: &submission{kind: workWrite, txn: createTxn("/late"), conn: c, op: &operation{}}})
		o, ok := s.ask(t.Context(), &submission{kind: workWrite, txn: createTxn("/in-time")})
		require.True(t, ok)
		require.Equal(t, jute.CodeOK, o.code)
		late, _ := s.tree.Load().Lookup("/late")
		require.False(t, late.Exists())
		inTime, _ := s.tree.Load().Lookup("/in-time")
		require.True(t, inTime.Exists())
		require.NoError(t, s.Close())
	})
}

// A write that came to the disk of a killed server after it was cloned is not
// acknowledged: the clone, from which the server starts again, lacks it.
func TestKilledServerAcknowledgesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		var armed, killed atomic.Bool
		s := alone(t, Config{killed: &killed}, disk, func(op vfs.Op) error {
			if op.Kind == vfs.OpSync && armed.CompareAndSwap(true, false) {
				killed.Store(true)
				disk.CrashClone(rand.New(rand.NewPCG(1, 1)))
			}
			return nil
		})
		armed.Store(true)
		_, ok := s.ask(s.ctx, &submission{kind: workWrite, txn: createTxn("/x")})
		require.False(t, ok)
		<-s.Done()
		require.ErrorIs(t, s.Err(), errKilled)
	})
}

// A snapshot that cannot be begun lets go of the versions that it pinned, and
// the server goes on.
func TestFailedSnapshotIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("disk is full")
		var failed atomic.Int32
		s := alone(t, Config{}, vfs.NewMem(), func(op vfs.Op) error {
			if op.Kind == vfs.OpCreate && strings.Contains(op.Name, "snapshot.") {
				failed.Add(1)
				return full
			}
			return nil
		})
		handle := make(chan *snapshotHandle)
		s.inbox.push(event{kind: eventCall, call: func() {
			h := &snapshotHandle{snap: s.tree.Load().Snapshot()}
			s.snapshotting = true
			s.goroutines.Go(func() { s.saveSnapshot(h); handle <- h })
		}})
		h := <-handle
		require.EqualValues(t, 1, failed.Load())
		require.Panics(t, func() { h.append(nil, 1) }, "it is closed")
		_, ok := s.ask(t.Context(), &submission{kind: workWrite, txn: createTxn("/on")})
		require.True(t, ok)
		require.NoError(t, s.Close())
	})
}

// The bytes of writes make a snapshot due, not only their number: a restart
// reads what is above it into memory.
func TestSnapshotByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var saved atomic.Int32
		s := alone(t, Config{SnapBytes: 10_000}, vfs.NewMem(), func(op vfs.Op) error {
			if op.Kind == vfs.OpRename && strings.Contains(op.Name, "snapshot.") {
				saved.Add(1)
			}
			return nil
		})
		for i := range 4 {
			txn := tree.AppendTxn(nil, &tree.Txn{Kind: tree.KindSetProperty, Features: tree.FeatureInternal, Name: "p", Value: make([]byte, 4000+i)})
			_, ok := s.ask(t.Context(), &submission{kind: workWrite, txn: txn})
			require.True(t, ok)
		}
		time.Sleep(5 * time.Second)
		require.EqualValues(t, 1, saved.Load())
		require.NoError(t, s.Close())
	})
}

// A start that is given up leaves neither listeners nor a directory in which a
// new ensemble could not begin.
func TestStartGivenUpCanBeTriedAgain(t *testing.T) {
	disk := vfs.NewMem()
	network := &countingNetwork{}
	cfg := EnsembleConfig{Network: network, DataDir: "d", FS: vfs.Inject(disk, func(op vfs.Op) error {
		if network.fail.Load() && strings.Contains(op.Name, "zk-2/myid") {
			return errors.New("no")
		}
		return nil
	})}
	network.fail.Store(true)
	_, err := StartEnsemble(t.Context(), cfg)
	require.ErrorContains(t, err, "no")
	require.Zero(t, network.open.Load())
	network.fail.Store(false)
	e, err := StartEnsemble(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, e.Close())
	require.Zero(t, network.open.Load())
	require.ErrorIs(t, e.Restart(t.Context(), 1), ErrServerClosed)
	require.Zero(t, network.open.Load())
}

// countingNetwork is TCP that counts its open listeners.
type countingNetwork struct {
	tcp
	open atomic.Int32
	fail atomic.Bool
}

type countedListener struct {
	net.Listener
	network *countingNetwork
	closed  atomic.Bool
}

func (n *countingNetwork) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	l, err := n.tcp.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	n.open.Add(1)
	return &countedListener{Listener: l, network: n}, nil
}

func (l *countedListener) Close() error {
	if l.closed.CompareAndSwap(false, true) {
		l.network.open.Add(-1)
	}
	return l.Listener.Close()
}
