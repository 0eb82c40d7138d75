package zk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// Writers count up while every server in turn is killed and comes back: what
// was acknowledged is there at the end, on every server, once.
func TestKillEachServerInTurn(t *testing.T) {
	for name, network := range map[string]zk.Network{"Memory": nil, "TCP": &struct {
		net.Dialer
		net.ListenConfig
	}{}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			e, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Network: network, Seed: 1})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			const writers = 4
			stop := make(chan struct{})
			acked := make([][]string, writers)
			var wg sync.WaitGroup
			patient := e.ClientConfig()
			patient.SessionTimeout = 40 * time.Second // this is not about sessions
			c, err := zk.Connect(ctx, patient)
			require.NoError(t, err)
			_, err = c.Create(ctx, "/w", nil, zk.Persistent)
			require.NoError(t, err)
			for w := range writers {
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						path := fmt.Sprintf("/w/%d-%d", w, i)
						_, err := c.Create(ctx, path, []byte(strconv.Itoa(i)), zk.Persistent)
						switch {
						case err == nil:
							acked[w] = append(acked[w], path)
						case errors.Is(err, zk.ErrConnectionLoss):
						default:
							t.Errorf("create %s: %v", path, err)
							return
						}
					}
				})
			}
			before := func() int64 { st, err := c.Exists(ctx, "/w"); require.NoError(t, err); return int64(st.Cversion) }
			for range 2 {
				for _, id := range e.IDs() {
					n := before()
					start := time.Now()
					leader := e.Leader() == id
					require.NoError(t, e.Kill(id))
					for before() < n+20 {
						require.NoError(t, ctx.Err())
					}
					t.Log("killed", id, "leader", leader, "20 writes after", time.Since(start))
					start = time.Now()
					require.NoError(t, e.Restart(ctx, id))
					t.Log("restarted", time.Since(start))
				}
			}
			close(stop)
			wg.Wait()
			require.NoError(t, c.Close())
			total := 0
			for _, id := range e.IDs() {
				cfg := e.ClientConfig()
				cfg.Servers = []string{e.Addrs()[id-1]}
				one, err := zk.Connect(ctx, cfg)
				require.NoError(t, err)
				require.NoError(t, one.Sync(ctx, "/"))
				names, _, err := one.Children(ctx, "/w")
				require.NoError(t, err)
				have := make(map[string]bool)
				for _, n := range names {
					have["/w/"+n] = true
				}
				total = len(names)
				for w := range writers {
					require.NotEmpty(t, acked[w])
					for _, p := range acked[w] {
						require.True(t, have[p], "server %d lost %s", id, p)
					}
				}
				require.NoError(t, one.Close())
			}
			t.Log("znodes", total)
		})
	}
}
