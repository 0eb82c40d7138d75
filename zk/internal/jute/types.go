package jute

// Record is what every request and reply body is. Append appends the record's bytes; Decode takes them from r, whose Err
// tells whether the record is valid. Decode overwrites all fields and keeps no slice of the record's earlier contents.
type Record interface {
	Append(dst []byte) []byte
	Decode(r *Reader)
}

// StatSize is the number of bytes of a Stat.
const StatSize = 68

// Stat describes a znode (org.apache.zookeeper.data.Stat).
type Stat struct {
	Czxid          int64 // zxid of the create
	Mzxid          int64 // zxid of the last setData
	Ctime          int64 // ms since 1970 of the create
	Mtime          int64 // ms since 1970 of the last setData
	Version        int32 // setData count
	Cversion       int32 // creates and deletes of children
	Aversion       int32 // setACL count
	EphemeralOwner int64 // session id; 0 if not ephemeral, for containers and TTL nodes, too
	DataLength     int32 // bytes; 0 for null data
	NumChildren    int32
	Pzxid          int64 // zxid of the last create or delete of a child
}

// Append implements Record.
func (s *Stat) Append(dst []byte) []byte {
	dst = AppendInt64(dst, s.Czxid)
	dst = AppendInt64(dst, s.Mzxid)
	dst = AppendInt64(dst, s.Ctime)
	dst = AppendInt64(dst, s.Mtime)
	dst = AppendInt32(dst, s.Version)
	dst = AppendInt32(dst, s.Cversion)
	dst = AppendInt32(dst, s.Aversion)
	dst = AppendInt64(dst, s.EphemeralOwner)
	dst = AppendInt32(dst, s.DataLength)
	dst = AppendInt32(dst, s.NumChildren)
	return AppendInt64(dst, s.Pzxid)
}

// Decode implements Record.
func (s *Stat) Decode(r *Reader) {
	*s = Stat{
		Czxid: r.Int64(), Mzxid: r.Int64(), Ctime: r.Int64(), Mtime: r.Int64(),
		Version: r.Int32(), Cversion: r.Int32(), Aversion: r.Int32(), EphemeralOwner: r.Int64(),
		DataLength: r.Int32(), NumChildren: r.Int32(), Pzxid: r.Int64(),
	}
}

// ID names a principal (org.apache.zookeeper.data.Id), such as world:anyone or digest:user:hash.
type ID struct {
	Scheme string
	ID     string
}

// ACL grants permissions to a principal.
type ACL struct {
	Perms int32 // PermRead and so on
	ID    ID
}

// OpenACL returns world:anyone with all permissions (ZooDefs.Ids.OPEN_ACL_UNSAFE), a new slice.
func OpenACL() []ACL { return []ACL{{Perms: PermAll, ID: ID{Scheme: "world", ID: "anyone"}}} }

// AppendACLs appends a vector of ACL entries; nil is an empty vector.
func AppendACLs(dst []byte, acl []ACL) []byte {
	dst = AppendInt32(dst, int32(len(acl)))
	for i := range acl {
		dst = AppendInt32(dst, acl[i].Perms)
		dst = AppendString(dst, acl[i].ID.Scheme)
		dst = AppendString(dst, acl[i].ID.ID)
	}
	return dst
}

// ACLs takes a vector of ACL entries, nil if it is empty or null.
func (r *Reader) ACLs() []ACL { return r.appendACLs(nil) }

func (r *Reader) appendACLs(acl []ACL) []ACL {
	n := r.Count(12)
	if n == 0 {
		return acl
	}
	if acl == nil {
		acl = make([]ACL, 0, n)
	}
	for range n {
		acl = append(acl, ACL{Perms: r.Int32(), ID: ID{Scheme: r.String(), ID: r.String()}})
	}
	if r.err != nil {
		return nil
	}
	return acl
}

// RequestHeader precedes every request but the ConnectRequest.
type RequestHeader struct {
	Xid int32
	Op  OpCode
}

// Append implements Record.
func (h *RequestHeader) Append(dst []byte) []byte {
	return AppendInt32(AppendInt32(dst, h.Xid), int32(h.Op))
}

// Decode implements Record.
func (h *RequestHeader) Decode(r *Reader) { *h = RequestHeader{r.Int32(), OpCode(r.Int32())} }

// ReplyHeader precedes every reply but the ConnectResponse. The body is absent if Err is not CodeOK.
type ReplyHeader struct {
	Xid  int32
	Zxid int64
	Err  Code
}

// Append implements Record.
func (h *ReplyHeader) Append(dst []byte) []byte {
	return AppendInt32(AppendInt64(AppendInt32(dst, h.Xid), h.Zxid), int32(h.Err))
}

// Decode implements Record.
func (h *ReplyHeader) Decode(r *Reader) { *h = ReplyHeader{r.Int32(), r.Int64(), Code(r.Int32())} }

// ConnectRequest is the first frame of a connection.
type ConnectRequest struct {
	ProtocolVersion int32
	LastZxidSeen    int64
	Timeout         int32 // ms
	SessionID       int64 // 0: a new session
	Password        []byte
	ReadOnly        bool
	HasReadOnly     bool // the ReadOnly byte is there; old clients omit it
}

// Append implements Record.
func (c *ConnectRequest) Append(dst []byte) []byte {
	dst = AppendInt32(dst, c.ProtocolVersion)
	dst = AppendInt64(dst, c.LastZxidSeen)
	dst = AppendInt32(dst, c.Timeout)
	dst = AppendInt64(dst, c.SessionID)
	dst = AppendBuffer(dst, c.Password)
	if c.HasReadOnly {
		dst = AppendBool(dst, c.ReadOnly)
	}
	return dst
}

// Decode implements Record.
func (c *ConnectRequest) Decode(r *Reader) {
	*c = ConnectRequest{
		ProtocolVersion: r.Int32(), LastZxidSeen: r.Int64(), Timeout: r.Int32(), SessionID: r.Int64(), Password: r.Buffer(),
	}
	if c.HasReadOnly = r.Len() > 0; c.HasReadOnly {
		c.ReadOnly = r.Bool()
	}
}

// ConnectResponse answers a ConnectRequest. A refused session has Timeout and SessionID 0 and a password of 16 zero bytes.
type ConnectResponse struct {
	ProtocolVersion int32
	Timeout         int32 // ms, as negotiated
	SessionID       int64
	Password        []byte
	ReadOnly        bool
	HasReadOnly     bool // write the ReadOnly byte; servers mirror the request's HasReadOnly
}

// Append implements Record.
func (c *ConnectResponse) Append(dst []byte) []byte {
	dst = AppendInt32(dst, c.ProtocolVersion)
	dst = AppendInt32(dst, c.Timeout)
	dst = AppendInt64(dst, c.SessionID)
	dst = AppendBuffer(dst, c.Password)
	if c.HasReadOnly {
		dst = AppendBool(dst, c.ReadOnly)
	}
	return dst
}

// Decode implements Record.
func (c *ConnectResponse) Decode(r *Reader) {
	*c = ConnectResponse{ProtocolVersion: r.Int32(), Timeout: r.Int32(), SessionID: r.Int64(), Password: r.Buffer()}
	if c.HasReadOnly = r.Len() > 0; c.HasReadOnly {
		c.ReadOnly = r.Bool()
	}
}

// WatcherEvent is the body of a notification, whose header has Xid XidNotification and, since 3.9, the zxid of the change.
type WatcherEvent struct {
	Type  EventType
	State int32 // StateSyncConnected
	Path  string
}

// Append implements Record.
func (e *WatcherEvent) Append(dst []byte) []byte {
	return AppendString(AppendInt32(AppendInt32(dst, int32(e.Type)), e.State), e.Path)
}

// Decode implements Record.
func (e *WatcherEvent) Decode(r *Reader) {
	*e = WatcherEvent{Type: EventType(r.Int32()), State: r.Int32(), Path: r.String()}
}

// AppendNotification appends a whole notification frame: length, header, event.
func AppendNotification(dst []byte, zxid int64, typ EventType, path string) []byte {
	start := len(dst)
	dst = BeginFrame(dst)
	dst = (&ReplyHeader{Xid: XidNotification, Zxid: zxid}).Append(dst)
	dst = (&WatcherEvent{Type: typ, State: StateSyncConnected, Path: path}).Append(dst)
	return EndFrame(dst, start)
}
