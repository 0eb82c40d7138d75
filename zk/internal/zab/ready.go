package zab

// WriteID numbers the durable writes of one Peer, from 1, without gaps.
type WriteID uint64

// WriteKind says what a Write does.
type WriteKind uint8

// The durable writes.
const (
	// WriteEntries appends Entries to the log.
	WriteEntries WriteKind = iota + 1
	// WriteAcceptedEpoch stores Epochs, whose Accepted is new.
	WriteAcceptedEpoch
	// WriteCurrentEpoch stores Epochs, whose Current, and after a wipe Voter, is new.
	WriteCurrentEpoch
	// WriteTruncate removes from the log all entries above Truncate. None of them was ever handed out as
	// committed.
	WriteTruncate
	// WriteSnapshot first removes from the log all entries above Truncate, durably, then makes Snapshot the
	// state machine's durable and live state, then empties the log; the next entry comes after Snapshot.Zxid. A
	// crash between these steps is harmless if recovery takes the newest snapshot and only log entries above it.
	WriteSnapshot
)

var writeNames = [...]string{
	WriteEntries: "entries", WriteAcceptedEpoch: "acceptedEpoch", WriteCurrentEpoch: "currentEpoch",
	WriteTruncate: "truncate", WriteSnapshot: "snapshot",
}

// String returns the kind's name.
func (k WriteKind) String() string {
	if k > 0 && int(k) < len(writeNames) {
		return writeNames[k]
	}
	return "unknown write"
}

// Epochs is the whole content of a server's epoch file. It is replaced atomically.
type Epochs struct {
	// Accepted is the greatest epoch whose leader this server promised to follow.
	Accepted uint32
	// Current is the greatest epoch whose history this server holds.
	Current uint32
	// Voter is the mark of R3: the server holds all that it ever acknowledged. Recovered.HasEpochs is this mark.
	Voter bool
}

// Write is one durable write. The shell performs it whole, makes it durable, and calls Peer.Persisted; writes
// are performed in the order in which they are handed out, of which there is at most one at a time.
type Write struct {
	ID       WriteID
	Kind     WriteKind
	Entries  []Entry  // WriteEntries: in order, following the log's end; aliases history, never written to again
	Epochs   Epochs   // WriteAcceptedEpoch, WriteCurrentEpoch
	Truncate Zxid     // WriteTruncate, WriteSnapshot
	Snapshot Snapshot // WriteSnapshot
}

// Barrier is an answered Peer.Barrier: when it was asked this peer led, and everything committed by then by
// anybody has a zxid of at most Zxid.
type Barrier struct {
	Token uint64
	Zxid  Zxid
}

// SnapshotWanted asks the shell for a snapshot of the state machine as it is now, to be handed to
// Peer.SnapshotTaken. Until then nothing is sent to that learner. An answer may be late or never come.
type SnapshotWanted struct {
	To      ServerID
	Session uint64
}

// HistoryWanted asks the shell whether its log holds what a learner lacks below the window, to be told to
// Peer.HistoryRead. Until then nothing is sent to that learner. An answer may be late or never come.
//
// Base and Tails describe the learner's log as ACKEPOCH does. The entry to begin behind is the greatest that this log
// holds, of the epoch of one of the tails, at most that tail; or Base, if this log begins behind it.
type HistoryWanted struct {
	To      ServerID
	Session uint64
	Base    Zxid
	Tails   []Zxid
	UpTo    Zxid // the window's base, at least
}

// Role is what a peer has become.
type Role struct {
	State  State
	Leader ServerID // Following and Leading; else 0
	Epoch  uint32   // the leader's epoch once known; else 0
	// Established: a quorum is synchronized, and so is this peer. All entries of earlier epochs that will ever
	// be committed were handed out in Ready.Committed, of this Ready or an earlier one. Serve clients from now
	// on.
	Established bool
	// Err is why a peer is Failed.
	Err error
}

// Ready is what the shell has to do, in this order but for Persist, which may run beside the rest: perform
// Persist and, when it is durable, send AfterSync; send Messages; apply Committed; then look at the rest.
//
// Messages, Committed, Barriers, SnapshotsWanted and HistoryWanted are valid until the next call of Peer.Ready; Persist and
// AfterSync until Peer.Persisted of that write. What their elements point to (entries, data) is never written to
// again and may be kept.
type Ready struct {
	// Messages may leave at once; in order per destination.
	Messages []Message
	// Persist is the next durable write, nil if none is due. It is handed out once.
	Persist *Write
	// AfterSync may leave once Persist is durable, and not at all if it failed; after all Messages handed out so
	// far. It is empty if Persist is nil.
	AfterSync []Message
	// Committed are entries to apply in order. Each is handed out exactly once in a peer's life, is committed
	// for ever and is durable here. An installed snapshot takes the place of those that it covers.
	Committed []Entry
	// Barriers are those now answered. A role that loses its leadership drops the others silently.
	Barriers        []Barrier
	SnapshotsWanted []SnapshotWanted
	HistoryWanted   []HistoryWanted
	// Role is set when it changed, and Memberships when the configurations that count did; the first Ready has
	// both. Connect to their members.
	Role        *Role
	Memberships *Memberships
}

// Status is a peer's state for people and tests.
type Status struct {
	ID            ServerID
	State         State
	Leader        ServerID
	Established   bool
	Voter         bool   // see Epochs.Voter
	Epoch         uint32 // of the leader led or followed
	AcceptedEpoch uint32 // durable
	CurrentEpoch  uint32 // durable
	Round         uint64 // of the last election
	Vote          Vote   // in the last election
	WindowBase    Zxid   // the entry before the oldest one in memory
	LastZxid      Zxid   // of the newest entry in memory
	Durable       Zxid   // of the newest durable entry
	Committed     Zxid   // of the newest entry known to be committed
	Delivered     Zxid   // of the newest entry handed out as committed, or covered by the snapshot
	Learners      int    // synchronized ones, if leading
	Err           error  // why it failed
}
