package group

// Code is an error code of the Kafka protocol; 0 is none.
type Code int16

// The codes a group answers with.
const (
	None                      Code = 0
	CoordinatorNotAvailable   Code = 15
	NotCoordinator            Code = 16
	IllegalGeneration         Code = 22
	InconsistentGroupProtocol Code = 23
	UnknownMemberID           Code = 25
	InvalidSessionTimeout     Code = 26
	RebalanceInProgress       Code = 27
	NonEmptyGroup             Code = 68
	MemberIDRequired          Code = 79
	GroupMaxSizeReached       Code = 81
	FencedInstanceID          Code = 82
)

// State is where a group is in its life.
type State uint8

// The states of a classic group.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String is the state's name as DescribeGroups reports it.
func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case PreparingRebalance:
		return "PreparingRebalance"
	case CompletingRebalance:
		return "CompletingRebalance"
	case Stable:
		return "Stable"
	default:
		return "Dead"
	}
}

// Config holds the limits of groups. The zero value of each field is no limit and no delay.
type Config struct {
	// MembersMax bounds the members of a group; 0 means no bound.
	MembersMax int
	// SessionTimeoutMin and SessionTimeoutMax bound what members may ask for, in milliseconds; a zero maximum means no bound.
	SessionTimeoutMin, SessionTimeoutMax int64
	// InitialRebalanceDelay in milliseconds: how long the first member of an empty group waits for others. 0: not at all.
	InitialRebalanceDelay int64
}

// Token names a request whose answer comes later. Tokens are the caller's; the group only returns them.
type Token uint64

// Protocol is one assignment strategy a member supports, with what it wants the leader to know.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join is a JoinGroup request.
type Join struct {
	// Token names the request in the reply.
	Token Token
	// MemberID is empty for a newcomer.
	MemberID string
	// InstanceID is the static member's id; empty means dynamic.
	InstanceID string
	// NewMemberID is the id the newcomer gets if it needs one; unique, drawn by the caller.
	NewMemberID string
	// RequireKnownMemberID makes a dynamic newcomer come back with its id first (request version 4 and later).
	RequireKnownMemberID bool
	ClientID, ClientHost string
	// SessionTimeout and RebalanceTimeout in milliseconds.
	SessionTimeout, RebalanceTimeout int64
	ProtocolType                     string
	// Protocols in order of preference. The group keeps the slices.
	Protocols []Protocol
}

// JoinedMember is one member as the leader of the group sees it.
type JoinedMember struct {
	MemberID, InstanceID string
	Metadata             []byte
}

// JoinReply answers a Join.
type JoinReply struct {
	Token        Token
	Code         Code
	Generation   int32
	ProtocolType string
	Protocol     string
	Leader       string
	MemberID     string
	// Members is set for the leader only, in the order they joined.
	Members []JoinedMember
}

// Assignment is what the leader assigned to one member; the bytes are opaque.
type Assignment struct {
	MemberID string
	Data     []byte
}

// Sync is a SyncGroup request.
type Sync struct {
	Token                Token
	MemberID, InstanceID string
	Generation           int32
	// ProtocolType and Protocol are compared with the group's if not empty (request version 5).
	ProtocolType, Protocol string
	// Assignments come from the leader only. The group keeps the slices.
	Assignments []Assignment
}

// SyncReply answers a Sync.
type SyncReply struct {
	Token                  Token
	Code                   Code
	ProtocolType, Protocol string
	Assignment             []byte
}

// Leaver names one member of a LeaveGroup request.
type Leaver struct{ MemberID, InstanceID string }

// Persist is the group's metadata to be written to __consumer_offsets.
type Persist struct {
	// ID is to be handed to Persisted.
	ID uint64
	// Snapshot is what to write.
	Snapshot Snapshot
}

// Ready is what the group wants done, in order.
type Ready struct {
	Joins []JoinReply
	Syncs []SyncReply
	// Persist is nil if there is nothing to write. One is outstanding at most, except that a newer supersedes an older: writes
	// must reach the log in the order they were offered.
	Persist *Persist
}

// MemberSnapshot describes one member.
type MemberSnapshot struct {
	MemberID, InstanceID, ClientID, ClientHost string
	SessionTimeout, RebalanceTimeout           int64
	// Metadata is the member's subscription under the chosen protocol.
	Metadata   []byte
	Assignment []byte
}

// Snapshot describes a group: for DescribeGroups, and as its record holds it.
type Snapshot struct {
	Group        string
	State        State
	ProtocolType string
	Generation   int32
	Protocol     string
	Leader       string
	// StateTimestamp is when the group last changed its state, in milliseconds.
	StateTimestamp int64
	Members        []MemberSnapshot
}
