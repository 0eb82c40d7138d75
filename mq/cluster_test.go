package mq

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testLogger() *slog.Logger {
	if os.Getenv("MQ_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestClusterStarts(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	c, err := StartCluster(ctx, ClusterConfig{Logger: testLogger()})
	require.NoError(t, err)
	t.Logf("started in %v", time.Since(began))
	require.Equal(t, []string{"mq-1:9092", "mq-2:9092", "mq-3:9092"}, c.Addrs())
	require.Contains(t, c.IDs(), c.Controller())
	require.NoError(t, c.Shutdown(ctx))
	require.NoError(t, c.Close())
}
