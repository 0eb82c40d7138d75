package wal

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// FuzzSegmentTail gives recovery a last segment with arbitrary bytes behind the
// first record, optionally with the checksums of what looks like records made
// right, so that the fuzzer gets past them.
func FuzzSegmentTail(f *testing.F) {
	img, _, _ := damagedLog(f, 1<<10, false)
	for _, name := range img.segments() {
		f.Add(img[name][segHeaderBytes:], false)
		f.Add(img[name][segHeaderBytes:], true)
	}
	f.Add(make([]byte, 100), true)
	const id = 42
	hdr := segHeader{id: id, base: 1}
	first := make([]byte, recHeaderBytes)
	putRecordHeader(first, seedOf(id), segHeaderBytes, 1, nil, 0)
	m := manifest{entries: []manifestEntry{{file: 1, id: id, first: 1, last: 1, end: segHeaderBytes + recHeaderBytes}}}
	f.Fuzz(func(t *testing.T, tail []byte, fix bool) {
		seg := append(hdr.append(nil), first...)
		at := len(seg)
		seg = append(seg, tail...)
		for off := at; fix && off+recHeaderBytes <= len(seg); off += recAlign {
			b := seg[off:]
			n := int(binary.LittleEndian.Uint32(b[4:]) & (1<<28 - 1))
			if b[7]>>4 != kindData || recHeaderBytes+padded(n) > len(b) {
				continue
			}
			init := initOf(seedOf(id), int64(off))
			binary.LittleEndian.PutUint32(b[16:], crc32.Update(init, castagnoli, b[recHeaderBytes:recHeaderBytes+padded(n)]))
			binary.LittleEndian.PutUint32(b, crc32.Update(init, castagnoli, b[4:recHeaderBytes]))
		}
		useImage(t, image{manifestName: m.encode(), segName(1): seg})
	})
}

// FuzzOpen opens arbitrary files as a log.
func FuzzOpen(f *testing.F) {
	for _, clean := range []bool{true, false} {
		img, _, _ := damagedLog(f, 1<<10, clean)
		s := img.segments()
		f.Add(img[manifestName], img[s[0]], img[s[1]], img[s[2]], false)
		f.Add(img[manifestName], img[s[2]], img[s[1]], []byte{}, true)
	}
	f.Fuzz(func(t *testing.T, man, a, b, c []byte, fix bool) {
		if fix && len(man) > 4 {
			body := man[:len(man)-4]
			binary.LittleEndian.PutUint32(man[len(body):], crc32.Checksum(body, castagnoli))
		}
		useImage(t, image{manifestName: man, segName(1): a, segName(2): b, segName(3): c})
	})
}

// useImage opens a log; if that works, it must read without a panic, in order,
// both ways, and take a record more. Check must agree.
func useImage(t *testing.T, img image) {
	fs := img.mount(t)
	idle := NewFlusher(1)
	idle.Close()
	cfg := Config{FS: fs, Flusher: idle, SegmentBytes: 1 << 10}
	report, err := Check(fs, "d/log")
	require.NoError(t, err)
	l, err := Open("d/log", cfg)
	if err != nil {
		require.Error(t, report.Err())
		return
	}
	defer func() { abandon(l) }()
	got, err := readAll(l)
	if err != nil {
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorIs(t, report.Err(), ErrCorrupt)
		return
	}
	require.NoError(t, report.Err())
	require.Equal(t, len(got), report.Records())
	n := len(got)
	for rec, err := range l.Backward(math.MaxUint64) {
		require.NoError(t, err)
		n--
		require.True(t, sameRecord(got[n], rec))
	}
	require.Zero(t, n)
	for i := range got {
		require.True(t, i == 0 || got[i].Key > got[i-1].Key)
		k, ok, err := l.Floor(got[i].Key)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, got[i].Key, k)
	}
	if l.Next() > KeyMax {
		return
	}
	add := Record{l.Next(), []byte("one more")}
	require.NoError(t, l.Append(add))
	require.NoError(t, l.Close())
	l, err = Open("d/log", cfg)
	require.NoError(t, err)
	require.Equal(t, append(got, add), contents(t, l))
}

// FuzzManifest: what decodes encodes to something that decodes the same.
func FuzzManifest(f *testing.F) {
	img, _, _ := damagedLog(f, 1<<10, true)
	f.Add(img[manifestName])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4 {
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		again, err := parseManifest(m.encode())
		require.NoError(t, err)
		require.Equal(t, m, again)
	})
}

// FuzzIndex puts an arbitrary index file beside a segment, with a right checksum
// and the right id if fix: every key is found all the same, both ways.
func FuzzIndex(f *testing.F) {
	smallIndexes(f)
	fs := vfs.NewMem()
	l := openT(f, fs, Config{})
	want := recs(0, 40, seq(1, 40)...)
	require.NoError(f, l.Append(want...))
	require.NoError(f, l.Close())
	img := imageOf(f, fs, "d/log")
	id, name := l.Segments()[0].ID, indexName(1)
	f.Add(img[name], false)
	f.Add(img[name], true)
	f.Add(encodeIndex(&sparseIndex{covered: 1000}, id), true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= indexHeaderBytes+4 {
			binary.LittleEndian.PutUint64(b[8:], id)
			binary.LittleEndian.PutUint32(b[24:], uint32((len(b)-indexHeaderBytes-4)/indexEntryBytes))
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}
		img[name] = b
		fs := img.mount(t)
		report, err := Check(fs, "d/log")
		require.NoError(t, err)
		require.NoError(t, report.Err())
		l, err := Open("d/log", Config{FS: fs, ReadOnly: true})
		require.NoError(t, err)
		defer l.Close()
		for i := 0; i < len(want); i += 7 {
			k, ok, err := l.Floor(want[i].Key)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, want[i].Key, k)
			rec, err := l.NewReader(want[i].Key + 1).Prev()
			require.NoError(t, err)
			require.True(t, sameRecord(want[i], rec))
		}
	})
}
