package recipes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/vivarium-go/vivarium/zk"
)

// Semaphore is a number of permits that clients of the ensemble share. Who waits
// is served in the order of arrival; only the first in line watches the permits.
//
// Below its path are locks, where clients stand in line, and leases, one znode
// for each permit that is held. The first in line takes its lease and leaves the
// line in one step, so there are never more leases than permits.
type Semaphore struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL
	// Data is kept in the znode of a lease, to show who holds it.
	Data []byte

	path    string
	permits int
	turn    *line
	leases  *line
	changed watches     // of the leases
	checked atomic.Bool // the number of permits agrees with what others think
}

const kindLease = "lease-"

// NewSemaphore makes a Semaphore at path with a number of permits, on which all
// its users have to agree: it is kept in the data of path.
func NewSemaphore(c *zk.Client, path string, permits int) *Semaphore {
	return &Semaphore{
		path: path, permits: permits,
		turn: newLine(c, zk.JoinPath(path, "locks")), leases: newLine(c, zk.JoinPath(path, "leases")),
	}
}

// Acquire waits until it has a permit. If it fails it has none.
func (s *Semaphore) Acquire(ctx context.Context) (*Grant, error) {
	g, err := s.acquire(ctx, false)
	return g, failed("acquire", s.path, err)
}

// TryAcquire is Acquire if that is possible without waiting, else ErrTaken: all
// permits are held, or others stand in line.
func (s *Semaphore) TryAcquire(ctx context.Context) (*Grant, error) {
	g, err := s.acquire(ctx, true)
	return g, failed("acquire", s.path, err)
}

func (s *Semaphore) acquire(ctx context.Context, try bool) (*Grant, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	for {
		turn, err := s.turn.acquire(ctx, contest{kind: kindLock, kinds: []string{kindLock}, try: try, data: s.Data, acl: s.ACL})
		if err != nil {
			return nil, err
		}
		n, err := s.take(ctx, turn, try)
		if err != nil {
			turn.end(ErrReleased)
			s.turn.leave(ctx, node{path: turn.path})
		}
		if err == nil {
			turn.end(ErrReleased)
			var g *Grant
			if g, err = newGrant(ctx, s.leases.c, n); err == nil {
				return g, nil
			}
			s.leases.leave(ctx, n)
		}
		if !errors.Is(err, errGone) {
			return nil, err
		}
	}
}

// check compares the number of permits with what others have.
func (s *Semaphore) check(ctx context.Context) error {
	if s.permits < 1 {
		return fmt.Errorf("%w: %d permits", zk.ErrBadArguments, s.permits)
	}
	if s.checked.Load() {
		return nil
	}
	c, want := s.turn.c, strconv.Itoa(s.permits)
	for {
		data, _, err := c.Get(ctx, s.path)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			if err := c.EnsurePath(ctx, zk.ParentPath(s.path), s.ACL...); err != nil {
				return err
			}
			_, err := c.Create(ctx, s.path, []byte(want), zk.Persistent, s.ACL...)
			if err != nil && !errors.Is(err, zk.ErrNodeExists) && !lostAnswer(ctx, err) {
				return err
			}
			continue
		case err != nil:
			return err
		case string(data) != want:
			return fmt.Errorf("%w: %d permits, while others have %q", zk.ErrBadArguments, s.permits, data)
		}
		s.checked.Store(true)
		return nil
	}
}

// take waits, first in line, for a permit to be free, and exchanges the turn for
// a lease. It is errGone if the turn was lost.
func (s *Semaphore) take(ctx context.Context, turn *Grant, try bool) (node, error) {
	c := s.turn.c
	for {
		w := s.changed.on(s.leases.path)
		names, err := w.children(ctx, c)
		if err != nil {
			return node{}, err
		}
		if turn.Err() != nil {
			return node{}, errGone
		}
		if len(sortEntries(names, kindLease)) >= s.permits {
			if try {
				return node{}, ErrTaken
			}
			if err := w.wait(ctx, turn.Done()); err != nil {
				return node{}, err
			}
			continue
		}
		n, err := s.exchange(ctx, turn)
		if err == nil || !errors.Is(err, zk.ErrNoNode) {
			return n, err
		}
		// The turn is gone, or there is no znode for the leases yet.
		if _, err := c.Exists(ctx, turn.path); errors.Is(err, zk.ErrNoNode) {
			return node{}, errGone
		}
		if err := ensureContainer(ctx, c, s.leases.path, s.ACL); err != nil {
			return node{}, err
		}
	}
}

// exchange deletes the turn and creates a lease, both or neither.
func (s *Semaphore) exchange(ctx context.Context, turn *Grant) (node, error) {
	c, tag, lost := s.turn.c, newTag(), false
	for {
		res, err := c.Multi(ctx,
			zk.DeleteOp(turn.path, zk.AnyVersion),
			zk.CreateOp(zk.JoinPath(s.leases.path, tag+kindLease), s.Data, zk.EphemeralSequential, s.ACL...))
		if err == nil {
			return node{res[1].Path, res[1].Stat.Czxid}, nil
		}
		if errors.Is(err, zk.ErrConnectionLoss) {
			lost = true
			var n node
			if n, err = s.leases.find(ctx, tag, true); err == nil {
				return n, nil
			}
			if errors.Is(err, zk.ErrNoNode) {
				continue
			}
		}
		if lost {
			s.leases.sweep(tag, "")
		}
		return node{}, err
	}
}
