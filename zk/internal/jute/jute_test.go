package jute

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// clientOps are all operations that a client may send.
var clientOps = []OpCode{
	OpCreate, OpDelete, OpExists, OpGetData, OpSetData, OpGetACL, OpSetACL, OpGetChildren, OpSync, OpPing, OpGetChildren2, OpCheck,
	OpMulti, OpCreate2, OpReconfig, OpCheckWatches, OpRemoveWatches, OpCreateContainer, OpDeleteContainer, OpCreateTTL, OpMultiRead,
	OpAuth, OpSetWatches, OpSASL, OpGetEphemerals, OpGetAllChildrenNumber, OpSetWatches2, OpAddWatch, OpWhoAmI, OpCloseSession,
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// TestGolden pins the bytes of records; those of the handshake, of multi and of notifications were seen on the wire of 3.9 servers.
func TestGolden(t *testing.T) {
	stat := Stat{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	const statHex = "0000000000000001 0000000000000002 0000000000000003 0000000000000004 00000005 00000006 00000007 " +
		"0000000000000008 00000009 0000000a 000000000000000b"
	for _, c := range []struct {
		name string
		rec  Record
		want string
	}{
		{"connect request of an old client", &ConnectRequest{Timeout: 10000, Password: make([]byte, 16)}, "00000000 0000000000000000 00002710" +
			"0000000000000000 00000010 00000000000000000000000000000000"},
		{"connect request", &ConnectRequest{0, 5, 10000, 6, []byte{1}, true, true}, "00000000 0000000000000005 00002710 0000000000000006" +
			"00000001 01 01"},
		{"connect response", &ConnectResponse{0, 4000, 7, []byte{1, 2}, false, true}, "00000000 00000fa0 0000000000000007 00000002 0102 00"},
		{"request header", &RequestHeader{-2, OpPing}, "fffffffe 0000000b"},
		{"reply header", &ReplyHeader{3, 1 << 32, CodeNoNode}, "00000003 0000000100000000 ffffff9b"},
		{"event", &WatcherEvent{EventDeleted, StateSyncConnected, "/a"}, "00000002 00000003 00000002 2f61"},
		{"stat", &stat, statHex},
		{"create with null data", &CreateRequest{"/a", nil, OpenACL(), FlagEphemeralSequential}, "00000002 2f61 ffffffff 00000001 0000001f" +
			"00000005 776f726c64 00000006 616e796f6e65 00000003"},
		{"create with empty data", &CreateRequest{"/a", []byte{}, nil, 0}, "00000002 2f61 00000000 00000000 00000000"},
		{"createTTL", &CreateTTLRequest{CreateRequest{"/a", []byte("d"), nil, FlagTTL}, 9}, "00000002 2f61 00000001 64 00000000 00000005" +
			"0000000000000009"},
		{"setWatches", &SetWatchesRequest{RelativeZxid: 1, Data: []string{"/a"}}, "0000000000000001 00000001 00000002 2f61 00000000 00000000"},
		{"setWatches2", &SetWatchesRequest{Two: true, PersistentRecursive: []string{"/"}}, "0000000000000000 00000000 00000000 00000000 00000000" +
			"00000001 00000001 2f"},
		{"auth", &AuthRequest{0, "digest", []byte("u:p")}, "00000000 00000006 646967657374 00000003 753a70"},
		{"reconfig", &ReconfigRequest{Joining: new(""), ConfigVersion: -1}, "00000000 ffffffff ffffffff ffffffffffffffff"},
		{"multi", &MultiRequest{Ops: []Op{
			{Type: OpCreate, Path: "/a", Flags: 1},
			{Type: OpDelete, Path: "/b", Version: -1},
		}}, "00000001 00 ffffffff 00000002 2f61 ffffffff 00000000 00000001" +
			"00000002 00 ffffffff 00000002 2f62 ffffffff ffffffff 01 ffffffff"},
		{"multi done", &MultiResponse{[]OpResult{
			{Type: OpCreate, Path: "/a"},
			{Type: OpCreate2, Path: "/b", Stat: stat},
			{Type: OpSetData, Stat: stat},
			{Type: OpDelete},
		}}, "00000001 00 00000000 00000002 2f61 0000000f 00 00000000 00000002 2f62" + statHex + "00000005 00 00000000" + statHex +
			"00000002 00 00000000 ffffffff 01 ffffffff"},
		{"multi failed", &MultiResponse{[]OpResult{
			{Type: OpError},
			{Type: OpError, Err: CodeNodeExists},
			{Type: OpError, Err: CodeRuntimeInconsistency},
		}}, "ffffffff 00 00000000 00000000 ffffffff 00 ffffff92 ffffff92 ffffffff 00 fffffffe fffffffe ffffffff 01 ffffffff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.want)
			require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(c.rec.Append(nil)))
			back := reflect.New(reflect.TypeOf(c.rec).Elem()).Interface().(Record)
			if s, ok := c.rec.(*SetWatchesRequest); ok {
				back.(*SetWatchesRequest).Two = s.Two
			}
			r := NewReader(want)
			back.Decode(&r)
			require.NoError(t, r.End())
			require.Equal(t, want, back.Append(nil))
		})
	}
}

func TestNotification(t *testing.T) {
	b := AppendNotification([]byte{9}, 5, EventCreated, "/a")
	require.Equal(t, unhex(t, "09 0000001e ffffffff 0000000000000005 00000000 00000001 00000003 00000002 2f61"), b)
}

func TestNullAndEmptyBuffers(t *testing.T) {
	r := NewReader(unhex(t, "ffffffff 00000000 00000000 ffffffff"))
	null, empty := r.Buffer(), r.Buffer()
	require.Nil(t, null)
	require.NotNil(t, empty)
	require.Empty(t, empty)
	require.Equal(t, "", *r.NullString())
	require.Nil(t, r.NullString())
	require.NoError(t, r.End())
}

// sample fills a record with values that differ from field to field, by reflection.
func sample(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		sample(v.Elem(), n)
	case reflect.Struct:
		for _, field := range v.Fields() {
			sample(field, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			sample(v.Index(i), n)
		}
	case reflect.String:
		v.SetString("/s" + strings.Repeat("x", *n%7))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(*n % 256))
	default:
		v.SetInt(int64(*n))
	}
}

func TestRoundTripOfEveryOperation(t *testing.T) {
	for _, op := range clientOps {
		for _, rec := range []Record{NewRequest(op), NewReply(op)} {
			require.NotNil(t, rec, op)
			n := 0
			switch m := rec.(type) {
			case *MultiRequest:
				m.Ops = sampleOps(m.Read)
			case *MultiResponse:
				m.Results = sampleResults()
			case *Empty:
			default:
				sample(reflect.ValueOf(rec).Elem(), &n)
			}
			b := rec.Append(nil)
			for _, r := range []Reader{NewReader(b), NewAliasReader(b)} {
				back := reflect.New(reflect.TypeOf(rec).Elem()).Interface().(Record)
				switch m := back.(type) {
				case *MultiRequest:
					m.Read = rec.(*MultiRequest).Read
				case *SetWatchesRequest:
					m.Two = rec.(*SetWatchesRequest).Two
				}
				back.Decode(&r)
				require.NoError(t, r.End(), op)
				require.Equal(t, rec, back, op)
			}
			for cut := range b { // every truncation fails
				r := NewReader(b[:cut:cut])
				rec.Decode(&r)
				require.ErrorIs(t, r.End(), ErrMalformed, "%v cut at %d", op, cut)
			}
		}
	}
	require.Nil(t, NewRequest(10))
	require.Nil(t, NewReply(OpCreateSession))
}

func sampleOps(read bool) []Op {
	if read {
		return []Op{{Type: OpGetData, Path: "/a", Watch: true}, {Type: OpGetChildren, Path: "/b"}}
	}
	return []Op{
		{Type: OpCreate, Path: "/a", Data: []byte("x"), ACL: OpenACL(), Flags: 1},
		{Type: OpCreate2, Path: "/b", ACL: OpenACL()},
		{Type: OpCreateContainer, Path: "/c", Flags: 4, ACL: OpenACL()},
		{Type: OpCreateTTL, Path: "/d", Flags: 5, TTL: 7, ACL: OpenACL()},
		{Type: OpDelete, Path: "/e", Version: -1},
		{Type: OpSetData, Path: "/f", Data: []byte{}, Version: 3},
		{Type: OpCheck, Path: "/g", Version: 2},
	}
}

func sampleResults() []OpResult {
	return []OpResult{
		{Type: OpCreate, Path: "/a"},
		{Type: OpCreate2, Path: "/b", Stat: Stat{Czxid: 4}},
		{Type: OpSetData, Stat: Stat{Version: 2}},
		{Type: OpDelete},
		{Type: OpCheck},
		{Type: OpError, Err: CodeNoAuth},
		{Type: OpGetData, Data: []byte("d"), Stat: Stat{Pzxid: 9}},
		{Type: OpGetChildren, Children: []string{"x", "y"}},
	}
}

// TestCountBomb is row S5: a vector that announces more than the record can hold is refused before it is allocated.
func TestCountBomb(t *testing.T) {
	for _, count := range []int32{math.MaxInt32, 1 << 20, -2, math.MinInt32} {
		acl := AppendInt32(AppendBuffer(AppendString(nil, "/a"), nil), count)
		paths := AppendInt32(AppendInt64(nil, 0), count)
		buffer := AppendInt32(AppendString(nil, "/a"), count)
		var cr CreateRequest
		var sw SetWatchesRequest
		var sd SetDataRequest
		allocated := testing.AllocsPerRun(10, func() {
			r := NewAliasReader(acl)
			cr.Decode(&r)
			require.ErrorIs(t, r.Err(), ErrMalformed)
			r = NewAliasReader(paths)
			sw.Decode(&r)
			require.ErrorIs(t, r.Err(), ErrMalformed)
			r = NewAliasReader(buffer)
			sd.Decode(&r)
			require.ErrorIs(t, r.Err(), ErrMalformed)
		})
		require.Less(t, allocated, 100.0)
	}
}

func TestMultiRefusesOtherOperations(t *testing.T) {
	for _, c := range []struct {
		read bool
		op   Op
	}{{false, Op{Type: OpGetData}}, {true, Op{Type: OpDelete}}, {false, Op{Type: OpMulti}}, {false, Op{Type: OpSetACL}}, {false, Op{Type: OpDeleteContainer}}} {
		b := (&MultiRequest{Ops: []Op{c.op}}).Append(nil)
		r := NewReader(b)
		m := MultiRequest{Read: c.read}
		m.Decode(&r)
		require.ErrorIs(t, r.Err(), ErrMalformed)
	}
}

func TestErrorNamesThePlace(t *testing.T) {
	r := NewReader(unhex(t, "00000005 2f61"))
	_ = r.String()
	require.EqualError(t, r.Err(), "malformed record at byte 4 of 6: length 5, 2 bytes left")
	require.Zero(t, r.Int64(), "the first error stays")
	require.EqualError(t, r.Err(), "malformed record at byte 4 of 6: length 5, 2 bytes left")
}

func TestNames(t *testing.T) {
	require.Equal(t, "getAllChildrenNumber", OpGetAllChildrenNumber.String())
	require.Equal(t, "op99", OpCode(99).String())
	require.Equal(t, "zookeeper: NoNode", CodeNoNode.Error())
	require.Equal(t, "Code-99", Code(-99).String())
}

func TestAllocations(t *testing.T) {
	body := (&PathWatchRequest{"/some/path", true}).Append(nil)
	set := (&SetDataRequest{"/some/path", []byte("data"), -1}).Append(nil)
	create := (&CreateRequest{"/some/path", []byte("data"), OpenACL(), 0}).Append(nil)
	var op Op
	op.ACL = make([]ACL, 0, 1)
	out := make([]byte, 0, 1024)
	stat := Stat{}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		r := NewAliasReader(body)
		var q PathWatchRequest
		q.Decode(&r)
		r = NewAliasReader(set)
		op.DecodeBody(&r, OpSetData)
		r = NewAliasReader(create)
		op.DecodeBody(&r, OpCreate)
		out = AppendNotification(stat.Append(out[:0]), 1, EventCreated, q.Path)
	}))
}

// FuzzRequest decodes requests of every operation: no panic, bounded allocation, and what decodes encodes to what decodes the same.
func FuzzRequest(f *testing.F) {
	for _, op := range clientOps {
		rec := NewRequest(op)
		n := 0
		switch m := rec.(type) {
		case *MultiRequest:
			m.Ops = sampleOps(m.Read)
		case *Empty:
		default:
			sample(reflect.ValueOf(rec).Elem(), &n)
		}
		f.Add(int32(op), rec.Append(nil))
	}
	f.Add(int32(0), (&ConnectRequest{Password: make([]byte, 16)}).Append(nil))
	f.Fuzz(func(t *testing.T, op int32, b []byte) {
		fuzzRecord(t, b, NewRequest(OpCode(op)), NewRequest(OpCode(op)))
		fuzzRecord(t, b, new(ConnectRequest), new(ConnectRequest))
		var o Op
		r := NewAliasReader(b)
		o.DecodeBody(&r, OpCode(op))
	})
}

// FuzzReply decodes replies of every operation, as a client must from a server that it cannot trust to be right.
func FuzzReply(f *testing.F) {
	for _, op := range clientOps {
		f.Add(int32(op), bytes.Repeat([]byte{0, 0, 0, 1}, 20))
	}
	f.Add(int32(OpMulti), (&MultiResponse{sampleResults()}).Append(nil))
	f.Fuzz(func(t *testing.T, op int32, b []byte) {
		fuzzRecord(t, b, NewReply(OpCode(op)), NewReply(OpCode(op)))
		fuzzRecord(t, b, new(ConnectResponse), new(ConnectResponse))
		fuzzRecord(t, b, new(WatcherEvent), new(WatcherEvent))
	})
}

func fuzzRecord(t *testing.T, b []byte, rec, back Record) {
	if rec == nil {
		return
	}
	r := NewReader(b)
	rec.Decode(&r)
	if r.Err() != nil {
		require.ErrorIs(t, r.Err(), ErrMalformed)
		return
	}
	first := rec.Append(nil)
	require.LessOrEqual(t, len(first), len(b)+64, "nothing may grow but nulls into empty values")
	r = NewReader(first)
	back.Decode(&r)
	require.NoError(t, r.End())
	require.Equal(t, first, back.Append(nil))
}

func BenchmarkDecodeSetData(b *testing.B) {
	body := (&SetDataRequest{"/some/path/of/a/znode", make([]byte, 100), -1}).Append(nil)
	var op Op
	b.ReportAllocs()
	for b.Loop() {
		r := NewAliasReader(body)
		op.DecodeBody(&r, OpSetData)
	}
}

func BenchmarkAppendStat(b *testing.B) {
	var buf []byte
	stat := Stat{Czxid: 1}
	b.ReportAllocs()
	for b.Loop() {
		buf = stat.Append(buf[:0])
	}
}

// Rows of creates in a multi, measured on 3.9.5: what the flags make of the operation, or -5 for the whole.
func TestCreateFlagsInMulti(t *testing.T) {
	for _, row := range []struct {
		op    OpCode
		flags int32
		want  OpCode // OpError: the multi does not decode
	}{
		{OpCreate, 0, OpCreate},
		{OpCreate, 4, OpCreateContainer},
		{OpCreate2, 3, OpCreate2},
		{OpCreateContainer, 4, OpCreateContainer},
		{OpCreateContainer, 0, OpCreateContainer},
		{OpCreateTTL, 5, OpCreateTTL},
		{OpCreateTTL, 6, OpCreateTTL},
		{OpCreateTTL, 0, OpCreate},
		{OpCreateTTL, 4, OpCreateContainer},
		{OpCreateTTL, -1, OpCreate},
		{OpCreateTTL, 7, OpCreate},
		{OpCreate, 5, OpError},
		{OpCreate2, 6, OpError},
		{OpCreateContainer, 6, OpError},
		{OpCreate, -1, OpError},
		{OpCreate2, 7, OpError},
	} {
		r := NewReader((&MultiRequest{Ops: []Op{{Type: row.op, Path: "/x", ACL: OpenACL(), Flags: row.flags, TTL: 9}}}).Append(nil))
		var q MultiRequest
		q.Decode(&r)
		if row.want == OpError {
			require.ErrorIs(t, r.Err(), ErrMalformed, "%v %d", row.op, row.flags)
			continue
		}
		require.NoError(t, r.Err())
		require.Equal(t, row.want, q.Ops[0].Type, "%v %d", row.op, row.flags)
		require.Equal(t, row.flags, q.Ops[0].Flags)
	}
}
