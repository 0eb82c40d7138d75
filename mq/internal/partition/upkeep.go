package partition

import (
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/wal"
)

// checkpointBytes is how much is appended between checkpoints: what an unclean
// start has to replay at most, twice that for a truncation.
const checkpointBytes = 32 << 20

// DeleteRecordsBefore raises the log start offset (KIP-107), durably, and frees
// the segments that are wholly below it. An offset at or below the log start
// changes nothing; one above the log end is ErrOffsetOutOfRange. The caller keeps
// it at or below the high watermark.
func (p *Partition) DeleteRecordsBefore(offset int64) error {
	p.upkeep.lock()
	defer p.upkeep.unlock()
	return p.raiseStart(offset)
}

// raiseStart is DeleteRecordsBefore under upkeep.
func (p *Partition) raiseStart(offset int64) error {
	if err := p.usable(); err != nil {
		return err
	}
	if offset <= p.logStart.Load() {
		return nil
	}
	if end := p.leo.Load(); offset > end {
		return fmt.Errorf("%w: records before %d to be deleted, log end %d", ErrOffsetOutOfRange, offset, end)
	}
	// There is something in the log, so the directory exists and only upkeep
	// changes meta any more, but for the mark that the first change makes.
	if err := p.markDirty(); err != nil {
		return err
	}
	m := p.meta
	m.logStart = offset
	if err := p.writeMeta(m); err != nil {
		return fmt.Errorf("partition %s: %w", p.cfg.Dir, err)
	}
	p.mu.Lock()
	p.logStart.Store(offset)
	p.mu.st.raiseStart(offset)
	p.mu.Unlock()
	l, err := p.wal()
	if err != nil {
		return err
	}
	return p.free(l, offset)
}

// markDirty makes the mark of a changed log, if it is not there.
func (p *Partition) markDirty() error {
	p.change.lock()
	defer p.change.unlock()
	_, err := p.touch()
	return err
}

// free gives back segments below the batch that contains offset. The last batch
// stays, whatever offset is, since it tells the latest leader epoch.
func (p *Partition) free(l *wal.Log, offset int64) error {
	key, ok, err := l.Floor(uint64(offset))
	if err != nil || !ok {
		return err
	}
	if last, ok := l.Last(); ok {
		key = min(key, last)
	}
	closeCursors(p.takeCursors()) // they may hold segments
	if err := l.TruncateBefore(key); err != nil {
		if errors.Is(err, wal.ErrPoisoned) {
			return p.fail(err)
		}
		return err
	}
	return nil
}

// ApplyRetention raises the log start offset over whole segments that the
// settings no longer keep: while the log is larger than RetentionBytes without
// them, or when everything in them and before is older than RetentionMillis at
// now (milliseconds). The segment being appended to stays, and so does what is
// not below upTo, the high watermark. It returns the log start offset.
func (p *Partition) ApplyRetention(now, upTo int64) (int64, error) {
	p.upkeep.lock()
	defer p.upkeep.unlock()
	s := p.settings.Load()
	if s.RetentionBytes <= 0 && s.RetentionMillis <= 0 || p.leo.Load() == p.logStart.Load() {
		return p.logStart.Load(), p.usable()
	}
	l, err := p.wal()
	if err != nil {
		return p.logStart.Load(), err
	}
	start := p.logStart.Load()
	segments := l.Segments()
	size := l.Size()
	for i := range len(segments) - 1 {
		next := int64(segments[i+1].First)
		if next > upTo || next > p.leo.Load() {
			break
		}
		large := s.RetentionBytes > 0 && size-segments[i].Bytes >= s.RetentionBytes
		if !large && !(s.RetentionMillis > 0 && p.maxTimeBefore(next) < now-s.RetentionMillis) {
			break
		}
		size -= segments[i].Bytes
		start = max(start, next)
	}
	if err := p.raiseStart(start); err != nil {
		return p.logStart.Load(), err
	}
	return p.logStart.Load(), nil
}

func (p *Partition) maxTimeBefore(offset int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.st.maxTimeBefore(offset)
}

// Checkpoint writes the state to disk if enough was appended since the last time
// that replaying it would take long, and lets go of readers' positions. It is to
// be called every few seconds; most calls do next to nothing.
func (p *Partition) Checkpoint() error {
	p.upkeep.lock()
	defer p.upkeep.unlock()
	closeCursors(p.takeCursors())
	return p.checkpoint(checkpointBytes)
}

// checkpoint writes the state if at least atLeast bytes were appended since the
// last time. It holds change only to encode the state, not to write it; upkeep
// keeps truncations away meanwhile.
func (p *Partition) checkpoint(atLeast int64) error {
	p.change.lock()
	if err := p.usable(); err != nil || p.sinceCkpt < atLeast || p.sinceCkpt == 0 {
		p.change.unlock()
		return err
	}
	b, end := p.state().encode(), p.state().end
	p.sinceCkpt = 0
	p.change.unlock()
	return p.writeState(b, end)
}
