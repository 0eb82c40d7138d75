package jute

// OpsMax bounds the operations that a Multi may carry when decoded; ZooKeeper bounds them by the frame only.
const OpsMax = 1 << 16

// Op is one operation that a multi or a replicated transaction carries. Type says which fields count:
//
//	create, create2, createContainer   Path Data ACL Flags
//	createTTL                          Path Data ACL Flags TTL
//	delete, check                      Path Version
//	setData                            Path Data Version
//	setACL                             Path ACL Version (in transactions only)
//	deleteContainer                    Path TTL (in transactions only; TTL: ms after which containers go that were never used, 0: they stay)
//	getData, getChildren               Path Watch (in multiRead only)
type Op struct {
	Type    OpCode
	Path    string
	Data    []byte // nil: null data
	ACL     []ACL
	Flags   int32
	Version int32
	TTL     int64 // ms
	Watch   bool
}

// AppendBody appends the request body of the operation, as it stands in a request of its own.
func (o *Op) AppendBody(dst []byte) []byte {
	dst = AppendString(dst, o.Path)
	switch o.Type {
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
		dst = AppendInt32(AppendACLs(AppendBuffer(dst, o.Data), o.ACL), o.Flags)
		if o.Type == OpCreateTTL {
			dst = AppendInt64(dst, o.TTL)
		}
	case OpDelete, OpCheck:
		dst = AppendInt32(dst, o.Version)
	case OpSetData:
		dst = AppendInt32(AppendBuffer(dst, o.Data), o.Version)
	case OpSetACL:
		dst = AppendInt32(AppendACLs(dst, o.ACL), o.Version)
	case OpGetData, OpGetChildren:
		dst = AppendBool(dst, o.Watch)
	}
	return dst
}

// DecodeBody takes the request body of an operation of type typ and reports whether that type can be an Op at all. It reuses
// the capacity of o.ACL.
func (o *Op) DecodeBody(r *Reader, typ OpCode) bool {
	*o = Op{Type: typ, ACL: o.ACL[:0]}
	switch typ {
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL:
		o.Path, o.Data = r.String(), r.Buffer()
		o.ACL = r.appendACLs(o.ACL)
		o.Flags = r.Int32()
		if typ == OpCreateTTL {
			o.TTL = r.Int64()
		}
	case OpDelete, OpCheck:
		o.Path, o.Version = r.String(), r.Int32()
	case OpSetData:
		o.Path, o.Data, o.Version = r.String(), r.Buffer(), r.Int32()
	case OpSetACL:
		o.Path = r.String()
		o.ACL = r.appendACLs(o.ACL)
		o.Version = r.Int32()
	case OpDeleteContainer:
		o.Path = r.String()
	case OpGetData, OpGetChildren:
		o.Path, o.Watch = r.String(), r.Bool()
	default:
		return false
	}
	return true
}

// MultiRequest is the body of multi and, with reads only, of multiRead. Read decides which operations Decode accepts.
type MultiRequest struct {
	Read bool
	Ops  []Op
}

// Append implements Record.
func (m *MultiRequest) Append(dst []byte) []byte {
	for i := range m.Ops {
		dst = appendMultiHeader(dst, m.Ops[i].Type, false, -1)
		dst = m.Ops[i].AppendBody(dst)
	}
	return appendMultiHeader(dst, -1, true, -1)
}

// Decode implements Record. It reuses the capacity of m.Ops. Operations that may not stand in a multi fail it.
func (m *MultiRequest) Decode(r *Reader) {
	m.Ops = m.Ops[:0]
	for {
		typ, done, _ := multiHeader(r)
		if done || r.err != nil {
			return
		}
		if !inMulti(typ, m.Read) {
			r.Fail("operation " + typ.String() + " in a multi")
			return
		}
		if len(m.Ops) == OpsMax {
			r.Fail("too many operations in a multi")
			return
		}
		m.Ops = append(m.Ops, Op{})
		op := &m.Ops[len(m.Ops)-1]
		op.DecodeBody(r, typ)
		if !op.fitFlags() {
			r.Fail("flags of a create in a multi")
			return
		}
	}
}

// fitFlags makes a create what a multi takes it for, as org.apache.zookeeper.Op does, which looks at the flags as it decodes: create and
// createTTL with a container's are createContainer, createTTL without a TTL's is create. It reports whether the flags are possible; a
// createTTL's may be anything, which is found out later.
func (o *Op) fitFlags() bool {
	ttl := o.Flags == FlagTTL || o.Flags == FlagPersistentSequentialTTL
	switch o.Type {
	case OpCreate, OpCreate2, OpCreateContainer:
		if ttl || o.Flags < FlagPersistent || o.Flags > FlagPersistentSequentialTTL {
			return false
		}
	case OpCreateTTL:
		if !ttl {
			o.Type = OpCreate
		}
	}
	if o.Type == OpCreate && o.Flags == FlagContainer {
		o.Type = OpCreateContainer
	}
	return true
}

func inMulti(typ OpCode, read bool) bool {
	switch typ {
	case OpGetData, OpGetChildren:
		return read
	case OpCreate, OpCreate2, OpCreateContainer, OpCreateTTL, OpDelete, OpSetData, OpCheck:
		return !read
	}
	return false
}

func appendMultiHeader(dst []byte, typ OpCode, done bool, err Code) []byte {
	return AppendInt32(AppendBool(AppendInt32(dst, int32(typ)), done), int32(err))
}

func multiHeader(r *Reader) (typ OpCode, done bool, err Code) {
	return OpCode(r.Int32()), r.Bool(), Code(r.Int32())
}

// OpResult is the outcome of one operation of a multi. Type says which fields count:
//
//	create                                Path
//	create2, createContainer, createTTL   Path Stat (the wire says create2 for all three)
//	setData                               Stat
//	delete, check                         none
//	getData                               Data Stat
//	getChildren                           Children
//	error                                 Err
type OpResult struct {
	Type     OpCode
	Err      Code
	Path     string
	Stat     Stat
	Data     []byte
	Children []string
}

// MultiResponse is the reply of multi and multiRead.
type MultiResponse struct{ Results []OpResult }

// Append implements Record.
func (m *MultiResponse) Append(dst []byte) []byte {
	for i := range m.Results {
		dst = m.Results[i].Append(dst)
	}
	return AppendMultiEnd(dst)
}

// AppendMultiEnd appends the end marker of a multi.
func AppendMultiEnd(dst []byte) []byte { return appendMultiHeader(dst, -1, true, -1) }

// Append appends the result with its header.
func (o *OpResult) Append(dst []byte) []byte {
	switch o.Type {
	case OpCreate:
		return AppendString(appendMultiHeader(dst, OpCreate, false, 0), o.Path)
	case OpCreate2, OpCreateContainer, OpCreateTTL:
		return o.Stat.Append(AppendString(appendMultiHeader(dst, OpCreate2, false, 0), o.Path))
	case OpSetData:
		return o.Stat.Append(appendMultiHeader(dst, OpSetData, false, 0))
	case OpGetData:
		return o.Stat.Append(AppendBuffer(appendMultiHeader(dst, OpGetData, false, 0), o.Data))
	case OpGetChildren:
		return AppendStrings(appendMultiHeader(dst, OpGetChildren, false, 0), o.Children)
	case OpError:
		return AppendInt32(appendMultiHeader(dst, OpError, false, o.Err), int32(o.Err))
	default:
		return appendMultiHeader(dst, o.Type, false, 0)
	}
}

// Decode implements Record. A client learns from the first OpError that is neither 0 nor CodeRuntimeInconsistency why a multi failed.
func (m *MultiResponse) Decode(r *Reader) {
	m.Results = nil
	for {
		typ, done, _ := multiHeader(r)
		if done || r.err != nil {
			return
		}
		res := OpResult{Type: typ}
		switch typ {
		case OpCreate:
			res.Path = r.String()
		case OpCreate2, OpCreateContainer, OpCreateTTL:
			res.Path = r.String()
			res.Stat.Decode(r)
		case OpSetData:
			res.Stat.Decode(r)
		case OpGetData:
			res.Data = r.Buffer()
			res.Stat.Decode(r)
		case OpGetChildren:
			res.Children = r.Strings()
		case OpError:
			res.Err = Code(r.Int32())
		case OpDelete, OpCheck:
		default:
			r.Fail("result of " + typ.String() + " in a multi")
			return
		}
		m.Results = append(m.Results, res)
	}
}
