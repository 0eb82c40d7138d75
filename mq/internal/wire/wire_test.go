package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// encoder is what all of kmsg's messages have in common.
type encoder interface {
	Message
	kmsg.UnsafeReadFrom
	AppendTo([]byte) []byte
}

// sample is one message in one version.
type sample struct {
	name   string
	layout *layout
	// make returns a new one.
	make func() encoder
}

// samples returns every message that has a layout, in every version that kmsg knows.
func samples() []sample {
	var all []sample
	add := func(l *layout, version int16, m any, set func(any)) {
		typ := reflect.TypeOf(m).Elem()
		all = append(all, sample{fmt.Sprintf("%s v%d", typ.Name(), version), l, func() encoder {
			m := reflect.New(typ).Interface()
			set(m)
			return m.(encoder)
		}})
	}
	for key, l := range requests {
		if l == nil {
			continue
		}
		key := kmsg.Key(key)
		for v := range key.Request().MaxVersion() + 1 {
			add(l, v, key.Request(), func(m any) { m.(kmsg.Request).SetVersion(v) })
			add(responses[key], v, key.Response(), func(m any) { m.(kmsg.Response).SetVersion(v) })
		}
	}
	for _, m := range []encoder{
		&kmsg.OffsetCommitKey{}, &kmsg.OffsetCommitValue{}, &kmsg.GroupMetadataKey{}, &kmsg.GroupMetadataValue{},
		&kmsg.ConsumerMemberMetadata{}, &kmsg.ConsumerMemberAssignment{},
	} {
		l, _ := of(m, nil)
		for v := range int16(5) {
			add(l, v, m, func(m any) { reflect.ValueOf(m).Elem().FieldByName("Version").SetInt(int64(v)) })
		}
	}
	return all
}

// fill sets everything in v but versions to something.
func fill(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
			for range rng.IntN(3) {
				tags.Set(100+rng.Uint32N(1<<30), make([]byte, rng.IntN(5)))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Version" {
				fill(rng, v.Field(i))
			}
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.Slice:
		if rng.IntN(4) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
		}
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.String:
		v.SetString(string(bytes.Repeat([]byte("x"), rng.IntN(rng.IntN(200)+1))))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) > 0)
	case reflect.Uint8:
		v.SetUint(rng.Uint64N(256))
	default:
		v.SetInt(int64(rng.Uint64()) >> (64 - v.Type().Bits()))
	}
}

// random is a filled message of a sample, encoded.
func (s *sample) random(rng *rand.Rand) []byte {
	m := s.make()
	fill(rng, reflect.ValueOf(m).Elem())
	return m.AppendTo(nil)
}

// Whatever kmsg encodes is walked to its last byte, whatever follows; without the last byte, or any more, it is refused.
func TestEverythingEncodedPasses(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range samples() {
		for range 20 {
			b := s.random(rng)
			n, err := check(s.make(), b)
			require.NoError(t, err, s.name)
			require.Equal(t, len(b), n, s.name)
			n, err = check(s.make(), append(slices.Clip(b), 1, 2, 3))
			require.NoError(t, err, s.name)
			require.Equal(t, len(b), n, s.name)
			m := s.make()
			require.NoError(t, DecodeAlias(m, b), s.name)
			require.Equal(t, b, m.AppendTo(nil), s.name)
		}
		b := s.random(rng)
		for i := range b {
			require.Error(t, Decode(s.make(), b[:i]), "%s cut at %d", s.name, i)
		}
	}
}

// The tables name kmsg's fields in kmsg's order, and account for the sizes of all its structures.
func TestLayoutsAreOfKmsg(t *testing.T) {
	var compare func(path string, fields []field, typ reflect.Type)
	compare = func(path string, fields []field, typ reflect.Type) {
		for sf := range typ.Fields() {
			if sf.Name == "UnknownTags" || sf.Name == "Version" && (len(fields) == 0 || fields[0].name != "Version") {
				continue
			}
			require.NotEmpty(t, fields, "%s.%s is missing", path, sf.Name)
			f := &fields[0]
			fields = fields[1:]
			require.Equal(t, sf.Name, f.name, path)
			elem := sf.Type
			if f.kind == array || f.kind == texts {
				elem = elem.Elem()
			}
			require.LessOrEqual(t, int64(elem.Size()), max(f.cost, f.held()), "%s.%s", path, sf.Name)
			if elem.Kind() == reflect.Struct {
				compare(path+"."+sf.Name, f.elem, elem)
			}
		}
		require.Empty(t, fields, path)
	}
	for _, s := range samples() {
		typ := reflect.TypeOf(s.make()).Elem()
		compare(typ.Name(), s.layout.fields, typ)
	}
}

// allocated is what f allocates, in bytes. Other goroutines must be quiet.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// bomb builds messages that are made to decode to as much as possible.
type bomb struct {
	version  int16
	flexible bool
	// n is how many elements the arrays have of whose fields names has one, the others have one.
	n     int
	array string
	// tags is how many unknown tagged fields every structure has, chars how many bytes a string has.
	tags, chars int
}

func (x *bomb) length(b []byte, f *field, n int) []byte {
	switch {
	case x.flexible:
		return binary.AppendUvarint(b, uint64(n)+1)
	case f.kind == text:
		return binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		return binary.BigEndian.AppendUint32(b, uint32(n))
	}
}

func (x *bomb) fields(b []byte, fields []field, structure bool) []byte {
	for i := range fields {
		if f := &fields[i]; f.tag < 0 && x.version >= f.from && x.version <= f.to {
			b = x.field(b, f)
		}
	}
	if !x.flexible || !structure {
		return b
	}
	b = binary.AppendUvarint(b, uint64(x.tags))
	for i := range x.tags {
		b = append(binary.AppendUvarint(b, uint64(100+i)), 0)
	}
	return b
}

func (x *bomb) field(b []byte, f *field) []byte {
	switch f.kind {
	case fixed:
		return append(b, make([]byte, f.size)...)
	case text:
		return append(x.length(b, f, x.chars), bytes.Repeat([]byte("x"), x.chars)...)
	case blob:
		return x.length(b, f, 0)
	}
	n := 1
	if f.name == x.array {
		n = x.n
	}
	b = x.length(b, f, n)
	for range n {
		b = append(b, make([]byte, f.size)...)
		b = x.fields(b, f.elem, f.kind == array && f.elem != nil)
	}
	return b
}

// arrays returns the names of all arrays.
func arrays(fields []field) (names []string) {
	for _, f := range fields {
		if f.kind == array || f.kind == texts {
			names = append(names, f.name)
		}
		names = append(names, arrays(f.elem)...)
	}
	return names
}

// No bytes decode to more than the bound, whether they are refused for it or not, and small ones that are dense pass.
func TestBombs(t *testing.T) {
	if underRace {
		t.Skip("the race detector has appends allocate twice")
	}
	refused := 0
	all := samples()
	for i, s := range all {
		m := s.make()
		head := []byte(nil)
		if s.layout.fields[0].name == "Version" {
			head = m.AppendTo(nil)[:2]
		}
		_, version := of(m, head)
		last := version+1 == s.layout.flexible || i+2 >= len(all) || all[i+2].layout != s.layout
		for _, name := range append(arrays(s.layout.fields), "") {
			for _, x := range []bomb{{n: 50}, {n: 9000}, {n: 5000, chars: 1}, {n: 3000, chars: 9}, {n: 500, tags: 1}, {n: 1, tags: 500}} {
				if x.n != 50 && !last {
					continue // versions between differ too little
				}
				x.version, x.flexible, x.array = version, version >= s.layout.flexible, name
				b := x.fields(nil, s.layout.fields, true)
				copy(b, head)
				var err error
				bytes := allocated(func() { err = Decode(m, b) })
				require.LessOrEqual(t, bytes, budget(len(b)), "%s %+v: %d bytes", s.name, x, len(b))
				if x.n == 50 {
					require.NoError(t, err, "%s %+v", s.name, x)
				}
				if err != nil {
					refused++
					require.Less(t, bytes, int64(2000), "%s %+v", s.name, x)
				}
			}
		}
	}
	require.Positive(t, refused)
}

// What kmsg would loop or allocate for is refused at once.
func TestCountsAreChecked(t *testing.T) {
	for name, tc := range map[string]struct {
		key     kmsg.Key
		version int16
		body    []byte
		want    string
	}{
		"tags":              {kmsg.Heartbeat, 4, []byte{1, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}, "wire: 4294967295 tagged fields, 0 bytes left"},
		"tags of 33 bits":   {kmsg.Heartbeat, 4, []byte{1, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x1f}, "wire: number of more than 32 bits"},
		"tag's size":        {kmsg.Heartbeat, 4, []byte{1, 0, 0, 0, 0, 1, 0, 1, 100, 2, 0}, "wire: tagged field of 2 bytes, 1 bytes left"},
		"count":             {kmsg.DeleteGroups, 0, []byte{0x7f, 0xff, 0xff, 0xff, 0}, "wire: Groups: array of 2147483647 elements"},
		"compact count":     {kmsg.DeleteGroups, 2, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, "wire: Groups: array of 4294967294 elements"},
		"nested count":      {kmsg.OffsetFetch, 1, []byte{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9, 0}, "wire: Topics: Partitions: array of 9 elements, 1 bytes left"},
		"null array":        {kmsg.DeleteGroups, 0, []byte{0xff, 0xff, 0xff, 0xff}, "wire: Groups: length of -1"},
		"below null":        {kmsg.OffsetFetch, 2, []byte{0, 0, 0xff, 0xff, 0xff, 0xfe}, "wire: Topics: length of -2"},
		"null string":       {kmsg.FindCoordinator, 0, []byte{0xff, 0xff}, "wire: CoordinatorKey: length of -1"},
		"long string":       {kmsg.FindCoordinator, 3, append([]byte{0x81, 0x80, 0x02}, make([]byte, 32770)...), "string of 32768 bytes"},
		"known tag, short":  {kmsg.Fetch, 12, append(make([]byte, 25), 1, 1, 1, 1, 1, 3, 0, 0, 0, 0), "ReplicaState: ID"},
		"known tag, long":   {kmsg.Fetch, 12, append(make([]byte, 25), 1, 1, 1, 1, 1, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), "tagged field 1 is longer than its value"},
		"version below all": {kmsg.Heartbeat, -1, nil, "wire: version -1"},
	} {
		req := tc.key.Request()
		req.SetVersion(tc.version)
		_, err := check(req, tc.body)
		require.ErrorContains(t, err, tc.want, name)
	}
	require.ErrorContains(t, Decode(&kmsg.LeaderAndISRRequest{}, nil), "no layout")
	rest, err := SkipTags([]byte{1, 9, 2, 7, 7, 5})
	require.NoError(t, err)
	require.Equal(t, []byte{5}, rest)
	_, err = SkipTags([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0})
	require.ErrorContains(t, err, "4294967295 tagged fields")
}

// What is checked is what kmsg reads: to the same end, without an error.
func FuzzDecode(f *testing.F) {
	all := samples()
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range all {
		f.Add(uint16(i), all[i].random(rng))
	}
	f.Fuzz(func(t *testing.T, i uint16, b []byte) {
		s := &all[int(i)%len(all)]
		n, err := check(s.make(), b)
		if err != nil {
			return
		}
		require.NoError(t, s.make().ReadFrom(b))
		require.NoError(t, s.make().UnsafeReadFrom(b[:n]))
		if n > 0 {
			require.Error(t, s.make().ReadFrom(b[:n-1]))
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	produce := kmsg.NewPtrProduceRequest()
	produce.Version = 9
	produce.Topics = []kmsg.ProduceRequestTopic{{Topic: "orders", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: make([]byte, 16<<10)}}}}
	fetch := kmsg.NewPtrFetchResponse()
	fetch.Version = 12
	part := kmsg.NewFetchResponseTopicPartition()
	part.RecordBatches = make([]byte, 16<<10)
	fetch.Topics = []kmsg.FetchResponseTopic{{Topic: "orders", Partitions: []kmsg.FetchResponseTopicPartition{part}}}
	for name, m := range map[string]encoder{"produce": produce, "fetched": fetch} {
		body := m.AppendTo(nil)
		b.Run(name+"/check", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := check(m, body); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/decode", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := DecodeAlias(m, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
