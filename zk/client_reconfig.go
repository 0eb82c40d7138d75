package zk

import (
	"context"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// ConfigPath is the znode that holds the ensemble's configuration, whatever the
// client's Chroot. Reconfig alone changes it; it may be watched like any other by
// a client without a Chroot.
const ConfigPath = "/zookeeper/config"

// Reconfiguration is a change of an ensemble: either Joining and Leaving, or
// Members; both are ErrBadArguments.
type Reconfiguration struct {
	Joining []ServerSpec // servers to add, or whose role or addresses change; each needs a Client address
	Leaving []int64      // ids of servers to remove
	Members []ServerSpec // the whole new configuration
	Version int64        // the Membership.Version that it replaces; -1: whatever is in force
}

// Config reads the configuration of the ensemble; a Watch hears of the next one,
// with ConfigPath as its path. It needs no permission. A server that is no ensemble
// has an empty configuration.
func (c *Client) Config(ctx context.Context, opts ...ReadOption) (Membership, Stat, error) {
	r := c.newRequest("config", ConfigPath, jute.OpGetData)
	r.again = true
	for _, opt := range opts {
		if opt.w != nil {
			r.w, r.watchPath, r.watchKind = opt.w, ConfigPath, watchData
		}
	}
	r.buf = (&jute.PathWatchRequest{Path: ConfigPath, Watch: r.w != nil}).Append(r.buf)
	return c.membership(ctx, r)
}

// Reconfig changes the ensemble and returns its new configuration, once quorums of
// the old and of the new one have it. A server that is to get a vote must run and
// follow already: start it with a configuration that lists it and the others.
//
// It needs the permission to write ConfigPath, which nobody has but the super
// user. Errors: ErrReconfigDisabled, ErrNoAuth, ErrBadVersion,
// ErrReconfigInProgress, ErrNewConfigNoQuorum (too few servers of the new
// configuration follow the leader), ErrBadArguments, ErrUnimplemented (a server
// that is no ensemble).
func (c *Client) Reconfig(ctx context.Context, change Reconfiguration) (Membership, Stat, error) {
	if change.Members != nil && len(change.Joining)+len(change.Leaving) > 0 {
		return Membership{}, Stat{}, badOp("reconfig", ConfigPath, "Members beside Joining or Leaving")
	}
	q := jute.ReconfigRequest{ConfigVersion: change.Version}
	if change.Members != nil {
		lines := FormatMembers(change.Members, 0)
		q.Members = &lines
	} else {
		joining, leaving := make([]string, 0, len(change.Joining)), make([]string, 0, len(change.Leaving))
		for _, s := range change.Joining {
			joining = append(joining, "server."+strconv.FormatInt(s.ID, 10)+"="+s.String())
		}
		for _, id := range change.Leaving {
			leaving = append(leaving, strconv.FormatInt(id, 10))
		}
		q.Joining, q.Leaving = new(strings.Join(joining, ",")), new(strings.Join(leaving, ","))
	}
	r := c.newRequest("reconfig", ConfigPath, jute.OpReconfig)
	r.buf = q.Append(r.buf)
	return c.membership(ctx, r)
}

// membership executes a request whose answer is a configuration.
func (c *Client) membership(ctx context.Context, r *request) (Membership, Stat, error) {
	r, err := c.sealed(r)
	if err == nil {
		err = c.do(ctx, r)
	}
	if err != nil {
		return Membership{}, Stat{}, err
	}
	if len(r.res.Data) == 0 { // of a server that is no ensemble
		return Membership{}, r.res.Stat, nil
	}
	m, err := ParseMembership(string(r.res.Data))
	if err != nil {
		err = &OpError{Op: r.name, Path: ConfigPath, Err: err}
	}
	return m, r.res.Stat, err
}
