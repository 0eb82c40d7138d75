package watch

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Kind is a way of watching.
type Kind uint8

// The kinds of watches. Exist is armed as Data; it differs in what a reconnecting client has missed (see Missed).
const (
	Data Kind = iota + 1
	Exist
	Child
	Persistent
	PersistentRecursive
)

// modes is a set of ways in which one watcher watches one path.
type modes uint8

const (
	onData modes = 1 << iota
	onChild
	persistent
	recursive
)

func (k Kind) modes() modes {
	switch k {
	case Data, Exist:
		return onData
	case Child:
		return onChild
	case Persistent:
		return persistent
	case PersistentRecursive:
		return recursive
	}
	return 0
}

// Table is who watches what. Its zero value is not usable; see New.
type Table[ID cmp.Ordered] struct {
	paths     map[string][]watcher[ID]   // ordered by id, never empty
	watchers  map[ID]map[string]struct{} // never empty
	bytes     map[ID]int                 // of watchers' paths, see Bytes
	recursive int                        // recursive watches; 0: no parent needs looking at
}

type watcher[ID cmp.Ordered] struct {
	id ID
	on modes
}

func compareID[ID cmp.Ordered](w watcher[ID], id ID) int { return cmp.Compare(w.id, id) }

// New returns an empty table.
func New[ID cmp.Ordered]() *Table[ID] {
	return &Table[ID]{paths: map[string][]watcher[ID]{}, watchers: map[ID]map[string]struct{}{}, bytes: map[ID]int{}}
}

// Add arms a watch and reports whether it was not armed already. An unknown kind arms nothing. path is kept, unlike those of other methods.
func (t *Table[ID]) Add(path string, kind Kind, id ID) bool {
	m := kind.modes()
	if m == 0 {
		return false
	}
	list := t.paths[path]
	i, found := slices.BinarySearchFunc(list, id, compareID)
	if !found {
		t.paths[path] = slices.Insert(list, i, watcher[ID]{id, m})
		if t.watchers[id] == nil {
			t.watchers[id] = map[string]struct{}{}
		}
		t.watchers[id][path] = struct{}{}
		t.bytes[id] += len(path) + pathOverhead
	} else {
		if list[i].on&m != 0 {
			return false
		}
		list[i].on |= m
	}
	if m == recursive {
		t.recursive++
	}
	return true
}

// Trigger appends to dst the watchers that hear of an event, in the order of their ids, each once, and disarms the one-shot watches that it
// spends.
func (t *Table[ID]) Trigger(dst []ID, typ jute.EventType, path string) []ID {
	if len(t.paths) == 0 {
		return dst
	}
	var hears, spends modes
	switch typ {
	case jute.EventCreated, jute.EventDataChanged:
		hears, spends = onData|persistent|recursive, onData
	case jute.EventDeleted:
		hears, spends = onData|onChild|persistent|recursive, onData|onChild
	case jute.EventChildrenChanged:
		hears, spends = onChild|persistent, onChild
	default:
		return dst
	}
	start := len(dst)
	if list := t.paths[path]; list != nil {
		for _, w := range list {
			if w.on&hears != 0 {
				dst = append(dst, w.id)
			}
		}
		t.disarm(path, spends)
	}
	if t.recursive == 0 || hears&recursive == 0 {
		return dst
	}
	here := len(dst)
	for up := path; len(up) > 1; {
		up = up[:max(strings.LastIndexByte(up, '/'), 0)]
		if up == "" {
			up = "/"
		}
		for _, w := range t.paths[up] {
			if w.on&recursive != 0 {
				dst = append(dst, w.id)
			}
		}
	}
	if len(dst) > here {
		slices.Sort(dst[start:])
		dst = dst[:start+len(slices.Compact(dst[start:]))]
	}
	return dst
}

// disarm takes modes from everybody who watches a path.
func (t *Table[ID]) disarm(path string, m modes) {
	list := t.paths[path]
	kept := list[:0]
	for _, w := range list {
		if w.on &^= m; w.on != 0 {
			kept = append(kept, w)
		} else {
			t.forget(path, w.id)
		}
	}
	t.shrink(path, list, len(kept))
}

// shrink keeps the first n watchers of a path's list. An assignment to a map puts
// its key in the place of the one that is there, and path is the caller's, who may
// write over it: hence the copy.
func (t *Table[ID]) shrink(path string, list []watcher[ID], n int) {
	switch n {
	case len(list):
	case 0:
		delete(t.paths, path)
	default:
		clear(list[n:])
		t.paths[strings.Clone(path)] = list[:n]
	}
}

// forget takes a path out of a watcher's set.
func (t *Table[ID]) forget(path string, id ID) {
	set := t.watchers[id]
	delete(set, path)
	t.bytes[id] -= len(path) + pathOverhead
	if len(set) == 0 {
		delete(t.watchers, id)
		delete(t.bytes, id)
	}
}

// wanted translates a WatcherType of the wire (jute.WatcherChildren and so on); 0 is an unknown one.
func wanted(watcherType int32) modes {
	switch watcherType {
	case jute.WatcherChildren:
		return onChild
	case jute.WatcherData:
		return onData
	case jute.WatcherPersistent:
		return persistent
	case jute.WatcherPersistentRecursive:
		return recursive
	case jute.WatcherAny:
		return onData | onChild | persistent | recursive
	}
	return 0
}

// ValidWatcherType reports whether checkWatches and removeWatches know the type.
func ValidWatcherType(watcherType int32) bool { return wanted(watcherType) != 0 }

// Contains reports whether the watcher has a watch of the type on the path (checkWatches).
func (t *Table[ID]) Contains(path string, watcherType int32, id ID) bool {
	list := t.paths[path]
	i, found := slices.BinarySearchFunc(list, id, compareID)
	return found && list[i].on&wanted(watcherType) != 0
}

// Remove disarms a watcher's watches of the type on the path and reports whether there was one (removeWatches).
func (t *Table[ID]) Remove(path string, watcherType int32, id ID) bool {
	list, m := t.paths[path], wanted(watcherType)
	i, found := slices.BinarySearchFunc(list, id, compareID)
	if !found || list[i].on&m == 0 {
		return false
	}
	if list[i].on&m&recursive != 0 {
		t.recursive--
	}
	if list[i].on &^= m; list[i].on == 0 {
		t.forget(path, id)
		copy(list[i:], list[i+1:])
		t.shrink(path, list, len(list)-1)
	}
	return true
}

// RemoveAll disarms everything that the watcher has: its connection is gone.
func (t *Table[ID]) RemoveAll(id ID) {
	for path := range t.watchers[id] { // in any order: each path is a matter of its own
		t.Remove(path, jute.WatcherAny, id)
	}
}

// Stats counts watches.
type Stats struct {
	Watchers int // with any watch
	Paths    int // with any watch
	Data     int // on data lists: data, persistent and recursive ones
	Child    int // on child lists: child and persistent ones
}

// Stats counts what the table holds, in time proportional to it.
func (t *Table[ID]) Stats() Stats {
	s := Stats{Watchers: len(t.watchers), Paths: len(t.paths)}
	for _, list := range t.paths {
		for _, w := range list {
			if w.on&(onData|persistent|recursive) != 0 {
				s.Data++
			}
			if w.on&(onChild|persistent) != 0 {
				s.Child++
			}
		}
	}
	return s
}

// Len returns the number of watches that one watcher has, counted by path.
func (t *Table[ID]) Len(id ID) int { return len(t.watchers[id]) }

// pathOverhead is about what the table needs for a path beside its characters.
const pathOverhead = 128

// Bytes returns about how much memory one watcher's watches take.
func (t *Table[ID]) Bytes(id ID) int { return t.bytes[id] }

// ByPath calls f for each path that is watched, in order, with its watchers in order. f must not change the table or keep ids.
func (t *Table[ID]) ByPath(f func(path string, ids []ID)) {
	var ids []ID
	for _, path := range slices.Sorted(maps.Keys(t.paths)) {
		ids = ids[:0]
		for _, w := range t.paths[path] {
			ids = append(ids, w.id)
		}
		f(path, ids)
	}
}

// ByWatcher calls f for each watcher, in order, with the paths that it watches in order. f must not change the table.
func (t *Table[ID]) ByWatcher(f func(id ID, paths []string)) {
	for _, id := range slices.Sorted(maps.Keys(t.watchers)) {
		f(id, slices.Sorted(maps.Keys(t.watchers[id])))
	}
}

// Missed tells what a client that reconnects with setWatches has missed of a watch that it had when it had seen everything up to zxid
// rel: the event to send at once, in which case the watch is spent, or none, in which case it is to be armed. Of a znode that does not
// exist mzxid and pzxid do not matter. Persistent watches miss nothing that is told here: they are always armed.
func Missed(kind Kind, exists bool, mzxid, pzxid, rel int64) (typ jute.EventType, missed bool) {
	switch {
	case kind == Exist && exists:
		return jute.EventCreated, true
	case (kind == Data || kind == Child) && !exists:
		return jute.EventDeleted, true
	case kind == Data && mzxid > rel:
		return jute.EventDataChanged, true
	case kind == Child && pzxid > rel:
		return jute.EventChildrenChanged, true
	}
	return jute.EventNone, false
}
