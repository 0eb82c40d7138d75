package wal

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
)

// readBufBytes is how much a Reader reads at a time; a longer record makes it
// read that.
const (
	readBufBytes = 256 << 10
	readBufMin   = 4 << 10
)

// Reader iterates over a log's records from a key on, those not yet synced
// included, and tails it. It holds no file and, before the first Next, no
// buffer. Not safe for concurrent use, but many Readers and the Log are.
type Reader struct {
	l      *Log
	seg    *segment // nil: not positioned; looks for from
	from   uint64   // the position is before the first record with this key or more
	gen    uint64
	limit  int64 // records of seg are visible up to here
	off    int64 // where in the file buf begins
	buf    []byte
	r, w   int        // buf[r:w] is read and not yet returned
	back   *backBlock // what Prev read; nil: it was not called
	gone   bool
	closed bool
}

// NewReader returns a Reader positioned at the first record whose key is at
// least from, be it there already or not.
func (l *Log) NewReader(from uint64) *Reader {
	return &Reader{l: l, from: from}
}

// Seek positions the reader anew, as NewReader does. It keeps its buffer.
func (r *Reader) Seek(from uint64) {
	r.seg, r.from, r.gone, r.r, r.w = nil, from, false, 0, 0
}

// Close releases the buffer. The reader then fails with ErrClosed. Idempotent.
func (r *Reader) Close() error {
	r.closed = true
	r.seg, r.buf, r.back = nil, nil, nil
	return nil
}

// Next returns the next record. Its payload is valid until the next call on this
// reader. At the end it returns io.EOF, and may be called again when more was
// appended. It returns ErrGone if its position was truncated away, from then on
// until Seek; ErrCorrupt for a damaged record, each time; ErrClosed after the
// log or the reader was closed. An error of the file system may go away.
func (r *Reader) Next() (Record, error) {
	for {
		if r.seg == nil || r.gen != r.l.gen.Load() || r.off+int64(r.r) >= r.limit {
			if err := r.position(); err != nil {
				return Record{}, err
			}
		}
		rec, ok, err := r.parse()
		if err != nil || ok {
			return rec, err
		}
	}
}

// parse returns the record at the position. It returns false if the log changed
// under it.
func (r *Reader) parse() (Record, bool, error) {
	if r.w-r.r < recHeaderBytes {
		if ok, err := r.fill(recHeaderBytes); !ok {
			return Record{}, false, err
		}
	}
	at := r.off + int64(r.r)
	seed := r.seg.seed
	h, ok := parseRecordHeader(r.buf[r.r:r.w], seed, at)
	if !ok {
		return Record{}, false, r.corrupt(at, "record header checksum mismatch")
	}
	size := int(h.size())
	if r.w-r.r < size {
		if at+h.size() > r.limit {
			return Record{}, false, r.corrupt(at, "record reaches beyond the end of its segment")
		}
		if ok, err := r.fill(size); !ok {
			return Record{}, false, err
		}
	}
	body := r.buf[r.r+recHeaderBytes : r.r+size]
	if !h.payloadOK(body, seed, at) {
		return Record{}, false, r.corrupt(at, "record payload checksum mismatch")
	}
	r.r += size
	r.from = h.key + 1
	return Record{Key: h.key, Payload: body[:h.len:h.len]}, true, nil
}

// corrupt reports damage, unless the log changed meanwhile: then the bytes may
// be of another life of the file, and Next looks again.
func (r *Reader) corrupt(at int64, reason string) error {
	if r.gen != r.l.gen.Load() {
		return nil
	}
	return &CorruptError{File: r.seg.file.name, Offset: at, Reason: reason}
}

// position makes sure that there is a record at the position, moving on to the
// next segment at the end of one.
func (r *Reader) position() error {
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
			if err := r.seekLocked(); err != nil {
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
		if r.off+int64(r.r) < r.limit {
			return nil
		}
		i := slices.Index(l.segs, r.seg)
		if i+1 >= len(l.segs) {
			return io.EOF
		}
		r.enter(l.segs[i+1], segHeaderBytes)
	}
}

// enter puts the reader at a place of a segment.
func (r *Reader) enter(s *segment, off int64) {
	r.seg, r.off, r.r, r.w = s, off, 0, 0
	r.limit, r.gen = s.end, r.l.gen.Load()
}

// revalidateLocked adjusts the reader to what happened to its segment.
func (r *Reader) revalidateLocked() {
	s, at := r.seg, r.off+int64(r.r)
	switch {
	case s.dropped && s.droppedAtHead && at == s.end:
		r.seg, r.from = nil, s.last+1
	case s.replaced:
		r.seg = nil // from is where it goes on
	case s.dropped || at > s.end:
		r.gone = true
	default:
		r.limit, r.gen = s.end, r.l.gen.Load()
		r.w = int(min(int64(r.w), r.limit-r.off))
	}
}

// seekLocked finds the first record from r.from on. io.EOF: there is none yet.
func (r *Reader) seekLocked() error {
	l := r.l
	for {
		if len(l.segs) == 0 || r.from >= l.next {
			return io.EOF
		}
		i := max(l.segmentForLocked(r.from), 0)
		s := l.segs[i]
		switch {
		case r.from <= s.first:
			r.enter(s, segHeaderBytes)
			return nil
		case r.from > s.last:
			if i+1 == len(l.segs) {
				return io.EOF
			}
			r.enter(l.segs[i+1], segHeaderBytes)
			return nil
		}
		gen := l.gen.Load()
		p, err := l.locateLocked(s, r.from)
		if l.closed {
			return ErrClosed
		}
		if l.gen.Load() != gen {
			continue
		}
		if err != nil {
			return err
		}
		r.enter(s, p.off)
		return nil
	}
}

// fill makes n bytes available at the position, reading ahead as far as there
// are records. It returns false without an error if the log changed.
func (r *Reader) fill(n int) (bool, error) {
	l := r.l
	at := r.off + int64(r.r)
	if at+int64(n) > r.limit {
		return false, r.corrupt(at, "record reaches beyond the end of its segment")
	}
	l.mu.Lock()
	if l.closed || r.gen != l.gen.Load() {
		l.mu.Unlock()
		return false, nil
	}
	s := r.seg
	r.limit = s.end
	s.users++
	l.mu.Unlock()

	r.makeRoom(n)
	want := int(min(int64(len(r.buf)-r.w), r.limit-r.off-int64(r.w)))
	f, err := l.flusher.files.pin(&s.file, 0)
	got := 0
	if err == nil {
		got, err = f.ReadAt(r.buf[r.w:r.w+want], r.off+int64(r.w))
		l.flusher.files.unpin(&s.file)
	}

	l.mu.Lock()
	s.users--
	changed := l.closed || r.gen != l.gen.Load()
	l.mu.Unlock()
	switch {
	case changed:
		return false, nil
	case err == nil || got == want:
	case errors.Is(err, fs.ErrNotExist):
		return false, r.corrupt(at, "segment is missing")
	case err == io.EOF && r.w+got >= n:
	case err == io.EOF:
		return false, r.corrupt(at, errShort.Error())
	default:
		return false, err
	}
	r.w += got
	return true, nil
}

// makeRoom moves what is not yet returned to the front of the buffer, and grows
// it to hold n bytes, or what is there to be read.
func (r *Reader) makeRoom(n int) {
	rest := r.buf[r.r:r.w]
	avail := r.limit - (r.off + int64(r.r))
	size := max(n, int(min(avail, readBufBytes)))
	if size > len(r.buf) {
		// Doubling, so that a tail that grows a little each time does not make
		// a new buffer each time.
		size = max(size, min(2*len(r.buf), readBufBytes), readBufMin)
		size = (size + readBufMin - 1) &^ (readBufMin - 1)
		buf := make([]byte, size)
		copy(buf, rest)
		r.buf = buf
	} else {
		copy(r.buf, rest)
	}
	r.off += int64(r.r)
	r.r, r.w = 0, len(rest)
}

// Wait returns nil when Next will return something other than io.EOF (a record
// or an error), ErrClosed when the log or the reader is closed, or the context's
// error.
func (r *Reader) Wait(ctx context.Context) error {
	l := r.l
	for {
		err := r.position()
		if err != io.EOF {
			if err == ErrClosed {
				return err
			}
			return nil
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return ErrClosed
		}
		if r.hasMoreLocked() {
			l.mu.Unlock()
			continue
		}
		if l.tail == nil {
			l.tail = make(chan struct{})
		}
		tail := l.tail
		l.mu.Unlock()
		select {
		case <-tail:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hasMoreLocked reports whether anything came since position said io.EOF.
func (r *Reader) hasMoreLocked() bool {
	l := r.l
	if r.seg == nil {
		return len(l.segs) > 0 && r.from < l.next
	}
	return r.gen != l.gen.Load() || r.seg.end > r.limit || l.segs[len(l.segs)-1] != r.seg
}
