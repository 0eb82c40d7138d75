package bench

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	tidwall "github.com/tidwall/wal"
	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// oneByOne is what a log has that takes indexes from its caller: puts wait for
// one another.
type oneByOne struct {
	mu   sync.Mutex
	next uint64 // the last index used
}

func (o *oneByOne) put(record []byte, add func([][]byte) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return add([][]byte{record})
}

type tidwallLog struct {
	oneByOne
	log   *tidwall.Log
	batch tidwall.Batch
}

func openTidwall(dir string, o walOptions) (walLog, error) {
	l, err := tidwall.Open(dir, &tidwall.Options{NoSync: !o.durable, NoCopy: true, SegmentSize: int(o.segmentBytes)})
	return &tidwallLog{log: l}, err
}

func (t *tidwallLog) Append(records [][]byte) error {
	if len(records) == 1 {
		t.next++
		return t.log.Write(t.next, records[0])
	}
	t.batch.Clear()
	for _, r := range records {
		t.next++
		t.batch.Write(t.next, r)
	}
	return t.log.WriteBatch(&t.batch)
}

func (t *tidwallLog) Put(record []byte) error { return t.put(record, t.Append) }

func (t *tidwallLog) Trim() error { return t.log.TruncateFront(t.next) }

func (t *tidwallLog) ReadAll() (int, error) {
	for i := range t.next {
		if _, err := t.log.Read(i + 1); err != nil {
			return int(i), err
		}
	}
	return int(t.next), nil
}

func (t *tidwallLog) Close() error { return t.log.Close() }

// raftWAL is hashicorp/raft-wal, which syncs every append.
type raftWAL struct {
	oneByOne
	log   *raftwal.WAL
	batch []*raft.Log
}

func openRaftWAL(dir string, o walOptions) (walLog, error) {
	if !o.durable {
		return nil, errors.New("raft-wal syncs always")
	}
	w, err := raftwal.Open(dir)
	return &raftWAL{log: w}, err
}

func (w *raftWAL) Append(records [][]byte) error {
	w.batch = w.batch[:0]
	for _, r := range records {
		w.next++
		w.batch = append(w.batch, &raft.Log{Index: w.next, Term: 1, Data: r})
	}
	return w.log.StoreLogs(w.batch)
}

func (w *raftWAL) Put(record []byte) error { return w.put(record, w.Append) }

func (w *raftWAL) ReadAll() (int, error) {
	var entry raft.Log
	for i := range w.next {
		if err := w.log.GetLog(i+1, &entry); err != nil {
			return int(i), err
		}
	}
	return int(w.next), nil
}

func (w *raftWAL) Close() error { return w.log.Close() }

type etcdLog struct {
	oneByOne
	log   *etcdwal.WAL
	dir   string
	state raftpb.HardState
	batch []*raftpb.Entry
}

func openEtcd(dir string, o walOptions) (walLog, error) {
	dir = filepath.Join(dir, "wal")
	w, err := etcdwal.Create(nil, dir, nil)
	if err != nil {
		return nil, err
	}
	if !o.durable {
		w.SetUnsafeNoFsync()
	}
	return &etcdLog{log: w, dir: dir, state: raftpb.HardState{Term: proto.Uint64(1)}}, nil
}

func (e *etcdLog) Append(records [][]byte) error {
	for len(e.batch) < len(records) {
		e.batch = append(e.batch, &raftpb.Entry{Term: proto.Uint64(1), Index: new(uint64)})
	}
	for i, r := range records {
		e.next++
		*e.batch[i].Index = e.next
		e.batch[i].Data = r
	}
	e.state.Commit = new(e.next)
	return e.log.Save(&e.state, e.batch[:len(records)])
}

func (e *etcdLog) Put(record []byte) error { return e.put(record, e.Append) }

// ReadAll reads as a restart does: etcd's log is not read otherwise.
func (e *etcdLog) ReadAll() (int, error) {
	if e.log != nil { // what it buffers is written when it is closed
		if err := e.log.Close(); err != nil {
			return 0, err
		}
		e.log = nil
	}
	r, err := etcdwal.OpenForRead(nil, e.dir, &walpb.Snapshot{Index: new(uint64), Term: new(uint64)})
	if err != nil {
		return 0, err
	}
	_, _, entries, err := r.ReadAll()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if closed := r.Close(); !errors.Is(closed, os.ErrInvalid) { // which a log opened for reading always is
		err = errors.Join(err, closed)
	}
	return len(entries), err
}

func (e *etcdLog) Close() error {
	if e.log == nil {
		return nil
	}
	return e.log.Close()
}
