package recipes

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// line is a znode whose children stand in line by their sequence numbers. It is
// what locks, semaphores, elections and queues are made of.
//
// A child's name is a tag of its own, a kind and the sequence number:
//
//	_c_6ba7b810-9dad-41d1-80b4-00c04fd430c8-lock-0000000017
//
// The tag is made for one create only. When the answer to that create is lost,
// it tells whether the child is there (Curator's protected create).
type line struct {
	c    *zk.Client
	path string

	gone watches // of the znodes that are waited for
}

func newLine(c *zk.Client, path string) *line { return &line{c: c, path: path} }

const tagPrefix = "_c_"

// newTag gives a tag that nobody else has: a random UUID.
func newTag() string {
	var b [16]byte
	crand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%s%x-%x-%x-%x-%x-", tagPrefix, b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// entry is a child of a line.
type entry struct {
	name string
	kind string
	seq  int32
}

// parseEntry takes a child's name apart: whatever stands before the kind, and the
// number behind it. Names without one of the kinds are none of ours.
func parseEntry(name string, kinds ...string) (entry, bool) {
	for _, kind := range kinds {
		i := strings.LastIndex(name, kind)
		if i < 0 {
			continue
		}
		// Ten digits, or a sign: the number wraps after 2^31-1.
		digits := name[i+len(kind):]
		seq, err := strconv.ParseInt(digits, 10, 32)
		if err != nil || len(digits) < 10 || digits[0] == '+' {
			continue
		}
		return entry{name, kind, int32(seq)}, true
	}
	return entry{}, false
}

// compareSeq orders sequence numbers. They count creates and wrap, so what counts
// is which way round the other is nearer.
func compareSeq(a, b int32) int { return cmp.Compare(a-b, 0) }

func compareEntries(a, b entry) int {
	if c := compareSeq(a.seq, b.seq); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

// entries lists the line in order. Without the line's znode there is nobody.
func (l *line) entries(ctx context.Context, kinds ...string) ([]entry, error) {
	names, _, err := l.c.Children(ctx, l.path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return nil, err
	}
	return sortEntries(names, kinds...), nil
}

func sortEntries(names []string, kinds ...string) []entry {
	var es []entry
	for _, name := range names {
		if e, ok := parseEntry(name, kinds...); ok {
			es = append(es, e)
		}
	}
	slices.SortFunc(es, compareEntries)
	return es
}

// ensureContainer makes path a container, which the servers delete when it is
// empty again; where they have none, a persistent znode.
func ensureContainer(ctx context.Context, c *zk.Client, path string, acl []zk.ACL) error {
	mode := zk.Container
	for {
		_, err := c.Create(ctx, path, nil, mode, acl...)
		switch {
		case err == nil || errors.Is(err, zk.ErrNodeExists):
			return nil
		case errors.Is(err, zk.ErrNoNode):
			if err := c.EnsurePath(ctx, zk.ParentPath(path), acl...); err != nil {
				return err
			}
		case errors.Is(err, zk.ErrUnimplemented):
			mode = zk.Persistent
		case !lostAnswer(ctx, err):
			return err
		}
	}
}

// enter creates an entry at the end of the line. When its outcome is unknown it
// finds out. If it fails nothing of ours stays in the line for long.
func (l *line) enter(ctx context.Context, kind string, data []byte, mode zk.CreateMode, acl []zk.ACL) (node, error) {
	tag, lost := newTag(), false
	for {
		res, err := l.c.Do(ctx, zk.CreateOp(zk.JoinPath(l.path, tag+kind), data, mode, acl...))
		if errors.Is(err, zk.ErrConnectionLoss) {
			lost = true
			var n node
			if n, err = l.find(ctx, tag, mode.Ephemeral()); err == nil {
				l.sweep(tag, zk.BaseName(n.path))
				return n, nil
			}
			if errors.Is(err, zk.ErrNoNode) { // it was not executed
				continue
			}
		}
		switch {
		case err == nil:
			if lost {
				l.sweep(tag, zk.BaseName(res.Path))
			}
			return node{res.Path, res.Stat.Czxid}, nil
		case errors.Is(err, zk.ErrNoNode):
			if err = ensureContainer(ctx, l.c, l.path, acl); err == nil {
				continue
			}
		}
		if lost {
			l.sweep(tag, "")
		}
		return node{}, err
	}
}

// find looks for the entry with our tag, ErrNoNode if there is none. The sync
// makes sure that the server has what the lost answer was about; the owner, that
// it is not of an earlier session, about to be deleted (CURATOR-498, -604).
func (l *line) find(ctx context.Context, tag string, ephemeral bool) (node, error) {
	if err := l.c.Sync(ctx, l.path); err != nil {
		return node{}, err
	}
	names, _, err := l.c.Children(ctx, l.path)
	if err != nil {
		return node{}, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, tag) {
			continue
		}
		path := zk.JoinPath(l.path, name)
		stat, err := l.c.Exists(ctx, path)
		switch {
		case err != nil && !errors.Is(err, zk.ErrNoNode):
			return node{}, err
		case err == nil && (!ephemeral || stat.EphemeralOwner == l.c.SessionID()):
			return node{path, stat.Czxid}, nil
		}
	}
	return node{}, &zk.OpError{Op: "find", Path: l.path, Err: zk.ErrNoNode}
}

// sweep deletes, in the background, every entry with our tag but keep.
func (l *line) sweep(tag, keep string) {
	cleanUp(l.c, func(ctx context.Context) error { return l.sweepOnce(ctx, tag, keep) })
}

// cleanUp runs fn in the background, as long as the client lives, until it has
// succeeded, once begun a session timeout from now: a write of unknown outcome
// may be executed late, since a server that was cut off may hold it for a while.
func cleanUp(c *zk.Client, fn func(context.Context) error) {
	go func() {
		begun := time.Now()
		for {
			tried, timeout := time.Now(), c.SessionTimeout()
			err := fn(context.Background()) // calls end with the client
			if err == nil && tried.Sub(begun) >= timeout {
				return
			}
			t := time.NewTimer(max(timeout/2, 10*time.Millisecond))
			select {
			case <-t.C:
			case <-c.Done():
				t.Stop()
				return
			}
		}
	}()
}

func (l *line) sweepOnce(ctx context.Context, tag, keep string) error {
	if err := l.c.Sync(ctx, l.path); err != nil {
		return err
	}
	names, _, err := l.c.Children(ctx, l.path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, tag) || name == keep {
			continue
		}
		if err := remove(ctx, l.c, zk.JoinPath(l.path, name)); err != nil {
			return err
		}
	}
	return nil
}

// acquire stands in line until nobody before us blocks us, and gives the grant.
// blocks says whether a kind that stands before ours blocks it. Data and acl are
// for our entry.
func (l *line) acquire(ctx context.Context, q contest) (*Grant, error) {
	for {
		n, err := l.enter(ctx, q.kind, q.data, zk.EphemeralSequential, q.acl)
		if err != nil {
			return nil, err
		}
		g, err := l.await(ctx, n, q)
		if errors.Is(err, errGone) {
			continue // somebody deleted our entry: stand in line again
		}
		if err != nil {
			l.leave(ctx, n)
			return nil, err
		}
		return g, nil
	}
}

// contest is what an entry is there for.
type contest struct {
	kind   string
	kinds  []string                // whom to look at, ours included
	blocks func(before entry) bool // nil: everybody who stands before us
	passes func(data []byte) bool  // whether one with this data does not block after all; may be nil
	try    bool                    // ErrTaken instead of waiting
	data   []byte
	acl    []zk.ACL
}

// await waits until the entry is not blocked. Only the entry that blocks it, the
// last of those before it, is watched: who leaves wakes one.
func (l *line) await(ctx context.Context, n node, q contest) (*Grant, error) {
	var passed []string
	for {
		es, err := l.entries(ctx, q.kinds...)
		if err != nil {
			return nil, err
		}
		own := slices.IndexFunc(es, func(e entry) bool { return e.name == zk.BaseName(n.path) })
		if own < 0 {
			return nil, errGone
		}
		blocker := own - 1
		for blocker >= 0 && (q.blocks != nil && !q.blocks(es[blocker]) || slices.Contains(passed, es[blocker].name)) {
			blocker--
		}
		if blocker < 0 {
			return newGrant(ctx, l.c, n)
		}
		path := zk.JoinPath(l.path, es[blocker].name)
		var ok bool
		if q.try {
			ok, err = l.lets(ctx, path, q.passes)
		} else {
			ok, err = l.wait(ctx, path, q.passes)
		}
		if err != nil {
			return nil, err
		}
		if ok {
			passed = append(passed, es[blocker].name)
		}
	}
}

// lets is wait without waiting: ErrTaken instead.
func (l *line) lets(ctx context.Context, path string, passes func(data []byte) bool) (passed bool, err error) {
	data, _, err := l.c.Get(ctx, path)
	switch {
	case errors.Is(err, zk.ErrNoNode):
		return false, nil
	case err != nil:
		return false, err
	case passes != nil && passes(data):
		return true, nil
	}
	return false, ErrTaken
}

// leave deletes our entry, whether or not ctx has ended.
func (l *line) leave(ctx context.Context, n node) {
	if ctx.Err() != nil {
		removeLater(l.c, n.path)
		return
	}
	_ = remove(ctx, l.c, n.path) // what fails is the end of the session, or goes on in the background
}

// wait returns when a znode may have been deleted: the caller looks again. It
// reads the data because a watch on exists would stay on a znode that is gone; if
// passes is true of them it does not wait, and says so.
func (l *line) wait(ctx context.Context, path string, passes func(data []byte) bool) (passed bool, err error) {
	w := l.gone.on(path)
	data, _, err := l.c.Get(ctx, path, w.option)
	switch {
	case errors.Is(err, zk.ErrNoNode):
		w.drop()
		return false, nil
	case err != nil:
		return false, err
	case passes != nil && passes(data):
		return true, nil
	}
	return false, w.wait(ctx, nil)
}
