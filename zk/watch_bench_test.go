package zk_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// BenchmarkFanOut sets a znode that so many sessions watch for good, and waits
// until the last of them was told.
func BenchmarkFanOut(b *testing.B) {
	for _, servers := range []int{1, 3} {
		b.Run(strconv.Itoa(servers), func(b *testing.B) { fanOut(b, servers, 1000) })
	}
}

func fanOut(b *testing.B, servers, watchers int) {
	e, err := zk.StartEnsemble(b.Context(), zk.EnsembleConfig{Servers: servers})
	require.NoError(b, err)
	c, err := e.Connect(b.Context())
	require.NoError(b, err)
	_, err = c.Create(b.Context(), "/watched", nil, zk.Persistent)
	require.NoError(b, err)
	var told sync.WaitGroup
	var clients []*zk.Client
	for i := range watchers {
		w, err := zk.Connect(b.Context(), zk.ClientConfig{Servers: e.Addrs()[i%servers:][:1], Network: e.Network()})
		require.NoError(b, err)
		require.NoError(b, w.AddWatch(b.Context(), "/watched", zk.WatchPersistent, func(ev zk.Event) {
			if ev.Type == zk.EventDataChanged {
				told.Done()
			}
		}))
		clients = append(clients, w)
	}
	for b.Loop() {
		told.Add(watchers)
		_, err := c.Set(b.Context(), "/watched", nil, zk.AnyVersion)
		require.NoError(b, err)
		told.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(watchers), "ns/session")
	for _, w := range clients {
		require.NoError(b, w.Close())
	}
	require.NoError(b, c.Close())
	require.NoError(b, e.Close())
}
