package zk

import (
	"context"
	"slices"
	"sync"
)

// clientState is what Client.mu guards.
type clientState struct {
	sync.Mutex

	// Requests move from queue to sent to their callers. queue is not yet sent;
	// sent is on conn, whose replies come in the same order.
	queue, sent requestList
	outstanding int             // requests submitted and not answered
	waiters     []chan struct{} // calls that wait for outstanding to fall
	refuse      error           // why nothing more is accepted, once closing

	contexts map[<-chan struct{}]*contextWatch // by their Done

	conn          *clientConn // nil without connection
	writerIdle    bool        // conn's writer waits for a token
	answered      int         // requests answered by what was read last: callers at a time
	answeredZxid  int64       // of the newest answer to a request: all events up to it have come
	password      []byte
	seenWritable  bool // the session is known to a server with a quorum
	auths         []Auth
	watches       watchTable
	stateWatchers []*stateWatcher
	lastErr       error // why there is no connection
	connected     chan struct{}
}

// read executes an operation that has one result. Its request is recycled.
func (c *Client) read(ctx context.Context, op Op, opts []ReadOption) (OpResult, error) {
	var r *request
	var err error
	if len(opts) == 0 {
		r, err = c.newOpRequest(op)
	} else {
		r, err = c.newReadRequest(op, opts)
	}
	if err != nil {
		return OpResult{Path: op.path, Err: err}, err
	}
	err = c.do(ctx, r)
	if r.abandoned { // it is the client's until its answer has come
		return OpResult{Path: op.path, Err: err}, err
	}
	res := r.result()
	c.recycle(r)
	return res, err
}

func (c *Client) multi(ctx context.Context, ops []Op, read bool) ([]OpResult, error) {
	r, err := c.newMultiRequest(ops, read)
	if err != nil {
		return nil, err
	}
	err = c.do(ctx, r)
	return r.results, err
}

// do executes a request.
func (c *Client) do(ctx context.Context, r *request) error {
	if err := c.submit(ctx, r); err != nil {
		r.err = err
		return r.finalErr()
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		if c.abandon(r) {
			// r is the client's until its answer has come: report by another.
			return (&request{name: r.name, path: r.path, err: ctx.Err(), unknown: r.unknown}).finalErr()
		}
		<-r.ready
	}
	r.decode(c.cfg.Chroot)
	return r.finalErr()
}

// goRequest executes a request, made or failed to be made, asynchronously.
func (c *Client) goRequest(ctx context.Context, r *request, err error) {
	if err == nil {
		err = c.submit(ctx, r)
	}
	if err == nil {
		return
	}
	r.err = err
	c.del.add([]item{{r: r}})
}

// recycle keeps a finished request for another call. One that was abandoned is
// left to the garbage collector.
func (c *Client) recycle(r *request) {
	if r.abandoned || r.ready == nil || cap(r.buf) > 64<<10 {
		return
	}
	*r = request{buf: r.buf[:0], ready: r.ready}
	c.requests.Put(r)
}

// submit passes a request to the connection. If it fails the request remains the
// caller's.
func (c *Client) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	full := c.mu.outstanding >= c.cfg.OutstandingMax
	if (full || r.done == nil) && c.del.busy() { // onIt is slow
		c.mu.Unlock()
		r.inCallback = c.del.onIt()
		c.mu.Lock()
	}
	for c.mu.refuse == nil && c.mu.outstanding >= c.cfg.OutstandingMax && !r.inCallback {
		if err := c.waitRoomLocked(ctx); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	if err := c.mu.refuse; err != nil {
		c.mu.Unlock()
		return err
	}
	if r.done != nil {
		c.watchContextLocked(ctx, r)
	}
	c.enqueue(r)
	return nil
}

// enqueue queues a request, sees to it that it is written, and unlocks.
func (c *Client) enqueue(r *request) {
	c.mu.outstanding++
	r.phase = phaseQueued
	c.mu.queue.push(r)
	cn, idle := c.mu.conn, c.mu.writerIdle
	alone := c.mu.outstanding == 1 && c.mu.answered <= 1
	c.mu.writerIdle = false
	c.mu.Unlock()
	switch {
	case idle && alone && cn.direct != nil:
		cn.writeNow()
	case idle:
		cn.wake <- struct{}{}
	}
}

// waitRoomLocked waits, unlocked, until a request may have been answered.
func (c *Client) waitRoomLocked(ctx context.Context) error {
	room := make(chan struct{})
	c.mu.waiters = append(c.mu.waiters, room)
	c.mu.Unlock()
	var err error
	select {
	case <-room:
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.mu.Lock()
	if err != nil {
		n := len(c.mu.waiters)
		c.mu.waiters = slices.DeleteFunc(c.mu.waiters, func(w chan struct{}) bool { return w == room })
		if len(c.mu.waiters) == n { // it was our turn: pass it on
			c.wakeWaiterLocked()
		}
	}
	return err
}

func (c *Client) wakeWaiterLocked() {
	if len(c.mu.waiters) > 0 {
		close(c.mu.waiters[0])
		c.mu.waiters = c.mu.waiters[1:]
	}
}

// answeredLocked takes a request off the books: whoever called it finishes it.
func (c *Client) answeredLocked(r *request) {
	r.phase = phaseAnswered
	if w := r.context; w != nil {
		r.context = nil
		if w.n--; w.n == 0 {
			w.stop()
			c.forgetLocked(w)
		}
	}
	c.mu.outstanding--
	c.wakeWaiterLocked()
}

// abandon gives up on a request whose context has ended. It is false if the
// answer is here already. Afterwards the request is the client's, not the
// caller's: one that was sent keeps its place until its answer has come.
func (c *Client) abandon(r *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.phase {
	case phaseAnswered:
		return false
	case phaseQueued:
		c.mu.queue.remove(func(x *request) bool { return x == r })
		c.answeredLocked(r)
	case phaseSent:
		r.unknown = !r.again
	}
	r.abandoned = true
	return true
}

// contextWatch waits for the end of a context for all asynchronous requests that
// have it, so that a pipeline does not pay for it at each request.
type contextWatch struct {
	ctx  context.Context
	n    int // requests outstanding
	stop func() bool
}

// watchContextLocked makes the end of ctx the end of r.
func (c *Client) watchContextLocked(ctx context.Context, r *request) {
	done := ctx.Done()
	if done == nil {
		return
	}
	w := c.mu.contexts[done]
	if w == nil {
		w = &contextWatch{ctx: ctx}
		w.stop = context.AfterFunc(ctx, func() { c.abandonAll(w) })
		if c.mu.contexts == nil {
			c.mu.contexts = make(map[<-chan struct{}]*contextWatch)
		}
		c.mu.contexts[done] = w
	}
	w.n++
	r.context = w
}

// forgetLocked ends a watch on a context that nobody has any more.
func (c *Client) forgetLocked(w *contextWatch) {
	if done := w.ctx.Done(); c.mu.contexts[done] == w {
		delete(c.mu.contexts, done)
	}
}

// abandonAll is abandon for Go: it reports the context's error.
func (c *Client) abandonAll(w *contextWatch) {
	var reports []item
	abandon := func(r *request, unknown bool) {
		r.abandoned = true
		reports = append(reports, item{r: &request{name: r.name, path: r.path, done: r.done, err: w.ctx.Err(), unknown: unknown}})
	}
	c.mu.Lock()
	c.forgetLocked(w)
	for r := c.mu.sent.head; r != nil; r = r.next {
		if r.context == w && !r.abandoned {
			abandon(r, !r.again)
		}
	}
	given := c.mu.queue.remove(func(r *request) bool { return r.context == w })
	for r := given.pop(); r != nil; r = given.pop() {
		c.answeredLocked(r)
		abandon(r, false)
	}
	c.mu.Unlock()
	c.del.add(reports)
}

// finished adds a finished request to what is to be delivered, unless nobody
// waits for it.
func finished(items []item, r *request) []item {
	if r.abandoned {
		return items
	}
	return append(items, item{r: r})
}

// setStateLocked changes the state and appends the news of it.
func (c *Client) setStateLocked(items []item, s State) []item {
	if State(c.state.Swap(int32(s))) == s {
		return items
	}
	if len(c.mu.stateWatchers) == 0 {
		return items
	}
	return append(items, item{ev: Event{Type: EventSession, State: s}, states: c.mu.stateWatchers})
}
