package recipes

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// Membership is a group: each member is an ephemeral znode of its name, which
// ends with its session.
type Membership struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	path    string
	named   named
	changed watches
}

// NewMembership makes a Membership at path.
func NewMembership(c *zk.Client, path string) *Membership {
	return &Membership{path: path, named: named{c: c}}
}

// Join makes this program a member. While somebody else has the name, such as an
// earlier session of this program that has not ended yet, it waits. It is
// ErrTaken if this Membership has joined under the name already. Leave by
// Grant.Release; change the data by Grant.SetData.
func (m *Membership) Join(ctx context.Context, name string, data []byte) (*Grant, error) {
	path := zk.JoinPath(m.path, name)
	if err := checkName("member", name); err != nil {
		return nil, failed("join", path, err)
	}
	g, err := m.named.create(ctx, path, data, m.ACL)
	return g, failed("join", path, err)
}

// checkName refuses what is not the name of one znode.
func checkName(what, name string) error {
	if name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("%w: the name of a %s %q", zk.ErrBadArguments, what, name)
	}
	return nil
}

// Member is a member of a group.
type Member struct {
	Name  string
	Data  []byte
	Token int64 // its Grant.Token: the same name joining again has a greater one
}

// Members lists the members by name. It may be stale; a Sync of the client before
// it makes it as new as that.
func (m *Membership) Members(ctx context.Context) ([]Member, error) {
	names, _, err := m.named.c.Children(ctx, m.path)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	var all []Member
	if err == nil {
		all, err = m.read(ctx, names)
	}
	return all, failed("list", m.path, err)
}

// read reads the members of the names that are still there.
func (m *Membership) read(ctx context.Context, names []string) ([]Member, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ops := make([]zk.Op, len(names))
	for i, name := range names {
		ops[i] = zk.GetOp(zk.JoinPath(m.path, name))
	}
	res, err := m.named.c.MultiRead(ctx, ops...)
	if err != nil {
		return nil, err
	}
	var all []Member
	for i, r := range res {
		switch {
		case errors.Is(r.Err, zk.ErrNoNode):
		case r.Err != nil:
			return nil, r.Err
		case r.Stat.EphemeralOwner != 0:
			all = append(all, Member{names[i], r.Data, r.Stat.Czxid})
		}
	}
	return all, nil
}

// Watch gives the members, and again whenever members have come or gone; changes
// that come faster than they are asked for are given as one. A change of data
// alone is not noticed: Cache does that. An error is the last thing it gives:
// ctx's, or the end of the session.
func (m *Membership) Watch(ctx context.Context) iter.Seq2[[]Member, error] {
	return func(yield func([]Member, error) bool) {
		for {
			w := m.changed.on(m.path)
			names, err := w.children(ctx, m.named.c)
			var all []Member
			if err == nil {
				all, err = m.read(ctx, names)
			}
			if err == nil {
				if !yield(all, nil) {
					return
				}
				err = w.wait(ctx, nil)
			}
			if err != nil {
				yield(nil, failed("watch", m.path, err))
				return
			}
		}
	}
}
