package wal

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// TestScenarios drives the bugs of others that the catalogue names, each by its
// id, as a trace of its own; the enumerations reach them too, among much else.
// The promises P1, P2 and P3 are TestCrashEverywhere, TestBitFlips and
// TestErrorWalk.
func TestScenarios(t *testing.T) {
	for id, scenario := range map[string]func(t *testing.T){
		"W1 crash between the first segment and the manifest": scenarioW1,
		"W2 the tail segment is deleted":                      scenarioW2,
		"W3 a middle segment is cut":                          scenarioW3,
		"W4 truncate, crash, the same keys again":             scenarioW4,
		"E5 two appends reach the disk in the wrong order":    scenarioE5,
		"E6 torn at every sector":                             scenarioE6,
		"K15 an append fails, and others follow":              scenarioK15,
		"fsync policy":                                        scenarioFsyncPolicy,
	} {
		t.Run(id, scenario)
	}
}

// W1: hashicorp/raft-wal under ALICE. A crash before any operation of a log's
// first moments, in every way: the log opens, and takes records.
func scenarioW1(t *testing.T) {
	mem := vfs.NewMem()
	states, inside := 0, false
	fs := vfs.Inject(mem, func(op vfs.Op) error {
		if inside || !op.Changes() {
			return nil
		}
		inside = true
		for disk := range mem.Crashes(vfs.CrashOptions{ExhaustiveMax: 10}) {
			states++
			l, err := Open("d/log", Config{FS: disk})
			require.NoError(t, err, "before %s %s", op.Kind, op.Name)
			require.NoError(t, l.Append(recs(1, 3, l.Next()+7)...))
			require.NoError(t, l.Close())
		}
		inside = false
		return nil
	})
	l := openT(t, fs, Config{SegmentBytes: 1 << 10, Flusher: closedFlusher()})
	require.NoError(t, l.Append(recs(0, 300, 1)...))
	require.NoError(t, l.Sync())
	require.NoError(t, l.Append(recs(0, 300, 2)...)) // rolls
	require.NoError(t, l.Sync())
	require.Greater(t, states, 100)
}

func closedFlusher() *Flusher {
	f := NewFlusher(1)
	f.Close()
	return f
}

func scenarioW2(t *testing.T) {
	for _, clean := range []bool{true, false} {
		img, _, _ := damagedLog(t, 2<<10, clean)
		last := img.segments()[2]
		delete(img, last)
		_, err := Open("d/log", Config{FS: img.mount(t)})
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, last)
	}
}

// W3: memgraph #4528.
func scenarioW3(t *testing.T) {
	img, _, _ := damagedLog(t, 2<<10, true)
	middle := img.segments()[1]
	whole := img[middle]
	for n := range whole {
		img[middle] = whole[:n]
		_, err := Open("d/log", Config{FS: img.mount(t), NoLock: true})
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, middle)
	}
}

// W4: the files that were cut off are not gone yet, or come back, or are used
// again for the same keys: none of the old records does.
func scenarioW4(t *testing.T) {
	mem := vfs.NewMem()
	l := openT(t, mem, Config{SegmentBytes: 1 << 10, Flusher: closedFlusher()})
	require.NoError(t, l.Append(recs(0, 90, seq(1, 8)...)...))
	require.NoError(t, l.Sync())
	require.NoError(t, l.TruncateAfter(2))
	kept := recs(0, 90, 1, 2)
	again := recs(1, 90, seq(3, 8)...)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range again {
		require.NoError(t, l.Append(again[i]))
		for range 30 {
			rec, err := reopenDamaged(mem.CrashClone(rng))
			require.NoError(t, err)
			require.Greater(t, len(rec), 1)
			require.Equal(t, append(slices.Clone(kept), again...)[:len(rec)], rec)
		}
	}
	require.Positive(t, l.Stats().Recycled)
}

// tailOf is a log with two records synced and three that are not, and the images
// that its last segment may be torn into.
func tailOf(t *testing.T) (img image, name string, synced, end int, want []Record) {
	mem := vfs.NewMem()
	l := openT(t, mem, Config{Flusher: closedFlusher()})
	want = recs(0, 400, seq(1, 5)...)
	require.NoError(t, l.Append(want[:2]...))
	require.NoError(t, l.Sync())
	synced = int(l.Segments()[0].Bytes)
	require.NoError(t, l.Append(want[2]))
	require.NoError(t, l.Append(want[3:]...))
	end = int(l.Segments()[0].Bytes)
	img = imageOf(t, mem.Clone(), "d/log")
	return img, img.segments()[0], synced, end, want
}

// goesOn opens a torn log, wants a prefix, and writes on: nothing that was
// behind the tear may follow.
func goesOn(t *testing.T, img image, want []Record, least int, what string) {
	disk := img.mount(t)
	l := openT(t, disk, Config{NoLock: true})
	got := contents(t, l)
	require.GreaterOrEqual(t, len(got), least, what)
	require.Equal(t, want[:len(got)], got, what)
	add := recs(1, 400, l.Next())
	require.NoError(t, l.Append(add...))
	require.NoError(t, l.Sync())
	again, err := reopenDamaged(disk.Clone())
	require.NoError(t, err, what)
	require.Equal(t, append(got, add...), again, what)
}

// E5: etcd #6378, #14098.
func scenarioE5(t *testing.T) {
	img, name, synced, end, want := tailOf(t)
	whole := img[name]
	third := synced + int(recordBytes(len(want[2].Payload)))
	for what, lost := range map[string][2]int{
		"the first is lost": {synced, third}, "the second is lost": {third, end}, "both headers are lost": {synced, synced + recHeaderBytes},
	} {
		b := slices.Clone(whole)
		clear(b[lost[0]:lost[1]])
		img[name] = b
		goesOn(t, img, want, 2, what)
	}
}

// E6: etcd #5230, #6515, #15068. Each set of the unsynced sectors reaches the
// disk, and the others are zero or what was there.
func scenarioE6(t *testing.T) {
	img, name, synced, end, want := tailOf(t)
	whole := img[name]
	const sector = 512
	first, last := synced/sector, (end-1)/sector
	n := last - first + 1
	require.Greater(t, n, 5)
	for set := range 1 << n {
		b := slices.Clone(whole)
		for i := range n {
			if set>>i&1 == 0 {
				clear(b[max(synced, (first+i)*sector):min(end, (first+i+1)*sector)])
			}
		}
		i := maps.Clone(img)
		i[name] = b
		goesOn(t, i, want, 2, fmt.Sprintf("sectors %b", set))
	}
}

// K15: KAFKA-10778. EIO on an append; later ones would work, and are refused.
func scenarioK15(t *testing.T) {
	fail := false
	mem := vfs.NewMem()
	l := openT(t, vfs.Inject(mem, func(op vfs.Op) error {
		if fail && op.Kind == vfs.OpWrite {
			fail = false // once
			return errInjected
		}
		return nil
	}), Config{})
	require.NoError(t, l.Append(recs(0, 5, 1)...))
	require.NoError(t, l.Sync())
	fail = true
	require.ErrorIs(t, l.Append(recs(0, 5, 2)...), errInjected)
	for key := range uint64(5) {
		require.ErrorIs(t, l.Append(recs(0, 5, 3+key)...), ErrPoisoned)
	}
	require.ErrorIs(t, l.Sync(), ErrPoisoned)
	_, err := l.Commit([]byte("x"))
	require.ErrorIs(t, err, ErrPoisoned)
	rec, err := l.NewReader(0).Next()
	require.NoError(t, err, "what there is can be read")
	require.EqualValues(t, 1, rec.Key)
	require.ErrorIs(t, l.Close(), ErrPoisoned)
	l = openT(t, mem, Config{})
	require.Equal(t, recs(0, 5, 1), contents(t, l))
}

// The policy that fsyncgate taught: (1) a failed fsync is never tried again,
// though the next would "succeed"; (2) Open reads what the disk has, from the
// last place known durable on; (4) Close does not sync to be nice. (3) is for
// who owns the log: it learns of the failure at once.
func scenarioFsyncPolicy(t *testing.T) {
	mem := vfs.NewMem()
	fail, syncs := false, 0
	l := openT(t, vfs.Inject(mem, func(op vfs.Op) error {
		if op.Kind != vfs.OpSync {
			return nil
		}
		syncs++
		if fail {
			return fmt.Errorf("%w: %w", errInjected, vfs.ErrSyncLost)
		}
		return nil
	}), Config{Flusher: closedFlusher()})
	require.NoError(t, l.Append(recs(0, 50, 1, 2)...))
	require.NoError(t, l.Sync())
	require.NoError(t, l.Append(recs(0, 50, 3)...))
	fail = true
	require.ErrorIs(t, l.Sync(), errInjected)
	fail = false
	before := syncs
	require.ErrorIs(t, l.Sync(), ErrPoisoned)
	require.ErrorIs(t, l.Append(recs(0, 50, 4)...), ErrPoisoned)
	require.ErrorIs(t, l.Close(), ErrPoisoned)
	require.Equal(t, before, syncs)
	l = openT(t, mem, Config{})
	require.Equal(t, recs(0, 50, 1, 2), contents(t, l), "the cache still shows a third")
}
