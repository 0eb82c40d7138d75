package recipes

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/vivarium-go/vivarium/zk"
)

// Cache is a live copy of a znode and all that is below it, kept by a persistent
// recursive watch (ZooKeeper 3.6). Reads of it cost nothing, and are as old as
// what the ensemble's events have brought; of one znode, a read never shows an
// older state than a read before it.
//
// The data of a parent and the list of its children come from different events:
// a znode is in its parent's list exactly when it is itself in the copy. A znode
// that an ACL hides from the client is not in the copy, nor what is below it. Of
// a Stat, what a change of children changes (Cversion, NumChildren, Pzxid) is of
// the time when the znode itself was last read.
type Cache struct {
	// OnEvent is told of every change of the copy, when it has been made, on the
	// cache's own goroutine, which waits for it. It may read the Cache and call the
	// client, but not Close. Set it before Start.
	OnEvent func(CacheEvent)

	c      *zk.Client
	path   string
	inbox  inbox
	cancel context.CancelFunc
	ready  chan struct{}   // closed when the first copy is complete
	done   chan struct{}   // closed when the keeper has ended
	hidden map[string]bool // the keeper's: znodes that the client may not read

	mu struct {
		sync.RWMutex
		nodes    map[string]CacheNode
		children map[string]map[string]struct{} // names, by the path of the parent
		stale    bool
		err      error
	}
}

// CacheNode is a znode in a Cache.
type CacheNode struct {
	Path string
	Data []byte // shared: not to be changed
	Stat zk.Stat
}

// CacheEventType says what has changed.
type CacheEventType int

// The types of events. A znode that was deleted and made again between two looks
// is both, in that order.
const (
	CacheCreated CacheEventType = iota
	CacheUpdated
	CacheDeleted

	// CacheInitialized comes once: the copy is complete.
	CacheInitialized
)

// String is the type in a word.
func (t CacheEventType) String() string {
	if names := [...]string{"created", "updated", "deleted", "initialized"}; t >= 0 && int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("cache event type %d", int(t))
}

// CacheEvent is a change of a Cache. Those of one znode come in the order of its
// changes; several changes may come as one, and a child's before its parent's.
type CacheEvent struct {
	Type CacheEventType
	Node CacheNode // CacheDeleted: as it was last
}

// NewCache makes a Cache of path, which need not exist.
func NewCache(c *zk.Client, path string) *Cache {
	k := &Cache{c: c, path: path, ready: make(chan struct{}), done: make(chan struct{}), hidden: make(map[string]bool)}
	k.inbox.wake = make(chan struct{}, 1)
	k.mu.nodes = make(map[string]CacheNode)
	k.mu.children = make(map[string]map[string]struct{})
	k.mu.stale = true
	return k
}

// Start begins to keep the copy, by one goroutine, and returns when it is
// complete for the first time. Call it once. If it fails nothing is kept.
func (k *Cache) Start(ctx context.Context) error {
	if err := k.c.AddWatch(ctx, k.path, zk.WatchRecursive, k.inbox.hear); err != nil {
		k.inbox.close()
		return failed("cache", k.path, err)
	}
	run, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	stop := k.c.WatchState(func(s zk.State) {
		if s != zk.StateConnected {
			k.setStale(true)
		}
	})
	k.inbox.add("", true)
	go func() {
		defer close(k.done)
		defer stop()
		err := k.keep(run)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.mu.stale, k.mu.err = true, err
	}()
	select {
	case <-k.ready:
		return nil
	case <-k.done:
		return failed("cache", k.path, k.Err())
	case <-ctx.Done():
		k.Close()
		return failed("cache", k.path, ctx.Err())
	}
}

// Close ends the keeping; the copy stays as it is. Other watches that this client
// has on exactly the Cache's path get an EventWatchRemoved; those of recipes are
// armed again.
func (k *Cache) Close() {
	k.inbox.close()
	if k.cancel == nil {
		return // it was not started
	}
	k.cancel()
	<-k.done
}

// Done is closed when the copy is kept no more: the session has ended, or Close
// was called. Err says which.
func (k *Cache) Done() <-chan struct{} { return k.done }

// Err is nil until Done is closed, and then ErrLost with its cause, or
// ErrReleased after a Close.
func (k *Cache) Err() error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.mu.err
}

// Stale says that the copy may lack changes for longer than an event takes: it is
// not complete yet, or the client has no connection, or has one again and the
// copy is being compared, or it is kept no more.
func (k *Cache) Stale() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.mu.stale
}

// settle says that the copy has been compared. The state is asked under the
// lock: what comes later is told later, by the watch on it.
func (k *Cache) settle() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.stale = k.c.State() != zk.StateConnected
}

func (k *Cache) setStale(stale bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.stale = stale
}

// Node reads a znode from the copy.
func (k *Cache) Node(path string) (CacheNode, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	n, ok := k.mu.nodes[path]
	return n, ok
}

// Children lists the names of a znode's children in the copy, sorted.
func (k *Cache) Children(path string) []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return slices.Sorted(maps.Keys(k.mu.children[path]))
}

// Len is how many znodes the copy has.
func (k *Cache) Len() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.mu.nodes)
}

// All gives the copy at this moment, in the order of paths.
func (k *Cache) All() iter.Seq[CacheNode] {
	k.mu.RLock()
	defer k.mu.RUnlock()
	all := slices.SortedFunc(maps.Values(k.mu.nodes), func(a, b CacheNode) int { return strings.Compare(a.Path, b.Path) })
	return slices.Values(all)
}

// inbox is what the watch has told and the keeper has not yet looked at. It has
// each path once, so its size is bounded by the tree's, not by its changes.
type inbox struct {
	wake chan struct{} // capacity 1

	mu struct {
		sync.Mutex
		dirty   []string // in the order of their first events
		has     map[string]bool
		rescan  bool  // events were missed
		removed bool  // the watch is not armed any more
		ended   error // the session has
		closed  bool
	}
}

// hear is the watch. It does not wait.
func (b *inbox) hear(ev zk.Event) {
	switch ev.Type {
	case zk.EventResync:
		b.add("", true)
	case zk.EventWatchRemoved:
		b.mu.Lock()
		b.mu.removed = true
		b.mu.Unlock()
		b.add("", true)
	case zk.EventSession:
		b.mu.Lock()
		b.mu.ended = endedBy(ev.State)
		b.mu.Unlock()
		b.add("", true)
	default:
		b.add(ev.Path, false)
	}
}

func (b *inbox) add(path string, rescan bool) {
	b.mu.Lock()
	switch {
	case b.mu.closed:
		b.mu.Unlock()
		return
	case rescan:
		b.mu.rescan = true
	case !b.mu.has[path]:
		if b.mu.has == nil {
			b.mu.has = make(map[string]bool)
		}
		b.mu.has[path] = true
		b.mu.dirty = append(b.mu.dirty, path)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// news is what there is to look at.
type news struct {
	dirty           []string
	rescan, removed bool
	ended           error
}

// take empties the inbox.
func (b *inbox) take() news {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := news{b.mu.dirty, b.mu.rescan, b.mu.removed, b.mu.ended}
	b.mu.dirty, b.mu.has, b.mu.rescan, b.mu.removed = nil, nil, false, false
	return n
}

// pending says that a whole look is due.
func (b *inbox) pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.rescan
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.closed = true
}
