package partition

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

func TestEndOffsetFor(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	ask := func(epoch, wantEpoch int32, wantEnd int64) {
		t.Helper()
		e, end := b.EndOffsetFor(epoch)
		require.Equal(t, wantEpoch, e)
		require.Equal(t, wantEnd, end)
	}
	ask(0, -1, -1)
	require.EqualValues(t, -1, b.LatestEpoch())
	b.lead(2)
	ask(2, 2, 0) // nothing in it, and yet it is known (K7)
	b.add(2, plain(10, 1, 0))
	b.lead(5)
	b.add(5, plain(10, 1, 0))
	b.lead(6) // back-to-back elections
	b.lead(7)
	b.add(7, plain(5, 1, 0))
	b.lead(9)
	ask(-1, -1, -1)
	ask(0, 0, 0) // older than all: where the log begins
	ask(2, 2, 10)
	ask(3, 2, 10)
	ask(4, 2, 10)
	ask(5, 5, 20)
	ask(6, 5, 20) // had nothing
	ask(7, 7, 25)
	ask(8, 7, 25)
	ask(9, 9, 25) // the latest: the log end
	ask(10, -1, -1)
	require.EqualValues(t, 9, b.LatestEpoch())
	start, ok := b.EpochStart(7)
	require.True(t, ok)
	require.EqualValues(t, 20, start)
	_, ok = b.EpochStart(6)
	require.False(t, ok)
	b.sameAsReplay()

	require.NoError(t, b.DeleteRecordsBefore(12))
	ask(2, 2, 12) // older than all here: (asked epoch, log start)
	ask(5, 5, 20)
	b.reopen()
	ask(2, 2, 12)
	ask(5, 5, 20)
	require.EqualValues(t, 9, b.LatestEpoch())

	b.follow(10)
	end, err := b.TruncateTo(10, 20)
	require.NoError(t, err)
	require.EqualValues(t, 20, end)
	ask(5, 5, 20)
	ask(7, -1, -1)
}

// A replica led in an epoch and appended nothing. The leader that it follows now
// has records of an earlier epoch behind its end: they are taken, and the empty
// epoch goes.
func TestEmptyEpochGivesWay(t *testing.T) {
	leader, b := newBench(t, vfs.NewMem(), nil), newBench(t, vfs.NewMem(), nil)
	leader.lead(3)
	leader.add(3, plain(10, 1, 0))
	leader.add(3, plain(10, 1, 0))
	all, err := leader.Read(nil, 0, 1<<20, leader.LEO())
	require.NoError(t, err)
	_, _, rest, err := batch.Cut(all)
	require.NoError(t, err)

	b.follow(3)
	_, err = b.AppendAsFollower(3, all[:len(all)-len(rest)])
	require.NoError(t, err)
	b.lead(4)
	require.EqualValues(t, 4, b.LatestEpoch())
	b.follow(6)
	_, err = b.AppendAsFollower(6, rest)
	require.NoError(t, err)
	require.EqualValues(t, 20, b.LEO())
	require.EqualValues(t, 3, b.LatestEpoch())
	epoch, end := b.EndOffsetFor(3)
	require.EqualValues(t, 3, epoch)
	require.EqualValues(t, 20, end)
	b.sameAsReplay()
}

// TestEpochsSurviveTheirCheckpoint is K16: without the checkpoint, or with a
// damaged one, the epochs come from the log.
func TestEpochsSurviveTheirCheckpoint(t *testing.T) {
	for name, harm := range map[string]func(fsys vfs.FS, file string){
		"missing": func(fsys vfs.FS, file string) { require.NoError(t, fsys.Remove(file)) },
		"garbage": func(fsys vfs.FS, file string) {
			require.NoError(t, vfs.WriteFile(fsys, file, []byte("garbage, of some length")))
		},
		"empty": func(fsys vfs.FS, file string) { require.NoError(t, vfs.WriteFile(fsys, file, nil)) },
		"flipped": func(fsys vfs.FS, file string) {
			data, err := vfs.ReadFile(fsys, file, 1<<20)
			require.NoError(t, err)
			data[len(data)/2] ^= 4
			require.NoError(t, vfs.WriteFile(fsys, file, data))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := vfs.NewMem()
			b := newBench(t, fsys, nil)
			for e := range int32(5) {
				b.lead(e).add(e, idempotent(7, 0, e, 1))
			}
			want := b.state().encode()
			require.NoError(t, b.Close())
			harm(fsys, "data/t-0/"+stateFile)
			b.open()
			require.False(t, b.Unclean())
			require.Equal(t, want, b.state().encode())
			b.sameAsReplay()
		})
	}
}

// TestTruncateTo walks through every offset.
func TestTruncateTo(t *testing.T) {
	for cut := range int64(33) {
		b := newBench(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 1 << 10 })
		var want []byte
		end := int64(0)
		for i := range int32(10) {
			b.lead(i / 3)
			rec := idempotent(int64(i%2), 0, (i/2)*3, 3)
			b.add(i/3, rec)
			if b.LEO() <= cut {
				want = append(want, rec...)
				end = b.LEO()
			}
		}
		b.follow(20)
		leo, err := b.TruncateTo(20, cut)
		require.NoError(t, err)
		require.Equal(t, end, leo)
		require.Equal(t, end, b.LEO())
		require.LessOrEqual(t, b.SyncedEnd(), end)
		require.True(t, bytes.Equal(want, b.all()))
		b.sameAsReplay()
		state := b.state().encode()
		b.reopen()
		require.Equal(t, end, b.LEO())
		require.True(t, bytes.Equal(want, b.all()))
		require.Equal(t, state, b.state().encode())
		b.follow(20)
		_, err = b.AppendAsFollower(20, placed(end, 20, 3))
		require.NoError(t, err)
		b.sameAsReplay()
	}
}

// TestTruncateUsesCheckpoints: those above the cut are gone before the log is cut
// (K25), the one below saves the replay from the beginning.
func TestTruncateUsesCheckpoints(t *testing.T) {
	fsys := vfs.NewMem()
	b := newBench(t, fsys, nil).lead(1)
	for range 3 {
		for range 5 {
			b.add(1, plain(2, 100, 0))
		}
		require.NoError(t, b.checkpoint(1))
	}
	have := func(file string) int64 {
		st, err := b.readState(file)
		require.NoError(t, err)
		if st == nil {
			return -1
		}
		return st.end
	}
	require.EqualValues(t, 30, have(stateFile))
	require.EqualValues(t, 20, have(oldStateFile))
	b.follow(2)
	leo, err := b.TruncateTo(2, 25)
	require.NoError(t, err)
	require.EqualValues(t, 24, leo)
	require.EqualValues(t, -1, have(stateFile))
	require.EqualValues(t, 20, have(oldStateFile))
	b.sameAsReplay()
	require.NoError(t, b.TruncateFullyAndStartAt(2, 100))
	require.EqualValues(t, -1, have(oldStateFile))
	require.EqualValues(t, 100, b.LEO())
	require.EqualValues(t, 100, b.LogStart())
	require.EqualValues(t, 100, b.SyncedEnd())
	require.Empty(t, b.all())
	b.reopen()
	require.EqualValues(t, 100, b.LEO())
	require.EqualValues(t, 100, b.LogStart())
	_, err = b.Read(nil, 99, 1, math.MaxInt64)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
}

func TestTruncateOddities(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(1)
	b.add(1, plain(5, 10, 0))
	b.lead(3)
	b.follow(4)
	require.EqualValues(t, 3, b.LatestEpoch())
	end, err := b.TruncateTo(4, 50) // above: only the empty epoch goes
	require.NoError(t, err)
	require.EqualValues(t, 5, end)
	require.EqualValues(t, 1, b.LatestEpoch())
	_, err = b.TruncateTo(4, -1)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	require.ErrorIs(t, b.TruncateFullyAndStartAt(4, -1), ErrOffsetOutOfRange)
	require.ErrorIs(t, b.DeleteRecordsBefore(6), ErrOffsetOutOfRange)
	require.NoError(t, b.DeleteRecordsBefore(3))
	end, err = b.TruncateTo(4, 4) // inside the only batch
	require.NoError(t, err)
	require.EqualValues(t, 3, end)
	require.EqualValues(t, 3, b.LEO())
	require.EqualValues(t, 3, b.LogStart())
	end, err = b.TruncateTo(4, 1) // below the log start
	require.NoError(t, err)
	require.EqualValues(t, 1, end)
	require.EqualValues(t, 1, b.LEO())
	b.reopen()
	require.EqualValues(t, 1, b.LEO())
}
