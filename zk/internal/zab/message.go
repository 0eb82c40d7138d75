package zab

import "fmt"

// MessageType says what a Message means and which of its fields count.
type MessageType uint8

// The messages between peers. In brackets the fields used besides Type, From and To.
const (
	// MsgNotification: what the sender thinks in the election [State, Round, Vote, Epoch (of its leader), Commit (the
	// version of the newest configuration that it knows to be committed), Flags: FlagAsk, FlagVoter, FlagEstablished].
	MsgNotification MessageType = iota + 1
	// MsgFollowerInfo, learner → leader: opens a session [Session, Epoch (accepted), Round, Flags: FlagVoter].
	MsgFollowerInfo
	// MsgLeaderInfo, leader → learner: the epoch to accept [Session, Epoch].
	MsgLeaderInfo
	// MsgAckEpoch, learner → leader: accepted, durably; and what its log holds [Session, Epoch, Vote (current epoch and
	// last zxid), Prev (start of the log), Tails (last zxid of each epoch in the log), Flags: FlagPromise].
	MsgAckEpoch
	// MsgDiff, leader → learner: keep your log, what it lacks follows [Session, Epoch, Zxid (the end of its log)].
	MsgDiff
	// MsgTrunc, leader → learner: remove all above Zxid, what is lacking then follows [Session, Epoch, Zxid].
	MsgTrunc
	// MsgSnap, leader → learner: remove all above Prev, install the snapshot, what it lacks follows [Session, Epoch,
	// Zxid (of the snapshot), Prev, Snapshot]. The shell streams the snapshot's bytes beside the message.
	MsgSnap
	// MsgNewLeader, leader → learner: the history up to Zxid is complete; make it durable, then Epoch current, then
	// acknowledge [Session, Epoch, Zxid].
	MsgNewLeader
	// MsgUpToDate, leader → learner: a quorum has acknowledged MsgNewLeader; serve [Session, Epoch, Commit].
	MsgUpToDate
	// MsgProposal, leader → learner: entries that follow Prev [Session, Epoch, Prev, Entries, Commit].
	MsgProposal
	// MsgAck, learner → leader: all up to Zxid is durable here; the first of a session acknowledges MsgNewLeader
	// [Session, Epoch, Zxid].
	MsgAck
	// MsgCommit, leader → learner: all up to Commit is committed [Session, Epoch, Commit].
	MsgCommit
	// MsgPing, leader → learner [Session, Epoch, Round, Zxid (the last entry sent), Commit, Flags: FlagNewLeader if
	// MsgNewLeader was sent, FlagEstablished if MsgUpToDate was sent].
	MsgPing
	// MsgPong, learner → leader [Session, Epoch, Round (of the ping), Zxid (durable, once acknowledged), Flags:
	// FlagSynced once MsgNewLeader is acknowledged].
	MsgPong
	// MsgReset, leader → learner: there is no such session, open another [Session].
	MsgReset

	msgTypeEnd
)

var msgNames = [...]string{
	MsgNotification: "NOTIFICATION", MsgFollowerInfo: "FOLLOWERINFO", MsgLeaderInfo: "LEADERINFO", MsgAckEpoch: "ACKEPOCH",
	MsgDiff: "DIFF", MsgTrunc: "TRUNC", MsgSnap: "SNAP", MsgNewLeader: "NEWLEADER", MsgUpToDate: "UPTODATE",
	MsgProposal: "PROPOSAL", MsgAck: "ACK", MsgCommit: "COMMIT", MsgPing: "PING", MsgPong: "PONG", MsgReset: "RESET",
}

// String returns the type's name as ZooKeeper writes it.
func (t MessageType) String() string {
	if t > 0 && t < msgTypeEnd {
		return msgNames[t]
	}
	return fmt.Sprintf("MessageType(%d)", uint8(t))
}

// Flags of a Message.
type Flags uint8

// The flags; MessageType says where each has a meaning.
const (
	FlagAsk         Flags = 1 << iota // the sender wants a notification back
	FlagVoter                         // the sender's vote counts (R3)
	FlagEstablished                   // the leader is established
	FlagPromise                       // the epoch was accepted from this very leader
	FlagSynced                        // the learner has acknowledged MsgNewLeader
	FlagNewLeader                     // MsgNewLeader was sent

	flagsAll = FlagAsk | FlagVoter | FlagEstablished | FlagPromise | FlagSynced | FlagNewLeader
)

// Message is what peers send one another. It may be lost; between two peers messages of one connection keep their order.
// Session, chosen by the learner, fences everything between a leader and a learner against earlier connections.
// The slices belong to whoever made the message and are never written to again: the sender aliases its history.
type Message struct {
	Type     MessageType
	State    State
	Flags    Flags
	From, To ServerID
	Session  uint64
	Round    uint64
	Epoch    uint32
	Vote     Vote
	Zxid     Zxid
	Prev     Zxid
	Commit   Zxid
	Entries  []Entry
	Tails    []Zxid
	// Snapshot is set by the leader's shell's answer and, at the learner, by the shell once the bytes are all there.
	// It is not encoded.
	Snapshot Snapshot
}

func (f Flags) has(x Flags) bool { return f&x != 0 }
