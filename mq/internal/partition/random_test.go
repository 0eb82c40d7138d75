package partition

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

var (
	seeds    = flag.Int("seeds", 40, "how many random histories TestRandomHistories plays")
	firstOne = flag.Uint64("seed", 1, "the first of them")
)

// history plays random operations on a partition and keeps beside it what the
// log must hold.
type history struct {
	*bench
	t     *testing.T
	rng   *rand.Rand
	mem   *vfs.Mem
	now   int32 // leader epoch
	model []byte
	ends  []int64 // of the batches in model
	start int64   // of model's first batch
	seq   map[int64]int32
	sent  map[int64][]sentBatch // since the last loss, per producer
	marks map[string]int
	lossy bool // the page cache counts
}

type sentBatch struct {
	seq    int32
	n      int
	offset int64
}

// TestRandomHistories: whatever happens to a partition, its log is what was
// appended and not cut, its state is what a replay of the log gives (K22), and
// after a crash everything that had been reported as synced is there.
//
// One history again: go test ./mq/internal/partition -run TestRandomHistories -seed N -seeds 1
func TestRandomHistories(t *testing.T) {
	marks := map[string]int{}
	for i := range *seeds {
		seed := *firstOne + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := &history{
				t: t, rng: rand.New(rand.NewPCG(seed, 1)), mem: vfs.NewMem(), marks: marks,
				seq: map[int64]int32{}, sent: map[int64][]sentBatch{}, lossy: seed%4 == 0,
			}
			h.bench = newBench(t, h.mem, func(c *Config) {
				c.SegmentBytes = 1 << (10 + seed%4)
				if h.lossy {
					c.Settings.FlushMessages = math.MaxInt64
				}
			})
			for range 60 {
				h.step()
			}
		})
	}
	if *seeds >= 20 && !t.Failed() {
		for _, m := range []string{"crash", "lost tail", "kept unsynced", "truncate", "duplicate", "clean reopen", "delete records", "checkpoint used"} {
			require.Positive(t, marks[m], "no history saw: %s", m)
		}
	}
}

func (h *history) step() {
	switch k := h.rng.IntN(20); {
	case k < 7:
		h.appendLeading()
	case k < 10:
		h.appendFollowing()
	case k < 12:
		h.duplicate()
	case k < 14:
		h.truncate()
	case k < 15:
		require.NoError(h.t, h.checkpoint(1))
		if h.checkpoints >= 0 {
			h.marks["checkpoint used"]++
		}
	case k < 16:
		h.marks["clean reopen"]++
		h.reopen()
		require.False(h.t, h.Unclean())
	case k < 18:
		h.loseP()
	case k < 19:
		h.deleteRecords()
	default:
		require.NoError(h.t, h.Flush())
	}
	h.check()
}

// check compares the log with the model and the state with a replay.
func (h *history) check() {
	h.t.Helper()
	end := h.start
	if n := len(h.ends); n > 0 {
		end = h.ends[n-1]
	}
	require.Equal(h.t, end, h.LEO())
	require.LessOrEqual(h.t, h.SyncedEnd(), end)
	if h.lossy {
		require.Equal(h.t, end, h.SyncedEnd())
	}
	got := h.all()
	require.True(h.t, bytes.HasSuffix(h.model, got), "log differs from what was appended")
	if h.LogStart() < h.LEO() {
		head, _, _, err := batch.Cut(got)
		require.NoError(h.t, err)
		require.Greater(h.t, head.NextOffset(), h.LogStart())
		require.LessOrEqual(h.t, head.BaseOffset, h.LogStart())
	}
	h.sameAsReplay()
}

func (h *history) grow(records []byte) {
	h.model = append(h.model, records...)
	for rest := records; len(rest) > 0; {
		head, _, after, err := batch.Cut(rest)
		require.NoError(h.t, err)
		h.ends = append(h.ends, head.NextOffset())
		rest = after
	}
}

func (h *history) appendLeading() {
	h.now++
	h.lead(h.now)
	for range 1 + h.rng.IntN(4) {
		var records []byte
		n := 1 + h.rng.IntN(4)
		if h.rng.IntN(2) == 0 {
			records = plain(n, h.rng.IntN(400), h.rng.Int64N(1000))
			h.add(h.now, records)
		} else {
			id := 1 + h.rng.Int64N(3)
			seq := h.seq[id]
			records = idempotent(id, 0, seq, n)
			res := h.add(h.now, records)
			require.False(h.t, res.Duplicate)
			h.seq[id] = seq + int32(n)
			h.sent[id] = append(h.sent[id], sentBatch{seq, n, res.BaseOffset})
		}
		h.grow(records)
	}
}

// duplicate sends one of a producer's last batches again.
func (h *history) duplicate() {
	id := 1 + h.rng.Int64N(3)
	sent := h.sent[id]
	sent = sent[max(0, len(sent)-windowLen):]
	if len(sent) == 0 {
		return
	}
	s := sent[h.rng.IntN(len(sent))]
	h.now++
	h.lead(h.now)
	res := h.add(h.now, idempotent(id, 0, s.seq, s.n))
	require.True(h.t, res.Duplicate)
	require.Equal(h.t, s.offset, res.BaseOffset)
	h.marks["duplicate"]++
}

func (h *history) appendFollowing() {
	h.now++
	h.follow(h.now)
	var records []byte
	next := h.LEO()
	for range 1 + h.rng.IntN(4) {
		n := 1 + h.rng.IntN(4)
		records = append(records, placed(next, h.now, n)...)
		next += int64(n)
	}
	end, err := h.AppendAsFollower(h.now, records)
	require.NoError(h.t, err)
	require.Equal(h.t, next, end)
	h.grow(records)
}

func (h *history) truncate() {
	h.now++
	h.follow(h.now)
	logStart, before := h.LogStart(), h.LEO()
	low := max(0, logStart-3)
	to := low + h.rng.Int64N(h.LEO()-low+3)
	leo, err := h.TruncateTo(h.now, to)
	require.NoError(h.t, err)
	require.Equal(h.t, h.LEO(), leo)
	if to <= logStart && to < before {
		require.Equal(h.t, to, leo)
		h.restart(leo)
	} else if h.state().lastBase < 0 { // the batches below were in segments that are gone
		require.Equal(h.t, logStart, leo)
		h.restart(leo)
	} else {
		h.cut(leo)
	}
	h.marks["truncate"]++
}

// cut drops from the model what ends above end.
func (h *history) cut(end int64) {
	if end < h.start {
		h.restart(end)
		return
	}
	off, n := 0, 0
	for n < len(h.ends) && h.ends[n] <= end {
		_, b, _, err := batch.Cut(h.model[off:])
		require.NoError(h.t, err)
		off += len(b)
		n++
	}
	h.model, h.ends = h.model[:off], h.ends[:n]
	if n == 0 {
		h.start = end
	} else {
		require.Equal(h.t, h.ends[n-1], end)
	}
	h.forget()
}

func (h *history) restart(at int64) {
	h.model, h.ends, h.start = nil, nil, at
	h.forget()
}

// forget takes the producers as the log has them now.
func (h *history) forget() {
	clear(h.seq)
	clear(h.sent)
	for id, p := range h.state().producers {
		for _, w := range p.window[:p.n] {
			h.sent[id] = append(h.sent[id], sentBatch{w.First, int(w.End - w.Base), w.Base})
			h.seq[id] = w.Last + 1
		}
	}
}

// loseP loses power: what was reported as synced must be there, of the rest a
// prefix.
func (h *history) loseP() {
	synced, before := h.SyncedEnd(), h.LEO()
	if h.lossy {
		synced = 0
	}
	h.mem = h.mem.CrashClone(h.rng)
	logStart := h.LogStart()
	h.crash(h.mem)
	end := h.LEO()
	require.GreaterOrEqual(h.t, end, synced)
	require.LessOrEqual(h.t, end, before)
	h.marks["crash"]++
	if end < before {
		h.marks["lost tail"]++
	} else if synced < end {
		h.marks["kept unsynced"]++
	}
	if end == logStart && h.state().lastBase < 0 {
		h.restart(end) // the tail that the log start was raised into is lost
		return
	}
	h.cut(end)
}

func (h *history) deleteRecords() {
	if h.LEO() == h.LogStart() {
		return
	}
	to := h.LogStart() + h.rng.Int64N(h.LEO()-h.LogStart()+1)
	require.NoError(h.t, h.DeleteRecordsBefore(to))
	require.Equal(h.t, to, h.LogStart())
	h.marks["delete records"]++
}

// TestConcurrentUse has readers, a producer, upkeep and truncations at once; the
// race detector and the readers' own checks watch.
func TestConcurrentUse(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			var buf []byte
			for next := int64(0); ; {
				select {
				case <-done:
					return
				default:
				}
				var err error
				buf, err = b.Read(buf[:0], next, 2000, math.MaxInt64)
				if errors.Is(err, ErrOffsetOutOfRange) {
					next = b.LogStart()
					continue
				}
				if err != nil {
					t.Errorf("read at %d: %v", next, err)
					return
				}
				if len(buf) == 0 {
					next = b.LogStart()
				}
				for rest := buf; len(rest) > 0; {
					h, one, after, err := batch.Cut(rest)
					if err == nil {
						err = h.VerifyCRC(one)
					}
					if err != nil {
						t.Errorf("read at %d: %v", next, err)
						return
					}
					next, rest = h.NextOffset(), after
				}
			}
		})
	}
	wg.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-done:
				return
			default:
			}
			_, _, err := b.OffsetForTimestamp(i%50, math.MaxInt64)
			if err != nil {
				t.Errorf("timestamp: %v", err)
			}
			b.EndOffsetFor(int32(i % 100))
			_ = b.Checkpoint()
			_ = b.Size()
		}
	})
	for i := range int32(40) {
		b.lead(2 * i)
		for range 20 {
			b.add(2*i, plain(3, 100, int64(i)))
		}
		b.follow(2*i + 1)
		_, err := b.TruncateTo(2*i+1, b.LEO()-int64(i%20))
		require.NoError(t, err)
		if i%10 == 9 {
			require.NoError(t, b.DeleteRecordsBefore(b.LEO()-50))
		}
	}
	close(done)
	wg.Wait()
	b.sameAsReplay()
}
