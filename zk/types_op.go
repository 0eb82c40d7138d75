package zk

type opKind uint8

const (
	opInvalid opKind = iota
	opCreate
	opSet
	opDelete
	opCheck
	opGet
	opExists
	opChildren
	opSync
)

// Op is one operation for Multi, MultiRead or Go, made by CreateOp, SetOp,
// DeleteOp, CheckOp, GetOp, ExistsOp, ChildrenOp or SyncOp. The zero value is
// invalid. It refers to the caller's data until it is passed on.
type Op struct {
	kind    opKind
	path    string
	data    []byte
	version int32
	mode    CreateMode
	acl     []ACL
}

// Path is the path that the operation was made with.
func (o Op) Path() string { return o.path }

// CreateOp creates a znode; see Client.Create. For Multi and Go.
func CreateOp(path string, data []byte, mode CreateMode, acl ...ACL) Op {
	return Op{kind: opCreate, path: path, data: data, mode: mode, acl: acl}
}

// SetOp sets a znode's data; see Client.Set. For Multi and Go.
func SetOp(path string, data []byte, version int32) Op {
	return Op{kind: opSet, path: path, data: data, version: version}
}

// DeleteOp deletes a znode; see Client.Delete. For Multi and Go.
func DeleteOp(path string, version int32) Op {
	return Op{kind: opDelete, path: path, version: version}
}

// CheckOp fails unless the znode exists and has the version. For Multi only.
func CheckOp(path string, version int32) Op {
	return Op{kind: opCheck, path: path, version: version}
}

// GetOp reads a znode's data; see Client.Get. For MultiRead and Go.
func GetOp(path string) Op { return Op{kind: opGet, path: path} }

// ExistsOp reads a znode's Stat; see Client.Exists. For Go.
func ExistsOp(path string) Op { return Op{kind: opExists, path: path} }

// ChildrenOp lists a znode's children; see Client.Children. For MultiRead, where
// the result has no Stat, and Go.
func ChildrenOp(path string) Op { return Op{kind: opChildren, path: path} }

// SyncOp brings the client's server up to date; see Client.Sync. For Go.
func SyncOp(path string) Op { return Op{kind: opSync, path: path} }

// OpResult is what became of an Op. Fields that its kind does not set are zero.
// The slices are the receiver's.
type OpResult struct {
	Path     string   // create: the path created, with its sequence number; else the op's path
	Stat     Stat     // create, set, get, exists, children; Apache ZooKeeper 3.8 leaves it zero for a create in a Multi
	Data     []byte   // get
	Children []string // children: names, sorted
	Zxid     int64    // Go: the zxid of the reply; Multi: 0
	Err      error    // nil: done. In a failed Multi: the cause for one op, ErrRuntimeInconsistency for those not executed because of it
}
