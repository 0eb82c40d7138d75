package txnlog_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Every state that the disk may be in, wherever power is lost (all subsets of what
// was not synced where they are few, zeros and garbage in its sectors): the store
// opens, has what was durable, the epochs are a pair that was written whole, and
// it goes on from there through a second loss of power (Z13, Z14, Z21, Z23).
func TestCrashImages(t *testing.T) {
	options := vfs.CrashOptions{ExhaustiveMax: 12, Random: 40, Rand: rand.New(rand.NewPCG(1, 3))}
	if testing.Short() {
		options = vfs.CrashOptions{ExhaustiveMax: 3, Random: 1, Rand: options.Rand}
	}
	images := 0
	points := interrupted(t, func(fs *vfs.Mem, at int, durable *zab.Recovered) {
		for image := range fs.Crashes(options) {
			images++
			o := reopened(t, image, at, durable)
			goesOn(t, image, o, at)
		}
	})
	t.Logf("%d points at which power was lost, %d images of the disk", points, images)
	require.Greater(t, images, 10*points/2)
}

// The disk is full from some operation on, the process ends, and what it had
// written is there although it was not synced: the store opens with it once there
// is room again (Z16, Z23).
func TestDiskFull(t *testing.T) {
	interrupted(t, func(fs *vfs.Mem, at int, durable *zab.Recovered) {
		goesOn(t, fs, reopened(t, fs, at, durable), at)
	})
}

// interrupted tells the story as often as it has operations of the disk, and has
// one more of them done each time.
func interrupted(t *testing.T, then func(fs *vfs.Mem, at int, durable *zab.Recovered)) (points int) {
	for at, finished := 1, false; !finished; at++ {
		fs := vfs.NewMem()
		count := 0
		var durable zab.Recovered
		err := story(vfs.Inject(fs, func(vfs.Op) error {
			if count++; count >= at {
				return errors.New("no more")
			}
			return nil
		}), &durable)
		finished = err == nil
		then(fs, at, &durable)
		points++
		require.Less(t, at, 10_000)
	}
	return points
}

func reopened(t *testing.T, fs vfs.FS, at int, durable *zab.Recovered) *opened {
	t.Helper()
	o, err := open(fs, 1)
	require.NoError(t, err, "interrupted at operation %d", at)
	require.GreaterOrEqual(t, o.rec.AcceptedEpoch, durable.AcceptedEpoch)
	require.GreaterOrEqual(t, o.rec.CurrentEpoch, durable.CurrentEpoch)
	require.LessOrEqual(t, o.rec.CurrentEpoch, o.rec.AcceptedEpoch, "they are written together")
	require.GreaterOrEqual(t, o.rec.Snapshot, durable.Snapshot)
	require.GreaterOrEqual(t, last(&o.rec), last(durable), "interrupted at operation %d", at)
	next := o.rec.Snapshot + 1
	for _, e := range o.rec.Entries {
		require.Equal(t, max(next, zab.MakeZxid(1, 1)), e.Zxid, "a hole")
		require.Equal(t, entries(1, int(e.Zxid&0xffff), int(e.Zxid&0xffff))[0].Data, e.Data)
		next = e.Zxid + 1
	}
	return o
}

func last(r *zab.Recovered) zab.Zxid {
	if n := len(r.Entries); n > 0 {
		return r.Entries[n-1].Zxid
	}
	return r.Snapshot
}

// goesOn writes to a store that came back, and has it come back once more.
func goesOn(t *testing.T, fs vfs.FS, o *opened, at int) {
	t.Helper()
	require.NoError(t, o.SetEpochs(zab.Epochs{Accepted: 2, Current: 2, Voter: true}))
	require.NoError(t, o.Append(entries(2, 1, 2)))
	require.NoError(t, o.Close())
	again, err := open(fs, 1)
	require.NoError(t, err, "interrupted at operation %d, the second start", at)
	require.EqualValues(t, 2, again.rec.CurrentEpoch)
	require.Equal(t, zab.MakeZxid(2, 2), last(&again.rec))
	require.Equal(t, o.rec.Snapshot, again.rec.Snapshot)
	require.Len(t, again.rec.Entries, len(o.rec.Entries)+2)
	require.NoError(t, again.Close())
}
