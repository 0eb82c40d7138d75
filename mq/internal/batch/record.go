package batch

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Record is one record of a batch. Key, Value and what Headers yields alias the
// section that was read; a nil Key or Value is the protocol's null.
type Record struct {
	Offset    int64
	Timestamp int64 // milliseconds
	Key       []byte
	Value     []byte
	Headers   Headers
}

// Headers are the headers of a record, not yet taken apart.
type Headers struct {
	count int
	raw   []byte
}

// Len is the number of headers.
func (h Headers) Len() int { return h.count }

// Next returns the first header and the ones after it; ok is false when there is
// none. The Reader has already checked them. A nil value is the protocol's null.
//
//	for k, v, hs, ok := rec.Headers.Next(); ok; k, v, hs, ok = hs.Next() { … }
func (h Headers) Next() (key, value []byte, rest Headers, ok bool) {
	if h.count == 0 {
		return nil, nil, Headers{}, false
	}
	d := decoder{b: h.raw}
	key = d.bytes()
	value = d.bytes()
	if d.bad {
		return nil, nil, Headers{}, false
	}
	return key, value, Headers{count: h.count - 1, raw: d.b}, true
}

// Reader iterates over the records of a batch without allocating. It is used as
// a value:
//
//	r := batch.NewReader(h, section)
//	for r.Next() {
//		rec := r.Record()
//	}
//	err := r.Err()
type Reader struct {
	h    Header
	d    decoder
	left int32
	last int64 // offset delta of the record before
	rec  Record
	err  error
}

// NewReader returns a Reader over the records in section, which is [Section] of
// a batch with header h, decompressed if the batch is compressed.
func NewReader(h Header, section []byte) Reader {
	return Reader{h: h, d: decoder{b: section}, left: h.Count, last: -1}
}

// Next advances to the next record. It returns false at the end and on bad
// bytes; Err tells them apart.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	if r.left == 0 {
		if len(r.d.b) > 0 {
			r.fail("bytes after the last record", int64(len(r.d.b)))
		}
		return false
	}
	r.left--
	return r.read()
}

// Record returns the record that Next found. It is valid until the section's
// owner reuses its bytes.
func (r *Reader) Record() Record { return r.rec }

// Err returns what ended the iteration early, wrapping ErrCorrupt, or nil.
func (r *Reader) Err() error { return r.err }

func (r *Reader) read() bool {
	n := r.d.varint()
	if r.d.bad || n < 0 || n > int64(len(r.d.b)) {
		return r.fail("record length", n)
	}
	d := decoder{b: r.d.b[:n:n]}
	r.d.b = r.d.b[n:]
	d.skip(1) // attributes, unused
	ts := d.varint()
	delta := d.varint()
	r.rec.Key = d.bytes()
	r.rec.Value = d.bytes()
	count := d.varint()
	if d.bad || count < 0 || count > int64(len(d.b))/2 {
		return r.fail("record of length", n)
	}
	r.rec.Headers = Headers{count: int(count), raw: d.b}
	for range count {
		if k := d.bytes(); k == nil {
			return r.fail("header without key in record of length", n)
		}
		d.bytes()
	}
	if d.bad || len(d.b) != 0 {
		return r.fail("record of length", n)
	}
	if delta <= r.last || delta > int64(r.h.LastOffsetDelta) {
		return r.fail("offset delta", delta)
	}
	r.last = delta
	r.rec.Offset = r.h.BaseOffset + delta
	if r.h.IsLogAppendTime() {
		r.rec.Timestamp = r.h.MaxTimestamp
		return true
	}
	if ts > 0 && r.h.BaseTimestamp > math.MaxInt64-ts || ts < 0 && r.h.BaseTimestamp < math.MinInt64-ts {
		return r.fail("timestamp delta", ts)
	}
	r.rec.Timestamp = r.h.BaseTimestamp + ts
	return true
}

func (r *Reader) fail(what string, v int64) bool {
	r.err = fmt.Errorf("%w: %s %d in the batch at offset %d", ErrCorrupt, what, v, r.h.BaseOffset)
	return false
}

// decoder reads zigzag varints and length-prefixed bytes. It is sticky: after
// the first failure everything reads as zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) varint() int64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // the common case: deltas, short lengths
		v := d.b[0]
		d.b = d.b[1:]
		return int64(v>>1) ^ -int64(v&1)
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.varint()
	if d.bad || n < 0 {
		if n < -1 {
			d.fail()
		}
		return nil
	}
	if n > int64(len(d.b)) {
		d.fail()
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) skip(n int) {
	if n > len(d.b) {
		d.fail()
		return
	}
	d.b = d.b[n:]
}

func (d *decoder) fail() { d.b, d.bad = nil, true }
