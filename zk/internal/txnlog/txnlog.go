package txnlog

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

const (
	myidFile       = "myid"
	lockFile       = "lock"
	initializeFile = "initialize"
	epochsFile     = "epochs"
	snapshotPrefix = "snapshot."
	basePrefix     = "base."
	temporary      = ".tmp"
	logDir         = "log"

	smallFileMax = 256 // bytes of a file that holds a few numbers
)

const epochsFormat = "accepted=%d\ncurrent=%d\nvoter=%t\n"

// Config says where a Store lives and whose it is.
type Config struct {
	FS     vfs.FS
	Dir    string
	LogDir string // holds log/; empty: Dir does
	ID     zab.ServerID
	Logger *slog.Logger

	// Restore replaces the caller's tree by the snapshot that r holds. It may be
	// called again, for an older snapshot, if it fails.
	Restore func(z zab.Zxid, r io.Reader) error
	// Check says whether r holds a snapshot, and keeps nothing of it. Purge calls it
	// for snapshots of an earlier life. Nil: each is taken for one.
	Check func(z zab.Zxid, r io.Reader) error
}

// Store is an open data directory.
type Store struct {
	cfg  Config
	lock io.Closer
	log  *wal.Log
	recs []wal.Record // scratch of Append

	mu struct {
		sync.Mutex
		valid map[zab.Zxid]bool // snapshots that were written or read in this life
	}
}

// Create makes dir the data directory of a new server, with the bootstrap mark
// if bootstrap is set. A directory that holds a server's state is left alone.
func Create(fsys vfs.FS, dir string, bootstrap bool) error {
	fresh, err := Fresh(fsys, dir)
	if err != nil || !fresh || !bootstrap {
		return err
	}
	if err := vfs.MakeDir(fsys, dir); err != nil {
		return err
	}
	return vfs.WriteFile(fsys, filepath.Join(dir, initializeFile), nil)
}

// Fresh tells whether dir holds nothing that a server wrote.
func Fresh(fsys vfs.FS, dir string) (bool, error) {
	names, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	for _, n := range names {
		if n != lockFile && n != initializeFile {
			return false, err
		}
	}
	return true, err
}

// Open locks the directory, restores the newest snapshot that can be read, and
// returns what the protocol needs to know of the rest.
func Open(cfg Config) (s *Store, rec zab.Recovered, err error) {
	if err := vfs.MakeDir(cfg.FS, cfg.Dir); err != nil {
		return nil, rec, err
	}
	s = &Store{cfg: cfg}
	s.lock, err = vfs.Lock(cfg.FS, s.path(lockFile))
	if err != nil {
		return nil, rec, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
			s = nil
		}
	}()
	if err := s.identify(); err != nil {
		return s, rec, err
	}
	if rec, err = s.recoverEpochs(); err != nil {
		return s, rec, err
	}
	bases, err := s.named(basePrefix)
	if err != nil {
		return s, rec, err
	}
	if err := s.openLog(len(bases) > 0); err != nil {
		return s, rec, err
	}
	if rec.Snapshot, err = s.restore(bases); err != nil {
		return s, rec, err
	}
	if len(bases) == 0 {
		if err := s.rebase(rec.Snapshot); err != nil {
			return s, rec, err
		}
	}
	rec.Entries, err = s.entriesAbove(rec.Snapshot)
	return s, rec, err
}

// openLog opens the log, which must be there if it ever was: without it the server
// would have forgotten what it acknowledged, and vote (R3).
func (s *Store) openLog(was bool) (err error) {
	dir := filepath.Join(cmp.Or(s.cfg.LogDir, s.cfg.Dir), logDir)
	if _, err := s.cfg.FS.ReadDir(dir); was && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: the log is missing", dir)
	}
	if err := vfs.MakeDir(s.cfg.FS, dir); err != nil {
		return err
	}
	s.log, err = wal.Open(dir, wal.Config{FS: s.cfg.FS, Logger: s.cfg.Logger, NoLock: true})
	return err
}

// rebase notes, before the log gives up what it holds up to z, that history goes on
// from no older snapshot. That a note is there says that there is a log. The newest
// counts, so that several may be written at a time.
func (s *Store) rebase(z zab.Zxid) error {
	olds, err := s.named(basePrefix)
	if err != nil {
		return err
	}
	f, err := s.cfg.FS.OpenFile(s.zxidPath(basePrefix, z), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = s.cfg.FS.SyncDir(s.cfg.Dir)
	}
	for _, old := range olds {
		if err == nil && old < z {
			err = s.remove(s.zxidPath(basePrefix, old))
		}
	}
	return err
}

func (s *Store) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

// identify refuses the directory of another server, and signs a new one.
func (s *Store) identify() error {
	id, ok, err := s.readNumber(myidFile)
	if err != nil {
		return err
	}
	if !ok {
		return s.writeNumber(myidFile, int64(s.cfg.ID))
	}
	if id != int64(s.cfg.ID) {
		return fmt.Errorf("%s: directory belongs to server %d, not %d", s.path(myidFile), id, s.cfg.ID)
	}
	return nil
}

func (s *Store) recoverEpochs() (rec zab.Recovered, err error) {
	data, err := vfs.ReadFile(s.cfg.FS, s.path(epochsFile), smallFileMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return rec, err
	default:
		n, err := fmt.Sscanf(string(data), epochsFormat, &rec.AcceptedEpoch, &rec.CurrentEpoch, &rec.HasEpochs)
		if err != nil || n != 3 {
			return rec, fmt.Errorf("%s: not an epochs file: %q", s.path(epochsFile), data)
		}
	}
	_, err = vfs.ReadFile(s.cfg.FS, s.path(initializeFile), smallFileMax)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rec, err
	}
	rec.Bootstrap = err == nil
	return rec, nil
}

// restore loads the newest snapshot that can be read. An older one serves only
// if the log reaches back to it: history must not have a hole.
func (s *Store) restore(bases []zab.Zxid) (zab.Zxid, error) {
	zs, err := s.named(snapshotPrefix)
	if err != nil {
		return 0, err
	}
	var failed error
	for _, z := range slices.Backward(zs) {
		err := s.read(z, s.cfg.Restore)
		if err == nil {
			s.noteValid(z, true)
			return z, s.covers(z, bases, failed)
		}
		failed = errors.Join(failed, err)
		s.cfg.Logger.Error("snapshot unreadable", "zxid", z, "err", err)
	}
	return 0, s.covers(0, bases, failed)
}

// covers checks that the log continues where a snapshot ends: it does from its base
// on, and from wherever it still holds an entry up to there. Newer snapshots may have
// failed, or be gone.
func (s *Store) covers(z zab.Zxid, bases []zab.Zxid, failed error) error {
	base, based := zab.Zxid(0), len(bases) > 0
	if based {
		base = bases[len(bases)-1]
	}
	first, ok := s.log.First()
	reaches := ok && (zab.Zxid(first) <= z || z == 0 && zab.Zxid(first) == zab.MakeZxid(1, 1))
	if reaches || based && z >= base || !based && failed == nil {
		return nil
	}
	err := fmt.Errorf("%s: no readable snapshot that the log continues, which begins behind %v", s.cfg.Dir, base)
	return errors.Join(err, failed)
}

func (s *Store) read(z zab.Zxid, into func(z zab.Zxid, r io.Reader) error) error {
	f, err := s.cfg.FS.OpenFile(s.snapshotPath(z), readOnly, 0)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil {
		err = into(z, bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 256<<10))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.snapshotPath(z), err)
	}
	return nil
}

func (s *Store) entriesAbove(z zab.Zxid) (entries []zab.Entry, err error) {
	r := s.log.NewReader(uint64(z) + 1)
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, zab.Entry{Zxid: zab.Zxid(rec.Key), Data: slices.Clone(rec.Payload)})
	}
}

// Append makes entries durable. They are read before it returns, and not kept.
func (s *Store) Append(entries []zab.Entry) error {
	s.recs = s.recs[:0]
	for _, e := range entries {
		s.recs = append(s.recs, wal.Record{Key: uint64(e.Zxid), Payload: e.Data})
	}
	err := s.log.Append(s.recs...)
	clear(s.recs)
	if err != nil {
		return err
	}
	return s.log.Sync()
}

// Truncate removes the entries above z (TRUNC).
func (s *Store) Truncate(z zab.Zxid) error { return s.log.TruncateAfter(uint64(z)) }

// SetEpochs replaces the epochs file. Once it bears the voter mark, a bootstrap
// mark has done its work and goes.
func (s *Store) SetEpochs(e zab.Epochs) error {
	text := fmt.Appendf(nil, epochsFormat, e.Accepted, e.Current, e.Voter)
	if err := vfs.WriteFile(s.cfg.FS, s.path(epochsFile), text); err != nil || !e.Voter {
		return err
	}
	return s.remove(s.path(initializeFile))
}

// Close releases the directory. After an error it makes nothing durable.
func (s *Store) Close() error {
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	return errors.Join(err, s.lock.Close())
}

func (s *Store) readNumber(name string) (n int64, ok bool, err error) {
	data, err := vfs.ReadFile(s.cfg.FS, s.path(name), smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n < 0 {
		return 0, false, fmt.Errorf("%s: not a number: %q", s.path(name), data)
	}
	return n, true, nil
}

func (s *Store) writeNumber(name string, n int64) error {
	return vfs.WriteFile(s.cfg.FS, s.path(name), fmt.Appendf(nil, "%d\n", n))
}
