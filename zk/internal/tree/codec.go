package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// ErrMalformed is what every error about a transaction's bytes wraps.
var ErrMalformed = errors.New("malformed transaction")

// ErrUnknownVersion is what DecodeTxn's error wraps if the transaction needs a newer Apply than this one. A server that meets it
// must not go on without the transaction.
var ErrUnknownVersion = errors.New("transaction of an unknown apply version")

// A transaction in the log, its numbers as (u)varints unless it says otherwise, strings and lists with their length before them:
//
//	version u8 | kind u8 | features | session i64 | time i64 | path max | auth list of (scheme, id) | body
//
//	body: error: code | createSession, attachSession: timeout, owner u8 | op: op | multi: list of op | setProperty: name, value
//	op:   type u8 | path | the fields that jute.Op names for the type
//	data and values: length+1, or 0 for null; an ACL list: length+1 and entries, or 0 for world:anyone with all permissions

// AppendTxn appends the transaction's bytes. Its operations must be of types that a transaction can carry.
func AppendTxn(dst []byte, t *Txn) []byte {
	version := t.Version
	if version == 0 {
		version = ApplyVersion
	}
	dst = append(dst, version, byte(t.Kind))
	dst = binary.AppendUvarint(dst, uint64(t.Features))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.Session))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.Time))
	dst = binary.AppendUvarint(dst, uint64(t.PathMax))
	dst = binary.AppendUvarint(dst, uint64(len(t.Auth)))
	for i := range t.Auth {
		dst = appendText(appendText(dst, t.Auth[i].Scheme), t.Auth[i].ID)
	}
	switch t.Kind {
	case KindError:
		dst = binary.AppendVarint(dst, int64(t.Code))
	case KindCreateSession, KindAttachSession:
		dst = append(binary.AppendVarint(dst, int64(t.Timeout)), t.Owner)
	case KindOp:
		dst = appendOp(dst, &t.Op)
	case KindMulti:
		dst = binary.AppendUvarint(dst, uint64(len(t.Ops)))
		for i := range t.Ops {
			dst = appendOp(dst, &t.Ops[i])
		}
	case KindSetProperty:
		dst = appendBlob(appendText(dst, t.Name), t.Value)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendBlob keeps nil apart from empty.
func appendBlob(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))+1), b...)
}

func appendACL(dst []byte, acl []jute.ACL) []byte {
	if len(acl) == 1 && acl[0] == openACL.entries[0] {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(acl))+1)
	for i := range acl {
		dst = binary.AppendVarint(dst, int64(acl[i].Perms))
		dst = appendText(appendText(dst, acl[i].ID.Scheme), acl[i].ID.ID)
	}
	return dst
}

func appendOp(dst []byte, o *jute.Op) []byte {
	dst = appendText(append(dst, byte(o.Type)), o.Path)
	switch o.Type {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		dst = binary.AppendVarint(appendACL(appendBlob(dst, o.Data), o.ACL), int64(o.Flags))
		if o.Type == jute.OpCreateTTL {
			dst = binary.AppendVarint(dst, o.TTL)
		}
	case jute.OpSetData:
		dst = binary.AppendVarint(appendBlob(dst, o.Data), int64(o.Version))
	case jute.OpSetACL:
		dst = binary.AppendVarint(appendACL(dst, o.ACL), int64(o.Version))
	case jute.OpDelete, jute.OpCheck:
		dst = binary.AppendVarint(dst, int64(o.Version))
	case jute.OpDeleteContainer:
		dst = binary.AppendVarint(dst, o.TTL)
	}
	return dst
}

// DecodeTxn overwrites t with the transaction that b holds, whole. t's strings and slices alias b, and the capacity of its lists is
// reused. The error wraps ErrMalformed or ErrUnknownVersion; t is then undefined.
func DecodeTxn(b []byte, t *Txn) error {
	d := decoder{buf: b}
	*t = Txn{Auth: t.Auth[:0], Ops: t.Ops[:0], Op: jute.Op{ACL: t.Op.ACL[:0]}}
	t.Version = d.byte()
	if d.err == nil && (t.Version == 0 || t.Version > ApplyVersion) {
		return fmt.Errorf("%w: %d, this server knows up to %d", ErrUnknownVersion, t.Version, ApplyVersion)
	}
	t.Kind = Kind(d.byte())
	t.Features = Features(d.uint32())
	t.Session, t.Time = d.fixed64(), d.fixed64()
	t.PathMax = d.uint32()
	for range d.count(2) {
		t.Auth = append(t.Auth, jute.ID{Scheme: d.text(), ID: d.text()})
	}
	switch t.Kind {
	case KindNone, KindCloseSession:
	case KindError:
		t.Code = jute.Code(d.int32())
	case KindCreateSession, KindAttachSession:
		t.Timeout, t.Owner = d.int32(), d.byte()
	case KindOp:
		d.op(&t.Op)
	case KindMulti:
		n := d.count(2)
		if n > jute.OpsMax {
			d.fail("more operations than a multi may have")
		}
		for i := 0; i < n && d.err == nil; i++ {
			if i < cap(t.Ops) {
				t.Ops = t.Ops[:i+1]
			} else {
				t.Ops = append(t.Ops, jute.Op{})
			}
			d.op(&t.Ops[i])
		}
	case KindSetProperty:
		t.Name, t.Value = d.text(), d.blob()
	default:
		d.fail("unknown kind")
	}
	if d.err == nil && len(d.buf) > 0 {
		d.fail("bytes left over")
	}
	if d.err != nil {
		return fmt.Errorf("%w, %d bytes before its end: %w", ErrMalformed, d.left, d.err)
	}
	return nil
}

// decoder takes values from the front of buf; after the first error it returns zeros. What it returns aliases buf.
type decoder struct {
	buf  []byte
	left int // bytes not yet taken at the error
	err  error
}

func (d *decoder) fail(reason string) {
	if d.err == nil {
		d.err, d.left, d.buf = errors.New(reason), len(d.buf), nil
	}
}

func (d *decoder) byte() byte {
	if len(d.buf) == 0 {
		d.fail("too short")
		return 0
	}
	v := d.buf[0]
	d.buf = d.buf[1:]
	return v
}

func (d *decoder) fixed64() int64 {
	if len(d.buf) < 8 {
		d.fail("too short")
		return 0
	}
	v := binary.BigEndian.Uint64(d.buf)
	d.buf = d.buf[8:]
	return int64(v)
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > 0xffffffff {
		d.fail("number out of range")
		return 0
	}
	return uint32(v)
}

func (d *decoder) int32() int32 {
	v := d.varint()
	if v != int64(int32(v)) {
		d.fail("number out of range")
		return 0
	}
	return int32(v)
}

// count takes the length of a list whose elements have at least size bytes each.
func (d *decoder) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.buf)/size) {
		d.fail("list longer than what is left")
		return 0
	}
	return int(v)
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.buf)) {
		d.fail("length beyond the end")
		return nil
	}
	v := d.buf[:n:n]
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) text() string {
	b := d.bytes(d.uvarint())
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (d *decoder) blob() []byte {
	n := d.uvarint()
	if n == 0 {
		return nil
	}
	return d.bytes(n - 1)
}

func (d *decoder) acl(list []jute.ACL) []jute.ACL {
	n := d.uvarint()
	if n == 0 && d.err == nil {
		return append(list, openACL.entries[0])
	}
	if n > 0 && n-1 > uint64(len(d.buf)/3) {
		d.fail("list longer than what is left")
	}
	for ; n > 1 && d.err == nil; n-- {
		list = append(list, jute.ACL{Perms: d.int32(), ID: jute.ID{Scheme: d.text(), ID: d.text()}})
	}
	return list
}

func (d *decoder) op(o *jute.Op) {
	*o = jute.Op{ACL: o.ACL[:0]}
	o.Type, o.Path = jute.OpCode(d.byte()), d.text()
	switch o.Type {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		o.Data, o.ACL, o.Flags = d.blob(), d.acl(o.ACL), d.int32()
		if o.Type == jute.OpCreateTTL {
			o.TTL = d.varint()
		}
	case jute.OpSetData:
		o.Data, o.Version = d.blob(), d.int32()
	case jute.OpSetACL:
		o.ACL, o.Version = d.acl(o.ACL), d.int32()
	case jute.OpDelete, jute.OpCheck:
		o.Version = d.int32()
	case jute.OpDeleteContainer:
		o.TTL = d.varint()
	default:
		d.fail("operation that no transaction carries")
	}
}
