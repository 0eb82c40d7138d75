package wal

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Log is a durable log; Open makes one. Safe for concurrent use: appends take
// effect in the order in which they are called, syncs share one fsync, readers
// neither block nor wait for anybody.
type Log struct {
	dir          string
	fs           vfs.FS
	segmentBytes int64
	prealloc     int64 // greatest step; 0: none
	flusher      *Flusher
	ownFlusher   bool
	log          *slog.Logger
	lock         io.Closer // nil with NoLock
	newID        func() uint64
	readOnly     bool
	progress     func(Progress) // nil after Open

	// gen changes whenever a reader's position may have become invalid.
	gen         atomic.Uint64
	flusherNext *Log // owned by the flusher
	spareGroup  atomic.Pointer[commitGroup]

	// Owned by whoever holds the writing token.
	w writer

	mu sync.Mutex // guards all below; never held across I/O
	logState
}

// logState is what Log.mu guards.
//
// Two tokens serialize I/O: writing (appends) and flushing (syncs and the
// manifest). exclusive keeps both from being taken anew, for those who need
// both: truncations and Close.
type logState struct {
	writing   bool
	flushing  bool
	exclusive bool
	writeCond sync.Cond // writing or exclusive ended
	idleCond  sync.Cond // a token was given back while somebody wants both
	// Who waits for the flush under way waits on round[rounds%2], who needs the
	// next one on the other.
	round     [2]sync.Cond
	waiting   [2]int // how many
	rounds    uint64
	leading   bool      // somebody is about to flush for those who wait on round[rounds%2]
	syncers   int       // how many waited for the last flush or came meanwhile
	arrivals  uint64    // of those who want something synced
	closeCond sync.Cond // the async queue ran empty

	gathering  *commitGroup // takes what Commit brings; nil: there is none yet
	committing bool         // the group before is being appended and synced
	commitCond sync.Cond    // it no longer is
	committers int          // records of the last group, and those that came meanwhile

	err    error // poisoned
	closed bool

	segs []*segment // live, in key order
	next uint64     // least key for Append
	// free is the number of a file that may be overwritten; 0: none.
	free     uint32
	lastFile uint32
	surplus  []uint32   // files to remove after the manifest was written
	doomed   []*segment // to close then
	outside  int        // I/O under way without a token, which Close waits for

	indexFiles   map[uint32]bool // which segments, by number, have an index file
	staleIndexes []uint32        // index files to remove
	indexDue     bool            // segments were sealed that may want one

	hasDir        bool // the directory is durable
	hasManifest   bool // there is one on the disk
	manifestDirty bool // segs says more than it does
	dirDirty      bool // a file was created since the last SyncDir
	unclean       bool // something happened that Close has to seal

	// Changes count up; a flush makes durable all up to those it saw.
	changes     uint64
	settled     uint64 // changes that are durable
	flushTarget uint64 // changes that the flush under way covers
	syncedKey   uint64
	hasSynced   bool

	async     asyncQueue
	scheduled bool // in the flusher's queue or being served
	wantFlush bool // a flush that nobody waits for
	orphaned  bool // the flusher was closed too early: callers serve themselves
	syncing   bool // somebody asked for durability since Open

	tail  chan struct{} // closed at the next append; nil: nobody waits
	stats Stats
}

// segment is a file of the log with its records. Its fields but id, seed, first
// and file are guarded by Log.mu; alloc is the writer's.
type segment struct {
	file       segFile
	num        uint32
	id         uint64
	seed       uint32
	first      uint64
	last       uint64
	end        int64 // of the visible records
	synced     int64 // of the records known durable; 0: not in the manifest yet
	lastAppend int64
	sealed     bool
	replaced   bool // dropped, but for others that hold its place
	pinned     bool // the log itself holds its file open: unsynced bytes
	dropping   bool // by TruncateBefore, at the next manifest
	dropped    bool // no longer in the log
	// droppedAtHead: a reader at its end has lost nothing and goes on.
	droppedAtHead bool
	users         int // reads under way; their file is not recycled
	alloc         int64
	index         sparseIndex
	indexTried    bool // the index file was looked for
	indexLoaded   bool // index comes from it
	indexSaved    bool // it is complete
	indexSaving   bool
}

func (l *Log) newSegment(num uint32, id, first uint64) *segment {
	return &segment{
		file: segFile{fs: l.fs, name: filepath.Join(l.dir, segName(num)), readOnly: l.readOnly},
		num:  num, id: id, seed: seedOf(id), first: first,
	}
}

// randomID returns a segment's identity. It must not be predictable from
// anything that a file may hold, so no seed will do.
func randomID() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if id := binary.LittleEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}

// First returns the key of the first record, or false if there is none.
func (l *Log) First() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return 0, false
	}
	return l.segs[0].first, true
}

// Last returns the key of the last record appended, durable or not, or false if
// there is none.
func (l *Log) Last() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segs) == 0 {
		return 0, false
	}
	return l.segs[len(l.segs)-1].last, true
}

// Synced returns the key of the last record known durable, or false if there is
// none.
func (l *Log) Synced() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.syncedKey, l.hasSynced
}

// Next returns the least key that Append takes: one more than Last, or, in an
// empty log, what Reset or truncation left; 0 in a new one.
func (l *Log) Next() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Size returns how many bytes the log's headers and records take together;
// files may be longer, by preallocation.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizeLocked()
}

func (l *Log) sizeLocked() int64 {
	n := int64(0)
	for _, s := range l.segs {
		n += s.end
	}
	return n
}

// Segments describes the log's segments in key order.
func (l *Log) Segments() []SegmentInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	infos := make([]SegmentInfo, len(l.segs))
	for i, s := range l.segs {
		infos[i] = s.info()
	}
	return infos
}

func (s *segment) info() SegmentInfo {
	return SegmentInfo{
		File: segName(s.num), ID: s.id, First: s.first, Last: s.last,
		Bytes: s.end, LastAppend: s.lastAppend, Sealed: s.sealed,
	}
}

// Stats returns counters since Open.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments, s.Bytes = len(l.segs), l.sizeLocked()
	return s
}

// activeLocked returns the segment that is appended to, or nil if the next
// append begins one.
func (l *Log) activeLocked() *segment {
	if n := len(l.segs); n > 0 && !l.segs[n-1].sealed {
		return l.segs[n-1]
	}
	return nil
}

// usableLocked returns why the log takes no more calls, or nil.
func (l *Log) usableLocked() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.err != nil:
		return l.err
	case l.readOnly:
		return ErrReadOnly
	}
	return nil
}

// poisonLocked makes the first failed write or sync the end of all writing.
func (l *Log) poisonLocked(cause error) {
	if l.err != nil {
		return
	}
	l.err = &poisonError{cause}
	l.log.Error("wal: poisoned until reopened", "dir", l.dir, "err", cause)
	l.wakeLocked()
	l.scheduleLocked()
}

// wakeLocked wakes everybody, to look again.
func (l *Log) wakeLocked() {
	l.writeCond.Broadcast()
	l.idleCond.Broadcast()
	l.round[0].Broadcast()
	l.round[1].Broadcast()
	l.waiting = [2]int{}
}

// wakeReadersLocked makes those in Reader.Wait look again.
func (l *Log) wakeReadersLocked() {
	if l.tail != nil {
		close(l.tail)
		l.tail = nil
	}
}

// enterExclusiveLocked takes both tokens, and keeps new takers waiting. It fails if
// the log is closed; a poisoned one can be entered.
func (l *Log) enterExclusiveLocked() error {
	for l.exclusive && !l.closed {
		l.writeCond.Wait()
	}
	if l.closed {
		return ErrClosed
	}
	l.exclusive = true
	for l.writing || l.flushing {
		l.idleCond.Wait()
	}
	return nil
}

func (l *Log) leaveExclusiveLocked() {
	l.exclusive = false
	l.wakeLocked()
	l.scheduleLocked()
}

// Close makes everything durable, seals the log so that the next Open need not
// search its tail, and releases the directory. Callbacks of SyncAsync run
// before it returns, so it must not be called from one. On a poisoned log it
// writes nothing and returns the ErrPoisoned error. A second Close returns nil.
func (l *Log) Close() error {
	l.mu.Lock()
	if err := l.enterExclusiveLocked(); err != nil {
		l.mu.Unlock()
		return nil
	}
	err := l.err
	if err == nil && l.unclean && !l.readOnly {
		err = l.sealLocked()
	}
	l.closed = true
	l.gen.Add(1)
	l.wakeReadersLocked()
	l.leaveExclusiveLocked()
	for l.scheduled || l.outside > 0 {
		l.closeCond.Wait()
	}
	l.answerLocked()
	segs := l.segs
	l.mu.Unlock()
	for _, s := range segs {
		if s.pinned {
			l.flusher.files.unpin(&s.file)
		}
		l.flusher.files.drop(&s.file)
	}
	if l.ownFlusher {
		_ = l.flusher.Close() // never fails
	}
	if l.lock != nil {
		if cerr := l.lock.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

// sealLocked flushes, cuts what was preallocated, and writes a manifest that
// says so. Both tokens are held.
func (l *Log) sealLocked() error {
	if err := l.flushAllLocked(); err != nil {
		return err
	}
	if a := l.activeLocked(); a != nil && a.alloc != a.end {
		l.mu.Unlock()
		err := l.cutFile(a, true)
		l.mu.Lock()
		if err != nil {
			l.poisonLocked(err)
			return l.err
		}
	}
	m := l.manifestLocked(l.segs)
	m.clean = true
	if err := l.replaceManifestLocked(m, 0); err != nil {
		return err
	}
	l.indexDue = true
	l.saveIndexesLocked()
	if a := l.activeLocked(); a != nil && !a.indexSaved {
		l.saveIndexLocked(a)
	}
	return nil
}

// cutFile shortens a segment's file to its records.
func (l *Log) cutFile(s *segment, sync bool) error {
	f, err := l.flusher.files.pin(&s.file, 0)
	if err != nil {
		return err
	}
	defer l.flusher.files.unpin(&s.file)
	if err := f.Truncate(s.end); err != nil || !sync {
		return err
	}
	return f.Sync()
}
