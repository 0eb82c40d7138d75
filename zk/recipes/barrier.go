package recipes

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// Barrier keeps those who wait until it is lowered. It is one persistent znode:
// it does not fall with the session of who raised it.
type Barrier struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	c    *zk.Client
	path string
	gone watches
}

// NewBarrier makes a Barrier at path.
func NewBarrier(c *zk.Client, path string) *Barrier { return &Barrier{c: c, path: path} }

// Raise raises the barrier. If it is up already nothing happens.
func (b *Barrier) Raise(ctx context.Context) error {
	for {
		err := b.c.EnsurePath(ctx, b.path, b.ACL...)
		if !lostAnswer(ctx, err) {
			return failed("raise", b.path, err)
		}
	}
}

// Lower lets everybody pass. If it is down already nothing happens.
func (b *Barrier) Lower(ctx context.Context) error {
	for {
		err := b.c.Delete(ctx, b.path, zk.AnyVersion)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			return nil
		case !lostAnswer(ctx, err):
			return failed("lower", b.path, err)
		}
	}
}

// Wait waits until the barrier is down. One that was lowered and raised again
// meanwhile may or may not let it pass.
func (b *Barrier) Wait(ctx context.Context) error {
	for {
		w := b.gone.on(b.path)
		_, _, err := b.c.Get(ctx, b.path, w.option)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			w.drop()
			return nil
		case err != nil:
			return failed("wait at", b.path, err)
		}
		if err := w.wait(ctx, nil); err != nil {
			return failed("wait at", b.path, err)
		}
	}
}

// DoubleBarrier lets a number of parties begin together and end together, again
// and again.
//
// Its znode's data says whether it is open, and its version which round it is;
// its children are the parties. It opens in one step that also checks that every
// party counted is still there, and a party enters in one step that checks that
// it has not opened: a party of the next round that is early waits until those of
// this one have left.
type DoubleBarrier struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL
	// Data is kept in the znode of a party, to show who it is.
	Data []byte

	c       *zk.Client
	path    string
	parties int
	state   watches // of the barrier's data
	members watches // of its children
	gone    watches // of parties
}

const (
	kindParty   = "party"
	barrierOpen = "open"
)

// NewDoubleBarrier makes a DoubleBarrier at path, which opens when parties have
// entered. All parties have to agree on their number.
func NewDoubleBarrier(c *zk.Client, path string, parties int) *DoubleBarrier {
	return &DoubleBarrier{c: c, path: path, parties: parties}
}

// Party is a party that has entered. As a Grant it tells when it was lost, with
// its session; the others do not wait for it then, nor when it is released.
type Party struct {
	*Grant
	b     *DoubleBarrier
	round int32 // the barrier's version while it is open
}

// Enter waits until all parties have entered. If it fails this one has not.
func (b *DoubleBarrier) Enter(ctx context.Context) (*Party, error) {
	for {
		path, err := b.join(ctx)
		if err != nil {
			return nil, failed("enter", b.path, err)
		}
		g, err := newGrant(ctx, b.c, node{path: path})
		var round int32
		if err == nil {
			if round, err = b.gather(ctx, g); err == nil {
				return &Party{g, b, round}, nil
			}
			g.end(ErrReleased)
		}
		if errors.Is(err, errGone) {
			continue
		}
		removeLater(b.c, path)
		return nil, failed("enter", b.path, err)
	}
}

// join creates this party's znode, while the barrier is not open.
func (b *DoubleBarrier) join(ctx context.Context) (path string, err error) {
	path = zk.JoinPath(b.path, newTag()+kindParty)
	lost := false
	defer func() {
		if err != nil && lost {
			removeLater(b.c, path)
		}
	}()
	for {
		state := b.state.on(b.path)
		data, stat, err := b.c.Get(ctx, b.path, state.option)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			state.drop()
			if err := b.c.EnsurePath(ctx, b.path, b.ACL...); err != nil && !lostAnswer(ctx, err) {
				return path, err
			}
			continue
		case err != nil:
			return path, err
		case string(data) == barrierOpen:
			if err := b.waitClosed(ctx, state, stat.Version); err != nil {
				return path, err
			}
			continue
		}
		_, err = b.c.Multi(ctx, zk.CheckOp(b.path, stat.Version), zk.CreateOp(path, b.Data, zk.Ephemeral, b.ACL...))
		switch {
		case err == nil || errors.Is(err, zk.ErrNodeExists): // the name is ours alone
			return path, nil
		case errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNoNode): // look again
		case lostAnswer(ctx, err):
			lost = true
			if err := b.c.Sync(ctx, b.path); err != nil {
				return path, err
			}
			// We may be in, and it may have opened because of us.
			if _, err := b.c.Exists(ctx, path); !errors.Is(err, zk.ErrNoNode) {
				return path, err
			}
		default:
			lost = lost || errors.Is(err, zk.ErrConnectionLoss)
			return path, err
		}
	}
}

// waitClosed waits for an open barrier to be closed by the last who leaves. If all
// have gone without that, because their sessions ended, it closes the barrier.
func (b *DoubleBarrier) waitClosed(ctx context.Context, state *wakeup, version int32) error {
	members := b.members.on(b.path)
	names, err := members.children(ctx, b.c)
	if err != nil {
		return err
	}
	if len(parties(names)) == 0 {
		return b.close(ctx, version)
	}
	return state.wait(ctx, nil, members)
}

// close closes an open barrier that everybody has left: nobody can enter before.
func (b *DoubleBarrier) close(ctx context.Context, version int32) error {
	_, err := b.c.Set(ctx, b.path, nil, version)
	if errors.Is(err, zk.ErrBadVersion) || lostAnswer(ctx, err) {
		return nil // somebody has, or we look again
	}
	return err
}

// parties picks the parties out of the names of a barrier's children, sorted.
func parties(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, tagPrefix) || !strings.HasSuffix(name, kindParty)
	})
}

// gather waits until the barrier is open, and opens it if all are there. It
// returns the round. Who comes last counts; the others wait for the state.
func (b *DoubleBarrier) gather(ctx context.Context, g *Grant) (round int32, err error) {
	for {
		if err := g.Err(); err != nil {
			return 0, err
		}
		state := b.state.on(b.path)
		data, stat, err := b.c.Get(ctx, b.path, state.option)
		if err != nil {
			return 0, err
		}
		if string(data) == barrierOpen {
			return stat.Version, nil
		}
		names, _, err := b.c.Children(ctx, b.path)
		if err != nil {
			return 0, err
		}
		names = parties(names)
		if len(names) < b.parties {
			if err := state.wait(ctx, g.Done()); err != nil {
				return 0, err
			}
			continue
		}
		ops := []zk.Op{zk.SetOp(b.path, []byte(barrierOpen), stat.Version)}
		for _, name := range names {
			ops = append(ops, zk.CheckOp(zk.JoinPath(b.path, name), zk.AnyVersion))
		}
		_, err = b.c.Multi(ctx, ops...)
		// Somebody has opened it, or left: look again.
		if err != nil && !errors.Is(err, zk.ErrBadVersion) && !errors.Is(err, zk.ErrNoNode) && !lostAnswer(ctx, err) {
			return 0, err
		}
	}
}

// Leave waits until all parties have left, or lost their sessions. Of those who
// wait the first by name stays until it is alone; the others watch it, and it
// watches the last.
func (p *Party) Leave(ctx context.Context) error {
	err := p.leave(ctx)
	if p.end(ErrReleased) { // not deleted yet
		removeLater(p.b.c, p.path)
	}
	return failed("leave", p.b.path, err)
}

func (p *Party) leave(ctx context.Context) error {
	b, own := p.b, zk.BaseName(p.path)
	for {
		_, stat, err := b.c.Get(ctx, b.path)
		if err != nil || stat.Version != p.round {
			return err // the round is over
		}
		names, _, err := b.c.Children(ctx, b.path)
		if err != nil {
			return err
		}
		names = parties(names)
		switch i := slices.Index(names, own); {
		case len(names) == 0:
			err = b.close(ctx, p.round)
		case i < 0:
			err = b.waitGone(ctx, names[0])
		case len(names) == 1:
			p.end(ErrReleased)
			_, err = b.c.Multi(ctx, zk.DeleteOp(p.path, zk.AnyVersion), zk.SetOp(b.path, nil, p.round))
			if errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrBadVersion) || lostAnswer(ctx, err) {
				err = nil
			}
		case i == 0:
			err = b.waitGone(ctx, names[len(names)-1])
		default:
			p.end(ErrReleased)
			err = remove(ctx, b.c, p.path)
		}
		if err != nil {
			return err
		}
	}
}

// waitGone waits for the end of a party.
func (b *DoubleBarrier) waitGone(ctx context.Context, name string) error {
	path := zk.JoinPath(b.path, name)
	w := b.gone.on(path)
	_, _, err := b.c.Get(ctx, path, w.option)
	switch {
	case errors.Is(err, zk.ErrNoNode):
		w.drop()
		return nil
	case err != nil:
		return err
	}
	return w.wait(ctx, nil)
}
