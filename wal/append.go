package wal

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/internal/invariant"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

const (
	// writeBufBytes is how much is gathered for one write.
	writeBufBytes = 128 << 10
	// directBytes is from which length on a payload is written from where it
	// lies, rather than gathered.
	directBytes = 32 << 10
	// segmentEndMax keeps positions within what a record's mark can say.
	segmentEndMax = 1 << 34
	// Zeros are written ahead in steps from preallocMin, doubling, unless an
	// append is so large that its sync gains nothing.
	preallocMin     = 64 << 10
	preallocDefault = 4 << 20
	preallocUpTo    = 256 << 10
	// In a log that nobody syncs, zeros up to the next multiple of a step precede
	// a write behind the end of the file: the system keeps in one piece what is
	// written in one piece, and writes into that cost half as much as many small
	// ones that make a file longer. In larger pieces small writes cost more.
	aheadMin      = 64 << 10 // none before that
	aheadStep     = 64 << 10
	aheadStepLong = 256 << 10
	aheadLong     = 32 << 10 // writes from here on take the long step
	// smallBytes is from what length on an append takes a pooled buffer.
	smallBytes = 384
	// marksKeptMax is for how many index entries an idle log keeps room.
	marksKeptMax = 64
)

// writeBufs holds buffers of writeBufBytes, shared by all logs.
var writeBufs = sync.Pool{New: func() any {
	b := make([]byte, 0, writeBufBytes)
	return &b
}}

var zeros [aheadStepLong]byte

// writer is an append under way.
type writer struct {
	seg     *segment   // being written
	rolled  []*segment // begun by this append, in order
	left    leftover   // what it put into the segment that was active before them
	f       vfs.File   // of seg
	buf     []byte     // not yet written
	bufOff  int64      // where in the file it goes
	pos     int64      // bufOff + len(buf)
	last    uint64
	marks   []indexEntry // for the index of seg
	indexed int64        // where the last of them points; <0: the index has a gap
	mark    int64
	clock   clock
	now     int64
	aheadTo int64   // zeros may precede writes up to here
	pooled  *[]byte // what buf came in; nil: small
	small   [smallBytes]byte
}

// leftover is the part of a rolling append that went into the segment before.
type leftover struct {
	seg   *segment // nil: there was none
	end   int64
	last  uint64
	marks []indexEntry
	whole bool // marks continue the segment's index
}

// Append writes records behind the last one, in order. Keys must increase from
// Next on. When it returns, readers see the records and the payloads are the
// caller's again; they are durable after Sync. On an error nothing is visible;
// a failed write poisons the log, and then some of the records may be found
// after reopening. Records of one call are not atomic: a crash may keep the
// first of them only.
func (l *Log) Append(recs ...Record) error {
	if len(recs) == 0 {
		return nil
	}
	l.mu.Lock()
	err := l.appendLocked(recs, false)
	l.mu.Unlock()
	return err
}

// appendLocked is Append; it lets go of the lock meanwhile. With number it gives
// the records their keys, from Next on.
func (l *Log) appendLocked(recs []Record, number bool) error {
	for (l.writing || l.exclusive) && l.err == nil && !l.closed {
		l.writeCond.Wait()
	}
	if err := l.usableLocked(); err != nil {
		return err
	}
	if number {
		for i := range recs {
			recs[i].Key = l.next + uint64(i)
		}
	}
	payload, err := checkRecords(recs, l.next)
	if err != nil {
		return err
	}
	l.writing = true
	w := &l.w
	w.begin(l.activeLocked(), payload+len(recs)*(recHeaderBytes+recAlign))
	pin := w.seg != nil && !w.seg.pinned
	if pin {
		w.seg.pinned = true
	}
	prealloc := l.prealloc
	if prealloc > 0 && !l.syncing {
		w.aheadTo = l.segmentBytes
	}
	if !l.syncing || payload > preallocUpTo {
		prealloc = 0
	}
	l.mu.Unlock()

	err = l.write(w, recs, pin, prealloc)
	if err != nil {
		l.abandon(w.rolled)
	}

	l.mu.Lock()
	if err != nil {
		l.poisonLocked(err)
		err = l.err
	} else {
		l.publishLocked(w, recs, payload)
	}
	w.end()
	l.writing = false
	l.writeCond.Signal()
	if l.exclusive {
		l.idleCond.Broadcast()
	}
	return err
}

// checkRecords returns the payloads' length together.
func checkRecords(recs []Record, next uint64) (int, error) {
	total := 0
	for i := range recs {
		r := &recs[i]
		if r.Key < next || r.Key > KeyMax {
			return 0, fmt.Errorf("%w: key %d where at least %d is due", ErrKeyOrder, r.Key, next)
		}
		if len(r.Payload) > RecordBytesMax {
			return 0, fmt.Errorf("%w: %d bytes under key %d", ErrTooLarge, len(r.Payload), r.Key)
		}
		next = r.Key + 1
		total += len(r.Payload)
	}
	return total, nil
}

// begin prepares for an append to a segment that takes up to room bytes.
func (w *writer) begin(active *segment, room int) {
	w.seg, w.f, w.now = active, nil, w.clock.now()
	if room <= smallBytes-segHeaderBytes {
		w.buf = w.small[:0]
	} else {
		w.pooled = writeBufs.Get().(*[]byte)
		w.buf = (*w.pooled)[:0]
	}
	w.indexed = -1
	if active == nil {
		w.bufOff, w.pos, w.last, w.mark = 0, 0, 0, 0
		return
	}
	w.bufOff, w.pos, w.last, w.mark = active.end, active.end, active.last, active.synced
	if active.index.covered == active.end {
		w.indexed = active.index.lastOff()
	}
}

func (w *writer) end() {
	if w.pooled != nil {
		writeBufs.Put(w.pooled)
	}
	clear(w.rolled)
	marks := w.marks
	if marks == nil {
		marks = w.left.marks // published by copying
	}
	if cap(marks) > marksKeptMax {
		marks = nil
	}
	w.seg, w.f, w.buf, w.pooled = nil, nil, nil, nil
	if w.left.seg != nil {
		w.left = leftover{}
	}
	w.rolled, w.marks, w.aheadTo = w.rolled[:0], marks[:0], 0
}

// clock tells the time of day for half the price: within a second from a look at
// it, it looks at the monotonic clock only.
type clock struct {
	base time.Time
	ms   int64 // base in Unix milliseconds
}

func (c *clock) now() int64 {
	d := time.Since(c.base)
	if c.ms != 0 && d < time.Second {
		return c.ms + d.Milliseconds()
	}
	c.base = time.Now()
	c.ms = c.base.UnixMilli()
	return c.ms
}

// write does an append's I/O. The writing token is held.
func (l *Log) write(w *writer, recs []Record, pin bool, prealloc int64) (err error) {
	if w.seg != nil {
		if pin {
			if w.f, err = l.flusher.files.pin(&w.seg.file, 0); err != nil {
				l.mu.Lock()
				w.seg.pinned = false
				l.mu.Unlock()
				return err
			}
		} else {
			w.f = w.seg.file.f // the log's own pin holds it
		}
	}
	for i := range recs {
		if err := l.writeRecord(w, &recs[i]); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if prealloc > 0 {
		return l.preallocate(w, prealloc)
	}
	return nil
}

func (l *Log) writeRecord(w *writer, r *Record) error {
	size := recordBytes(len(r.Payload))
	if w.seg == nil || w.pos+size > l.segmentBytes && w.pos > segHeaderBytes || w.pos+size > segmentEndMax {
		if err := l.roll(w, r.Key); err != nil {
			return err
		}
	}
	if w.indexed >= 0 && w.pos-w.indexed >= indexStride {
		w.marks = append(w.marks, indexEntry{r.Key, w.pos})
		w.indexed = w.pos
	}
	if len(r.Payload) >= directBytes {
		return w.writeDirect(r, size)
	}
	at := len(w.buf)
	if at+int(size) > writeBufBytes {
		if err := w.flush(); err != nil {
			return err
		}
		at = 0
	}
	w.buf = w.buf[:at+int(size)]
	putRecord(w.buf[at:], w.seg.seed, w.pos, r.Key, r.Payload, w.mark)
	w.pos += size
	w.last = r.Key
	return nil
}

// writeDirect writes a record whose payload is written from where it lies.
func (w *writer) writeDirect(r *Record, size int64) error {
	if len(w.buf)+recHeaderBytes > writeBufBytes {
		if err := w.flush(); err != nil {
			return err
		}
	}
	at := len(w.buf)
	w.buf = w.buf[:at+recHeaderBytes]
	putRecordHeader(w.buf[at:], w.seg.seed, w.pos, r.Key, r.Payload, w.mark)
	w.pos += size
	w.last = r.Key
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.zeroAhead(len(r.Payload)); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(r.Payload, w.bufOff); err != nil {
		return err
	}
	w.wrote(len(r.Payload))
	w.buf = append(w.buf, zeroPad[:padded(len(r.Payload))-len(r.Payload)]...)
	return nil
}

// flush writes what was gathered.
func (w *writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if w.pos > w.seg.alloc {
		if err := w.zeroAhead(len(w.buf)); err != nil {
			return err
		}
	}
	if _, err := w.f.WriteAt(w.buf, w.bufOff); err != nil {
		return err
	}
	w.wrote(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// zeroAhead prepares for a write of n bytes.
func (w *writer) zeroAhead(n int) error {
	end := w.bufOff + int64(n)
	if end <= w.seg.alloc || end >= w.aheadTo || w.bufOff < aheadMin {
		return nil
	}
	step := int64(aheadStep)
	if n >= aheadLong {
		step = aheadStepLong
	}
	return w.zero(min((end+step-1)/step*step, w.aheadTo), step)
}

// zero writes zeros from where nothing was written yet up to end, in pieces that
// end at multiples of step.
func (w *writer) zero(end, step int64) error {
	s := w.seg
	for s.alloc < end {
		n := min(end-s.alloc, step-s.alloc%step)
		if _, err := w.f.WriteAt(zeros[:n], s.alloc); err != nil {
			return err
		}
		s.alloc += n
	}
	return nil
}

// wrote moves past n bytes that are in the file now. Whatever writes to it says
// so here: zeros are written ahead from alloc on, and nowhere else.
func (w *writer) wrote(n int) {
	w.bufOff += int64(n)
	w.seg.alloc = max(w.seg.alloc, w.bufOff)
}

// roll begins a segment: in a recycled file if there is one. It is not visible
// before the append is, and not in the manifest before the next flush.
func (l *Log) roll(w *writer, first uint64) error {
	if err := w.flush(); err != nil {
		return err
	}
	l.mu.Lock()
	hdr := segHeader{id: l.newID(), base: first}
	prev := w.seg
	if prev == nil && len(l.segs) > 0 {
		prev = l.segs[len(l.segs)-1]
		w.pos = prev.end
	}
	if prev != nil {
		hdr.prevID, hdr.prevEnd = prev.id, w.pos
	}
	if l.hasManifest {
		hdr.flags |= segAfterManifest
	}
	num, recycled := l.free, l.free != 0
	l.free = 0
	if !recycled {
		l.lastFile++
		num = l.lastFile
	}
	hasDir := l.hasDir
	l.mu.Unlock()

	if !hasDir {
		if err := l.flusher.makeDir(l.fs, l.dir); err != nil {
			return err
		}
	}
	s := l.newSegment(num, hdr.id, first)
	flag := 0
	if !recycled {
		flag = os.O_CREATE | os.O_EXCL
	}
	f, err := l.flusher.files.pin(&s.file, flag)
	if err != nil {
		return err
	}
	s.pinned = true
	if recycled {
		if s.alloc, err = f.Size(); err != nil {
			return err
		}
	}
	w.leaveSegment()
	w.rolled = append(w.rolled, s)
	w.seg, w.f = s, f
	w.buf = hdr.append(w.buf)
	w.bufOff, w.pos, w.mark, w.indexed = 0, segHeaderBytes, 0, 0
	s.index.covered = segHeaderBytes
	l.mu.Lock()
	l.hasDir = true
	l.dirDirty = l.dirDirty || !recycled
	l.stats.Rolls++
	if recycled {
		l.stats.Recycled++
	}
	l.mu.Unlock()
	return nil
}

// leaveSegment notes what is to be published of the segment written so far.
// One that this append has begun nobody else knows yet; the fields of the one
// before belong to Log.mu, so they wait.
func (w *writer) leaveSegment() {
	switch {
	case w.seg == nil:
	case len(w.rolled) == 0:
		w.left = w.part()
		w.marks = nil
	default:
		w.seg.end, w.seg.last, w.seg.lastAppend = w.pos, w.last, w.now
		w.seg.index.add(w.marks, w.pos)
		w.marks = w.marks[:0]
	}
}

// preallocate writes zeros behind the records if they have reached the end of
// the file.
func (l *Log) preallocate(w *writer, stepMax int64) error {
	s := w.seg
	if w.pos < s.alloc || w.pos >= l.segmentBytes {
		return nil
	}
	invariant.Check(s.alloc == w.pos, "wal: records end at %d, zeros would begin at %d", w.pos, s.alloc)
	end := min(w.pos+min(max(w.pos, preallocMin), stepMax), l.segmentBytes)
	if r, ok := w.f.(vfs.Reserver); ok {
		_ = r.Reserve(end - s.alloc) // the writes below find out
	}
	return w.zero(end, aheadStep)
}

// part is what the append put into the segment that it writes.
func (w *writer) part() leftover {
	return leftover{seg: w.seg, end: w.pos, last: w.last, marks: w.marks, whole: w.indexed >= 0}
}

// publishLocked makes an append visible.
func (l *Log) publishLocked(w *writer, recs []Record, payload int) {
	last := recs[len(recs)-1].Key
	if len(w.rolled) == 0 {
		part := w.part()
		part.publish(w.now)
	} else {
		w.leaveSegment()
		if w.left.seg != nil {
			w.left.publish(w.now)
		}
		for _, s := range w.rolled {
			if n := len(l.segs); n > 0 {
				l.segs[n-1].sealed = true
			}
			l.segs = append(l.segs, s)
		}
		l.manifestDirty = true
		l.wantFlush = true
	}
	l.next = last + 1
	l.changes++
	l.unclean = true
	l.stats.Appends++
	l.stats.Records += uint64(len(recs))
	l.stats.BytesAppended += uint64(payload)
	if l.wantFlush {
		l.scheduleLocked()
	}
	l.wakeReadersLocked()
}

func (p *leftover) publish(now int64) {
	if p.end == p.seg.end {
		return
	}
	p.seg.end, p.seg.last, p.seg.lastAppend = p.end, p.last, now
	if p.whole {
		p.seg.index.add(p.marks, p.end)
	}
}

// abandon closes the files of segments that did not come to be.
func (l *Log) abandon(rolled []*segment) {
	for _, s := range rolled {
		l.flusher.files.drop(&s.file)
		l.flusher.files.unpin(&s.file)
	}
}
