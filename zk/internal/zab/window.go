package zab

import (
	"math"
	"slices"
)

// window is the part of the history that is in memory: entries above base.
//
// A position is the length of a prefix of the history, counted from an origin that only this window knows; so it names
// the place after an entry, and stays valid while the window is trimmed at its head. Slots of entries are written once:
// whoever was given a part of the slice may keep it.
type window struct {
	base    Zxid
	start   uint64 // position of base
	entries []Entry
	bytes   int // sum of len(Data)
}

// end returns the position after the last entry.
func (w *window) end() uint64 { return w.start + uint64(len(w.entries)) }

// last returns the zxid of the last entry.
func (w *window) last() Zxid { return w.zxid(w.end()) }

// zxid returns the zxid of the entry before position pos, which lies in the window.
func (w *window) zxid(pos uint64) Zxid {
	if pos == w.start {
		return w.base
	}
	return w.entries[pos-w.start-1].Zxid
}

// pos returns the position after the last entry whose zxid is at most z, and w.start if there is none.
func (w *window) pos(z Zxid) uint64 {
	n := len(w.entries)
	if n == 0 || z < w.entries[0].Zxid {
		return w.start
	}
	last := w.entries[n-1].Zxid
	if z >= last {
		return w.end()
	}
	if z.Epoch() == last.Epoch() { // counters of an epoch have no gaps
		if back := int(last - z); back < n {
			return w.end() - uint64(back)
		}
	}
	i, found := slices.BinarySearchFunc(w.entries, z, func(e Entry, z Zxid) int { return int(cmpZxid(e.Zxid, z)) })
	if found {
		i++
	}
	return w.start + uint64(i)
}

// has reports whether z is the base or the zxid of an entry.
func (w *window) has(z Zxid) bool { return w.zxid(w.pos(z)) == z }

// slice returns the entries between two positions; the caller must not append to it.
func (w *window) slice(from, to uint64) []Entry {
	return w.entries[from-w.start : to-w.start : to-w.start]
}

func (w *window) append(es ...Entry) {
	if need := len(w.entries) + len(es); need > cap(w.entries) {
		// Growing copies what is alive and leaves the trimmed head behind.
		grown := make([]Entry, len(w.entries), max(2*need, 64))
		copy(grown, w.entries)
		w.entries = grown
	}
	w.entries = append(w.entries, es...)
	for i := range es {
		w.bytes += len(es[i].Data)
	}
}

// cut removes all entries after pos.
func (w *window) cut(pos uint64) {
	for _, e := range w.entries[pos-w.start:] {
		w.bytes -= len(e.Data)
	}
	n := pos - w.start
	w.entries = w.entries[:n:n] // the next append moves elsewhere: slots are written once
}

// trim removes the entries before pos.
func (w *window) trim(pos uint64) {
	if pos <= w.start {
		return
	}
	base := w.zxid(pos)
	n := pos - w.start
	for _, e := range w.entries[:n] {
		w.bytes -= len(e.Data)
	}
	w.base, w.start, w.entries = base, pos, w.entries[n:]
}

// reset replaces everything by the zxid of a snapshot. Positions go on from the former end.
func (w *window) reset(base Zxid) {
	*w = window{base: base, start: w.end() + 1}
}

// batch returns the end of the longest run from pos that has at most maxEntries entries and, beyond its first, at
// most maxBytes bytes, and ends at limit at the latest.
func (w *window) batch(pos, limit uint64, maxEntries, maxBytes int) uint64 {
	limit = min(limit, pos+uint64(maxEntries))
	bytes := 0
	for i := pos; i < limit; i++ {
		bytes += len(w.entries[i-w.start].Data)
		if bytes > maxBytes && i > pos {
			return i
		}
	}
	return limit
}

// tails returns the last zxid of each epoch in the window, ascending, the newest tailsMax of them.
func (w *window) tails() []Zxid {
	var ts []Zxid
	for pos := w.end(); pos > w.start && len(ts) < tailsMax; {
		z := w.zxid(pos)
		ts = append(ts, z)
		pos = w.pos(MakeZxid(z.Epoch(), 0))
	}
	slices.Reverse(ts)
	return ts
}

// common returns the end of the longest prefix that this history shares with a learner's log, which begins after base and
// whose last zxid in each epoch are tails. It reports false if that end lies below the window.
func (w *window) common(base Zxid, tails []Zxid) (Zxid, bool) {
	for _, t := range slices.Backward(tails) {
		mine := w.zxid(w.pos(MakeZxid(t.Epoch(), math.MaxUint32)))
		if mine.Epoch() != t.Epoch() {
			continue // this history has nothing of that epoch, or has it below the window
		}
		z := min(t, mine)
		return z, z >= w.base
	}
	return base, base >= w.base && w.has(base)
}

func cmpZxid(a, b Zxid) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
