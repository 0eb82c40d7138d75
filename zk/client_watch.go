package zk

import (
	"maps"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// watchKind is which of a client's lists a watch is in.
type watchKind uint8

const (
	watchData  watchKind = iota // get, and exists of a znode that exists
	watchExist                  // exists of one that does not
	watchChild
	watchPersistent
	watchRecursive
	watchKinds
)

// watchTable is the watches of a client, by kind and path at the server. It is
// the client's memory of what its server has armed, and tells whom an event is
// for: a server sends one event for each path whatever number of watches there are.
type watchTable [watchKinds]map[string][]*watcher

// add arms w, once.
func (t *watchTable) add(kind watchKind, path string, w *watcher) {
	if slices.Contains(t[kind][path], w) {
		return
	}
	if t[kind] == nil {
		t[kind] = make(map[string][]*watcher)
	}
	t[kind][path] = append(t[kind][path], w)
}

// take appends to ws the watches of a one-shot kind on path, removing them.
func (t *watchTable) take(ws []*watcher, kind watchKind, path string) []*watcher {
	found, ok := t[kind][path]
	if !ok {
		return ws
	}
	delete(t[kind], path)
	return appendNew(ws, found)
}

// appendNew appends what is not there yet.
func appendNew(ws, more []*watcher) []*watcher {
	for _, w := range more {
		if !slices.Contains(ws, w) {
			ws = append(ws, w)
		}
	}
	return ws
}

// fire is whom an event is for; one-shot watches are removed by it. The rules are
// those of ZooKeeper's ZKWatchManager.materialize.
func (t *watchTable) fire(typ EventType, path string) []*watcher {
	var ws []*watcher
	switch typ {
	case EventCreated, EventDataChanged:
		ws = t.take(ws, watchData, path)
		ws = t.take(ws, watchExist, path)
	case EventChildrenChanged:
		ws = t.take(ws, watchChild, path)
	case EventDeleted:
		ws = t.take(ws, watchData, path)
		ws = t.take(ws, watchExist, path)
		ws = t.take(ws, watchChild, path)
	}
	ws = appendNew(ws, t[watchPersistent][path])
	if typ == EventChildrenChanged || len(t[watchRecursive]) == 0 {
		return ws
	}
	for {
		ws = appendNew(ws, t[watchRecursive][path])
		if path == "/" {
			return ws
		}
		path = ParentPath(path)
	}
}

// remove removes what RemoveWatches of the kind removes.
func (t *watchTable) remove(kind WatchKind, path string) []*watcher {
	var ws []*watcher
	if kind == DataWatches || kind == AnyWatches {
		ws = t.take(ws, watchData, path)
		ws = t.take(ws, watchExist, path)
	}
	if kind == ChildWatches || kind == AnyWatches {
		ws = t.take(ws, watchChild, path)
	}
	if kind == PersistentWatches || kind == AnyWatches {
		ws = t.take(ws, watchPersistent, path)
	}
	if kind == RecursiveWatches || kind == AnyWatches {
		ws = t.take(ws, watchRecursive, path)
	}
	return ws
}

// each calls fn for every path of the kinds, in order, with its watches.
func (t *watchTable) each(from, to watchKind, fn func(path string, ws []*watcher)) {
	byPath := make(map[string][]*watcher)
	for k := from; k <= to; k++ {
		for path, ws := range t[k] {
			byPath[path] = appendNew(byPath[path], ws)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		fn(path, byPath[path])
	}
}

// rearmChunkBytes bounds the paths in one setWatches: a server takes no request
// above 1 MiB, and ZooKeeper's own client cuts at 128 KiB (ZOOKEEPER-706).
const rearmChunkBytes = 128 << 10

// rearmFrames is the setWatches requests that arm everything at a new server:
// setWatches2 where there are persistent watches, which older servers lack. All
// events up to seen have come.
func (t *watchTable) rearmFrames(seen int64) []byte {
	two := len(t[watchPersistent]) > 0 || len(t[watchRecursive]) > 0
	var frames []byte
	q := jute.SetWatchesRequest{Two: two, RelativeZxid: seen}
	size := 0
	flush := func() {
		if size == 0 {
			return
		}
		op := jute.OpSetWatches
		if two {
			op = jute.OpSetWatches2
		}
		start := len(frames)
		frames = jute.BeginFrame(frames)
		frames = (&jute.RequestHeader{Xid: jute.XidSetWatches, Op: op}).Append(frames)
		frames = jute.EndFrame(q.Append(frames), start)
		q = jute.SetWatchesRequest{Two: two, RelativeZxid: seen}
		size = 0
	}
	for k := range watchKinds {
		for _, path := range slices.Sorted(maps.Keys(t[k])) {
			if size > 0 && size+len(path)+4 > rearmChunkBytes {
				flush()
			}
			list := [...]*[]string{&q.Data, &q.Exist, &q.Child, &q.Persistent, &q.PersistentRecursive}[k]
			*list = append(*list, strings.Clone(path))
			size += len(path) + 4
		}
	}
	flush()
	return frames
}
