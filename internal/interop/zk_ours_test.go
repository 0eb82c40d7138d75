package interop

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// startOurs starts an ensemble of ours: over TCP on loopback, or in memory.
func startOurs(t testing.TB, n int, memory bool) *target {
	t.Helper()
	cfg := zk.EnsembleConfig{Servers: n, Server: zk.Config{TickTime: 100 * time.Millisecond, FourLetterWords: []string{"*"}}}
	tg := &target{name: "ours in memory"}
	if !memory {
		tg.name = "ours over TCP"
		cfg.Network = &struct {
			net.Dialer
			net.ListenConfig
		}{}
	}
	ctx := testContext(t)
	ens, err := zk.StartEnsemble(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { ens.Close() })
	tg.servers = ens.Addrs()
	if memory {
		tg.network = ens.Network()
	}
	ids := slices.Sorted(slices.Values(ens.IDs()))
	tg.kill = func(i int) { require.NoError(t, ens.Kill(ids[i])) }
	tg.restart = func(t testing.TB, i int) {
		ctx := testContext(t)
		require.NoError(t, ens.Restart(ctx, ids[i]))
		require.NoError(t, ens.Server(ids[i]).Ready(ctx))
	}
	return tg
}
