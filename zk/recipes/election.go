package recipes

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"github.com/vivarium-go/vivarium/zk"
)

// Election has one leader among those who campaign, in the order of arrival. Its
// znodes are named as those of Curator's LeaderLatch.
//
// Leadership is a Grant: it can be lost at any time, and until the client has
// noticed, there may be two who take themselves for the leader. What leaders
// write elsewhere should bear Grant.Token, and into ZooKeeper Grant.Check.
type Election struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL
	// Data is what others see of this candidate: its name, where it is reached.
	Data []byte

	line    *line
	changed watches
}

const kindLatch = "latch-"

// NewElection makes an Election at path.
func NewElection(c *zk.Client, path string) *Election { return &Election{line: newLine(c, path)} }

// Campaign waits until this candidate leads. It resigns by Grant.Release. Calling
// it twice makes two candidates.
func (e *Election) Campaign(ctx context.Context) (*Grant, error) {
	g, err := e.line.acquire(ctx, contest{kind: kindLatch, kinds: []string{kindLatch}, data: e.Data, acl: e.ACL})
	return g, failed("campaign", e.line.path, err)
}

// Candidate is one who leads or would.
type Candidate struct {
	Path  string // of its znode
	Token int64  // its Grant.Token; 0: there is nobody
	Data  []byte
}

// Leader reads who leads, or ErrNone. What it says may be stale; a Sync of the
// client before it makes it as new as that.
func (e *Election) Leader(ctx context.Context) (Candidate, error) {
	for {
		es, err := e.line.entries(ctx, kindLatch)
		if err == nil && len(es) == 0 {
			err = ErrNone
		}
		if err != nil {
			return Candidate{}, failed("find the leader of", e.line.path, err)
		}
		path := zk.JoinPath(e.line.path, es[0].name)
		data, stat, err := e.line.c.Get(ctx, path)
		if errors.Is(err, zk.ErrNoNode) {
			continue
		}
		if err != nil {
			return Candidate{}, failed("find the leader of", e.line.path, err)
		}
		return Candidate{path, stat.Czxid, data}, nil
	}
}

// Candidates lists all who campaign, the leader first.
func (e *Election) Candidates(ctx context.Context) ([]Candidate, error) {
	es, err := e.line.entries(ctx, kindLatch)
	if err != nil {
		return nil, failed("list candidates of", e.line.path, err)
	}
	var all []Candidate
	for _, x := range es {
		path := zk.JoinPath(e.line.path, x.name)
		data, stat, err := e.line.c.Get(ctx, path)
		switch {
		case errors.Is(err, zk.ErrNoNode):
		case err != nil:
			return nil, failed("list candidates of", e.line.path, err)
		default:
			all = append(all, Candidate{path, stat.Czxid, data})
		}
	}
	return all, nil
}

// Observe gives the leader, and again whenever it changes or changes its data;
// the zero Candidate when there is none. Changes that come faster than they are
// asked for are given as one. An error is the last thing it gives: ctx's, or the
// end of the session.
func (e *Election) Observe(ctx context.Context) iter.Seq2[Candidate, error] {
	return func(yield func(Candidate, error) bool) {
		last, first := Candidate{}, true
		for {
			now, w, err := e.look(ctx)
			if err != nil {
				yield(Candidate{}, failed("observe", e.line.path, err))
				return
			}
			if first || now.Token != last.Token || !bytes.Equal(now.Data, last.Data) {
				if !yield(now, nil) {
					return
				}
				last, first = now, false
			}
			if err := w.wait(ctx, nil); err != nil {
				yield(Candidate{}, failed("observe", e.line.path, err))
				return
			}
		}
	}
}

// look reads the leader and watches it, or the line if nobody stands there.
func (e *Election) look(ctx context.Context) (Candidate, *wakeup, error) {
	for {
		es, err := e.line.entries(ctx, kindLatch)
		if err == nil && len(es) == 0 {
			w := e.changed.on(e.line.path)
			var names []string
			if names, err = w.children(ctx, e.line.c); err == nil && len(sortEntries(names, kindLatch)) == 0 {
				return Candidate{}, w, nil
			}
		}
		if err != nil {
			return Candidate{}, nil, err
		}
		if len(es) == 0 {
			continue
		}
		path := zk.JoinPath(e.line.path, es[0].name)
		w := e.line.gone.on(path)
		data, stat, err := e.line.c.Get(ctx, path, w.option)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			w.drop()
		case err != nil:
			return Candidate{}, nil, err
		default:
			return Candidate{path, stat.Czxid, data}, w, nil
		}
	}
}
