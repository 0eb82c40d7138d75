package wal

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Zeros that are written ahead never reach back over a record, whatever its
// length: below and above the one from which payloads are written from where
// they lie, with and without padding.
func TestPreallocationSparesRecords(t *testing.T) {
	for _, base := range []int{100, directBytes - 8, directBytes, directBytes + 8, 144504, preallocUpTo - 16} {
		for extra := range 9 {
			fs := vfs.NewMem()
			l := openT(t, fs, Config{PreallocateBytes: 1 << 20, SegmentBytes: 2 << 20})
			require.NoError(t, l.Append(Record{1, []byte("first")}))
			require.NoError(t, l.Sync()) // from now on zeros are written ahead
			var want [][]byte
			for k := range uint64(12) {
				want = append(want, bytes.Repeat([]byte{byte(k + 1)}, base+extra))
				require.NoError(t, l.Append(Record{k + 2, want[k]}))
				require.NoError(t, l.Sync())
			}
			for range 2 {
				r := l.NewReader(2)
				for k := range want {
					rec, err := r.Next()
					require.NoError(t, err, "length %d, record %d", base+extra, k)
					require.True(t, bytes.Equal(want[k], rec.Payload))
				}
				_, err := r.Next()
				require.ErrorIs(t, err, io.EOF)
				require.NoError(t, r.Close())
				require.NoError(t, l.Close())
				l = openT(t, fs, Config{})
			}
			require.NoError(t, l.Close())
		}
	}
}
