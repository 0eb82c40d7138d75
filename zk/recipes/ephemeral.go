package recipes

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vivarium-go/vivarium/zk"
)

// PersistentEphemeral keeps an ephemeral znode in existence as long as the
// session lives: when somebody deletes it, it is made again, with its last data.
// One of the same name of another session is waited out.
type PersistentEphemeral struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	path    string
	named   named
	done    chan struct{} // closed when the keeper has ended
	writing chan struct{} // capacity 1: held to write the data, see write

	mu struct {
		sync.Mutex
		data   []byte
		grant  *Grant             // the last one; nil: none yet
		cancel context.CancelFunc // ends the keeper; nil: it was not started
		err    error
	}
}

// NewPersistentEphemeral makes a PersistentEphemeral at path. The data may be
// reused when it returns.
func NewPersistentEphemeral(c *zk.Client, path string, data []byte) *PersistentEphemeral {
	p := &PersistentEphemeral{path: path, named: named{c: c}, done: make(chan struct{}), writing: make(chan struct{}, 1)}
	p.mu.data = append([]byte(nil), data...)
	return p
}

// Start makes the znode and returns when it is there; from then on it is kept,
// by one goroutine, until Stop or the end of the session. If it fails nothing is
// kept, and it may be called again; once it has succeeded it is ErrTaken, and what
// Err says after the end.
func (p *PersistentEphemeral) Start(ctx context.Context) error {
	p.mu.Lock()
	data, err := p.mu.data, p.mu.err
	p.mu.Unlock()
	if err != nil {
		return failed("create", p.path, err)
	}
	g, err := p.named.create(ctx, p.path, data, p.ACL)
	if err != nil {
		return failed("create", p.path, err)
	}
	if err := p.renew(ctx, g, data); err != nil {
		p.mu.Lock()
		p.mu.grant = nil
		p.mu.Unlock()
		_ = g.Release(ctx) // in the background, if it cannot be now
		return failed("create", p.path, err)
	}
	run, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	p.mu.cancel = cancel
	p.mu.Unlock()
	go p.keep(run, g)
	return nil
}

// keep is the keeper goroutine.
func (p *PersistentEphemeral) keep(ctx context.Context, g *Grant) {
	defer close(p.done)
	var err error
	for err == nil {
		select {
		case <-g.Done():
		case <-ctx.Done():
			p.finish(ErrReleased)
			return
		}
		if err = g.Err(); !errors.Is(err, errGone) {
			break
		}
		p.mu.Lock()
		data := p.mu.data
		p.mu.Unlock()
		if g, err = p.named.create(ctx, p.path, data, p.ACL); err == nil {
			err = p.renew(ctx, g, data)
		}
	}
	switch {
	case ctx.Err() != nil:
		err = ErrReleased
	case !errors.Is(err, ErrLost):
		err = fmt.Errorf("%w: %s: %w", ErrLost, p.path, err)
	}
	p.finish(err)
}

// renew makes g the current grant, with the data that may have been set while it
// was made.
func (p *PersistentEphemeral) renew(ctx context.Context, g *Grant, data []byte) error {
	p.mu.Lock()
	p.mu.grant = g
	changed := string(p.mu.data) != string(data)
	p.mu.Unlock()
	if !changed {
		return nil
	}
	if err := p.write(ctx); err != nil && g.Err() == nil {
		return err
	}
	return nil
}

// write writes the data that were set last. One at a time: whoever is last writes
// what is newest.
func (p *PersistentEphemeral) write(ctx context.Context) error {
	select {
	case p.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.writing }()
	p.mu.Lock()
	g, data := p.mu.grant, p.mu.data
	p.mu.Unlock()
	if g == nil {
		return nil // it was not started after all
	}
	return g.SetData(ctx, data)
}

func (p *PersistentEphemeral) finish(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.err = err
}

// SetData changes the data, now and for every time that the znode is made again.
// Of several calls at once the last to begin counts. After an error the data may
// come later.
func (p *PersistentEphemeral) SetData(ctx context.Context, data []byte) error {
	p.mu.Lock()
	p.mu.data = append([]byte(nil), data...)
	started := p.mu.grant != nil
	p.mu.Unlock()
	if !started {
		return nil
	}
	err := p.write(ctx)
	if errors.Is(err, errGone) || errors.Is(err, zk.ErrNoNode) {
		return nil // it is being made again, with these
	}
	return failed("set", p.path, err)
}

// Grant is what is held now, nil before Start. When its Done is closed another
// one may follow.
func (p *PersistentEphemeral) Grant() *Grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.grant
}

// Done is closed when the znode is kept no more: the session has ended, or Stop
// was called. Err says which.
func (p *PersistentEphemeral) Done() <-chan struct{} { return p.done }

// Err is nil until Done is closed, and then ErrLost with its cause, or
// ErrReleased.
func (p *PersistentEphemeral) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.err
}

// Stop deletes the znode and ends the keeper. If it was not started, or has
// ended, nothing happens.
func (p *PersistentEphemeral) Stop(ctx context.Context) error {
	p.mu.Lock()
	cancel := p.mu.cancel
	p.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	<-p.done
	if g := p.Grant(); g.Err() == nil {
		return failed("stop", p.path, g.Release(ctx))
	}
	return nil
}
