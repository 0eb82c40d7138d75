package zk

import (
	"context"
	"errors"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Create makes a znode and returns its path, which is path with the sequence
// number appended if mode is sequential. Without acl it is WorldACL(PermAll). A
// nil data is stored as null, which reads as nil.
//
// Errors: ErrNodeExists, ErrNoNode (the parent), ErrEphemeralParent,
// ErrInvalidACL, ErrNoAuth, ErrQuotaExceeded.
func (c *Client) Create(ctx context.Context, path string, data []byte, mode CreateMode, acl ...ACL) (string, error) {
	res, err := c.Do(ctx, CreateOp(path, data, mode, acl...))
	return res.Path, err
}

// Get reads a znode's data. Errors: ErrNoNode, ErrNoAuth.
func (c *Client) Get(ctx context.Context, path string, opts ...ReadOption) ([]byte, Stat, error) {
	res, err := c.read(ctx, GetOp(path), opts)
	return res.Data, res.Stat, err
}

// Exists reads a znode's Stat. It is ErrNoNode if there is none; a watch is armed
// all the same, for its creation.
func (c *Client) Exists(ctx context.Context, path string, opts ...ReadOption) (Stat, error) {
	res, err := c.read(ctx, ExistsOp(path), opts)
	return res.Stat, err
}

// Children lists the names of a znode's children, sorted. Errors: ErrNoNode,
// ErrNoAuth.
func (c *Client) Children(ctx context.Context, path string, opts ...ReadOption) ([]string, Stat, error) {
	res, err := c.read(ctx, ChildrenOp(path), opts)
	return res.Children, res.Stat, err
}

// Set replaces a znode's data if it has the version, or whatever version it has
// if version is AnyVersion. Errors: ErrNoNode, ErrBadVersion, ErrNoAuth.
func (c *Client) Set(ctx context.Context, path string, data []byte, version int32) (Stat, error) {
	res, err := c.Do(ctx, SetOp(path, data, version))
	return res.Stat, err
}

// Delete deletes a znode if it has the version, or whatever version it has if
// version is AnyVersion. Errors: ErrNoNode, ErrBadVersion, ErrNotEmpty, ErrNoAuth
// (at the parent).
func (c *Client) Delete(ctx context.Context, path string, version int32) error {
	_, err := c.Do(ctx, DeleteOp(path, version))
	return err
}

// Sync waits until the client's server has what was committed before the call: a
// read after it is not stale. path names what the reads are about; it need not
// exist.
func (c *Client) Sync(ctx context.Context, path string) error {
	_, err := c.Do(ctx, SyncOp(path))
	return err
}

// Do executes one operation. Beside what Create, Set, Get and so on return it has
// the Stat of a created znode.
func (c *Client) Do(ctx context.Context, op Op) (OpResult, error) {
	return c.read(ctx, op, nil)
}

// Go passes one operation on and returns: requests are executed in the order in
// which they were passed, and the next need not wait for the answer of the last.
// done is called once, with what became of it, in order with the callbacks of
// watches and on their goroutine; the same rules hold for it. Go itself waits
// only while OutstandingMax requests are outstanding.
//
// ctx bounds the operation; when it ends first, done gets its error. A nil done
// is told of nothing.
func (c *Client) Go(ctx context.Context, op Op, done func(OpResult)) {
	r, err := c.newOpRequest(op)
	if err != nil {
		r = &request{name: op.name(), path: op.path}
	}
	r.done = func(r *request) {
		if done != nil {
			done(r.result())
		}
	}
	c.goRequest(ctx, r, err)
}

// Multi executes create, set, delete and check operations as one: all or none,
// with one zxid, and each sees what those before it did. If one fails, the error
// is its, and the results say which one it was; see OpResult.
func (c *Client) Multi(ctx context.Context, ops ...Op) ([]OpResult, error) {
	return c.multi(ctx, ops, false)
}

// GoMulti is to Multi as Go is to Do.
func (c *Client) GoMulti(ctx context.Context, done func([]OpResult, error), ops ...Op) {
	r, err := c.newMultiRequest(ops, false)
	if err != nil {
		r = &request{name: "multi"}
	}
	r.done = func(r *request) {
		if done != nil {
			done(r.results, r.finalErr())
		}
	}
	c.goRequest(ctx, r, err)
}

// MultiRead executes get and children operations at one point of the history.
// Each has its own result; the error is nil if the request as a whole got
// through. ZooKeeper has it since 3.6.
func (c *Client) MultiRead(ctx context.Context, ops ...Op) ([]OpResult, error) {
	return c.multi(ctx, ops, true)
}

// ACL reads a znode's ACL. Without PermAdmin the digests are masked. Errors:
// ErrNoNode, ErrNoAuth.
func (c *Client) ACL(ctx context.Context, path string) ([]ACL, Stat, error) {
	r, err := c.newACLRequest(path)
	if err != nil {
		return nil, Stat{}, err
	}
	err = c.do(ctx, r)
	return r.acl, r.res.Stat, err
}

// SetACL replaces a znode's ACL if its Stat.Aversion is aversion, or whatever it
// is if aversion is AnyVersion. Errors: ErrNoNode, ErrBadVersion, ErrNoAuth,
// ErrInvalidACL.
func (c *Client) SetACL(ctx context.Context, path string, aversion int32, acl ...ACL) (Stat, error) {
	r, err := c.newSetACLRequest(path, aversion, acl)
	if err != nil {
		return Stat{}, err
	}
	err = c.do(ctx, r)
	return r.res.Stat, err
}

// AddAuth shows a credential to the server, on this connection and all later
// ones. A server that refuses it ends the connection, and so AddAuth ends the
// client: ErrAuthFailed.
func (c *Client) AddAuth(ctx context.Context, auth Auth) error {
	r, err := c.newAuthRequest(auth)
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// AddWatch arms a persistent watch: fn is called for every change until the watch
// is removed or the session ends. The znode need not exist. After a reconnect fn
// gets an EventResync. See Watch for the order of callbacks and the rules for
// them. ZooKeeper has it since 3.6.
func (c *Client) AddWatch(ctx context.Context, path string, mode AddWatchMode, fn func(Event)) error {
	if fn == nil {
		return badOp("add watch", path, "a nil callback")
	}
	r, err := c.newAddWatchRequest(path, mode, &watcher{fn})
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// RemoveWatches removes this client's watches of a kind on a path; each gets an
// EventWatchRemoved. DataWatches are those of Get and Exists, ChildWatches those
// of Children, PersistentWatches and RecursiveWatches those of AddWatch, AnyWatches
// all. It is ErrNoWatcher if there are none.
func (c *Client) RemoveWatches(ctx context.Context, path string, kind WatchKind) error {
	r, err := c.newWatchesRequest("remove watches", jute.OpRemoveWatches, path, kind)
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// CheckWatches asks the server whether this client has watches of a kind on a
// path. It is ErrNoWatcher if there are none.
func (c *Client) CheckWatches(ctx context.Context, path string, kind WatchKind) error {
	r, err := c.newWatchesRequest("check watches", jute.OpCheckWatches, path, kind)
	if err != nil {
		return err
	}
	return c.do(ctx, r)
}

// WhoAmI lists the identities under which the server knows this connection.
// ZooKeeper has it since 3.7.
func (c *Client) WhoAmI(ctx context.Context) ([]ID, error) {
	r := c.newWhoAmIRequest()
	err := c.do(ctx, r)
	return r.ids, err
}

// Ephemerals lists the paths of this session's ephemerals that begin with prefix
// (a prefix of the string, not of the path), sorted. ZooKeeper has it since 3.6.
func (c *Client) Ephemerals(ctx context.Context, prefix string) ([]string, error) {
	r, err := c.newEphemeralsRequest(prefix)
	if err != nil {
		return nil, err
	}
	err = c.do(ctx, r)
	return r.res.Children, err
}

// CountDescendants is the number of znodes below path. ZooKeeper has it since 3.6.
func (c *Client) CountDescendants(ctx context.Context, path string) (int, error) {
	r, err := c.newCountRequest(path)
	if err != nil {
		return 0, err
	}
	err = c.do(ctx, r)
	return r.count, err
}

// EnsurePath creates a persistent, empty znode at path and at every parent that is
// missing, as mkdir -p does. Without acl it is WorldACL(PermAll). It also creates
// the client's chroot.
func (c *Client) EnsurePath(ctx context.Context, path string, acl ...ACL) error {
	if err := c.checkPath("create", path); err != nil {
		return err
	}
	return c.ensure(ctx, serverPath(c.cfg.Chroot, path), path, acl)
}

// ensure is EnsurePath for a path of the server. The znode itself comes first:
// mostly it is all that is missing, and a client may have permissions there only.
func (c *Client) ensure(ctx context.Context, full, path string, acl []ACL) error {
	if full == "/" {
		return nil // it is always there
	}
	err := c.createAt(ctx, full, path, acl)
	if errors.Is(err, ErrNoNode) {
		if err := c.ensure(ctx, ParentPath(full), path, acl); err != nil {
			return err
		}
		err = c.createAt(ctx, full, path, acl)
	}
	if errors.Is(err, ErrNoAuth) && c.existsAt(ctx, full, path) == nil {
		return nil // permissions come before existence
	}
	return ignore(err, ErrNodeExists)
}

// DeleteAll deletes path and everything below it, children first, whatever their
// versions; what vanishes meanwhile is fine, and so is a path that does not
// exist. It is not atomic: ErrNotEmpty says that others go on creating.
func (c *Client) DeleteAll(ctx context.Context, path string) error {
	names, _, err := c.Children(ctx, path)
	if err != nil {
		return ignore(err, ErrNoNode)
	}
	for _, name := range names {
		if err := c.DeleteAll(ctx, JoinPath(path, name)); err != nil {
			return err
		}
	}
	if path == "/" {
		return nil
	}
	return ignore(c.Delete(ctx, path, AnyVersion), ErrNoNode)
}

func ignore(err error, code Error) error {
	if errors.Is(err, code) {
		return nil
	}
	return err
}
