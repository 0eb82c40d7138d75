package batch_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

var rewrite = flag.Bool("rewrite-golden", false, "rewrite testdata/golden.txt")

func spec() batch.Spec {
	return batch.Spec{
		BaseOffset: 0x0102030405, LeaderEpoch: 7, ProducerID: 4001, ProducerEpoch: 3, BaseSequence: math.MaxInt32 - 1,
	}
}

// three builds a batch of three records: plain, nulls, headers.
func three(t testing.TB, b *batch.Builder) {
	t.Helper()
	require.NoError(t, b.Append(1700000000123, []byte("key"), []byte("value"), nil))
	require.NoError(t, b.Append(1700000000100, nil, nil, nil))
	require.NoError(t, b.Append(1700000000999, []byte{}, []byte{}, []batch.RecordHeader{
		{Key: "h1", Value: []byte("v1")}, {Key: "", Value: nil},
	}))
}

func golden(t *testing.T) map[string][]byte {
	t.Helper()
	var b batch.Builder
	out := map[string][]byte{}
	three(t, &b)
	out["three"] = bytes.Clone(b.Build(spec()))
	b.Reset()
	require.NoError(t, b.Append(0, nil, []byte("x"), nil))
	out["plain"] = bytes.Clone(b.Build(batch.NewSpec()))
	b.Reset()
	out["empty"] = bytes.Clone(b.Build(batch.NewSpec()))
	m := batch.Marker{Type: batch.Commit, CoordinatorEpoch: 9, Timestamp: 1700000000123}
	out["commit"] = batch.AppendMarker(nil, spec(), m)
	m.Type = batch.Abort
	out["abort"] = batch.AppendMarker(nil, spec(), m)
	stamped := bytes.Clone(out["three"])
	batch.SetBaseOffset(stamped, 42)
	batch.SetLeaderEpoch(stamped, 8)
	batch.SetLogAppendTime(stamped, 1800000000000)
	out["stamped"] = stamped
	return out
}

func TestGolden(t *testing.T) {
	got := golden(t)
	names := []string{"three", "plain", "empty", "commit", "abort", "stamped"}
	var text strings.Builder
	for _, n := range names {
		text.WriteString(n + " " + hex.EncodeToString(got[n]) + "\n")
	}
	if *rewrite {
		require.NoError(t, os.WriteFile("testdata/golden.txt", []byte(text.String()), 0o600))
	}
	want, err := os.ReadFile("testdata/golden.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), text.String())
	for _, n := range names {
		_, err := batch.Check(got[n])
		require.NoError(t, err, n)
	}
}

// TestAgainstKmsg holds our reading and writing against franz-go's generated
// decoder and encoder.
func TestAgainstKmsg(t *testing.T) {
	for name, b := range golden(t) {
		h, err := batch.ParseHeader(b)
		require.NoError(t, err)
		k := kmsg.NewRecordBatch()
		require.NoError(t, k.ReadFrom(b), name)
		require.Equal(t, b, k.AppendTo(nil), name)
		require.Equal(t, k.FirstOffset, h.BaseOffset)
		require.Equal(t, k.Length, h.Length)
		require.Equal(t, k.PartitionLeaderEpoch, h.LeaderEpoch)
		require.Equal(t, uint32(k.CRC), h.CRC)
		require.Equal(t, k.Attributes, int16(h.Attributes))
		require.Equal(t, k.LastOffsetDelta, h.LastOffsetDelta)
		require.Equal(t, k.FirstTimestamp, h.BaseTimestamp)
		require.Equal(t, k.MaxTimestamp, h.MaxTimestamp)
		require.Equal(t, k.ProducerID, h.ProducerID)
		require.Equal(t, k.ProducerEpoch, h.ProducerEpoch)
		require.Equal(t, k.FirstSequence, h.BaseSequence)
		require.Equal(t, k.NumRecords, h.Count)
		require.Equal(t, k.Records, batch.Section(b))
		compareRecords(t, h, k.Records)
	}
}

// compareRecords reads a section with our Reader and with kmsg's Record.
func compareRecords(t *testing.T, h batch.Header, section []byte) {
	t.Helper()
	r := batch.NewReader(h, section)
	rest := section
	for r.Next() {
		rec := r.Record()
		n, size := varint(rest)
		k := kmsg.NewRecord()
		require.NoError(t, k.ReadFrom(rest[:size+n]))
		rest = rest[size+n:]
		require.Equal(t, h.BaseOffset+int64(k.OffsetDelta), rec.Offset)
		if h.IsLogAppendTime() {
			require.Equal(t, h.MaxTimestamp, rec.Timestamp)
		} else {
			require.Equal(t, h.BaseTimestamp+k.TimestampDelta64, rec.Timestamp)
		}
		require.Equal(t, k.Key, rec.Key)
		require.Equal(t, k.Value, rec.Value)
		require.Len(t, k.Headers, rec.Headers.Len())
		i := 0
		for key, v, hs, ok := rec.Headers.Next(); ok; key, v, hs, ok = hs.Next() {
			require.Equal(t, k.Headers[i].Key, string(key))
			require.Equal(t, k.Headers[i].Value, v)
			i++
		}
		require.Len(t, k.Headers, i)
	}
	require.NoError(t, r.Err())
	require.Empty(t, rest)
}

func varint(b []byte) (value, size int) {
	var u uint64
	for i := 0; ; i++ {
		u |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return int(int64(u>>1) ^ -int64(u&1)), i + 1
		}
	}
}

func TestRoundTripRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var b batch.Builder
	random := func(n int) []byte {
		if rng.IntN(5) == 0 {
			return nil
		}
		p := make([]byte, rng.IntN(n))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	for range 300 {
		b.Reset()
		n := 1 + rng.IntN(20)
		for range n {
			var hs []batch.RecordHeader
			for range rng.IntN(3) {
				hs = append(hs, batch.RecordHeader{Key: string(random(10)), Value: random(300)})
			}
			key, value := random(200), random(70000)
			before, bound := b.Size(), batch.SizeOf(key, value, hs)
			require.NoError(t, b.Append(rng.Int64N(1<<41), key, value, hs))
			require.LessOrEqual(t, b.Size()-before, bound)
		}
		out := b.Build(spec())
		require.Len(t, out, b.Size())
		h, err := batch.Check(out)
		require.NoError(t, err)
		require.EqualValues(t, n, h.Count)
		compareRecords(t, h, batch.Section(out))
	}
}

func TestSequences(t *testing.T) {
	var b batch.Builder
	three(t, &b)
	h, err := batch.ParseHeader(b.Build(spec()))
	require.NoError(t, err)
	require.EqualValues(t, 0, h.LastSequence()) // max-1, max, 0
	require.EqualValues(t, h.BaseOffset+2, h.LastOffset())
	require.EqualValues(t, h.BaseOffset+3, h.NextOffset())
	require.EqualValues(t, math.MaxInt32, batch.AddSequence(math.MaxInt32, 0))
	require.EqualValues(t, 0, batch.AddSequence(math.MaxInt32, 1))
	require.EqualValues(t, math.MaxInt32-1, batch.AddSequence(math.MaxInt32, math.MaxInt32))
	h.BaseSequence = -1
	require.EqualValues(t, -1, h.LastSequence())
}

func TestCut(t *testing.T) {
	var b batch.Builder
	three(t, &b)
	one := bytes.Clone(b.Build(spec()))
	buf := append(append(bytes.Clone(one), one...), one[:len(one)-1]...)
	n := 0
	for rest := buf; ; n++ {
		h, cut, after, err := batch.Cut(rest)
		if err != nil {
			require.ErrorIs(t, err, batch.ErrPartial)
			require.Len(t, rest, len(one)-1)
			break
		}
		require.Equal(t, one, cut)
		require.Equal(t, len(one), h.Size())
		rest = after
	}
	require.Equal(t, 2, n)
	for i := range len(one) {
		_, _, _, err := batch.Cut(one[:i])
		require.ErrorIs(t, err, batch.ErrPartial, "%d bytes", i)
	}
	_, err := batch.Check(buf)
	require.ErrorIs(t, err, batch.ErrCorrupt)
}

func TestSetProducerAndTimestamp(t *testing.T) {
	var b batch.Builder
	three(t, &b)
	out := bytes.Clone(b.Build(batch.NewSpec()))
	batch.SetProducer(out, 11, 12, 13)
	batch.SetMaxTimestamp(out, 77)
	h, err := batch.Check(out)
	require.NoError(t, err)
	require.EqualValues(t, 11, h.ProducerID)
	require.EqualValues(t, 12, h.ProducerEpoch)
	require.EqualValues(t, 13, h.BaseSequence)
	require.EqualValues(t, 77, h.MaxTimestamp)
	require.True(t, h.IsIdempotent())
}

func TestBuildCompressed(t *testing.T) {
	var b batch.Builder
	three(t, &b)
	plain := bytes.Clone(b.Build(spec()))
	// A "codec" that keeps the first byte, and one that does not help.
	half := func(dst, src []byte) ([]byte, error) { return append(dst, src[0]), nil }
	same := func(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }
	out, err := b.BuildCompressed(spec(), batch.Zstd, half)
	require.NoError(t, err)
	h, err := batch.Check(out)
	require.NoError(t, err)
	require.Equal(t, batch.Zstd, h.Codec())
	require.EqualValues(t, 3, h.Count)
	require.Len(t, out, batch.HeaderLen+1)
	out, err = b.BuildCompressed(spec(), batch.Zstd, same)
	require.NoError(t, err)
	require.Equal(t, plain, out)
	_, err = b.BuildCompressed(spec(), batch.Gzip, func(dst, _ []byte) ([]byte, error) { return dst, os.ErrInvalid })
	require.ErrorIs(t, err, os.ErrInvalid)
	require.ErrorContains(t, err, "gzip")
}

func TestBuilderLimits(t *testing.T) {
	var b batch.Builder
	require.NoError(t, b.AppendAt(math.MaxInt32, 0, nil, nil, nil))
	require.ErrorIs(t, b.Append(0, nil, nil, nil), batch.ErrFull)
	require.Error(t, b.AppendAt(5, 0, nil, nil, nil))
	require.Equal(t, 1, b.Count())
	h, err := batch.Check(b.Build(batch.NewSpec()))
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt32, h.LastOffset())
}

func TestMarkers(t *testing.T) {
	for _, want := range []batch.Marker{
		{Type: batch.Abort, CoordinatorEpoch: 1, Timestamp: 5}, {Type: batch.Commit, CoordinatorEpoch: 1 << 30, Timestamp: 6},
	} {
		b := batch.AppendMarker([]byte("before"), spec(), want)[6:]
		h, err := batch.Check(b)
		require.NoError(t, err)
		require.True(t, h.IsControl())
		require.True(t, h.IsTransactional())
		got, err := batch.ParseMarker(h, b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	var b batch.Builder
	three(t, &b)
	out := b.Build(spec())
	h, err := batch.ParseHeader(out)
	require.NoError(t, err)
	_, err = batch.ParseMarker(h, out)
	require.ErrorIs(t, err, batch.ErrCorrupt)
}
