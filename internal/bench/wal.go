package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

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

// walKind opens logs of one implementation. durable: an append is a sync.
type walKind struct {
	name     string
	role     Role
	unsynced bool // it can leave syncs out
	open     func(dir string, durable bool) (walLog, error)
}

var walKinds = []walKind{
	{"vivarium", Ours, true, openOurs},
	{"tidwall/wal", Peer, true, openTidwall},
	{"etcd wal", Peer, true, openEtcd},
	{"raft-wal", Peer, false, openRaftWAL},
	{"raw file", Ceiling, true, openRaw},
}

const walBatch = 100 // records of one append in the batched rows

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
	row := func(name, title, unit string, syncs syncing, target Target, work walWork) Row {
		r := Row{Name: "wal/" + name, Title: "WAL: " + title, Unit: unit, Lower: unit == "µs"}
		for _, k := range walKinds {
			if syncs == never && !k.unsynced {
				continue
			}
			s := Subject{Name: k.name, Role: k.role, Start: func(_ context.Context, env *Env) (*Bench, error) {
				dir, remove, err := env.TempDir()
				if err != nil {
					return nil, err
				}
				l, err := k.open(dir, syncs == always || !k.unsynced)
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
		row("append-100B", "append 100 B, no sync, 100 at a time", rate, never, Target{Ratio: 5, Figure: "8M"}, walAppend(100, walBatch)),
		row("append-1KB", "append 1 KB, no sync, 100 at a time", rate, never, Target{Ratio: 4, Figure: "2M"}, walAppend(1000, walBatch)),
		row("append-100B-single", "append 100 B, no sync, one at a time", rate, never, Target{Ratio: 3.5, Figure: "1.5M"}, walAppend(100, 1)),
		row("sync-1", "append 100 B, sync each, 1 goroutine, p50", "µs", always, Target{Ratio: 0.95, OfCeiling: true, Figure: "130"}, walPut(100, 1)),
		row("sync-64", "append 100 B, sync each, 64 goroutines", rate, always, Target{Ratio: 40, Figure: "180k"}, walPut(100, 64)),
		row("sync-64-1KB", "append 1 KB, sync each, 64 goroutines", rate, always, Target{Ratio: 40, Figure: "140k"}, walPut(1000, 64)),
		row("read-100B", "sequential read, 100 B", rate, ifItMust, Target{Ratio: 1.2, Figure: "15M"}, walRead(100)),
		row("read-1KB", "sequential read, 1 KB", rate, ifItMust, Target{Ratio: 2.4, Figure: "3.5M"}, walRead(1000)),
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

func walPut(size, goroutines int) walWork {
	return func(env *Env, l walLog) (float64, error) {
		record := payload(size)
		if goroutines == 1 {
			return latency(env.Dur, func(int) error { return l.Put(record) })
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
	batch   []wal.Record
	mu      sync.Mutex // from the choice of a key until it is appended
}

func openOurs(dir string, durable bool) (walLog, error) {
	l, err := wal.Open(dir, wal.Config{})
	return &ourLog{log: l, durable: durable}, err
}

func (o *ourLog) Append(records [][]byte) error {
	o.batch = o.batch[:0]
	key := o.log.Next()
	for i, r := range records {
		o.batch = append(o.batch, wal.Record{Key: key + uint64(i), Payload: r})
	}
	if err := o.log.Append(o.batch...); err != nil || !o.durable {
		return err
	}
	return o.log.Sync()
}

func (o *ourLog) Put(record []byte) error {
	o.mu.Lock()
	err := o.log.Append(wal.Record{Key: o.log.Next(), Payload: record})
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.log.Sync()
}

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
