package codec_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
)

var rewrite = flag.Bool("rewrite-golden", false, "rewrite testdata/golden.txt")

var codecs = []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd}

// text is compressible, but not beyond MaxRatio; noise is not.
func text(n int) []byte {
	b := make([]byte, 0, n+100)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "the quick brown fox jumps over %d lazy dogs. ", i*i)
	}
	return b[:n]
}

func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	words, random, zeros := text(3<<19), noise(3<<19), make([]byte, 1<<20)
	for _, c := range codecs {
		for _, n := range []int{0, 1, 10, 1000, 32 << 10, 32<<10 + 1, 200_000, 3 << 19} {
			for name, src := range map[string][]byte{"text": words[:n], "noise": random[:n], "zeros": zeros[:min(n, 1<<20)]} {
				id := fmt.Sprintf("%s %s %d", c, name, n)
				z, err := codec.Compress([]byte("before"), src, c, 0)
				require.NoError(t, err, id)
				require.True(t, bytes.HasPrefix(z, []byte("before")), id)
				out, err := codec.Decompress([]byte("there"), z[6:], c, 0)
				require.NoError(t, err, id)
				require.True(t, bytes.Equal(append([]byte("there"), src...), out), id)
				if name == "text" && n > 1000 && c != batch.None {
					require.Less(t, len(z), n/2, id)
				}
			}
		}
	}
}

func TestLevels(t *testing.T) {
	src := text(50_000)
	for _, c := range codecs {
		for _, level := range []int{-3, 0, 1, 3, 6, 9, 10, 12, 19, 22, 25} {
			z, err := codec.Compress(nil, src, c, level)
			require.NoError(t, err, "%s %d", c, level)
			out, err := codec.Decompress(nil, z, c, len(src))
			require.NoError(t, err, "%s %d", c, level)
			require.True(t, bytes.Equal(src, out))
		}
	}
}

// TestGolden: what was once written stays readable. The bytes are not compared with
// what is written today: a new version of a library may compress otherwise.
func TestGolden(t *testing.T) {
	src := text(100)
	made := map[batch.Codec][]byte{}
	for _, c := range codecs[1:] {
		z, err := codec.Compress(nil, src, c, 0)
		require.NoError(t, err)
		made[c] = z
	}
	if *rewrite {
		var b bytes.Buffer
		for _, c := range codecs[1:] {
			fmt.Fprintf(&b, "%d %s\n", c, hex.EncodeToString(made[c]))
		}
		require.NoError(t, os.WriteFile("testdata/golden.txt", b.Bytes(), 0o600))
	}
	data, err := os.ReadFile("testdata/golden.txt")
	require.NoError(t, err)
	n := 0
	for line := range bytes.Lines(data) {
		var c batch.Codec
		var text string
		_, err := fmt.Sscanf(string(line), "%d %s", &c, &text)
		require.NoError(t, err)
		z, err := hex.DecodeString(text)
		require.NoError(t, err)
		out, err := codec.Decompress(nil, z, c, 0)
		require.NoError(t, err)
		require.Equal(t, string(src), string(out))
		n++
	}
	require.Equal(t, 4, n)
}

// TestForeign reads what the formats allow and we do not write.
func TestForeign(t *testing.T) {
	src := text(100_000)
	check := func(name string, c batch.Codec, z []byte) {
		t.Helper()
		out, err := codec.Decompress(nil, z, c, 0)
		require.NoError(t, err, name)
		require.True(t, bytes.Equal(src, out), name)
	}
	check("raw snappy", batch.Snappy, s2.EncodeSnappy(nil, src))
	z, err := codec.Compress(nil, src, batch.Snappy, 0)
	require.NoError(t, err)
	require.Equal(t, []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}, z[:16])
	block := binary.BigEndian.Uint32(z[16:])
	first, err := s2.Decode(nil, z[20:20+block])
	require.NoError(t, err)
	require.Equal(t, src[:32<<10], first)

	var b bytes.Buffer
	for _, part := range [][]byte{src[:40_000], src[40_000:]} { // two members
		w := gzip.NewWriter(&b)
		_, err := w.Write(part)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	check("gzip members", batch.Gzip, b.Bytes())

	b.Reset()
	lw := lz4.NewWriter(&b)
	require.NoError(t, lw.Apply(lz4.BlockSizeOption(lz4.Block4Mb), lz4.ChecksumOption(true), lz4.BlockChecksumOption(true),
		lz4.SizeOption(uint64(len(src)))))
	_, err = lw.Write(src)
	require.NoError(t, err)
	require.NoError(t, lw.Close())
	check("lz4 with checksums", batch.LZ4, b.Bytes())

	b.Reset()
	zw, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	_, err = io.Copy(struct{ io.Writer }{zw}, bytes.NewReader(src)) // no content size
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	check("zstd stream", batch.Zstd, b.Bytes())
}

// TestLimit: a result of exactly the limit passes, one byte more does not.
func TestLimit(t *testing.T) {
	src := text(100_000)
	for _, c := range codecs {
		z, err := codec.Compress(nil, src, c, 0)
		require.NoError(t, err)
		out, err := codec.Decompress(nil, z, c, len(src))
		require.NoError(t, err, c)
		require.Len(t, out, len(src))
		dst := []byte("kept")
		out, err = codec.Decompress(dst, z, c, len(src)-1)
		require.ErrorIs(t, err, codec.ErrTooLarge, c)
		require.Equal(t, dst, out)
	}
	_, err := codec.Compress(nil, src, 5, 0)
	require.ErrorIs(t, err, codec.ErrUnknown)
	_, err = codec.Decompress(nil, src, 7, 0)
	require.ErrorIs(t, err, codec.ErrUnknown)
}

// TestBombs: small inputs that unfold to a lot are refused, with bounded memory.
func TestBombs(t *testing.T) {
	bomb := make([]byte, 20<<20)
	for _, c := range codecs[1:] {
		z, err := codec.Compress(nil, bomb, c, 0)
		require.NoError(t, err)
		_, err = codec.Decompress(nil, z, c, len(bomb)-1)
		require.ErrorIs(t, err, codec.ErrTooLarge, c)
	}
	// Four snappy blocks of the default limit together, and a byte.
	block := s2.EncodeSnappy(nil, make([]byte, codec.DefaultLimit/4))
	large := append([]byte{}, 0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1)
	for range 4 {
		large = append(binary.BigEndian.AppendUint32(large, uint32(len(block))), block...)
	}
	last := s2.EncodeSnappy(nil, []byte{1})
	large = append(binary.BigEndian.AppendUint32(large, uint32(len(last))), last...)
	_, err := codec.Decompress(nil, large, batch.Snappy, 0)
	require.ErrorIs(t, err, codec.ErrTooLarge)
	// Above 1,000 times its size, though below the limit.
	z, err := codec.Compress(nil, bomb, batch.Zstd, 0)
	require.NoError(t, err)
	require.Less(t, len(z)*codec.MaxRatio, 20<<20)
	_, err = codec.Decompress(nil, z, batch.Zstd, 0)
	require.ErrorIs(t, err, codec.ErrTooLarge)
	// A frame that only declares a lot.
	declared := binary.AppendUvarint(nil, 1<<31)
	_, err = codec.Decompress(nil, declared, batch.Snappy, 0)
	require.ErrorIs(t, err, codec.ErrTooLarge)
}

func TestCorrupt(t *testing.T) {
	src := text(5000)
	for _, c := range codecs[1:] {
		z, err := codec.Compress(nil, src, c, 0)
		require.NoError(t, err)
		for _, cut := range []int{1, len(z) / 2, len(z) - 1} {
			out, err := codec.Decompress(nil, z[:cut], c, 0)
			if err == nil { // a frame may end where a block does
				require.NotEqual(t, src, out, "%s cut at %d", c, cut)
			}
		}
		_, err = codec.Decompress(nil, []byte("not compressed at all, by anyone"), c, 0)
		require.Error(t, err, c)
	}
	_, err := codec.Decompress(nil, []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0}, batch.Snappy, 0)
	require.ErrorIs(t, err, codec.ErrCorrupt)
	z, err := codec.Compress(nil, src, batch.Snappy, 0)
	require.NoError(t, err)
	binary.BigEndian.PutUint32(z[16:], 1<<31)
	_, err = codec.Decompress(nil, z, batch.Snappy, 0)
	require.ErrorIs(t, err, codec.ErrCorrupt)
}

// TestConcurrent uses the pools from several goroutines, each with a pattern of
// its own: a buffer used by two would show (S23).
func TestConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			src := bytes.Repeat([]byte{byte(g), byte(g + 1)}, 20_000)
			for i := range 40 {
				c := codecs[i%len(codecs)]
				z, err := codec.Compress(nil, src, c, 0)
				out, err2 := codec.Decompress(nil, z, c, 0)
				if err != nil || err2 != nil || !bytes.Equal(src, out) {
					t.Errorf("%s: %v %v", c, err, err2)
				}
			}
		})
	}
	wg.Wait()
}

// TestBubbles: pooled encoders and decoders made inside one synctest bubble work
// in the next one and outside.
func TestBubbles(t *testing.T) {
	use := func(t *testing.T) {
		for _, c := range codecs {
			z, err := codec.Compress(nil, text(300_000), c, 0)
			require.NoError(t, err)
			_, err = codec.Decompress(nil, z, c, 0)
			require.NoError(t, err)
		}
	}
	synctest.Test(t, use)
	synctest.Test(t, use)
	use(t)
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget at random under the race detector")
	}
	src := text(64 << 10)
	dst, back := make([]byte, 0, 256<<10), make([]byte, 0, 256<<10)
	for _, c := range codecs {
		z, err := codec.Compress(dst, src, c, 0)
		require.NoError(t, err)
		n := testing.AllocsPerRun(30, func() {
			_, _ = codec.Compress(dst, src, c, 0)
			_, _ = codec.Decompress(back, z, c, 0)
		})
		require.LessOrEqual(t, n, 16.0, c) // per batch, none per record; the libraries' own
	}
}

func FuzzDecompress(f *testing.F) {
	for _, c := range codecs {
		z, err := codec.Compress(nil, text(500), c, 0)
		require.NoError(f, err)
		f.Add(z, byte(c))
	}
	f.Add(s2.EncodeSnappy(nil, text(500)), byte(batch.Snappy))
	f.Fuzz(func(t *testing.T, data []byte, which byte) {
		c := codecs[int(which)%len(codecs)]
		const limit = 1 << 16
		out, err := codec.Decompress([]byte("x"), data, c, limit)
		require.Equal(t, byte('x'), out[0])
		require.LessOrEqual(t, len(out), limit+1)
		if err != nil {
			require.Len(t, out, 1)
		}
		z, err := codec.Compress(nil, data, c, int(which))
		require.NoError(t, err)
		back, err := codec.Decompress(nil, z, c, max(limit, len(data)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, back))
	})
}

func BenchmarkCodec(b *testing.B) {
	src := text(256 << 10)
	for _, c := range codecs[1:] {
		z, err := codec.Compress(nil, src, c, 0)
		require.NoError(b, err)
		buf := make([]byte, 0, 512<<10)
		b.Run("compress/"+c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = codec.Compress(buf, src, c, 0)
			}
		})
		b.Run("decompress/"+c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = codec.Decompress(buf, z, c, 0)
			}
		})
	}
}
