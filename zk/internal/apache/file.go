package apache

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/adler32"
	"io"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

const (
	snapshotMagic = 0x5a4b534e // ZKSN
	logMagic      = 0x5a4b4c47 // ZKLG
	fileVersion   = 2
	endOfRecord   = 'B'

	// fieldBytesMax bounds a string, data or a transaction. Nothing in a file can be
	// longer than what a server took from a client, with jute.maxbuffer at its widest.
	fieldBytesMax = 1 << 30
	growStep      = 1 << 20

	transactionBytesMin = 8 + 4 + 32 + 1 // of a header alone
)

// ErrCorrupt is what errors about a file's bytes wrap.
var ErrCorrupt = errors.New("corrupt file")

// reader takes values from the front of a file and sums them up. After the first
// error it returns zeros.
type reader struct {
	r   *bufio.Reader
	sum hash.Hash32
	at  int64
	err error
	few [8]byte
}

func newReader(r io.Reader) *reader {
	return &reader{r: bufio.NewReaderSize(r, 256<<10), sum: adler32.New()}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at byte %d: %s", ErrCorrupt, r.at, fmt.Sprintf(format, args...))
	}
}

func (r *reader) read(b []byte) bool {
	if r.err != nil {
		return false
	}
	n, err := io.ReadFull(r.r, b)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			r.at += int64(n)
			r.fail("it ends too early")
		}
		if r.err == nil {
			r.err = err
		}
		return false
	}
	r.sum.Write(b)
	r.at += int64(n)
	return true
}

func (r *reader) int32() int32 {
	if !r.read(r.few[:4]) {
		return 0
	}
	return int32(binary.BigEndian.Uint32(r.few[:]))
}

func (r *reader) int8() byte {
	if !r.read(r.few[:1]) {
		return 0
	}
	return r.few[0]
}

func (r *reader) int64() int64 {
	if !r.read(r.few[:8]) {
		return 0
	}
	return int64(binary.BigEndian.Uint64(r.few[:]))
}

// buffer takes data, nil for null, into memory that grows as bytes come.
func (r *reader) buffer() []byte {
	n := r.int32()
	if n < 0 || r.err != nil {
		return nil
	}
	if n > fieldBytesMax {
		r.fail("a length of %d", n)
		return nil
	}
	b := make([]byte, 0, min(int(n), growStep))
	for len(b) < int(n) {
		from := len(b)
		b = append(b, make([]byte, min(int(n)-from, max(from, growStep)))...)
		if !r.read(b[from:]) {
			return nil
		}
	}
	return b
}

func (r *reader) string() string { return string(r.buffer()) }

// count takes the length of a list, which may be null.
func (r *reader) count() int32 { return max(0, r.int32()) }

func (r *reader) header(magic int32) {
	if got := r.int32(); r.err == nil && got != magic {
		r.at = 0
		r.fail("it begins with %08x, not %08x", uint32(got), uint32(magic))
	}
	if got := r.int32(); r.err == nil && got != fileVersion {
		r.fail("version %d, want %d", got, fileVersion)
	}
	r.int64() // dbid
}

// ReadSnapshot reads a snapshot whose name bears zxid. Memory is bounded by the
// bytes read.
func ReadSnapshot(in io.Reader, zxid int64) (*Image, error) {
	r := newReader(in)
	r.header(snapshotMagic)
	im := newImage(zxid)
	for range r.count() {
		if r.err != nil {
			break
		}
		id := r.int64()
		im.Sessions[id] = r.int32()
	}
	lists := r.lists()
	for r.err == nil {
		path := r.string()
		if path == "/" || r.err != nil {
			break
		}
		r.node(im, path, lists)
	}
	at, sum := r.at, r.sum.Sum32()
	if got := r.int64(); r.err == nil && got != int64(sum) {
		r.at = at
		r.fail("checksum %x, its contents have %x", got, sum)
	}
	if r.err == nil && im.Nodes["/"] == nil {
		r.fail("no root")
	}
	return im, r.err
}

func (r *reader) lists() map[int64][]jute.ACL {
	lists := map[int64][]jute.ACL{-1: jute.OpenACL()}
	for range r.count() {
		index := r.int64()
		var acl []jute.ACL
		for range r.count() {
			acl = append(acl, jute.ACL{Perms: r.int32(), ID: jute.ID{Scheme: r.string(), ID: r.string()}})
			if r.err != nil {
				return lists
			}
		}
		if r.err != nil {
			return lists
		}
		lists[index] = acl
	}
	return lists
}

func (r *reader) node(im *Image, path string, lists map[int64][]jute.ACL) {
	n := &Node{Data: r.buffer()}
	list := r.int64()
	n.Czxid, n.Mzxid, n.Ctime, n.Mtime = r.int64(), r.int64(), r.int64(), r.int64()
	n.Version, n.Cversion, n.Aversion = r.int32(), r.int32(), r.int32()
	n.Owner, n.Pzxid = r.int64(), r.int64()
	if r.err != nil {
		return
	}
	n.ACL = lists[list]
	if path == "" {
		path = "/"
	} else if path[0] != '/' || im.Nodes[parent(path)] == nil {
		r.fail("znode %.200q is not below one that is there", path)
		return
	}
	im.add(path, n)
}

// ReadLog applies a log to an image. With last, which says that no other log
// follows, it may end in a transaction that was not written whole.
func ReadLog(in io.ReaderAt, size int64, im *Image, last bool) error {
	r := newReader(io.NewSectionReader(in, 0, size))
	r.header(logMagic)
	for r.err == nil && r.at < size {
		at := r.at
		sum := r.int64()
		txn := r.buffer()
		if r.err == nil && len(txn) == 0 {
			return nil // what was preallocated
		}
		if r.int8() != endOfRecord {
			r.at = at
			r.fail("a transaction without its end")
			if last && errors.Is(r.err, ErrCorrupt) && !holdsTransaction(in, at+1, size) {
				return nil
			}
		}
		if r.err == nil && sum != int64(adler32.Checksum(txn)) {
			r.at = at
			r.fail("checksum of a transaction")
		}
		if r.err == nil {
			if err := im.Apply(txn); err != nil {
				r.at = at
				r.fail("%v", err)
			}
		}
	}
	return r.err
}

// holdsTransaction says whether a whole transaction begins somewhere between two
// places of a log: then what is before it was damaged, not cut short.
func holdsTransaction(in io.ReaderAt, from, to int64) bool {
	rest, err := io.ReadAll(io.NewSectionReader(in, from, to-from))
	if err != nil {
		return true
	}
	rest = bytes.TrimRight(rest, "\x00")
	for ; len(rest) > transactionBytesMin; rest = rest[1:] {
		n := int64(binary.BigEndian.Uint32(rest[8:]))
		if n == 0 || 12+n >= int64(len(rest)) || rest[12+n] != endOfRecord {
			continue
		}
		if int64(binary.BigEndian.Uint64(rest)) == int64(adler32.Checksum(rest[12:12+n])) {
			return true
		}
	}
	return false
}
