package jute

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// ErrMalformed is what every decoding error wraps. A server answers it with [CodeMarshallingError] and keeps the connection.
var ErrMalformed = errors.New("malformed record")

// AppendInt32 appends v.
func AppendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }

// AppendInt64 appends v.
func AppendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }

// AppendBool appends v as one byte.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendString appends s; it is never null.
func AppendString(dst []byte, s string) []byte {
	return append(AppendInt32(dst, int32(len(s))), s...)
}

// AppendBuffer appends b, a nil one as null.
func AppendBuffer(dst, b []byte) []byte {
	if b == nil {
		return AppendInt32(dst, -1)
	}
	return append(AppendInt32(dst, int32(len(b))), b...)
}

// AppendStrings appends a vector of strings; nil is an empty vector.
func AppendStrings(dst []byte, v []string) []byte {
	dst = AppendInt32(dst, int32(len(v)))
	for _, s := range v {
		dst = AppendString(dst, s)
	}
	return dst
}

// BeginFrame appends room for a frame's length. The frame begins at len(dst) before the call, which is what [EndFrame] wants.
func BeginFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

// EndFrame writes the length of the frame that began at start: everything appended since BeginFrame.
func EndFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// Reader takes values from the front of a buffer. The zero value is an empty one. After the first error every call returns
// zero values. It is not safe for concurrent use.
type Reader struct {
	buf   []byte
	size  int // of the whole input, for positions in errors
	alias bool
	err   error
}

// NewReader returns a Reader of b, whose strings are copies.
func NewReader(b []byte) Reader { return Reader{buf: b, size: len(b)} }

// NewAliasReader returns a Reader of b, whose strings alias b: they are valid only until b is changed or reused.
func NewAliasReader(b []byte) Reader { return Reader{buf: b, size: len(b), alias: true} }

// Err returns the first error, which wraps ErrMalformed, or nil.
func (r *Reader) Err() error { return r.err }

// Len returns the number of bytes not yet taken, 0 after an error.
func (r *Reader) Len() int { return len(r.buf) }

// Rest returns the bytes not yet taken, without taking them. They alias the input.
func (r *Reader) Rest() []byte { return r.buf }

// Fail makes the Reader fail with a reason, unless it has failed already.
func (r *Reader) Fail(reason string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w at byte %d of %d: %s", ErrMalformed, r.size-len(r.buf), r.size, reason)
		r.buf = nil
	}
}

func (r *Reader) short(what string) { r.Fail("no room for " + what) }

// Int32 takes an int32.
func (r *Reader) Int32() int32 {
	if len(r.buf) < 4 {
		r.short("int32")
		return 0
	}
	v := int32(binary.BigEndian.Uint32(r.buf))
	r.buf = r.buf[4:]
	return v
}

// Int64 takes an int64.
func (r *Reader) Int64() int64 {
	if len(r.buf) < 8 {
		r.short("int64")
		return 0
	}
	v := int64(binary.BigEndian.Uint64(r.buf))
	r.buf = r.buf[8:]
	return v
}

// Bool takes one byte; any but 0 is true.
func (r *Reader) Bool() bool {
	if len(r.buf) < 1 {
		r.short("bool")
		return false
	}
	v := r.buf[0] != 0
	r.buf = r.buf[1:]
	return v
}

// Buffer takes a buffer that aliases the input: nil if it is null, non-nil if it is empty.
func (r *Reader) Buffer() []byte {
	n := r.Int32()
	if n == -1 || r.err != nil {
		return nil
	}
	if n < 0 || int(n) > len(r.buf) {
		r.Fail(fmt.Sprintf("length %d, %d bytes left", n, len(r.buf)))
		return nil
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b
}

// String takes a string; null reads as "".
func (r *Reader) String() string {
	b := r.Buffer()
	if r.alias {
		return unsafe.String(unsafe.SliceData(b), len(b))
	}
	return string(b)
}

// NullString takes a string and keeps null apart as nil.
func (r *Reader) NullString() *string {
	b := r.Buffer()
	if b == nil {
		return nil
	}
	return new(string(b))
}

// Count takes the count of a vector whose elements have at least size bytes each; null reads as 0. A count that the remaining
// bytes cannot hold fails before anything is allocated for it.
func (r *Reader) Count(size int) int {
	n := r.Int32()
	if n == -1 || r.err != nil {
		return 0
	}
	if n < 0 || int(n) > len(r.buf)/size {
		r.Fail(fmt.Sprintf("count %d, %d bytes left", n, len(r.buf)))
		return 0
	}
	return int(n)
}

// Strings takes a vector of strings, nil if it is empty or null.
func (r *Reader) Strings() []string {
	n := r.Count(4)
	if n == 0 {
		return nil
	}
	v := make([]string, 0, n)
	for range n {
		v = append(v, r.String())
	}
	if r.err != nil {
		return nil
	}
	return v
}

// End fails the Reader if bytes are left, and returns its error.
func (r *Reader) End() error {
	if len(r.buf) > 0 {
		r.Fail("bytes left over")
	}
	return r.err
}
