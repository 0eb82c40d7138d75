package tree

import "github.com/vivarium-go/vivarium/zk/internal/jute"

// Kind says what a transaction does.
type Kind uint8

// The kinds of transactions. Their numbers are part of the log's format.
const (
	KindNone          Kind = 0 // changes nothing
	KindError         Kind = 1 // fails with Txn.Code: decided by the leader, such as a moved session
	KindCreateSession Kind = 2 // Session, Timeout, Owner
	KindCloseSession  Kind = 3 // Session; deletes its ephemerals
	KindOp            Kind = 4 // Txn.Op
	KindMulti         Kind = 5 // Txn.Ops, all or none
	KindSetProperty   Kind = 6 // Name, Value; a nil Value deletes
	KindAttachSession Kind = 7 // Session, which must exist, gets Owner and Timeout
)

// Features are the switches that decide outcomes. The leader's configuration sets them in each transaction.
type Features uint32

// The feature switches.
const (
	FeatureExtendedTypes Features = 1 << iota // TTL nodes may be created
	FeatureSkipACL                            // no ACL is checked
	FeatureLocalSession                       // Txn.Session is not in the session table, and may not own ephemerals
	FeatureInternal                           // the server itself acts: no session or ACL is checked, deleteContainer is allowed
	FeatureEnforceQuota                       // a quota's hard limits hold
)

// Txn is one transaction as it travels through the log. The zero value is a KindNone.
//
// Strings and slices of a decoded Txn alias the decoder's input; Apply copies what it keeps.
type Txn struct {
	Version  uint8 // the rules to apply by; 0: ApplyVersion
	Kind     Kind
	Features Features
	Session  int64     // 0: none, the server itself
	Time     int64     // ms since 1970 by the leader's clock
	PathMax  uint32    // longest path a create may make, in bytes, 65,535 at most; 0: DefaultPathMax
	Auth     []jute.ID // the caller's ids at the time of the request, digests hashed; scheme "super" passes every ACL
	Code     jute.Code // KindError
	Timeout  int32     // KindCreateSession, KindAttachSession, ms
	Owner    uint8     // KindCreateSession, KindAttachSession: the server that the session's client is connected to; 0: unknown
	Op       jute.Op   // KindOp: create*, delete, setData, setACL, check, deleteContainer
	Ops      []jute.Op // KindMulti
	Name     string    // KindSetProperty
	Value    []byte    // KindSetProperty
}

// ApplyVersion is the newest set of rules that Apply knows, and the newest format of a transaction. Servers exchange theirs, and the
// leader proposes the least of its quorum's (R5).
const ApplyVersion = 1

// DefaultPathMax is the limit on the length of created paths, in bytes, if a transaction names none.
const DefaultPathMax = 4096

const pathBytesMax = 65535 // of any path in any tree

// Result is the outcome of a transaction. Apply overwrites it and reuses the capacity of its slices.
type Result struct {
	Err    jute.Code
	Path   string          // create*: the path made, with its sequence number
	Stat   jute.Stat       // create*, setData, setACL
	Ops    []jute.OpResult // KindMulti, also if it failed: what a jute.MultiResponse carries; then Err stays CodeOK
	Failed bool            // KindMulti: nothing was done, and Ops tells why
	Events []Event         // in order of happening

	OverQuota string // the path of a quota that has more than its limits say, "" if none has
}

// Event is a change that watches may be waiting for.
type Event struct {
	Type jute.EventType
	Zxid int64
	Path string
	ACL  *ACL // of the znode, for deleted ones as it was; whoever may not read it is not told (CVE-2024-23944)
}
