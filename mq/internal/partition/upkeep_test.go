package partition

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// TestOffsetForTimestamp compares with a search through all records, in logs
// whose timestamps are not in order.
func TestOffsetForTimestamp(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 256 << 10 }).lead(0)
	type stamp struct{ offset, ts int64 }
	var model []stamp
	for i := range 150 {
		n := 1 + rng.IntN(5)
		ts := int64(i*10) + rng.Int64N(60)
		for j := range n {
			model = append(model, stamp{b.LEO() + int64(j), ts + int64(j)})
		}
		b.add(0, build(batch.NewSpec(), n, 3000, ts, batch.Codec(rng.IntN(5))))
	}
	check := func() {
		for ts := int64(-5); ts < 1600; ts += 7 {
			upTo := b.LEO() - rng.Int64N(20)
			want, ok := Found{}, false
			for _, s := range model {
				if s.ts >= ts && s.offset >= b.LogStart() && s.offset < upTo {
					want, ok = Found{Offset: s.offset, Timestamp: s.ts}, true
					break
				}
			}
			got, found, err := b.OffsetForTimestamp(ts, upTo)
			require.NoError(t, err)
			require.Equal(t, ok, found, ts)
			require.Equal(t, want, got, ts)
		}
	}
	check()
	require.NoError(t, b.DeleteRecordsBefore(101))
	check()
	b.reopen()
	check()
	b.follow(1)
	_, err := b.TruncateTo(1, 300)
	require.NoError(t, err)
	model = model[:b.LEO()]
	check()
	_, ok, err := b.OffsetForTimestamp(math.MaxInt64, math.MaxInt64)
	require.NoError(t, err)
	require.False(t, ok)
}

// TestTimeIndex: a log large enough to have an index.
func TestTimeIndex(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 1 << 20 }).lead(0)
	for i := range int64(60) {
		b.add(0, plain(10, 5000, i*100))
	}
	require.Greater(t, len(b.state().index), 5)
	for i := range int64(60) {
		got, ok, err := b.OffsetForTimestamp(i*100+3, math.MaxInt64)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, Found{Offset: i*10 + 3, Timestamp: i*100 + 3}, got)
	}
	require.Greater(t, b.state().seekTime(5000, 0), int64(400))
	entries := len(b.state().index)
	require.NoError(t, b.DeleteRecordsBefore(450))
	require.Less(t, len(b.state().index), entries)
	got, ok, err := b.OffsetForTimestamp(0, math.MaxInt64)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 450, got.Offset)
}

func TestDeleteRecords(t *testing.T) {
	fsys := vfs.NewMem()
	b := newBench(t, fsys, nil).lead(0)
	for range 50 {
		b.add(0, plain(2, 200, 0))
	}
	require.NoError(t, b.Flush())
	size := b.Size()
	require.NoError(t, b.DeleteRecordsBefore(51))
	require.NoError(t, b.DeleteRecordsBefore(20)) // lower: nothing
	require.EqualValues(t, 51, b.LogStart())
	require.Less(t, b.Size(), size)
	_, err := b.Read(nil, 50, 100, 100)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	out, err := b.Read(nil, 51, 1, 100) // the batch begins at 50
	require.NoError(t, err)
	h, err := batch.Check(out)
	require.NoError(t, err)
	require.EqualValues(t, 50, h.BaseOffset)
	// It is durable at once.
	b.crash(fsys.CrashClone(rand.New(rand.NewPCG(1, 1))))
	require.True(t, b.Unclean())
	require.EqualValues(t, 51, b.LogStart())
	require.EqualValues(t, 100, b.LEO())
	require.NoError(t, b.DeleteRecordsBefore(100))
	require.EqualValues(t, 100, b.LogStart())
	require.Empty(t, b.all())
	require.EqualValues(t, 0, b.LatestEpoch())
	b.reopen()
	require.False(t, b.Unclean())
	require.EqualValues(t, 100, b.LogStart())
	require.EqualValues(t, 100, b.LEO())
	require.EqualValues(t, 0, b.LatestEpoch())
	b.lead(1).add(1, plain(1, 1, 1))
	b.sameAsReplay()
}

func TestRetention(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(0)
	for i := range int64(60) {
		b.add(0, plain(2, 200, i*100))
	}
	segments := b.log.Load().Segments()
	require.Greater(t, len(segments), 4)
	start, err := b.ApplyRetention(1<<40, math.MaxInt64)
	require.NoError(t, err)
	require.Zero(t, start, "no limit is set")

	b.Configure(Settings{RetentionMillis: 1000})
	start, err = b.ApplyRetention(3000, math.MaxInt64) // older than 2000: the first 20 batches
	require.NoError(t, err)
	require.Greater(t, start, int64(0))
	require.LessOrEqual(t, start, int64(40))
	require.Equal(t, start, int64(b.log.Load().Segments()[0].First))

	b.Configure(Settings{RetentionBytes: 10 << 10})
	before := start
	start, err = b.ApplyRetention(0, before) // bounded by the high watermark
	require.NoError(t, err)
	require.Equal(t, before, start)
	start, err = b.ApplyRetention(0, math.MaxInt64)
	require.NoError(t, err)
	require.Greater(t, start, before)
	require.GreaterOrEqual(t, b.Size(), int64(10<<10))
	require.Less(t, b.Size(), int64(15<<10))

	b.Configure(Settings{RetentionBytes: 1, RetentionMillis: 1})
	start, err = b.ApplyRetention(1<<40, math.MaxInt64)
	require.NoError(t, err)
	require.Less(t, start, b.LEO(), "the segment being written stays")
	require.Len(t, b.log.Load().Segments(), 1)
	b.reopen()
	require.Equal(t, start, b.LogStart())
}

// TestUnclean: only a run that changed the log and did not close it is unclean.
func TestUnclean(t *testing.T) {
	fsys := vfs.NewMem()
	b := newBench(t, fsys, nil)
	require.False(t, b.Unclean())
	b.reopen()
	b.lead(0).add(0, plain(1, 1, 1))
	b.reopen()
	require.False(t, b.Unclean())
	require.Nil(t, b.log.Load(), "a clean start opens no log")
	b.all() // reading changes nothing
	b.crash(fsys.CrashClone(rand.New(rand.NewPCG(1, 1))))
	require.False(t, b.Unclean())
	b.lead(1)
	b.add(1, plain(1, 1, 1))
	require.NoError(t, b.Flush())
	b.Abort()
	b.open()
	require.True(t, b.Unclean())
	require.EqualValues(t, 2, b.LEO())
	b.reopen()
	require.False(t, b.Unclean())
}

// TestLogShorterThanItsSeal: a log that lost records although it was closed
// cleanly is reported, not taken as it is.
func TestLogShorterThanItsSeal(t *testing.T) {
	fsys := vfs.NewMem()
	b := newBench(t, fsys, nil).lead(0)
	b.add(0, plain(1, 1, 1))
	b.add(0, plain(1, 1, 1))
	require.NoError(t, b.Close())
	require.NoError(t, Remove(fsys, "data/t-0/log"))
	p, err := Open(b.cfg)
	require.NoError(t, err) // nobody has looked yet
	_, err = p.Read(nil, 0, 100, 100)
	require.ErrorIs(t, err, ErrCorrupt)
	p.Abort()
}

func TestOffsetsFile(t *testing.T) {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.MkdirAll("d", 0o700))
	got, err := LoadOffsets(fsys, "d/hw")
	require.NoError(t, err)
	require.Empty(t, got)
	want := []Offset{{[16]byte{1}, 0, 5}, {[16]byte{2}, 3, 1 << 40}}
	require.NoError(t, SaveOffsets(fsys, "d/hw", want))
	got, err = LoadOffsets(fsys, "d/hw")
	require.NoError(t, err)
	require.Equal(t, want, got)
	data, err := vfs.ReadFile(fsys, "d/hw", 1000)
	require.NoError(t, err)
	for i := range data {
		data[i] ^= 1
		require.NoError(t, vfs.WriteFile(fsys, "d/hw", data))
		_, err = LoadOffsets(fsys, "d/hw")
		require.Error(t, err, i)
		data[i] ^= 1
	}
}
