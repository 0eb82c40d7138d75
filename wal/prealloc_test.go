package wal

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
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

// The zeros that precede writes of a log that nobody syncs are in nobody's way
// either, and a crash may come before each write of them or of a record: what is
// recovered is what had been synced at a roll, and perhaps more.
func TestZerosAhead(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for _, most := range []int{200, 9000, aheadLong + 500, directBytes + aheadStepLong} {
		mem := vfs.NewMem()
		cfg := Config{PreallocateBytes: preallocDefault, SegmentBytes: 700_000}
		zeroed, images := 0, 0
		var want []Record
		l := openT(t, vfs.Inject(mem, func(op vfs.Op) error {
			if op.Kind != vfs.OpWrite || op.Off < aheadMin {
				return nil
			}
			if op.Off%aheadStep == 0 && op.Len%aheadStep == 0 {
				zeroed++
			}
			if rng.IntN(6) > 0 {
				return nil
			}
			images++
			r, got, err := recovered(cfg, mem.CrashClone(rng))
			if err != nil {
				return err
			}
			defer abandon(r)
			if !slices.EqualFunc(got, want[:len(got)], sameRecord) {
				return fmt.Errorf("recovered %d records, other ones than were appended", len(got))
			}
			return nil
		}), cfg)
		for bytes := 0; bytes < 1_500_000; {
			n := len(want)
			for range 1 + rng.IntN(1000)*100/most {
				payload := make([]byte, rng.IntN(most))
				for i := range payload {
					payload[i] = byte(len(want) + i | 1)
				}
				bytes += len(payload)
				want = append(want, Record{uint64(len(want)), payload})
			}
			require.NoError(t, l.Append(want[n:]...))
		}
		require.Positive(t, zeroed)
		require.Positive(t, images)
		require.True(t, slices.EqualFunc(want, contents(t, l), sameRecord))
		require.NoError(t, l.Close())
		l, got, err := recovered(cfg, mem)
		require.NoError(t, err)
		require.True(t, slices.EqualFunc(want, got, sameRecord))
		require.NoError(t, l.Close())
	}
}
