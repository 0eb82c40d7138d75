package wal

import (
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// findings returns the lines of a report below its segments.
func findings(t *testing.T, img image) (*Report, []string) {
	r, err := Check(img.mount(t), "d/log")
	require.NoError(t, err)
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, f.String())
	}
	return r, lines
}

// TestCheck: what it says of logs that are sound and of every kind of damage.
// That it agrees with Open about each flipped bit, length, crash and missing
// file is tested where those are.
func TestCheck(t *testing.T) {
	smallIndexes(t)
	fsys, want := indexedLog(t)
	sound := imageOf(t, fsys, "d/log")
	segs := sound.segments()
	r, lines := findings(t, sound)
	require.NoError(t, r.Err())
	require.True(t, r.Clean)
	require.Empty(t, lines)
	require.Equal(t, len(want), r.Records())
	require.Contains(t, r.String(), "d/log: 150 records in 5 segments, closed\n  00000001.seg: keys 1 to 33, 33 records, 4024 bytes, sealed, indexed\n")

	second := sound[segs[1]]
	cases := map[string]struct {
		damage func(image)
		says   []string
		corrupt,
		dirty bool
		records int
	}{
		"two records damaged, and what lies between is counted": {func(i image) {
			b := append([]byte(nil), second...)
			b[segHeaderBytes+2] ^= 1
			b[len(b)-1] ^= 1
			i[segs[1]] = b
		}, []string{"corrupt: 00000002.seg at offset 64: record header checksum mismatch", "payload checksum mismatch, key 6"}, true, false, 148},
		"a segment missing": {func(i image) { delete(i, segs[1]) }, []string{"corrupt: 00000002.seg at offset 0: segment named in the manifest is missing"}, true, false, 117},
		"an index missing":  {func(i image) { delete(i, indexName(1)) }, nil, false, true, 150},
		"an index of another": {
			func(i image) { i[indexName(1)] = i[indexName(2)] },
			[]string{"note: 00000001.idx at offset 0: index of segment"},
			false, true, 150,
		},
		"a wrong index": {func(i image) {
			x, err := decodeIndex(i[indexName(1)], r.Segments[0].ID)
			require.NoError(t, err)
			x.entries[3].key++
			i[indexName(1)] = encodeIndex(&x, r.Segments[0].ID)
		}, []string{"note: 00000001.idx at offset 0: key "}, false, true, 150},
		"files of nobody": {func(i image) {
			maps.Copy(i, image{"00000099.seg": nil, "00000099.idx": nil, "x": nil})
		}, []string{"note: 00000099.idx", "note: 00000099.seg", "note: x at offset 0: not a file of the log"}, false, true, 150},
		"no manifest":        {func(i image) { delete(i, manifestName) }, []string{"corrupt: MANIFEST at offset 0: missing"}, true, false, 0},
		"a damaged manifest": {func(i image) { i[manifestName] = i[manifestName][:40] }, []string{"corrupt: MANIFEST at offset 0: manifest checksum mismatch"}, true, false, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			img := maps.Clone(sound)
			c.damage(img)
			r, lines := findings(t, img)
			require.Equal(t, c.corrupt, r.Err() != nil, "%s", lines)
			if c.corrupt {
				require.ErrorIs(t, r.Err(), ErrCorrupt)
			}
			for _, s := range c.says {
				require.Contains(t, strings.Join(lines, "\n"), s)
			}
			if len(c.says) == 0 {
				require.Empty(t, lines)
			}
			require.Equal(t, c.records, r.Records())
		})
	}

	img, want, synced := damagedLog(t, 2<<10, false)
	img[img.segments()[2]][synced+recHeaderBytes] ^= 1
	r, lines = findings(t, img)
	require.NoError(t, r.Err())
	require.False(t, r.Clean)
	require.Equal(t, len(want)-2, r.Records())
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "torn: 00000003.seg at offset")
}

func TestCheckNothing(t *testing.T) {
	mem := vfs.NewMem()
	_, err := Check(mem, "no")
	require.ErrorIs(t, err, fs.ErrNotExist)
	l := openT(t, mem, Config{})
	_, err = Check(mem, "d/log")
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, l.Append(recs(0, 1, 1)...))
	dir := t.TempDir()
	r, err := Check(nil, dir)
	require.NoError(t, err)
	require.Zero(t, r.Records())
	require.Equal(t, "there is none: nothing was ever synced", r.Findings[0].Text)
	require.Equal(t, []string{"note", "torn", "corrupt", "Severity(9)"}, []string{Note.String(), Torn.String(), Corrupt.String(), Severity(9).String()})
}
