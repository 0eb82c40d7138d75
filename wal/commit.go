package wal

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// A leader yields its processor for so long, at most, to let those come whom
	// the last sync woke; once too often without anybody coming is the end too.
	yieldTimeMax = 100 * time.Microsecond
	yieldIdleMax = 4
	// commitsKeptMax is for how many records an idle log keeps room.
	commitsKeptMax = 128
)

// commitGroup is the records of some Commits, which the first of these callers
// appends and syncs for all.
type commitGroup struct {
	recs  []Record // guarded by Log.mu until the leader appends them
	first uint64   // with err: set before done
	err   error
	done  sync.WaitGroup // 1 until the leader is through
	left  atomic.Int64   // callers that have yet to look at first and err
}

// Commit appends a record under the next key, Next, and returns that key when
// the record is durable. It is for many goroutines that each need their own
// record to be safe: those who come while a sync is under way share one write
// and the sync after it. The payload is the caller's again when it returns.
// After an error the record may be in the log or not, as with Append and Sync;
// ErrTooLarge and ErrKeyOrder (no key is left) say that it is not.
func (l *Log) Commit(payload []byte) (key uint64, err error) {
	if len(payload) > RecordBytesMax {
		return 0, fmt.Errorf("%w: %d bytes to commit", ErrTooLarge, len(payload))
	}
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	g := l.gathering
	if g == nil {
		if g = l.spareGroup.Swap(nil); g == nil {
			g = new(commitGroup)
		}
		g.done.Add(1)
		l.gathering = g
	}
	i := len(g.recs)
	l.arrivals++
	g.recs = append(g.recs, Record{Payload: payload})
	if i == 0 {
		l.leadLocked(g)
		l.mu.Unlock()
		g.done.Done()
	} else {
		l.mu.Unlock()
		g.done.Wait()
	}
	key, err = g.first+uint64(i), g.err
	if g.left.Add(-1) == 0 {
		l.spareGroup.Store(g)
	}
	if err != nil {
		return 0, err
	}
	return key, nil
}

// leadLocked appends and syncs a group after the one before, letting go of the
// lock meanwhile. Others join it until then.
func (l *Log) leadLocked(g *commitGroup) {
	for l.committing {
		l.commitCond.Wait()
	}
	l.committing = true
	l.yieldLocked(func() bool { return len(g.recs) >= l.committers })
	l.gathering = nil
	err := l.appendLocked(g.recs, true)
	if err == nil {
		l.syncing = true
		err = l.settleLocked(l.changes)
	}
	g.first, g.err = g.recs[0].Key, err
	g.left.Store(int64(len(g.recs)))
	l.committers = len(g.recs)
	if l.gathering != nil {
		l.committers += len(l.gathering.recs)
	}
	clear(g.recs)
	if g.recs = g.recs[:0]; cap(g.recs) > commitsKeptMax {
		g.recs = nil
	}
	l.committing = false
	l.commitCond.Signal()
}

// yieldLocked lets other goroutines run until there is enough for one sync, or
// nobody comes. They are those whom the last sync woke, and who are about to
// ask for the next: without this the first of them would have a sync for itself.
func (l *Log) yieldLocked(enough func() bool) {
	if enough() {
		return
	}
	start := time.Now()
	for idle := 0; idle < yieldIdleMax; idle++ {
		before := l.arrivals
		l.mu.Unlock()
		runtime.Gosched()
		l.mu.Lock()
		if enough() || time.Since(start) > yieldTimeMax {
			return
		}
		if l.arrivals != before {
			idle = 0
		}
	}
}
