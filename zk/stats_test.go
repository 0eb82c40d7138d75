package zk_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// A server counts what clients ask of it and what it does for them.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := zk.StartEnsemble(t.Context(), zk.EnsembleConfig{})
		require.NoError(t, err)
		defer e.Close()
		s := e.Server(e.Leader())
		c, err := zk.Connect(t.Context(), zk.ClientConfig{Servers: e.Addrs()[s.ID()-1 : s.ID()], Network: e.Network()})
		require.NoError(t, err)
		before := s.Stats()
		const n = 20
		heard := make(chan struct{}, n)
		_, err = c.Create(t.Context(), "/a", []byte("x"), zk.Persistent)
		require.NoError(t, err)
		for range n {
			_, _, err := c.Get(t.Context(), "/a", zk.Watch(func(zk.Event) { heard <- struct{}{} }))
			require.NoError(t, err)
		}
		_, err = c.Set(t.Context(), "/a", []byte("y"), -1)
		require.NoError(t, err)
		time.Sleep(time.Second) // a tick
		synctest.Wait()
		require.Len(t, heard, n)
		after := s.Stats()
		require.GreaterOrEqual(t, after.PacketsReceived-before.PacketsReceived, int64(n+2))
		require.GreaterOrEqual(t, after.ReadLatency.Count-before.ReadLatency.Count, int64(n))
		require.Equal(t, 2, after.Learners)
		require.GreaterOrEqual(t, after.PacketsSent-before.PacketsSent, int64(n+3))
		require.Positive(t, after.BytesReceived)
		require.Equal(t, 1, after.Connections)
		require.Equal(t, before.WriteLatency.Count+2, after.WriteLatency.Count)
		require.Equal(t, int64(1), after.NodeChangedWatches.Sum)
		require.GreaterOrEqual(t, after.Commits-before.Commits, int64(2))
		require.GreaterOrEqual(t, after.Proposals-before.Proposals, int64(2))
		require.Positive(t, after.MinProposalBytes)
		require.GreaterOrEqual(t, after.MaxProposalBytes, after.MinProposalBytes)
		require.Positive(t, after.FsyncTime.Count)
		require.Positive(t, after.LeaderUptime)
		require.Equal(t, 3, after.QuorumSize)
		require.Equal(t, before.Znodes+1, after.Znodes)
		require.Positive(t, after.LastResponseBytes)

		s.ResetStats()
		reset := s.Stats()
		require.Less(t, reset.ReadLatency.Count, int64(n))
		require.Less(t, reset.PacketsReceived, int64(n))
		require.NoError(t, c.Close())
		synctest.Wait()
		require.Zero(t, s.Stats().Connections)
		require.Zero(t, s.Stats().ConnectionsDropped)
	})
}
