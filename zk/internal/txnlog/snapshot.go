package txnlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

const readOnly = os.O_RDONLY

func (s *Store) snapshotPath(z zab.Zxid) string {
	return s.path(fmt.Sprintf("%s%016x", snapshotPrefix, uint64(z)))
}

// snapshots lists the zxids of the snapshots that are there, oldest first.
func (s *Store) snapshots() ([]zab.Zxid, error) {
	names, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var zs []zab.Zxid
	for _, n := range names {
		digits, ok := strings.CutPrefix(n, snapshotPrefix)
		if !ok || strings.HasSuffix(n, temporary) {
			continue
		}
		z, err := strconv.ParseUint(digits, 16, 63)
		if err != nil {
			return nil, fmt.Errorf("%s: not a snapshot's name", s.path(n))
		}
		zs = append(zs, zab.Zxid(z))
	}
	slices.Sort(zs)
	return zs, nil
}

// SaveSnapshot writes the snapshot at z, durably, with what write produces.
func (s *Store) SaveSnapshot(z zab.Zxid, write func(io.Writer) error) (err error) {
	name := s.snapshotPath(z)
	tmp := name + temporary
	if err := s.remove(tmp); err != nil { // after a crash it may be the same file as name
		return err
	}
	f, err := s.cfg.FS.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(&offsetWriter{f: f}, 256<<10)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return errors.Join(err, s.remove(tmp))
	}
	if err := s.cfg.FS.Rename(tmp, name); err != nil {
		return err
	}
	return s.cfg.FS.SyncDir(s.cfg.Dir)
}

// InstallSnapshot removes the entries above truncate, saves the snapshot at z
// that the leader sent, and empties the log behind it: history goes on from z.
func (s *Store) InstallSnapshot(truncate, z zab.Zxid, write func(io.Writer) error) error {
	if err := s.Truncate(truncate); err != nil {
		return err
	}
	if err := s.SaveSnapshot(z, write); err != nil {
		return err
	}
	return s.log.Reset(uint64(z) + 1)
}

// Purge keeps the newest keep snapshots and the log from the oldest of them on.
// The caller has just saved a valid one, and keep is at least one.
func (s *Store) Purge(keep int) error {
	zs, err := s.snapshots()
	if err != nil || len(zs) <= keep {
		return err
	}
	for _, z := range zs[:len(zs)-keep] {
		if err := s.remove(s.snapshotPath(z)); err != nil {
			return err
		}
	}
	return s.log.TruncateBefore(uint64(zs[len(zs)-keep]) + 1)
}

func (s *Store) remove(name string) error {
	err := s.cfg.FS.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// offsetWriter appends to a file that only writes at offsets.
type offsetWriter struct {
	f   vfs.File
	off int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.off)
	w.off += int64(n)
	return n, err
}
