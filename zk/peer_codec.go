package zk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// The peer protocol is ours: ensembles are not mixed with Apache's servers.
//
// Each server dials each other one and sends on that connection only, so that
// a pair has two connections, one for each direction. A connection begins with a
// hello; after it frames follow: a length (4 bytes, of what comes after it),
// a kind (1 byte) and a body.
//
//	hello     see peer_hello.go
//	frameZab  a zab message
//	frameSnap a zab SNAP message, to which the chunks up to an empty one belong
//	frameChunk bytes of a snapshot
//	frameWork  work between a server and its leader, see peerWork
const (
	frameZab   = 1
	frameSnap  = 2
	frameChunk = 3
	frameWork  = 4

	peerFrameBytesMax = 128 << 20 // a PROPOSAL is bounded by the batch limit and one largest request
	snapChunkBytes    = 256 << 10
)

var errPeerFrame = errors.New("zk: malformed frame of a peer")

// beginPeerFrame appends room for the length, and the kind.
func beginPeerFrame(dst []byte, kind byte) []byte { return append(dst, 0, 0, 0, 0, kind) }

func endPeerFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// workKind says what a server and its leader do for clients, beside agreement.
type workKind uint8

const (
	workFence    workKind = iota + 1 // → leader: from now on only work under Nonce is mine
	workFenced                       // ← leader: what you sent before has a zxid up to Zxid, or none at all
	workWrite                        // → leader: propose Data, a transaction, as Seq
	workSync                         // → leader: confirm that you lead
	workRejected                     // ← leader: Seq was not proposed, because of Code
	workSynced                       // ← leader: Seq is answered once Zxid is applied
	workTouch                        // → leader: Sessions were heard of
	workReconfig                     // → leader: propose the configuration that Data, a transaction with the request, asks for, as Seq
	workPoll                         // → anybody: my tree's digest at Zxid is Seq, what is yours?
	workDigest                       // ← it is Seq
	workNoDigest                     // ← I do not know any more

	workKindEnd
)

// peerWork is one piece of that work. Nonce fences it: a server picks a new one
// whenever it has synchronized with a leader, and the leader drops what bears
// another. Seq numbers the requests of one server; Index counts what was sent
// under a nonce, so that nothing behind a loss is taken.
type peerWork struct {
	Kind     workKind
	Nonce    uint64
	Index    uint64
	Seq      uint64
	Zxid     zab.Zxid
	Session  int64
	Code     jute.Code
	Sessions []int64
	Data     []byte
}

func appendWork(dst []byte, w *peerWork) []byte {
	dst = append(dst, byte(w.Kind))
	dst = binary.BigEndian.AppendUint64(dst, w.Nonce)
	dst = binary.BigEndian.AppendUint64(dst, w.Index)
	dst = binary.BigEndian.AppendUint64(dst, w.Seq)
	dst = jute.AppendInt64(dst, int64(w.Zxid))
	dst = jute.AppendInt64(dst, w.Session)
	dst = jute.AppendInt32(dst, int32(w.Code))
	dst = jute.AppendInt32(dst, int32(len(w.Sessions)))
	for _, s := range w.Sessions {
		dst = jute.AppendInt64(dst, s)
	}
	return append(dst, w.Data...)
}

// decodeWork takes what appendWork wrote; Data aliases b.
func decodeWork(b []byte) (w peerWork, err error) {
	if len(b) == 0 || b[0] == 0 || workKind(b[0]) >= workKindEnd {
		return w, fmt.Errorf("%w: kind of work", errPeerFrame)
	}
	r := jute.NewReader(b[1:])
	w = peerWork{
		Kind: workKind(b[0]), Nonce: uint64(r.Int64()), Index: uint64(r.Int64()), Seq: uint64(r.Int64()), Zxid: zab.Zxid(r.Int64()),
		Session: r.Int64(), Code: jute.Code(r.Int32()),
	}
	for range r.Count(8) {
		w.Sessions = append(w.Sessions, r.Int64())
	}
	w.Data = r.Rest()
	return w, r.Err()
}

// envelope is what an entry of the history holds beside its transaction.
//
// Origin and Seq lead the outcome back to the request that waits for it. The
// digest is the proposer's own at an earlier zxid: whoever has another one
// there asks who is right (P10).
type envelope struct {
	Origin     zab.ServerID
	Seq        uint64
	DigestZxid zab.Zxid
	Digest     uint64
}

const (
	entryVersion = 1 // of the envelope; the transaction has its own
	// entryVersionConfig is that of an entry whose transaction makes a configuration.
	entryVersionConfig = 2
	envelopeBytes      = 1 + 4*8
)

func appendEnvelope(dst []byte, e envelope) []byte {
	return appendEnvelopeVersion(dst, entryVersion, e)
}

func appendEnvelopeVersion(dst []byte, version byte, e envelope) []byte {
	dst = append(dst, version)
	dst = jute.AppendInt64(dst, int64(e.Origin))
	dst = binary.BigEndian.AppendUint64(dst, e.Seq)
	dst = jute.AppendInt64(dst, int64(e.DigestZxid))
	return binary.BigEndian.AppendUint64(dst, e.Digest)
}

// cutEnvelope takes an entry apart; txn aliases b.
func cutEnvelope(b []byte) (e envelope, txn []byte, err error) {
	if len(b) < envelopeBytes || b[0] != entryVersion && b[0] != entryVersionConfig {
		return e, nil, fmt.Errorf("zk: entry of %d bytes has no envelope of version %d", len(b), entryVersion)
	}
	e.Origin = zab.ServerID(binary.BigEndian.Uint64(b[1:]))
	e.Seq = binary.BigEndian.Uint64(b[9:])
	e.DigestZxid = zab.Zxid(binary.BigEndian.Uint64(b[17:]))
	e.Digest = binary.BigEndian.Uint64(b[25:])
	return e, b[envelopeBytes:], nil
}
