package partition

import (
	"fmt"

	"github.com/vivarium-go/vivarium/wal"
)

// TruncateTo removes, for a follower in the given epoch, every batch that ends
// above offset, and returns the new log end offset, which is offset or, if that
// is inside a batch, where the batch before ends. Producers and leader epochs are
// then what a replay of the remaining log gives. Durable on return. An offset at
// or above the log end changes nothing but that epochs without records go.
func (p *Partition) TruncateTo(epoch int32, offset int64) (int64, error) {
	p.upkeep.lock()
	defer p.upkeep.unlock()
	p.change.lock()
	defer p.change.unlock()
	if err := p.may("truncate", epoch, false); err != nil {
		return p.leo.Load(), err
	}
	if offset < 0 {
		return p.leo.Load(), fmt.Errorf("%w: truncation to %d", ErrOffsetOutOfRange, offset)
	}
	if offset >= p.leo.Load() {
		p.mu.Lock()
		p.mu.st.dropEmptyEpochs()
		p.mu.Unlock()
		return p.leo.Load(), nil
	}
	if offset <= p.logStart.Load() {
		return offset, p.startAt(offset)
	}
	if err := p.truncate(offset); err != nil {
		return p.leo.Load(), p.fail(err)
	}
	return p.leo.Load(), nil
}

// TruncateFullyAndStartAt empties, for a follower in the given epoch, the log and
// has it begin and end at offset: the leader's log start offset, when that is
// above this log's end. Durable on return.
func (p *Partition) TruncateFullyAndStartAt(epoch int32, offset int64) error {
	p.upkeep.lock()
	defer p.upkeep.unlock()
	p.change.lock()
	defer p.change.unlock()
	if err := p.may("truncate", epoch, false); err != nil {
		return err
	}
	if offset < 0 {
		return fmt.Errorf("%w: truncation to %d", ErrOffsetOutOfRange, offset)
	}
	return p.startAt(offset)
}

// truncate cuts the log at an offset above its start and below its end.
func (p *Partition) truncate(offset int64) error {
	l, err := p.touch()
	if err != nil {
		return err
	}
	keep, end, err := lastBatchBelow(l, offset)
	if err != nil {
		return err
	}
	if keep < 0 {
		return p.startAt(min(offset, p.logStart.Load()))
	}
	logStart := min(p.logStart.Load(), end)
	if err := p.lowerStart(logStart); err != nil {
		return err
	}
	if err := p.dropCheckpoints(end); err != nil {
		return err
	}
	if err := l.TruncateAfter(uint64(keep)); err != nil {
		return err
	}
	first, _ := l.First()
	st, err := p.rebuild(l, int64(first), end)
	if err != nil {
		return err
	}
	st.raiseStart(logStart)
	p.replaceState(st, logStart)
	return nil
}

// lastBatchBelow returns base and end of the last batch that ends at or below
// offset, -1 if there is none.
func lastBatchBelow(l *wal.Log, offset int64) (base, end int64, err error) {
	for at := offset; at > 0; at = base {
		key, ok, err := l.Floor(uint64(at - 1))
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			break
		}
		base = int64(key)
		h, err := headerAt(l, base)
		if err != nil {
			return 0, 0, err
		}
		if h.NextOffset() <= offset {
			return base, h.NextOffset(), nil
		}
	}
	return -1, 0, nil
}

// startAt empties the log and has it begin at offset. Without a directory there
// is nothing to do on disk: the first append will.
func (p *Partition) startAt(offset int64) error {
	if p.exists {
		l, err := p.touch()
		if err == nil {
			err = p.lowerStart(offset)
		}
		if err == nil {
			err = p.dropCheckpoints(-1)
		}
		if err == nil {
			err = l.Reset(uint64(offset))
		}
		if err == nil && p.meta.logStart < offset {
			m := p.meta
			m.logStart = offset
			err = p.writeMeta(m)
		}
		if err != nil {
			return p.fail(err)
		}
	}
	p.replaceState(p.newState(offset), offset)
	return nil
}

// lowerStart lowers the log start offset in the meta file, before the log is cut
// below it: a start above the log's end would say, after a crash, that the
// records that come in between are deleted.
func (p *Partition) lowerStart(offset int64) error {
	if p.meta.logStart <= offset {
		return nil
	}
	m := p.meta
	m.logStart = offset
	return p.writeMeta(m)
}

// replaceState publishes what a truncation left.
func (p *Partition) replaceState(st *state, logStart int64) {
	p.mu.Lock()
	p.mu.st = st
	p.mu.gen++
	cursors := p.mu.cursors
	p.mu.cursors = nil
	for i := range p.mu.pending {
		p.mu.pending[i] = min(p.mu.pending[i], st.end)
	}
	p.syncedEnd.Store(min(p.syncedEnd.Load(), st.end))
	if st.lastBase < 0 {
		p.syncedEnd.Store(st.end)
	}
	p.logStart.Store(logStart)
	p.leo.Store(st.end)
	p.mu.Unlock()
	closeCursors(cursors)
}
