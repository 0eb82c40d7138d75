package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Names in a partition's directory.
const (
	metaFile     = "meta"
	stateFile    = "state"
	oldStateFile = "state.old"
	logDir       = "log"
)

const (
	metaMagic    = "VVPM"
	stateMagic   = "VVPS"
	offsetsMagic = "VVPO"
	formatV1     = 1

	smallFileMax = 4 << 10
	stateFileMax = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// meta is the file of that name: what must be known before the log is.
type meta struct {
	topicID  [16]byte
	logStart int64
	dirty    bool  // the log may have changed since end was written
	end      int64 // unless dirty, the log end
}

// A file of ours is magic (4), version (1), body, CRC-32C of all before (4).
func seal(magic string, body func(b []byte) []byte) []byte {
	b := append([]byte(magic), formatV1)
	b = body(b)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func unseal(magic string, b []byte) ([]byte, error) {
	if len(b) < 9 || string(b[:4]) != magic {
		return nil, fmt.Errorf("%w: not a %q file", ErrCorrupt, magic)
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: checksum of a %q file", ErrCorrupt, magic)
	}
	if body[4] != formatV1 {
		return nil, fmt.Errorf("partition: %q file of format %d, this program knows %d", magic, body[4], formatV1)
	}
	return body[5:], nil
}

func (m *meta) encode() []byte {
	return seal(metaMagic, func(b []byte) []byte {
		b = append(b, m.topicID[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(m.logStart))
		b = binary.BigEndian.AppendUint64(b, uint64(m.end))
		if m.dirty {
			return append(b, 1)
		}
		return append(b, 0)
	})
}

func decodeMeta(b []byte) (meta, error) {
	b, err := unseal(metaMagic, b)
	if err != nil {
		return meta{}, err
	}
	if len(b) != 33 || b[32] > 1 {
		return meta{}, fmt.Errorf("%w: meta of %d bytes", ErrCorrupt, len(b))
	}
	m := meta{
		logStart: int64(binary.BigEndian.Uint64(b[16:])), end: int64(binary.BigEndian.Uint64(b[24:])), dirty: b[32] == 1,
	}
	copy(m.topicID[:], b)
	if m.logStart < 0 || m.end < 0 {
		return meta{}, fmt.Errorf("%w: meta with offsets %d, %d", ErrCorrupt, m.logStart, m.end)
	}
	return m, nil
}

// encode writes a checkpoint; producers go in order of their ids, so that equal
// states are equal bytes.
func (s *state) encode() []byte {
	return seal(stateMagic, func(b []byte) []byte {
		b = binary.AppendVarint(b, s.end)
		b = binary.AppendVarint(b, s.lastBase)
		b = binary.AppendVarint(b, int64(s.lastEpoch))
		b = binary.BigEndian.AppendUint32(b, s.lastCRC)
		b = binary.AppendVarint(b, s.maxTime)
		b = binary.AppendUvarint(b, uint64(len(s.epochs)))
		for _, e := range s.epochs {
			b = binary.AppendVarint(b, int64(e.Epoch))
			b = binary.AppendVarint(b, e.Start)
		}
		ids := make([]int64, 0, len(s.producers))
		for id := range s.producers {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = s.producers[id].encode(binary.AppendVarint(b, id))
		}
		b = binary.AppendUvarint(b, uint64(len(s.index)))
		for _, e := range s.index {
			b = binary.AppendVarint(b, e.Offset)
			b = binary.AppendVarint(b, e.Max)
		}
		return binary.AppendVarint(b, s.sinceIndex)
	})
}

func (p *producer) encode(b []byte) []byte {
	b = binary.AppendVarint(b, int64(p.epoch))
	b = binary.AppendVarint(b, p.lastTimestamp)
	b = binary.AppendVarint(b, p.txnStart)
	b = binary.AppendVarint(b, int64(p.coordinatorEpoch))
	b = append(b, p.n)
	for _, w := range p.window[:p.n] {
		b = binary.AppendVarint(b, int64(w.First))
		b = binary.AppendVarint(b, int64(w.Last))
		b = binary.AppendVarint(b, w.Base)
		b = binary.AppendVarint(b, w.End)
		b = binary.AppendVarint(b, w.Timestamp)
	}
	return b
}

// fields is a sticky reader of a checkpoint.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) int() int64 {
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

// count reads a number of elements of at least size bytes each.
func (f *fields) count(size int) int {
	v, n := binary.Uvarint(f.b)
	if n <= 0 || v > uint64(len(f.b)-n)/uint64(size) {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return int(v)
}

// raw reads n bytes.
func (f *fields) raw(n int) []byte {
	if len(f.b) < n {
		f.b, f.bad = nil, true
		return make([]byte, n)
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func decodeState(b []byte) (*state, error) {
	b, err := unseal(stateMagic, b)
	if err != nil {
		return nil, err
	}
	f := fields{b: b}
	s := newState(f.int(), indexBytes)
	s.lastBase = f.int()
	s.lastEpoch = int32(f.int())
	s.lastCRC = binary.BigEndian.Uint32(f.raw(4))
	s.maxTime = f.int()
	for range f.count(2) {
		s.epochs = append(s.epochs, epochStart{Epoch: int32(f.int()), Start: f.int()})
	}
	for range f.count(6) {
		id := f.int()
		s.producers[id] = f.producer()
	}
	for range f.count(2) {
		s.index = append(s.index, indexEntry{Offset: f.int(), Max: f.int()})
	}
	s.sinceIndex = f.int()
	if f.bad || len(f.b) != 0 || s.end < 0 || s.lastBase < -1 || s.lastBase >= s.end && s.end > 0 {
		return nil, fmt.Errorf("%w: checkpoint", ErrCorrupt)
	}
	return s, nil
}

func (f *fields) producer() *producer {
	p := &producer{
		epoch: int16(f.int()), lastTimestamp: f.int(), txnStart: f.int(), coordinatorEpoch: int32(f.int()), n: f.raw(1)[0],
	}
	if p.n > windowLen {
		f.b, f.bad, p.n = nil, true, 0
	}
	for i := range p.n {
		p.window[i] = sequenceRange{
			First: int32(f.int()), Last: int32(f.int()), Base: f.int(), End: f.int(), Timestamp: f.int(),
		}
	}
	return p
}

// readState reads a checkpoint; nil, nil where there is no file.
func (p *Partition) readState(name string) (*state, error) {
	b, err := vfs.ReadFile(p.cfg.FS, p.path(name), stateFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	st, err := decodeState(b)
	if err != nil {
		return nil, err
	}
	st.indexEvery = indexEvery(p.cfg.SegmentBytes)
	return st, nil
}

// removeFile removes a file that may not exist.
func removeFile(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Remove deletes a partition's directory, which nobody has open. What was
// removed is gone for good; see R12 in mq/DESIGN.md for when that is allowed.
func Remove(fsys vfs.FS, dir string) error {
	logs := filepath.Join(dir, logDir)
	for _, d := range []string{logs, dir} {
		names, err := fsys.ReadDir(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := removeFile(fsys, filepath.Join(d, n)); err != nil {
				return err
			}
		}
		if err := removeFile(fsys, d); err != nil {
			return err
		}
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

// Offset is an offset of some partition, as SaveOffsets keeps it.
type Offset struct {
	TopicID   [16]byte
	Partition int32
	Offset    int64
}

// SaveOffsets writes offsets, such as the high watermarks of all partitions of a
// data directory, to a file, atomically and durably.
func SaveOffsets(fsys vfs.FS, name string, offsets []Offset) error {
	return vfs.WriteFile(fsys, name, seal(offsetsMagic, func(b []byte) []byte {
		b = slices.Grow(b, len(offsets)*28+4)
		for _, o := range offsets {
			b = append(b, o.TopicID[:]...)
			b = binary.BigEndian.AppendUint32(b, uint32(o.Partition))
			b = binary.BigEndian.AppendUint64(b, uint64(o.Offset))
		}
		return b
	}))
}

// LoadOffsets reads what SaveOffsets wrote; a file that does not exist holds
// none. A damaged file is an error wrapping ErrCorrupt.
func LoadOffsets(fsys vfs.FS, name string) ([]Offset, error) {
	b, err := vfs.ReadFile(fsys, name, stateFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if b, err = unseal(offsetsMagic, b); err != nil {
		return nil, err
	}
	if len(b)%28 != 0 {
		return nil, fmt.Errorf("%w: offsets file of %d bytes", ErrCorrupt, len(b))
	}
	out := make([]Offset, 0, len(b)/28)
	for ; len(b) > 0; b = b[28:] {
		o := Offset{Partition: int32(binary.BigEndian.Uint32(b[16:])), Offset: int64(binary.BigEndian.Uint64(b[20:]))}
		copy(o.TopicID[:], b)
		if o.Offset < 0 || o.Partition < 0 || o.Offset == math.MaxInt64 {
			return nil, fmt.Errorf("%w: offset %d of partition %d", ErrCorrupt, o.Offset, o.Partition)
		}
		out = append(out, o)
	}
	return out, nil
}
