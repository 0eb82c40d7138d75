package session

import (
	"cmp"
	"slices"
)

// Config configures a Table.
type Config struct {
	TickMillis       int64 // bucket width; 0: 50
	MinTimeoutMillis int32 // 0: twice the tick
	MaxTimeoutMillis int32 // 0: twenty times the tick
}

// Table holds sessions with their deadlines.
type Table struct {
	tick     int64
	min, max int32
	now      int64
	sessions map[int64]*timer
	buckets  map[int64]map[int64]*timer // by deadline, then by session
	order    []int64                    // deadlines of the buckets, ascending
}

type timer struct {
	timeout  int64
	deadline int64 // of its bucket
	expired  bool  // reported by Expired; in no bucket
}

// New returns an empty table.
func New(cfg Config) *Table {
	t := &Table{
		tick: cfg.TickMillis, min: cfg.MinTimeoutMillis, max: cfg.MaxTimeoutMillis,
		sessions: map[int64]*timer{}, buckets: map[int64]map[int64]*timer{},
	}
	if t.tick <= 0 {
		t.tick = 50
	}
	const most = 1<<31 - 1
	if t.min <= 0 {
		t.min = int32(min(2*t.tick, most))
	}
	if t.max <= 0 {
		t.max = int32(min(20*t.tick, most))
	}
	return t
}

// Clamp returns the timeout, in ms, that a client gets which asks for requested; 0 and negative ones get the least.
func (t *Table) Clamp(requested int32) int32 { return max(min(requested, t.max), t.min) }

// Len returns the number of sessions.
func (t *Table) Len() int { return len(t.sessions) }

// Has reports whether a session is in the table.
func (t *Table) Has(id int64) bool { return t.sessions[id] != nil }

// Add puts a session with a timeout in ms into the table, or changes its timeout, and starts its timer. It takes the timeout as it is;
// less than 1 counts as 1.
func (t *Table) Add(id int64, timeout int32, now int64) {
	s := t.sessions[id]
	if s == nil {
		s = &timer{expired: true}
		t.sessions[id] = s
	}
	s.timeout = int64(max(timeout, 1))
	t.restart(id, s, t.clock(now))
}

// Touch restarts a session's timer and reports whether the session is there and has not expired. One that Expired has reported stays
// expired: its end may be on its way through the log.
func (t *Table) Touch(id int64, now int64) bool {
	s := t.sessions[id]
	if s == nil || s.expired {
		return false
	}
	t.restart(id, s, t.clock(now))
	return true
}

// Remove takes a session out and reports whether it was there.
func (t *Table) Remove(id int64) bool {
	s := t.sessions[id]
	if s == nil {
		return false
	}
	t.unlink(id, s)
	delete(t.sessions, id)
	return true
}

// Restart starts every timer anew, those of expired sessions, too: a new leader does it, and one whose proposals to close sessions were lost.
func (t *Table) Restart(now int64) {
	at := t.clock(now)
	for id, s := range t.sessions { // in any order: each lands where its own timeout says
		t.restart(id, s, at)
	}
}

// Reset empties the table.
func (t *Table) Reset() {
	clear(t.sessions)
	clear(t.buckets)
	t.order = nil
}

// Expired appends the sessions whose deadlines have passed at now, in the order of their deadlines, then of their ids. Each is reported once,
// unless Add or Restart starts its timer again.
func (t *Table) Expired(now int64, dst []int64) []int64 {
	at := t.clock(now)
	for len(t.order) > 0 && t.order[0] <= at {
		b := t.buckets[t.order[0]]
		delete(t.buckets, t.order[0])
		t.order = t.order[1:]
		start := len(dst)
		for id, s := range b {
			s.expired = true
			dst = append(dst, id)
		}
		slices.Sort(dst[start:])
	}
	return dst
}

// NextDeadline returns the earliest time at which Expired may have something to report; ok is false if there is none.
func (t *Table) NextDeadline() (at int64, ok bool) {
	if len(t.order) == 0 {
		return 0, false
	}
	return t.order[0], true
}

// Entry is a session as Sessions tells it.
type Entry struct {
	ID            int64
	TimeoutMillis int32
	Deadline      int64 // ms; meaningless if Expired
	Expired       bool
}

// Sessions returns all sessions, by deadline, then id: what the four-letter word dump shows.
func (t *Table) Sessions() []Entry {
	all := make([]Entry, 0, len(t.sessions))
	for id, s := range t.sessions {
		all = append(all, Entry{ID: id, TimeoutMillis: int32(s.timeout), Deadline: s.deadline, Expired: s.expired})
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Deadline, b.Deadline), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// clock returns now, or the latest time known if that is later.
func (t *Table) clock(now int64) int64 {
	t.now = max(t.now, now)
	return t.now
}

// roundUp returns the first multiple of the tick after at, as ExpiryQueue.roundToNextInterval does.
func (t *Table) roundUp(at int64) int64 { return (at/t.tick + 1) * t.tick }

func (t *Table) restart(id int64, s *timer, now int64) {
	deadline := t.roundUp(now + s.timeout)
	if !s.expired && s.deadline == deadline {
		return
	}
	t.unlink(id, s)
	s.deadline, s.expired = deadline, false
	b := t.buckets[deadline]
	if b == nil {
		b = map[int64]*timer{}
		t.buckets[deadline] = b
		if i, found := slices.BinarySearch(t.order, deadline); !found {
			t.order = slices.Insert(t.order, i, deadline)
		}
	}
	b[id] = s
}

func (t *Table) unlink(id int64, s *timer) {
	if s.expired {
		return
	}
	b := t.buckets[s.deadline]
	delete(b, id)
	if len(b) == 0 {
		delete(t.buckets, s.deadline)
		if i, found := slices.BinarySearch(t.order, s.deadline); found {
			t.order = slices.Delete(t.order, i, i+1)
		}
	}
}
