package partition

import (
	"errors"
	"fmt"
	"io"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
)

// recover opens the log, brings its ends and the log start offset together, and
// rebuilds the state from it. Only Open calls it.
func (p *Partition) recover() error {
	l, err := p.wal()
	if err != nil {
		return err
	}
	// What the wal recovered may have been in the page cache only.
	if err := l.Sync(); err != nil {
		return err
	}
	first, ok := l.First()
	if !ok {
		return p.recoverEmpty(l)
	}
	last, _ := l.Last()
	logStart := max(p.meta.logStart, int64(first))
	st, err := p.rebuild(l, int64(first), int64(last)+1)
	if err != nil {
		return err
	}
	p.cfg.Logger.Info("partition recovered", "dir", p.cfg.Dir, "start", logStart, "end", st.end)
	if st.end < logStart {
		// The page cache counted, and the tail that the log start offset was
		// raised into is lost. Nothing is left to read.
		if err := l.Reset(uint64(logStart)); err != nil {
			return err
		}
		st = p.newState(logStart)
	}
	if err := p.dropCheckpoints(st.end); err != nil {
		return err
	}
	p.adopt(st, logStart)
	return nil
}

// recoverEmpty is recover for a log without a record.
func (p *Partition) recoverEmpty(l *wal.Log) error {
	end := max(int64(l.Next()), p.meta.logStart)
	if uint64(end) > l.Next() {
		if err := l.Reset(uint64(end)); err != nil {
			return err
		}
	}
	if err := p.dropCheckpoints(-1); err != nil {
		return err
	}
	p.adopt(p.newState(end), end)
	return nil
}

// rebuild returns the state of the log's batches with base offsets from first to
// below end, beginning at the newest checkpoint that fits the log.
func (p *Partition) rebuild(l *wal.Log, first, end int64) (*state, error) {
	st := p.newState(first)
	for _, name := range []string{stateFile, oldStateFile} {
		c, err := p.readState(name)
		if err != nil {
			p.cfg.Logger.Warn("partition checkpoint ignored", "dir", p.cfg.Dir, "file", name, "err", err)
			continue
		}
		if c != nil && c.end > st.end && c.fits(l, end) {
			st = c
		}
	}
	return st, replay(l, st, end)
}

// fits reports whether the checkpoint is of a prefix of the log below end.
func (s *state) fits(l *wal.Log, end int64) bool {
	if s.lastBase < 0 || s.lastBase >= end {
		return false
	}
	h, err := headerAt(l, s.lastBase)
	return err == nil && h.CRC == s.lastCRC && h.NextOffset() == s.end
}

// headerAt returns the header of the batch with the given base offset.
func headerAt(l *wal.Log, base int64) (batch.Header, error) {
	r := l.NewReader(uint64(base))
	defer r.Close()
	rec, err := r.Next()
	if err != nil {
		return batch.Header{}, err
	}
	return recordHeader(rec)
}

// recordHeader parses the header of a batch in the log and compares it with its
// key. The wal has verified the bytes.
func recordHeader(rec wal.Record) (batch.Header, error) {
	h, err := batch.ParseHeader(rec.Payload)
	if err == nil && (uint64(h.BaseOffset) != rec.Key || h.Size() != len(rec.Payload)) {
		err = fmt.Errorf("batch of %d bytes at offset %d, stored as %d bytes under %d",
			h.Size(), h.BaseOffset, len(rec.Payload), rec.Key)
	}
	if err != nil {
		return batch.Header{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return h, nil
}

// replay applies to st the batches of the log from st.end on whose base offsets
// are below end.
func replay(l *wal.Log, st *state, end int64) error {
	r := l.NewReader(uint64(st.end))
	defer r.Close()
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if rec.Key >= uint64(end) {
			return nil
		}
		h, err := recordHeader(rec)
		if err != nil {
			return err
		}
		if err := st.apply(&h, rec.Payload); err != nil {
			return err
		}
	}
}

// dropCheckpoints removes, durably, the checkpoints that are of more than the
// log below end: bytes that will be appended there are not the ones they saw
// (K25). It sets p.checkpoints to what is left.
func (p *Partition) dropCheckpoints(end int64) error {
	p.checkpoints = -1
	removed := false
	for _, name := range []string{stateFile, oldStateFile} {
		c, err := p.readState(name)
		if err == nil && c == nil {
			continue
		}
		if err == nil && c.end <= end {
			p.checkpoints = max(p.checkpoints, c.end)
			continue
		}
		if err := removeFile(p.cfg.FS, p.path(name)); err != nil {
			return err
		}
		removed = true
	}
	if removed {
		return p.cfg.FS.SyncDir(p.cfg.Dir)
	}
	return nil
}
