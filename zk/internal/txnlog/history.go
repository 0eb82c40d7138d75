package txnlog

import (
	"errors"
	"io"
	"slices"

	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Behind reads what a learner lacks of the history (zab.HistoryWanted): the
// entries behind the end of what its log and this one have in common, of bytesMax
// bytes at most. It returns none if the log does not reach back so far, or there
// are more. It may run beside everything else.
func (s *Store) Behind(w *zab.HistoryWanted, bytesMax int) (from zab.Zxid, entries []zab.Entry, err error) {
	from, ok, err := s.common(w)
	if !ok || err != nil {
		return 0, nil, err
	}
	r := s.log.NewReader(uint64(from) + 1)
	defer func() { err = errors.Join(err, r.Close()) }()
	for bytes := 0; ; {
		rec, err := r.Next()
		switch {
		case err == io.EOF:
			return from, entries, nil
		case errors.Is(err, wal.ErrGone):
			return 0, nil, nil // purged, or emptied by a snapshot
		case err != nil:
			return 0, nil, err
		}
		if bytes += len(rec.Payload); bytes > bytesMax {
			return 0, nil, nil
		}
		entries = append(entries, zab.Entry{Zxid: zab.Zxid(rec.Key), Data: slices.Clone(rec.Payload)})
	}
}

// common finds the end of the common prefix. Within an epoch all logs are
// prefixes of one, so it is the greatest entry here, of an epoch that both have,
// that is at most the learner's last of it.
func (s *Store) common(w *zab.HistoryWanted) (zab.Zxid, bool, error) {
	for _, t := range slices.Backward(w.Tails) {
		z, ok, err := s.floor(t)
		if err != nil || ok && z.Epoch() == t.Epoch() {
			return z, err == nil, err
		}
	}
	z, ok, err := s.floor(w.Base)
	if err != nil || ok {
		return w.Base, ok && z == w.Base, err
	}
	first, ok := s.log.First()
	z = zab.Zxid(first)
	return w.Base, ok && (z == w.Base+1 || w.Base == 0 && z == zab.MakeZxid(1, 1)), nil
}

// floor returns the greatest zxid in the log up to z.
func (s *Store) floor(z zab.Zxid) (zab.Zxid, bool, error) {
	r := s.log.NewReader(uint64(z) + 1)
	rec, err := r.Prev()
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == io.EOF || errors.Is(err, wal.ErrGone) {
		return 0, false, nil
	}
	return zab.Zxid(rec.Key), err == nil, err
}
