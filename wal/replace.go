package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Replacement is what a run of sealed segments is to hold instead of what it
// does, as compaction finds it. Append fills it, Commit puts it into the log's
// place in one step, Abort gives it up. Until Commit the log is as it was, and
// appends, reads and syncs go on. Not safe for concurrent use, but it and the
// Log are.
type Replacement struct {
	l     *Log
	old   []replaced
	next  uint64 // least key for Append
	segs  []*segment
	f     vfs.File // of the last of segs
	buf   []byte   // not yet written
	off   int64    // where in the file it goes
	ended bool
}

// replaced is a segment as the Replacement found it.
type replaced struct {
	seg  *segment
	info SegmentInfo
}

// NewReplacement begins the replacement of the segments whose records all have
// keys from first to last, as far as they are sealed and durable; the segment
// of the log's last record is never among them. There must be one at least, else
// the error is ErrGone. Commit or Abort it before the log is closed.
func (l *Log) NewReplacement(first, last uint64) (*Replacement, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return nil, err
	}
	p := &Replacement{l: l}
	for i, s := range l.segs {
		if s.first < first || s.last > last || i == len(l.segs)-1 {
			continue
		}
		if s.synced != s.end || s.dropping {
			break
		}
		p.old = append(p.old, replaced{s, s.info()})
	}
	if len(p.old) == 0 {
		return nil, fmt.Errorf("%w: no sealed segment lies between the keys %d and %d", ErrGone, first, last)
	}
	p.next = p.old[0].info.First
	return p, nil
}

// Segments describes the segments that will be replaced, in key order: from the
// first's First to the last's Last go the keys that Append may get.
func (p *Replacement) Segments() []SegmentInfo {
	infos := make([]SegmentInfo, len(p.old))
	for i, o := range p.old {
		infos[i] = o.info
	}
	return infos
}

// Append adds records behind those already added. Keys must increase and lie
// within the run; not all need be there that were, and none need. The payloads
// are the caller's again on return. ErrKeyOrder and ErrTooLarge add nothing; a
// failed write poisons the log, as everywhere.
func (p *Replacement) Append(recs ...Record) error {
	if p.ended {
		return ErrClosed
	}
	if _, err := checkRecords(recs, p.next); err != nil {
		return err
	}
	end := p.old[len(p.old)-1].info.Last
	if n := len(recs); n > 0 && recs[n-1].Key > end {
		return fmt.Errorf("%w: key %d where the replaced segments end at %d", ErrKeyOrder, recs[n-1].Key, end)
	}
	for i := range recs {
		if err := p.add(&recs[i]); err != nil {
			return err
		}
		p.next = recs[i].Key + 1
	}
	return nil
}

func (p *Replacement) pos() int64 { return p.off + int64(len(p.buf)) }

func (p *Replacement) add(r *Record) error {
	size := recordBytes(len(r.Payload))
	if p.f == nil || p.pos()+size > p.l.segmentBytes && p.pos() > segHeaderBytes || p.pos()+size > segmentEndMax {
		if err := p.roll(r.Key); err != nil {
			return err
		}
	}
	s, at := p.segs[len(p.segs)-1], p.pos()
	if at-s.index.lastOff() >= indexStride {
		s.index.entries = append(s.index.entries, indexEntry{r.Key, at})
	}
	n := len(p.buf)
	p.buf = slices.Grow(p.buf, int(size))[:n+recHeaderBytes]
	putRecordHeader(p.buf[n:], s.seed, at, r.Key, r.Payload, 0)
	p.buf = append(p.buf, r.Payload...)
	p.buf = append(p.buf, zeroPad[:padded(len(r.Payload))-len(r.Payload)]...)
	s.last, s.end = r.Key, p.pos()
	s.index.covered = s.end
	if len(p.buf) >= writeBufBytes {
		return p.flush()
	}
	return nil
}

// roll ends the segment being written and begins one in a file of its own. Until
// Commit nothing names it: a crash leaves a free file.
func (p *Replacement) roll(first uint64) error {
	if err := p.flush(); err != nil {
		return err
	}
	l := p.l
	l.mu.Lock()
	l.lastFile++
	num, hdr := l.lastFile, segHeader{id: l.newID(), base: first, flags: segAfterManifest}
	l.mu.Unlock()
	if n := len(p.segs); n > 0 {
		hdr.prevID, hdr.prevEnd = p.segs[n-1].id, p.segs[n-1].end
	}
	s := l.newSegment(num, hdr.id, first)
	err := p.outside(func() (err error) {
		p.f, err = l.flusher.files.pin(&s.file, os.O_CREATE|os.O_EXCL)
		return err
	})
	if err != nil {
		return err
	}
	s.pinned, s.sealed = true, true
	p.segs = append(p.segs, s)
	p.buf, p.off = hdr.append(p.buf), 0
	return nil
}

// flush writes what was gathered.
func (p *Replacement) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	err := p.outside(func() error {
		_, err := p.f.WriteAt(p.buf, p.off)
		return err
	})
	if err == nil {
		p.off += int64(len(p.buf))
		p.buf = p.buf[:0]
	}
	return err
}

// outside does I/O on files that are not part of the log, which need no token
// but the log open until it is done. An error poisons the log.
func (p *Replacement) outside(do func() error) error {
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	l.outside++
	l.mu.Unlock()
	err := do()
	l.mu.Lock()
	l.outside--
	if l.closed {
		l.closeCond.Broadcast()
	}
	if err != nil {
		l.poisonLocked(err)
		return l.err
	}
	return nil
}

// Commit makes what was appended durable and then, with one manifest, part of
// the log in place of the old segments; at any crash the log has the one or the
// other. Readers within the run go on behind the record that they had last.
// Whoever appends waits while the manifest is written. ErrGone: the old segments
// are no longer all there as they were, since a truncation came between; the log
// is then unchanged. In any case the Replacement is at its end.
func (p *Replacement) Commit() error {
	if p.ended {
		return ErrClosed
	}
	err := p.flush()
	for i := 0; err == nil && i < len(p.segs); i++ {
		err = p.outside(func() error { return p.segs[i].file.f.Sync() }) // pinned, so it is open
	}
	if err != nil {
		p.Abort()
		return err
	}
	l := p.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enterExclusiveLocked(); err != nil {
		p.abortLocked()
		return err
	}
	defer l.leaveExclusiveLocked()
	// The manifest says of every segment that it is durable.
	err = l.flushAllLocked()
	if err == nil {
		err = p.commitLocked()
	}
	if err != nil {
		p.abortLocked()
	}
	return err
}

func (p *Replacement) commitLocked() error {
	l := p.l
	if err := l.usableLocked(); err != nil {
		return err
	}
	i := slices.Index(l.segs, p.old[0].seg)
	n := len(p.old)
	same := i >= 0 && i+n < len(l.segs)
	for k := 0; same && k < n; k++ {
		s := l.segs[i+k]
		same = s == p.old[k].seg && s.end == p.old[k].info.Bytes && !s.dropping
	}
	if !same {
		return fmt.Errorf("%w: the segments to be replaced were truncated meanwhile", ErrGone)
	}
	for _, s := range p.segs {
		s.synced, s.alloc = s.end, s.end
		// As old as the youngest record that it can hold.
		k := sort.Search(n, func(k int) bool { return p.old[k].info.First > s.last }) - 1
		s.lastAppend = p.old[k].info.LastAppend
	}
	segs := slices.Concat(l.segs[:i], p.segs, l.segs[i+n:])
	l.unclean = true
	l.dirDirty = true
	if err := l.replaceManifestLocked(l.manifestLocked(segs), 0); err != nil {
		return err
	}
	old := l.segs[i : i+n]
	for _, s := range old {
		s.replaced = true
	}
	l.segs = segs
	l.disposeLocked(old)
	for _, s := range p.segs {
		s.pinned = false
		l.flusher.files.unpin(&s.file)
	}
	l.stats.Replaced += uint64(n)
	l.indexDue = true
	p.end()
	l.reapLocked()
	return nil
}

func (p *Replacement) end() {
	p.ended, p.segs, p.buf, p.f = true, nil, nil, nil
}

// Abort gives the replacement up and removes what it wrote. Idempotent; after
// Commit it does nothing.
func (p *Replacement) Abort() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.abortLocked()
}

// abortLocked lets go of the lock meanwhile. On a log that takes no more calls
// the files are left to the next Open.
func (p *Replacement) abortLocked() {
	if p.ended {
		return
	}
	l, segs := p.l, p.segs
	p.end()
	remove := l.usableLocked() == nil
	l.outside++
	l.mu.Unlock()
	for _, s := range segs {
		l.flusher.files.drop(&s.file)
		l.flusher.files.unpin(&s.file)
		if !remove {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.dir, segName(s.num))); err != nil {
			l.log.Warn("wal: the file of an aborted replacement stays", "file", s.file.name, "err", err)
		}
	}
	l.mu.Lock()
	l.outside--
	if l.closed {
		l.closeCond.Broadcast()
	}
}
