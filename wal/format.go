package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The format, drawn in DESIGN.md. All numbers are little-endian; all records
// begin at multiples of 8.
const (
	segmentMagic   = 0x4c415756 // "VWAL"
	manifestMagic  = 0x464d5756 // "VWMF"
	formatVersion  = 1
	segHeaderBytes = 64
	recHeaderBytes = 24
	recAlign       = 8

	kindData = 1

	// segAfterManifest: the log had a manifest when the segment was begun.
	segAfterManifest = 1 << 0

	manifestName        = "MANIFEST"
	lockName            = "LOCK"
	segSuffix           = ".seg"
	manifestClean       = 1 << 0
	manifestHeaderBytes = 32
	manifestEntryBytes  = 56
	manifestBytesMax    = 64 << 20
	entrySealed         = 1 << 0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOf folds a segment's id into what its checksums start from.
func seedOf(id uint64) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], id)
	return crc32.Checksum(b[:], castagnoli)
}

// initOf is what a record's checksums start from: different at each position of
// a segment, since a CRC of given bytes is a bijection of what it starts from.
func initOf(seed uint32, off int64) uint32 { return seed ^ uint32(off/recAlign) }

// padded is a payload's length with the zeros behind it.
func padded(n int) int { return (n + recAlign - 1) &^ (recAlign - 1) }

// recordBytes is what a record with a payload of n bytes takes.
func recordBytes(n int) int64 { return int64(recHeaderBytes + padded(n)) }

var zeroPad [recAlign]byte

// putRecord writes a record at off into b, which is as long as the record.
func putRecord(b []byte, seed uint32, off int64, key uint64, payload []byte, mark int64) {
	binary.LittleEndian.PutUint64(b[len(b)-recAlign:], 0) // the padding, or what comes to be covered
	copy(b[recHeaderBytes:], payload)
	init := initOf(seed, off)
	sealRecordHeader(b, init, crc32.Update(init, castagnoli, b[recHeaderBytes:]), key, len(payload), mark)
}

// putRecordHeader writes the header of a record at off into b.
func putRecordHeader(b []byte, seed uint32, off int64, key uint64, payload []byte, mark int64) {
	init := initOf(seed, off)
	pcrc := crc32.Update(init, castagnoli, payload)
	if pad := padded(len(payload)) - len(payload); pad > 0 {
		pcrc = crc32.Update(pcrc, castagnoli, zeroPad[:pad])
	}
	sealRecordHeader(b, init, pcrc, key, len(payload), mark)
}

func sealRecordHeader(b []byte, init, pcrc uint32, key uint64, n int, mark int64) {
	_ = b[recHeaderBytes-1]
	binary.LittleEndian.PutUint32(b[4:], kindData<<28|uint32(n))
	binary.LittleEndian.PutUint64(b[8:], key)
	binary.LittleEndian.PutUint32(b[16:], pcrc)
	binary.LittleEndian.PutUint32(b[20:], uint32(mark/recAlign))
	binary.LittleEndian.PutUint32(b, crc32.Update(init, castagnoli, b[4:recHeaderBytes]))
}

// recHeader is a record's header, decoded.
type recHeader struct {
	key  uint64
	len  int
	pcrc uint32
	mark int64
}

// size is what the record takes.
func (h *recHeader) size() int64 { return recordBytes(h.len) }

// parseRecordHeader decodes the header of a record at off, and reports whether
// it is one: whether it was written at this place of this segment.
func parseRecordHeader(b []byte, seed uint32, off int64) (h recHeader, ok bool) {
	_ = b[recHeaderBytes-1]
	kindLen := binary.LittleEndian.Uint32(b[4:])
	if kindLen>>28 != kindData {
		return h, false
	}
	if crc32.Update(initOf(seed, off), castagnoli, b[4:recHeaderBytes]) != binary.LittleEndian.Uint32(b) {
		return h, false
	}
	h.key = binary.LittleEndian.Uint64(b[8:])
	h.len = int(kindLen & (1<<28 - 1))
	h.pcrc = binary.LittleEndian.Uint32(b[16:])
	h.mark = int64(binary.LittleEndian.Uint32(b[20:])) * recAlign
	return h, true
}

// payloadOK checks a record's payload with its padding.
func (h *recHeader) payloadOK(paddedPayload []byte, seed uint32, off int64) bool {
	return crc32.Update(initOf(seed, off), castagnoli, paddedPayload) == h.pcrc
}

// segHeader is what a segment file begins with.
type segHeader struct {
	id      uint64 // random
	base    uint64 // key of its first record
	prevID  uint64 // the segment before it; 0: none
	prevEnd int64  // where that one ends
	flags   uint32
}

func (h *segHeader) append(b []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, segmentMagic)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = binary.LittleEndian.AppendUint16(b, segHeaderBytes)
	b = binary.LittleEndian.AppendUint64(b, h.id)
	b = binary.LittleEndian.AppendUint64(b, h.base)
	b = binary.LittleEndian.AppendUint64(b, h.prevID)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.prevEnd))
	b = binary.LittleEndian.AppendUint32(b, h.flags)
	b = append(b, make([]byte, segHeaderBytes-4-(len(b)-at))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// parseSegHeader decodes a segment's header; the error says what is wrong.
func parseSegHeader(b []byte) (h segHeader, err error) {
	switch {
	case len(b) < segHeaderBytes:
		return h, fmt.Errorf("file of %d bytes is shorter than a segment header", len(b))
	case binary.LittleEndian.Uint32(b) != segmentMagic:
		return h, fmt.Errorf("not a segment: it begins with %q", b[:4])
	case crc32.Checksum(b[:segHeaderBytes-4], castagnoli) != binary.LittleEndian.Uint32(b[segHeaderBytes-4:]):
		return h, fmt.Errorf("segment header checksum mismatch")
	case binary.LittleEndian.Uint16(b[4:]) != formatVersion || binary.LittleEndian.Uint16(b[6:]) != segHeaderBytes:
		return h, fmt.Errorf("segment format version %d is not known", binary.LittleEndian.Uint16(b[4:]))
	}
	h.id = binary.LittleEndian.Uint64(b[8:])
	h.base = binary.LittleEndian.Uint64(b[16:])
	h.prevID = binary.LittleEndian.Uint64(b[24:])
	h.prevEnd = int64(binary.LittleEndian.Uint64(b[32:]))
	h.flags = binary.LittleEndian.Uint32(b[40:])
	return h, nil
}

// manifest names the log's segments. What it says of their ends is durable.
type manifest struct {
	// clean: the last segment's file ended where its records did when the log
	// was closed.
	clean   bool
	next    uint64 // least key that may be appended if no segment remains
	entries []manifestEntry
}

type manifestEntry struct {
	file        uint32
	sealed      bool
	id          uint64
	first, last uint64
	end         int64 // of the records; of the last segment unless sealed: at least
	lastAppend  int64
}

func (m *manifest) encode() []byte {
	var flags uint16
	if m.clean {
		flags |= manifestClean
	}
	b := make([]byte, 0, manifestHeaderBytes+len(m.entries)*manifestEntryBytes+4)
	b = binary.LittleEndian.AppendUint32(b, manifestMagic)
	b = binary.LittleEndian.AppendUint16(b, formatVersion)
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = binary.LittleEndian.AppendUint64(b, m.next)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.entries)))
	b = binary.LittleEndian.AppendUint16(b, manifestEntryBytes)
	b = append(b, make([]byte, manifestHeaderBytes-len(b))...)
	for _, e := range m.entries {
		flags := uint32(0)
		if e.sealed {
			flags |= entrySealed
		}
		b = binary.LittleEndian.AppendUint32(b, e.file)
		b = binary.LittleEndian.AppendUint32(b, flags)
		b = binary.LittleEndian.AppendUint64(b, e.id)
		b = binary.LittleEndian.AppendUint64(b, e.first)
		b = binary.LittleEndian.AppendUint64(b, e.last)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.end))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.lastAppend))
		b = append(b, make([]byte, 8)...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// parseManifest decodes a manifest and checks that it makes sense; the error
// says what is wrong.
func parseManifest(b []byte) (*manifest, error) {
	if len(b) < manifestHeaderBytes+4 {
		return nil, fmt.Errorf("manifest of %d bytes is too short", len(b))
	}
	body := b[:len(b)-4]
	if binary.LittleEndian.Uint32(b) != manifestMagic {
		return nil, fmt.Errorf("not a manifest: it begins with %q", b[:4])
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, fmt.Errorf("manifest checksum mismatch")
	}
	if v, size := binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[20:]); v != formatVersion || size != manifestEntryBytes {
		return nil, fmt.Errorf("manifest format version %d (entries of %d bytes) is not known", v, size)
	}
	n := binary.LittleEndian.Uint32(b[16:])
	if int64(len(body)) != manifestHeaderBytes+int64(n)*manifestEntryBytes {
		return nil, fmt.Errorf("manifest of %d bytes cannot hold its %d segments", len(b), n)
	}
	m := &manifest{
		clean:   binary.LittleEndian.Uint16(b[6:])&manifestClean != 0,
		next:    binary.LittleEndian.Uint64(b[8:]),
		entries: make([]manifestEntry, n),
	}
	for i := range m.entries {
		e := body[manifestHeaderBytes+i*manifestEntryBytes:]
		m.entries[i] = manifestEntry{
			file:       binary.LittleEndian.Uint32(e),
			sealed:     binary.LittleEndian.Uint32(e[4:])&entrySealed != 0,
			id:         binary.LittleEndian.Uint64(e[8:]),
			first:      binary.LittleEndian.Uint64(e[16:]),
			last:       binary.LittleEndian.Uint64(e[24:]),
			end:        int64(binary.LittleEndian.Uint64(e[32:])),
			lastAppend: int64(binary.LittleEndian.Uint64(e[40:])),
		}
	}
	return m, m.check()
}

func (m *manifest) check() error {
	files := make(map[uint32]bool, len(m.entries))
	for i, e := range m.entries {
		switch {
		case files[e.file]:
			return fmt.Errorf("manifest names file %s twice", segName(e.file))
		case e.first > e.last || e.last > KeyMax || i > 0 && e.first <= m.entries[i-1].last:
			return fmt.Errorf("manifest: keys of segment %d are out of order", i)
		case e.end < segHeaderBytes+recHeaderBytes || e.end%recAlign != 0 || e.end > 1<<35:
			return fmt.Errorf("manifest: segment %d cannot end at %d", i, e.end)
		case !e.sealed && i < len(m.entries)-1:
			return fmt.Errorf("manifest: segment %d is open but not the last", i)
		}
		files[e.file] = true
	}
	return nil
}

// segName is the name of a segment's file. Numbers are not reused but by
// recycling, and say nothing about order.
func segName(file uint32) string { return fmt.Sprintf("%08x%s", file, segSuffix) }

// parseSegName is its inverse.
func parseSegName(name string) (uint32, bool) {
	hex, ok := strings.CutSuffix(name, segSuffix)
	if !ok || len(hex) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 32)
	return uint32(n), err == nil && segName(uint32(n)) == name
}
