package partition

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

func TestAppendAndRead(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(3)
	one, two := plain(3, 10, 100), plain(2, 10, 200)
	res := b.add(3, append(bytes.Clone(one), two...))
	require.Equal(t, Appended{BaseOffset: 0, NextOffset: 5, LogAppendTime: -1}, res)
	three := plain(1, 2000, 300)
	res = b.add(3, three)
	require.Equal(t, Appended{BaseOffset: 5, NextOffset: 6, LogAppendTime: -1}, res)
	require.EqualValues(t, 6, b.LEO())

	batch.SetLeaderEpoch(one, 3)
	batch.SetBaseOffset(two, 3)
	batch.SetLeaderEpoch(two, 3)
	require.Equal(t, append(append(bytes.Clone(one), two...), three...), b.all())

	for _, c := range []struct {
		from      int64
		max       int
		upTo      int64
		want      []byte
		wantError error
	}{
		{0, 1, 6, one, nil}, // KIP-74: the first one whatever its size
		{1, 1, 6, one, nil}, // the batch that contains the offset
		{3, 1, 6, two, nil}, //
		{4, len(two) + len(three), 6, append(bytes.Clone(two), three...), nil},
		{4, len(two) + len(three) - 1, 6, two, nil},
		{0, math.MaxInt32, 5, append(bytes.Clone(one), two...), nil},
		{0, math.MaxInt32, 4, one, nil}, // not half a batch
		{0, math.MaxInt32, 2, nil, nil},
		{6, 100, 6, nil, nil},
		{6, 100, 100, nil, nil},
		{7, 100, 6, nil, ErrOffsetOutOfRange},
		{-1, 100, 6, nil, ErrOffsetOutOfRange},
	} {
		out, err := b.Read([]byte("x"), c.from, c.max, c.upTo)
		require.ErrorIs(t, err, c.wantError)
		require.Equal(t, string(append([]byte("x"), c.want...)), string(out), "%+v", c)
	}
	b.sameAsReplay()
}

// TestTailing: a reader that goes on where it was, while the log grows.
func TestTailing(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(0)
	var want, got []byte
	next := int64(0)
	for i := range 200 {
		rec := plain(1+i%3, 50, int64(i))
		b.add(0, rec)
		want = append(want, rec...)
		if i%5 == 0 {
			n := len(got)
			var err error
			got, err = b.Read(got, next, 300, math.MaxInt64)
			require.NoError(t, err)
			for rest := got[n:]; len(rest) > 0; {
				h, _, after, err := batch.Cut(rest)
				require.NoError(t, err)
				require.Equal(t, next, h.BaseOffset)
				next, rest = h.NextOffset(), after
			}
		}
	}
	got, err := b.Read(got, next, math.MaxInt32, math.MaxInt64)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.LessOrEqual(t, len(b.mu.cursors), cursorsMax)
	require.NoError(t, b.Checkpoint())
	require.Empty(t, b.mu.cursors)
}

func TestNothingOnDiskBeforeTheFirstAppend(t *testing.T) {
	fsys := vfs.NewMem()
	b := newBench(t, fsys, nil)
	b.follow(1)
	b.lead(2)
	require.Empty(t, b.all())
	require.NoError(t, b.Checkpoint())
	_, ok, err := b.OffsetForTimestamp(0, math.MaxInt64)
	require.NoError(t, err)
	require.False(t, ok)
	start, err := b.ApplyRetention(1, 1)
	require.NoError(t, err)
	require.Zero(t, start)
	require.NoError(t, b.Flush())
	b.reopen()
	require.NoError(t, b.follow(3).TruncateFullyAndStartAt(3, 40))
	require.EqualValues(t, 40, b.LEO())
	_, err = fsys.ReadDir("data")
	require.Error(t, err)
	end, err := b.AppendAsFollower(3, placed(40, 3, 2))
	require.NoError(t, err)
	require.EqualValues(t, 42, end)
	b.reopen()
	require.EqualValues(t, 40, b.LogStart())
	require.EqualValues(t, 42, b.LEO())
	require.NoError(t, b.Delete())
	names, err := fsys.ReadDir("data")
	require.NoError(t, err)
	require.Empty(t, names)
}

// TestSyncedEnd: on a durable log the notification follows the sync, without
// anybody asking for it; on a relaxed one it is the log end.
func TestSyncedEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil).lead(0)
		b.add(0, plain(3, 10, 0))
		synctest.Wait()
		require.EqualValues(t, 3, b.SyncedEnd())
		require.EqualValues(t, 3, b.notified.Load())
		b.Configure(Settings{FlushMessages: math.MaxInt64})
		b.add(0, plain(2, 10, 0))
		require.EqualValues(t, 5, b.SyncedEnd())
		require.EqualValues(t, 5, b.notified.Load())
		b.Configure(Settings{})
		b.add(0, plain(2, 10, 0))
		synctest.Wait()
		require.EqualValues(t, 7, b.SyncedEnd())
		require.NoError(t, b.Flush())
		require.NoError(t, b.Close())
		require.NoError(t, b.flusher.Close())
	})
}

func TestLogAppendTime(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) { c.Settings.LogAppendTime = true }).lead(0)
	rec := plain(3, 10, 100)
	res, err := b.AppendAsLeader(0, rec, 777)
	require.NoError(t, err)
	require.EqualValues(t, 777, res.LogAppendTime)
	h, err := batch.Check(b.all())
	require.NoError(t, err)
	require.True(t, h.IsLogAppendTime())
	require.EqualValues(t, 777, h.MaxTimestamp)
	found, ok, err := b.OffsetForTimestamp(500, math.MaxInt64)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Found{0, 777, 0}, found)

	first := idempotent(1, 0, 0, 2)
	res, err = b.AppendAsLeader(0, bytes.Clone(first), 800)
	require.NoError(t, err)
	res, err = b.AppendAsLeader(0, first, 900)
	require.NoError(t, err)
	require.True(t, res.Duplicate)
	require.EqualValues(t, 800, res.LogAppendTime)
	b.sameAsReplay()
}

func TestInvalidBatches(t *testing.T) {
	b := newBench(t, vfs.NewMem(), func(c *Config) {
		c.Settings.MaxMessageBytes = 500
		c.Settings.TimestampDifferenceMax = 1000
	}).lead(0)
	good := plain(2, 10, 5000)
	changed := func(change func([]byte)) []byte {
		c := bytes.Clone(good)
		change(c)
		batch.SetMaxTimestamp(c, 5001) // new CRC
		return c
	}
	for name, c := range map[string]struct {
		records []byte
		want    error
	}{
		"empty":         {nil, ErrInvalidRecord},
		"garbage":       {bytes.Repeat([]byte{7}, 100), batch.ErrCorrupt},
		"magic 1":       {changed(func(b []byte) { b[16] = 1 }), ErrUnsupportedMagic},
		"cut":           {good[:len(good)-1], batch.ErrCorrupt},
		"second is cut": {append(bytes.Clone(good), good[:70]...), batch.ErrCorrupt},
		"crc":           {append(good[:len(good)-1:len(good)-1], 0xee), batch.ErrCorrupt},
		"large":         {plain(1, 500, 5000), ErrMessageTooLarge},
		"old":           {plain(1, 1, 3999), ErrInvalidTimestamp},
		"future":        {plain(1, 1, 6001), ErrInvalidTimestamp},
		"codec 5":       {changed(func(b []byte) { b[22] = 5 }), ErrUnsupportedCodec},
		"stamped":       {changed(func(b []byte) { b[22] = 8 }), ErrInvalidTimestamp},
		"transactional": {changed(func(b []byte) { b[22] = 16 }), ErrInvalidRecord},
		"count":         {changed(func(b []byte) { b[26] = 5 }), ErrInvalidRecord},
		"no records":    {changed(func(b []byte) { b[60] = 0 }), ErrInvalidRecord},
		"control":       {batch.AppendMarker(nil, batch.NewSpec(), batch.Marker{Timestamp: 5000}), ErrInvalidRecord},
		"no sequence":   {idempotent(1, 0, -1, 1), ErrInvalidRecord},
		"no epoch":      {idempotent(1, -1, 0, 1), ErrInvalidRecord},
	} {
		_, err := b.AppendAsLeader(0, c.records, 5000)
		require.ErrorIs(t, err, c.want, name)
	}
	require.Zero(t, b.LEO())
	require.NoError(t, b.Err())
	b.add(0, good)
}

func TestFencing(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	_, err := b.AppendAsLeader(-1, plain(1, 1, 0), 0)
	require.ErrorIs(t, err, ErrFencedEpoch)
	b.lead(2)
	for _, e := range []int32{-1, 1, 3} {
		_, err := b.AppendAsLeader(e, plain(1, 1, 0), 0)
		require.ErrorIs(t, err, ErrFencedEpoch)
	}
	_, err = b.AppendAsFollower(2, placed(0, 2, 1))
	require.ErrorIs(t, err, ErrFencedEpoch)
	_, err = b.TruncateTo(2, 0)
	require.ErrorIs(t, err, ErrFencedEpoch)
	require.ErrorIs(t, b.TruncateFullyAndStartAt(2, 0), ErrFencedEpoch)
	require.ErrorIs(t, b.Follow(2), ErrFencedEpoch)
	require.ErrorIs(t, b.Follow(1), ErrFencedEpoch)
	require.ErrorIs(t, b.StartEpoch(1), ErrFencedEpoch)
	b.add(2, plain(1, 1, 0))
	b.lead(2) // again: nothing changes
	b.follow(4)
	require.ErrorIs(t, b.StartEpoch(4), ErrFencedEpoch)
	_, err = b.AppendAsLeader(4, plain(1, 1, 0), 0)
	require.ErrorIs(t, err, ErrFencedEpoch)
	_, err = b.AppendAsFollower(3, placed(1, 3, 1))
	require.ErrorIs(t, err, ErrFencedEpoch)
	_, err = b.AppendAsFollower(4, placed(1, 5, 1))
	require.ErrorIs(t, err, ErrFencedEpoch)
	_, err = b.AppendAsFollower(4, placed(1, 1, 1))
	require.ErrorIs(t, err, ErrFencedEpoch, "below what the log has")
	_, err = b.AppendAsFollower(4, placed(1, 4, 1))
	require.NoError(t, err)
}

// TestFollowerIsByteEqual copies a log in pieces of odd sizes, as Fetch does.
func TestFollowerIsByteEqual(t *testing.T) {
	leader := newBench(t, vfs.NewMem(), nil).lead(0)
	follower := newBench(t, vfs.NewMem(), nil).follow(9)
	for i := range 60 {
		leader.lead(int32(i / 20))
		leader.add(int32(i/20), plain(1+i%4, 20*i, int64(i)))
	}
	for follower.LEO() < leader.LEO() {
		out, err := leader.Read(nil, follower.LEO(), 1000, math.MaxInt64)
		require.NoError(t, err)
		out = append(out, plain(1, 1, 1)[:40]...) // a partial batch at the end
		end, err := follower.AppendAsFollower(9, out)
		require.NoError(t, err)
		require.Equal(t, follower.LEO(), end)
	}
	require.Equal(t, leader.all(), follower.all())
	require.Equal(t, leader.state().epochs, follower.state().epochs)
	_, err := follower.AppendAsFollower(9, placed(follower.LEO()+1, 9, 1))
	require.ErrorIs(t, err, ErrOffsetGap)
	_, err = follower.AppendAsFollower(9, placed(follower.LEO()-1, 9, 1))
	require.ErrorIs(t, err, ErrOffsetGap)
	bad := placed(follower.LEO(), 9, 1)
	bad[len(bad)-1]++
	_, err = follower.AppendAsFollower(9, bad)
	require.ErrorIs(t, err, batch.ErrCorrupt)
	end, err := follower.AppendAsFollower(9, bad[:50])
	require.NoError(t, err)
	require.Equal(t, leader.LEO(), end)
	follower.sameAsReplay()
}

// TestFollowerStartsInsideABatch: the leader's log start is inside a batch
// (KIP-107), and an empty follower gets that batch first.
func TestFollowerStartsInsideABatch(t *testing.T) {
	leader := newBench(t, vfs.NewMem(), nil).lead(0)
	leader.add(0, plain(10, 10, 0))
	require.NoError(t, leader.DeleteRecordsBefore(4))
	follower := newBench(t, vfs.NewMem(), nil).follow(0)
	require.NoError(t, follower.TruncateFullyAndStartAt(0, leader.LogStart()))
	out, err := leader.Read(nil, 4, 1000, 10)
	require.NoError(t, err)
	end, err := follower.AppendAsFollower(0, out)
	require.NoError(t, err)
	require.EqualValues(t, 10, end)
	require.EqualValues(t, 4, follower.LogStart())
	_, err = follower.Read(nil, 3, 100, 10)
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	require.Equal(t, leader.all(), follower.all())
	follower.reopen()
	require.EqualValues(t, 4, follower.LogStart())
	require.Equal(t, leader.all(), follower.all())
}

// TestPoisoned is K15: after a failed write all later appends fail, and a sync
// that failed is not tried again.
func TestPoisoned(t *testing.T) {
	for name, kind := range map[string]vfs.OpKind{"write": vfs.OpWrite, "sync": vfs.OpSync} {
		t.Run(name, func(t *testing.T) {
			broken := errors.New("no such luck")
			var fail bool
			fsys := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
				if fail && op.Kind == kind {
					return broken
				}
				return nil
			})
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, fsys, nil).lead(0)
				b.add(0, plain(1, 10, 0))
				synctest.Wait()
				fail = true
				_, err := b.AppendAsLeader(0, plain(1, 10, 0), 0)
				synctest.Wait()
				if kind == vfs.OpWrite {
					require.ErrorIs(t, err, broken)
				} else {
					require.NoError(t, err) // and it is never acknowledged
				}
				fail = false
				require.EqualValues(t, 1, b.SyncedEnd())
				require.ErrorIs(t, b.Err(), broken)
				require.ErrorIs(t, *b.failure.Load(), broken)
				for range 3 {
					_, err = b.AppendAsLeader(0, plain(1, 10, 0), 0)
					require.ErrorIs(t, err, broken)
				}
				require.ErrorIs(t, b.StartEpoch(5), broken)
				require.ErrorIs(t, b.Flush(), broken)
				require.Error(t, b.Close())
				b.open()
				require.True(t, b.Unclean())
				require.GreaterOrEqual(t, b.LEO(), int64(1))
				b.Abort()
				require.NoError(t, b.flusher.Close())
			})
		})
	}
}

func TestClosed(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(0)
	b.add(0, plain(5, 10, 0))
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	b.Abort()
	_, err := b.AppendAsLeader(0, plain(1, 1, 0), 0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = b.AppendAsFollower(0, placed(0, 0, 1))
	require.ErrorIs(t, err, ErrClosed)
	_, err = b.Read(nil, 0, 1, 1)
	require.ErrorIs(t, err, ErrClosed)
	_, _, err = b.OffsetForTimestamp(0, 1)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, b.StartEpoch(9), ErrClosed)
	require.ErrorIs(t, b.Follow(9), ErrClosed)
	_, err = b.TruncateTo(0, 0)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, b.DeleteRecordsBefore(2), ErrClosed)
	require.ErrorIs(t, b.Flush(), ErrClosed)
	require.ErrorIs(t, b.Checkpoint(), ErrClosed)
	b.Configure(Settings{})
}

func TestForeignDirectory(t *testing.T) {
	fsys := vfs.NewMem()
	b := newBench(t, fsys, nil).lead(0)
	b.add(0, plain(1, 1, 0))
	require.NoError(t, b.Close())
	other := b.cfg
	other.TopicID = [16]byte{9}
	_, err := Open(other)
	require.ErrorIs(t, err, ErrTopicID)

	require.NoError(t, fsys.Remove("data/t-0/meta"))
	_, err = Open(b.cfg)
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, vfs.WriteFile(fsys, "data/t-0/meta", []byte("something else entirely")))
	_, err = Open(b.cfg)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = Open(Config{})
	require.Error(t, err)
	require.NoError(t, Remove(fsys, "data/t-0"))
	b.open()
	require.Zero(t, b.LEO())
}
