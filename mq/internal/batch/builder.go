package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// ErrFull is returned by Builder.Append when a batch can take no more: its
// offset deltas or its length would overflow.
var ErrFull = errors.New("batch: full")

// RecordHeader is a header to write. A nil Value is the protocol's null.
type RecordHeader struct {
	Key   string
	Value []byte
}

// Spec is what a batch carries beside its records. NewSpec returns the one of a
// producer that is not idempotent; the zero value is of producer id 0.
type Spec struct {
	BaseOffset    int64
	LeaderEpoch   int32
	Attributes    Attributes // codec bits are ignored: Build sets them
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
}

// NewSpec returns a Spec without producer id and leader epoch.
func NewSpec() Spec {
	return Spec{
		LeaderEpoch: NoLeaderEpoch, ProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, BaseSequence: NoSequence,
	}
}

// Builder makes one batch at a time. The zero value is ready for Append and
// keeps its buffers from batch to batch. It is not safe for concurrent use.
type Builder struct {
	buf    []byte // header's room, then records
	out    []byte // the batch, when compressed
	count  int32
	last   int32 // offset delta of the last record
	baseTS int64
	maxTS  int64
}

// Reset forgets the records, keeping the buffers. Bytes that Build returned are
// no longer valid.
func (b *Builder) Reset() {
	b.buf, b.count, b.last = b.buf[:0], 0, 0
}

// Count is the number of records appended since Reset.
func (b *Builder) Count() int { return int(b.count) }

// Size is the size in bytes of the batch if it is built uncompressed.
func (b *Builder) Size() int { return max(len(b.buf), HeaderLen) }

// MaxTimestamp is the largest timestamp appended, NoTimestamp without records.
func (b *Builder) MaxTimestamp() int64 {
	if b.count == 0 {
		return NoTimestamp
	}
	return b.maxTS
}

// SizeOf returns an upper bound, exact but for a few bytes, of what Append would
// add to Size.
func SizeOf(key, value []byte, headers []RecordHeader) int {
	n := 1 + 10 + 5 + 5 + 5 + 5 + len(key) + len(value)
	for i := range headers {
		n += 10 + len(headers[i].Key) + len(headers[i].Value)
	}
	return n + 5
}

// Append adds a record after the last one: its offset delta is Count. The bytes
// are copied. It returns ErrFull, having added nothing, when the batch cannot
// take it; the caller bounds sizes long before.
func (b *Builder) Append(timestamp int64, key, value []byte, headers []RecordHeader) error {
	delta := int32(0)
	if b.count > 0 {
		if b.last == math.MaxInt32 {
			return ErrFull
		}
		delta = b.last + 1
	}
	return b.AppendAt(delta, timestamp, key, value, headers)
}

// AppendAt is Append with an offset delta of its own, above the last one's; for
// compaction, which leaves gaps.
func (b *Builder) AppendAt(delta int32, timestamp int64, key, value []byte, headers []RecordHeader) error {
	if b.count > 0 && delta <= b.last || delta < 0 {
		return fmt.Errorf("batch: offset delta %d after %d", delta, b.last)
	}
	if len(key) > math.MaxInt32 || len(value) > math.MaxInt32 ||
		int64(b.Size())+int64(SizeOf(key, value, headers)) > math.MaxInt32-prefixLen {
		return ErrFull
	}
	if len(b.buf) < HeaderLen {
		b.buf = append(b.buf[:0], make([]byte, HeaderLen)...)
	}
	if b.count == 0 {
		b.baseTS, b.maxTS = timestamp, timestamp
	}
	b.maxTS = max(b.maxTS, timestamp)
	b.count++
	b.last = delta
	b.buf = appendRecord(b.buf, timestamp-b.baseTS, int64(delta), key, value, headers)
	return nil
}

func appendRecord(buf []byte, ts, delta int64, key, value []byte, headers []RecordHeader) []byte {
	n := 1 + varintLen(ts) + varintLen(delta) + bytesLen(key) + bytesLen(value) + varintLen(int64(len(headers)))
	for i := range headers {
		n += varintLen(int64(len(headers[i].Key))) + len(headers[i].Key) + bytesLen(headers[i].Value)
	}
	buf = binary.AppendVarint(buf, int64(n))
	buf = append(buf, 0)
	buf = binary.AppendVarint(buf, ts)
	buf = binary.AppendVarint(buf, delta)
	buf = appendBytes(buf, key)
	buf = appendBytes(buf, value)
	buf = binary.AppendVarint(buf, int64(len(headers)))
	for i := range headers {
		buf = binary.AppendVarint(buf, int64(len(headers[i].Key)))
		buf = append(buf, headers[i].Key...)
		buf = appendBytes(buf, headers[i].Value)
	}
	return buf
}

func appendBytes(buf, b []byte) []byte {
	if b == nil {
		return append(buf, 1) // zigzag of -1
	}
	buf = binary.AppendVarint(buf, int64(len(b)))
	return append(buf, b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

// Build completes the batch, uncompressed, and returns it. The bytes belong to
// the Builder: they are valid until Reset. Building again, with another Spec, is
// allowed; an empty batch is too.
func (b *Builder) Build(s Spec) []byte {
	if len(b.buf) < HeaderLen {
		b.buf = append(b.buf[:0], make([]byte, HeaderLen)...)
	}
	h := b.header(s, None)
	h.put(b.buf)
	return b.buf
}

// BuildCompressed completes the batch with its records compressed by compress,
// which appends to dst the compressed form of src and returns it. If that is no
// smaller the batch is built uncompressed. The bytes are valid until the next
// Reset or BuildCompressed.
func (b *Builder) BuildCompressed(s Spec, c Codec, compress func(dst, src []byte) ([]byte, error)) ([]byte, error) {
	if c == None || b.count == 0 {
		return b.Build(s), nil
	}
	if len(b.out) < HeaderLen {
		b.out = make([]byte, HeaderLen, max(HeaderLen, len(b.buf)))
	}
	out, err := compress(b.out[:HeaderLen], b.buf[HeaderLen:])
	if err != nil {
		return nil, fmt.Errorf("batch: compress with %s: %w", c, err)
	}
	b.out = out
	if len(out) >= len(b.buf) {
		return b.Build(s), nil
	}
	h := b.header(s, c)
	h.put(out)
	return out, nil
}

func (b *Builder) header(s Spec, c Codec) Header {
	h := Header{
		BaseOffset: s.BaseOffset, LeaderEpoch: s.LeaderEpoch, Attributes: s.Attributes&^codecMask | Attributes(c),
		LastOffsetDelta: b.last, BaseTimestamp: b.baseTS, MaxTimestamp: b.maxTS,
		ProducerID: s.ProducerID, ProducerEpoch: s.ProducerEpoch, BaseSequence: s.BaseSequence, Count: b.count,
	}
	if b.count == 0 {
		h.LastOffsetDelta, h.BaseTimestamp, h.MaxTimestamp = 0, NoTimestamp, NoTimestamp
	}
	return h
}
