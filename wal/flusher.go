package wal

import (
	"path/filepath"
	"reflect"
	"sync"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// flusherParallelism is what NewFlusher(0) takes.
const flusherParallelism = 4

// Flusher syncs logs in the background, at most so many at once, and bounds how
// many of their files stay open. One serves all logs of a data directory; it
// has no goroutine before the first SyncAsync. Safe for concurrent use.
type Flusher struct {
	parallelism int
	files       fileCache
	wg          sync.WaitGroup

	mu struct {
		sync.Mutex
		work       sync.Cond
		head, tail *Log // linked by Log.flusherNext
		workers    int
		idle       int
		closed     bool
		// durable has the directories that were made durable, so that the
		// thousandth log beside the others does not sync all above it again.
		durable map[durableDir]bool
	}
}

type durableDir struct {
	fs   vfs.FS
	name string
}

// makeDir creates a log's directory durably.
func (f *Flusher) makeDir(fsys vfs.FS, dir string) error {
	parent := durableDir{fsys, filepath.Dir(filepath.Clean(dir))}
	isKey := reflect.TypeOf(fsys).Comparable()
	f.mu.Lock()
	known := isKey && f.mu.durable[parent]
	f.mu.Unlock()
	if !known {
		if err := vfs.MakeDir(fsys, parent.name); err != nil {
			return err
		}
		if isKey {
			f.mu.Lock()
			f.mu.durable[parent] = true
			f.mu.Unlock()
		}
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return fsys.SyncDir(parent.name)
}

// NewFlusher returns a Flusher that syncs at most parallelism logs at the same
// time; 0: 4. Close it after its logs.
func NewFlusher(parallelism int) *Flusher {
	if parallelism <= 0 {
		parallelism = flusherParallelism
	}
	f := &Flusher{parallelism: parallelism}
	f.mu.work.L = &f.mu.Mutex
	f.mu.durable = map[durableDir]bool{}
	f.files.init()
	return f
}

// enqueue hands a log to a worker. It reports whether there will be one: not
// after Close.
func (f *Flusher) enqueue(l *Log) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return false
	}
	if f.mu.tail == nil {
		f.mu.head = l
	} else {
		f.mu.tail.flusherNext = l
	}
	f.mu.tail = l
	switch {
	case f.mu.idle > 0:
		f.mu.work.Signal()
	case f.mu.workers < f.parallelism:
		f.mu.workers++
		f.wg.Go(f.run)
	}
	return true
}

func (f *Flusher) run() {
	for {
		f.mu.Lock()
		for f.mu.head == nil && !f.mu.closed {
			f.mu.idle++
			f.mu.work.Wait()
			f.mu.idle--
		}
		l := f.mu.head
		if l == nil {
			f.mu.workers--
			f.mu.Unlock()
			return
		}
		f.mu.head, l.flusherNext = l.flusherNext, nil
		if f.mu.head == nil {
			f.mu.tail = nil
		}
		f.mu.Unlock()
		l.serve()
	}
}

// Close serves what is queued and ends the goroutines. Idempotent. Not to be
// called from a SyncAsync callback.
func (f *Flusher) Close() error {
	f.mu.Lock()
	f.mu.closed = true
	f.mu.work.Broadcast()
	f.mu.Unlock()
	f.wg.Wait()
	return nil
}
