package recipes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// cacheBatch is how many znodes are read in one request; a znode is 1 MiB at
// most, a reply 64 MiB.
const cacheBatch = 32

// keep is the keeper goroutine: it alone changes the copy.
//
// The watch is armed before anything is read, and an event only says which znode
// to read. Since a session's reads never go back in time, whatever order events
// and reads come in, what is read later is at least as new: applying the reads in
// their order is enough, and nothing is missed.
func (k *Cache) keep(ctx context.Context) error {
	complete := false
	for {
		select {
		case <-k.inbox.wake:
		case <-ctx.Done():
			k.unwatch()
			return ErrReleased
		}
		n := k.inbox.take()
		if n.ended != nil {
			return fmt.Errorf("%w: %s: %w", ErrLost, k.path, n.ended)
		}
		var err error
		if n.removed { // by somebody else who uses the client
			err = k.c.AddWatch(ctx, k.path, zk.WatchRecursive, k.inbox.hear)
		}
		switch {
		case err != nil:
		case n.rescan:
			k.setStale(true)
			err = k.scan(ctx)
		default:
			err = k.refresh(ctx, n.dirty, nil)
		}
		switch {
		case ctx.Err() != nil:
			k.unwatch()
			return ErrReleased
		case err != nil:
			k.unwatch()
			return fmt.Errorf("%w: %s: %w", ErrLost, k.path, err)
		case n.rescan && !k.inbox.pending():
			k.settle()
			if !complete {
				complete = true
				k.tell(CacheInitialized, CacheNode{})
				close(k.ready)
			}
		}
	}
}

// unwatch disarms the watch, if there is a connection to say so on.
func (k *Cache) unwatch() {
	k.inbox.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = k.c.RemoveWatches(ctx, k.path, zk.AnyWatches) // it ends with the session at the latest
}

// scan reads the whole subtree, level by level, and drops what is not there any
// more.
func (k *Cache) scan(ctx context.Context) error {
	clear(k.hidden)
	seen := make(map[string]bool)
	for level := []string{k.path}; len(level) > 0; {
		var next []string
		for _, path := range level {
			seen[path] = true
		}
		err := k.refresh(ctx, level, func(path string, names []string) {
			for _, name := range names {
				next = append(next, zk.JoinPath(path, name))
			}
		})
		if err != nil {
			return err
		}
		level = next
	}
	var gone []string
	k.mu.RLock()
	for path := range k.mu.nodes {
		if !seen[path] {
			gone = append(gone, path)
		}
	}
	k.mu.RUnlock()
	deepestFirst(gone)
	for _, path := range gone {
		k.drop(path)
	}
	return nil
}

// deepestFirst sorts children before their parents.
func deepestFirst(paths []string) {
	slices.SortFunc(paths, func(a, b string) int { return strings.Compare(b, a) })
}

// refresh reads znodes and applies what they are now. If list is given it gets
// the names of the children of each that is there.
func (k *Cache) refresh(ctx context.Context, paths []string, list func(path string, names []string)) error {
	batch := cacheBatch
	for len(paths) > 0 {
		some := paths[:min(batch, len(paths))]
		var ops []zk.Op
		for _, path := range some {
			ops = append(ops, zk.GetOp(path))
			if list != nil {
				ops = append(ops, zk.ChildrenOp(path))
			}
		}
		res, err := k.c.MultiRead(ctx, ops...)
		if errors.Is(err, zk.ErrTooLarge) && len(some) > 1 {
			batch = len(some) / 2
			continue
		}
		if err != nil {
			return err
		}
		each := len(ops) / len(some)
		for i, path := range some {
			if err := k.apply(path, res[i*each]); err != nil {
				return err
			}
			if list != nil && res[i*each+1].Err == nil {
				list(path, res[i*each+1].Children)
			}
		}
		paths = paths[len(some):]
	}
	return nil
}

// apply makes the copy of one znode what a read has shown.
func (k *Cache) apply(path string, r zk.OpResult) error {
	k.mu.RLock()
	old, had := k.mu.nodes[path]
	k.mu.RUnlock()
	now := CacheNode{path, r.Data, r.Stat}
	switch {
	case k.hides(path, r.Err) || errors.Is(r.Err, zk.ErrNoNode):
		k.dropAll(path, math.MaxInt64)
	case r.Err != nil:
		return r.Err
	case !had:
		k.put(CacheCreated, now)
	case old.Stat.Czxid != now.Stat.Czxid: // deleted and made again, and so was all below
		k.dropAll(path, now.Stat.Czxid)
		k.put(CacheCreated, now)
	case old.Stat.Mzxid != now.Stat.Mzxid:
		k.put(CacheUpdated, now)
	default:
		k.mu.Lock()
		k.mu.nodes[path] = now
		k.mu.Unlock()
	}
	return nil
}

// hides notes whether the client may read a znode, and says whether it may not
// read that one or one above it.
func (k *Cache) hides(path string, err error) bool {
	switch hidden := errors.Is(err, zk.ErrNoAuth); {
	case hidden:
		k.hidden[path] = true
	case k.hidden[path]:
		delete(k.hidden, path)
		k.inbox.add("", true) // events below it were passed over
	}
	for len(k.hidden) > 0 && !k.hidden[path] && path != k.path && path != "/" {
		path = zk.ParentPath(path)
	}
	return k.hidden[path]
}

func (k *Cache) put(typ CacheEventType, n CacheNode) {
	k.mu.Lock()
	k.mu.nodes[n.Path] = n
	if n.Path != "/" {
		parent := zk.ParentPath(n.Path)
		if k.mu.children[parent] == nil {
			k.mu.children[parent] = make(map[string]struct{})
		}
		k.mu.children[parent][zk.BaseName(n.Path)] = struct{}{}
	}
	k.mu.Unlock()
	k.tell(typ, n)
}

// dropAll drops a znode and what is below it, children first, but what was made
// at the zxid before or later: it may have been read before its parent was.
func (k *Cache) dropAll(path string, before int64) {
	if n, had := k.Node(path); had && n.Stat.Czxid >= before {
		return
	}
	for _, name := range k.Children(path) {
		k.dropAll(zk.JoinPath(path, name), before)
	}
	k.drop(path)
}

func (k *Cache) drop(path string) {
	k.mu.Lock()
	n, had := k.mu.nodes[path]
	delete(k.mu.nodes, path)
	parent := zk.ParentPath(path)
	delete(k.mu.children[parent], zk.BaseName(path))
	if len(k.mu.children[parent]) == 0 {
		delete(k.mu.children, parent)
	}
	k.mu.Unlock()
	if had {
		k.tell(CacheDeleted, n)
	}
}

func (k *Cache) tell(typ CacheEventType, n CacheNode) {
	if k.OnEvent != nil {
		k.OnEvent(CacheEvent{typ, n})
	}
}
