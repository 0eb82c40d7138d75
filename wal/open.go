package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Open opens the log in a directory, or an empty one where there is none yet:
// with NoLock it then touches nothing before the first record; with ReadOnly the
// directory must be there. It recovers what was durable; after a crash it cuts a
// torn tail, and syncs what is left. Errors are ErrLocked, ErrCorrupt, and those
// of the file system. Beside making the directory and its lock file it changes
// nothing: what it found stays to be looked at if it fails.
func Open(dir string, cfg Config) (*Log, error) {
	l, err := newLog(dir, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.open(cfg.NoLock); err != nil {
		for _, s := range l.segs {
			l.flusher.files.drop(&s.file)
		}
		if l.ownFlusher {
			_ = l.flusher.Close() // never fails
		}
		if l.lock != nil {
			_ = l.lock.Close() // the first error counts
		}
		return nil, fmt.Errorf("wal: open %s: %w", dir, err)
	}
	l.progress = nil
	return l, nil
}

func newLog(dir string, cfg Config) (*Log, error) {
	l := &Log{
		dir: dir, fs: cfg.FS, segmentBytes: cfg.SegmentBytes,
		prealloc: cfg.PreallocateBytes, flusher: cfg.Flusher, log: cfg.Logger,
		newID: randomID, readOnly: cfg.ReadOnly, progress: cfg.Progress,
	}
	if l.fs == nil {
		l.fs = vfs.OS
	}
	if l.segmentBytes == 0 {
		l.segmentBytes = SegmentBytesDefault
	}
	if l.segmentBytes < segmentBytesMin || l.segmentBytes > segmentBytesMax {
		return nil, fmt.Errorf("wal: SegmentBytes is %d; it must be from %d to %d, or 0", cfg.SegmentBytes, segmentBytesMin, int64(segmentBytesMax))
	}
	if l.prealloc == 0 && !vfs.InMemory(l.fs) {
		l.prealloc = preallocDefault
	}
	if l.flusher == nil {
		l.flusher, l.ownFlusher = NewFlusher(1), true
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.writeCond.L = &l.mu
	l.idleCond.L = &l.mu
	l.round[0].L = &l.mu
	l.round[1].L = &l.mu
	l.closeCond.L = &l.mu
	l.commitCond.L = &l.mu
	return l, nil
}

func (l *Log) open(noLock bool) error {
	if !noLock {
		if err := l.takeLock(); err != nil {
			return err
		}
	}
	names, err := l.fs.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) && !l.readOnly {
		return nil
	}
	if err != nil {
		return err
	}
	files := map[uint32]bool{} // segment files, true where the manifest names them
	for _, name := range names {
		if num, ok := parseSegName(name); ok && num != 0 {
			files[num] = false
			l.lastFile = max(l.lastFile, num)
		} else if num, ok := parseIndexName(name); ok {
			if l.indexFiles == nil {
				l.indexFiles = map[uint32]bool{}
			}
			l.indexFiles[num] = true
		}
	}
	if l.lastFile == math.MaxUint32 {
		return &CorruptError{File: filepath.Join(l.dir, segName(l.lastFile)), Reason: "no file number is left above this one"}
	}
	m, err := l.readManifest()
	if errors.Is(err, fs.ErrNotExist) {
		err = l.checkOrphans(names)
		m = &manifest{}
	} else if err == nil {
		// It is in a directory that was durable before.
		l.hasDir, l.hasManifest = true, true
		if !m.clean && !l.readOnly {
			// The last process may have died before it made the manifest's name
			// durable. (A clean one says what the one before it said.)
			err = l.fs.SyncDir(l.dir)
		}
	}
	if err != nil {
		return err
	}
	if err := l.load(m, files); err != nil {
		return err
	}
	for _, name := range names {
		num, ok := parseSegName(name)
		switch {
		case !ok || num == 0 || files[num]:
		case l.free == 0:
			l.free = num
		default:
			l.surplus = append(l.surplus, num)
		}
	}
	for _, num := range slices.Sorted(maps.Keys(l.indexFiles)) {
		if !files[num] {
			l.forgetIndexLocked(num) // left by a crash
		}
	}
	return nil
}

func (l *Log) takeLock() error {
	name := filepath.Join(l.dir, lockName)
	if l.readOnly {
		lock, err := vfs.LockShared(l.fs, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		l.lock = lock
		return err
	}
	if err := l.flusher.makeDir(l.fs, l.dir); err != nil {
		return err
	}
	lock, err := vfs.Lock(l.fs, name)
	if err != nil {
		return err
	}
	l.lock, l.hasDir = lock, true
	return nil
}

func (l *Log) readManifest() (*manifest, error) {
	name := filepath.Join(l.dir, manifestName)
	b, err := vfs.ReadFile(l.fs, name, manifestBytesMax)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(b)
	if err != nil {
		return nil, &CorruptError{File: name, Reason: err.Error()}
	}
	return m, nil
}

// load checks the segments that the manifest names and recovers the last one.
func (l *Log) load(m *manifest, files map[uint32]bool) error {
	l.next = m.next
	done := Progress{SegmentsTotal: len(m.entries)}
	for i, e := range m.entries {
		l.report(done)
		done.Segments++
		s := l.newSegment(e.file, e.id, e.first)
		s.last, s.end, s.synced, s.sealed, s.lastAppend = e.last, e.end, e.end, e.sealed, e.lastAppend
		s.index.covered = segHeaderBytes
		if _, ok := files[e.file]; !ok {
			return &CorruptError{File: s.file.name, Reason: "segment named in the manifest is missing"}
		}
		files[e.file] = true
		l.segs = append(l.segs, s)
		if err := l.loadSegment(s, m.clean && i == len(m.entries)-1, done); err != nil {
			return err
		}
		l.next = s.last + 1
		l.syncedKey, l.hasSynced = s.last, true
	}
	l.report(done)
	return nil
}

func (l *Log) report(p Progress) {
	if l.progress != nil {
		l.progress(p)
	}
}

func (l *Log) loadSegment(s *segment, clean bool, done Progress) error {
	f, err := l.flusher.files.pin(&s.file, 0)
	if err != nil {
		return err
	}
	defer l.flusher.files.unpin(&s.file)
	size, err := f.Size()
	if err != nil {
		return err
	}
	corrupt := func(off int64, reason string) error {
		return &CorruptError{File: s.file.name, Offset: off, Reason: reason}
	}
	if size < s.end {
		return corrupt(size, fmt.Sprintf("segment ends here, but its records up to %d were durable", s.end))
	}
	var b [segHeaderBytes]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return err
	}
	hdr, err := parseSegHeader(b[:])
	if err != nil {
		return corrupt(0, err.Error())
	}
	if hdr.id != s.id || hdr.base != s.first {
		return corrupt(0, fmt.Sprintf("this is segment %016x from key %d where the manifest names %016x from key %d", hdr.id, hdr.base, s.id, s.first))
	}
	s.alloc = size
	if s.sealed || clean && size == s.end {
		return nil
	}
	return l.recoverTail(s, f, done)
}

// recoverTail finds where the records of the last segment end. It starts where
// the manifest knows them durable.
func (l *Log) recoverTail(s *segment, f vfs.File, done Progress) error {
	// The last process may have died, or failed to sync, with bytes in the
	// system's cache that the disk does not have: make them durable, and read
	// what the disk has.
	if !l.readOnly {
		if err := syncAndDropCache(f); err != nil {
			return err
		}
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	if size < s.end {
		return &CorruptError{File: s.file.name, Offset: size, Reason: fmt.Sprintf("segment ends here, but its records up to %d were durable", s.end)}
	}
	buf := scanBufs.Get().(*[]byte)
	defer scanBufs.Put(buf)
	w := window{f: f, end: size, buf: *buf}
	t := tail{off: s.end, last: s.last, seed: s.seed, index: s.index}
	t.read = l.tailProgress(done, size-s.end)
	if err := t.scan(&w); err != nil {
		return err
	}
	// What follows may be torn, never written, or from the file's former life.
	mark, validEnd, err := t.search(&w)
	if err != nil {
		return err
	}
	if mark > t.off {
		return &CorruptError{
			File: s.file.name, Offset: t.off,
			Reason: fmt.Sprintf("no valid record here, but a later one says that all up to %d was durable", mark),
		}
	}
	if t.off > s.end {
		s.lastAppend = time.Now().UnixMilli()
	}
	s.last, s.end, s.synced, s.alloc, s.index = t.last, t.off, t.off, size, t.index
	l.unclean = true
	if validEnd > t.off {
		// Records behind the tear would be valid again once what precedes them
		// is written anew. So nothing more is written into this file.
		s.sealed = true
		l.manifestDirty = true
		l.stats.TornBytes = validEnd - t.off
		l.log.Warn("wal: cut a torn tail", "file", s.file.name, "offset", t.off, "bytes", l.stats.TornBytes)
	}
	return nil
}

func syncAndDropCache(f vfs.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if d, ok := f.(vfs.CacheDropper); ok {
		return d.DropCache()
	}
	return nil
}

// progressBytes is how much Open reads between two calls of Config.Progress.
const progressBytes = 64 << 20

// tailProgress returns what counts the bytes of a tail that were read.
func (l *Log) tailProgress(done Progress, total int64) func(n int64) {
	if l.progress == nil || total == 0 {
		return func(int64) {}
	}
	done.Segments--
	done.BytesTotal = total
	l.report(done)
	reported := int64(0)
	return func(n int64) {
		if done.Bytes += n; done.Bytes-reported >= progressBytes {
			reported = done.Bytes
			l.report(done)
		}
	}
}

// tail is a scan over records of which it is not known where they end.
type tail struct {
	off   int64
	last  uint64
	seed  uint32
	index sparseIndex
	read  func(n int64) // is told of bytes as they are passed
}

// scan goes on from off as long as there are valid records.
func (t *tail) scan(w *window) error {
	whole := t.index.covered == t.off
	for t.off+recHeaderBytes <= w.end {
		b, err := w.at(t.off, recHeaderBytes)
		if err != nil {
			return err
		}
		h, ok := parseRecordHeader(b, t.seed, t.off)
		if !ok || h.key <= t.last || h.key > KeyMax || h.mark > t.off || t.off+h.size() > w.end {
			return nil
		}
		n := int(h.size()) - recHeaderBytes
		if b, err = w.at(t.off+recHeaderBytes, n); err != nil {
			return err
		}
		if !h.payloadOK(b, t.seed, t.off) {
			return nil
		}
		if whole && t.off-t.index.lastOff() >= indexStride {
			t.index.entries = append(t.index.entries, indexEntry{h.key, t.off})
		}
		t.off += h.size()
		t.read(h.size())
		t.last = h.key
		if whole {
			t.index.covered = t.off
		}
	}
	return nil
}

// search looks at every place where a record of this segment might begin, from
// off on, and returns the highest known-synced mark and the end of the last
// record that it finds, or off. A valid header is enough: its mark was true when
// it was written, whatever became of the payload.
func (t *tail) search(w *window) (mark, end int64, err error) {
	mark, end = 0, t.off
	off := t.off
	for off+recHeaderBytes <= w.end {
		n := int(min(w.end-off, scanBufBytes))
		b, err := w.at(off, n)
		if err != nil {
			return 0, 0, err
		}
		i := 0
		for ; i+recHeaderBytes <= len(b); i += recAlign {
			if binary.LittleEndian.Uint64(b[i:]) == 0 {
				continue
			}
			if h, ok := parseRecordHeader(b[i:], t.seed, off+int64(i)); ok {
				mark = max(mark, h.mark)
				end = max(end, min(off+int64(i)+h.size(), w.end))
			}
		}
		off += int64(i)
		t.read(int64(i))
	}
	return mark, end, nil
}

// checkOrphans tells a log that never had a manifest, whose first segment a
// crash left behind, from one that lost it.
func (l *Log) checkOrphans(names []string) error {
	lost := &CorruptError{File: filepath.Join(l.dir, manifestName), Reason: "missing, though there are segments that it must have named"}
	for _, name := range names {
		if num, ok := parseSegName(name); !ok || num == 0 {
			continue
		}
		s := &segment{file: segFile{fs: l.fs, name: filepath.Join(l.dir, name), readOnly: l.readOnly}}
		hadManifest, err := l.orphanHadManifest(s)
		l.flusher.files.drop(&s.file)
		if err != nil {
			return err
		}
		if hadManifest {
			return lost
		}
	}
	return nil
}

func (l *Log) orphanHadManifest(s *segment) (bool, error) {
	f, err := l.flusher.files.pin(&s.file, 0)
	if err != nil {
		return false, err
	}
	defer l.flusher.files.unpin(&s.file)
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	if size < segHeaderBytes {
		return false, nil
	}
	buf := scanBufs.Get().(*[]byte)
	defer scanBufs.Put(buf)
	w := window{f: f, end: size, buf: *buf}
	b, err := w.at(0, segHeaderBytes)
	if err != nil {
		return false, err
	}
	hdr, err := parseSegHeader(b)
	if err != nil {
		return false, nil // torn: no flush got past it
	}
	if hdr.flags&segAfterManifest != 0 {
		return true, nil
	}
	t := tail{off: segHeaderBytes, seed: seedOf(hdr.id), read: func(int64) {}}
	mark, _, err := t.search(&w)
	return mark > 0, err
}
