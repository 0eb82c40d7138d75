package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// TestCrashEverywhere crashes the workload before each operation that changes
// the disk, in every way that the fault model allows (all subsets where there
// are few unsynced changes), and checks P1: the recovered log is the synced
// prefix with possibly some later records, no gap, nothing else; and that it can
// be written on and crash again. W1, W4, E5, E6 are among the states.
func TestCrashEverywhere(t *testing.T) {
	smallIndexes(t)
	exhaustive, random := 6, 4
	if *full {
		exhaustive, random = 12, 64
	}
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(1, 1))
	points, states, checked := 0, 0, 0
	var m *model
	crash := func(op vfs.Op) error {
		points++
		for disk := range mem.Crashes(vfs.CrashOptions{ExhaustiveMax: exhaustive, Random: random, Rand: rng}) {
			states++
			if testing.Short() && states%4 != 0 {
				continue
			}
			checked++
			saved := disk.Clone()
			if err := m.check(disk, func(d *vfs.Mem) *vfs.Mem { return d.CrashClone(rng) }); err != nil {
				dump(t, saved)
				return fmt.Errorf("crash point %d (before %s %s %d+%d, %d steps done), state %d: %w", points, op.Kind, op.Name, op.Off, op.Len, m.done, states, err)
			}
		}
		return nil
	}
	m = newModel(vfs.Inject(mem, func(op vfs.Op) error {
		if op.Changes() {
			return crash(op)
		}
		return nil
	}))
	require.NoError(t, m.workload())
	require.NoError(t, crash(vfs.Op{}))
	t.Logf("%d crash points, %d states, %d of them checked and crashed 4 times more", points, states, checked)
	require.Greater(t, points, 80)
	require.Greater(t, states, 1000)
}

func dump(t *testing.T, disk *vfs.Mem) {
	names, err := disk.ReadDir("d/log")
	if err != nil {
		return
	}
	for _, name := range names {
		b, err := vfs.ReadFile(disk, "d/log/"+name, 1<<20)
		require.NoError(t, err)
		t.Logf("%s: %d bytes", name, len(b))
		if m, err := parseManifest(b); err == nil {
			t.Logf("  %+v", *m)
		}
	}
}

var errInjected = errors.New("injected")

// TestErrorWalk fails the n-th operation, for every n and in several ways, and
// checks P3: from a failed write or sync on the log refuses everything and
// writes nothing, and reopening (by a process that follows, or after a crash)
// finds what P1 promises. K15. "no space": the disk is full from then on.
func TestErrorWalk(t *testing.T) {
	modes := map[string]func(op vfs.Op) error{
		"error":       func(vfs.Op) error { return errInjected },
		"short write": func(op vfs.Op) error { return &vfs.ShortWriteError{N: op.Len / 2, Err: errInjected} },
		"no space": func(op vfs.Op) error {
			return &vfs.ShortWriteError{N: op.Len / 3, Err: fmt.Errorf("%w: %w", errInjected, syscall.ENOSPC)}
		},
		"sync lost": func(vfs.Op) error { return fmt.Errorf("%w: %w", errInjected, vfs.ErrSyncLost) },
	}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			smallIndexes(t)
			rng := rand.New(rand.NewPCG(2, 2))
			poisoned, n, step := 0, 0, 1
			if testing.Short() {
				step = 3
			}
			for ; ; n += step {
				hit, p := errorWalk(t, n, name == "no space", mode, rng)
				if !hit {
					break
				}
				if p {
					poisoned++
				}
			}
			t.Logf("%d operations failed one by one, %d of them poisoned the log", n/step, poisoned)
			require.Greater(t, poisoned, 60/step)
		})
	}
}

// needsSpace are the operations that a full disk refuses.
func needsSpace(op vfs.Op) bool {
	return op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate || op.Kind == vfs.OpMkdir
}

func errorWalk(t *testing.T, n int, full bool, mode func(vfs.Op) error, rng *rand.Rand) (hit, poisoned bool) {
	mem := vfs.NewMem()
	count, changes := 0, 0
	var failed vfs.Op
	m := newModel(vfs.Inject(mem, func(op vfs.Op) error {
		if op.Changes() {
			changes++
		}
		if full && !needsSpace(op) {
			return nil
		}
		count++
		switch {
		case count-1 == n:
			hit, failed = true, op
			return mode(op)
		case full && hit:
			return mode(op)
		}
		return nil
	}))
	m.afterFailure = func(err error) {
		require.ErrorIs(t, err, errInjected)
		if m.l == nil || !failed.Changes() || errors.Is(m.l.Sync(), ErrClosed) {
			return
		}
		poisoned = true
		before := changes
		for _, err := range []error{
			err, m.l.Append(recs(90, 1, m.l.Next())...), m.l.Sync(), m.l.TruncateAfter(0),
			m.l.TruncateBefore(100), m.l.Reset(3), m.l.Close(),
		} {
			require.ErrorIs(t, err, ErrPoisoned, "op %d: %+v", n, failed)
			require.ErrorIs(t, err, errInjected)
		}
		require.Equal(t, before, changes, "something was written after op %d failed: %+v", n, failed)
	}
	err := m.workload()
	if err == nil {
		// Nothing failed, or what failed does not matter.
		if hit {
			require.True(t, strings.HasSuffix(failed.Name, indexSuffix) ||
				slices.Contains([]vfs.OpKind{vfs.OpRemove, vfs.OpClose, vfs.OpTruncate}, failed.Kind), "%+v", failed)
		}
		require.NoError(t, m.check(mem.Clone(), (*vfs.Mem).Clone))
		return hit, false
	}
	if m.l != nil {
		m.l.Close()
	}
	for range 5 {
		require.NoError(t, m.check(mem.CrashClone(rng), func(d *vfs.Mem) *vfs.Mem { return d.CrashClone(rng) }), "op %d: %+v", n, failed)
	}
	m.cached = true
	// The next process on the same machine: it sees what the cache has, and the
	// power may go later.
	require.NoError(t, m.check(mem, func(d *vfs.Mem) *vfs.Mem { return d.CrashClone(rng) }), "op %d: %+v", n, failed)
	return hit, poisoned
}

// TestPoisonedAsync: an asynchronous sync learns of a failed flush, and so does
// every one after it.
func TestPoisonedAsync(t *testing.T) {
	fail := false
	fs := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if fail && op.Kind == vfs.OpSync {
			return errInjected
		}
		return nil
	})
	l, err := Open("d", Config{FS: fs})
	require.NoError(t, err)
	require.NoError(t, l.Append(recs(0, 1, 1, 2)...))
	require.NoError(t, l.Sync())
	fail = true
	require.NoError(t, l.Append(recs(0, 1, 3)...))
	for range 2 {
		answer := make(chan error)
		l.SyncAsync(func(synced uint64, err error) {
			if synced != 2 {
				t.Errorf("synced up to %d, not 2", synced)
			}
			answer <- err
		})
		err := <-answer
		require.ErrorIs(t, err, ErrPoisoned)
		require.ErrorIs(t, err, errInjected)
	}
	require.ErrorIs(t, l.Close(), ErrPoisoned)
	l.SyncAsync(func(_ uint64, err error) { require.ErrorIs(t, err, ErrClosed) })
	require.NoError(t, l.Close())
}
