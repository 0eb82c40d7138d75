package zk

import (
	"fmt"
	"io"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// diskWrite is one durable write and what may leave once it is one.
type diskWrite struct {
	write     *zab.Write
	afterSync []zab.Message
}

// writeDisk is the goroutine that makes writes durable, one at a time, in the
// order in which the protocol wants them. It ends when its channel is closed.
func (s *Server) writeDisk() {
	for w := range s.disk {
		e := s.makeDurable(w)
		s.flushLinks(true, 0)
		s.inbox.push(e)
	}
}

// makeDurable does one write and queues what may leave once it is durable.
func (s *Server) makeDurable(w diskWrite) event {
	began := time.Now()
	err := s.persist(w.write)
	s.stats.synced(w.write, time.Since(began))
	if err == nil && s.cfg.killed != nil && s.cfg.killed.Load() {
		err = errKilled // it may have come after the disk was cloned
	}
	if err != nil {
		err = fmt.Errorf("zk: write %v: %w", w.write.Kind, err)
	} else {
		for i := range w.afterSync {
			s.sendZab(&w.afterSync[i])
		}
	}
	return event{kind: eventPersisted, write: w.write.ID, err: err}
}

func (s *Server) persist(w *zab.Write) error {
	switch w.Kind {
	case zab.WriteEntries:
		return s.store.Append(w.Entries)
	case zab.WriteAcceptedEpoch, zab.WriteCurrentEpoch:
		return s.store.SetEpochs(w.Epochs)
	case zab.WriteTruncate:
		return s.store.Truncate(w.Truncate)
	case zab.WriteSnapshot:
		snap := &snapshotHandle{snap: w.Snapshot.(*installedSnapshot).tree.Snapshot()}
		return s.store.InstallSnapshot(w.Truncate, snap.Zxid(), snap.writeTo)
	}
	return fmt.Errorf("unknown kind %d", w.Kind)
}

// snapshotIfDue starts a snapshot when enough was applied since the last one,
// unless the tree may be wrong: on disk it would be wrong for good.
func (s *Server) snapshotIfDue() {
	if s.snapshotting || s.poll.disputed || s.appliedSince < s.cfg.SnapCount && s.appliedBytes < s.cfg.SnapBytes {
		return
	}
	s.snapshotting, s.appliedSince, s.appliedBytes = true, 0, 0
	snap := &snapshotHandle{snap: s.tree.Load().Snapshot()}
	s.goroutines.Go(func() { s.saveSnapshot(snap) })
}

// saveSnapshot is the goroutine that writes one snapshot beside the log.
func (s *Server) saveSnapshot(snap *snapshotHandle) {
	defer snap.release() // if it was not even begun
	z := snap.Zxid()
	began := time.Now()
	err := s.store.SaveSnapshot(z, func(w io.Writer) error { return snap.writeTo(w) })
	s.stats.saved(z, time.Since(began), err)
	if err == nil && s.cfg.PurgeInterval == 0 {
		err = s.store.Purge(s.cfg.SnapRetainCount)
	}
	s.inbox.push(event{kind: eventSnapshotted, zxid: z, err: err})
}

// purgeIfDue starts a goroutine that removes old snapshots, at its time if there
// is one for that.
func (s *Server) purgeIfDue(now time.Duration) {
	if s.snapshotting || s.cfg.PurgeInterval <= 0 || now-s.purgedAt < s.cfg.PurgeInterval {
		return
	}
	s.snapshotting, s.purgedAt = true, now // not both at a time
	s.goroutines.Go(func() {
		if err := s.store.Purge(s.cfg.SnapRetainCount); err != nil {
			s.log.Error("old snapshots not removed", "err", err)
		}
		s.inbox.push(event{kind: eventCall, call: func() { s.snapshotting = false }})
	})
}

// onSnapshotted hears of it. A snapshot that failed is no loss but of space: the
// log stays whole, and the next one is tried when it is due.
func (s *Server) onSnapshotted(e *event) {
	s.snapshotting = false
	if e.err != nil {
		s.log.Error("snapshot not saved", "zxid", e.zxid, "err", e.err)
		return
	}
	s.peer.Compact(e.zxid)
}

// readHistory starts a goroutine that reads the log for a learner which was away
// for longer than the history in memory goes back. More than a peer's queue takes
// is better sent as a snapshot.
func (s *Server) readHistory(w zab.HistoryWanted) {
	s.goroutines.Go(func() {
		from, entries, err := s.store.Behind(&w, s.cfg.PeerQueueBytesMax)
		if err != nil {
			s.log.Warn("log not read for a learner, which gets a snapshot", "peer", w.To, "err", err)
		}
		s.inbox.push(event{kind: eventCall, call: func() { s.peer.HistoryRead(w.To, w.Session, from, entries) }})
	})
}
