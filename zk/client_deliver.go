package zk

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// holdMax is for how long a callback at least keeps what came behind its event from
// its callers; it is twice that at most. Callbacks take microseconds; the limit is
// for one that waits for a lock that a caller holds.
const holdMax = 100 * time.Millisecond

// item is one thing to deliver: an event to watches, a state to its watchers, or
// a finished request to its caller. It is an event if it has watches or state
// watchers.
type item struct {
	ev     Event
	ws     []*watcher
	states []*stateWatcher
	r      *request
}

func (it *item) isEvent() bool { return it.r == nil }

// delivery runs a client's callbacks, in order, on one goroutine at a time: its
// own or, while it is idle, the reader of a connection, see clientConn.deliver. Its
// queue has no bound: it never blocks the connection and never drops anything. What
// fills it is armed by the program itself, one event for each one-shot watch.
//
// It is also what puts events before newer data. A reply that came behind an
// event goes into the queue behind it, and so reaches its caller when the event's
// callbacks have returned. Two replies do not: one that a callback waits for
// (request.inCallback), and one that is held for a slow callback (holdMax).
type delivery struct {
	c    *Client
	wake chan struct{} // capacity 1
	done chan struct{} // closed when the goroutine has returned, the first time
	gid  atomic.Uint64 // id of the goroutine that runs callbacks, or did last

	reader atomic.Pointer[clientConn] // whose reader did last, if one did

	endOnce sync.Once

	mu struct {
		sync.Mutex
		queue   []item
		head    int // queue[:head] has been taken
		events  int // in the queue or running
		closed  bool
		ended   bool        // the goroutine has returned
		taken   bool        // somebody is in drain, or about to be
		running bool        // an item was taken, and the next not asked for
		slow    bool        // for long: nothing is held for it
		turn    uint64      // items taken so far
		watched uint64      // of them, the one that look expects to be over; 0: look is not due
		timer   *time.Timer // runs look
	}
}

func newDelivery(c *Client) *delivery {
	return &delivery{c: c, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// add passes on what one read of the connection, or one change of state, has
// brought, in order. It does not block.
func (d *delivery) add(items []item) { d.put(items, false) }

// put is add. A caller who would deliver them itself must call drain if put
// returns true.
func (d *delivery) put(items []item, would bool) (drain bool) {
	if len(items) == 0 {
		return false
	}
	d.mu.Lock()
	queued := false
	for _, it := range items {
		switch {
		case it.isEvent():
			d.mu.events++
		case it.r.done != nil:
		case d.mu.events == 0 || it.r.inCallback || d.mu.slow || d.mu.closed:
			it.r.ready <- struct{}{}
			continue
		}
		d.mu.queue = append(d.mu.queue, it)
		queued = true
	}
	restart := queued && d.mu.ended
	if restart {
		d.mu.ended = false
	}
	drain = queued && would && !d.mu.taken && !restart
	d.mu.taken = d.mu.taken || drain
	d.mu.Unlock()
	switch {
	case restart:
		go d.run()
	case queued && !drain:
		d.wakeUp()
	}
	return drain
}

// wakeUp wakes the goroutine.
func (d *delivery) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look
	}
}

// look finds callbacks that are slow. Then requests that are held reach their
// callers, and others read what the connection brings. It runs on a timer, which
// costs too much to be set for each callback.
func (d *delivery) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.mu.running:
		d.mu.watched = 0
	case d.mu.turn != d.mu.watched:
		d.mu.watched = d.mu.turn
		d.mu.timer.Reset(holdMax)
	default:
		d.mu.watched, d.mu.slow = 0, true
		d.releaseLocked()
		if cn := d.reader.Load(); cn != nil {
			cn.leave()
		}
	}
}

// releaseLocked gives all held requests to their callers.
func (d *delivery) releaseLocked() {
	kept := d.mu.queue[:d.mu.head]
	for _, it := range d.mu.queue[d.mu.head:] {
		if it.isEvent() || it.r.done != nil {
			kept = append(kept, it)
			continue
		}
		it.r.ready <- struct{}{}
	}
	clear(d.mu.queue[len(kept):])
	d.mu.queue = kept
}

// next takes the next item. It is false when there is none: then somebody else may
// drain. told says that the one before was an event, which its callbacks know of by
// now.
func (d *delivery) next(told bool) (it item, found bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if told {
		d.mu.events--
	}
	d.mu.running, d.mu.slow = d.mu.head < len(d.mu.queue), false
	if !d.mu.running {
		d.mu.queue, d.mu.head = d.mu.queue[:0], 0
		if cap(d.mu.queue) > 4096 {
			d.mu.queue = nil
		}
		d.mu.taken = false
		if d.mu.closed {
			d.wakeUp()
		}
		return item{}, false
	}
	if d.mu.head >= 1024 && 2*d.mu.head >= len(d.mu.queue) { // it may never be empty
		n := copy(d.mu.queue, d.mu.queue[d.mu.head:])
		clear(d.mu.queue[n:])
		d.mu.queue, d.mu.head = d.mu.queue[:n], 0
	}
	it = d.mu.queue[d.mu.head]
	d.mu.queue[d.mu.head] = item{}
	d.mu.head++
	d.mu.turn++
	if d.mu.watched == 0 {
		d.mu.watched = d.mu.turn
		if d.mu.timer == nil {
			d.mu.timer = time.AfterFunc(holdMax, d.look)
		} else {
			d.mu.timer.Reset(holdMax)
		}
	}
	return it, true
}

// run is the delivery goroutine. It ends when close has been called and the queue
// is empty.
func (d *delivery) run() {
	defer d.endOnce.Do(func() { close(d.done) })
	id := goroutineID()
	for {
		drain, ended := d.begin()
		if ended {
			return
		}
		if drain {
			d.drain(id)
		}
		<-d.wake
	}
}

// begin says whether the goroutine is to drain the queue, or has ended.
func (d *delivery) begin() (drain, ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.taken {
		return false, false
	}
	d.mu.taken = d.mu.head < len(d.mu.queue)
	d.mu.ended = !d.mu.taken && d.mu.closed
	return d.mu.taken, d.mu.ended
}

// drain delivers what is queued, on the goroutine id.
func (d *delivery) drain(id uint64) {
	d.gid.Store(id)
	for told := false; ; {
		it, found := d.next(told)
		told = false
		switch {
		case !found:
			return
		case it.r != nil && it.r.done == nil:
			it.r.ready <- struct{}{}
		case it.r != nil:
			it.r.decode(d.c.cfg.Chroot)
			it.r.done(it.r)
			d.c.recycle(it.r)
		default:
			it.call()
			told = true
		}
	}
}

func (it *item) call() {
	for _, w := range it.ws {
		w.fn(it.ev)
	}
	for _, s := range it.states {
		if !s.stopped.Load() {
			s.fn(it.ev.State)
		}
	}
}

// close lets the goroutine end once it has delivered what is queued.
func (d *delivery) close() {
	d.mu.Lock()
	d.mu.closed = true
	d.mu.Unlock()
	d.wakeUp()
}

// busy says whether a callback may be running.
func (d *delivery) busy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.running
}

// onIt says whether the caller is a callback. If so it is about to wait for an
// answer, and does not keep the reader from reading it.
func (d *delivery) onIt() bool {
	if !d.busy() || goroutineID() != d.gid.Load() {
		return false
	}
	if cn := d.reader.Load(); cn != nil {
		cn.leave()
	}
	return true
}

// goroutineID is the number in "goroutine 17 [running]:". A callback is given no
// context that would identify the calls it makes, and a call that waits for its
// own callback would wait for ever. It costs a microsecond, and is only asked for
// while a callback may be running.
func goroutineID() uint64 {
	var buf [48]byte
	b := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(b, ' '); i > 0 {
		if id, err := strconv.ParseUint(string(b[:i]), 10, 64); err == nil {
			return id
		}
	}
	return 0
}
