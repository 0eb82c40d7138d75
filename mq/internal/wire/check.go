package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Message is a message of kmsg: a request or a response, with its version set, or one of its other encoded types.
type Message interface{ ReadFrom([]byte) error }

// What a message may decode to: ExpansionMax times its own size, and ExpansionFree on top, which is for small messages that are made
// of small things. Dense ones of real clients (thousands of topics with short names) come to 10 times.
const (
	ExpansionMax  = 16
	ExpansionFree = 64 << 10
)

// unknownTagCost is what the first unknown tagged field of a structure makes kmsg allocate: a map.
const unknownTagCost = 384

// Decode checks b, then has m read it. Byte slices in m alias b. Bytes behind the message are ignored. It may be called concurrently.
func Decode(m Message, b []byte) error {
	if _, err := check(m, b); err != nil {
		return err
	}
	return m.ReadFrom(b)
}

// DecodeAlias is Decode, but strings alias b too, where m can have it so.
func DecodeAlias(m Message, b []byte) error {
	u, ok := m.(kmsg.UnsafeReadFrom)
	if !ok {
		return Decode(m, b)
	}
	if _, err := check(m, b); err != nil {
		return err
	}
	return u.UnsafeReadFrom(b)
}

// SkipTags returns what follows the tagged fields that b, the rest of a header, begins with.
func SkipTags(b []byte) ([]byte, error) {
	w := walker{b: b, flexible: true, budget: budget(len(b))}
	if !w.tags(nil) {
		return nil, w.err()
	}
	return w.b, nil
}

func budget(n int) int64 { return ExpansionMax*int64(n) + ExpansionFree }

// check returns how long the message at the start of b is. It allocates nothing but errors.
func check(m Message, b []byte) (int, error) {
	l, version := of(m, b)
	if l == nil {
		return 0, fmt.Errorf("wire: no layout of %T", m)
	}
	if version < 0 {
		return 0, fmt.Errorf("wire: version %d", version)
	}
	w := walker{b: b, version: version, flexible: version >= l.flexible, budget: budget(len(b))}
	if !w.fields(l.fields) || !w.tags(l.fields) {
		return 0, w.err()
	}
	return len(b) - len(w.b), nil
}

// walker walks through a message. Its methods return false when it ends there.
type walker struct {
	b        []byte // what is left
	version  int16
	flexible bool
	// budget is how many bytes what is left may have allocated.
	budget int64

	// Where and why it ended.
	path []string // innermost first
	why  string
}

func (w *walker) err() error {
	var path strings.Builder
	for i := len(w.path) - 1; i >= 0; i-- {
		path.WriteString(w.path[i] + ": ")
	}
	return errors.New("wire: " + path.String() + w.why)
}

// fail notes why, with the number in question.
func (w *walker) fail(why string, n int64) bool {
	w.why = fmt.Sprintf(why+", %d bytes left", n, len(w.b))
	return false
}

func (w *walker) in(name string) bool {
	w.path = append(w.path, name)
	return false
}

func (w *walker) fields(fields []field) bool {
	for i := range fields {
		f := &fields[i]
		if w.version < f.from || w.version > f.to || f.tag >= 0 {
			continue
		}
		if f.kind == fixed && f.size <= len(w.b) {
			w.b = w.b[f.size:]
		} else if !w.value(f) {
			return w.in(f.name)
		}
	}
	return true
}

func (w *walker) value(f *field) bool {
	if f.kind == fixed {
		return w.skip(int64(f.size))
	}
	if f.kind == structure {
		return w.fields(f.elem) && w.tags(f.elem)
	}
	n, ok := w.length(f)
	switch {
	case n == 0 || !ok:
		return ok
	case f.kind == blob:
		return w.skip(n)
	case f.kind == text:
		if n > math.MaxInt16 {
			return w.fail("string of %d bytes", n)
		}
		return w.charge(2*n) && w.skip(n)
	case n > int64(len(w.b)): // an element has a byte at least
		return w.fail("array of %d elements", n)
	case !w.charge(n*f.cost + 16):
		return false
	case f.elem == nil:
		return w.skip(n * int64(f.size))
	}
	for range n {
		if !w.fields(f.elem) || f.kind == array && !w.tags(f.elem) {
			return false
		}
	}
	return true
}

// tags takes the tagged fields at the end of a structure with the given fields.
func (w *walker) tags(fields []field) bool {
	if !w.flexible {
		return true
	}
	if len(w.b) > 0 && w.b[0] == 0 { // nearly always
		w.b = w.b[1:]
		return true
	}
	n, ok := w.uvarint()
	if !ok {
		return false
	}
	if n > int64(len(w.b)/2) { // a tagged field has two bytes at least
		return w.fail("%d tagged fields", n)
	}
	for range n {
		tag, _ := w.uvarint()
		size, ok := w.uvarint()
		if !ok {
			return false
		}
		if size > int64(len(w.b)) {
			return w.fail("tagged field of %d bytes", size)
		}
		if !w.tagged(fields, tag, size) {
			return false
		}
	}
	return true
}

// tagged takes a tagged field of the given size.
func (w *walker) tagged(fields []field, tag, size int64) bool {
	for i := range fields {
		f := &fields[i]
		if f.tag != tag {
			continue
		}
		rest := w.b[size:]
		w.b = w.b[:size]
		if !w.value(f) {
			return w.in(f.name)
		}
		if len(w.b) > 0 {
			return w.fail("tagged field %d is longer than its value", tag)
		}
		w.b = rest
		return true
	}
	return w.charge(unknownTagCost) && w.skip(size)
}

// length takes the length of a string or bytes, or the count of an array: 0 if it is null and may be.
func (w *walker) length(f *field) (n int64, ok bool) {
	switch {
	case w.flexible:
		n, ok = w.uvarint()
		n--
	case f.kind == text && len(w.b) >= 2:
		n, ok = int64(int16(binary.BigEndian.Uint16(w.b))), true
		w.b = w.b[2:]
	case f.kind != text && len(w.b) >= 4:
		n, ok = int64(int32(binary.BigEndian.Uint32(w.b))), true
		w.b = w.b[4:]
	}
	if !ok {
		return 0, w.fail("length ends after %d bytes", int64(len(w.b)))
	}
	if n < -1 || n == -1 && w.version < f.nullFrom {
		return 0, w.fail("length of %d", n)
	}
	return max(n, 0), true
}

// uvarint takes an unsigned number of up to 32 bits.
func (w *walker) uvarint() (int64, bool) {
	if len(w.b) > 0 && w.b[0] < 0x80 {
		n := int64(w.b[0])
		w.b = w.b[1:]
		return n, true
	}
	u, n := binary.Uvarint(w.b)
	if n == 0 {
		return 0, w.fail("number ends after %d bytes", int64(len(w.b)))
	}
	if n < 0 || n > 5 || u > math.MaxUint32 {
		return 0, w.fail("number of more than %d bits", 32)
	}
	w.b = w.b[n:]
	return int64(u), true
}

func (w *walker) skip(n int64) bool {
	if n > int64(len(w.b)) {
		return w.fail("%d bytes", n)
	}
	w.b = w.b[n:]
	return true
}

// charge takes n bytes of the budget.
func (w *walker) charge(n int64) bool {
	w.budget -= n
	return w.budget >= 0 || w.fail("decodes to more than allowed, by %d bytes", -w.budget)
}
