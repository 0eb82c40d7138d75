package txnlog

import (
	"errors"
	"fmt"
	"io"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Seed makes cfg.Dir, which must hold nothing, the data directory of a server
// that has seen all up to z: write produces the snapshot at z. The server votes,
// so what it is said to have seen must be the whole truth. A directory that Seed
// did not finish belongs to a server that does not vote.
func Seed(cfg Config, z zab.Zxid, write func(io.Writer) error) (err error) {
	if err := vfs.MakeDir(cfg.FS, cfg.Dir); err != nil {
		return err
	}
	s := &Store{cfg: cfg}
	if s.lock, err = vfs.Lock(cfg.FS, s.path(lockFile)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	fresh, err := Fresh(cfg.FS, cfg.Dir)
	if err == nil && !fresh {
		err = fmt.Errorf("%s: directory is not empty", cfg.Dir)
	}
	if err != nil {
		return err
	}
	if err := s.writeNumber(myidFile, int64(cfg.ID)); err != nil {
		return err
	}
	if err := s.SaveSnapshot(z, write); err != nil {
		return err
	}
	return s.SetEpochs(zab.Epochs{Accepted: z.Epoch(), Current: z.Epoch(), Voter: true})
}
