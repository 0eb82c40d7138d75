package zk

import (
	"container/list"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	outputShare = outputKeepBytesMax // of each buffer that takes no room: a connection may keep as much anyway
	outputSmall = 4 << 10            // a reply up to this size does not wait for room
	outputChunk = 256 << 10          // a client that has taken as much is making progress
	outputGrace = 2 * time.Second    // without progress, after which a client is in the way of those that wait
)

var errOutputFull = errors.New("zk: client does not read what it is sent, and OutputBytesTotalMax is reached")

// outputRoom bounds the buffers in which replies and events wait for clients
// that have not read them, in sum. Only what a buffer has above outputShare takes
// room, so a connection with small replies never comes here; the others do when a
// buffer grows, and once when it is sent.
//
// Up to a quarter of max clients are on their own. Above it (tight) one that
// has taken any is not read from until its output is sent. Above a half, replies of
// more than outputSmall wait, first come first served, in two queues that take
// turns, so that who has read large replies before is not behind a crowd that
// nobody knows; and clients are cut off that stand in the way: those that took
// nothing for outputGrace, the longest silent first. What cannot wait, events and replies in the loop's turn, goes on; above
// three quarters it has clients cut off without grace; whoever would go above max
// is cut off itself.
type outputRoom struct {
	max   int64
	tight atomic.Bool

	mu      sync.Mutex
	used    int64
	ending  int64        // of used: of clients that were cut off and have not let go yet
	wanted  int64        // by those who wait
	holders list.List    // of *conn: the one without progress for the longest time first
	waiting [2]list.List // of *outputWait, in the order in which they came: strangers, readers
	turn    int
}

// outputHold is one connection's part. outputRoom.mu guards it.
type outputHold struct {
	bytes int64
	at    time.Time     // of its last progress
	place *list.Element // among the holders; nil: it has nothing, or is cut off
	cut   bool
	reads bool // it has taken large output whole before
}

type outputWait struct {
	c       *conn
	bytes   int64
	queue   *list.List
	granted chan struct{} // closed when bytes are c's
}

func (r *outputRoom) holdLocked(c *conn, n int64) {
	r.used += n
	c.hold.bytes += n
	switch {
	case c.hold.cut:
		r.ending += n
	case c.hold.place == nil:
		c.hold.at, c.hold.place = time.Now(), r.holders.PushBack(c)
	}
	r.tight.Store(r.used > r.max/4)
}

func (r *outputRoom) fitsLocked(n int64) bool {
	return r.used+n <= r.max/2 || r.used == 0 && n <= r.max
}

// tryTake takes n bytes for c if there are, and nobody waits for them.
func (r *outputRoom) tryTake(c *conn, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[0].Len()+r.waiting[1].Len() > 0 || !r.fitsLocked(n) {
		return false
	}
	r.holdLocked(c, n)
	return true
}

// force takes n bytes for what cannot wait; false if there are none at all.
func (r *outputRoom) force(c *conn, n int64) bool {
	r.mu.Lock()
	ok := r.used+n <= r.max
	if ok {
		r.holdLocked(c, n)
	}
	pressed := r.used > r.max/2
	r.mu.Unlock()
	if pressed {
		r.makeRoom()
	}
	return ok
}

// give returns n of c's bytes: their output is sent, or lost.
func (r *outputRoom) give(c *conn, n int64) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	c.hold.bytes -= n
	if c.hold.cut {
		r.ending -= n
	}
	if c.hold.bytes == 0 && c.hold.place != nil {
		r.holders.Remove(c.hold.place)
		c.hold.place = nil
	}
	r.progressLocked(c)
	r.tight.Store(r.used > r.max/4)
	r.grantLocked()
}

// progress notes that a client takes what it is sent.
func (r *outputRoom) progress(c *conn, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.hold.reads = c.hold.reads || whole
	r.progressLocked(c)
}

func (r *outputRoom) progressLocked(c *conn) {
	if c.hold.place != nil {
		c.hold.at = time.Now()
		r.holders.MoveToBack(c.hold.place)
	}
}

func (r *outputRoom) grantLocked() {
	for {
		e := r.waiting[r.turn].Front()
		if e == nil {
			r.turn = 1 - r.turn
			e = r.waiting[r.turn].Front()
		}
		if e == nil || !r.fitsLocked(e.Value.(*outputWait).bytes) {
			return
		}
		w := r.waiting[r.turn].Remove(e).(*outputWait)
		r.turn = 1 - r.turn
		r.wanted -= w.bytes
		r.holdLocked(w.c, w.bytes)
		close(w.granted)
	}
}

// wait takes n bytes for c when it is its turn; false if its connection ends
// first, or that will never be. The session is not silent meanwhile: it is the
// server that does not listen.
func (r *outputRoom) wait(c *conn, n int64) bool {
	if n > r.max {
		c.close(errOutputFull)
		return false
	}
	w := &outputWait{c: c, bytes: n, granted: make(chan struct{})}
	r.mu.Lock()
	r.wanted += n
	w.queue = &r.waiting[0]
	if c.hold.reads {
		w.queue = &r.waiting[1]
	}
	place := w.queue.PushBack(w)
	r.grantLocked()
	r.mu.Unlock()
	for {
		again := time.NewTimer(r.makeRoom())
		select {
		case <-w.granted:
			again.Stop()
			return true
		case <-c.ctx.Done():
			again.Stop()
			r.leave(w, place)
			return false
		case <-again.C:
			c.heard.Store(true)
		}
	}
}

// leave ends a wait whose connection has ended.
func (r *outputRoom) leave(w *outputWait, place *list.Element) {
	r.mu.Lock()
	select {
	case <-w.granted:
		r.mu.Unlock()
		r.give(w.c, w.bytes)
	default:
		defer r.mu.Unlock()
		w.queue.Remove(place)
		r.wanted -= w.bytes
		r.grantLocked()
	}
}

// makeRoom cuts off as many clients as those who wait have need of, if they are
// in the way. It returns when to look again.
func (r *outputRoom) makeRoom() time.Duration {
	again := outputGrace
	var gone []*conn
	now := time.Now()
	r.mu.Lock()
	for e := r.holders.Front(); e != nil; e = r.holders.Front() {
		left := r.used - r.ending
		if left+r.wanted <= r.max/2 {
			break
		}
		c := e.Value.(*conn)
		if silent := now.Sub(c.hold.at); silent < outputGrace && left <= r.max/4*3 {
			again = outputGrace - silent
			break
		}
		r.holders.Remove(e)
		c.hold.place, c.hold.cut = nil, true
		r.ending += c.hold.bytes
		gone = append(gone, c)
	}
	r.mu.Unlock()
	for _, c := range gone {
		c.hangUp(errOutputFull)
	}
	return again
}

// bytes is what is taken.
func (r *outputRoom) bytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// payLocked takes room for what the connection's buffer has grown to in out. If
// there is none yet it returns how much is lacking, or cuts the connection off if
// that cannot be waited for. The caller holds output.
func (c *conn) payLocked(out []byte, canWait bool) (lacks int64) {
	o, room := &c.output, &c.s.room
	need := int64(cap(out) - o.paid) // above 0
	granted := o.granted
	o.granted = 0
	switch {
	case granted >= need:
		room.give(c, granted-need)
	case canWait:
		room.give(c, granted)
		if !room.tryTake(c, need) {
			return need
		}
	default:
		room.give(c, granted)
		if !room.force(c, need) {
			c.cutOffLocked(errOutputFull)
			return 0
		}
	}
	o.paid = cap(out)
	return 0
}

// waitForShare waits until the connection has so much room that the reply which
// lacked it can be tried again; false if the connection ends.
func (c *conn) waitForShare(lacks int64) bool {
	if !c.s.room.wait(c, lacks) {
		return false
	}
	c.output.Lock()
	defer c.output.Unlock()
	if c.output.closed {
		c.s.room.give(c, lacks)
		return false
	}
	c.output.granted += lacks
	return true
}

// giveGranted gives back what the reply did not need after all.
func (c *conn) giveGranted() {
	c.output.Lock()
	defer c.output.Unlock()
	c.s.room.give(c, c.output.granted)
	c.output.granted = 0
}

// writeLarge writes output that has taken room, and gives that back.
func (c *conn) writeLarge(out []byte, taken int64) error {
	defer c.s.room.give(c, taken)
	for {
		n, err := c.net.Write(out[:min(len(out), outputChunk)])
		if err != nil {
			return err
		}
		out = out[n:]
		c.s.room.progress(c, len(out) == 0)
		if len(out) == 0 {
			return nil
		}
	}
}

// closeOutputLocked ends the output; what is not sent is lost. Idempotent.
func (c *conn) closeOutputLocked() {
	o := &c.output
	o.closed = true
	c.s.room.give(c, int64(o.paid-outputShare)+o.granted)
	o.buf, o.paid, o.granted = nil, outputShare, 0
	o.cond.Broadcast()
}

// fullLocked says whether the client has so much to read that its requests wait.
func (c *conn) fullLocked() bool {
	return len(c.output.buf) > outputPause || cap(c.output.buf) > outputShare && c.s.room.tight.Load()
}
