package replica

import (
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// isrWrite is the leader's change of the ISR at the version of the state that counts.
type isrWrite struct {
	last     uint64 // id of the newest write
	inFlight bool
	fresh    bool       // write has not been handed out yet
	write    StateWrite // while inFlight
	// proposed is every broker in an ISR written at the present version whose write may take effect. It counts for the
	// high watermark until a newer version is seen.
	proposed []int32
	// unknown: some write at the present version may take effect yet. A write at the same version settles it.
	unknown  bool
	refused  bool // the last write was refused, and the read that follows is not done yet
	wantRead bool
	reading  bool
}

// settle forgets the writes at an older version: none can take effect any more.
func (w *isrWrite) settle() {
	w.inFlight, w.fresh, w.unknown, w.refused = false, false, false, false
	w.proposed = w.proposed[:0]
}

// free reports whether a change of the ISR may be proposed: nothing is under way that the state seen does not show.
func (w *isrWrite) free() bool {
	return !w.inFlight && !w.unknown && !w.refused && !w.wantRead && !w.reading
}

// propose makes s the state to write at the present version.
func (r *Replica) propose(s layout.PartitionState, reason string, joins ...Join) {
	w := &r.isr
	w.last++
	w.inFlight, w.fresh = true, true
	w.write = StateWrite{ID: w.last, State: s, Version: r.version, Joins: joins, Reason: reason}
	for _, b := range s.ISR {
		if !slices.Contains(w.proposed, b) {
			w.proposed = append(w.proposed, b)
		}
	}
}

// shrink proposes an ISR without the members that have been behind for too long.
func (r *Replica) shrink() {
	if !r.isr.free() {
		return
	}
	var out []int32
	for i := range r.members {
		m := &r.members[i]
		if m.end < r.end && r.now-m.caughtUp > r.cfg.LagTicks && slices.Contains(r.state.ISR, m.broker) {
			out = append(out, m.broker)
		}
	}
	if out == nil {
		return
	}
	s := r.state.Clone()
	s.ISR = slices.DeleteFunc(s.ISR, func(b int32) bool { return slices.Contains(out, b) })
	s.Suspect = slices.DeleteFunc(s.Suspect, func(b int32) bool { return slices.Contains(out, b) })
	r.propose(s, "shrink")
}

// expand proposes an ISR with m, if it has what any consumer may have read and has reached this leader's epoch (K5).
func (r *Replica) expand(m *member) {
	if !r.isr.free() || slices.Contains(r.state.ISR, m.broker) || m.incarnation < 0 || m.barred == m.incarnation {
		return
	}
	if m.end < max(r.hw, r.role.EpochStart) {
		return
	}
	s := r.state.Clone()
	s.ISR = append(s.ISR, m.broker)
	r.propose(s, "expand", Join{m.broker, m.incarnation})
}

// resign leaves the ISR on behalf of a failed log, if others are in it; alone, nobody could take over.
func (r *Replica) resign() {
	if r.version < 0 || len(r.state.ISR) < 2 || !r.isr.free() {
		return
	}
	if s, changed := Leave(r.state, r.cfg.Broker); changed {
		r.propose(s, "resign")
	}
}

// WriteDone reports the outcome of Ready.Write.
func (r *Replica) WriteDone(id uint64, outcome layout.Outcome) {
	w := &r.isr
	if !w.inFlight || w.write.ID != id {
		return
	}
	switch outcome {
	case layout.Committed:
		r.SetState(w.write.State, w.write.Version+1) // settles it, now or at the end of a change of the log
	case layout.Refused:
		w.inFlight, w.fresh, w.refused, w.wantRead = false, false, true, true
	default:
		w.inFlight, w.fresh, w.unknown, w.wantRead = false, false, true, true
	}
}

// ReadDone reports that a Ready.Read was answered (SetState or StateGone came before) or, if not ok, that it failed: then
// another one follows, and the shell paces them.
func (r *Replica) ReadDone(ok bool) {
	w := &r.isr
	w.reading = false
	if !ok {
		w.wantRead = true
		return
	}
	if r.laterVersion > r.version || !w.refused && !w.unknown {
		r.resume()
		return
	}
	// The version is still the one written at.
	if w.refused {
		w.refused = false
		for _, j := range w.write.Joins {
			if m := r.member(j.Broker); m != nil {
				m.barred = j.Incarnation
			}
		}
		if !w.unknown {
			w.proposed = w.proposed[:0]
		}
	}
	if w.unknown {
		r.propose(r.state.Clone(), "settle")
		return
	}
	r.resume()
}

// resume goes on after a read: what the write under way held up.
func (r *Replica) resume() {
	switch r.role.Kind {
	case Leader:
		r.advance()
	case Failed:
		r.resign()
	}
}

// reread asks for the state znode to be read again: a peer knows another leader epoch than this replica (R8).
func (r *Replica) reread() { r.isr.wantRead = true }
