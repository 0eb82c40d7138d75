package zab

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The encoding of a message:
//
//	type 1 | flags 1 | state 1 | fields 1 | from uvarint | to uvarint | the fields whose bit is set, in this order:
//	  0x01 session 8    0x02 round uvarint    0x04 epoch uvarint    0x08 vote: epoch uvarint, zxid 8, leader uvarint
//	  0x10 zxid 8       0x20 prev 8           0x40 commit 8
//	  0x80 entries: count uvarint, then for each zxid 8, length uvarint, data
//	       tails (ACKEPOCH has these instead): count uvarint, then for each zxid 8
//
// Fixed-width integers are big endian. A field is there if and only if it is not zero, and uvarints are minimal, so a message has exactly
// one encoding. What a later version adds goes into new types or behind new flags; which
// version a peer speaks is agreed upon when the connection is set up, by the shell.

// Bits of the fields byte.
const (
	hasSession = 1 << iota
	hasRound
	hasEpoch
	hasVote
	hasZxid
	hasPrev
	hasCommit
	hasList
)

// ErrMessage is wrapped by the errors of DecodeMessage.
var ErrMessage = errors.New("zab: malformed message")

// AppendMessage appends the encoding of m to dst and returns the extended slice. Snapshot is not encoded, nor are
// Entries of an ACKEPOCH or Tails of anything else. It is safe for concurrent use.
func AppendMessage(dst []byte, m *Message) []byte {
	var fields byte
	set := func(bit byte, ok bool) {
		if ok {
			fields |= bit
		}
	}
	list := len(m.Entries)
	if m.Type == MsgAckEpoch {
		list = len(m.Tails)
	}
	set(hasSession, m.Session != 0)
	set(hasRound, m.Round != 0)
	set(hasEpoch, m.Epoch != 0)
	set(hasVote, m.Vote != Vote{})
	set(hasZxid, m.Zxid != 0)
	set(hasPrev, m.Prev != 0)
	set(hasCommit, m.Commit != 0)
	set(hasList, list != 0)

	dst = append(dst, byte(m.Type), byte(m.Flags), byte(m.State), fields)
	dst = binary.AppendUvarint(dst, uint64(m.From))
	dst = binary.AppendUvarint(dst, uint64(m.To))
	if fields&hasSession != 0 {
		dst = binary.BigEndian.AppendUint64(dst, m.Session)
	}
	if fields&hasRound != 0 {
		dst = binary.AppendUvarint(dst, m.Round)
	}
	if fields&hasEpoch != 0 {
		dst = binary.AppendUvarint(dst, uint64(m.Epoch))
	}
	if fields&hasVote != 0 {
		dst = binary.AppendUvarint(dst, uint64(m.Vote.Epoch))
		dst = appendZxid(dst, m.Vote.Zxid)
		dst = binary.AppendUvarint(dst, uint64(m.Vote.Leader))
	}
	for bit, z := range m.zxids() {
		if fields&(hasZxid<<bit) != 0 {
			dst = appendZxid(dst, z)
		}
	}
	if list == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(list))
	if m.Type == MsgAckEpoch {
		for _, z := range m.Tails {
			dst = appendZxid(dst, z)
		}
		return dst
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		dst = appendZxid(dst, e.Zxid)
		dst = binary.AppendUvarint(dst, uint64(len(e.Data)))
		dst = append(dst, e.Data...)
	}
	return dst
}

func (m *Message) zxids() [3]Zxid { return [3]Zxid{m.Zxid, m.Prev, m.Commit} }

func appendZxid(dst []byte, z Zxid) []byte { return binary.BigEndian.AppendUint64(dst, uint64(z)) }

// DecodeMessage decodes b, which must be one whole message and nothing else. The message's data alias b, which therefore
// belongs to the message from now on. It allocates at most 8 bytes for each byte of b. It is safe for concurrent use. Errors wrap ErrMessage.
func DecodeMessage(b []byte) (Message, error) {
	r := reader{b: b}
	m := Message{Type: MessageType(r.byte()), Flags: Flags(r.byte()), State: State(r.byte())}
	fields := r.byte()
	m.From, m.To = ServerID(r.uvarint(maxID)), ServerID(r.uvarint(maxID))
	if fields&hasSession != 0 {
		m.Session = r.nonzero(r.uint64())
	}
	if fields&hasRound != 0 {
		m.Round = r.nonzero(r.uvarint(1<<64 - 1))
	}
	if fields&hasEpoch != 0 {
		m.Epoch = uint32(r.nonzero(r.uvarint(epochMax)))
	}
	if fields&hasVote != 0 {
		m.Vote = Vote{Epoch: uint32(r.uvarint(epochMax)), Zxid: r.zxid(), Leader: ServerID(r.uvarint(maxID))}
		r.check(m.Vote != Vote{}, "a field is there but zero")
	}
	if fields&hasZxid != 0 {
		m.Zxid = Zxid(r.nonzero(uint64(r.zxid())))
	}
	if fields&hasPrev != 0 {
		m.Prev = Zxid(r.nonzero(uint64(r.zxid())))
	}
	if fields&hasCommit != 0 {
		m.Commit = Zxid(r.nonzero(uint64(r.zxid())))
	}
	r.check(m.Type > 0 && m.Type < msgTypeEnd, "unknown type")
	r.check(m.Flags&^flagsAll == 0, "unknown flags")
	r.check(m.State <= Failed, "unknown state")
	if fields&hasList != 0 {
		r.list(&m)
	}
	r.check(len(r.b) == 0, "bytes after the end")
	if r.err != nil {
		return Message{}, fmt.Errorf("%w: %w", ErrMessage, r.err)
	}
	return m, nil
}

const maxID = 1<<63 - 1

// reader reads from the front of b; after the first error it yields zeros.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("too short")

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) check(ok bool, what string) {
	if !ok && r.err == nil {
		r.fail(errors.New(what))
	}
}

func (r *reader) bytes(n uint64) []byte {
	if uint64(len(r.b)) < n {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) zxid() Zxid {
	z := Zxid(r.uint64())
	r.check(z >= 0, "negative zxid")
	return z
}

func (r *reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	switch {
	case r.err != nil:
		return 0
	case n <= 0:
		r.fail(errShort)
		return 0
	case v > limit:
		r.fail(fmt.Errorf("number %d above %d", v, limit))
		return 0
	case n > 1 && r.b[n-1] == 0:
		r.fail(errors.New("number is not in its shortest form"))
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) nonzero(v uint64) uint64 {
	r.check(v != 0, "a field is there but zero")
	return v
}

func (r *reader) list(m *Message) {
	size := uint64(9) // the least of an entry
	if m.Type == MsgAckEpoch {
		size = 8
	}
	n := r.nonzero(r.uvarint(uint64(len(r.b)) / size))
	if r.err != nil {
		return
	}
	if m.Type == MsgAckEpoch {
		r.check(n <= tailsMax, "too many tails")
		for i := uint64(0); i < n && r.err == nil; i++ {
			m.Tails = append(m.Tails, r.zxid())
		}
		return
	}
	m.Entries = make([]Entry, n)
	for i := range m.Entries {
		e := &m.Entries[i]
		e.Zxid = r.zxid()
		if size := r.uvarint(uint64(len(r.b))); size > 0 {
			e.Data = r.bytes(size)
		}
	}
}
