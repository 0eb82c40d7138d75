package apache

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// files are the snapshots or logs of a directory by the zxids in their names,
// ascending.
type files []file

type file struct {
	zxid int64
	name string
}

func list(dir fs.FS, prefix string) (files, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	var found files
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok || e.IsDir() {
			continue
		}
		z, err := strconv.ParseInt(strings.TrimSuffix(rest, ".gz"), 16, 64)
		if err == nil && z >= 0 { // else it is no file of the server's
			found = append(found, file{z, e.Name()})
		} else if strings.HasSuffix(rest, ".snappy") {
			return nil, fmt.Errorf("%s: snapshots compressed by snappy are not read: write one with snapshot.compression.method= or gz", e.Name())
		}
	}
	slices.SortFunc(found, func(a, b file) int { return int(min(1, max(-1, a.zxid-b.zxid))) })
	return found, nil
}

// Load reads the newest state from the version-2 directories of a server that
// does not run: that of its snapshots and that of its logs, which may be the same.
// A snapshot that cannot be read is passed over if an older one and the logs
// reach as far.
func Load(snapshots, logs fs.FS) (*Image, error) {
	snaps, err := list(snapshots, "snapshot.")
	if err != nil {
		return nil, err
	}
	txns, err := list(logs, "log.")
	if err != nil {
		return nil, err
	}
	if len(snaps) == 0 {
		return nil, errors.New("no snapshot")
	}
	var failed error
	for _, s := range slices.Backward(snaps) {
		im, err := readSnapshot(snapshots, s)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		from, covered := txns.from(s.zxid)
		if failed != nil && !covered {
			return nil, errors.Join(failed, fmt.Errorf("%s: no log continues it", s.name))
		}
		for i, t := range from {
			if err := readLog(logs, t, im, i == len(from)-1); err != nil {
				return nil, err
			}
		}
		return im, im.settle()
	}
	return nil, failed
}

// from returns the logs that may hold transactions above z, and whether they
// begin at or below z+1.
func (fs files) from(z int64) (rest files, covered bool) {
	at := 0
	for i, f := range fs {
		if f.zxid <= z+1 {
			at, covered = i, true
		}
	}
	return fs[at:], covered
}

func readSnapshot(dir fs.FS, s file) (*Image, error) {
	f, err := dir.Open(s.name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := io.Reader(f)
	if strings.HasSuffix(s.name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", s.name, ErrCorrupt, err)
		}
	}
	im, err := ReadSnapshot(r, s.zxid)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return im, nil
}

func readLog(dir fs.FS, t file, im *Image, last bool) error {
	f, err := dir.Open(t.name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	in, ok := f.(io.ReaderAt)
	if !ok {
		return fmt.Errorf("%s: not a plain file", t.name)
	}
	if err := ReadLog(in, info.Size(), im, last); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	return nil
}
