package batch_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// TestBadHeaders changes one field at a time to what no batch may have (S22).
func TestBadHeaders(t *testing.T) {
	var b batch.Builder
	three(t, &b)
	good := b.Build(spec())
	put16 := func(at int, v uint16) func([]byte) { return func(b []byte) { binary.BigEndian.PutUint16(b[at:], v) } }
	put32 := func(at int, v int32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
	}
	put64 := func(at int, v int64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte)
		want   error
	}{
		{"negative base offset", put64(0, -1), batch.ErrCorrupt},
		{"last offset overflows", put64(0, math.MaxInt64-2), batch.ErrCorrupt},
		{"length negative", put32(8, -1), batch.ErrCorrupt},
		{"length zero", put32(8, 0), batch.ErrCorrupt},
		{"length below header", put32(8, 48), batch.ErrCorrupt},
		{"length at the type's end", put32(8, math.MaxInt32), batch.ErrCorrupt},
		{"length beyond the buffer", put32(8, 1<<20), batch.ErrPartial},
		{"leader epoch", put32(12, -2), batch.ErrCorrupt},
		{"magic 1", func(b []byte) { b[16] = 1 }, batch.ErrMagic},
		{"magic 0", func(b []byte) { b[16] = 0 }, batch.ErrCorrupt},
		{"crc", put32(17, 0), batch.ErrCorrupt},
		{"attributes", put16(21, 1), batch.ErrCorrupt},
		{"last offset delta", put32(23, -1), batch.ErrCorrupt},
		{"producer id", put64(43, -2), batch.ErrCorrupt},
		{"count negative", put32(57, -1), batch.ErrCorrupt},
		{"count above deltas", put32(57, 4), batch.ErrCorrupt},
	} {
		bad := bytes.Clone(good)
		c.change(bad)
		h, cut, _, err := batch.Cut(bad)
		if err == nil {
			err = h.VerifyCRC(cut)
		}
		require.ErrorIs(t, err, c.want, c.name)
	}
	bomb := bytes.Clone(good)
	put32(23, math.MaxInt32)(bomb)
	put32(57, math.MaxInt32)(bomb)
	batch.SetProducer(bomb, 1, 1, 1) // recomputes the CRC
	batch.SetBaseOffset(bomb, 0)
	_, err := batch.Check(bomb)
	require.ErrorContains(t, err, "more than fit")
}

// TestBitFlips: every flip of one bit is found, but in the two fields that the
// CRC does not cover.
func TestBitFlips(t *testing.T) {
	var b batch.Builder
	three(t, &b)
	good := b.Build(spec())
	for i := range len(good) * 8 {
		if at := i / 8; at < 8 || at >= 12 && at < 16 {
			continue
		}
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		_, err := batch.Check(bad)
		require.Error(t, err, "bit %d", i)
	}
}

func TestBadRecords(t *testing.T) {
	h := batch.Header{Count: 1, LastOffsetDelta: 0}
	rec := func(b ...byte) []byte { return append([]byte{byte(len(b)) << 1}, b...) }
	for name, section := range map[string][]byte{
		"empty":                 {},
		"negative length":       {1},
		"endless varint":        bytes.Repeat([]byte{0xff}, 11),
		"cut":                   {14, 0, 0},
		"empty record":          rec(),
		"key beyond":            rec(0, 0, 0, 100, 1, 0),
		"key length -2":         rec(0, 0, 0, 3, 1, 0),
		"value beyond":          rec(0, 0, 0, 1, 100, 0),
		"header count":          rec(0, 0, 0, 1, 1, 100),
		"negative header count": rec(0, 0, 0, 1, 1, 1),
		"null header key":       rec(0, 0, 0, 1, 1, 2, 1, 1),
		"header value beyond":   rec(0, 0, 0, 1, 1, 2, 0, 100),
		"bytes left in record":  rec(0, 0, 0, 1, 1, 0, 9),
		"offset delta":          rec(0, 0, 2, 1, 1, 0),
		"negative offset delta": rec(0, 0, 1, 1, 1, 0),
		"bytes after":           append(rec(0, 0, 0, 1, 1, 0), 0),
	} {
		r := batch.NewReader(h, section)
		for r.Next() {
			require.LessOrEqual(t, r.Record().Offset, int64(0))
		}
		require.ErrorIs(t, r.Err(), batch.ErrCorrupt, name)
		require.False(t, r.Next())
	}
	h = batch.Header{Count: 2, LastOffsetDelta: 1}
	same := append(rec(0, 0, 0, 1, 1, 0), rec(0, 0, 0, 1, 1, 0)...)
	r := batch.NewReader(h, same)
	require.True(t, r.Next())
	require.False(t, r.Next(), "offsets must increase")
	require.ErrorIs(t, r.Err(), batch.ErrCorrupt)
	h = batch.Header{Count: 1, BaseTimestamp: math.MaxInt64}
	r = batch.NewReader(h, rec(0, 2, 0, 1, 1, 0))
	require.False(t, r.Next(), "timestamp overflow")
	h.BaseTimestamp = math.MinInt64
	r = batch.NewReader(h, rec(0, 1, 0, 1, 1, 0))
	require.False(t, r.Next(), "timestamp underflow")
}

func TestAllocations(t *testing.T) {
	var b batch.Builder
	headers := []batch.RecordHeader{{Key: "h", Value: []byte("v")}}
	key, value := []byte("key"), make([]byte, 100)
	fill := func() {
		b.Reset()
		for i := range 100 {
			if b.Append(int64(i), key, value, headers) != nil {
				panic("append")
			}
		}
		b.Build(batch.NewSpec())
	}
	fill()
	require.Zero(t, testing.AllocsPerRun(20, fill))
	out := b.Build(batch.NewSpec())
	require.Zero(t, testing.AllocsPerRun(20, func() {
		h, err := batch.Check(out)
		r := batch.NewReader(h, batch.Section(out))
		n := 0
		for r.Next() {
			for _, _, hs, ok := r.Record().Headers.Next(); ok; _, _, hs, ok = hs.Next() {
				n++
			}
		}
		if err != nil || r.Err() != nil || n != 100 {
			panic("read")
		}
	}))
}

func FuzzBatch(f *testing.F) {
	var b batch.Builder
	three(f, &b)
	f.Add(b.Build(spec()))
	f.Add(batch.AppendMarker(nil, spec(), batch.Marker{Type: batch.Commit}))
	f.Add(make([]byte, batch.HeaderLen))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		for rest := data; ; {
			h, cut, after, err := batch.Cut(rest)
			if err != nil {
				break
			}
			total += len(cut)
			require.Equal(t, len(cut), h.Size())
			require.GreaterOrEqual(t, h.NextOffset(), h.BaseOffset+1)
			_ = h.VerifyCRC(cut)
			_, _ = batch.ParseMarker(h, cut)
			rebuild(t, h, batch.Section(cut))
			rest = after
		}
		require.LessOrEqual(t, total, len(data))
	})
}

// rebuild reads records and, if they are all good, writes them anew and reads
// them again.
func rebuild(t *testing.T, h batch.Header, section []byte) {
	var b batch.Builder
	r := batch.NewReader(h, section)
	var want []batch.Record
	for r.Next() {
		rec := r.Record()
		var hs []batch.RecordHeader
		for k, v, rest, ok := rec.Headers.Next(); ok; k, v, rest, ok = rest.Next() {
			hs = append(hs, batch.RecordHeader{Key: string(k), Value: v})
		}
		require.Len(t, hs, rec.Headers.Len())
		if b.AppendAt(int32(rec.Offset-h.BaseOffset), rec.Timestamp, rec.Key, rec.Value, hs) != nil {
			return
		}
		want = append(want, rec)
	}
	if r.Err() != nil || len(want) == 0 || h.IsLogAppendTime() {
		return
	}
	for _, w := range want { // deltas that do not fit an int64 cannot be written
		d := w.Timestamp - want[0].Timestamp
		if (d > 0) != (w.Timestamp > want[0].Timestamp) && d != 0 {
			return
		}
	}
	s := batch.NewSpec()
	s.BaseOffset = h.BaseOffset
	out := b.Build(s)
	got, err := batch.Check(out)
	require.NoError(t, err)
	r = batch.NewReader(got, batch.Section(out))
	for _, w := range want {
		require.True(t, r.Next(), "%v", r.Err())
		rec := r.Record()
		require.Equal(t, w.Offset, rec.Offset)
		require.Equal(t, w.Timestamp, rec.Timestamp)
		require.Equal(t, w.Key, rec.Key)
		require.Equal(t, w.Value, rec.Value)
	}
	require.False(t, r.Next())
	require.NoError(t, r.Err())
}

func BenchmarkCheck1MiB(b *testing.B) {
	out := filled(b, 1<<20)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := batch.Check(out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	var bb batch.Builder
	value := make([]byte, 100)
	b.SetBytes(100)
	b.ReportAllocs()
	for b.Loop() {
		if bb.Size() > 1<<20 {
			bb.Build(batch.NewSpec())
			bb.Reset()
		}
		_ = bb.Append(1, nil, value, nil)
	}
}

func BenchmarkRead(b *testing.B) {
	out := filled(b, 1<<20)
	h, err := batch.Check(out)
	require.NoError(b, err)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		r := batch.NewReader(h, batch.Section(out))
		for r.Next() {
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
	b.ReportMetric(float64(h.Count)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func filled(tb testing.TB, size int) []byte {
	var b batch.Builder
	value := make([]byte, 100)
	for b.Size() < size {
		require.NoError(tb, b.Append(1, nil, value, nil))
	}
	return bytes.Clone(b.Build(batch.NewSpec()))
}
