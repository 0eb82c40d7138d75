package wal

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sort"
)

// backBytes is how much a Reader that goes backward reads at a time, roughly:
// from an indexed record on, since records can only be parsed forward.
const backBytes = 64 << 10

// backBlock is a run of records that was read to be returned backward.
type backBlock struct {
	seg    *segment // nil: none
	start  int64    // where in the file buf begins
	buf    []byte
	bounds []int64 // where the records begin, and, last, where they end
}

// Prev returns the record before the position and moves there, so that Next
// returns the same record again. A Reader made for the greatest uint64, or for
// Log.Next, begins at the end. io.EOF says that there is none before; else
// errors, and the life of the payload, are as with Next.
func (r *Reader) Prev() (Record, error) {
	for {
		if r.seg == nil || r.gen != r.l.gen.Load() || r.off+int64(r.r) <= segHeaderBytes {
			if err := r.positionBack(); err != nil {
				return Record{}, err
			}
		}
		rec, ok, err := r.parseBack()
		if err != nil || ok {
			return rec, err
		}
	}
}

// positionBack makes sure that there is a record before the position, moving on
// to the end of the segment before at the beginning of one.
func (r *Reader) positionBack() error {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed || r.closed:
			return ErrClosed
		case r.gone:
			return ErrGone
		case r.seg == nil:
			if err := r.seekBackLocked(); err != nil {
				return err
			}
			continue
		}
		r.revalidateLocked()
		if r.gone {
			return ErrGone
		}
		if r.seg == nil {
			continue
		}
		if r.off+int64(r.r) > segHeaderBytes {
			return nil
		}
		i := slices.Index(l.segs, r.seg)
		if i <= 0 {
			return io.EOF
		}
		r.enter(l.segs[i-1], l.segs[i-1].end)
	}
}

// seekBackLocked finds the end of the last record below r.from. io.EOF: there is
// none.
func (r *Reader) seekBackLocked() error {
	l := r.l
	for {
		if len(l.segs) == 0 || r.from <= l.segs[0].first {
			return io.EOF
		}
		s := l.segs[l.segmentForLocked(r.from-1)]
		if r.from > s.last {
			r.enter(s, s.end)
			return nil
		}
		gen := l.gen.Load()
		p, err := l.locateLocked(s, r.from)
		switch {
		case l.closed:
			return ErrClosed
		case l.gen.Load() != gen:
			continue
		case err != nil:
			return err
		}
		r.enter(s, p.off)
		return nil
	}
}

// parseBack returns the record before the position. It returns false if the log
// changed under it.
func (r *Reader) parseBack() (Record, bool, error) {
	at := r.off + int64(r.r)
	if r.back == nil {
		r.back = &backBlock{}
	}
	b := r.back
	i, ok := b.before(r.seg, at)
	if !ok {
		if ok, err := r.loadBack(at); !ok {
			return Record{}, false, err
		}
		i = len(b.bounds) - 2
	}
	off := b.bounds[i]
	rec := b.buf[off-b.start : b.bounds[i+1]-b.start]
	h, ok := parseRecordHeader(rec, r.seg.seed, off)
	body := rec[recHeaderBytes:]
	if !ok || !h.payloadOK(body, r.seg.seed, off) {
		b.seg = nil
		return Record{}, false, r.corrupt(off, "record payload checksum mismatch")
	}
	r.off, r.r, r.w, r.from = off, 0, 0, h.key
	return Record{Key: h.key, Payload: body[:h.len:h.len]}, true, nil
}

// before returns which record of the block ends at a place.
func (b *backBlock) before(s *segment, at int64) (int, bool) {
	if b.seg != s {
		return 0, false
	}
	i, ok := slices.BinarySearch(b.bounds, at)
	return i - 1, ok && i > 0
}

// loadBack reads the records that end at a place, as far back as is worth it. It
// returns false without an error if the log changed.
func (r *Reader) loadBack(at int64) (bool, error) {
	l, s, b := r.l, r.seg, r.back
	l.mu.Lock()
	if s.index.covered < at && !l.closed && r.gen == l.gen.Load() {
		if _, err := l.locateLocked(s, r.from); err != nil && r.gen == l.gen.Load() {
			l.mu.Unlock()
			return false, err
		}
	}
	if l.closed || r.gen != l.gen.Load() {
		l.mu.Unlock()
		return false, nil
	}
	x := s.index
	s.users++
	l.mu.Unlock()

	b.seg, b.start = nil, x.blockBefore(at)
	b.buf = slices.Grow(b.buf[:0], int(at-b.start))[:at-b.start]
	f, err := l.flusher.files.pin(&s.file, 0)
	if err == nil {
		_, err = f.ReadAt(b.buf, b.start)
		l.flusher.files.unpin(&s.file)
	}

	l.mu.Lock()
	s.users--
	changed := l.closed || r.gen != l.gen.Load()
	l.mu.Unlock()
	switch {
	case changed:
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, r.corrupt(at, "segment is missing")
	case err == io.EOF:
		return false, r.corrupt(at, errShort.Error())
	case err != nil:
		return false, err
	}
	if off, ok := b.split(s.seed); !ok {
		l.mu.Lock()
		again := l.distrustIndexLocked(s)
		l.mu.Unlock()
		if again {
			return false, nil
		}
		return false, r.corrupt(off, "record header checksum mismatch")
	}
	b.seg = s
	return true, nil
}

// blockBefore returns where to begin reading the records that end at a place.
func (x *sparseIndex) blockBefore(at int64) int64 {
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].off >= at }) - 1
	for i > 0 && at-x.entries[i].off < backBytes && at-x.entries[i-1].off <= backBytes {
		i--
	}
	if i < 0 || i == 0 && at <= backBytes {
		return segHeaderBytes
	}
	return x.entries[i].off
}

// split finds the bounds of the records in buf, all of it, and otherwise where
// it met something else.
func (b *backBlock) split(seed uint32) (int64, bool) {
	b.bounds = b.bounds[:0]
	off, end := b.start, b.start+int64(len(b.buf))
	for off < end {
		if end-off < recHeaderBytes {
			return off, false
		}
		h, ok := parseRecordHeader(b.buf[off-b.start:], seed, off)
		if !ok || off+h.size() > end {
			return off, false
		}
		b.bounds = append(b.bounds, off)
		off += h.size()
	}
	b.bounds = append(b.bounds, end)
	return end, len(b.bounds) > 1
}

// All iterates over the records from a key on, in order, those not yet synced
// included, and ends where the log ends at that moment. An error is the last
// thing that it yields. A payload is valid until the next iteration.
func (l *Log) All(from uint64) iter.Seq2[Record, error] {
	return l.iterate(from, (*Reader).Next)
}

// Backward iterates over the records with keys below a key, from the last one
// back to the first; the greatest uint64 takes all. Otherwise it is as All.
func (l *Log) Backward(below uint64) iter.Seq2[Record, error] {
	return l.iterate(below, (*Reader).Prev)
}

func (l *Log) iterate(from uint64, step func(*Reader) (Record, error)) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r := l.NewReader(from)
		defer r.Close()
		for {
			rec, err := step(r)
			if err == io.EOF || !yield(rec, err) || err != nil {
				return
			}
		}
	}
}
