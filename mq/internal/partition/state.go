package partition

import (
	"fmt"
	"math"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// indexBytes is how many bytes of log lie between entries of the time index,
// where segments are large.
const indexBytes = 256 << 10

// indexEvery is indexBytes for segments of the given size (0: the default), so
// small that retention by time can tell segments apart.
func indexEvery(segmentBytes int64) int64 {
	if segmentBytes <= 0 {
		return indexBytes
	}
	return min(max(segmentBytes/16, 1), indexBytes)
}

// indexEntry says that all batches below Offset, where a batch begins, have
// timestamps of at most Max.
type indexEntry struct {
	Offset int64
	Max    int64
}

// state is what the batches of the log, applied in order, amount to.
type state struct {
	end        int64 // log end offset
	lastBase   int64 // base offset of the last batch, -1 if there is none
	lastEpoch  int32 // its leader epoch
	lastCRC    uint32
	maxTime    int64 // of all batches, MinInt64 if there is none
	epochs     epochs
	producers  map[int64]*producer
	index      []indexEntry
	sinceIndex int64 // bytes since the last entry of the index
	indexEvery int64 // not part of the checkpoint
}

// newState is the state of an empty log that begins at offset.
func newState(offset, indexEvery int64) *state {
	return &state{
		end: offset, lastBase: -1, lastEpoch: -1, maxTime: math.MinInt64, producers: map[int64]*producer{}, indexEvery: indexEvery,
	}
}

// newState is the state of an empty log of this partition.
func (p *Partition) newState(offset int64) *state {
	return newState(offset, indexEvery(p.cfg.SegmentBytes))
}

// apply adds a batch b of the log with header h. The errors, about offsets,
// epochs and markers, come before anything has changed; a caller that checked
// these itself gets none.
func (s *state) apply(h *batch.Header, b []byte) error {
	if h.BaseOffset < s.end {
		return fmt.Errorf("%w: batch at offset %d before the log end %d", ErrCorrupt, h.BaseOffset, s.end)
	}
	if latest := s.epochs.truncateEnd(s.end).latest(); h.LeaderEpoch < latest {
		return fmt.Errorf("%w: batch at offset %d of leader epoch %d after epoch %d",
			ErrCorrupt, h.BaseOffset, h.LeaderEpoch, latest)
	}
	var m batch.Marker
	if h.IsControl() {
		var err error
		if m, err = batch.ParseMarker(*h, b); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	if s.sinceIndex >= s.indexEvery {
		s.index = append(s.index, indexEntry{Offset: h.BaseOffset, Max: s.maxTime})
		s.sinceIndex = 0
	}
	s.sinceIndex += int64(len(b))
	s.maxTime = max(s.maxTime, h.MaxTimestamp)
	s.epochs = s.epochs.assign(h.LeaderEpoch, h.BaseOffset)
	s.end, s.lastBase, s.lastEpoch, s.lastCRC = h.NextOffset(), h.BaseOffset, h.LeaderEpoch, h.CRC
	if h.IsIdempotent() {
		p := s.producers[h.ProducerID]
		if p == nil {
			p = newProducer(h)
			s.producers[h.ProducerID] = p
		}
		if h.IsControl() {
			p.applyMarker(h, m)
		} else {
			p.apply(h)
		}
	}
	return nil
}

// raiseStart forgets what is only about offsets below start.
func (s *state) raiseStart(start int64) {
	s.epochs = s.epochs.truncateStart(start)
	i := 0
	for i+1 < len(s.index) && s.index[i+1].Offset <= start {
		i++
	}
	s.index = slices.Delete(s.index, 0, i)
}

// dropEmptyEpochs forgets the epochs after the last batch's: what StartEpoch
// recorded and nothing was appended in. A follower that kept them would ask its
// leader about epochs that no other replica has, without end (K7).
func (s *state) dropEmptyEpochs() {
	for len(s.epochs) > 0 && s.epochs.latest() > s.lastEpoch {
		s.epochs = s.epochs[:len(s.epochs)-1]
	}
	if len(s.epochs) == 0 && s.lastBase >= 0 {
		// The last batch's epoch began at the log end, since all records before
		// were deleted, and an empty one took its place.
		s.epochs = append(s.epochs, epochStart{s.lastEpoch, s.end})
	}
}

// seekTime returns an offset before which no batch has a timestamp of ts or
// later, though earlier ones may follow.
func (s *state) seekTime(ts, logStart int64) int64 {
	at := logStart
	for _, e := range s.index {
		if e.Max >= ts {
			break
		}
		at = max(at, e.Offset)
	}
	return at
}

// maxTimeBefore returns a bound on the timestamps of the batches below offset.
func (s *state) maxTimeBefore(offset int64) int64 {
	for _, e := range s.index {
		if e.Offset >= offset {
			return e.Max
		}
	}
	return s.maxTime
}
