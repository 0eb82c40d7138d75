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

func (s *Store) snapshotPath(z zab.Zxid) string { return s.zxidPath(snapshotPrefix, z) }

func (s *Store) zxidPath(prefix string, z zab.Zxid) string {
	return s.path(fmt.Sprintf("%s%016x", prefix, uint64(z)))
}

// named lists the zxids in the names of the files that begin with prefix, oldest first.
func (s *Store) named(prefix string) ([]zab.Zxid, error) {
	names, err := s.cfg.FS.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, err
	}
	var zs []zab.Zxid
	for _, n := range names {
		digits, ok := strings.CutPrefix(n, prefix)
		if !ok || strings.HasSuffix(n, temporary) {
			continue
		}
		z, err := strconv.ParseUint(digits, 16, 63)
		if err != nil {
			return nil, fmt.Errorf("%s: not a zxid in its name", s.path(n))
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
	if err := s.cfg.FS.SyncDir(s.cfg.Dir); err != nil {
		return err
	}
	s.noteValid(z, true)
	return nil
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
	if err := s.rebase(z); err != nil {
		return err
	}
	return s.log.Reset(uint64(z) + 1)
}

// Purge keeps the newest keep snapshots that can be read, and the log from the
// oldest of them on; keep is at least one. What cannot be read does not count, and
// stays if it is newer. It removes nothing while there are not so many.
func (s *Store) Purge(keep int) error {
	zs, err := s.named(snapshotPrefix)
	if err != nil || len(zs) <= keep {
		return err
	}
	oldest := len(zs)
	for n := 0; n < keep && oldest > 0; {
		oldest--
		if s.valid(zs[oldest]) {
			n++
		}
		if oldest == 0 {
			return nil // all are needed, or too few are any good
		}
	}
	if err := s.rebase(zs[oldest]); err != nil {
		return err
	}
	for _, z := range zs[:oldest] {
		if err := s.remove(s.snapshotPath(z)); err != nil {
			return err
		}
		s.noteValid(z, false)
	}
	return s.log.TruncateBefore(uint64(zs[oldest]) + 1)
}

// valid says whether a snapshot can be read. It reads each once in its life.
func (s *Store) valid(z zab.Zxid) bool {
	s.mu.Lock()
	known := s.mu.valid[z]
	s.mu.Unlock()
	if known {
		return true
	}
	if s.cfg.Check == nil {
		return true
	}
	if err := s.read(z, s.cfg.Check); err != nil {
		s.cfg.Logger.Error("snapshot unreadable", "zxid", z, "err", err)
		return false
	}
	s.noteValid(z, true)
	return true
}

func (s *Store) noteValid(z zab.Zxid, valid bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.valid == nil {
		s.mu.valid = make(map[zab.Zxid]bool)
	}
	if valid {
		s.mu.valid[z] = true
	} else {
		delete(s.mu.valid, z)
	}
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
