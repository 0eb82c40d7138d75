package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// noEpoch is the leader epoch before StartEpoch or Follow.
const noEpoch = -1

// Partition is one replica's log of one partition. See the package's
// documentation for who may call what when.
type Partition struct {
	cfg      Config
	settings atomic.Pointer[Settings]

	leo       atomic.Int64
	logStart  atomic.Int64
	syncedEnd atomic.Int64
	log       atomic.Pointer[wal.Log] // nil until needed

	upkeep  gate // checkpoints, log start, truncation; taken before change
	change  gate // appends, truncation, epochs
	opening gate // of the wal; taken last

	// Guarded by change.
	epoch     int32
	leading   bool
	unsynced  int64            // records since the last sync asked for, where the page cache counts
	headers   []batch.Header   // scratch
	records   []wal.Record     // scratch
	staged    []stagedProducer // scratch
	sinceCkpt int64            // bytes appended since the last checkpoint
	exists    bool             // the directory does
	dirty     bool             // meta says that the log may have changed

	// Guarded by upkeep; until dirty is set, by change.
	meta        meta
	checkpoints int64 // end of the newest checkpoint on disk, -1 if none

	unclean bool // set by Open only

	mu struct {
		sync.Mutex
		st      *state  // written under change too, so that change suffices to read
		pending []int64 // log ends for which syncs were asked, not yet done
		head    int     // of pending
		cursors []*cursor
		gen     uint64 // of the log; a truncation makes a new one
		closed  bool
		err     error // why the log is poisoned
	}
	onSynced func(synced uint64, err error)
}

// Open opens the partition in cfg.Dir, or prepares to create it. If it was
// closed cleanly, or never written, that touches no log. Otherwise the log is
// recovered and replayed from the newest usable checkpoint on. Errors:
// ErrTopicID, ErrCorrupt, the wal's and the file system's.
func Open(cfg Config) (*Partition, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	p := &Partition{cfg: cfg, epoch: noEpoch, checkpoints: -1}
	p.settings.Store(&cfg.Settings)
	p.onSynced = p.synced
	p.mu.st = p.newState(0)
	p.meta.topicID = cfg.TopicID
	if err := p.load(); err != nil {
		p.Abort()
		return nil, fmt.Errorf("partition %s: %w", cfg.Dir, err)
	}
	return p, nil
}

// load brings p to the state of what is on the disk.
func (p *Partition) load() error {
	b, err := vfs.ReadFile(p.cfg.FS, p.path(metaFile), smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		// The meta file comes before the log and goes after it.
		if names, err := p.cfg.FS.ReadDir(p.path(logDir)); err == nil && len(names) > 0 {
			return fmt.Errorf("%w: there is a log but no meta file", ErrCorrupt)
		}
		return nil
	}
	if err != nil {
		return err
	}
	m, err := decodeMeta(b)
	if err != nil {
		return err
	}
	if m.topicID != p.cfg.TopicID {
		return fmt.Errorf("%w: %x, not %x", ErrTopicID, m.topicID, p.cfg.TopicID)
	}
	p.meta, p.exists, p.dirty, p.unclean = m, true, m.dirty, m.dirty
	if !m.dirty {
		if st, err := p.readState(stateFile); err == nil && st != nil && st.end == m.end {
			p.checkpoints = st.end
			p.adopt(st, m.logStart)
			return nil
		}
	}
	return p.recover()
}

// adopt makes st the state of the partition.
func (p *Partition) adopt(st *state, logStart int64) {
	st.raiseStart(logStart)
	p.mu.Lock()
	p.mu.st = st
	p.mu.Unlock()
	p.logStart.Store(logStart)
	p.leo.Store(st.end)
	p.syncedEnd.Store(st.end)
}

func (p *Partition) path(name string) string { return filepath.Join(p.cfg.Dir, name) }

// state returns the state; the caller holds change, or knows that nobody else
// is there yet.
func (p *Partition) state() *state { return p.mu.st }

// writeMeta replaces the meta file; the caller holds upkeep or change as said at
// the field.
func (p *Partition) writeMeta(m meta) error {
	if err := vfs.WriteFile(p.cfg.FS, p.path(metaFile), m.encode()); err != nil {
		return err
	}
	p.meta = m
	return nil
}

// touch is called under change before anything is done to the log: it creates
// the directory if there is none and marks it as not cleanly closed.
func (p *Partition) touch() (*wal.Log, error) {
	if !p.exists {
		if err := vfs.MakeDir(p.cfg.FS, p.cfg.Dir); err != nil {
			return nil, err
		}
	}
	if !p.dirty {
		m := p.meta
		m.dirty, m.logStart = true, p.logStart.Load()
		if err := p.writeMeta(m); err != nil {
			return nil, err
		}
	}
	created := !p.exists
	p.exists, p.dirty = true, true
	l, err := p.wal()
	if err != nil {
		return nil, err
	}
	if leo := p.leo.Load(); created && leo > 0 {
		if err := l.Reset(uint64(leo)); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// wal returns the log, opening it when first needed.
func (p *Partition) wal() (*wal.Log, error) {
	if l := p.log.Load(); l != nil {
		return l, nil
	}
	p.opening.lock()
	defer p.opening.unlock()
	if l := p.log.Load(); l != nil {
		return l, nil
	}
	if p.isClosed() {
		return nil, ErrClosed
	}
	l, err := wal.Open(p.path(logDir), wal.Config{
		FS: p.cfg.FS, SegmentBytes: p.cfg.SegmentBytes, Flusher: p.cfg.Flusher, Logger: p.cfg.Logger, NoLock: true,
	})
	if err != nil {
		return nil, err
	}
	if err := p.verify(l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	p.log.Store(l)
	return l, nil
}

// verify compares a log just opened with the state that was loaded without it.
// While recover is at work there is none to compare with.
func (p *Partition) verify(l *wal.Log) error {
	p.mu.Lock()
	st := p.mu.st
	base, end := st.lastBase, st.end
	p.mu.Unlock()
	if base < 0 {
		return nil
	}
	if last, ok := l.Last(); !ok || last != uint64(base) {
		return fmt.Errorf("%w: closed cleanly with a last batch at %d and log end %d, but the log's last batch is at %d",
			ErrCorrupt, base, end, last)
	}
	return nil
}

// Configure replaces the settings.
func (p *Partition) Configure(s Settings) {
	p.settings.Store(&s)
	if s.durable() {
		// Until then SyncedEnd keeps the promise that it made.
		_ = p.askSync()
	}
}

// askSync has everything appended so far synced in the background.
func (p *Partition) askSync() error {
	p.change.lock()
	defer p.change.unlock()
	l := p.log.Load()
	if l == nil || p.isClosed() {
		return nil
	}
	p.pushPending(p.leo.Load())
	l.SyncAsync(p.onSynced)
	return nil
}

// LogStart is the offset of the first record that can be read.
func (p *Partition) LogStart() int64 { return p.logStart.Load() }

// LEO is the log end offset: the offset of the next record.
func (p *Partition) LEO() int64 { return p.leo.Load() }

// SyncedEnd is the offset below which everything is durable: synced to disk, or,
// where Settings.FlushMessages says that the page cache counts, the log end.
func (p *Partition) SyncedEnd() int64 { return p.syncedEnd.Load() }

// Unclean reports whether the run before this one changed the log and did not
// close it (R9).
func (p *Partition) Unclean() bool { return p.unclean }

// TopicID is the id of the topic it belongs to.
func (p *Partition) TopicID() [16]byte { return p.cfg.TopicID }

// Size is the size of the log in bytes, 0 as long as it has not been opened.
func (p *Partition) Size() int64 {
	if l := p.log.Load(); l != nil {
		return l.Size()
	}
	return 0
}

// Err returns why the partition takes no appends any more, nil if it does.
func (p *Partition) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.err
}

func (p *Partition) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.closed
}

// usable returns why the partition cannot be changed, nil if it can.
func (p *Partition) usable() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return ErrClosed
	}
	return p.mu.err
}

// fail poisons the partition: after a failed write or sync the log's end is not
// known, so nothing may be appended to it until it is opened anew (K15).
func (p *Partition) fail(err error) error {
	p.mu.Lock()
	if p.mu.closed || p.mu.err != nil {
		if p.mu.err != nil {
			err = p.mu.err
		}
		p.mu.Unlock()
		return err
	}
	err = fmt.Errorf("partition %s: log failed: %w", p.cfg.Dir, err)
	p.mu.err = err
	p.mu.Unlock()
	p.cfg.Logger.Error("partition log failed", "dir", p.cfg.Dir, "err", err)
	if p.cfg.OnError != nil {
		p.cfg.OnError(err)
	}
	return err
}

// pushPending notes that a sync up to end is about to be asked for.
func (p *Partition) pushPending(end int64) {
	p.mu.Lock()
	p.mu.pending = append(p.mu.pending, end)
	p.mu.Unlock()
}

// synced is the wal's answer to SyncAsync; answers come in the order of asking.
func (p *Partition) synced(_ uint64, err error) {
	p.mu.Lock()
	end := p.mu.pending[p.mu.head]
	p.mu.head++
	if n := len(p.mu.pending); p.mu.head == n {
		p.mu.pending, p.mu.head = p.mu.pending[:0], 0
	} else if p.mu.head > 64 && p.mu.head > n/2 {
		p.mu.pending = p.mu.pending[:copy(p.mu.pending, p.mu.pending[p.mu.head:])]
		p.mu.head = 0
	}
	advanced := err == nil && end > p.syncedEnd.Load()
	if advanced {
		p.syncedEnd.Store(end)
	}
	p.mu.Unlock()
	if err != nil {
		_ = p.fail(err)
		return
	}
	if advanced && p.cfg.OnSynced != nil {
		p.cfg.OnSynced(end)
	}
}

// Flush syncs everything appended before the call (flush.ms).
func (p *Partition) Flush() error {
	l := p.log.Load()
	if l == nil {
		return p.usable()
	}
	if err := p.usable(); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return p.fail(err)
	}
	return nil
}
