package recipes

import (
	"context"
	"errors"
	"iter"

	"github.com/vivarium-go/vivarium/zk"
)

// ConfigWatch follows the data of one znode, such as a program's configuration.
// It only reads: set the data with the client, conditionally on Config.Version.
type ConfigWatch struct {
	c       *zk.Client
	path    string
	changed watches
}

// NewConfigWatch makes a ConfigWatch of path.
func NewConfigWatch(c *zk.Client, path string) *ConfigWatch { return &ConfigWatch{c: c, path: path} }

// Config is the data of a znode at some point in time.
type Config struct {
	Exists  bool   // whether there is a znode; the rest is zero if not
	Data    []byte // the receiver's
	Version int32  // for a conditional Set of the client
	Mzxid   int64  // of its last change: a greater one is newer
}

// Values gives the configuration, and again whenever it has changed, was deleted
// or made again. Changes that come faster than they are asked for are given as
// one: what comes last is always the newest. An error is the last thing it gives:
// ctx's, or the end of the session. Without a connection it waits; what it gave
// last may be old then.
func (w *ConfigWatch) Values(ctx context.Context) iter.Seq2[Config, error] {
	return func(yield func(Config, error) bool) {
		last, first := Config{}, true
		for {
			change := w.changed.on(w.path)
			now, err := w.read(ctx, change.option)
			if err == nil {
				if first || now.Exists != last.Exists || now.Mzxid != last.Mzxid {
					if !yield(now, nil) {
						return
					}
					last, first = now, false
				}
				err = change.wait(ctx, nil)
			}
			if err != nil {
				yield(Config{}, failed("watch", w.path, err))
				return
			}
		}
	}
}

// Value reads the configuration once. It may be stale; a Sync of the client
// before it makes it as new as that.
func (w *ConfigWatch) Value(ctx context.Context) (Config, error) {
	now, err := w.read(ctx)
	return now, failed("read", w.path, err)
}

// read reads the znode. A watch is armed whether or not it exists.
func (w *ConfigWatch) read(ctx context.Context, watch ...zk.ReadOption) (Config, error) {
	for {
		data, stat, err := w.c.Get(ctx, w.path, watch...)
		if !errors.Is(err, zk.ErrNoNode) {
			return Config{err == nil, data, stat.Version, stat.Mzxid}, err
		}
		if len(watch) == 0 {
			return Config{}, nil
		}
		if _, err := w.c.Exists(ctx, w.path, watch...); errors.Is(err, zk.ErrNoNode) {
			return Config{}, nil
		} else if err != nil {
			return Config{}, err
		}
	}
}
