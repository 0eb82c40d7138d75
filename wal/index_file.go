package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// The index of a segment is kept beside it in a file, so that the first search
// after Open need not read the segment from its beginning. It is a cache: never
// synced, bound to its segment by the id, checksummed, and built anew where it is
// missing or wrong.
const (
	indexMagic       = 0x58495756 // "VWIX"
	indexSuffix      = ".idx"
	indexHeaderBytes = 32
	indexEntryBytes  = 16
	indexBytesMax    = 32 << 20
)

// indexFileMin is for how many entries a file is worth it. A variable for tests,
// as is indexStride.
var indexFileMin = 8

func indexName(file uint32) string { return strings.TrimSuffix(segName(file), segSuffix) + indexSuffix }

// parseIndexName is its inverse.
func parseIndexName(name string) (uint32, bool) {
	base, ok := strings.CutSuffix(name, indexSuffix)
	if !ok {
		return 0, false
	}
	return parseSegName(base + segSuffix)
}

// encodeIndex returns the file's content.
func encodeIndex(x *sparseIndex, id uint64) []byte {
	b := make([]byte, 0, indexHeaderBytes+len(x.entries)*indexEntryBytes+4)
	b = binary.LittleEndian.AppendUint32(b, indexMagic)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = binary.LittleEndian.AppendUint16(b, indexEntryBytes)
	b = binary.LittleEndian.AppendUint64(b, id)
	b = binary.LittleEndian.AppendUint64(b, uint64(x.covered))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(x.entries)))
	b = append(b, 0, 0, 0, 0)
	for _, e := range x.entries {
		b = binary.LittleEndian.AppendUint64(b, e.key)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.off))
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeIndex decodes the index of the segment with the given id; the error
// says what is wrong.
func decodeIndex(b []byte, id uint64) (x sparseIndex, err error) {
	if len(b) < indexHeaderBytes+4 {
		return x, fmt.Errorf("index of %d bytes is too short", len(b))
	}
	body := b[:len(b)-4]
	switch n := binary.LittleEndian.Uint32(b[24:]); {
	case binary.LittleEndian.Uint32(b) != indexMagic:
		return x, fmt.Errorf("not an index: it begins with %q", b[:4])
	case crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]):
		return x, errors.New("index checksum mismatch")
	case binary.LittleEndian.Uint16(b[4:]) != formatVersion || binary.LittleEndian.Uint16(b[6:]) != indexEntryBytes:
		return x, fmt.Errorf("index format version %d is not known", binary.LittleEndian.Uint16(b[4:]))
	case binary.LittleEndian.Uint64(b[8:]) != id:
		return x, fmt.Errorf("index of segment %016x, not of %016x", binary.LittleEndian.Uint64(b[8:]), id)
	case int64(len(body)) != indexHeaderBytes+int64(n)*indexEntryBytes:
		return x, fmt.Errorf("index of %d bytes cannot hold its %d entries", len(b), n)
	}
	x.covered = int64(binary.LittleEndian.Uint64(b[16:]))
	x.entries = make([]indexEntry, 0, (len(body)-indexHeaderBytes)/indexEntryBytes)
	last := indexEntry{off: segHeaderBytes}
	for e := body[indexHeaderBytes:]; len(e) > 0; e = e[indexEntryBytes:] {
		next := indexEntry{binary.LittleEndian.Uint64(e), int64(binary.LittleEndian.Uint64(e[8:]))}
		if next.off <= last.off || next.off%recAlign != 0 || next.key <= last.key {
			return x, fmt.Errorf("index entry %d is out of order", len(x.entries))
		}
		x.entries = append(x.entries, next)
		last = next
	}
	if x.covered < last.off || x.covered > segmentEndMax*2 {
		return x, fmt.Errorf("index covers %d bytes, but has an entry at %d", x.covered, last.off)
	}
	return x, nil
}

// loadIndexLocked takes over what a segment's index file knows, once. It lets go
// of the lock if there is a file.
func (l *Log) loadIndexLocked(s *segment) {
	if s.indexTried || s.dropped {
		return
	}
	s.indexTried = true
	if !l.indexFiles[s.num] || s.index.covered >= s.end {
		return
	}
	s.users++
	l.mu.Unlock()
	b, err := vfs.ReadFile(l.fs, filepath.Join(l.dir, indexName(s.num)), indexBytesMax)
	var x sparseIndex
	if err == nil {
		x, err = decodeIndex(b, s.id)
	}
	l.mu.Lock()
	s.users--
	switch {
	case s.dropped:
	case err != nil:
		if !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("wal: an index file is of no use", "file", indexName(s.num), "dir", l.dir, "err", err)
		}
	case x.covered > s.index.covered:
		x.cut(s.end)
		s.index, s.indexLoaded = x, true
		s.indexSaved = x.covered == s.end
		l.stats.IndexesLoaded++
	}
}

// distrustIndexLocked forgets an index that came from a file and led astray. It
// reports whether there was one.
func (l *Log) distrustIndexLocked(s *segment) bool {
	if !s.indexLoaded || s.dropped {
		return false
	}
	l.log.Warn("wal: an index file was wrong", "file", indexName(s.num), "dir", l.dir)
	s.index = sparseIndex{covered: segHeaderBytes}
	s.indexLoaded, s.indexSaved = false, false
	return true
}

// wantsIndexLocked reports whether a segment should have an index file and has
// none that is complete.
func (s *segment) wantsIndexLocked() bool {
	return s.sealed && !s.indexSaved && !s.dropped && !s.dropping && s.synced == s.end &&
		s.end-segHeaderBytes >= int64(indexFileMin)*indexStride
}

// saveIndexesLocked writes the index files that are due, letting go of the lock
// meanwhile. No token is needed: nothing depends on these files.
func (l *Log) saveIndexesLocked() {
	if !l.indexDue {
		return
	}
	l.indexDue = false
	for _, s := range l.segs {
		if s.wantsIndexLocked() && s.index.covered == s.end {
			l.saveIndexLocked(s)
		}
	}
}

// saveIndexLocked writes a segment's index file if the log still takes calls. A
// failure is no harm.
func (l *Log) saveIndexLocked(s *segment) {
	if l.usableLocked() != nil || s.dropped || s.indexSaving || len(s.index.entries) < indexFileMin {
		return
	}
	x := s.index
	s.indexSaving = true
	s.users++
	l.outside++
	l.mu.Unlock()
	err := writeIndex(l.fs, filepath.Join(l.dir, indexName(s.num)), encodeIndex(&x, s.id))
	l.mu.Lock()
	l.outside--
	s.users--
	s.indexSaving = false
	s.indexSaved = x.covered == s.end // or not to be tried again
	if l.indexFiles == nil {
		l.indexFiles = map[uint32]bool{}
	}
	l.indexFiles[s.num] = true
	if s.dropped { // it may have been written after the segment was removed
		l.staleIndexes = append(l.staleIndexes, s.num)
	}
	if err != nil {
		l.log.Warn("wal: no index file", "file", indexName(s.num), "dir", l.dir, "err", err)
	} else {
		l.stats.IndexesSaved++
	}
	if l.closed {
		l.closeCond.Broadcast()
	}
}

// forgetIndexLocked has a segment's index file removed with it.
func (l *Log) forgetIndexLocked(num uint32) {
	if l.indexFiles[num] {
		delete(l.indexFiles, num)
		l.staleIndexes = append(l.staleIndexes, num)
	}
}

func writeIndex(fsys vfs.FS, name string, b []byte) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// completeIndex goes on from a search to the end of a segment that should have
// an index file, so that it gets one. Damage behind is for those who read it.
func completeIndex(f vfs.File, s *segment, p *place, end int64) {
	q, err := search(f, s, p.complete, end, math.MaxUint64)
	if err == nil {
		p.complete = q.complete
	}
}
