package txnlog

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// TestSeedFails has each operation of the disk fail in turn: Seed says so, unless
// all was done, and what it leaves is no voter (R3).
func TestSeedFails(t *testing.T) {
	failure := errors.New("no space left on device")
	config := func(fsys vfs.FS) Config {
		return Config{
			FS: fsys, Dir: "d", ID: 1, Logger: slog.New(slog.DiscardHandler),
			Restore: func(zab.Zxid, io.Reader) error { return nil },
		}
	}
	write := func(w io.Writer) error { _, err := w.Write([]byte("state")); return err }
	for at := 1; ; at++ {
		require.Less(t, at, 200)
		mem, count := vfs.NewMem(), 0
		err := Seed(config(vfs.Inject(mem, func(vfs.Op) error {
			if count++; count == at {
				return failure
			}
			return nil
		})), zab.MakeZxid(5, 7), write)
		if err == nil && count < at {
			require.Greater(t, at, 10)
			return // nothing failed any more
		}
		s, rec, oerr := Open(config(mem))
		require.NoError(t, oerr)
		require.NoError(t, s.Close())
		if err == nil {
			require.Equal(t, zab.MakeZxid(5, 7), rec.Snapshot)
			require.True(t, rec.HasEpochs)
			continue
		}
		require.ErrorIs(t, err, failure)
		require.True(t, !rec.HasEpochs || rec.Snapshot == zab.MakeZxid(5, 7), "operation %d: a voter without the state", at)
	}
}
