package wal

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// randomly does drawn operations until one fails or enough were done.
func (m *model) randomly(rng *rand.Rand) error {
	if err := m.open(); err != nil {
		return err
	}
	for range 40 {
		var err error
		next := m.l.Next()
		first, _ := m.l.First()
		key := first + rng.Uint64N(max(next-first, 1)+1)
		switch n := rng.IntN(20); {
		case n < 10:
			keys := []uint64{next + uint64(rng.IntN(3))}
			for rng.IntN(3) > 0 {
				keys = append(keys, keys[len(keys)-1]+1+uint64(rng.IntN(2)))
			}
			err = m.append(10+30*rng.IntN(6), keys...)
		case n < 13:
			err = m.sync()
		case n < 15:
			err = m.commit(10 + 30*rng.IntN(6))
		case n < 17:
			err = m.truncateAfter(key)
		case n < 18:
			err = m.truncateBefore(key)
		case n < 19:
			if err = m.floor(); err == nil {
				mod, rest := 1+rng.Uint64N(3), rng.Uint64N(2)
				err = m.replace(func(k uint64) bool { return k%mod == rest })
			}
		case rng.IntN(3) == 0:
			err = m.reset(key + 5)
		default:
			if err = m.close(); err == nil {
				err = m.open()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestTornAtEveryByte cuts and damages one synced-then-unsynced tail at every
// byte as a process that died in the middle of a write leaves it (E6), and
// checks that what is appended next is never followed by what was there.
func TestTornAtEveryByte(t *testing.T) {
	fs := vfs.NewMem()
	idle := NewFlusher(1)
	idle.Close()
	cfg := Config{FS: fs, Flusher: idle, NoLock: true}
	l := openT(t, fs, cfg)
	want := recs(0, 10, 1, 2)
	require.NoError(t, l.Append(want...))
	require.NoError(t, l.Sync())
	synced := l.Segments()[0].Bytes
	require.NoError(t, l.Append(recs(0, 10, 3)...))
	require.NoError(t, l.Append(recs(0, 10, 4, 5)...))
	end := l.Segments()[0].Bytes
	img := imageOf(t, fs.Clone(), "d/log")
	name := img.segments()[0]
	whole := img[name]
	for off := synced; off < end; off++ {
		b := bytes.Clone(whole)
		b[off] ^= 0x55
		img[name] = b
		disk := img.mount(t)
		l, got, err := recovered(cfg, disk)
		require.NoError(t, err)
		require.Less(t, len(got), 5)
		add := recs(1, 10, l.Next())
		require.NoError(t, l.Append(add...))
		require.NoError(t, l.Sync())
		again, rs, err := recovered(cfg, disk.Clone())
		require.NoError(t, err)
		require.Equal(t, append(got, add...), rs, "flip at %d", off)
		abandon(again)
		abandon(l)
	}
}

// TestManyLogs: thousands of logs share a flusher, and few files stay open
// (R14). Run with the counts of open files of an injected file system.
func TestManyLogs(t *testing.T) {
	n := 1500
	if testing.Short() {
		n = 700
	}
	var open, most atomic.Int64
	fs := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpOpen, vfs.OpCreate:
			o := open.Add(1)
			for m := most.Load(); o > m && !most.CompareAndSwap(m, o); m = most.Load() {
			}
		case vfs.OpClose:
			open.Add(-1)
		}
		return nil
	})
	fl := NewFlusher(2)
	fl.SetOpenFilesMax(300)
	logs := make([]*Log, n)
	openAll := func() {
		for i := range logs {
			var err error
			logs[i], err = Open(fmt.Sprintf("data/%d", i), Config{FS: fs, Flusher: fl, NoLock: true, PreallocateBytes: -1})
			require.NoError(t, err)
		}
	}
	openAll()
	_, err := fs.ReadDir("data")
	require.Error(t, err, "nothing is on the disk before the first record")
	var wg sync.WaitGroup
	for i, l := range logs {
		wg.Add(1)
		require.NoError(t, l.Append(recs(0, 1, uint64(i))...))
		l.SyncAsync(func(_ uint64, err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
		if i%100 == 99 {
			wg.Wait()
		}
	}
	wg.Wait()
	for range 2 {
		for i, l := range logs {
			rec, err := l.NewReader(0).Next()
			require.NoError(t, err)
			require.EqualValues(t, i, rec.Key)
		}
		for _, l := range logs {
			require.NoError(t, l.Close())
		}
		require.Zero(t, open.Load(), "every file is closed")
		require.Zero(t, fl.Stats().OpenFiles)
		openAll()
	}
	for _, l := range logs {
		require.NoError(t, l.Close())
	}
	require.NoError(t, fl.Close())
	require.Less(t, most.Load(), int64(300+200+100))
	t.Logf("%d logs, at most %d files open", n, most.Load())
}

// TestReadersWhileRecycling: readers that are overtaken by truncation at both
// ends see records, ErrGone or the end, and never anything else.
func TestReadersWhileRecycling(t *testing.T) {
	l := openT(t, vfs.NewMem(), Config{SegmentBytes: 4 << 10})
	var stop atomic.Bool
	var wg sync.WaitGroup
	var read, gone atomic.Int64
	for i := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			r := l.NewReader(0)
			last := uint64(0)
			for !stop.Load() {
				rec, err := r.Next()
				switch {
				case err == nil:
					read.Add(1)
					var key uint64
					var life int
					if _, err := fmt.Sscanf(string(rec.Payload), "%d/%d ", &key, &life); err != nil || key != rec.Key || key < last || !bytes.Equal(rec.Payload, payloadOf(key, life, 40)) {
						t.Errorf("read %d after %d: %q", rec.Key, last, rec.Payload)
						return
					}
					last = key + 1
				case err == io.EOF || err == ErrGone:
					if err == ErrGone {
						gone.Add(1)
					}
					first, _ := l.First()
					last = first + rng.Uint64N(50)
					r.Seek(last)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(5, 5))
	lives := 4000
	if testing.Short() {
		lives = 400
	}
	for life := range lives {
		next := l.Next()
		require.NoError(t, l.Append(recs(life, 40, next, next+1, next+2)...))
		switch rng.IntN(12) {
		case 0:
			require.NoError(t, l.TruncateAfter(next-min(next, uint64(rng.IntN(30)))))
		case 1:
			require.NoError(t, l.TruncateBefore(next-min(next, uint64(rng.IntN(60)))))
		case 2:
			require.NoError(t, l.Sync())
		}
	}
	stop.Store(true)
	wg.Wait()
	s := l.Stats()
	t.Logf("%d records read, gone %d times, %d rolls, %d recycled", read.Load(), gone.Load(), s.Rolls, s.Recycled)
	require.Positive(t, s.Recycled)
}
