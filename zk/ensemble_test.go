package zk_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

func TestEnsembleStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for _, n := range []int{1, 3} {
			start := time.Now()
			e, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Servers: n})
			require.NoError(t, err)
			t.Log("started", n, time.Since(start))
			c, err := e.Connect(ctx)
			require.NoError(t, err)
			t.Log("connected", time.Since(start))
			path, err := c.Create(ctx, "/a", []byte("hello"), zk.Persistent)
			require.NoError(t, err)
			require.Equal(t, "/a", path)
			data, _, err := c.Get(ctx, "/a")
			require.NoError(t, err)
			require.Equal(t, "hello", string(data))
			t.Log("wrote", time.Since(start))
			require.NoError(t, c.Close())
			require.NoError(t, e.Close())
		}
	})
}
