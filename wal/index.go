package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// indexStride is how far apart indexed records are, at least.
var indexStride int64 = 16 << 10

type indexEntry struct {
	key uint64
	off int64
}

// sparseIndex has the place of a record every indexStride bytes, for the part
// of its segment below covered. It is built by appends and by searches, or comes
// from the index file, and is guarded by Log.mu; its entries are never
// overwritten, so a copy of the slice may be read without.
type sparseIndex struct {
	covered int64
	entries []indexEntry
}

func (x *sparseIndex) lastOff() int64 {
	if n := len(x.entries); n > 0 {
		return x.entries[n-1].off
	}
	return 0
}

func (x *sparseIndex) add(entries []indexEntry, covered int64) {
	x.entries = append(x.entries, entries...)
	x.covered = covered
}

// cut forgets what lies at end or behind.
func (x *sparseIndex) cut(end int64) {
	n := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].off >= end })
	x.entries = x.entries[:n:n]
	x.covered = min(x.covered, end)
}

// place is the result of a search in a segment.
type place struct {
	off      int64  // the first record with a key not below the wanted one, or end
	prev     uint64 // the key of the record before it
	hasPrev  bool
	complete sparseIndex // the index as far as the search extended it
}

var errShort = errors.New("file ends within its records")

// scanBufs holds buffers of scanBufBytes for searches and recovery.
var scanBufs = sync.Pool{New: func() any {
	b := make([]byte, scanBufBytes)
	return &b
}}

const scanBufBytes = 64 << 10

// window reads a file at rising offsets through a buffer.
type window struct {
	f   vfs.File
	end int64
	buf []byte
	off int64
	n   int
}

// at returns n bytes at off, which must lie below end; valid until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.off+int64(w.n) {
		return w.buf[off-w.off:][:n], nil
	}
	if n > len(w.buf) {
		w.buf = make([]byte, n)
	}
	want := int(min(int64(len(w.buf)), w.end-off))
	w.off, w.n = off, 0
	if want < n {
		return nil, errShort
	}
	got, err := w.f.ReadAt(w.buf[:want], off)
	if got >= n {
		w.n = got
		return w.buf[:n], nil
	}
	if err == io.EOF {
		err = errShort
	}
	return nil, err
}

// search finds the first record with a key of at least key in a segment whose
// records end at end, from what its index knows. It reads headers only.
func search(f vfs.File, s *segment, x sparseIndex, end int64, key uint64) (p place, err error) {
	p.complete = x
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].key >= key })
	off := int64(segHeaderBytes)
	from := s.first
	if i > 0 {
		off, from = x.entries[i-1].off, x.entries[i-1].key
	}
	start := off
	buf := scanBufs.Get().(*[]byte)
	defer scanBufs.Put(buf)
	w := window{f: f, end: end, buf: *buf}
	lastOff := x.lastOff()
	for off < end {
		b, err := w.at(off, recHeaderBytes)
		if err != nil {
			return p, corruptIfShort(err, s, off)
		}
		h, ok := parseRecordHeader(b, s.seed, off)
		if !ok {
			return p, &CorruptError{File: s.file.name, Offset: off, Reason: "record header checksum mismatch"}
		}
		if off == start && h.key != from {
			return p, &CorruptError{File: s.file.name, Offset: off, Reason: fmt.Sprintf("the record here has key %d, not %d", h.key, from)}
		}
		if off >= p.complete.covered {
			if off-lastOff >= indexStride {
				// Never into the array that others read.
				p.complete.entries = append(p.complete.entries[:len(p.complete.entries):len(p.complete.entries)], indexEntry{h.key, off})
				lastOff = off
			}
			p.complete.covered = off + h.size()
		}
		if h.key >= key {
			break
		}
		p.prev, p.hasPrev = h.key, true
		off += h.size()
	}
	p.off = off
	return p, nil
}

func corruptIfShort(err error, s *segment, off int64) error {
	if err == errShort {
		return &CorruptError{File: s.file.name, Offset: off, Reason: err.Error()}
	}
	return err
}

// locate searches a segment. It may be called with the lock held only once and
// lets go of it; the answer holds as long as l.gen is what it was before.
func (l *Log) locateLocked(s *segment, key uint64) (place, error) {
	l.loadIndexLocked(s)
	p, err := l.searchLocked(s, key)
	if errors.Is(err, ErrCorrupt) && l.distrustIndexLocked(s) {
		p, err = l.searchLocked(s, key)
	}
	if err == nil && s.wantsIndexLocked() && s.index.covered == s.end {
		l.saveIndexLocked(s)
	}
	return p, err
}

func (l *Log) searchLocked(s *segment, key uint64) (place, error) {
	x, end, complete := s.index, s.end, s.wantsIndexLocked()
	s.users++
	l.mu.Unlock()
	f, err := l.flusher.files.pin(&s.file, 0)
	var p place
	if err == nil {
		p, err = search(f, s, x, end, key)
		if err == nil && complete {
			completeIndex(f, s, &p, end)
		}
		l.flusher.files.unpin(&s.file)
	}
	l.mu.Lock()
	s.users--
	if err == nil && !s.dropped && p.complete.covered > s.index.covered && p.complete.covered <= s.end {
		s.index = p.complete
	}
	if errors.Is(err, os.ErrNotExist) && !s.dropped {
		err = &CorruptError{File: s.file.name, Reason: "segment is missing"}
	}
	return p, err
}

// segmentFor returns the index of the last segment that begins at or below key,
// or -1.
func (l *Log) segmentForLocked(key uint64) int {
	return sort.Search(len(l.segs), func(i int) bool { return l.segs[i].first > key }) - 1
}

// Floor returns the greatest key that is not above key, or false if there is
// none.
func (l *Log) Floor(key uint64) (uint64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return 0, false, ErrClosed
		}
		i := l.segmentForLocked(key)
		if i < 0 {
			return 0, false, nil
		}
		s := l.segs[i]
		if key >= s.last {
			return s.last, true, nil
		}
		if key == s.first {
			return key, true, nil
		}
		gen := l.gen.Load()
		p, err := l.locateLocked(s, key+1)
		if l.gen.Load() != gen {
			continue
		}
		return p.prev, p.hasPrev, err
	}
}
