package partition

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// goldenState is a state with something in every field.
func goldenState(tb testing.TB) *state {
	st := newState(3, 50)
	s := batch.NewSpec()
	s.ProducerID, s.ProducerEpoch, s.BaseSequence = 77, 2, 0
	for i := range int32(7) {
		s.BaseOffset, s.LeaderEpoch = st.end, i/2
		if i == 6 {
			s.ProducerID, s.Attributes = 78, batch.Transactional
			s.BaseSequence = math.MaxInt32
		}
		b := build(s, 2, 5, 1000*int64(i), batch.None)
		h, err := batch.Check(b)
		require.NoError(tb, err)
		require.NoError(tb, st.apply(&h, b))
		s.BaseSequence += 2
	}
	return st
}

// TestGoldenFiles: the bytes of the files, which later versions must read.
func TestGoldenFiles(t *testing.T) {
	m := meta{topicID: [16]byte{0xaa, 15: 0xbb}, logStart: 5, end: 1 << 33, dirty: true}
	const wantMeta = "5656504d01aa0000000000000000000000000000bb0000000000000005000000020000000001c9338258"
	const wantState = "5656505301221e062c8da5f7e25d040006020e0416061e029a0104924e01010504060a0ed20f080a0e12a21f0c0e1216f22e" +
		"1012161ac23e14161a1e924e9c0104e25d1e0101feffffff0f001e22e25d060a020ed20f12a21f16f22e1ac23e1e924eb201" +
		"915608c9"
	require.Equal(t, wantMeta, hex.EncodeToString(m.encode()))
	got, err := decodeMeta(m.encode())
	require.NoError(t, err)
	require.Equal(t, m, got)

	st := goldenState(t)
	require.Equal(t, wantState, hex.EncodeToString(st.encode()))
	back, err := decodeState(st.encode())
	require.NoError(t, err)
	back.indexEvery = st.indexEvery
	require.Equal(t, st, back)
}

func FuzzFiles(f *testing.F) {
	m := meta{topicID: [16]byte{1}, logStart: 5, end: 9}
	f.Add(m.encode()[5:])
	f.Add(goldenState(f).encode()[5:])
	f.Fuzz(func(t *testing.T, body []byte) {
		// With a right checksum, so that the fields behind it are reached.
		for _, magic := range []string{metaMagic, stateMagic} {
			file := seal(magic, func(b []byte) []byte { return append(b, body...) })
			if m, err := decodeMeta(file); err == nil {
				require.Equal(t, file, m.encode())
			}
			if st, err := decodeState(file); err == nil {
				again, err := decodeState(st.encode())
				require.NoError(t, err)
				require.Equal(t, st, again)
			}
		}
		_, _ = decodeMeta(body)
		_, _ = decodeState(body)
	})
}

// FuzzLogContent opens a partition whose log holds records that are no batches,
// or batches that do not follow one another: an error, never a panic.
func FuzzLogContent(f *testing.F) {
	f.Add(uint64(0), placed(0, 0, 2), uint64(2), placed(2, 0, 2))
	f.Add(uint64(5), placed(5, 9, 2), uint64(6), placed(6, 0, 2))
	f.Add(uint64(0), []byte("x"), uint64(1<<63), placed(2, 0, 2))
	f.Fuzz(func(t *testing.T, k1 uint64, b1 []byte, k2 uint64, b2 []byte) {
		if k1 >= k2 || k2 > wal.KeyMax {
			return
		}
		fsys := vfs.NewMem()
		require.NoError(t, fsys.MkdirAll("data/t-0", 0o700))
		l, err := wal.Open("data/t-0/log", wal.Config{FS: fsys, NoLock: true})
		require.NoError(t, err)
		require.NoError(t, l.Append(wal.Record{Key: k1, Payload: b1}, wal.Record{Key: k2, Payload: b2}))
		require.NoError(t, l.Close())
		m := meta{dirty: true}
		require.NoError(t, vfs.WriteFile(fsys, "data/t-0/meta", m.encode()))
		p, err := Open(Config{Dir: "data/t-0", FS: fsys})
		if err != nil {
			return
		}
		defer p.Abort()
		out, err := p.Read(nil, p.LogStart(), math.MaxInt32, math.MaxInt64)
		require.NoError(t, err)
		require.Len(t, out, len(b1)+len(b2))
		_, _, _ = p.OffsetForTimestamp(0, math.MaxInt64)
		require.NoError(t, p.StartEpoch(math.MaxInt32))
		_, _ = p.AppendAsLeader(math.MaxInt32, plain(1, 1, 0), 0)
		require.NoError(t, p.Err())
	})
}

// scenario is a life of a partition with every kind of change in it. It stops at
// the first error.
func scenario(p *Partition) (synced int64, err error) {
	steps := []func() error{
		func() error { return p.StartEpoch(1) },
		func() error { _, err := p.AppendAsLeader(1, plain(3, 100, 0), 0); return err },
		func() error { _, err := p.AppendAsLeader(1, idempotent(1, 0, 0, 3), 0); return err },
		p.Flush,
		func() error { return p.checkpoint(1) },
		func() error { _, err := p.AppendAsLeader(1, plain(3, 600, 0), 0); return err },
		func() error { return p.Follow(2) },
		func() error { _, err := p.AppendAsFollower(2, placed(9, 2, 3)); return err },
		p.Flush,
		func() error { return p.DeleteRecordsBefore(4) },
		func() error { return p.checkpoint(1) },
		func() error { _, err := p.TruncateTo(2, 10); return err },
		func() error { _, err := p.AppendAsFollower(2, placed(9, 2, 2)); return err },
		p.Flush,
		func() error { return p.TruncateFullyAndStartAt(2, 20) },
		func() error { _, err := p.AppendAsFollower(2, placed(20, 2, 2)); return err },
		p.Close,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return synced, err
		}
	}
	return p.LEO(), nil
}

// TestErrorWalk lets every single operation on the disk fail, one after the
// other: the error comes back to the caller, and a crash at that moment leaves
// something that opens, whose state is a replay of its log and which is the log
// at some moment of the scenario.
func TestErrorWalk(t *testing.T) {
	valid := map[int64]bool{}
	for _, end := range []int64{0, 3, 6, 9, 11, 12, 20, 22} {
		valid[end] = true
	}
	for at := 0; ; at++ {
		mem := vfs.NewMem()
		var (
			mu    sync.Mutex // the flusher works too
			n     int
			image *vfs.Mem
		)
		rng := rand.New(rand.NewPCG(uint64(at), 5))
		fsys := vfs.Inject(mem, func(op vfs.Op) error {
			if !op.Changes() {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if n++; n-1 == at {
				image = mem.CrashClone(rng)
				return vfs.ErrLocked // any error
			}
			return nil
		})
		f := wal.NewFlusher(1)
		p, err := Open(Config{Dir: "data/t-0", FS: fsys, Flusher: f, SegmentBytes: 1 << 10})
		require.NoError(t, err)
		_, err = scenario(p)
		p.Abort()
		require.NoError(t, f.Close())
		if image == nil {
			require.NoError(t, err)
			require.Greater(t, at, 50)
			break
		}
		for _, disk := range []*vfs.Mem{image, mem.CrashClone(rng), mem} {
			b := newBench(t, disk, func(c *Config) { c.TopicID = [16]byte{}; c.SegmentBytes = 1 << 10 })
			require.True(t, valid[b.LEO()], "operation %d: log end %d", at, b.LEO())
			b.sameAsReplay()
			b.all()
			b.follow(7)
			_, err := b.AppendAsFollower(7, placed(b.LEO(), 7, 2))
			require.NoError(t, err)
			b.reopen()
			b.sameAsReplay()
			b.Abort()
		}
	}
}
