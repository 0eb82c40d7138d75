package wal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// payloadOf is what the tests store under a key: its life tells apart records
// that were written twice under one key.
func payloadOf(key uint64, life, n int) []byte {
	b := fmt.Appendf(nil, "%d/%d ", key, life)
	return append(b, bytes.Repeat([]byte{byte(key), byte(life), 7}, n)...)
}

func recs(life, n int, keys ...uint64) []Record {
	rs := make([]Record, len(keys))
	for i, k := range keys {
		rs[i] = Record{k, payloadOf(k, life, n)}
	}
	return rs
}

func seq(from, to uint64) []uint64 {
	var keys []uint64
	for k := from; k <= to; k++ {
		keys = append(keys, k)
	}
	return keys
}

// contents reads a log from the first record to the last.
func contents(t testing.TB, l *Log) []Record {
	t.Helper()
	rs, err := readAll(l)
	require.NoError(t, err)
	return rs
}

func readAll(l *Log) ([]Record, error) {
	r := l.NewReader(0)
	defer r.Close()
	var rs []Record
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return rs, nil
		}
		if err != nil {
			return rs, err
		}
		rs = append(rs, Record{rec.Key, bytes.Clone(rec.Payload)})
	}
}

func keysOf(rs []Record) []uint64 {
	var keys []uint64
	for _, r := range rs {
		keys = append(keys, r.Key)
	}
	return keys
}

func openT(t testing.TB, fs vfs.FS, cfg Config) *Log {
	t.Helper()
	cfg.FS = fs
	l, err := Open("d/log", cfg)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func TestAppendReadReopen(t *testing.T) {
	for _, prealloc := range []int64{-1, 64 << 10} {
		fs := vfs.NewMem()
		cfg := Config{SegmentBytes: 4 << 10, PreallocateBytes: prealloc}
		l := openT(t, fs, cfg)
		_, ok := l.First()
		require.False(t, ok)
		var want []Record
		for k := uint64(1); k < 200; k += 3 {
			rs := recs(0, int(k)*2, k, k+1)
			want = append(want, rs...)
			require.NoError(t, l.Append(rs...))
			if k%5 == 0 {
				require.NoError(t, l.Sync())
			}
		}
		require.Equal(t, want, contents(t, l))
		for _, r := range want {
			k, ok, err := l.Floor(r.Key)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, r.Key, k)
			rd := l.NewReader(r.Key)
			got, err := rd.Next()
			require.NoError(t, err)
			require.Equal(t, r, got)
		}
		k, ok, err := l.Floor(3)
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 2, k)
		_, ok, err = l.Floor(0)
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Append(Record{Key: 900}), ErrClosed)
		require.ErrorIs(t, l.Sync(), ErrClosed)

		l = openT(t, fs, cfg)
		require.Equal(t, want, contents(t, l))
		require.Equal(t, want[len(want)-1].Key+1, l.Next())
		require.Equal(t, l.Stats().Bytes, l.Size())
		s, ok := l.Synced()
		require.True(t, ok)
		require.Equal(t, want[len(want)-1].Key, s)
		require.NoError(t, l.Append(Record{Key: 1000, Payload: nil}))
		require.Equal(t, 1000, int(contents(t, l)[len(want)].Key))
	}
}

func TestKeyOrderAndLimits(t *testing.T) {
	l := openT(t, vfs.NewMem(), Config{})
	require.NoError(t, l.Append(recs(0, 1, 5)...))
	require.ErrorIs(t, l.Append(recs(0, 1, 5)...), ErrKeyOrder)
	require.ErrorIs(t, l.Append(recs(0, 1, 6, 8, 7)...), ErrKeyOrder)
	require.ErrorIs(t, l.Append(Record{Key: 1<<64 - 1}), ErrKeyOrder)
	require.ErrorIs(t, l.Append(Record{Key: 9, Payload: make([]byte, RecordBytesMax+1)}), ErrTooLarge)
	require.Equal(t, []uint64{5}, keysOf(contents(t, l)))
	require.NoError(t, l.Append())
	_, err := Open("x", Config{FS: vfs.NewMem(), SegmentBytes: 5})
	require.ErrorContains(t, err, "SegmentBytes is 5")
	require.NoError(t, l.Append(Record{Key: KeyMax}))
	require.Error(t, l.Append(Record{Key: KeyMax}))
}

func TestLargeRecords(t *testing.T) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{SegmentBytes: 1 << 20, PreallocateBytes: 1 << 20})
	var want []Record
	for k, n := range []int{1, directBytes - 1, directBytes, directBytes + 1, 3 << 20, 17, 1<<20 + 5, 100, 100} {
		want = append(want, Record{uint64(k), bytes.Repeat([]byte{byte(k + 1)}, n)})
	}
	require.NoError(t, l.Append(want[:4]...))
	require.NoError(t, l.Sync())
	require.NoError(t, l.Append(want[4:]...))
	require.Equal(t, want, contents(t, l))
	require.NoError(t, l.Close())
	require.Equal(t, want, contents(t, openT(t, fs, Config{})))
}

func TestTruncate(t *testing.T) {
	fs := vfs.NewMem()
	cfg := Config{SegmentBytes: 1 << 10}
	l := openT(t, fs, cfg)
	check := func(want ...uint64) {
		t.Helper()
		require.Equal(t, want, keysOf(contents(t, l)))
		require.NoError(t, l.Close())
		l = openT(t, fs, cfg)
		require.Equal(t, want, keysOf(contents(t, l)))
	}
	require.NoError(t, l.Append(recs(0, 100, seq(10, 29)...)...))
	require.NoError(t, l.TruncateAfter(99))
	check(seq(10, 29)...)
	require.NoError(t, l.TruncateAfter(22))
	require.EqualValues(t, 23, l.Next())
	check(seq(10, 22)...)
	require.NoError(t, l.Append(recs(1, 100, 23, 24)...))
	require.NoError(t, l.TruncateBefore(15))
	first, _ := l.First()
	require.Greater(t, first, uint64(10))
	require.LessOrEqual(t, first, uint64(15))
	check(seq(first, 24)...)
	require.NoError(t, l.TruncateBefore(1000))
	require.Len(t, l.Segments(), 1)
	require.NoError(t, l.TruncateAfter(3))
	require.EqualValues(t, 4, l.Next())
	check()
	require.EqualValues(t, 4, l.Next())
	require.NoError(t, l.Reset(77))
	require.EqualValues(t, 77, l.Next())
	check()
	require.EqualValues(t, 77, l.Next())
	require.ErrorIs(t, l.Append(recs(2, 1, 76)...), ErrKeyOrder)
	require.NoError(t, l.Append(recs(2, 1, 80)...))
	check(80)
	require.NoError(t, l.TruncateAfter(79))
	require.EqualValues(t, 80, l.Next())
	require.NoError(t, l.TruncateAfter(50))
	require.EqualValues(t, 51, l.Next())
	check()
	require.EqualValues(t, 51, l.Next())
	names, err := fs.ReadDir("d/log")
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 3, "%v", names)
}

func TestGroupCommitAndAsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := NewFlusher(2)
		logs := make([]*Log, 3)
		for i := range logs {
			var err error
			logs[i], err = Open(fmt.Sprint("d", i), Config{FS: vfs.NewMem(), SegmentBytes: 2 << 10, Flusher: fl, NoLock: true})
			require.NoError(t, err)
		}
		var wg sync.WaitGroup
		for _, l := range logs {
			var mu sync.Mutex
			key, asked, answered := uint64(0), 0, 0
			for range 16 {
				wg.Go(func() {
					for i := range 50 {
						mu.Lock()
						key++
						k := key
						require.NoError(t, l.Append(recs(0, 10, k)...))
						if i%3 == 0 {
							asked++
							order := asked
							l.SyncAsync(func(synced uint64, err error) {
								answered++
								if err != nil || synced < k || order != answered {
									t.Errorf("answer %d, the %dth: synced %d of %d, %v", order, answered, synced, k, err)
								}
							})
						}
						mu.Unlock()
						if i%3 == 1 {
							require.NoError(t, l.Sync())
							s, ok := l.Synced()
							require.True(t, ok)
							require.GreaterOrEqual(t, s, k)
						}
					}
				})
			}
			wg.Go(func() {
				for i := range uint64(20) {
					time.Sleep(time.Millisecond)
					require.NoError(t, l.TruncateBefore(i*20))
				}
			})
			defer func() { require.Equal(t, asked, answered) }()
		}
		wg.Wait()
		for _, l := range logs {
			require.NoError(t, l.Close())
		}
		require.NoError(t, fl.Close())
	})
}

func TestTailingReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := Open("d", Config{FS: vfs.NewMem(), SegmentBytes: 4 << 10})
		require.NoError(t, err)
		const n = 2000
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				r := l.NewReader(0)
				defer r.Close()
				for k := range uint64(n) {
					rec, err := r.Next()
					for err == io.EOF {
						require.NoError(t, r.Wait(context.Background()))
						rec, err = r.Next()
					}
					require.NoError(t, err)
					require.Equal(t, k, rec.Key)
					require.Equal(t, payloadOf(k, 0, int(k%300)), rec.Payload)
				}
				require.ErrorIs(t, r.Wait(context.Background()), ErrClosed)
			})
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for k := uint64(0); k < n; {
			var rs []Record
			for range 1 + rng.IntN(9) {
				if k < n {
					rs = append(rs, Record{k, payloadOf(k, 0, int(k%300))})
					k++
				}
			}
			require.NoError(t, l.Append(rs...))
			if rng.IntN(4) == 0 {
				time.Sleep(time.Microsecond)
			}
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		require.ErrorIs(t, l.NewReader(n).Wait(ctx), context.DeadlineExceeded)
		cancel()
		require.NoError(t, l.Close())
		wg.Wait()
	})
}

func TestReaderAcrossTruncation(t *testing.T) {
	l := openT(t, vfs.NewMem(), Config{SegmentBytes: 1 << 10})
	require.NoError(t, l.Append(recs(0, 50, seq(0, 29)...)...))
	at := func(key uint64) *Reader {
		r := l.NewReader(key)
		rec, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, key, rec.Key)
		return r
	}
	before, edge, after, end := at(5), at(20), at(25), at(29)
	require.NoError(t, l.TruncateAfter(20))
	require.NoError(t, l.Append(recs(1, 50, 21, 22)...))
	rec, err := before.Next()
	require.NoError(t, err)
	require.EqualValues(t, 6, rec.Key)
	rec, err = edge.Next()
	require.NoError(t, err)
	require.Equal(t, recs(1, 50, 21)[0], rec)
	for _, r := range []*Reader{after, end} {
		_, err = r.Next()
		require.ErrorIs(t, err, ErrGone)
		_, err = r.Next()
		require.ErrorIs(t, err, ErrGone)
		require.NoError(t, r.Wait(t.Context()))
		r.Seek(22)
		rec, err = r.Next()
		require.NoError(t, err)
		require.Equal(t, recs(1, 50, 22)[0], rec)
	}
	require.NoError(t, l.TruncateBefore(20))
	_, err = before.Next()
	require.ErrorIs(t, err, ErrGone)
	require.NoError(t, l.Reset(5))
	_, err = edge.Next()
	require.ErrorIs(t, err, ErrGone)
	fresh := l.NewReader(0)
	_, err = fresh.Next()
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, l.Append(recs(2, 1, 5)...))
	rec, err = fresh.Next()
	require.NoError(t, err)
	require.EqualValues(t, 5, rec.Key)
	require.NoError(t, fresh.Close())
	_, err = fresh.Next()
	require.ErrorIs(t, err, ErrClosed)
}
