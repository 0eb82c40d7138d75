package recipes

import (
	"context"
	"errors"
	"sync"

	"github.com/vivarium-go/vivarium/zk"
)

// named makes ephemerals whose names are given, not drawn. One of the same name
// may be there: of an earlier session of ours, about to end, or of somebody else.
type named struct {
	c    *zk.Client
	gone watches

	mu    sync.Mutex
	paths map[string]*trials
}

// trials is what named knows of one path. named.mu guards it.
type trials struct {
	n        int           // how many there have been, so that old clean-ups keep off
	busy     bool          // there is one now
	cleaning chan struct{} // a deletion is under way; closed when it has ended
	grant    *Grant        // of the last that succeeded
}

// create makes an ephemeral and holds it, waiting until nobody else has it. It is
// ErrTaken if it is held through n already.
func (n *named) create(ctx context.Context, path string, data []byte, acl []zk.ACL) (*Grant, error) {
	trial, err := n.begin(ctx, path)
	if err != nil {
		return nil, err
	}
	defer n.end(path)
	for {
		czxid, lost, err := n.createNode(ctx, path, data, acl)
		if err == nil {
			var g *Grant
			if g, err = newGrant(ctx, n.c, node{path, czxid}); err == nil {
				n.mu.Lock()
				n.paths[path].grant = g
				n.mu.Unlock()
				return g, nil
			}
			lost = true
		}
		if errors.Is(err, errGone) {
			continue
		}
		if lost {
			n.clean(path, trial)
		}
		return nil, err
	}
}

// begin notes that path is being tried.
func (n *named) begin(ctx context.Context, path string) (trial int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paths == nil {
		n.paths = make(map[string]*trials)
	}
	t := n.paths[path]
	if t == nil {
		t = new(trials)
		n.paths[path] = t
	}
	for t.cleaning != nil {
		cleaning := t.cleaning
		n.mu.Unlock()
		select {
		case <-cleaning:
		case <-ctx.Done():
			err = ctx.Err()
		}
		n.mu.Lock()
		if err != nil {
			return 0, err
		}
	}
	if t.busy || t.grant != nil && t.grant.Err() == nil {
		return 0, ErrTaken
	}
	t.busy = true
	t.n++
	return t.n, nil
}

func (n *named) end(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[path].busy = false
}

// createNode creates the znode, or finds one that this session has made, of which
// only the answer was lost. lost says that it may be there although it failed.
func (n *named) createNode(ctx context.Context, path string, data []byte, acl []zk.ACL) (czxid int64, lost bool, err error) {
	for {
		res, err := n.c.Do(ctx, zk.CreateOp(path, data, zk.Ephemeral, acl...))
		switch {
		case err == nil:
			return res.Stat.Czxid, false, nil
		case errors.Is(err, zk.ErrNoNode):
			err = ensureContainer(ctx, n.c, zk.ParentPath(path), acl)
		case errors.Is(err, zk.ErrConnectionLoss):
			lost = true
			if ctx.Err() == nil {
				continue
			}
		case errors.Is(err, zk.ErrNodeExists):
			var ours bool
			if czxid, ours, err = n.adopt(ctx, path, data); ours {
				return czxid, false, nil
			}
		}
		if err != nil {
			return 0, lost, err
		}
	}
}

// adopt takes a znode that this session has made, or waits for the end of one
// that it has not.
func (n *named) adopt(ctx context.Context, path string, data []byte) (czxid int64, ours bool, err error) {
	w := n.gone.on(path)
	_, stat, err := n.c.Get(ctx, path, w.option)
	switch {
	case errors.Is(err, zk.ErrNoNode):
		w.drop()
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case stat.EphemeralOwner == 0:
		return 0, false, &zk.OpError{Op: "create", Path: path, Err: zk.ErrNodeExists} // it would wait for ever
	case stat.EphemeralOwner != n.c.SessionID():
		return 0, false, w.wait(ctx, nil)
	}
	_, err = n.c.Set(ctx, path, data, zk.AnyVersion)
	if errors.Is(err, zk.ErrNoNode) || lostAnswer(ctx, err) {
		return 0, false, nil
	}
	return stat.Czxid, err == nil, err
}

// clean deletes, in the background, a znode that a trial may have made, unless
// there is a later trial.
func (n *named) clean(path string, trial int) {
	cleanUp(n.c, func(ctx context.Context) error {
		if err := n.c.Sync(ctx, path); err != nil {
			return err
		}
		stat, err := n.c.Exists(ctx, path)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			return nil
		case err != nil || stat.EphemeralOwner != n.c.SessionID():
			return err
		}
		n.mu.Lock()
		t := n.paths[path]
		if t.n != trial {
			n.mu.Unlock()
			return nil
		}
		cleaning := make(chan struct{})
		t.cleaning = cleaning
		n.mu.Unlock()
		err = remove(ctx, n.c, path)
		n.mu.Lock()
		t.cleaning = nil
		n.mu.Unlock()
		close(cleaning)
		return err
	})
}
