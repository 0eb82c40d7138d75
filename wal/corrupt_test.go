package wal

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// image is a log's directory as bytes.
type image map[string][]byte

func imageOf(t testing.TB, fs vfs.FS, dir string) image {
	t.Helper()
	names, err := fs.ReadDir(dir)
	require.NoError(t, err)
	img := image{}
	for _, name := range names {
		if name != lockName {
			img[name], err = vfs.ReadFile(fs, filepath.Join(dir, name), 1<<30)
			require.NoError(t, err)
		}
	}
	return img
}

func (img image) mount(t testing.TB) *vfs.Mem {
	t.Helper()
	fs := vfs.NewMem()
	require.NoError(t, vfs.MakeDir(fs, "d/log"))
	for name, b := range img {
		require.NoError(t, vfs.WriteFile(fs, "d/log/"+name, b))
	}
	return fs
}

func (img image) segments() []string {
	var names []string
	for name := range img {
		if strings.HasSuffix(name, segSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// damaged is a log of three segments, with its records, and the place in the
// last up to which it can be known to be synced.
func damagedLog(t testing.TB, segmentBytes int64, clean bool) (img image, want []Record, synced int) {
	fs := vfs.NewMem()
	cfg := Config{SegmentBytes: segmentBytes, PreallocateBytes: -1}
	l := openT(t, fs, cfg)
	key := uint64(0)
	for len(l.Segments()) < 3 || l.Segments()[2].Bytes < segmentBytes*2/3 {
		rs := recs(0, int(key*7%90), key, key+1)
		key += 2
		want = append(want, rs...)
		require.NoError(t, l.Append(rs...))
		if key%8 == 0 {
			require.NoError(t, l.Sync())
		}
	}
	if clean {
		synced = int(l.Segments()[2].Bytes)
		require.NoError(t, l.Close())
	} else {
		for range 3 { // the first of these syncs is in the manifest, the others only in marks
			require.NoError(t, l.Sync())
			require.NoError(t, l.Append(recs(0, 1, key, key+1)...))
			want = append(want, recs(0, 1, key, key+1)...)
			key += 2
		}
		synced = int(l.segs[2].synced)
		fs = fs.Clone()
	}
	return imageOf(t, fs, "d/log"), want, synced
}

// reopenDamaged opens a damaged log and reads all of it; Check must agree.
func reopenDamaged(fs *vfs.Mem) ([]Record, error) {
	idle := NewFlusher(1)
	idle.Close()
	report, cerr := Check(fs, "d/log")
	if cerr != nil {
		return nil, cerr
	}
	l, rs, err := recovered(Config{Flusher: idle, NoLock: true}, fs)
	if err == nil {
		abandon(l)
	}
	if (report.Err() == nil) != (err == nil) || err == nil && report.Records() != len(rs) {
		return nil, fmt.Errorf("%w, %d records, but Check says: %s", err, len(rs), report)
	}
	return rs, err
}

// TestBitFlips flips a bit of each byte (P2): below the highest known-synced
// mark, or a clean close, it is reported; above, the tail is cut there or it is
// reported; and never is there a record that was not appended.
func TestBitFlips(t *testing.T) {
	segmentBytes := int64(2 << 10)
	switch {
	case *full:
		segmentBytes = 24 << 10
	case testing.Short():
		segmentBytes = 1 << 10
	}
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean=%v", clean), func(t *testing.T) {
			img, want, synced := damagedLog(t, segmentBytes, clean)
			fs := img.mount(t)
			got, err := reopenDamaged(fs)
			require.NoError(t, err)
			require.Equal(t, want, got)
			reported, cut, flips := 0, 0, 0
			for name, b := range img {
				f, err := fs.OpenFile("d/log/"+name, os.O_RDWR, 0)
				require.NoError(t, err)
				for off := range b {
					flips++
					flipped := []byte{b[off] ^ 1<<(off%8)}
					_, err := f.WriteAt(flipped, int64(off))
					require.NoError(t, err)
					got, err := reopenDamaged(fs)
					last := name == img.segments()[2]
					switch {
					case err != nil:
						reported++
						require.ErrorIs(t, err, ErrCorrupt)
						ce, ok := errors.AsType[*CorruptError](err)
						require.True(t, ok)
						require.Equal(t, name, filepath.Base(ce.File))
					case !last || off < synced:
						t.Fatalf("%s: flip at %d of %d (synced %d) went unnoticed", name, off, len(b), synced)
					default:
						cut++
						require.Less(t, len(got), len(want))
						require.Equal(t, want[:len(got)], got)
					}
					_, err = f.WriteAt(b[off:off+1], int64(off))
					require.NoError(t, err)
					require.NoError(t, f.Sync())
				}
			}
			t.Logf("%d flips: %d reported, %d cut the tail", flips, reported, cut)
			require.Equal(t, clean, cut == 0)
		})
	}
}

// TestDamagedFiles takes files away, cuts and swaps them (W2, W3).
func TestDamagedFiles(t *testing.T) {
	for _, clean := range []bool{true, false} {
		img, want, synced := damagedLog(t, 2<<10, clean)
		segs := img.segments()
		cases := map[string]func(image){
			"manifest missing":         func(i image) { delete(i, manifestName) },
			"manifest empty":           func(i image) { i[manifestName] = nil },
			"manifest truncated":       func(i image) { i[manifestName] = i[manifestName][:50] },
			"first segment missing":    func(i image) { delete(i, segs[0]) },
			"middle segment missing":   func(i image) { delete(i, segs[1]) },
			"last segment missing":     func(i image) { delete(i, segs[2]) },
			"first segment empty":      func(i image) { i[segs[0]] = nil },
			"middle segment truncated": func(i image) { i[segs[1]] = i[segs[1]][:1000] },
			"middle cut by a record":   func(i image) { i[segs[1]] = i[segs[1]][:len(i[segs[1]])-recHeaderBytes-8] },
			"last segment empty":       func(i image) { i[segs[2]] = nil },
			"last below the manifest":  func(i image) { i[segs[2]] = i[segs[2]][:segHeaderBytes+8] },
			"swapped":                  func(i image) { i[segs[0]], i[segs[1]] = i[segs[1]], i[segs[0]] },
			"duplicated":               func(i image) { i[segs[1]] = i[segs[0]] },
			"hole before the mark": func(i image) {
				b := slices.Clone(i[segs[2]])
				clear(b[synced-300 : synced-100])
				i[segs[2]] = b
			},
		}
		for name, damage := range cases {
			t.Run(fmt.Sprintf("%s clean=%v", name, clean), func(t *testing.T) {
				i := image{}
				maps.Copy(i, img)
				damage(i)
				_, err := reopenDamaged(i.mount(t))
				require.ErrorIs(t, err, ErrCorrupt)
				t.Log(err)
			})
		}
		i := image{"00000077.seg": img[segs[0]], "00000078.seg": []byte("junk"), "notes.txt": nil, "MANIFEST.tmp": []byte("half")}
		maps.Copy(i, img)
		got, err := reopenDamaged(i.mount(t))
		require.NoError(t, err, "extra files")
		require.Equal(t, want, got)
	}
}

// TestEveryLength cuts the last segment at each byte: a log that was closed says
// so; one that crashed keeps a prefix.
func TestEveryLength(t *testing.T) {
	for _, clean := range []bool{true, false} {
		img, want, _ := damagedLog(t, 2<<10, clean)
		last := img.segments()[2]
		b := img[last]
		for n := range b {
			img[last] = b[:n]
			got, err := reopenDamaged(img.mount(t))
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt)
				continue
			}
			require.False(t, clean)
			require.Less(t, len(got), len(want))
			require.Equal(t, want[:len(got)], got)
		}
	}
}

// TestPosition: R1, a record is valid in one place of one segment only.
func TestPosition(t *testing.T) {
	var b [recHeaderBytes + 8]byte
	payload := []byte("12345678")
	copy(b[recHeaderBytes:], payload)
	seed := seedOf(7)
	putRecordHeader(b[:], seed, 4096, 9, payload, 64)
	h, ok := parseRecordHeader(b[:], seed, 4096)
	require.True(t, ok)
	require.Equal(t, uint64(9), h.key)
	require.Equal(t, int64(64), h.mark)
	require.True(t, h.payloadOK(b[recHeaderBytes:], seed, 4096))
	for off := int64(0); off < 1<<20; off += recAlign {
		_, ok := parseRecordHeader(b[:], seed, off)
		require.Equal(t, off == 4096, ok)
	}
	for id := range uint64(10_000) {
		_, ok := parseRecordHeader(b[:], seedOf(id), 4096)
		require.Equal(t, id == 7, ok)
	}
}

// TestCorruptRead: damage in a sealed segment is met by the read, which names
// the place, and by the next read again; what is before it can be read.
func TestCorruptRead(t *testing.T) {
	img, want, _ := damagedLog(t, 2<<10, true)
	name := img.segments()[1]
	b := slices.Clone(img[name])
	b[len(b)-1] ^= 1
	img[name] = b
	l := openT(t, img.mount(t), Config{})
	r := l.NewReader(0)
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = r.Next()
	}
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, name)
	require.Greater(t, n, len(want)/3)
	_, err = r.Next()
	require.ErrorIs(t, err, ErrCorrupt)
	r.Seek(l.Segments()[2].First)
	_, err = r.Next()
	require.NoError(t, err)
}
