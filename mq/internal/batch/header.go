package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Sizes and fixed values of the format.
const (
	// HeaderLen is the length in bytes of a batch's header.
	HeaderLen = 61
	// Magic is the only format version supported.
	Magic = 2
	// NoProducerID marks a batch that is not idempotent.
	NoProducerID = -1
	// NoProducerEpoch goes with NoProducerID.
	NoProducerEpoch = -1
	// NoSequence goes with NoProducerID.
	NoSequence = -1
	// NoLeaderEpoch is what producers send.
	NoLeaderEpoch = -1
	// NoTimestamp marks an absent timestamp.
	NoTimestamp = -1

	prefixLen = 12 // base offset and length, which the length does not count
	crcFrom   = 21 // the CRC covers everything from here on
	recordMin = 7  // length, attributes, two deltas, two lengths, header count
)

var (
	// ErrPartial is returned when bytes end before the batch does: normal at
	// the end of a Fetch response, which may cut its last batch.
	ErrPartial = errors.New("batch: partial batch")
	// ErrCorrupt is wrapped by every error about bytes that are not a valid
	// batch, its CRC included.
	ErrCorrupt = errors.New("batch: corrupt")
	// ErrMagic is wrapped, beside ErrCorrupt, when the format version is not 2.
	ErrMagic = errors.New("batch: unsupported magic")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Codec is a compression codec, as the low bits of the attributes number them.
type Codec int8

// The codecs of the protocol.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)

// String returns Kafka's name for the codec ("none", "gzip", …).
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// Valid reports whether c is one of the protocol's codecs.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// Attributes are the attribute bits of a batch.
type Attributes int16

// Attribute bits above the codec.
const (
	// LogAppendTime says that every record's timestamp is the batch's
	// MaxTimestamp, which the broker set.
	LogAppendTime Attributes = 1 << 3
	// Transactional says that the batch belongs to a transaction.
	Transactional Attributes = 1 << 4
	// Control says that the batch holds a transaction marker.
	Control Attributes = 1 << 5

	codecMask Attributes = 7
)

// Header is the parsed header of a batch. The zero value is not a valid header.
type Header struct {
	BaseOffset      int64
	Length          int32 // bytes after the length field; Size counts all
	LeaderEpoch     int32
	CRC             uint32
	Attributes      Attributes
	LastOffsetDelta int32
	BaseTimestamp   int64 // milliseconds
	MaxTimestamp    int64
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	Count           int32 // records
}

// Size is the batch's length in bytes, header included.
func (h *Header) Size() int { return prefixLen + int(h.Length) }

// LastOffset is the offset of the batch's last record (kept when compaction
// removes that record).
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset is the offset after the batch.
func (h *Header) NextOffset() int64 { return h.LastOffset() + 1 }

// Codec is the codec of the records section; it may be one that is not Valid.
func (h *Header) Codec() Codec { return Codec(h.Attributes & codecMask) }

// IsControl reports whether the batch holds a transaction marker.
func (h *Header) IsControl() bool { return h.Attributes&Control != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (h *Header) IsTransactional() bool { return h.Attributes&Transactional != 0 }

// IsLogAppendTime reports whether MaxTimestamp is every record's timestamp.
func (h *Header) IsLogAppendTime() bool { return h.Attributes&LogAppendTime != 0 }

// IsIdempotent reports whether the batch carries a producer id.
func (h *Header) IsIdempotent() bool { return h.ProducerID >= 0 }

// LastSequence is the sequence of the batch's last record, NoSequence if it
// carries none. Sequences wrap from 2^31-1 to 0.
func (h *Header) LastSequence() int32 {
	if h.BaseSequence < 0 {
		return NoSequence
	}
	return AddSequence(h.BaseSequence, h.LastOffsetDelta)
}

// AddSequence returns seq advanced by delta >= 0, wrapping from 2^31-1 to 0.
func AddSequence(seq, delta int32) int32 {
	return int32((int64(seq) + int64(delta)) & math.MaxInt32)
}

// ParseHeader reads the header at the start of b and checks what can be checked
// without the records: magic, length, counts, overflow. It needs HeaderLen bytes
// of b, not the whole batch, and returns ErrPartial for fewer. It does not
// verify the CRC: see [Check].
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		// A wrong magic or length is worth reporting as soon as it is there.
		if len(b) > 16 && b[16] != Magic {
			return Header{}, magicError(b)
		}
		return Header{}, ErrPartial
	}
	h := Header{
		BaseOffset:      int64(binary.BigEndian.Uint64(b[0:])),
		Length:          int32(binary.BigEndian.Uint32(b[8:])),
		LeaderEpoch:     int32(binary.BigEndian.Uint32(b[12:])),
		CRC:             binary.BigEndian.Uint32(b[17:]),
		Attributes:      Attributes(binary.BigEndian.Uint16(b[21:])),
		LastOffsetDelta: int32(binary.BigEndian.Uint32(b[23:])),
		BaseTimestamp:   int64(binary.BigEndian.Uint64(b[27:])),
		MaxTimestamp:    int64(binary.BigEndian.Uint64(b[35:])),
		ProducerID:      int64(binary.BigEndian.Uint64(b[43:])),
		ProducerEpoch:   int16(binary.BigEndian.Uint16(b[51:])),
		BaseSequence:    int32(binary.BigEndian.Uint32(b[53:])),
		Count:           int32(binary.BigEndian.Uint32(b[57:])),
	}
	if b[16] != Magic {
		return Header{}, magicError(b)
	}
	if err := h.check(); err != nil {
		return Header{}, err
	}
	return h, nil
}

func magicError(b []byte) error {
	return fmt.Errorf("%w: %w %d, want %d", ErrCorrupt, ErrMagic, int8(b[16]), Magic)
}

// check is ParseHeader's part about values.
func (h *Header) check() error {
	bad := func(field string, v int64) error {
		return fmt.Errorf("%w: %s %d at offset %d", ErrCorrupt, field, v, h.BaseOffset)
	}
	switch {
	case h.Length < HeaderLen-prefixLen || h.Length > math.MaxInt32-prefixLen:
		return bad("length", int64(h.Length))
	case h.BaseOffset < 0:
		return bad("base offset", h.BaseOffset)
	case h.LastOffsetDelta < 0:
		return bad("last offset delta", int64(h.LastOffsetDelta))
	case h.BaseOffset > math.MaxInt64-1-int64(h.LastOffsetDelta):
		return bad("last offset delta (overflow)", int64(h.LastOffsetDelta))
	case h.Count < 0 || int64(h.Count) > int64(h.LastOffsetDelta)+1:
		return bad("record count", int64(h.Count))
	case h.Codec() == None && int64(h.Count)*recordMin > int64(h.Size()-HeaderLen):
		return bad("record count (more than fit)", int64(h.Count))
	case h.LeaderEpoch < NoLeaderEpoch:
		return bad("leader epoch", int64(h.LeaderEpoch))
	case h.ProducerID < NoProducerID:
		return bad("producer id", h.ProducerID)
	}
	return nil
}

// Cut splits the first batch off buf. It returns ErrPartial if buf ends before
// the batch does (an empty buf included) and an error wrapping ErrCorrupt if what
// is there is no batch header. The CRC is not verified. b and rest alias buf.
func Cut(buf []byte) (h Header, b, rest []byte, err error) {
	h, err = ParseHeader(buf)
	if err != nil {
		return Header{}, nil, buf, err
	}
	n := h.Size()
	if n > len(buf) {
		return Header{}, nil, buf, ErrPartial
	}
	return h, buf[:n:n], buf[n:], nil
}

// Check parses the header of the batch b, which must be exactly one whole batch,
// and verifies its CRC.
func Check(b []byte) (Header, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, err
	}
	if h.Size() != len(b) {
		return Header{}, fmt.Errorf("%w: batch of %d bytes in %d", ErrCorrupt, h.Size(), len(b))
	}
	if err := h.VerifyCRC(b); err != nil {
		return Header{}, err
	}
	return h, nil
}

// VerifyCRC checks the CRC of the batch b whose header h is.
func (h *Header) VerifyCRC(b []byte) error {
	if got := crc32.Checksum(b[crcFrom:], castagnoli); got != h.CRC {
		return fmt.Errorf("%w: crc %08x, computed %08x, at offset %d", ErrCorrupt, h.CRC, got, h.BaseOffset)
	}
	return nil
}

// Section returns the records section of the batch b, compressed if the batch is.
func Section(b []byte) []byte { return b[HeaderLen:] }

// SetBaseOffset writes the base offset of the batch b. The CRC does not cover it.
func SetBaseOffset(b []byte, offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// SetLeaderEpoch writes the leader epoch of the batch b. The CRC does not cover it.
func SetLeaderEpoch(b []byte, epoch int32) { binary.BigEndian.PutUint32(b[12:], uint32(epoch)) }

// SetLogAppendTime marks the batch b as stamped by the broker at now
// (milliseconds) and recomputes its CRC. The caller has verified the old one.
func SetLogAppendTime(b []byte, now int64) {
	attrs := Attributes(binary.BigEndian.Uint16(b[21:])) | LogAppendTime
	binary.BigEndian.PutUint16(b[21:], uint16(attrs))
	binary.BigEndian.PutUint64(b[35:], uint64(now))
	setCRC(b)
}

// SetMaxTimestamp writes the maximal timestamp of the batch b (milliseconds) and
// recomputes its CRC.
func SetMaxTimestamp(b []byte, ts int64) {
	binary.BigEndian.PutUint64(b[35:], uint64(ts))
	setCRC(b)
}

// SetProducer writes producer id, epoch and base sequence of the batch b and
// recomputes its CRC: what a client does when it learns or resets them after
// having built the batch.
func SetProducer(b []byte, id int64, epoch int16, baseSequence int32) {
	binary.BigEndian.PutUint64(b[43:], uint64(id))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(baseSequence))
	setCRC(b)
}

func setCRC(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcFrom:], castagnoli))
}

// put writes h to the first HeaderLen bytes of b, which is the whole batch, and
// computes length and CRC.
func (h *Header) put(b []byte) {
	binary.BigEndian.PutUint64(b[0:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-prefixLen))
	binary.BigEndian.PutUint32(b[12:], uint32(h.LeaderEpoch))
	b[16] = Magic
	binary.BigEndian.PutUint16(b[21:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(b[23:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(b[27:], uint64(h.BaseTimestamp))
	binary.BigEndian.PutUint64(b[35:], uint64(h.MaxTimestamp))
	binary.BigEndian.PutUint64(b[43:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(b[51:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(b[53:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(b[57:], uint32(h.Count))
	setCRC(b)
}
