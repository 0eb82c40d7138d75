package bench

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vivarium-go/vivarium/wal"
)

// walLog is an open write-ahead log.
type walLog interface {
	// Append adds records in the order given, for one goroutine at a time; they
	// are durable on return if the log was opened so.
	Append(records [][]byte) error
	// Put makes one record durable; for any number of goroutines at a time. It
	// is the log's own way to do that, with no grouping by the harness.
	Put(record []byte) error
	// ReadAll reads everything from the beginning and returns how many records
	// there were.
	ReadAll() (int, error)
	Close() error
}

// trimmer is a log that can forget its beginning.
type trimmer interface {
	// Trim drops what lies in whole segments before the last.
	Trim() error
}

// walOptions say how a log is opened.
type walOptions struct {
	durable      bool  // an append is a sync
	segmentBytes int64 // 0: the log's default
}

// walKind opens logs of one implementation.
type walKind struct {
	name     string
	role     Role
	unsynced bool // it can leave syncs out
	trims    bool // it is a trimmer
	open     func(dir string, o walOptions) (walLog, error)
}

var walKinds = []walKind{
	{"vivarium", Ours, true, true, openOurs},
	{"tidwall/wal", Peer, true, true, openTidwall},
	{"etcd wal", Peer, true, false, openEtcd},
	{"raft-wal", Peer, false, false, openRaftWAL},
	{"raw file", Ceiling, true, true, openRaw},
}

const (
	walBatch   = 100 // records of one append in the batched rows
	walWriters = 64  // goroutines of the rows that are about group commit
	// walSegments is how many segments a log that is trimmed as it goes fills: a
	// part of them before it is measured.
	walSegments, walUnmeasured = 8, 3
)

// syncing says whether an append is a sync.
type syncing int

const (
	always syncing = iota
	never
	ifItMust // as a log that cannot leave it out
)

// walWork is a workload on an open log.
type walWork func(env *Env, l walLog) (float64, error)

func walRows() []Row {
	row := func(name, title, unit string, syncs syncing, trimmed bool, target Target, work walWork) Row {
		r := Row{Name: "wal/" + name, Title: "WAL: " + title, Unit: unit, Lower: unit == "µs"}
		for _, k := range walKinds {
			if syncs == never && !k.unsynced || trimmed && !k.trims {
				continue
			}
			s := Subject{Name: k.name, Role: k.role, Start: func(_ context.Context, env *Env) (*Bench, error) {
				dir, remove, err := env.TempDir()
				if err != nil {
					return nil, err
				}
				o := walOptions{durable: syncs == always || !k.unsynced}
				if trimmed {
					o.segmentBytes = env.BytesMax / walSegments
				}
				l, err := k.open(dir, o)
				if err != nil {
					return nil, errors.Join(err, remove())
				}
				run := func(context.Context) (float64, error) { return work(env, l) }
				return &Bench{Run: run, Close: func() error { return errors.Join(l.Close(), remove()) }}, nil
			}}
			if s.Role == Ours {
				s.Target = target
			}
			r.Subjects = append(r.Subjects, s)
		}
		return r
	}
	const rate = "records/s"
	return []Row{
		row("append-100B", "append 100 B, no sync, 100 at a time", rate, never, false, Target{Value: 8e6}, walAppend(100, walBatch)),
		row("append-1KB", "append 1 KB, no sync, 100 at a time", rate, never, false, Target{Value: 2e6}, walAppend(1000, walBatch)),
		row("append-100B-single", "append 100 B, no sync, one at a time", rate, never, false, Target{Value: 1.5e6}, walAppend(100, 1)),
		row("recycle-100B", "append 100 B, no sync, 100 at a time, trimmed", rate, never, true, Target{Value: 8e6}, walTrimmed(100, walBatch)),
		row("recycle-1KB", "append 1 KB, no sync, 100 at a time, trimmed", rate, never, true, Target{Value: 2e6}, walTrimmed(1000, walBatch)),
		row("sync-1", "append 100 B, sync each, 1 goroutine, p50", "µs", always, false, Target{Ratio: 0.95, OfCeiling: true}, walPut(100, 1)),
		row("sync-64", "append 100 B, sync each, 64 goroutines", rate, always, false, Target{Ratio: 40, Figure: "180k"}, walPut(100, walWriters)),
		row("sync-64-1KB", "append 1 KB, sync each, 64 goroutines", rate, always, false, Target{Ratio: 40, Figure: "140k"}, walPut(1000, walWriters)),
		row("read-100B", "sequential read, 100 B", rate, ifItMust, false, Target{Value: 15e6}, walRead(100)),
		row("read-1KB", "sequential read, 1 KB", rate, ifItMust, false, Target{Value: 3.5e6}, walRead(1000)),
	}
}

func walAppend(size, batch int) walWork {
	return func(env *Env, l walLog) (float64, error) {
		records := copies(size, batch)
		left := env.BytesMax
		return rate(env, 16, func() (int, bool, error) {
			left -= int64(size * batch)
			return batch, left > 0, l.Append(records)
		})
	}
}

// walTrimmed appends as a log that lives long does: what is old is dropped, and
// so files are there to be written over. Dropping is not measured, nor are the
// first segments, which find no such file.
func walTrimmed(size, batch int) walWork {
	return func(env *Env, l walLog) (float64, error) {
		records := copies(size, batch)
		segment := func() (int, error) {
			n := 0
			for ; int64(n*size) < env.BytesMax/walSegments; n += batch {
				if err := l.Append(records); err != nil {
					return n, err
				}
			}
			return n, nil
		}
		appended, took := 0, 0.0
		for i := range walSegments {
			seconds := env.stopwatch()
			n, err := segment()
			if err != nil {
				return 0, err
			}
			if i >= walUnmeasured {
				appended, took = appended+n, took+seconds()
			}
			if err := l.(trimmer).Trim(); err != nil {
				return 0, err
			}
		}
		return float64(appended) / took, nil
	}
}

func walPut(size, goroutines int) walWork {
	return func(env *Env, l walLog) (float64, error) {
		record := payload(size)
		if goroutines == 1 {
			return latency(env.Dur, func(int) error { return l.Put(record) })
		}
		if _, least := l.(*rawLog); least { // one sync for all of them, and nobody to tell
			records := copies(size, goroutines)
			return rate(env, 1, func() (int, bool, error) { return goroutines, true, l.Append(records) })
		}
		return together(context.Background(), env, goroutines, func(context.Context, int, int) error { return l.Put(record) })
	}
}

// walRead writes a log, more than one keeps in memory, and reads it again and
// again.
func walRead(size int) walWork {
	return func(env *Env, l walLog) (float64, error) {
		records := copies(size, walBatch)
		written := 0
		for ; int64(written*size) < env.BytesMax; written += walBatch {
			if err := l.Append(records); err != nil {
				return 0, err
			}
		}
		return rate(env, 1, func() (int, bool, error) {
			n, err := l.ReadAll()
			if err == nil && n != written {
				err = fmt.Errorf("read %d of %d records", n, written)
			}
			return n, true, err
		})
	}
}

func copies(size, n int) [][]byte {
	records := make([][]byte, n)
	for i := range records {
		records[i] = payload(size)
	}
	return records
}

// ourLog is a log of package wal.
type ourLog struct {
	log     *wal.Log
	durable bool
	next    uint64 // key for Append
	batch   []wal.Record
}

func openOurs(dir string, o walOptions) (walLog, error) {
	l, err := wal.Open(dir, wal.Config{SegmentBytes: o.segmentBytes})
	return &ourLog{log: l, durable: o.durable}, err
}

func (o *ourLog) Append(records [][]byte) error {
	o.batch = o.batch[:0]
	for _, r := range records {
		o.batch = append(o.batch, wal.Record{Key: o.next, Payload: r})
		o.next++
	}
	if err := o.log.Append(o.batch...); err != nil || !o.durable {
		return err
	}
	return o.log.Sync()
}

func (o *ourLog) Put(record []byte) error {
	_, err := o.log.Commit(record)
	return err
}

func (o *ourLog) Trim() error { return o.log.TruncateBefore(o.log.Next()) }

func (o *ourLog) ReadAll() (int, error) {
	r := o.log.NewReader(0)
	for n := 0; ; n++ {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, r.Close()
		}
		if err != nil {
			return n, errors.Join(err, r.Close())
		}
	}
}

func (o *ourLog) Close() error { return o.log.Close() }
