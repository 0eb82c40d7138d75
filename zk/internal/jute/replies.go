package jute

// CreateResponse is the reply of create.
type CreateResponse = PathRequest

// SyncResponse is the reply of sync.
type SyncResponse = PathRequest

// StatResponse is the reply of exists, setData and setACL.
type StatResponse = Stat

// Create2Response is the reply of create2, createContainer and createTTL.
type Create2Response struct {
	Path string
	Stat Stat
}

// Append implements Record.
func (p *Create2Response) Append(dst []byte) []byte { return p.Stat.Append(AppendString(dst, p.Path)) }

// Decode implements Record.
func (p *Create2Response) Decode(r *Reader) {
	p.Path = r.String()
	p.Stat.Decode(r)
}

// DataResponse is the reply of getData and reconfig.
type DataResponse struct {
	Data []byte // nil: null data
	Stat Stat
}

// Append implements Record.
func (p *DataResponse) Append(dst []byte) []byte { return p.Stat.Append(AppendBuffer(dst, p.Data)) }

// Decode implements Record.
func (p *DataResponse) Decode(r *Reader) {
	p.Data = r.Buffer()
	p.Stat.Decode(r)
}

// ACLResponse is the reply of getACL.
type ACLResponse struct {
	ACL  []ACL
	Stat Stat
}

// Append implements Record.
func (p *ACLResponse) Append(dst []byte) []byte { return p.Stat.Append(AppendACLs(dst, p.ACL)) }

// Decode implements Record.
func (p *ACLResponse) Decode(r *Reader) {
	p.ACL = r.ACLs()
	p.Stat.Decode(r)
}

// StringsResponse is the reply of getChildren (names) and getEphemerals (paths).
type StringsResponse struct{ Strings []string }

// Append implements Record.
func (p *StringsResponse) Append(dst []byte) []byte { return AppendStrings(dst, p.Strings) }

// Decode implements Record.
func (p *StringsResponse) Decode(r *Reader) { p.Strings = r.Strings() }

// Children2Response is the reply of getChildren2.
type Children2Response struct {
	Children []string
	Stat     Stat
}

// Append implements Record.
func (p *Children2Response) Append(dst []byte) []byte {
	return p.Stat.Append(AppendStrings(dst, p.Children))
}

// Decode implements Record.
func (p *Children2Response) Decode(r *Reader) {
	p.Children = r.Strings()
	p.Stat.Decode(r)
}

// Int32Response is the reply of getAllChildrenNumber (the number) and of addWatch (the error code 0).
type Int32Response struct{ Value int32 }

// Append implements Record.
func (p *Int32Response) Append(dst []byte) []byte { return AppendInt32(dst, p.Value) }

// Decode implements Record.
func (p *Int32Response) Decode(r *Reader) { p.Value = r.Int32() }

// WhoAmIResponse is the reply of whoAmI: ID.Scheme and the user's name.
type WhoAmIResponse struct{ Clients []ID }

// Append implements Record.
func (p *WhoAmIResponse) Append(dst []byte) []byte {
	dst = AppendInt32(dst, int32(len(p.Clients)))
	for _, c := range p.Clients {
		dst = AppendString(AppendString(dst, c.Scheme), c.ID)
	}
	return dst
}

// Decode implements Record.
func (p *WhoAmIResponse) Decode(r *Reader) {
	p.Clients = nil
	for range r.Count(8) {
		p.Clients = append(p.Clients, ID{r.String(), r.String()})
	}
}

// NewRequest returns an empty body for a request of type op, or nil if no client may send that type.
func NewRequest(op OpCode) Record {
	switch op {
	case OpCreate, OpCreate2, OpCreateContainer:
		return new(CreateRequest)
	case OpCreateTTL:
		return new(CreateTTLRequest)
	case OpDelete, OpCheck:
		return new(PathVersionRequest)
	case OpExists, OpGetData, OpGetChildren, OpGetChildren2:
		return new(PathWatchRequest)
	case OpSetData:
		return new(SetDataRequest)
	case OpSetACL:
		return new(SetACLRequest)
	case OpGetACL, OpSync, OpDeleteContainer, OpGetEphemerals, OpGetAllChildrenNumber:
		return new(PathRequest)
	case OpMulti:
		return new(MultiRequest)
	case OpMultiRead:
		return &MultiRequest{Read: true}
	case OpReconfig:
		return new(ReconfigRequest)
	case OpCheckWatches, OpRemoveWatches, OpAddWatch:
		return new(PathTypeRequest)
	case OpAuth:
		return new(AuthRequest)
	case OpSetWatches:
		return new(SetWatchesRequest)
	case OpSetWatches2:
		return &SetWatchesRequest{Two: true}
	case OpSASL:
		return new(SASLToken)
	case OpPing, OpCloseSession, OpWhoAmI:
		return new(Empty)
	}
	return nil
}

// NewReply returns an empty body for the reply to a successful request of type op, or nil if no client may send that type.
func NewReply(op OpCode) Record {
	switch op {
	case OpCreate, OpSync:
		return new(PathRequest)
	case OpCreate2, OpCreateContainer, OpCreateTTL:
		return new(Create2Response)
	case OpExists, OpSetData, OpSetACL:
		return new(Stat)
	case OpGetData, OpReconfig:
		return new(DataResponse)
	case OpGetACL:
		return new(ACLResponse)
	case OpGetChildren, OpGetEphemerals:
		return new(StringsResponse)
	case OpGetChildren2:
		return new(Children2Response)
	case OpGetAllChildrenNumber, OpAddWatch:
		return new(Int32Response)
	case OpMulti, OpMultiRead:
		return new(MultiResponse)
	case OpSASL:
		return new(SASLToken)
	case OpWhoAmI:
		return new(WhoAmIResponse)
	case OpDelete, OpCheck, OpDeleteContainer, OpCheckWatches, OpRemoveWatches, OpAuth, OpSetWatches, OpSetWatches2,
		OpPing, OpCloseSession:
		return new(Empty)
	}
	return nil
}
