package txnlog_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/txnlog"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// opened is a store and the snapshot that it restored, which here is text.
type opened struct {
	*txnlog.Store
	rec  zab.Recovered
	text string
}

func open(fs vfs.FS, id zab.ServerID) (*opened, error) {
	o := &opened{}
	s, rec, err := txnlog.Open(txnlog.Config{
		FS: fs, Dir: "d", ID: id, Logger: slog.New(slog.DiscardHandler),
		Restore: func(z zab.Zxid, r io.Reader) (err error) {
			o.text, err = readText(z, r)
			return err
		},
		Check: func(z zab.Zxid, r io.Reader) error { _, err := readText(z, r); return err },
	})
	o.Store, o.rec = s, rec
	return o, err
}

func readText(z zab.Zxid, r io.Reader) (string, error) {
	b, err := io.ReadAll(r)
	if err == nil && string(b) != fmt.Sprint("snapshot ", z) {
		err = fmt.Errorf("not the snapshot at %v: %q", z, b)
	}
	return string(b), err
}

func text(z zab.Zxid) func(io.Writer) error {
	return func(w io.Writer) error { _, err := fmt.Fprint(w, "snapshot ", z); return err }
}

func entries(epoch uint32, from, to int) (es []zab.Entry) {
	for c := from; c <= to; c++ {
		es = append(es, zab.Entry{Zxid: zab.MakeZxid(epoch, uint32(c)), Data: fmt.Append(nil, epoch, "/", c)})
	}
	return es
}

func TestRecovers(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, txnlog.Create(fs, "d", true))
	o, err := open(fs, 7)
	require.NoError(t, err)
	require.True(t, o.rec.Bootstrap)
	require.False(t, o.rec.HasEpochs)
	require.NoError(t, o.SetEpochs(zab.Epochs{Accepted: 2, Current: 1}))
	require.NoError(t, o.SetEpochs(zab.Epochs{Accepted: 2, Current: 2, Voter: true}))
	require.NoError(t, o.Append(entries(1, 1, 5)))
	require.NoError(t, o.Append(entries(2, 1, 9)))
	require.NoError(t, o.Truncate(zab.MakeZxid(2, 6)))
	require.NoError(t, o.SaveSnapshot(zab.MakeZxid(2, 3), text(zab.MakeZxid(2, 3))))
	require.NoError(t, o.Close())

	o, err = open(fs, 7)
	require.NoError(t, err)
	require.Equal(t, zab.Recovered{
		HasEpochs: true, AcceptedEpoch: 2, CurrentEpoch: 2, Snapshot: zab.MakeZxid(2, 3), Entries: entries(2, 4, 6),
	}, o.rec)
	require.NoError(t, o.InstallSnapshot(zab.MakeZxid(2, 4), zab.MakeZxid(3, 8), text(zab.MakeZxid(3, 8))))
	require.NoError(t, o.Append(entries(3, 9, 9)))
	require.NoError(t, o.Purge(1))
	require.NoError(t, o.Close())
	o, err = open(fs, 7)
	require.NoError(t, err)
	require.Equal(t, zab.MakeZxid(3, 8), o.rec.Snapshot)
	require.Equal(t, entries(3, 9, 9), o.rec.Entries)
	require.NoError(t, o.Close())

	_, err = open(fs, 8)
	require.ErrorContains(t, err, "belongs to server 7, not 8")
}

// A snapshot that cannot be read gives way to an older one if the log goes on
// from there, else the store refuses to open: history has no hole (Z22).
func TestDamagedSnapshot(t *testing.T) {
	for _, purged := range []bool{false, true} {
		fs := vfs.NewMem()
		o, err := open(fs, 1)
		require.NoError(t, err)
		require.NoError(t, o.SetEpochs(zab.Epochs{Accepted: 1, Current: 1, Voter: true}))
		require.NoError(t, o.Append(entries(1, 1, 9)))
		require.NoError(t, o.SaveSnapshot(zab.MakeZxid(1, 4), text(zab.MakeZxid(1, 4))))
		if purged {
			require.NoError(t, o.InstallSnapshot(zab.MakeZxid(1, 9), zab.MakeZxid(1, 12), text(zab.MakeZxid(1, 4))))
		} else {
			require.NoError(t, o.SaveSnapshot(zab.MakeZxid(1, 8), text(zab.MakeZxid(1, 4))))
		}
		require.NoError(t, o.Close())
		o, err = open(fs, 1)
		if purged {
			require.ErrorContains(t, err, "no readable snapshot that the log continues")
			continue
		}
		require.NoError(t, err)
		require.Equal(t, zab.MakeZxid(1, 4), o.rec.Snapshot)
		require.Equal(t, entries(1, 5, 9), o.rec.Entries)
		require.NoError(t, o.Close())
	}
}

// The newest snapshot is gone, file and all, and the log goes on from it: the store
// refuses to open, be there an older one or none. History has no hole (Z22).
func TestSnapshotIsGone(t *testing.T) {
	for _, c := range []struct {
		name  string
		leave func(*opened) error // the log begins behind (1,9), or it is empty
	}{
		{"installed", func(o *opened) error {
			return o.InstallSnapshot(zab.MakeZxid(1, 9), zab.MakeZxid(1, 12), text(zab.MakeZxid(1, 12)))
		}},
		{"installed, and a new epoch", func(o *opened) error {
			err := o.InstallSnapshot(zab.MakeZxid(1, 9), zab.MakeZxid(1, 12), text(zab.MakeZxid(1, 12)))
			return errors.Join(err, o.Append(entries(2, 1, 3)))
		}},
	} {
		for _, older := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, older), func(t *testing.T) {
				fs := vfs.NewMem()
				o, err := open(fs, 1)
				require.NoError(t, err)
				require.NoError(t, o.SetEpochs(zab.Epochs{Accepted: 2, Current: 2, Voter: true}))
				require.NoError(t, o.Append(entries(1, 1, 12)))
				require.NoError(t, c.leave(o))
				if older {
					require.NoError(t, o.SaveSnapshot(zab.MakeZxid(1, 4), text(zab.MakeZxid(1, 4))))
				}
				require.NoError(t, o.Close())
				require.NoError(t, fs.Remove("d/snapshot.000000010000000c"))
				_, err = open(fs, 1)
				require.ErrorContains(t, err, "no readable snapshot that the log continues")
			})
		}
	}
}

// The log is gone, as when its disk is not mounted: the server would have forgotten
// what it acknowledged, and vote. It refuses to start (R3).
func TestLogIsGone(t *testing.T) {
	fs := vfs.NewMem()
	o, err := open(fs, 1)
	require.NoError(t, err)
	require.NoError(t, o.SetEpochs(zab.Epochs{Accepted: 1, Current: 1, Voter: true}))
	require.NoError(t, o.Append(entries(1, 1, 5)))
	require.NoError(t, o.SaveSnapshot(zab.MakeZxid(1, 4), text(zab.MakeZxid(1, 4))))
	require.NoError(t, o.Close())
	names, err := fs.ReadDir("d/log")
	require.NoError(t, err)
	for _, n := range names {
		require.NoError(t, fs.Remove("d/log/"+n))
	}
	require.NoError(t, fs.Remove("d/log"))
	_, err = open(fs, 1)
	require.ErrorContains(t, err, "d/log: the log is missing")
}

// Power is lost between any two operations of the disk: the store opens, and
// has what it had said was durable (Z13, Z21).
func TestCrashAnywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	errPower := errors.New("power lost")
	for at, finished := 1, false; !finished; at++ {
		fs := vfs.NewMem()
		count := 0
		var durable zab.Recovered
		err := story(vfs.Inject(fs, func(vfs.Op) error {
			if count++; count >= at {
				return errPower
			}
			return nil
		}), &durable)
		finished = err == nil
		for range 5 {
			o, err := open(fs.CrashClone(rng), 1)
			require.NoError(t, err, "power lost at operation %d", at)
			require.GreaterOrEqual(t, o.rec.AcceptedEpoch, durable.AcceptedEpoch)
			require.GreaterOrEqual(t, o.rec.CurrentEpoch, durable.CurrentEpoch)
			require.GreaterOrEqual(t, o.rec.Snapshot, durable.Snapshot)
			last := o.rec.Snapshot
			for _, e := range o.rec.Entries {
				last = e.Zxid
			}
			want := durable.Snapshot
			for _, e := range durable.Entries {
				want = e.Zxid
			}
			require.GreaterOrEqual(t, last, want, "power lost at operation %d", at)
			require.NoError(t, o.Close())
		}
	}
}

// story does every durable write once and notes what it was told is durable.
func story(fs vfs.FS, durable *zab.Recovered) error {
	if err := txnlog.Create(fs, "d", true); err != nil {
		return err
	}
	o, err := open(fs, 1)
	if err != nil {
		return err
	}
	steps := []struct {
		do   func() error
		then func()
	}{
		{func() error { return o.SetEpochs(zab.Epochs{Accepted: 1, Voter: true}) }, func() { durable.AcceptedEpoch = 1 }},
		{func() error { return o.SetEpochs(zab.Epochs{Accepted: 1, Current: 1, Voter: true}) }, func() { durable.CurrentEpoch = 1 }},
		{func() error { return o.Append(entries(1, 1, 4)) }, func() { durable.Entries = entries(1, 1, 4) }},
		{func() error { return o.SaveSnapshot(zab.MakeZxid(1, 3), text(zab.MakeZxid(1, 3))) }, func() { durable.Snapshot = zab.MakeZxid(1, 3) }},
		{func() error { return o.Append(entries(1, 5, 6)) }, func() { durable.Entries = entries(1, 5, 6) }},
		{func() error { durable.Entries = nil; return o.Truncate(zab.MakeZxid(1, 5)) }, func() { durable.Entries = entries(1, 5, 5) }},
		{func() error {
			durable.Entries = nil
			return o.InstallSnapshot(zab.MakeZxid(1, 5), zab.MakeZxid(1, 9), text(zab.MakeZxid(1, 9)))
		}, func() { durable.Snapshot = zab.MakeZxid(1, 9) }},
		{func() error { return o.Append(entries(1, 10, 12)) }, func() { durable.Entries = entries(1, 10, 12) }},
		{func() error { return o.Purge(1) }, func() {}},
		{o.Close, func() {}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return errors.Join(err, o.Close())
		}
		s.then()
	}
	return nil
}
