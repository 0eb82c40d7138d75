package partition

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// sized makes a batch of 100-byte records that is about size bytes long.
func sized(size int) []byte {
	var b batch.Builder
	value := bytes.Repeat([]byte("v"), 100)
	for b.Size() < size-120 {
		if err := b.Append(1000, nil, value, nil); err != nil {
			panic(err)
		}
	}
	return bytes.Clone(b.Build(batch.NewSpec()))
}

// newLarge is a partition with segments of the default size, on memory or, with
// disk set, on a directory.
func newLarge(tb testing.TB, disk bool, flush int64) *bench {
	var fsys vfs.FS = vfs.NewMem()
	dir := "data/t-0"
	if disk {
		fsys, dir = vfs.OS, tb.TempDir()+"/t-0"
	}
	return newBench(tb, fsys, func(c *Config) {
		c.Dir, c.SegmentBytes, c.Settings = dir, 0, Settings{FlushMessages: flush, MaxMessageBytes: 2 << 20}
	}).lead(0)
}

// logMax bounds what a benchmark keeps.
const logMax = 256 << 20

func BenchmarkAppend(b *testing.B) {
	for _, disk := range []bool{false, true} {
		for _, flush := range []int64{0, math.MaxInt64} {
			for _, size := range []int{16 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("disk=%t/durable=%t/batch=%dKiB", disk, flush == 0, size>>10), func(b *testing.B) {
					p := newLarge(b, disk, flush)
					rec := sized(size)
					b.SetBytes(int64(len(rec)))
					b.ReportAllocs()
					total := 0
					for b.Loop() {
						if _, err := p.AppendAsLeader(0, rec, 0); err != nil {
							b.Fatal(err)
						}
						if total += len(rec); total > logMax {
							total = 0
							require.NoError(b, p.DeleteRecordsBefore(p.LEO()))
						}
					}
					require.NoError(b, p.Flush())
				})
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, disk := range []bool{false, true} {
		for _, size := range []int{16 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("disk=%t/batch=%dKiB", disk, size>>10), func(b *testing.B) {
				p := newLarge(b, disk, math.MaxInt64)
				rec := sized(size)
				h, err := batch.ParseHeader(rec)
				require.NoError(b, err)
				for range (64 << 20) / size {
					p.add(0, rec)
				}
				buf := make([]byte, 0, 2<<20)
				b.SetBytes(1 << 20)
				b.ReportAllocs()
				per := int64(h.Count)
				next := int64(0)
				for b.Loop() {
					out, err := p.Read(buf, next, 1<<20, math.MaxInt64)
					if err != nil {
						b.Fatal(err)
					}
					if next += int64(len(out)/len(rec)) * per; len(out) == 0 {
						next = 0
					}
				}
			})
		}
	}
}

// BenchmarkAppendOne is the cost of an append apart from its bytes.
func BenchmarkAppendOne(b *testing.B) {
	for _, flush := range []int64{0, math.MaxInt64} {
		b.Run(fmt.Sprintf("durable=%t", flush == 0), func(b *testing.B) {
			p := newLarge(b, false, flush)
			rec := idempotent(5, 0, 0, 1)
			seq := int32(-1)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				batch.SetProducer(rec, 5, 0, seq)
				if _, err := p.AppendAsLeader(0, rec, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCeiling is what the wal alone does with the same bytes.
func BenchmarkCeiling(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("append/batch=%dKiB", size>>10), func(b *testing.B) {
			l, err := wal.Open("data", wal.Config{FS: vfs.NewMem()})
			require.NoError(b, err)
			defer l.Close()
			rec := sized(size)
			b.SetBytes(int64(len(rec)))
			for b.Loop() {
				if err := l.Append(wal.Record{Key: l.Next(), Payload: rec}); err != nil {
					b.Fatal(err)
				}
				if l.Size() > logMax {
					require.NoError(b, l.TruncateBefore(l.Next()))
				}
			}
		})
	}
}

// BenchmarkOpen is the cost of a partition at a start after a clean stop (R14).
func BenchmarkOpen(b *testing.B) {
	for _, disk := range []bool{false, true} {
		b.Run(fmt.Sprintf("disk=%t", disk), func(b *testing.B) {
			p := newLarge(b, disk, math.MaxInt64)
			for i := range int64(10) {
				p.add(0, idempotent(i, 0, 0, 1))
			}
			require.NoError(b, p.Close())
			b.ReportAllocs()
			for b.Loop() {
				q, err := Open(p.cfg)
				if err != nil {
					b.Fatal(err)
				}
				if err := q.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	b := newLarge(t, true, math.MaxInt64) // vfs.Mem has allocations of its own
	rec := idempotent(5, 0, 0, 1)
	seq := int32(0)
	b.add(0, rec)
	require.Less(t, testing.AllocsPerRun(200, func() {
		seq++
		batch.SetProducer(rec, 5, 0, seq)
		if _, err := b.AppendAsLeader(0, rec, 0); err != nil {
			panic(err)
		}
	}), 1.0)
	buf := make([]byte, 0, 1<<20)
	next := int64(0)
	require.Less(t, testing.AllocsPerRun(100, func() {
		out, err := b.Read(buf, next, 10, math.MaxInt64)
		if err != nil || len(out) == 0 {
			panic("read")
		}
		next++
	}), 1.0)
}

// TestManyPartitions: ten thousand open within the five seconds of R14 by far.
func TestManyPartitions(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	fsys := vfs.NewMem()
	f := wal.NewFlusher(4)
	defer f.Close()
	open := func(i int) *Partition {
		p, err := Open(Config{Dir: fmt.Sprintf("data/t-%d", i), FS: fsys, Flusher: f})
		require.NoError(t, err)
		return p
	}
	for i := range n { // one in ten has records
		p := open(i)
		if i%10 == 0 {
			require.NoError(t, p.StartEpoch(1))
			_, err := p.AppendAsLeader(1, plain(1, 10, 0), 0)
			require.NoError(t, err)
		}
		require.NoError(t, p.Close())
	}
	start := time.Now()
	ps := make([]*Partition, n)
	for i := range ps {
		ps[i] = open(i)
	}
	took := time.Since(start)
	t.Logf("%d partitions opened in %v", n, took)
	require.Less(t, took, 5*time.Second)
	for i, p := range ps {
		require.EqualValues(t, map[bool]int64{true: 1}[i%10 == 0], p.LEO())
		require.NoError(t, p.Close())
	}
}
