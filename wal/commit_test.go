package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

func TestCommit(t *testing.T) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{SegmentBytes: 2 << 10})
	want := recs(0, 100, seq(0, 40)...)
	for i, r := range want {
		if i%3 == 0 {
			require.NoError(t, l.Append(r))
			continue
		}
		key, err := l.Commit(r.Payload)
		require.NoError(t, err)
		require.Equal(t, r.Key, key)
		synced, ok := l.Synced()
		require.True(t, ok)
		require.Equal(t, key, synced)
	}
	_, err := l.Commit(make([]byte, RecordBytesMax+1))
	require.ErrorIs(t, err, ErrTooLarge)
	require.Equal(t, want, contents(t, l))
	require.NoError(t, l.Close())
	_, err = l.Commit(nil)
	require.ErrorIs(t, err, ErrClosed)
	l = openT(t, fs, Config{SegmentBytes: 2 << 10})
	require.Equal(t, want, contents(t, l))

	require.NoError(t, l.Reset(KeyMax))
	key, err := l.Commit(nil)
	require.NoError(t, err)
	require.EqualValues(t, uint64(KeyMax), key)
	_, err = l.Commit(nil)
	require.ErrorIs(t, err, ErrKeyOrder)
	require.NoError(t, l.Close())
}

// committed is what a record of TestCommitTogether holds.
func committed(goroutine, call int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(goroutine))
	return binary.LittleEndian.AppendUint32(b, uint32(call))
}

// TestCommitTogether has many goroutines commit, each record after the one
// before, while syncs take their time: those who wait share the next sync.
func TestCommitTogether(t *testing.T) {
	const goroutines, calls = 64, 20
	for _, how := range []string{"commit", "append and sync"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
					if op.Kind == vfs.OpSync {
						time.Sleep(time.Millisecond)
					}
					return nil
				})
				l := openT(t, fs, Config{})
				var keys [goroutines][calls]uint64
				var mu sync.Mutex
				var wg sync.WaitGroup
				for g := range goroutines {
					wg.Go(func() {
						for i := range calls {
							var err error
							if how == "commit" {
								keys[g][i], err = l.Commit(committed(g, i))
							} else {
								mu.Lock()
								keys[g][i] = l.Next()
								err = l.Append(Record{keys[g][i], committed(g, i)})
								mu.Unlock()
								err = errors.Join(err, l.Sync())
							}
							if err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				got := contents(t, l)
				require.Len(t, got, goroutines*calls)
				for g := range goroutines {
					for i := range calls {
						require.Equal(t, committed(g, i), got[keys[g][i]].Payload)
					}
				}
				// Nobody waits for more than the sync under way and the next.
				require.LessOrEqual(t, l.Stats().Flushes, uint64(2*calls+2))
				require.NoError(t, l.Close())
			})
		})
	}
}

// TestCommitCrashes has goroutines commit while a crash may come before each
// operation on the disk: whatever was acknowledged until then is recovered,
// under its key, and so is all before it (P1).
func TestCommitCrashes(t *testing.T) {
	const goroutines, calls = 8, 12
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(3, 3))
	var mu sync.Mutex
	acked := map[uint64][]byte{}
	images := 0
	cfg := Config{SegmentBytes: 1 << 10}
	l := openT(t, vfs.Inject(mem, func(op vfs.Op) error {
		if !op.Changes() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for range 2 {
			images++
			r, got, err := recovered(cfg, mem.CrashClone(rng))
			if err != nil {
				return err
			}
			defer abandon(r)
			for i, rec := range got {
				if rec.Key != uint64(i) {
					return fmt.Errorf("record %d has key %d", i, rec.Key)
				}
			}
			for key, payload := range acked {
				if key >= uint64(len(got)) || string(got[key].Payload) != string(payload) {
					return fmt.Errorf("acknowledged record %d is not among the %d recovered", key, len(got))
				}
			}
		}
		return nil
	}), cfg)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range calls {
				payload := committed(g, i)
				key, err := l.Commit(payload)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[key] = payload
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, acked, goroutines*calls)
	require.Greater(t, images, 40)
	require.NoError(t, l.Close())
}

// TestCommitPoisoned fails a sync under many commits: all whose records it
// covered fail, and so does everybody after them (P3).
func TestCommitPoisoned(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		synctest.Test(t, func(t *testing.T) {
			var broken atomic.Bool
			l := openT(t, vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
				if op.Kind == vfs.OpSync {
					time.Sleep(time.Millisecond)
				}
				if op.Kind == kind && broken.Load() {
					return errInjected
				}
				return nil
			}), Config{})
			var acked, failed atomic.Int64
			var wg sync.WaitGroup
			for g := range 32 {
				wg.Go(func() {
					for i := range 1000 {
						key, err := l.Commit(committed(g, i))
						if err != nil {
							require.ErrorIs(t, err, ErrPoisoned)
							require.ErrorIs(t, err, errInjected)
							failed.Add(1)
							return
						}
						synced, _ := l.Synced()
						require.LessOrEqual(t, key, synced)
						acked.Add(1)
					}
				})
			}
			time.Sleep(10 * time.Millisecond)
			broken.Store(true)
			wg.Wait()
			require.EqualValues(t, 32, failed.Load())
			synced, ok := l.Synced()
			require.True(t, ok)
			require.EqualValues(t, acked.Load(), synced+1)
			require.ErrorIs(t, l.Close(), ErrPoisoned)
		})
	}
}

// TestCommitAndClose closes the log under goroutines that commit: who gets no
// error finds the record afterwards.
func TestCommitAndClose(t *testing.T) {
	fs := vfs.NewMem()
	for range 20 {
		l := openT(t, fs, Config{SegmentBytes: 4 << 10})
		var mu sync.Mutex
		var acked []uint64
		begun := make(chan struct{}, 1)
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					key, err := l.Commit(committed(g, i))
					if err != nil {
						require.ErrorIs(t, err, ErrClosed)
						return
					}
					mu.Lock()
					acked = append(acked, key)
					mu.Unlock()
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		<-begun
		require.NoError(t, l.Close())
		wg.Wait()
		l = openT(t, fs, Config{})
		last, ok := l.Last()
		require.True(t, ok)
		for _, key := range acked {
			require.LessOrEqual(t, key, last)
		}
		require.Len(t, contents(t, l), int(last)+1)
		require.NoError(t, l.Close())
	}
}

// TestNoAllocation: appending, committing and reading allocate nothing for a
// record, and syncing nothing for a group.
func TestNoAllocation(t *testing.T) {
	l, err := Open(t.TempDir(), Config{PreallocateBytes: 1 << 20})
	require.NoError(t, err)
	payload := make([]byte, 100)
	batch := make([]Record, 100)
	key := uint64(0)
	appendBatch := func() {
		for i := range batch {
			batch[i] = Record{key, payload}
			key++
		}
		require.NoError(t, l.Append(batch...))
	}
	for range 100 { // the index and the buffers grow
		appendBatch()
	}
	require.NoError(t, l.Sync())
	// Of an average, less than one is none: the index doubles now and then.
	require.Zero(t, testing.AllocsPerRun(100, appendBatch), "append")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, err := l.Commit(payload)
		require.NoError(t, err)
		key++
	}), "commit")
	r := l.NewReader(0)
	_, err = r.Next()
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(5000, func() {
		_, err := r.Next()
		require.NoError(t, err)
	}), "read")
	require.NoError(t, l.Close())
}
