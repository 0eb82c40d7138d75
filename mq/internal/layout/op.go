package layout

// OpType says what an Op does.
type OpType uint8

// The operations of a multi.
const (
	OpCheck OpType = iota
	OpCreate
	OpSet
	OpDelete
)

// String returns the operation's name.
func (t OpType) String() string {
	switch t {
	case OpCheck:
		return "check"
	case OpCreate:
		return "create"
	case OpSet:
		return "set"
	default:
		return "delete"
	}
}

// AnyVersion as an Op's version lets any version pass, but the znode must exist.
const AnyVersion int32 = -1

// Op is one operation of a multi, as data: a shell carries it out with its ZooKeeper client. The operations of one slice
// belong in one multi: all take effect or none does.
type Op struct {
	Type      OpType
	Path      string
	Data      []byte // OpCreate, OpSet
	Version   int32  // OpCheck, OpSet, OpDelete: the data version that the znode must have, or AnyVersion
	Ephemeral bool   // OpCreate
}

// Check is an operation that fails unless path has this data version.
func Check(path string, version int32) Op { return Op{Type: OpCheck, Path: path, Version: version} }

// Create is an operation that creates a persistent znode.
func Create(path string, data []byte) Op { return Op{Type: OpCreate, Path: path, Data: data} }

// CreateEphemeral is an operation that creates a znode which ends with the session.
func CreateEphemeral(path string, data []byte) Op {
	return Op{Type: OpCreate, Path: path, Data: data, Ephemeral: true}
}

// Set is an operation that writes data if path has this data version.
func Set(path string, data []byte, version int32) Op {
	return Op{Type: OpSet, Path: path, Data: data, Version: version}
}

// Delete is an operation that deletes path if it has this data version.
func Delete(path string, version int32) Op { return Op{Type: OpDelete, Path: path, Version: version} }

// Outcome is what became of a write.
type Outcome uint8

// The outcomes of a write.
const (
	// Committed: every operation took effect.
	Committed Outcome = iota
	// Refused: none did; a version did not match, a znode was missing or there already.
	Refused
	// Unknown: the answer was lost, or the write was given up. It may have taken effect, or may yet.
	Unknown
)

// String returns the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Refused:
		return "refused"
	default:
		return "unknown"
	}
}
