package recipes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// queue is what the queues have in common. Below its path are
//
//	items/_c_<uuid>-item-<rank>-<sequence>   persistent: an item
//	claims/<name of an item>                 ephemeral: who holds it
//	line/_c_<uuid>-lock-<sequence>           ephemeral: who waits for an item
//
// where the rank, 16 hexadecimal digits, decides before the sequence does. A
// claim is made in one step with a check that its item is there, and deleted in
// one step with it, so an item is held by one session at a time, and only who
// holds it removes it: that makes every lost answer but a put's clear.
type queue struct {
	c       *zk.Client
	path    string
	items   *line
	claims  string
	takers  *line
	changed watches // of items and claims
	delayed bool    // the rank is the time, in ms since 1970, at which an item is due
}

const (
	kindItem   = "item-"
	rankDigits = 16
)

func newQueue(c *zk.Client, path string) *queue {
	return &queue{
		c: c, path: path, items: newLine(c, zk.JoinPath(path, "items")),
		claims: zk.JoinPath(path, "claims"), takers: newLine(c, zk.JoinPath(path, "line")),
	}
}

// queued is an item's place.
type queued struct {
	name string
	rank int64
	seq  int32
}

func rankText(rank int64) string { return fmt.Sprintf("%016x-", uint64(rank)^1<<63) }

func parseQueued(name string) (queued, bool) {
	i := strings.LastIndex(name, kindItem)
	if i < 0 || len(name) < i+len(kindItem)+rankDigits+1 {
		return queued{}, false
	}
	rank := name[i+len(kindItem):][:rankDigits]
	u, err := strconv.ParseUint(rank, 16, 64)
	e, ok := parseEntry(name, kindItem+rank+"-")
	return queued{name, int64(u ^ 1<<63), e.seq}, ok && err == nil
}

// order gives the items that nobody has claimed, in the order in which they are
// to be taken.
func order(items, claims []string) []queued {
	claimed := make(map[string]bool, len(claims))
	for _, name := range claims {
		claimed[name] = true
	}
	var qs []queued
	for _, name := range items {
		if x, ok := parseQueued(name); ok && !claimed[name] {
			qs = append(qs, x)
		}
	}
	slices.SortFunc(qs, func(a, b queued) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), compareSeq(a.seq, b.seq), strings.Compare(a.name, b.name))
	})
	return qs
}

func (q *queue) put(ctx context.Context, data []byte, rank int64, acl []zk.ACL) error {
	tag := newTag()
	path := zk.JoinPath(q.items.path, tag+kindItem+rankText(rank))
	for {
		_, err := q.c.Create(ctx, path, data, zk.PersistentSequential, acl...)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			if err := q.c.EnsurePath(ctx, q.items.path, acl...); err != nil && !lostAnswer(ctx, err) {
				return failed("put into", q.path, err)
			}
			continue
		case lostAnswer(ctx, err):
			_, found := q.items.find(ctx, tag, false)
			if found == nil {
				return nil
			}
			// It was not put, or is taken already. Where there is nothing to put it
			// into, it was not.
			if _, missing := q.c.Exists(ctx, q.items.path); errors.Is(missing, zk.ErrNoNode) {
				continue
			}
		}
		return failed("put into", q.path, err)
	}
}

func (q *queue) len(ctx context.Context) (int, error) {
	stat, err := q.c.Exists(ctx, q.items.path)
	if errors.Is(err, zk.ErrNoNode) {
		return 0, nil
	}
	return int(stat.NumChildren), failed("count", q.path, err)
}

// claim gives an item that is free or, if it is to wait, stands in line for one.
func (q *queue) claim(ctx context.Context, wait bool, acl []zk.ACL) (*Item, error) {
	it, _, err := q.claimFree(ctx, acl, nil, nil)
	if it == nil && err == nil && !wait {
		if err = q.c.Sync(ctx, q.path); err == nil { // the server may have been behind
			it, _, err = q.claimFree(ctx, acl, nil, nil)
		}
		if it == nil && err == nil {
			err = ErrNone
		}
	}
	if it != nil || err != nil {
		return it, failed("claim from", q.path, err)
	}
	for {
		turn, err := q.takers.acquire(ctx, contest{kind: kindLock, kinds: []string{kindLock}, acl: acl})
		if err != nil {
			return nil, failed("claim from", q.path, err)
		}
		it, err := q.claimInTurn(ctx, turn, acl)
		turn.end(ErrReleased)
		removeLater(q.c, turn.path)
		if !errors.Is(err, errGone) {
			return it, failed("claim from", q.path, err)
		}
	}
}

// claimInTurn waits, first in line, for an item that it can claim.
func (q *queue) claimInTurn(ctx context.Context, turn *Grant, acl []zk.ACL) (*Item, error) {
	for {
		items, claims := q.changed.on(q.items.path), q.changed.on(q.claims)
		it, due, err := q.claimFree(ctx, acl, items, claims)
		if it != nil || err != nil {
			return it, err
		}
		if turn.Err() != nil {
			return nil, errGone
		}
		until, cancel := ctx, context.CancelFunc(func() {})
		if due > 0 {
			until, cancel = context.WithTimeout(ctx, due)
		}
		err = items.wait(until, turn.Done(), claims)
		cancel()
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// claimFree claims the first item that is free, or gives none and how long it is
// until the next is due, zero if there is none. Watches are armed if they are
// given.
func (q *queue) claimFree(ctx context.Context, acl []zk.ACL, items, claims *wakeup) (*Item, time.Duration, error) {
	taken, err := q.list(ctx, q.claims, claims)
	if err != nil {
		return nil, 0, err
	}
	names, err := q.list(ctx, q.items.path, items)
	if err != nil {
		return nil, 0, err
	}
	now := time.Now().UnixMilli()
	for _, x := range order(names, taken) {
		if q.delayed && x.rank > now {
			return nil, time.Duration(x.rank-now) * time.Millisecond, nil
		}
		it, err := q.claimOne(ctx, x.name, acl)
		if it != nil || err != nil {
			return it, 0, err
		}
	}
	return nil, 0, nil
}

func (q *queue) list(ctx context.Context, path string, w *wakeup) ([]string, error) {
	if w != nil {
		return w.children(ctx, q.c)
	}
	names, _, err := q.c.Children(ctx, path)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	return names, err
}

// claimOne claims an item. It gives none if that is gone or claimed by another.
func (q *queue) claimOne(ctx context.Context, name string, acl []zk.ACL) (it *Item, err error) {
	claim, tag, lost := zk.JoinPath(q.claims, name), newTag(), false
	item := zk.JoinPath(q.items.path, name)
	defer func() {
		if lost && it == nil {
			q.unclaimLater(claim, tag)
		}
	}()
	for {
		res, err := q.c.Multi(ctx, zk.CheckOp(item, zk.AnyVersion), zk.CreateOp(claim, []byte(tag), zk.Ephemeral, acl...))
		switch {
		case err == nil:
			return q.hold(ctx, item, claim)
		case errors.Is(err, zk.ErrConnectionLoss):
			lost = true
			if ctx.Err() == nil {
				continue
			}
		case lost && errors.Is(err, zk.ErrNodeExists): // perhaps ours
			ours, err := q.isOurs(ctx, claim, tag)
			if ours {
				return q.hold(ctx, item, claim)
			}
			return nil, err
		case errors.Is(err, zk.ErrNoNode) && len(res) == 2 && errors.Is(res[1].Err, zk.ErrNoNode):
			if err = q.c.EnsurePath(ctx, q.claims, acl...); err == nil || lostAnswer(ctx, err) {
				continue
			}
		case errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNodeExists):
			return nil, nil
		}
		return nil, err
	}
}

// isOurs says whether a claim is the one that we made with the tag.
func (q *queue) isOurs(ctx context.Context, claim, tag string) (bool, error) {
	data, stat, err := q.c.Get(ctx, claim)
	if errors.Is(err, zk.ErrNoNode) {
		return false, nil
	}
	return err == nil && string(data) == tag && stat.EphemeralOwner == q.c.SessionID(), err
}

// unclaimLater deletes a claim of unknown outcome, if it is ours, in the
// background.
func (q *queue) unclaimLater(claim, tag string) {
	cleanUp(q.c, func(ctx context.Context) error {
		if err := q.c.Sync(ctx, claim); err != nil {
			return err
		}
		ours, err := q.isOurs(ctx, claim, tag)
		if ours {
			return remove(ctx, q.c, claim)
		}
		return err
	})
}

// hold makes an Item of a claim that is ours.
func (q *queue) hold(ctx context.Context, item, claim string) (*Item, error) {
	g, err := newGrant(ctx, q.c, node{path: claim})
	if err == nil {
		var data []byte
		if data, _, err = q.c.Get(ctx, item); err == nil {
			return &Item{Grant: g, Data: data, path: item}, nil
		}
		g.end(ErrReleased)
	}
	removeLater(q.c, claim)
	if errors.Is(err, errGone) || errors.Is(err, zk.ErrNoNode) {
		return nil, nil // somebody who does not play by the rules
	}
	return nil, err
}

// take claims an item and removes it.
func (q *queue) take(ctx context.Context, acl []zk.ACL) ([]byte, error) {
	for {
		it, err := q.claim(ctx, true, acl)
		if err != nil {
			return nil, err
		}
		err = it.remove(ctx)
		switch {
		case err == nil:
			return it.Data, nil
		case errors.Is(err, ErrLost):
			continue
		}
		removeLater(q.c, it.Path()) // if it was not removed, others have it
		return nil, failed("take from", q.path, err)
	}
}

// Item is an item of a queue that is held for one consumer. As a Grant it tells
// when it was lost, so that another consumer may have it; Release gives it back.
type Item struct {
	*Grant
	Data []byte

	path string
}

// Ack removes the item from the queue. If it is nil nobody else will get it.
// ErrLost says that it was lost before, and another may have it. If ctx ends
// first it goes on in the background.
func (it *Item) Ack(ctx context.Context) error {
	if err := it.Err(); err != nil {
		return err
	}
	err := it.remove(ctx)
	if err != nil && ctx.Err() != nil {
		it.removeLater()
	}
	return failed("ack", it.path, err)
}

func (it *Item) ops() []zk.Op {
	return []zk.Op{zk.DeleteOp(it.Path(), zk.AnyVersion), zk.DeleteOp(it.path, zk.AnyVersion)}
}

// remove deletes the claim and the item, both or neither.
func (it *Item) remove(ctx context.Context) error {
	it.end(ErrReleased) // what its watch says is no loss
	for lost := false; ; lost = true {
		_, err := it.c.Multi(ctx, it.ops()...)
		switch {
		case errors.Is(err, zk.ErrNoNode) && lost: // only who holds the claim deletes it
			return nil
		case errors.Is(err, zk.ErrNoNode):
			removeLater(it.c, it.Path()) // if it is the item that is gone
			return it.lost(errGone)
		case lostAnswer(ctx, err):
			continue
		case err != nil && lost && !errors.Is(err, zk.ErrConnectionLoss):
			return &zk.OpError{Op: "remove", Path: it.path, Err: err, Unknown: true}
		}
		return err
	}
}

// removeLater is remove in the background, as long as the client lives.
func (it *Item) removeLater() {
	it.c.GoMulti(context.Background(), func(_ []zk.OpResult, err error) {
		if errors.Is(err, zk.ErrConnectionLoss) {
			it.removeLater()
		}
	}, it.ops()...)
}
