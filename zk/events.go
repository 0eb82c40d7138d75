package zk

import "fmt"

// EventType says what happened.
type EventType int32

// The types of events. The first four have the protocol's numbers.
const (
	EventCreated         EventType = 1
	EventDeleted         EventType = 2
	EventDataChanged     EventType = 3
	EventChildrenChanged EventType = 4

	// EventWatchRemoved: RemoveWatches has removed the watch. It is its last event.
	EventWatchRemoved EventType = 7

	// EventResync comes to a persistent watch when the client has a new connection
	// and the watch is armed again: changes in between were missed, so read
	// again. What is read from now on, and the events after this one, are complete.
	EventResync EventType = 100

	// EventSession: the session has ended (State says how), and the watch with
	// it. It is its last event.
	EventSession EventType = 101
)

var eventText = map[EventType]string{
	EventCreated: "created", EventDeleted: "deleted", EventDataChanged: "data changed", EventChildrenChanged: "children changed",
	EventWatchRemoved: "watch removed", EventResync: "resync", EventSession: "session",
}

// String is the type in words, "data changed".
func (t EventType) String() string {
	if s, ok := eventText[t]; ok {
		return s
	}
	return fmt.Sprintf("event type %d", int32(t))
}

// Event is what a watch is told.
type Event struct {
	Type  EventType
	State State  // of the client when the event came
	Path  string // of the znode, without the client's chroot; EventResync: the watch's path
	Zxid  int64  // of the change; 0 where the server does not say (ZooKeeper before 3.9)
}

// String is the event in words, "data changed /a".
func (e Event) String() string {
	if e.Type == EventSession {
		return fmt.Sprintf("session %s: %s", e.State, e.Path)
	}
	return e.Type.String() + " " + e.Path
}

// State is the state of a client.
type State int32

// The states of a client. The last three are final.
const (
	StateConnecting State = iota // no connection: the session may or may not live on (Curator's SUSPENDED)
	StateConnected
	StateReadOnly   // connected to a server that has lost its quorum; see ClientConfig.ReadOnly
	StateExpired    // the ensemble has ended the session (Curator's LOST)
	StateAuthFailed // a server has refused a credential
	StateClosed
)

var stateText = [...]string{"connecting", "connected", "read-only", "expired", "authentication failed", "closed"}

// String is the state in words.
func (s State) String() string {
	if s >= 0 && int(s) < len(stateText) {
		return stateText[s]
	}
	return fmt.Sprintf("state %d", int32(s))
}

// Final says whether the client has ended: expired, refused or closed.
func (s State) Final() bool { return s >= StateExpired }

// ReadOption is an option of Get, Exists and Children, made by Watch. The zero
// value is no option.
type ReadOption struct{ w *watcher }

// watcher is one callback. Its address is its identity.
type watcher struct{ fn func(Event) }

// Watch arms a one-shot watch with the read that it is passed to: fn is called
// once, for the first change of what was read, before any call on this client
// returns something newer. If the session ends first, fn gets an EventSession.
//
//   - Get: the znode is set or deleted. Nothing is armed if it does not exist.
//   - Exists: it is created, set or deleted.
//   - Children: a child is created or deleted, or the znode is deleted. Nothing is
//     armed if it does not exist.
//
// A failed read arms nothing otherwise. The same option passed again for the
// same path while it is armed is armed once; two options are two watches.
//
// Callbacks of a client run one after the other on one goroutine, in the order
// of the changes. A callback may call the client. Until it returns, replies that
// the server sent after its event are held back from other callers, for 100 ms
// at most: it should not wait for a lock that is held around a call.
//
// A nil fn arms nothing, like the zero ReadOption.
func Watch(fn func(Event)) ReadOption {
	if fn == nil {
		return ReadOption{}
	}
	return ReadOption{&watcher{fn}}
}

// AddWatchMode is the kind of a persistent watch.
type AddWatchMode int32

// The kinds of persistent watches.
const (
	// WatchPersistent reports created, deleted, data changed and children changed
	// of one znode.
	WatchPersistent AddWatchMode = 0
	// WatchRecursive reports created, deleted and data changed of a znode and all
	// that is below it. It never reports children changed: the created and deleted
	// of the children say as much.
	WatchRecursive AddWatchMode = 1
)

// WatchKind is what RemoveWatches removes and CheckWatches looks for.
type WatchKind int32

// The kinds of watches. The last two are ZooKeeper's since 3.9.
const (
	ChildWatches      WatchKind = 1 // of Children
	DataWatches       WatchKind = 2 // of Get and Exists
	AnyWatches        WatchKind = 3 // all
	PersistentWatches WatchKind = 4 // AddWatch with WatchPersistent
	RecursiveWatches  WatchKind = 5 // AddWatch with WatchRecursive
)
