package zk

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// What nobody has configured is what RELIABILITY promises (its table of defaults).
func TestDefaultsAreTheSafeOnes(t *testing.T) {
	cfg, err := Config{ID: 1, Servers: []ServerSpec{{ID: 1, Peer: "127.0.0.1:1"}}, Clients: []Endpoint{{Address: "[::1]:0"}}}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, 1_048_575, cfg.FrameBytesMax)
	require.Equal(t, 64<<10, helloFrameBytesMax)
	require.Equal(t, 60, cfg.ClientCnxnsMax)
	require.Equal(t, 10*time.Second, helloTimeout)
	require.Equal(t, 1000, cfg.OutstandingMax)
	require.Equal(t, 64<<20, cfg.OutstandingBytesMax)
	require.Equal(t, 256<<20, cfg.OutputBytesTotalMax)
	require.Equal(t, 250*time.Millisecond, authRefusedPause)
	require.Positive(t, cfg.SessionRateMax)
	require.Empty(t, cfg.SuperDigest)
	require.False(t, cfg.SkipACL || cfg.AllowInsecure || cfg.ReconfigEnabled)
	s := newServer(cfg)
	for _, name := range fourLetterNames {
		require.Equal(t, name == "srvr" || name == "ruok", s.wordAllowed(name), name)
	}
	for _, address := range []string{"0.0.0.0:2181", "[::]:2181", ":2181", "10.0.0.1:2181"} {
		cfg.Clients = []Endpoint{{Address: address}}
		_, err := cfg.withDefaults()
		require.ErrorIs(t, err, errExposed, address)
	}
}

// emptyHanded is memory whose listener has no descriptors for the first connections.
type emptyHanded struct {
	*MemoryNetwork
	left *atomic.Int32
}

type emptyHandedListener struct {
	net.Listener
	left *atomic.Int32
}

func (n emptyHanded) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	l, err := n.MemoryNetwork.Listen(ctx, network, address)
	return emptyHandedListener{l, n.left}, err
}

func (l emptyHandedListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

// A listener that cannot accept is tried again at intervals, not in a circle,
// and serves when it can (S8).
func TestAcceptBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tries = 20
		var left atomic.Int32
		left.Store(tries)
		m := NewMemoryNetwork()
		start := time.Now()
		s := alone(t, Config{Clients: []Endpoint{{Network: emptyHanded{m, &left}, Address: "c:2181"}}}, vfs.NewMem(), nothing)
		c := speak(t, m, "c")
		require.NotZero(t, c.hello(0, make([]byte, 16)).SessionID)
		require.Equal(t, tries*acceptBackoff, time.Since(start))
		require.NoError(t, c.Close())
		left.Store(1 << 20)
		require.NotNil(t, speak(t, m, "c").hello(0, make([]byte, 16)), "the one that is being accepted")
		synctest.Wait()
		start = time.Now()
		require.NoError(t, s.Close())
		require.Zero(t, time.Since(start), "a pause ends with the server")
	})
}
