package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Severity grades what Check found.
type Severity int

// The severities.
const (
	// Note is harmless: files that wait to be used again, that a crash left, or
	// that the log would build anew.
	Note Severity = iota
	// Torn is what a crash may leave of records that were never synced; Open
	// cuts it.
	Torn
	// Corrupt is damage to what was known durable: Open, or who reads there,
	// gets ErrCorrupt.
	Corrupt
)

// String returns the severity in one word.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Torn:
		return "torn"
	case Corrupt:
		return "corrupt"
	}
	return fmt.Sprintf("Severity(%d)", int(s))
}

// Finding is one thing that Check found.
type Finding struct {
	Severity Severity
	// File is the file's name in the directory.
	File string
	// Offset is where in the file, in bytes.
	Offset int64
	// Text says what.
	Text string
}

// String returns the finding as one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s at offset %d: %s", f.Severity, f.File, f.Offset, f.Text)
}

// SegmentReport is what Check saw of a segment.
type SegmentReport struct {
	SegmentInfo
	// Records are those that are whole.
	Records int
	// Indexed says that the index file is there, and right.
	Indexed bool
}

// Report is what Check found in a directory.
type Report struct {
	// Dir is the directory, as given.
	Dir string
	// Clean says that the log was closed, and not written to since.
	Clean bool
	// Segments are those that the manifest names, in key order.
	Segments []SegmentReport
	// Findings come by file and offset.
	Findings []Finding
}

// Records is how many whole records there are.
func (r *Report) Records() int {
	n := 0
	for _, s := range r.Segments {
		n += s.Records
	}
	return n
}

// Err returns a *CorruptError for the first finding that is Corrupt, or nil.
func (r *Report) Err() error {
	for _, f := range r.Findings {
		if f.Severity == Corrupt {
			return &CorruptError{File: filepath.Join(r.Dir, f.File), Offset: f.Offset, Reason: f.Text}
		}
	}
	return nil
}

// String returns the report for people to read: a line for the log, one for
// each segment, one for each finding.
func (r *Report) String() string {
	var b strings.Builder
	how := "not closed"
	if r.Clean {
		how = "closed"
	}
	fmt.Fprintf(&b, "%s: %d records in %d segments, %s\n", r.Dir, r.Records(), len(r.Segments), how)
	for _, s := range r.Segments {
		fmt.Fprintf(&b, "  %s: keys %d to %d, %d records, %d bytes", s.File, s.First, s.Last, s.Records, s.Bytes)
		if s.Sealed {
			b.WriteString(", sealed")
		}
		if s.Indexed {
			b.WriteString(", indexed")
		}
		b.WriteByte('\n')
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}

func (r *Report) add(s Severity, file string, off int64, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{s, filepath.Base(file), off, fmt.Sprintf(format, args...)})
}

// addErr adds a CorruptError; other errors it returns.
func (r *Report) addErr(err error) error {
	if ce, ok := errors.AsType[*CorruptError](err); ok {
		r.add(Corrupt, ce.File, ce.Offset, "%s", ce.Reason)
		return nil
	}
	return err
}

// Check reads all that there is in a log's directory, every record with its
// checksums, and says what it found; it writes nothing. Damage is in the Report,
// and Check goes on behind it; an error means that it could not look: ErrLocked
// where the log is open for writing, or one of the file system. fsys nil: vfs.OS.
func Check(fsys vfs.FS, dir string) (*Report, error) {
	l, err := newLog(dir, Config{FS: fsys, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	c := checker{l: l, r: &Report{Dir: dir}}
	err = c.run()
	for _, s := range l.segs {
		l.flusher.files.drop(&s.file)
	}
	_ = l.flusher.Close() // never fails
	if l.lock != nil {
		err = cmp.Or(err, l.lock.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("wal: check %s: %w", dir, err)
	}
	slices.SortStableFunc(c.r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	return c.r, nil
}

type checker struct {
	l *Log
	r *Report
}

func (c *checker) run() error {
	l, r := c.l, c.r
	if err := l.takeLock(); err != nil {
		return err
	}
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	m, err := l.readManifest()
	if errors.Is(err, fs.ErrNotExist) {
		m = &manifest{}
		if err = l.checkOrphans(names); err == nil {
			r.add(Note, manifestName, 0, "there is none: nothing was ever synced")
		}
	}
	if err = r.addErr(err); err != nil {
		return err
	}
	if m == nil {
		m = &manifest{} // damaged
	}
	live := map[uint32]bool{}
	for i, e := range m.entries {
		live[e.file] = true
		if err := c.segment(e, slices.Contains(names, segName(e.file)), m.clean && i == len(m.entries)-1); err != nil {
			return err
		}
	}
	r.Clean = m.clean && !l.unclean && r.Err() == nil
	c.others(names, live)
	return nil
}

// others tells of the files that are not the log's.
func (c *checker) others(names []string, live map[uint32]bool) {
	for _, name := range names {
		if num, ok := parseSegName(name); ok {
			if !live[num] {
				c.r.add(Note, name, 0, "free: the manifest does not name it")
			}
			continue
		}
		num, ok := parseIndexName(name)
		switch {
		case ok && !live[num]:
			c.r.add(Note, name, 0, "free: the index of no segment")
		case ok, name == manifestName, name == lockName:
		case name == manifestName+".tmp":
			c.r.add(Note, name, 0, "left by a crash")
		default:
			c.r.add(Note, name, 0, "not a file of the log")
		}
	}
}

// segment checks one that the manifest names.
func (c *checker) segment(e manifestEntry, there, clean bool) error {
	l, r := c.l, c.r
	s := l.newSegment(e.file, e.id, e.first)
	s.last, s.end, s.synced, s.sealed, s.lastAppend = e.last, e.end, e.end, e.sealed, e.lastAppend
	s.index.covered = segHeaderBytes
	l.segs = append(l.segs, s)
	if !there {
		r.add(Corrupt, s.file.name, 0, "segment named in the manifest is missing")
		r.Segments = append(r.Segments, SegmentReport{SegmentInfo: s.info()})
		return nil
	}
	torn := l.stats.TornBytes
	if err := r.addErr(l.loadSegment(s, clean, Progress{})); err != nil {
		return err
	}
	if n := l.stats.TornBytes - torn; n > 0 {
		r.add(Torn, s.file.name, s.end, "the records end here; %d bytes behind were never known synced", n)
	}
	f, err := l.flusher.files.pin(&s.file, 0)
	if err != nil {
		return err
	}
	defer l.flusher.files.unpin(&s.file)
	size, err := f.Size()
	if err != nil {
		return err
	}
	buf := scanBufs.Get().(*[]byte)
	defer scanBufs.Put(buf)
	k := segmentCheck{checker: c, s: s, w: window{f: f, end: min(s.end, size), buf: *buf}}
	if err := k.loadIndex(); err != nil {
		return err
	}
	if err := k.records(); err != nil {
		return err
	}
	r.Segments = append(r.Segments, SegmentReport{SegmentInfo: s.info(), Records: k.n, Indexed: k.hasIndex && k.indexOK})
	return nil
}

// segmentCheck reads a segment's records.
type segmentCheck struct {
	*checker
	s        *segment
	w        window
	n        int    // records that are whole
	last     uint64 // key of the last of them
	index    sparseIndex
	hasIndex bool
	indexOK  bool // so far
}

func (k *segmentCheck) loadIndex() error {
	name := indexName(k.s.num)
	b, err := vfs.ReadFile(k.l.fs, filepath.Join(k.l.dir, name), indexBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	k.hasIndex, k.indexOK = true, true
	if k.index, err = decodeIndex(b, k.s.id); err != nil {
		k.r.add(Note, name, 0, "%s; it will be built anew", err)
		k.indexOK = false
	}
	return nil
}

// records reads them all.
func (k *segmentCheck) records() error {
	off, expected := int64(segHeaderBytes), true
	for off < k.w.end {
		h, reason, err := k.record(off)
		if err != nil {
			return err
		}
		if reason == "" {
			k.n++
			k.checkIndex(h, off)
			k.last, expected = h.key, true
			off += h.size()
			continue
		}
		if expected { // once for each stretch
			k.r.add(Corrupt, k.s.file.name, off, "%s", reason)
		}
		expected = false
		if off, err = k.nextRecord(off + recAlign); err != nil {
			return err
		}
	}
	if expected && k.w.end == k.s.end && k.n > 0 && k.last != k.s.last {
		k.r.add(Corrupt, k.s.file.name, off, "the last record has key %d, not %d", k.last, k.s.last)
	}
	if k.indexOK {
		for i := range k.index.entries { // what is left lies where no record begins
			if e := k.index.entries[i]; e.off < k.s.end {
				k.r.add(Note, indexName(k.s.num), 0, "no record at %d; it will be built anew", e.off)
				k.indexOK = false
				break
			}
		}
	}
	return nil
}

// record checks the one that should be at off; reason says what is wrong.
func (k *segmentCheck) record(off int64) (h recHeader, reason string, err error) {
	if off+recHeaderBytes > k.w.end {
		return h, "no room for a record before the end", nil
	}
	b, err := k.w.at(off, recHeaderBytes)
	if err != nil {
		return h, "", err
	}
	h, ok := parseRecordHeader(b, k.s.seed, off)
	switch {
	case !ok:
		return h, "record header checksum mismatch", nil
	case off+h.size() > k.w.end:
		return h, fmt.Sprintf("a record of %d bytes reaches beyond the end", h.size()), nil
	case off == segHeaderBytes && h.key != k.s.first:
		return h, fmt.Sprintf("the first record has key %d, not %d", h.key, k.s.first), nil
	case k.n > 0 && h.key <= k.last, h.key > KeyMax:
		return h, fmt.Sprintf("key %d behind key %d", h.key, k.last), nil
	case h.mark > off:
		return h, fmt.Sprintf("it says that %d bytes were synced before it", h.mark), nil
	}
	if b, err = k.w.at(off+recHeaderBytes, int(h.size())-recHeaderBytes); err != nil {
		return h, "", err
	}
	if !h.payloadOK(b, k.s.seed, off) {
		return h, fmt.Sprintf("record payload checksum mismatch, key %d", h.key), nil
	}
	return h, "", nil
}

// nextRecord returns where the next valid header is, from off on, or the end.
func (k *segmentCheck) nextRecord(off int64) (int64, error) {
	for ; off+recHeaderBytes <= k.w.end; off += recAlign {
		b, err := k.w.at(off, recHeaderBytes)
		if err != nil {
			return 0, err
		}
		if binary.LittleEndian.Uint64(b) == 0 {
			continue
		}
		if _, ok := parseRecordHeader(b, k.s.seed, off); ok {
			return off, nil
		}
	}
	return k.w.end, nil
}

// checkIndex compares the index's next entry with the record at off.
func (k *segmentCheck) checkIndex(h recHeader, off int64) {
	if len(k.index.entries) == 0 || !k.indexOK || k.index.entries[0].off > off {
		return
	}
	if e := k.index.entries[0]; e != (indexEntry{h.key, off}) {
		k.r.add(Note, indexName(k.s.num), 0, "key %d at %d where the segment has key %d at %d; it will be built anew", e.key, e.off, h.key, off)
		k.indexOK = false
	}
	k.index.entries = k.index.entries[1:]
}
