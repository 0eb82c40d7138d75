package partition

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// plain makes a batch of n records with values of size bytes and timestamps
// from ts on.
func plain(n, size int, ts int64) []byte {
	return build(batch.NewSpec(), n, size, ts, batch.None)
}

// idempotent makes a batch of a producer.
func idempotent(id int64, epoch int16, seq int32, n int) []byte {
	s := batch.NewSpec()
	s.ProducerID, s.ProducerEpoch, s.BaseSequence = id, epoch, seq
	return build(s, n, 10, 1000, batch.None)
}

// placed makes a batch as a leader would have it.
func placed(offset int64, epoch int32, n int) []byte {
	s := batch.NewSpec()
	s.BaseOffset, s.LeaderEpoch = offset, epoch
	return build(s, n, 10, 1000, batch.None)
}

func build(s batch.Spec, n, size int, ts int64, c batch.Codec) []byte {
	var b batch.Builder
	for i := range n {
		value := bytes.Repeat([]byte{byte(i)}, size)
		if err := b.Append(ts+int64(i), fmt.Appendf(nil, "k%d", i), value, nil); err != nil {
			panic(err)
		}
	}
	out, err := b.BuildCompressed(s, c, func(dst, src []byte) ([]byte, error) {
		return codec.Compress(dst, src, c, 0)
	})
	if err != nil {
		panic(err)
	}
	return bytes.Clone(out)
}

// bench is a partition under test on a file system of its own.
type bench struct {
	tb      testing.TB
	fs      vfs.FS
	flusher *wal.Flusher
	cfg     Config
	*Partition
	notified atomic.Int64
	failure  atomic.Pointer[error]
}

func newBench(tb testing.TB, fsys vfs.FS, change func(*Config)) *bench {
	b := &bench{tb: tb, fs: fsys, flusher: wal.NewFlusher(2)}
	tb.Cleanup(func() { _ = b.flusher.Close() })
	b.cfg = Config{
		Dir: "data/t-0", FS: fsys, Flusher: b.flusher, TopicID: [16]byte{1, 2, 3}, SegmentBytes: 4 << 10,
		OnSynced: func(end int64) { b.notified.Store(end) },
		OnError:  func(err error) { b.failure.Store(&err) },
	}
	if change != nil {
		change(&b.cfg)
	}
	b.open()
	tb.Cleanup(func() { b.Abort() })
	return b
}

func (b *bench) open() {
	b.tb.Helper()
	b.notified.Store(0)
	p, err := Open(b.cfg)
	require.NoError(b.tb, err)
	b.Partition = p
}

func (b *bench) reopen() {
	b.tb.Helper()
	require.NoError(b.tb, b.Close())
	b.open()
}

// crash goes on with another file system, as after a loss of power.
func (b *bench) crash(fsys vfs.FS) {
	b.tb.Helper()
	b.Abort()
	b.fs, b.cfg.FS = fsys, fsys
	b.open()
}

func (b *bench) lead(epoch int32) *bench {
	b.tb.Helper()
	require.NoError(b.tb, b.StartEpoch(epoch))
	return b
}

func (b *bench) follow(epoch int32) *bench {
	b.tb.Helper()
	require.NoError(b.tb, b.Follow(epoch))
	return b
}

func (b *bench) add(epoch int32, records []byte) Appended {
	b.tb.Helper()
	res, err := b.AppendAsLeader(epoch, records, 5000)
	require.NoError(b.tb, err)
	return res
}

// all reads the whole log.
func (b *bench) all() []byte {
	b.tb.Helper()
	out, err := b.Read(nil, b.LogStart(), math.MaxInt32, math.MaxInt64)
	require.NoError(b.tb, err)
	return out
}

// replayed is the state that the log alone gives.
func (b *bench) replayed() *state {
	b.tb.Helper()
	if !b.exists {
		return b.newState(b.LEO())
	}
	l, err := b.wal()
	require.NoError(b.tb, err)
	first, ok := l.First()
	if !ok {
		return b.newState(b.LEO())
	}
	st := b.newState(int64(first))
	require.NoError(b.tb, replay(l, st, math.MaxInt64))
	st.raiseStart(b.LogStart())
	return st
}

// sameAsReplay checks K22: what is kept in memory is what a replay gives, but
// for an epoch in which nothing was appended.
func (b *bench) sameAsReplay() {
	b.tb.Helper()
	want, got := b.replayed(), b.state()
	require.Equal(b.tb, want.end, got.end)
	require.Equal(b.tb, want.lastBase, got.lastBase)
	require.Equal(b.tb, want.lastCRC, got.lastCRC)
	first := uint64(0)
	if l := b.log.Load(); l != nil {
		first, _ = l.First()
	}
	b.sameProducers(want.producers, got.producers, int64(first))
	have := *got
	have.epochs = slices.Clone(got.epochs)
	have.dropEmptyEpochs()
	require.Equal(b.tb, want.lastEpoch, got.lastEpoch)
	if len(want.epochs)+len(have.epochs) > 0 {
		require.Equal(b.tb, want.epochs, have.epochs)
	}
}

// sameProducers compares, but that what is known from batches below first, whose
// segments were freed, may be there too: producers outlive their records.
func (b *bench) sameProducers(want, got map[int64]*producer, first int64) {
	b.tb.Helper()
	if first == 0 {
		require.Equal(b.tb, want, got)
		return
	}
	for id, g := range got {
		w := want[id]
		if w == nil {
			last, _ := g.last()
			require.LessOrEqual(b.tb, last.End, first, id)
			continue
		}
		require.Equal(b.tb, w.epoch, g.epoch)
		require.Equal(b.tb, w.lastTimestamp, g.lastTimestamp)
		require.GreaterOrEqual(b.tb, g.n, w.n)
		require.Equal(b.tb, w.window[:w.n], g.window[g.n-w.n:g.n])
		for _, old := range g.window[:g.n-w.n] {
			require.LessOrEqual(b.tb, old.End, first)
		}
	}
	for id := range want {
		require.Contains(b.tb, got, id)
	}
}
