package wal

import (
	"path/filepath"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Sync makes durable what was appended before it. Whoever comes first syncs for
// all who wait, those who come meanwhile share the next sync. An error poisons
// the log.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	l.syncing = true
	return l.settleLocked(l.changes)
}

// settleLocked waits until changes up to target are durable, flushing when
// nobody else does.
func (l *Log) settleLocked(target uint64) error {
	l.arrivals++
	for l.settled < target {
		if err := l.usableLocked(); err != nil {
			return err
		}
		switch {
		case l.flushing && target <= l.flushTarget:
			l.waitRoundLocked(l.rounds)
		case l.flushing || l.exclusive:
			l.waitRoundLocked(l.rounds + 1)
		case l.leading:
			l.waitRoundLocked(l.rounds)
		default:
			l.leading = true
			l.yieldLocked(func() bool { return l.flushing || l.exclusive || l.waiting[l.rounds%2]+1 >= l.syncers })
			l.leading = false
			if !l.flushing && !l.exclusive {
				_ = l.flushLocked() // the loop finds the error
			}
		}
	}
	return nil
}

func (l *Log) waitRoundLocked(n uint64) {
	l.waiting[n%2]++
	l.round[n%2].Wait()
}

// SyncAsync calls done once what was appended before it is durable, or will
// never be. It returns at once. The calls come in the order of the SyncAsyncs,
// on a goroutine of the Flusher, which other logs wait for: done must be quick,
// and must not call Close. synced is the last key known durable (0 if there is
// none); err is nil, ErrPoisoned or ErrClosed.
func (l *Log) SyncAsync(done func(synced uint64, err error)) {
	l.mu.Lock()
	if l.closed {
		synced := l.syncedKey
		l.mu.Unlock()
		done(synced, ErrClosed)
		return
	}
	l.syncing = true
	l.async.push(asyncSync{l.changes, done})
	l.scheduleLocked()
	alone := l.orphaned
	l.mu.Unlock()
	if alone {
		l.serve()
	}
}

// scheduleLocked hands the log to the flusher if there is anything for it. What
// a flush or an exclusive owner under way will settle, they hand over at their
// end.
func (l *Log) scheduleLocked() {
	if l.scheduled || l.async.empty() && (!l.wantFlush || l.usableLocked() != nil) {
		return
	}
	if (l.flushing || l.exclusive) && !l.headSettledLocked() {
		return
	}
	l.scheduled = l.flusher.enqueue(l)
	l.orphaned = !l.scheduled
}

// headSettledLocked reports whether the first SyncAsync can be answered.
func (l *Log) headSettledLocked() bool {
	return !l.async.empty() && (l.async.first().target <= l.settled || l.usableLocked() != nil)
}

// serve is the flusher's turn with this log: answer what is settled, flush
// once, answer again, and queue up anew if more came.
func (l *Log) serve() {
	l.mu.Lock()
	l.answerLocked()
	if (!l.async.empty() || l.wantFlush) && !l.flushing && !l.exclusive && l.usableLocked() == nil {
		_ = l.flushLocked() // it has poisoned the log
		l.answerLocked()
	}
	l.saveIndexesLocked()
	l.scheduled = false
	l.scheduleLocked()
	if !l.scheduled {
		l.closeCond.Broadcast()
	}
	l.mu.Unlock()
}

// answerLocked calls what is settled, without the lock.
func (l *Log) answerLocked() {
	for l.headSettledLocked() {
		s := l.async.pop()
		synced, err := l.syncedKey, error(nil)
		if s.target > l.settled {
			err = l.usableLocked()
		}
		l.mu.Unlock()
		s.done(synced, err)
		l.mu.Lock()
	}
}

// flushed is a segment as a flush found it.
type flushed struct {
	seg *segment
	end int64
}

// flushLocked makes everything visible durable: the files with unsynced bytes,
// then the manifest if it has to name new segments or forget old ones. It must
// be called with neither token flushing nor exclusive held, takes flushing, and
// lets go of the lock meanwhile.
func (l *Log) flushLocked() error {
	l.flushing = true
	l.flushTarget = l.changes
	err := l.flushTokenLocked()
	l.flushing = false
	if err != nil {
		l.poisonLocked(err)
	}
	now, next := l.rounds%2, (l.rounds+1)%2
	l.syncers = 1 + l.waiting[now] + l.waiting[next]
	l.round[now].Broadcast()
	l.waiting[now] = 0
	if l.waiting[next] > 0 {
		l.round[next].Signal() // one of them leads the next
		l.waiting[next]--
	}
	l.rounds++
	if l.exclusive {
		l.idleCond.Broadcast()
	}
	l.scheduleLocked()
	return err
}

// flushAllLocked is flushLocked for an exclusive owner.
func (l *Log) flushAllLocked() error {
	if l.err != nil {
		return l.err
	}
	if l.settled == l.changes && !l.manifestDirty {
		return nil
	}
	if err := l.flushTokenLocked(); err != nil {
		l.poisonLocked(err)
		return l.err
	}
	return nil
}

// flushTokenLocked does the work; the caller owns the flushing token or both.
func (l *Log) flushTokenLocked() error {
	target := l.changes
	var one [1]flushed
	dirty := one[:0]
	for _, s := range l.segs {
		if s.end != s.synced && !s.dropping {
			dirty = append(dirty, flushed{s, s.end})
		}
	}
	last, hasLast := uint64(0), len(l.segs) > 0
	if hasLast {
		last = l.segs[len(l.segs)-1].last
	}
	var m *manifest
	dirDirty, drops := l.dirDirty, 0
	if l.manifestDirty {
		for drops < len(l.segs) && l.segs[drops].dropping {
			drops++
		}
		m = l.manifestLocked(l.segs[drops:])
		l.manifestDirty, l.dirDirty = false, false
	}
	l.wantFlush = false
	l.mu.Unlock()
	err := l.syncFiles(dirty, m, dirDirty)
	l.mu.Lock()
	if err != nil {
		return err
	}
	active := l.activeLocked()
	for _, d := range dirty {
		d.seg.synced = d.end
		if d.seg.end == d.end && d.seg.pinned && !(l.writing && d.seg == active) {
			d.seg.pinned = false
			l.flusher.files.unpin(&d.seg.file)
		}
	}
	if m != nil {
		l.manifestWrittenLocked(drops)
	}
	l.settled = max(l.settled, target)
	l.syncedKey, l.hasSynced = last, hasLast
	l.stats.Flushes++
	return nil
}

// syncFiles does a flush's I/O. A manifest names only what is durable, so it
// comes last.
func (l *Log) syncFiles(dirty []flushed, m *manifest, dirDirty bool) error {
	for _, d := range dirty {
		f, err := l.flusher.files.pin(&d.seg.file, 0)
		if err != nil {
			return err
		}
		err = f.Sync()
		l.flusher.files.unpin(&d.seg.file)
		if err != nil {
			return err
		}
	}
	if m == nil {
		return nil
	}
	if dirDirty {
		if err := l.fs.SyncDir(l.dir); err != nil {
			return err
		}
	}
	return l.writeManifest(m)
}

func (l *Log) writeManifest(m *manifest) error {
	return vfs.WriteFile(l.fs, filepath.Join(l.dir, manifestName), m.encode())
}

// manifestLocked describes segments as they are now.
func (l *Log) manifestLocked(segs []*segment) *manifest {
	m := &manifest{next: l.next, entries: make([]manifestEntry, len(segs))}
	for i, s := range segs {
		m.entries[i] = manifestEntry{
			file: s.num, sealed: s.sealed, id: s.id,
			first: s.first, last: s.last, end: s.end, lastAppend: s.lastAppend,
		}
	}
	return m
}

// replaceManifestLocked writes a manifest that leaves out the first drops
// segments, for an exclusive owner, letting go of the lock meanwhile.
func (l *Log) replaceManifestLocked(m *manifest, drops int) error {
	dirDirty, hasDir := l.dirDirty, l.hasDir
	l.manifestDirty, l.dirDirty = false, false
	l.mu.Unlock()
	var err error
	if !hasDir {
		err = l.flusher.makeDir(l.fs, l.dir)
	}
	if err == nil {
		err = l.syncFiles(nil, m, dirDirty)
	}
	l.mu.Lock()
	if err != nil {
		l.poisonLocked(err)
		return l.err
	}
	l.hasDir = true
	l.manifestWrittenLocked(drops)
	return nil
}

// manifestWrittenLocked notes that the manifest is durable, and gives away the
// first drops segments, which it does not name.
func (l *Log) manifestWrittenLocked(drops int) {
	l.hasManifest, l.indexDue = true, true
	if drops > 0 {
		l.disposeLocked(l.segs[:drops])
		// A new array: a flush may be looking at the old one.
		l.segs = append([]*segment(nil), l.segs[drops:]...)
	}
	l.reapLocked()
}

// disposeLocked gives away segments that the manifest no longer names: the file
// of one is kept for recycling if no reader is in it.
func (l *Log) disposeLocked(segs []*segment) {
	for _, s := range segs {
		s.dropped, s.droppedAtHead = true, s.dropping
		l.doomed = append(l.doomed, s)
		if l.free == 0 && s.users == 0 {
			l.free = s.num
		} else {
			l.surplus = append(l.surplus, s.num)
		}
	}
	l.gen.Add(1)
	l.wakeReadersLocked()
}

// reapLocked closes and removes the files that were given away, without the
// lock; a token is held. That a file stays is no harm: nothing names it, and the
// next Open finds it again.
func (l *Log) reapLocked() {
	doomed, surplus := l.doomed, l.surplus
	if len(doomed)+len(surplus)+len(l.staleIndexes) == 0 {
		return
	}
	l.doomed, l.surplus = nil, nil
	for _, s := range doomed {
		l.forgetIndexLocked(s.num)
	}
	for _, num := range surplus {
		l.forgetIndexLocked(num)
	}
	stale := l.staleIndexes
	l.staleIndexes = nil
	l.mu.Unlock()
	for _, s := range doomed {
		l.flusher.files.drop(&s.file)
		if s.pinned {
			l.flusher.files.unpin(&s.file)
		}
	}
	for _, num := range surplus {
		l.remove(segName(num))
	}
	for _, num := range stale {
		l.remove(indexName(num))
	}
	l.mu.Lock()
}

func (l *Log) remove(base string) {
	name := filepath.Join(l.dir, base)
	if err := l.fs.Remove(name); err != nil {
		l.log.Warn("wal: a file that is no longer needed stays", "file", name, "err", err)
	}
}

// asyncSync is a SyncAsync that was not answered yet.
type asyncSync struct {
	target uint64
	done   func(synced uint64, err error)
}

// asyncQueue is a first-in first-out queue that reuses its array.
type asyncQueue struct {
	items []asyncSync
	head  int
}

func (q *asyncQueue) empty() bool       { return q.head == len(q.items) }
func (q *asyncQueue) first() *asyncSync { return &q.items[q.head] }

func (q *asyncQueue) push(s asyncSync) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, s)
}

func (q *asyncQueue) pop() asyncSync {
	s := q.items[q.head]
	q.items[q.head] = asyncSync{}
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return s
}
