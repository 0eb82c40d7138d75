package recipes

import (
	"context"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// Queue hands each item to one consumer, in the order in which the items were
// put. A consumer that takes nothing waits in line, and each item wakes one.
//
// ZooKeeper is a poor place for much data: an item is a znode, of 1 MiB at most,
// and a list of items is read whole. Keep queues to thousands of small items; a
// message log is in package mq.
//
// Two ways to consume, which may be mixed:
//
//   - Take removes an item and gives it: at most once. If the consumer dies with
//     it, it is gone.
//   - Claim gives an item to one consumer and keeps it; Item.Ack removes it. If
//     the consumer dies or releases it first, another gets it: at least once.
//
// Put is exactly once if it returns nil. Its outcome is unknown if it says so.
type Queue struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	queue *queue
}

// NewQueue makes a Queue at path.
func NewQueue(c *zk.Client, path string) *Queue { return &Queue{queue: newQueue(c, path)} }

// Put appends an item. An error that is ErrConnectionLoss says that it was put
// once or not at all, and perhaps taken already: put it again, and it may be there
// twice.
func (q *Queue) Put(ctx context.Context, data []byte) error {
	return q.queue.put(ctx, data, 0, q.ACL)
}

// Take waits for an item, removes it and returns it. If it fails the item stays,
// unless the error is ErrConnectionLoss: then it may have been removed.
func (q *Queue) Take(ctx context.Context) ([]byte, error) { return q.queue.take(ctx, q.ACL) }

// Claim waits for an item and holds it for this consumer.
func (q *Queue) Claim(ctx context.Context) (*Item, error) { return q.queue.claim(ctx, true, q.ACL) }

// TryClaim is Claim if there is an item that nobody holds, else ErrNone.
func (q *Queue) TryClaim(ctx context.Context) (*Item, error) { return q.queue.claim(ctx, false, q.ACL) }

// Len is the number of items, with those that are held.
func (q *Queue) Len(ctx context.Context) (int, error) { return q.queue.len(ctx) }

// PriorityQueue is a Queue whose items are taken by priority, the lowest number
// first, and by age within one.
type PriorityQueue struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	queue *queue
}

// NewPriorityQueue makes a PriorityQueue at path.
func NewPriorityQueue(c *zk.Client, path string) *PriorityQueue {
	return &PriorityQueue{queue: newQueue(c, path)}
}

// Put adds an item; see Queue.Put.
func (q *PriorityQueue) Put(ctx context.Context, data []byte, priority int64) error {
	return q.queue.put(ctx, data, priority, q.ACL)
}

// Take waits for an item, removes it and returns it; see Queue.Take.
func (q *PriorityQueue) Take(ctx context.Context) ([]byte, error) { return q.queue.take(ctx, q.ACL) }

// Claim waits for an item and holds it for this consumer.
func (q *PriorityQueue) Claim(ctx context.Context) (*Item, error) {
	return q.queue.claim(ctx, true, q.ACL)
}

// TryClaim is Claim if there is an item that nobody holds, else ErrNone.
func (q *PriorityQueue) TryClaim(ctx context.Context) (*Item, error) {
	return q.queue.claim(ctx, false, q.ACL)
}

// Len is the number of items, with those that are held.
func (q *PriorityQueue) Len(ctx context.Context) (int, error) { return q.queue.len(ctx) }

// DelayQueue is a Queue whose items can be taken from a point in time on, the
// earliest first. Producers and consumers go by their own clocks.
type DelayQueue struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	queue *queue
}

// NewDelayQueue makes a DelayQueue at path.
func NewDelayQueue(c *zk.Client, path string) *DelayQueue {
	q := newQueue(c, path)
	q.delayed = true
	return &DelayQueue{queue: q}
}

// Put adds an item that can be taken after a delay; see Queue.Put.
func (q *DelayQueue) Put(ctx context.Context, data []byte, delay time.Duration) error {
	return q.queue.put(ctx, data, time.Now().Add(delay).UnixMilli(), q.ACL)
}

// Take waits for an item that is due, removes it and returns it; see Queue.Take.
func (q *DelayQueue) Take(ctx context.Context) ([]byte, error) { return q.queue.take(ctx, q.ACL) }

// Claim waits for an item that is due and holds it for this consumer.
func (q *DelayQueue) Claim(ctx context.Context) (*Item, error) {
	return q.queue.claim(ctx, true, q.ACL)
}

// TryClaim is Claim if there is an item that is due and that nobody holds, else
// ErrNone.
func (q *DelayQueue) TryClaim(ctx context.Context) (*Item, error) {
	return q.queue.claim(ctx, false, q.ACL)
}

// Len is the number of items, with those that are held or not due.
func (q *DelayQueue) Len(ctx context.Context) (int, error) { return q.queue.len(ctx) }
