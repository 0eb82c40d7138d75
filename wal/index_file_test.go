package wal

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// smallIndexes gives the small segments of the tests an index.
func smallIndexes(t testing.TB) {
	stride, least := indexStride, indexFileMin
	indexStride, indexFileMin = 128, 2
	t.Cleanup(func() { indexStride, indexFileMin = stride, least })
}

func indexFiles(t *testing.T, fs vfs.FS) []string {
	names, err := fs.ReadDir("d/log")
	require.NoError(t, err)
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, indexSuffix) })
}

// indexedLog is a closed log of several segments with index files.
func indexedLog(t *testing.T) (*vfs.Mem, []Record) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{SegmentBytes: 4 << 10})
	want := recs(0, 30, seq(1, 150)...)
	for chunk := range slices.Chunk(want, 10) {
		require.NoError(t, l.Append(chunk...))
		require.NoError(t, l.Sync())
	}
	require.NoError(t, l.Close())
	require.Len(t, indexFiles(t, fs), len(l.Segments()))
	return fs, want
}

// reads counts the bytes that f makes a file system read.
func reads(fs vfs.FS, f func(fs vfs.FS)) int {
	n := 0
	f(vfs.Inject(fs, func(op vfs.Op) error {
		if op.Kind == vfs.OpRead {
			n += op.Len
		}
		return nil
	}))
	return n
}

// TestIndexFiles: they are written when a segment is sealed and at Close, are
// used after Open, go with their segment, and are built anew where missing.
func TestIndexFiles(t *testing.T) {
	smallIndexes(t)
	fs, want := indexedLog(t)
	l := openT(t, fs, Config{})
	require.Zero(t, l.Stats().IndexesLoaded, "Open reads none")
	for _, r := range want {
		k, ok, err := l.Floor(r.Key)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, r.Key, k)
	}
	require.EqualValues(t, len(l.Segments()), l.Stats().IndexesLoaded)
	require.NoError(t, l.Append(recs(0, 30, 151)...))
	require.NoError(t, l.TruncateBefore(l.Segments()[2].First))
	require.Len(t, indexFiles(t, fs), len(l.Segments()))
	require.NoError(t, l.TruncateAfter(l.Segments()[1].First+3))
	require.Len(t, indexFiles(t, fs), 2)
	k, _, err := l.Floor(500)
	require.NoError(t, err)
	require.Equal(t, l.Segments()[1].Last, k)
	require.NoError(t, l.Close())

	for _, name := range indexFiles(t, fs) {
		require.NoError(t, fs.Remove("d/log/"+name))
	}
	l = openT(t, fs, Config{})
	s := l.Segments()[0]
	_, _, err = l.Floor(s.Last - 1)
	require.NoError(t, err)
	require.Equal(t, []string{strings.Replace(s.File, segSuffix, indexSuffix, 1)}, indexFiles(t, fs))
	require.NoError(t, l.Reset(0))
	require.Empty(t, indexFiles(t, fs))
}

// TestIndexIsCheap: the first search after Open reads the index and one stretch
// of records, not the segment.
func TestIndexIsCheap(t *testing.T) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{SegmentBytes: 8 << 20})
	payload := make([]byte, 1000)
	for k := range uint64(8000) {
		require.NoError(t, l.Append(Record{k, payload}))
	}
	require.NoError(t, l.Close())
	require.Len(t, indexFiles(t, fs), 1)
	floor := func(fs vfs.FS) {
		l := openT(t, fs, Config{})
		k, _, err := l.Floor(7000)
		require.NoError(t, err)
		require.EqualValues(t, 7000, k)
		require.NoError(t, l.Close())
	}
	with := reads(fs, floor)
	require.NoError(t, fs.Remove("d/log/"+indexFiles(t, fs)[0]))
	without := reads(fs, floor)
	t.Logf("%d bytes read with the index, %d without", with, without)
	require.Less(t, with, 200<<10)
	require.Greater(t, without, 6<<20)
}

// TestDamagedIndexes: whatever becomes of an index file, the log finds its
// records: each byte flipped, cut at each length, of another segment, with
// entries that are wrong under a right checksum.
func TestDamagedIndexes(t *testing.T) {
	smallIndexes(t)
	fs, want := indexedLog(t)
	img := imageOf(t, fs, "d/log")
	name := indexName(1)
	whole := img[name]
	id := openT(t, fs, Config{}).Segments()[0].ID
	x, err := decodeIndex(whole, id)
	require.NoError(t, err)
	require.Greater(t, len(x.entries), 8)
	try := func(what string, b []byte) {
		img[name] = b
		l, err := Open("d/log", Config{FS: img.mount(t), NoLock: true})
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		last := int(l.Segments()[0].Last)
		for i := 0; i < last-1; i += 1 + last/4 {
			k, ok, err := l.Floor(want[i].Key)
			require.NoError(t, err, what)
			require.True(t, ok, what)
			require.Equal(t, want[i].Key, k, what)
			rec, err := l.NewReader(want[i].Key + 1).Prev()
			require.NoError(t, err, what)
			require.Equal(t, want[i], rec, what)
		}
	}
	for i := range whole {
		b := slices.Clone(whole)
		b[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("flip at %d", i), b)
		try(fmt.Sprintf("cut at %d", i), whole[:i])
	}
	try("of another segment", img[indexName(2)])
	for i := range x.entries {
		for _, wrong := range []indexEntry{{x.entries[i].key, x.entries[i].off + 8}, {x.entries[i].key + 1, x.entries[i].off}} {
			y := sparseIndex{x.covered, slices.Clone(x.entries)}
			y.entries[i] = wrong
			try(fmt.Sprintf("entry %d is %v", i, wrong), encodeIndex(&y, id))
		}
	}
	try("covers too little", encodeIndex(&sparseIndex{x.covered - 100, x.entries[:3]}, id))
	try("covers too much", encodeIndex(&sparseIndex{x.covered + 800, x.entries}, id))
	try("covers what it does not", encodeIndex(&sparseIndex{x.covered, x.entries[:1]}, id))
}

// TestDamagedIndexBackward: a reader that goes backward through a large segment
// meets wrong entries on its way.
func TestDamagedIndexBackward(t *testing.T) {
	fs := vfs.NewMem()
	l := openT(t, fs, Config{})
	for k := range uint64(1000) {
		require.NoError(t, l.Append(recs(0, 150, k)...))
	}
	require.NoError(t, l.Close())
	l = openT(t, fs, Config{})
	_, _, err := l.Floor(500)
	require.NoError(t, err)
	require.EqualValues(t, 1, l.Stats().IndexesLoaded)
	x, id := l.segs[0].index, l.segs[0].id
	require.NoError(t, l.Close())
	for i := range x.entries {
		x.entries[i].off += 8 * int64(i%2)
	}
	require.NoError(t, vfs.WriteFile(fs, "d/log/"+indexName(1), encodeIndex(&x, id)))
	l = openT(t, fs, Config{})
	n := uint64(1000)
	for rec, err := range l.Backward(1000) {
		require.NoError(t, err)
		n--
		require.Equal(t, n, rec.Key)
	}
	require.Zero(t, n)
	require.EqualValues(t, 1, l.Stats().IndexesLoaded)
}
