package zab

import (
	"cmp"
	"fmt"
)

// ServerID names a server of the ensemble (ZooKeeper's myid). Zero is no server.
type ServerID int64

// Zxid is a transaction id: the epoch of the leader that proposed the entry in its high 32 bits, a counter that starts
// at 1 in every epoch in its low 32. The zero Zxid precedes every entry.
type Zxid int64

// MakeZxid returns the zxid of the given epoch and counter.
func MakeZxid(epoch, counter uint32) Zxid { return Zxid(uint64(epoch)<<32 | uint64(counter)) }

// Epoch returns the epoch of z.
func (z Zxid) Epoch() uint32 { return uint32(uint64(z) >> 32) }

// Counter returns the position of z in its epoch.
func (z Zxid) Counter() uint32 { return uint32(uint64(z)) }

// String formats z as (epoch,counter), both in decimal.
func (z Zxid) String() string { return fmt.Sprintf("(%d,%d)", z.Epoch(), z.Counter()) }

// Entry is one transaction of the replicated log. Data is opaque to this package and immutable: whoever hands it in
// never writes to it again, and whoever reads it never writes to it at all.
type Entry struct {
	Zxid Zxid
	Data []byte
}

// Vote is what an election compares: first the current epoch of the proposed leader, then the last zxid of its durable
// log, then its id; the greatest wins.
type Vote struct {
	Epoch  uint32
	Zxid   Zxid
	Leader ServerID
}

// Compare orders votes; it is positive if v is the better one.
func (v Vote) Compare(w Vote) int {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Zxid, w.Zxid), cmp.Compare(v.Leader, w.Leader))
}

// ahead reports whether v's history is ahead of w's, whatever their ids.
func (v Vote) ahead(w Vote) bool {
	return cmp.Or(cmp.Compare(v.Epoch, w.Epoch), cmp.Compare(v.Zxid, w.Zxid)) > 0
}

// String formats v as leader@epoch:zxid.
func (v Vote) String() string { return fmt.Sprintf("%d@%d:%v", v.Leader, v.Epoch, v.Zxid) }

// State is what a peer is doing.
type State uint8

// The states of a peer. The zero State is Looking.
const (
	Looking   State = iota // takes part in an election, or waits for a leader
	Following              // a learner of Role.Leader
	Leading                // the leader, or about to become it
	Failed                 // a durable write failed, or histories diverged: the peer does nothing any more
)

// String returns the state's name in capitals, as ZooKeeper writes it.
func (s State) String() string {
	switch s {
	case Looking:
		return "LOOKING"
	case Following:
		return "FOLLOWING"
	case Leading:
		return "LEADING"
	case Failed:
		return "FAILED"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Snapshot is a handle on a copy of the state machine. The core passes it on unseen, but for the zxid of the last entry
// in it and the configuration.
type Snapshot interface {
	Zxid() Zxid
	// Membership is the configuration as of then; nil: Config.Initial.
	Membership() *Membership
}
