package partition

import (
	"errors"
	"io/fs"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// writeState makes b, the encoded state at end, the newest checkpoint and the
// newest so far the older one.
func (p *Partition) writeState(b []byte, end int64) error {
	fsys := p.cfg.FS
	if p.checkpoints >= 0 && p.checkpoints != end {
		err := fsys.Rename(p.path(stateFile), p.path(oldStateFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := vfs.WriteFile(fsys, p.path(stateFile), b); err != nil {
		return err
	}
	p.checkpoints = end
	return nil
}

// shut closes the partition to all calls and returns its log, nil if it was not
// open; ok is false if that was done before. Changes under way end first, and
// none can begin, so that afterwards the caller is alone.
func (p *Partition) shut() (l *wal.Log, ok bool) {
	p.upkeep.lock()
	defer p.upkeep.unlock()
	p.change.lock()
	defer p.change.unlock()
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return nil, false
	}
	p.mu.closed = true
	p.mu.Unlock()
	p.opening.lock() // whoever was opening the log has
	defer p.opening.unlock()
	closeCursors(p.takeCursors())
	return p.log.Load(), true
}

// Close syncs and closes the log, leaves a checkpoint and marks the directory as
// cleanly closed. After a failed write or sync it does neither, and returns the
// failure. A second Close returns nil.
func (p *Partition) Close() error {
	failed := p.Err()
	l, ok := p.shut()
	if !ok {
		return nil
	}
	if l != nil {
		if err := l.Close(); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil || !p.dirty {
		return failed
	}
	// Nobody changes the state any more.
	st := p.state()
	if p.checkpoints != st.end || p.sinceCkpt > 0 {
		if err := p.writeState(st.encode(), st.end); err != nil {
			return err
		}
	}
	m := p.meta
	m.dirty, m.end, m.logStart = false, st.end, p.logStart.Load()
	return p.writeMeta(m)
}

// Abort lets go of the log without the marks of a clean close: what becomes of a
// broker that is killed, and of a partition whose disk failed. Idempotent.
func (p *Partition) Abort() {
	if l, ok := p.shut(); ok && l != nil {
		_ = l.Close()
	}
}

// Delete closes the partition and removes its directory.
func (p *Partition) Delete() error {
	p.Abort()
	if !p.exists {
		return nil
	}
	return Remove(p.cfg.FS, p.cfg.Dir)
}
