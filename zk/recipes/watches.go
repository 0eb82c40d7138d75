package recipes

import (
	"context"
	"errors"
	"sync"

	"github.com/vivarium-go/vivarium/zk"
)

// watches are one-shot watches by path. One that has not fired is used again by
// the next who waits for the same, so that waits that are given up do not pile up
// watches. The zero value is ready.
type watches struct {
	mu sync.Mutex
	m  map[string]*wakeup
}

// wakeup is one watch. It says that something may have changed, not what.
type wakeup struct {
	ws     *watches
	path   string
	option zk.ReadOption
	fired  chan struct{}
}

// on gives the watch for path, to be passed to a read of it.
func (ws *watches) on(path string) *wakeup {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w := ws.m[path]; w != nil {
		return w
	}
	w := &wakeup{ws: ws, path: path, fired: make(chan struct{})}
	fire := sync.OnceFunc(func() { close(w.fired) }) // it may be armed again when it has fired
	w.option = zk.Watch(func(zk.Event) {
		w.drop()
		fire()
	})
	if ws.m == nil {
		ws.m = make(map[string]*wakeup)
	}
	ws.m[path] = w
	return w
}

// drop forgets a watch that has fired or was not armed.
func (w *wakeup) drop() {
	w.ws.mu.Lock()
	defer w.ws.mu.Unlock()
	if w.ws.m[w.path] == w {
		delete(w.ws.m, w.path)
	}
}

// wait returns when one of the watches has fired, or done is closed, which may
// be nil.
func (w *wakeup) wait(ctx context.Context, done <-chan struct{}, more ...*wakeup) error {
	var other <-chan struct{}
	for _, m := range more { // one at most
		other = m.fired
	}
	select {
	case <-w.fired:
	case <-other:
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// children lists the children of path and arms w for a change of them, or for
// the creation of path: a list of children arms nothing where there is no znode.
func (w *wakeup) children(ctx context.Context, c *zk.Client) ([]string, error) {
	for {
		names, _, err := c.Children(ctx, w.path, w.option)
		if !errors.Is(err, zk.ErrNoNode) {
			return names, err
		}
		if _, err := c.Exists(ctx, w.path, w.option); err != nil {
			if errors.Is(err, zk.ErrNoNode) {
				return nil, nil
			}
			return nil, err
		}
	}
}
