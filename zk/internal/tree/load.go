package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// ErrCorrupt is what every error about a snapshot's bytes wraps.
var ErrCorrupt = errors.New("corrupt snapshot")

// Loader makes a Tree of a snapshot's bytes as they come. It allocates in proportion to the bytes received, never to what they announce.
// One goroutine at a time uses it.
type Loader struct {
	t       *Tree
	buf     []byte // received and not yet understood
	offset  int64  // of buf in the snapshot
	started bool
	ended   bool
	err     error
	digest  uint64
	chunks  uint32
	path    []byte // of the last znode
	acl     *ACL
	aclBuf  []jute.ACL

	sessions, properties, znodes uint64
}

// NewLoader returns a Loader of a tree with this configuration.
func NewLoader(cfg Config) *Loader {
	t := newEmpty(cfg)
	t.frozen = -1 // nobody sees the tree before it is complete, so nothing needs copying
	return &Loader{t: t}
}

// Write takes more of the snapshot, in pieces of any size. Its error, which every later call returns again, wraps ErrCorrupt. p is
// not kept.
func (l *Loader) Write(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	l.buf = append(l.buf, p...)
	used := 0
	for l.err == nil {
		n := l.step(l.buf[used:])
		if n == 0 {
			break
		}
		used += n
	}
	l.buf = l.buf[:copy(l.buf, l.buf[used:])]
	l.offset += int64(used)
	if l.err != nil {
		return 0, l.err
	}
	return len(p), nil
}

// Finish returns the tree, its state published, once the snapshot is complete. The Loader must not be used any more.
func (l *Loader) Finish() (*Tree, error) {
	t := l.t
	switch {
	case l.err != nil:
	case !l.ended:
		l.fail("it ends too early")
	case len(l.buf) > 0:
		l.fail("bytes after its end")
	case t.digest != l.digest:
		l.fail(fmt.Sprintf("digest %016x, its contents have %016x", l.digest, t.digest))
	}
	for _, p := range []string{rootPath, zkPath, quotaPath, configPath} {
		if _, v := t.lookup(p); v == nil && l.err == nil {
			l.fail("no znode " + p)
		}
	}
	if l.err != nil {
		return nil, l.err
	}
	t.frozen = t.zxid
	t.show()
	return t, nil
}

func (l *Loader) fail(reason string) {
	if l.err == nil {
		l.err = fmt.Errorf("%w: at byte %d: %s", ErrCorrupt, l.offset, reason)
	}
}

// step understands the header or a chunk at the front of b, and returns its length, 0 if it is not all there.
func (l *Loader) step(b []byte) int {
	if !l.started {
		if len(b) < headerSize {
			return 0
		}
		l.header(b[:headerSize])
		return headerSize
	}
	if len(b) < chunkHeader {
		return 0
	}
	size := int64(binary.BigEndian.Uint32(b))
	if l.ended || size > chunkBytesMax {
		l.fail(fmt.Sprintf("a chunk of %d bytes", size))
		return 0
	}
	if int64(len(b)) < chunkHeader+size {
		return 0
	}
	payload := b[chunkHeader : chunkHeader+size]
	if binary.BigEndian.Uint32(b[4:]) != chunkSum(l.chunks, payload) {
		l.fail("checksum of a chunk")
		return 0
	}
	l.chunks++
	d := decoder{buf: payload}
	for len(d.buf) > 0 && d.err == nil {
		l.record(&d)
	}
	if d.err != nil {
		l.fail(fmt.Sprintf("record in the chunk of %d bytes, %d before its end: %v", size, d.left, d.err))
	}
	return chunkHeader + int(size)
}

func (l *Loader) header(b []byte) {
	l.started = true
	n := len(snapshotMagic)
	zxid := int64(binary.BigEndian.Uint64(b[n:]))
	switch {
	case string(b[:n-1]) != snapshotMagic[:n-1]:
		l.fail("not a snapshot")
	case b[n-1] != snapshotMagic[n-1]:
		l.fail(fmt.Sprintf("format %d, this server knows %d", b[n-1], snapshotMagic[n-1]))
	case binary.BigEndian.Uint32(b[headerSize-4:]) != crc32.Checksum(b[:headerSize-4], castagnoli):
		l.fail("checksum of the header")
	case zxid < 0:
		l.fail("negative zxid")
	default:
		l.t.zxid, l.t.applied = zxid, zxid
		l.digest = binary.BigEndian.Uint64(b[n+8:])
	}
}

func (l *Loader) record(d *decoder) {
	typ := d.byte()
	switch {
	case l.ended:
		d.fail("record after the end")
	case typ == recordSession:
		l.session(d)
	case typ == recordProperty:
		l.property(d)
	case typ == recordZnode:
		l.znode(d)
	case typ == recordEnd:
		if d.uvarint() != l.sessions || d.uvarint() != l.properties || d.uvarint() != l.znodes {
			d.fail("not as many records as announced")
		}
		l.ended = true
	default:
		d.fail("unknown record")
	}
}

func (l *Loader) session(d *decoder) {
	l.sessions++
	e := l.t.newEntry(sessionsRoot + string(d.bytes(8)))
	v := &version{znode: znode{kind: kindSession, owner: d.varint(), aver: int32(d.byte()), czxid: d.varint(), ctime: d.varint()}}
	if d.err == nil && (v.owner != int64(int32(v.owner)) || sessionID(e.path) == 0) {
		d.fail("impossible session")
	}
	l.plant(d, e, v)
}

func (l *Loader) property(d *decoder) {
	l.properties++
	e := l.t.newEntry(propertiesRoot + d.text())
	v := &version{znode: znode{kind: kindProperty, data: bytes.Clone(d.blob()), mzxid: d.varint()}}
	if d.err == nil && (len(e.path) == len(propertiesRoot) || v.data == nil) {
		d.fail("impossible property")
	}
	l.plant(d, e, v)
}

// plant puts what a record describes into the tree, unless it is there.
func (l *Loader) plant(d *decoder, e *entry, v *version) {
	switch {
	case d.err != nil:
	case l.t.table.find(e.path) != nil:
		d.fail("entry twice")
	default:
		l.t.plant(e, v)
	}
}

func (l *Loader) znode(d *decoder) {
	l.znodes++
	shared := d.uvarint()
	rest := d.bytes(d.uvarint())
	if d.err == nil && (shared > uint64(len(l.path)) || int(shared)+len(rest) > pathBytesMax) {
		d.fail("impossible path")
	}
	if d.err != nil {
		return
	}
	l.path = append(l.path[:shared], rest...)
	v := &version{}
	v.data = bytes.Clone(d.blob())
	v.acl = l.znodeACL(d)
	v.kind = nodeKind(d.byte())
	for _, n := range []*int64{&v.czxid, &v.mzxid, &v.pzxid, &v.ctime, &v.mtime} {
		*n = d.varint()
	}
	v.version, v.creates, v.aver, v.owner = d.int32(), d.int32(), d.int32(), d.varint()
	if d.err != nil {
		return
	}
	e := l.t.newEntry(string(l.path))
	if reason := l.impossible(e.path, v); reason != "" {
		d.fail(reason)
		return
	}
	l.plant(d, e, v)
}

// impossible says what keeps a znode from being where it is.
func (l *Loader) impossible(path string, v *version) string {
	if !ValidPath(path) {
		return "impossible path"
	}
	switch {
	case v.kind > kindTTL, (v.kind == kindPersistent || v.kind == kindContainer) && v.owner != 0,
		v.kind == kindTTL && (v.owner <= 0 || v.owner > ttlMax):
		return "impossible kind or owner"
	case v.kind == kindEphemeral && l.t.session(v.owner) == nil:
		return "ephemeral without its session"
	}
	if path == rootPath {
		return ""
	}
	switch _, parent := l.t.lookup(parentPath(path)); {
	case parent == nil:
		return "znode without its parent"
	case parent.kind == kindEphemeral:
		return "child of an ephemeral"
	}
	return ""
}

func (l *Loader) znodeACL(d *decoder) *ACL {
	if len(d.buf) > 0 && d.buf[0] == 1 {
		d.byte()
		if l.acl == nil {
			d.fail("no access control list to repeat")
		}
		return l.acl
	}
	open := len(d.buf) > 0 && d.buf[0] == 0
	l.aclBuf = d.acl(l.aclBuf[:0])
	switch {
	case open:
		return openACL
	case d.err != nil || len(l.aclBuf) == 0 || len(l.aclBuf) > aclEntriesMax:
		d.fail("no access control list")
		return nil
	}
	l.acl = l.t.intern(l.aclBuf)
	return l.acl
}
