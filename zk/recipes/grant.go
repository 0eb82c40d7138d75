package recipes

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vivarium-go/vivarium/zk"
)

// Grant is something held in the ensemble: a lock, a lease, leadership, a
// membership. It stands for an ephemeral znode of the client's session, and ends
// by Release, with the session, or when somebody deletes the znode. All methods
// are safe for concurrent use.
type Grant struct {
	c     *zk.Client
	path  string
	token int64

	mu struct {
		sync.Mutex
		stop     func() // ends the watch on the client's state; nil: not known yet
		err      error  // why it has ended; nil: it has not
		done     chan struct{}
		doubt    chan struct{} // closed: in doubt
		doubtful bool
		contexts map[*context.CancelCauseFunc]struct{}
	}
}

// node is a znode of ours.
type node struct {
	path  string
	czxid int64 // 0: not known
}

// newGrant makes a grant of a node that is ours and that the caller has found to
// be entitled. It is errGone if the node is not there any more.
func newGrant(ctx context.Context, c *zk.Client, n node) (*Grant, error) {
	g := &Grant{c: c, path: n.path, token: n.czxid}
	g.mu.done = make(chan struct{})
	g.mu.doubt = make(chan struct{})
	g.mu.contexts = make(map[*context.CancelCauseFunc]struct{})
	g.watchState()
	if err := g.watch(ctx); err != nil {
		g.end(err)
		return nil, err
	}
	return g, nil
}

// watchState begins to follow the client's state.
func (g *Grant) watchState() {
	stop := g.c.WatchState(g.onState)
	g.mu.Lock()
	g.mu.stop = stop
	if g.c.State() != zk.StateConnected { // asked under the lock: what comes later is told later
		g.doubtLocked(true)
	}
	ended := g.mu.err != nil
	g.mu.Unlock()
	if ended {
		stop()
	}
}

// errGone says that a znode of ours was deleted by somebody else.
var errGone = errors.New("its znode was deleted")

// watch arms a watch on the node, which must be there.
func (g *Grant) watch(ctx context.Context) error {
	_, stat, err := g.c.Get(ctx, g.path, zk.Watch(g.onEvent))
	if err == nil && g.token == 0 {
		g.token = stat.Czxid // a create in a Multi does not tell it everywhere
	}
	if errors.Is(err, zk.ErrNoNode) || err == nil && stat.Czxid != g.token {
		return errGone
	}
	return err
}

// onEvent is the node's watch. It must not wait.
func (g *Grant) onEvent(ev zk.Event) {
	switch ev.Type {
	case zk.EventDeleted:
		g.end(g.lost(errGone))
	case zk.EventSession:
	default: // set by somebody, or a watch removed: armed again
		go g.rewatch()
	}
}

// rewatch arms the watch again. It ends when the client answers or ends.
func (g *Grant) rewatch() {
	if g.Err() != nil {
		return
	}
	if err := g.watch(context.Background()); errors.Is(err, errGone) {
		g.end(g.lost(err))
	}
}

func (g *Grant) lost(cause error) error {
	return fmt.Errorf("%w: %s: %w", ErrLost, g.path, cause)
}

// onState is told of every change of the client's state.
func (g *Grant) onState(s zk.State) {
	if s.Final() {
		g.end(g.lost(endedBy(s)))
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.doubtLocked(s != zk.StateConnected)
}

func (g *Grant) doubtLocked(doubtful bool) {
	switch {
	case g.mu.err != nil || doubtful == g.mu.doubtful:
	case doubtful:
		g.mu.doubtful = true
		close(g.mu.doubt)
		g.cancelLocked(ErrInDoubt)
	default:
		g.mu.doubtful = false
		g.mu.doubt = make(chan struct{})
	}
}

// endedBy is the error of a client that has ended.
func endedBy(s zk.State) error {
	switch s {
	case zk.StateExpired:
		return zk.ErrSessionExpired
	case zk.StateAuthFailed:
		return zk.ErrAuthFailed
	}
	return zk.ErrClosed
}

// end ends the grant, once, and says whether it was this call that did.
func (g *Grant) end(err error) bool {
	g.mu.Lock()
	first := g.mu.err == nil
	if first {
		g.mu.err = err
		close(g.mu.done)
		if !g.mu.doubtful {
			close(g.mu.doubt)
		}
		g.cancelLocked(err)
	}
	stop := g.mu.stop
	g.mu.Unlock()
	if first && stop != nil {
		stop()
	}
	return first
}

func (g *Grant) cancelLocked(cause error) {
	for cancel := range g.mu.contexts {
		(*cancel)(cause)
	}
	clear(g.mu.contexts)
}

// Done is closed when the grant has ended, one way or another; see Err. That it
// is open does not mean that it is held: see Doubt.
func (g *Grant) Done() <-chan struct{} { return g.mu.done }

// Err is nil until Done is closed, and then ErrLost with its cause, or
// ErrReleased.
func (g *Grant) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.err
}

// Doubt gives a channel that is closed while the grant is in doubt: the client
// has no connection to a server with a quorum, so the session may have expired
// without its knowledge. When a connection is back and the session lives, Doubt
// gives another channel. It stays closed once the grant has ended.
func (g *Grant) Doubt() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.doubt
}

// Confirm asks the ensemble, not this process, whether the grant is held. It is
// nil if it was at some point during the call. If not, it is ErrLost, and the
// grant has ended. Without a connection it waits for one, as long as ctx allows.
func (g *Grant) Confirm(ctx context.Context) error {
	if err := g.Err(); err != nil {
		return err
	}
	err := g.c.Sync(ctx, g.path)
	if err == nil {
		var stat zk.Stat
		stat, err = g.c.Exists(ctx, g.path)
		if errors.Is(err, zk.ErrNoNode) || err == nil && stat.Czxid != g.token {
			g.end(g.lost(errGone))
		}
	}
	if lost := g.Err(); lost != nil {
		return lost
	}
	return err
}

// Token is the fencing token: the czxid of the grant's znode. It is greater than
// the tokens of all earlier holders of the same thing.
func (g *Grant) Token() int64 { return g.token }

// Path is the path of the grant's znode.
func (g *Grant) Path() string { return g.path }

// Check is an operation for a Multi that makes it fail, with ErrNoNode, unless
// the grant is held when the Multi is executed. Writes to ZooKeeper that carry it
// need no other fence.
func (g *Grant) Check() zk.Op { return zk.CheckOp(g.path, zk.AnyVersion) }

// Context gives a context that ends with parent, when the grant ends (the cause
// is its Err), or when it comes into doubt (the cause is ErrInDoubt). It does not
// begin again when the doubt is over. Call cancel when done with it.
func (g *Grant) Context(parent context.Context) (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancelCause := context.WithCancelCause(parent)
	key := &cancelCause
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.mu.err != nil:
		cancelCause(g.mu.err)
	case g.mu.doubtful:
		cancelCause(ErrInDoubt)
	default:
		g.mu.contexts[key] = struct{}{}
	}
	return ctx, func() {
		g.mu.Lock()
		delete(g.mu.contexts, key)
		g.mu.Unlock()
		cancelCause(context.Canceled)
	}
}

// Data is the data of the grant's znode, which others see.
func (g *Grant) Data(ctx context.Context) ([]byte, error) {
	data, _, err := g.c.Get(ctx, g.path)
	return data, err
}

// SetData replaces the data of the grant's znode. Since nobody else sets it, an
// unknown outcome is resolved by setting it again.
func (g *Grant) SetData(ctx context.Context, data []byte) error {
	for {
		if err := g.Err(); err != nil {
			return err
		}
		_, err := g.c.Set(ctx, g.path, data, zk.AnyVersion)
		if !lostAnswer(ctx, err) {
			return err
		}
	}
}

// Release gives back what is held, by deleting the znode. If ctx ends before the
// deletion is known to be done, it goes on in the background, and the error is
// the context's. If the grant was lost before, the error says so. Releasing again
// does nothing.
func (g *Grant) Release(ctx context.Context) error {
	if !g.end(ErrReleased) {
		if err := g.Err(); !errors.Is(err, ErrReleased) {
			return err
		}
		return nil
	}
	return remove(ctx, g.c, g.path)
}

// lostAnswer says that err is an unknown outcome and ctx lets us try again.
func lostAnswer(ctx context.Context, err error) bool {
	return errors.Is(err, zk.ErrConnectionLoss) && ctx.Err() == nil
}

// remove deletes a znode that is ours alone. It may be gone already. When ctx
// ends it goes on in the background.
func remove(ctx context.Context, c *zk.Client, path string) error {
	for {
		err := c.Delete(ctx, path, zk.AnyVersion)
		switch {
		case err == nil || errors.Is(err, zk.ErrNoNode):
			return nil
		case ctx.Err() != nil:
			removeLater(c, path)
			return err
		case !errors.Is(err, zk.ErrConnectionLoss):
			return err
		}
	}
}

// removeLater deletes a znode whatever it takes, as long as the client lives. It
// does not wait.
func removeLater(c *zk.Client, path string) {
	c.Go(context.Background(), zk.DeleteOp(path, zk.AnyVersion), func(res zk.OpResult) {
		if errors.Is(res.Err, zk.ErrConnectionLoss) {
			removeLater(c, path)
		}
	})
}
