package mqsim

import (
	"math/rand/v2"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

// rec is a record of the model: who led when it was written, and a value that is unique in a run.
type rec struct {
	epoch int32
	value int64
}

// modelLog is a partition's log on a model disk.
type modelLog struct {
	start  int64
	recs   []rec
	synced int64 // on disk below this offset
	epochs replica.EpochList
}

func (l *modelLog) end() int64 { return l.start + int64(len(l.recs)) }

func (l *modelLog) at(offset int64) rec { return l.recs[offset-l.start] }

func (l *modelLog) append(recs ...rec) {
	for _, r := range recs {
		l.epochs.Assign(r.epoch, l.end())
		l.recs = append(l.recs, r)
	}
	l.epochs.End = l.end()
}

// read returns a copy of at most n records from offset on.
func (l *modelLog) read(offset int64, n int) []rec {
	if offset < l.start || offset > l.end() {
		return nil
	}
	from := l.recs[offset-l.start:]
	return slices.Clone(from[:min(n, len(from))])
}

func (l *modelLog) truncate(end int64) {
	l.recs = l.recs[:end-l.start]
	l.synced = min(l.synced, end)
	l.epochs.TruncateFrom(end)
}

func (l *modelLog) reset(start int64) {
	*l = modelLog{start: start, synced: start}
	l.epochs.End = start
}

func (l *modelLog) trim(start int64) {
	l.recs = slices.Clone(l.recs[start-l.start:])
	l.start, l.synced = start, max(l.synced, start)
	l.epochs.TruncateTo(start)
}

// lose leaves what is below end; what a restart finds is all synced. The epochs are those of the records.
func (l *modelLog) lose(end int64) {
	recs, start := l.recs[:end-l.start], l.start
	*l = modelLog{start: start}
	l.epochs.End = start
	l.append(recs...)
	l.synced = l.end()
}

// disk is what a broker keeps when its process ends.
type disk struct {
	dir   layout.ID
	clean bool // the last stop was a clean one, after a complete start
	logs  map[int32]*modelLog
	hw    map[int32]int64 // checkpointed high watermarks
}

func newDisk(rng *rand.Rand) *disk {
	return &disk{dir: layout.NewID(rng), logs: map[int32]*modelLog{}, hw: map[int32]int64{}}
}
