package zk

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSummary(t *testing.T) {
	for v := range uint64(1 << 16) {
		i := bucketOf(v)
		least := bucketLeast(i)
		require.LessOrEqual(t, least, int64(v))
		require.Greater(t, bucketLeast(i+1), int64(v))
		require.GreaterOrEqual(t, least*9/8+1, int64(v))
	}
	require.Less(t, bucketOf(1<<63-1), summaryBuckets)
	require.Equal(t, Distribution{}, distribution(new(summary)))
	var a, b summary
	for v := range int64(500) {
		a.observe(v + 1)
		b.observeN(v+501, 1)
	}
	d := distribution(&a, &b)
	require.Equal(t, int64(1000), d.Count)
	require.Equal(t, int64(500500), d.Sum)
	require.EqualValues(t, 1, d.Min)
	require.EqualValues(t, 1000, d.Max)
	require.InDelta(t, 500, d.P50, 500/8)
	require.InDelta(t, 950, d.P95, 950/8)
	require.InDelta(t, 999, d.P999, 999/8)
	require.InDelta(t, 500.5, d.Avg(), 0.001)
	a.reset()
	require.Zero(t, distribution(&a).Count)
	require.Zero(t, testing.AllocsPerRun(100, func() { a.observe(7) }))
}

func TestPrometheusSummary(t *testing.T) {
	s := Stats{FsyncTime: Distribution{Count: 3, Sum: 45_500, P50: 15_000}}
	require.Equal(t, "# HELP fsynctime fsynctime\n# TYPE fsynctime summary\nfsynctime{quantile=\"0.5\",} 15.0\nfsynctime_count 3.0\nfsynctime_sum 45.5\n",
		string(s.appendPrometheusSummary(nil, "fsynctime", false)))
}
