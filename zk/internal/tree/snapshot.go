package tree

import (
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"

	"github.com/vivarium-go/vivarium/internal/invariant"
)

// The bytes of a snapshot. They are a function of the state alone and of the chunk size asked for.
//
//	header: "vivtree" | format u8 = 2 | zxid i64 | digest u64 | CRC-32C of all that u32
//	chunk:  length u32 | CRC-32C of the chunk's number u32 and its payload u32 | payload: whole records
//
// Records, their numbers as (u)varints, strings with their length before them, data with its length+1, or 0 for null:
//
//	'S' id i64 | timeout | owner u8 | czxid | ctime                          sessions, by id
//	'P' name | value | mzxid                                                 properties, by name
//	'N' bytes shared with the path before | the path's rest | data | acl     znodes, parents first, siblings by name
//	    | kind u8 | czxid | mzxid | pzxid | ctime | mtime | version | creates | aversion | owner
//	'E' sessions | properties | znodes                                       the end, their numbers
//
// acl is 0 for world:anyone with all permissions, 1 for the last list that was written, else the number of entries + 1, then entries.
// Integers are big endian.
const (
	snapshotMagic  = "vivtree\x02"
	headerSize     = len(snapshotMagic) + 20
	chunkHeader    = 8
	chunkBytesMax  = 1 << 30
	chunkBytesMin  = 4 << 10
	recordSession  = 'S'
	recordProperty = 'P'
	recordZnode    = 'N'
	recordEnd      = 'E'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot is the state at one zxid, pinned while the tree moves on. One goroutine at a time encodes it, any one. It holds on to the versions
// that it needs until it is closed.
type Snapshot struct {
	t      *Tree
	zxid   int64
	digest uint64
	closed atomic.Bool

	walk       []walkFrame
	started    bool
	done       bool
	chunks     uint32
	path       string // of the last znode
	acl        *ACL   // the last one written
	sessions   uint64
	properties uint64
	znodes     uint64
}

// walkFrame is a child set being walked: a window of entries, refilled behind the last.
type walkFrame struct {
	set    *childSet
	window []*entry
	next   int
}

const walkWindow = 64

// Snapshot pins the state at Applied, published or not. It belongs to the writer and costs O(1).
func (t *Tree) Snapshot() *Snapshot {
	s := &Snapshot{t: t, zxid: t.applied, digest: t.digest}
	t.dropClosedPins()
	t.pins = append(t.pins, s)
	t.frozen = t.applied
	return s
}

// Zxid returns the last transaction that the snapshot contains.
func (s *Snapshot) Zxid() int64 { return s.zxid }

// Digest returns the digest of the state.
func (s *Snapshot) Digest() uint64 { return s.digest }

// Close lets go of the snapshot. It is idempotent and safe for concurrent use, but not with Append.
func (s *Snapshot) Close() { s.closed.Store(true) }

// Append appends the next chunk of about chunkBytes, 4 KiB at least, to dst, before the first one the header, and reports whether there
// are more. A snapshot is encoded once, from beginning to end.
func (s *Snapshot) Append(dst []byte, chunkBytes int) ([]byte, bool) {
	invariant.Check(!s.closed.Load(), "encoding a closed snapshot")
	if s.done {
		return dst, false
	}
	if !s.started {
		s.started = true
		dst = s.appendHeader(dst)
		s.push(s.t.sessions, s.t.props)
	}
	start := len(dst)
	dst = append(dst, make([]byte, chunkHeader)...)
	for len(dst)-start-chunkHeader < max(chunkBytes, chunkBytesMin) && !s.done {
		dst = s.appendNext(dst)
	}
	payload := dst[start+chunkHeader:]
	binary.BigEndian.PutUint32(dst[start:], uint32(len(payload)))
	binary.BigEndian.PutUint32(dst[start+4:], chunkSum(s.chunks, payload))
	s.chunks++
	return dst, !s.done
}

// chunkSum ties a chunk to its place.
func chunkSum(number uint32, payload []byte) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, payload)
}

func (s *Snapshot) appendHeader(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, snapshotMagic...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.zxid))
	dst = binary.BigEndian.AppendUint64(dst, s.digest)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// push prepares to walk the sets of entries, the first of them first.
func (s *Snapshot) push(entries ...*entry) {
	for i := len(entries) - 1; i >= 0; i-- {
		if kids := s.at(entries[i]).kids; kids.len() > 0 {
			s.walk = append(s.walk, walkFrame{set: kids})
		}
	}
}

func (s *Snapshot) at(e *entry) *version {
	v, _ := e.at(s.zxid)
	if v == nil || v.deleted {
		invariant.Check(false, "snapshot of zxid %#x lost %q", s.zxid, e.path)
	}
	return v
}

// next returns the next entry of the walk, nil at its end.
func (s *Snapshot) next() *entry {
	for len(s.walk) > 0 {
		f := &s.walk[len(s.walk)-1]
		if f.next == len(f.window) {
			var last *entry
			if f.next > 0 {
				last = f.window[f.next-1]
			}
			f.window, f.next = f.set.after(f.window[:0], last, walkWindow), 0
		}
		if f.next < len(f.window) {
			f.next++
			return f.window[f.next-1]
		}
		s.walk = s.walk[:len(s.walk)-1]
	}
	return nil
}

// appendNext appends one record.
func (s *Snapshot) appendNext(dst []byte) []byte {
	e := s.next()
	if e == nil && s.znodes == 0 {
		e = s.t.root
	}
	if e == nil {
		s.done = true
		dst = append(dst, recordEnd)
		dst = binary.AppendUvarint(dst, s.sessions)
		dst = binary.AppendUvarint(dst, s.properties)
		return binary.AppendUvarint(dst, s.znodes)
	}
	v := s.at(e)
	switch v.kind {
	case kindSession:
		s.sessions++
		dst = append(append(dst, recordSession), e.path[len(sessionsRoot):]...)
		dst = append(binary.AppendVarint(dst, v.owner), byte(v.aver))
		dst = binary.AppendVarint(dst, v.czxid)
		return binary.AppendVarint(dst, v.ctime)
	case kindProperty:
		s.properties++
		dst = appendText(append(dst, recordProperty), e.path[len(propertiesRoot):])
		return binary.AppendVarint(appendBlob(dst, v.data), v.mzxid)
	}
	s.znodes++
	s.push(e)
	return s.appendZnode(dst, e.path, v)
}

func (s *Snapshot) appendZnode(dst []byte, path string, v *version) []byte {
	shared := 0
	for shared < min(len(path), len(s.path)) && path[shared] == s.path[shared] {
		shared++
	}
	s.path = path
	dst = binary.AppendUvarint(append(dst, recordZnode), uint64(shared))
	dst = appendBlob(appendText(dst, path[shared:]), v.data)
	switch {
	case v.acl == openACL:
		dst = append(dst, 0)
	case v.acl.same(s.acl):
		dst = append(dst, 1)
	default:
		s.acl = v.acl
		dst = appendACL(dst, v.acl.entries)
	}
	dst = append(dst, byte(v.kind))
	for _, n := range [...]int64{
		v.czxid, v.mzxid, v.pzxid, v.ctime, v.mtime, int64(v.version), int64(v.creates), int64(v.aver), v.owner,
	} {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}
