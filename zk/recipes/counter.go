package recipes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// Counter is a number that clients of the ensemble share. It is one znode, whose
// data are the number in decimal, a space and a tag of the last change: by that a
// change whose answer was lost is recognised, as long as no other came after it.
//
// Changes are compare-and-set on the znode's version, tried again until they
// succeed: with many writers at once most tries are in vain.
type Counter struct {
	// ACL is for the znode made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	c    *zk.Client
	path string
}

// NewCounter makes a Counter at path, zero at first.
func NewCounter(c *zk.Client, path string) *Counter { return &Counter{c: c, path: path} }

// Value reads the number. It may be stale; a Sync of the client before it makes
// it as new as that.
func (k *Counter) Value(ctx context.Context) (int64, error) {
	v, _, _, err := k.read(ctx)
	if errors.Is(err, zk.ErrNoNode) {
		return 0, nil
	}
	return v, failed("read the counter", k.path, err)
}

// Add adds delta and returns the sum. If it fails nothing was added, unless the
// error is ErrConnectionLoss: then it was added once or not at all.
func (k *Counter) Add(ctx context.Context, delta int64) (int64, error) {
	return k.update(ctx, func(v int64) (int64, bool, error) {
		if sum := v + delta; (sum > v) == (delta > 0) {
			return sum, true, nil
		}
		return 0, false, fmt.Errorf("%w: %d and %d overflow", zk.ErrBadArguments, v, delta)
	})
}

// CompareAndSwap sets the number if it is old, and says whether it did. Errors
// are as of Add.
func (k *Counter) CompareAndSwap(ctx context.Context, old, new int64) (bool, error) {
	swapped := false
	_, err := k.update(ctx, func(v int64) (int64, bool, error) {
		swapped = v == old
		return new, swapped, nil
	})
	return swapped && err == nil, err
}

// update sets the number to what change makes of it, if that says so.
func (k *Counter) update(ctx context.Context, change func(int64) (int64, bool, error)) (int64, error) {
	for stale := true; ; {
		v, _, version, err := k.read(ctx)
		if errors.Is(err, zk.ErrNoNode) {
			if err = k.create(ctx); err == nil || lostAnswer(ctx, err) {
				continue
			}
		}
		if err != nil {
			return 0, failed("change the counter", k.path, err)
		}
		next, ok, err := change(v)
		if (!ok || err != nil) && stale { // not before we have seen the newest
			stale = false
			if err := k.c.Sync(ctx, k.path); err != nil {
				return 0, failed("change the counter", k.path, err)
			}
			continue
		}
		if err != nil || !ok {
			return v, failed("change the counter", k.path, err)
		}
		err = k.set(ctx, next, version)
		if !errors.Is(err, zk.ErrBadVersion) {
			return next, failed("change the counter", k.path, err)
		}
	}
}

// set sets the number if its version is as given: ErrBadVersion if it was not,
// ErrConnectionLoss if that cannot be known.
func (k *Counter) set(ctx context.Context, v int64, version int32) error {
	tag := newTag()
	for lost := false; ; lost = true {
		_, err := k.c.Set(ctx, k.path, []byte(strconv.FormatInt(v, 10)+" "+tag), version)
		switch {
		case lostAnswer(ctx, err): // the version lets one of the tries succeed
			continue
		case err == nil || !lost:
			return err
		case !errors.Is(err, zk.ErrBadVersion):
			return &zk.OpError{Op: "set", Path: k.path, Err: err, Unknown: true}
		}
		if err := k.c.Sync(ctx, k.path); err != nil {
			return &zk.OpError{Op: "set", Path: k.path, Err: err, Unknown: true}
		}
		_, last, now, err := k.read(ctx)
		switch {
		case err == nil && last == tag:
			return nil
		case err == nil && now == version+1: // one change, and not ours
			return zk.ErrBadVersion
		}
		return &zk.OpError{Op: "set", Path: k.path, Err: zk.ErrConnectionLoss, Unknown: true}
	}
}

func (k *Counter) read(ctx context.Context) (v int64, tag string, version int32, err error) {
	data, stat, err := k.c.Get(ctx, k.path)
	if err != nil {
		return 0, "", 0, err
	}
	number, tag, _ := strings.Cut(string(data), " ")
	if number == "" {
		number = "0"
	}
	v, err = strconv.ParseInt(number, 10, 64)
	return v, tag, stat.Version, err
}

func (k *Counter) create(ctx context.Context) error {
	if err := k.c.EnsurePath(ctx, zk.ParentPath(k.path), k.ACL...); err != nil {
		return err
	}
	_, err := k.c.Create(ctx, k.path, []byte("0"), zk.Persistent, k.ACL...)
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}
