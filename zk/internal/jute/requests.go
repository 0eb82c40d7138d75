package jute

// PathRequest is the body of sync, getACL, deleteContainer, getAllChildrenNumber and, with a prefix for a path, getEphemerals;
// also the reply of sync.
type PathRequest struct{ Path string }

// Append implements Record.
func (q *PathRequest) Append(dst []byte) []byte { return AppendString(dst, q.Path) }

// Decode implements Record.
func (q *PathRequest) Decode(r *Reader) { q.Path = r.String() }

// PathWatchRequest is the body of exists, getData, getChildren and getChildren2.
type PathWatchRequest struct {
	Path  string
	Watch bool
}

// Append implements Record.
func (q *PathWatchRequest) Append(dst []byte) []byte {
	return AppendBool(AppendString(dst, q.Path), q.Watch)
}

// Decode implements Record.
func (q *PathWatchRequest) Decode(r *Reader) { *q = PathWatchRequest{r.String(), r.Bool()} }

// PathVersionRequest is the body of delete and check.
type PathVersionRequest struct {
	Path    string
	Version int32 // -1: any
}

// Append implements Record.
func (q *PathVersionRequest) Append(dst []byte) []byte {
	return AppendInt32(AppendString(dst, q.Path), q.Version)
}

// Decode implements Record.
func (q *PathVersionRequest) Decode(r *Reader) { *q = PathVersionRequest{r.String(), r.Int32()} }

// CreateRequest is the body of create, create2 and createContainer.
type CreateRequest struct {
	Path  string
	Data  []byte // nil: null data
	ACL   []ACL
	Flags int32
}

// Append implements Record.
func (q *CreateRequest) Append(dst []byte) []byte {
	return AppendInt32(AppendACLs(AppendBuffer(AppendString(dst, q.Path), q.Data), q.ACL), q.Flags)
}

// Decode implements Record.
func (q *CreateRequest) Decode(r *Reader) {
	*q = CreateRequest{Path: r.String(), Data: r.Buffer(), ACL: r.ACLs(), Flags: r.Int32()}
}

// CreateTTLRequest is the body of createTTL.
type CreateTTLRequest struct {
	CreateRequest
	TTL int64 // ms
}

// Append implements Record.
func (q *CreateTTLRequest) Append(dst []byte) []byte {
	return AppendInt64(q.CreateRequest.Append(dst), q.TTL)
}

// Decode implements Record.
func (q *CreateTTLRequest) Decode(r *Reader) {
	q.CreateRequest.Decode(r)
	q.TTL = r.Int64()
}

// SetDataRequest is the body of setData.
type SetDataRequest struct {
	Path    string
	Data    []byte // nil: null data
	Version int32  // -1: any
}

// Append implements Record.
func (q *SetDataRequest) Append(dst []byte) []byte {
	return AppendInt32(AppendBuffer(AppendString(dst, q.Path), q.Data), q.Version)
}

// Decode implements Record.
func (q *SetDataRequest) Decode(r *Reader) {
	*q = SetDataRequest{Path: r.String(), Data: r.Buffer(), Version: r.Int32()}
}

// SetACLRequest is the body of setACL.
type SetACLRequest struct {
	Path    string
	ACL     []ACL
	Version int32 // of the ACL; -1: any
}

// Append implements Record.
func (q *SetACLRequest) Append(dst []byte) []byte {
	return AppendInt32(AppendACLs(AppendString(dst, q.Path), q.ACL), q.Version)
}

// Decode implements Record.
func (q *SetACLRequest) Decode(r *Reader) {
	*q = SetACLRequest{Path: r.String(), ACL: r.ACLs(), Version: r.Int32()}
}

// PathTypeRequest is the body of checkWatches and removeWatches, where Type is WatcherChildren and so on, and of addWatch,
// where it is the mode.
type PathTypeRequest struct {
	Path string
	Type int32
}

// Append implements Record.
func (q *PathTypeRequest) Append(dst []byte) []byte {
	return AppendInt32(AppendString(dst, q.Path), q.Type)
}

// Decode implements Record.
func (q *PathTypeRequest) Decode(r *Reader) { *q = PathTypeRequest{r.String(), r.Int32()} }

// SetWatchesRequest is the body of setWatches, and of setWatches2 if Two is set: Two decides which fields there are, for
// Decode, too.
type SetWatchesRequest struct {
	Two                 bool
	RelativeZxid        int64
	Data, Exist, Child  []string
	Persistent          []string // setWatches2 only
	PersistentRecursive []string // setWatches2 only
}

// Append implements Record.
func (q *SetWatchesRequest) Append(dst []byte) []byte {
	dst = AppendInt64(dst, q.RelativeZxid)
	dst = AppendStrings(AppendStrings(AppendStrings(dst, q.Data), q.Exist), q.Child)
	if q.Two {
		dst = AppendStrings(AppendStrings(dst, q.Persistent), q.PersistentRecursive)
	}
	return dst
}

// Decode implements Record.
func (q *SetWatchesRequest) Decode(r *Reader) {
	*q = SetWatchesRequest{Two: q.Two, RelativeZxid: r.Int64(), Data: r.Strings(), Exist: r.Strings(), Child: r.Strings()}
	if q.Two {
		q.Persistent, q.PersistentRecursive = r.Strings(), r.Strings()
	}
}

// AuthRequest is the body of auth.
type AuthRequest struct {
	Type   int32 // 0
	Scheme string
	Auth   []byte
}

// Append implements Record.
func (q *AuthRequest) Append(dst []byte) []byte {
	return AppendBuffer(AppendString(AppendInt32(dst, q.Type), q.Scheme), q.Auth)
}

// Decode implements Record.
func (q *AuthRequest) Decode(r *Reader) { *q = AuthRequest{r.Int32(), r.String(), r.Buffer()} }

// SASLToken is the body of sasl and of its reply.
type SASLToken struct{ Token []byte }

// Append implements Record.
func (q *SASLToken) Append(dst []byte) []byte { return AppendBuffer(dst, q.Token) }

// Decode implements Record.
func (q *SASLToken) Decode(r *Reader) { q.Token = r.Buffer() }

// ReconfigRequest is the body of reconfig; a nil string is null, which is not the same as an empty one.
type ReconfigRequest struct {
	Joining, Leaving, Members *string
	ConfigVersion             int64 // -1: any
}

// Append implements Record.
func (q *ReconfigRequest) Append(dst []byte) []byte {
	for _, s := range []*string{q.Joining, q.Leaving, q.Members} {
		if s == nil {
			dst = AppendInt32(dst, -1)
		} else {
			dst = AppendString(dst, *s)
		}
	}
	return AppendInt64(dst, q.ConfigVersion)
}

// Decode implements Record.
func (q *ReconfigRequest) Decode(r *Reader) {
	*q = ReconfigRequest{r.NullString(), r.NullString(), r.NullString(), r.Int64()}
}

// Empty is a body without bytes: ping, closeSession, whoAmI, and replies without a body.
type Empty struct{}

// Append implements Record.
func (*Empty) Append(dst []byte) []byte { return dst }

// Decode implements Record.
func (*Empty) Decode(*Reader) {}
