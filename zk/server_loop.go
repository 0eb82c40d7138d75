package zk

import (
	"runtime"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// eventKind says what happened to a server.
type eventKind uint8

const (
	eventMessage     eventKind = iota + 1 // message
	eventUnreachable                      // peer
	eventHeard                            // peer
	eventWork                             // peer, work
	eventSubmission                       // submission
	eventPersisted                        // write, err
	eventSnapshotted                      // zxid, err
	eventCall                             // call: anything else, on the loop's goroutine
)

// event is one thing that happened. Only the fields of its kind are set.
type event struct {
	kind       eventKind
	peer       zab.ServerID
	message    *zab.Message
	work       *peerWork
	submission *submission
	write      zab.WriteID
	zxid       zab.Zxid
	err        error
	call       func()
}

// mailbox is the loop's queue of events. Producers that stand for the outside
// world are slowed by limits of their own (outstanding requests, what a peer may
// have in flight), so push never waits.
type mailbox struct {
	mu     sync.Mutex
	events []event
	wake   chan struct{} // holds a token whenever events is not empty
}

func (m *mailbox) push(es ...event) {
	m.mu.Lock()
	first := len(m.events) == 0
	m.events = append(m.events, es...)
	m.mu.Unlock()
	if first {
		select {
		case m.wake <- struct{}{}:
		default: // a token is there already
		}
	}
}

// take returns all events in exchange for an empty slice to fill next.
func (m *mailbox) take(empty []event) []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	es := m.events
	m.events = empty
	return es
}

// gather is called between waking up and taking what there is to do. It lets
// goroutines that are ready to run add to it: a batch costs little more than one,
// and the first of a batch loses the time that the others need to ask.
func gather() { runtime.Gosched() }

// fewAtATime is how many requests do not fill a batch: what they make is sent by
// who made it, by a system call if it must be. More are better sent by a goroutine
// that is woken for it, and until it runs there may be more still.
const fewAtATime = 1

// eventsKeepMax bounds what a flood leaves behind in the mailbox, and
// sweepPerTick the old versions that an idle server's tree gives up at a time.
const (
	eventsKeepMax = 1 << 13
	sweepPerTick  = 1 << 12
)

// loop is the goroutine that owns the protocol's state, the tree's writer side
// and the table of requests. Everything else talks to it through the mailbox.
func (s *Server) loop() {
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	var events []event
	s.drain()
	for {
		few, first := true, zab.ServerID(0)
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
			s.onTick()
		case <-s.inbox.wake:
			gather()
			events = s.inbox.take(events[:0])
			for i := range events {
				s.onEvent(&events[i])
			}
			few = len(events) <= fewAtATime
			if len(events) > 0 {
				first = events[0].peer
			}
			clear(events)
			if cap(events) > eventsKeepMax {
				events = nil
			}
		}
		s.drain()
		s.flushLinks(few, first)
	}
}

// flushLinks sends what is for peers, to one of them first: who has just asked for
// something, or was the first to agree to it, is likely to have a client that waits.
func (s *Server) flushLinks(few bool, first zab.ServerID) {
	links := *s.links.Load()
	if l := links[first]; l != nil {
		l.flush(few)
	}
	for id, l := range links {
		if id != first {
			l.flush(few)
		}
	}
}

func (s *Server) onEvent(e *event) {
	switch e.kind {
	case eventMessage:
		s.peer.Step(*e.message)
	case eventUnreachable:
		s.peer.Unreachable(e.peer)
	case eventHeard:
		s.peer.Heard(e.peer)
	case eventWork:
		s.onWork(e.peer, e.work)
	case eventSubmission:
		s.onRequest(e.submission)
	case eventPersisted:
		s.onPersisted(e)
	case eventSnapshotted:
		s.onSnapshotted(e)
	case eventCall:
		e.call()
	}
}

// drain does what the protocol wants done, until it wants nothing, or the
// server has failed: then nothing more is applied or said.
func (s *Server) drain() {
	defer func() { s.taken = releaseUnsent(s.taken) }()
	for s.ctx.Err() == nil {
		rd, ok := s.peer.Ready()
		for i := range rd.Messages {
			s.sendZab(&rd.Messages[i])
		}
		s.taken = releaseUnsent(s.taken)
		if !ok {
			return
		}
		if rd.Persist != nil {
			s.writing = rd.Persist
			if !s.cfg.inMemory {
				s.disk <- diskWrite{write: rd.Persist, afterSync: rd.AfterSync}
			}
		}
		s.apply(rd.Committed)
		for _, b := range rd.Barriers {
			s.onBarrier(b)
		}
		s.wantSnapshots(rd.SnapshotsWanted)
		for i := range rd.HistoryWanted {
			s.readHistory(rd.HistoryWanted[i])
		}
		if rd.Memberships != nil {
			s.onMemberships(rd.Memberships)
		}
		if rd.Role != nil {
			s.onRole(rd.Role)
		}
		s.proveMembership()
		if rd.Persist != nil && s.cfg.inMemory {
			e := s.makeDurable(diskWrite{write: rd.Persist, afterSync: rd.AfterSync})
			s.onPersisted(&e)
		}
	}
}

func (s *Server) sendZab(m *zab.Message) {
	switch m.Type {
	case zab.MsgDiff, zab.MsgTrunc:
		s.stats.diffs.Add(1)
	case zab.MsgSnap:
		s.stats.snaps.Add(1)
	}
	if l := s.link(m.To); l != nil {
		l.sendZab(m)
	}
}

// onPersisted hears of a durable write. A snapshot's tree goes live first, so
// that what is committed next is applied to it.
func (s *Server) onPersisted(e *event) {
	w := s.writing
	s.writing = nil
	if e.err == nil && w.Kind == zab.WriteSnapshot {
		s.goLive(w.Snapshot.(*installedSnapshot).tree)
	}
	s.peer.Persisted(e.write, e.err)
}

// onTick advances the clocks of the protocol and of sessions.
func (s *Server) onTick() {
	s.peer.Tick()
	if s.lead != nil {
		s.stats.leads(s.peer)
	}
	s.offerSnapshots()
	now := time.Since(s.started)
	s.advanceClock(now)
	if now-s.housekept < s.cfg.TickTime/2 {
		return
	}
	s.housekept = now
	s.tree.Load().Sweep(sweepPerTick)
	s.forgetClosed()
	s.touchLocals()
	s.touchSessions()
	s.expireSessions()
	s.reap(now)
	s.dropStranded(now)
	s.checkReadOnly(now)
	s.checkPoll(now)
	s.snapshotIfDue()
	s.purgeIfDue(now)
}

// onRole hears what the protocol has made of this server.
func (s *Server) onRole(r *zab.Role) {
	was := s.role
	s.role = *r
	s.log.Info("role", "state", r.State.String(), "leader", r.Leader, "epoch", r.Epoch, "established", r.Established)
	if r.State == zab.Failed {
		s.fail(r.Err)
		return
	}
	s.stats.onRole(&was, r, time.Since(s.started), &s.lookingSince)
	if was.Established && !r.Established {
		s.strandedAt = time.Since(s.started)
	}
	s.lead = nil
	s.fence = fence{}
	if r.State != zab.Leading {
		s.dropWanted()
	}
	if r.Established && r.State == zab.Leading {
		s.becomeLeader()
	}
	if r.Established && r.State == zab.Following {
		s.openFence()
	}
	s.publishStatus()
	s.checkReadOnly(time.Since(s.started))
}
