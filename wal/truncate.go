package wal

import "sort"

// TruncateAfter removes the records with keys above key; durable on return. The
// next append begins a segment, so that nothing of the removed records can come
// back. Next is then one more than the greatest key left, or, if none is left,
// the lesser of what it was and key+1.
func (l *Log) TruncateAfter(key uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enterExclusiveLocked(); err != nil {
		return err
	}
	defer l.leaveExclusiveLocked()
	if err := l.usableLocked(); err != nil {
		return err
	}
	n := len(l.segs)
	if key >= KeyMax || n > 0 && l.segs[n-1].last <= key || n == 0 && l.next <= key+1 {
		return nil
	}
	// What stays must be durable before the manifest says where it ends.
	if err := l.flushAllLocked(); err != nil {
		return err
	}
	keep := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].first > key })
	m := l.manifestLocked(l.segs[:keep])
	m.next = min(l.next, key+1)
	var cut *segment
	if keep > 0 {
		if s := l.segs[keep-1]; s.last > key {
			cut = s
			p, err := l.locateLocked(s, key+1)
			if err != nil {
				return err
			}
			e := &m.entries[keep-1]
			e.last, e.end = p.prev, p.off
		}
		m.entries[keep-1].sealed = true
		m.next = m.entries[keep-1].last + 1
	}
	l.unclean = true
	if err := l.replaceManifestLocked(m, 0); err != nil {
		return err
	}
	l.disposeLocked(l.segs[keep:])
	l.segs = append([]*segment(nil), l.segs[:keep]...)
	l.next = m.next
	l.hasSynced, l.syncedKey = keep > 0, 0
	if keep > 0 {
		e, s := m.entries[keep-1], l.segs[keep-1]
		s.last, s.end, s.synced, s.sealed = e.last, e.end, e.end, true
		s.index.cut(s.end)
		l.syncedKey = s.last
	}
	l.reapLocked()
	if cut != nil {
		l.mu.Unlock()
		err := l.cutFile(cut, false)
		l.mu.Lock()
		if err != nil { // only space is lost
			l.log.Warn("wal: a truncated segment keeps its file's length", "file", cut.file.name, "err", err)
		}
	}
	return nil
}

// TruncateBefore removes, from the first on, the segments whose records all
// have keys below key, but never the one that holds the last record, so that
// Last stays known; Reset empties a log. Durable on return. Appends go on
// meanwhile.
func (l *Log) TruncateBefore(key uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.exclusive && !l.closed {
		l.writeCond.Wait()
	}
	if err := l.usableLocked(); err != nil {
		return err
	}
	n := 0
	for n < len(l.segs)-1 && l.segs[n].last < key {
		l.segs[n].dropping = true
		n++
	}
	if n == 0 {
		return nil
	}
	l.manifestDirty = true
	l.unclean = true
	l.changes++
	return l.settleLocked(l.changes)
}

// Reset removes all records and sets Next; durable on return, and at any crash
// the log is as before or empty.
func (l *Log) Reset(next uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enterExclusiveLocked(); err != nil {
		return err
	}
	defer l.leaveExclusiveLocked()
	if err := l.usableLocked(); err != nil {
		return err
	}
	if len(l.segs) == 0 && l.next == next {
		return nil
	}
	l.unclean = true
	if err := l.replaceManifestLocked(&manifest{next: next}, 0); err != nil {
		return err
	}
	for _, s := range l.segs {
		s.dropping = false // nobody's position is kept
	}
	l.disposeLocked(l.segs)
	l.segs, l.next = nil, next
	l.settled = l.changes
	l.wantFlush = false
	l.hasSynced, l.syncedKey = false, 0
	l.reapLocked()
	return nil
}
