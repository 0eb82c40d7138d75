package partition

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

func TestIdempotence(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(0)
	try := func(epoch int16, seq int32, n int) (Appended, error) {
		return b.AppendAsLeader(0, idempotent(7, epoch, seq, n), 0)
	}
	ok := func(epoch int16, seq int32, n int, base int64, dup bool) {
		t.Helper()
		res, err := try(epoch, seq, n)
		require.NoError(t, err)
		require.Equal(t, base, res.BaseOffset)
		require.Equal(t, base+int64(n), res.NextOffset)
		require.Equal(t, dup, res.Duplicate)
	}
	bad := func(epoch int16, seq int32, n int, want error) {
		t.Helper()
		_, err := try(epoch, seq, n)
		require.ErrorIs(t, err, want)
	}
	bad(0, 5, 1, ErrUnknownProducer)
	ok(0, 0, 3, 0, false)
	ok(0, 0, 3, 0, true)
	bad(0, 0, 2, ErrOutOfOrderSequence) // not the same batch
	bad(0, 4, 1, ErrOutOfOrderSequence)
	ok(0, 3, 2, 3, false)
	for i := range int32(4) {
		ok(0, 5+i, 1, 5+int64(i), false)
	}
	// K24: the last five are remembered, the sixth is not.
	bad(0, 0, 3, ErrOutOfOrderSequence)
	ok(0, 3, 2, 3, true)
	ok(0, 8, 1, 8, true)
	b.reopen()
	b.lead(0)
	ok(0, 3, 2, 3, true)
	bad(0, 10, 1, ErrOutOfOrderSequence)
	ok(0, 9, 1, 9, false)
	// A new epoch begins with 0, and fences the old one.
	bad(1, 10, 1, ErrOutOfOrderSequence)
	ok(1, 0, 1, 10, false)
	bad(0, 10, 1, ErrInvalidProducerEpoch)
	bad(0, 9, 1, ErrInvalidProducerEpoch)
	ok(1, 0, 1, 10, true)
	require.Equal(t, []Producer{
		{ID: 7, Epoch: 1, LastSequence: 0, LastTimestamp: 1000, CoordinatorEpoch: -1, TxnStart: -1},
	}, b.Producers())
	b.sameAsReplay()
	b.ExpireProducers(1000)
	require.Len(t, b.Producers(), 1)
	b.ExpireProducers(1001)
	require.Empty(t, b.Producers())
	bad(1, 1, 1, ErrUnknownProducer)
}

// TestSequenceWraps: after 2^31-1 comes 0 (KAFKA-6683).
func TestSequenceWraps(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).follow(0)
	s := batch.NewSpec()
	s.LeaderEpoch, s.ProducerID, s.ProducerEpoch, s.BaseSequence = 0, 7, 0, math.MaxInt32-1
	_, err := b.AppendAsFollower(0, build(s, 4, 10, 0, batch.None)) // ends with sequence 1
	require.NoError(t, err)
	b.lead(1)
	_, err = b.AppendAsLeader(1, idempotent(7, 0, 1, 1), 0)
	require.ErrorIs(t, err, ErrOutOfOrderSequence)
	require.EqualValues(t, 4, b.add(1, idempotent(7, 0, 2, 1)).BaseOffset)
	require.True(t, b.add(1, idempotent(7, 0, math.MaxInt32-1, 4)).Duplicate)
	b.sameAsReplay()
}

// TestSeveralBatches: the batches of one call see one another, and either all of
// them are appended or none, and then the state is as before (K22).
func TestSeveralBatches(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).lead(0)
	join := func(batches ...[]byte) []byte { return bytes.Join(batches, nil) }
	res := b.add(0, join(idempotent(1, 0, 0, 2), idempotent(2, 0, 0, 1), idempotent(1, 0, 2, 2), plain(3, 1, 1)))
	require.EqualValues(t, 0, res.BaseOffset)
	require.EqualValues(t, 8, res.NextOffset)
	before := b.state().encode()
	for _, c := range []struct {
		last []byte
		want error
	}{
		{idempotent(1, 0, 6, 1), ErrOutOfOrderSequence},
		{idempotent(3, 0, 6, 1), ErrUnknownProducer},
		{idempotent(1, -1, 6, 1), ErrInvalidRecord},
	} {
		_, err := b.AppendAsLeader(0, join(idempotent(1, 0, 4, 1), idempotent(9, 0, 0, 1), c.last), 0)
		require.ErrorIs(t, err, c.want)
		require.Equal(t, before, b.state().encode())
		require.EqualValues(t, 8, b.LEO())
	}
	// A duplicate and its successor.
	res = b.add(0, join(idempotent(1, 0, 2, 2), idempotent(1, 0, 4, 1)))
	require.False(t, res.Duplicate)
	require.EqualValues(t, 3, res.BaseOffset)
	require.EqualValues(t, 9, res.NextOffset)
	b.sameAsReplay()
}

// TestMarkers: a control batch from the leader ends the transaction and may
// raise the producer's epoch.
func TestMarkers(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil).follow(0)
	s := batch.NewSpec()
	s.LeaderEpoch, s.ProducerID, s.ProducerEpoch, s.BaseSequence, s.Attributes = 0, 5, 1, 0, batch.Transactional
	_, err := b.AppendAsFollower(0, build(s, 3, 10, 0, batch.None))
	require.NoError(t, err)
	require.EqualValues(t, 0, b.Producers()[0].TxnStart)
	b.ExpireProducers(math.MaxInt64)
	require.Len(t, b.Producers(), 1)
	s.BaseOffset, s.ProducerEpoch = 3, 2
	_, err = b.AppendAsFollower(0, batch.AppendMarker(nil, s, batch.Marker{Type: batch.Abort, CoordinatorEpoch: 4, Timestamp: 9}))
	require.NoError(t, err)
	require.Equal(t, []Producer{
		{ID: 5, Epoch: 2, LastSequence: -1, LastTimestamp: 9, CoordinatorEpoch: 4, TxnStart: -1},
	}, b.Producers())
	b.sameAsReplay()
	s.BaseOffset, s.Attributes = 4, batch.Control
	_, err = b.AppendAsFollower(0, build(s, 1, 10, 0, batch.None))
	require.ErrorIs(t, err, batch.ErrCorrupt)
	b.lead(1)
	_, err = b.AppendAsLeader(1, idempotent(5, 1, 3, 1), 0)
	require.ErrorIs(t, err, ErrInvalidProducerEpoch)
	b.add(1, idempotent(5, 2, 0, 1))
}
