package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

func benchLog(b *testing.B, cfg Config) *Log {
	b.Helper()
	l, err := Open(b.TempDir(), cfg)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, l.Close()) })
	return l
}

// keepSmall frees old segments now and then, so that files are recycled and the
// disk is not filled.
func keepSmall(b *testing.B, l *Log, key uint64) {
	if err := l.TruncateBefore(key); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppend is appends without sync: one record a call, and 100.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("%dB/batch=%d", size, batch), func(b *testing.B) {
				l := benchLog(b, Config{})
				rs := make([]Record, batch)
				payload := make([]byte, size)
				key := uint64(0)
				b.SetBytes(int64(batch * size))
				b.ReportAllocs()
				for b.Loop() {
					for i := range rs {
						rs[i] = Record{key, payload}
						key++
					}
					if err := l.Append(rs...); err != nil {
						b.Fatal(err)
					}
					if key%(1<<18) < uint64(batch) {
						keepSmall(b, l, key)
					}
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "rec/s")
			})
		}
	}
}

// BenchmarkAppendSync is one goroutine that syncs each record, beside the same
// done by hand on a preallocated file.
func BenchmarkAppendSync(b *testing.B) {
	payload := make([]byte, 100)
	b.Run("log", func(b *testing.B) {
		l := benchLog(b, Config{})
		for i := range uint64(100) {
			require.NoError(b, l.Append(Record{i, payload}))
			require.NoError(b, l.Sync())
		}
		key := uint64(100)
		for b.Loop() {
			if l.Append(Record{key, payload}) != nil || l.Sync() != nil {
				b.Fatal("failed")
			}
			key++
		}
	})
	b.Run("ceiling", func(b *testing.B) {
		f := zeroedFile(b)
		off := int64(0)
		for b.Loop() {
			if _, err := f.WriteAt(payload, off%(15<<20)); err != nil || f.Sync() != nil {
				b.Fatal("failed")
			}
			off += 128
		}
	})
}

// BenchmarkGroupCommit is 64 goroutines, each of which makes a record durable
// and goes on: with Commit, and with Append and Sync under a mutex of their own.
// The ceiling is one goroutine that writes and syncs 64 records at a time by
// hand.
func BenchmarkGroupCommit(b *testing.B) {
	for _, size := range []int{100, 1000} {
		payload := make([]byte, size)
		b.Run(fmt.Sprintf("%dB/commit", size), func(b *testing.B) {
			l := benchLog(b, Config{})
			together(b, func() error {
				_, err := l.Commit(payload)
				return err
			})
		})
		b.Run(fmt.Sprintf("%dB/append+sync", size), func(b *testing.B) {
			l := benchLog(b, Config{})
			var mu sync.Mutex
			key := uint64(0)
			together(b, func() error {
				mu.Lock()
				key++
				err := l.Append(Record{key, payload})
				mu.Unlock()
				return errors.Join(err, l.Sync())
			})
		})
		b.Run(fmt.Sprintf("%dB/ceiling", size), func(b *testing.B) {
			f := zeroedFile(b)
			group := make([]byte, 64*recordBytes(size))
			off := int64(0)
			for b.Loop() {
				if _, err := f.WriteAt(group, off%(15<<20)); err != nil || f.Sync() != nil {
					b.Fatal("failed")
				}
				off += int64(len(group))
			}
			b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "rec/s")
		})
	}
}

// together has 64 goroutines call fn, b.N times all in all.
func together(b *testing.B, fn func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rec/s")
}

// zeroedFile is a file in which writes up to 16 MiB change no size and no block
// map.
func zeroedFile(b *testing.B) vfs.File {
	b.Helper()
	f, err := vfs.OS.OpenFile(b.TempDir()+"/f", os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, f.Close()) })
	_, err = f.WriteAt(make([]byte, 16<<20), 0)
	require.NoError(b, err)
	require.NoError(b, f.Sync())
	return f
}

// BenchmarkRead is one reader from the first record to the last.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{100, 1000, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			l := benchLog(b, Config{})
			payload := make([]byte, size)
			n := uint64(128 << 20 / size)
			for key := uint64(0); key < n; {
				var rs []Record
				for range min(100, n-key) {
					rs = append(rs, Record{key, payload})
					key++
				}
				require.NoError(b, l.Append(rs...))
			}
			r := l.NewReader(0)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, err := r.Next()
				if err == io.EOF {
					r.Seek(0)
					_, err = r.Next()
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rec/s")
		})
	}
}

// BenchmarkOpen opens many small logs that were closed, as a broker does.
func BenchmarkOpen(b *testing.B) {
	const n = 1000
	dir := b.TempDir()
	fl := NewFlusher(0)
	defer fl.Close()
	cfg := Config{NoLock: true, Flusher: fl}
	for i := range n {
		l, err := Open(fmt.Sprintf("%s/%d", dir, i), cfg)
		require.NoError(b, err)
		require.NoError(b, l.Append(recs(0, 100, 1, 2, 3)...))
		require.NoError(b, l.Close())
	}
	for b.Loop() {
		logs := make([]*Log, n)
		for i := range logs {
			l, err := Open(fmt.Sprintf("%s/%d", dir, i), cfg)
			require.NoError(b, err)
			logs[i] = l
		}
		for _, l := range logs {
			require.NoError(b, l.Close())
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/n*1e6, "µs/log")
}

// BenchmarkAppendMem is what a broker without a disk does: a record batch, then
// a sync.
func BenchmarkAppendMem(b *testing.B) {
	l, err := Open("d", Config{FS: vfs.NewMem()})
	require.NoError(b, err)
	payload := make([]byte, 16<<10)
	key := uint64(0)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		key++
		if l.Append(Record{key, payload}) != nil || l.Sync() != nil {
			b.Fatal("failed")
		}
		if key%(1<<14) == 0 {
			keepSmall(b, l, key)
		}
	}
	require.NoError(b, l.Close())
}
