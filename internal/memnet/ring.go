package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	ringMin = 4 << 10   // bytes a ring starts with
	ringMax = 512 << 10 // bytes in flight in one direction before a write waits
)

// half is one direction of a connection.
//
// Bytes in [r, r+n) of the ring, modulo its size, are owned by the reader; the
// rest is the writer's. The ring's size is a power of two.
type half struct {
	mu   sync.Mutex
	cond sync.Cond // anything below changed

	ring []byte
	r, n int

	writing   bool  // a Write is under way: it is atomic against others
	finished  bool  // the writer closed: the reader drains, then io.EOF
	abandoned bool  // the reader closed: writes fail
	broken    error // reset: both ends fail at once, unread bytes are lost

	readExpired, writeExpired deadline

	stalled bool          // a partition: bytes are kept, none arrive
	latency time.Duration // each write arrives this much later
	wakeAt  time.Time     // when the pending wake fires; zero: none is pending
	marks   []mark        // arrival times of what is in the ring, oldest first
	cutLeft int64         // bytes until the connection is cut; negative: never
	cut     func()        // called without mu when cutLeft is used up
	total   int64         // bytes ever written
}

// mark says that bytes before position end (of all ever written) arrive at due.
type mark struct {
	end int64
	due time.Time
}

func newHalf() *half {
	h := &half{cutLeft: -1}
	h.cond.L = &h.mu
	h.readExpired.half, h.writeExpired.half = h, h
	return h
}

// deadline is a point in time after which waiting ends. Its fields are guarded
// by the half's mutex; generation tells a timer that was replaced from its
// successor.
type deadline struct {
	half       *half
	expired    bool
	timer      *time.Timer
	generation uint64
}

func (d *deadline) set(t time.Time) {
	h := d.half
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.generation++
	d.expired = false
	if !t.IsZero() {
		wait := time.Until(t)
		if wait <= 0 {
			d.expired = true
		} else {
			generation := d.generation
			d.timer = time.AfterFunc(wait, func() { d.expire(generation) })
		}
	}
	h.cond.Broadcast()
}

func (d *deadline) expire(generation uint64) {
	d.half.mu.Lock()
	defer d.half.mu.Unlock()
	if d.generation == generation {
		d.expired = true
		d.half.cond.Broadcast()
	}
}

// stopLocked ends the timer of a closed end.
func (d *deadline) stopLocked() {
	d.generation++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.abandoned:
			return 0, net.ErrClosed
		case h.broken != nil:
			return 0, h.broken
		case h.readExpired.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		if ready := h.arrivedLocked(); ready > 0 {
			return h.takeLocked(p[:min(len(p), ready)]), nil
		}
		if h.finished && h.n == 0 && !h.stalled {
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

// arrivedLocked returns how many bytes the reader may have by now, and sees to
// it that somebody wakes when the next ones are due.
func (h *half) arrivedLocked() int {
	if h.stalled || h.n == 0 {
		return 0
	}
	if len(h.marks) == 0 {
		return h.n
	}
	now := time.Now()
	read := h.total - int64(h.n)
	ready := 0
	for _, m := range h.marks {
		if m.due.After(now) {
			if ready == 0 && (h.wakeAt.IsZero() || m.due.Before(h.wakeAt)) {
				h.wakeAt = m.due
				time.AfterFunc(m.due.Sub(now), h.wake)
			}
			break
		}
		ready = int(m.end - read)
	}
	return ready
}

func (h *half) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeAt = time.Time{}
	h.cond.Broadcast()
}

func (h *half) takeLocked(p []byte) int {
	wasFull := h.n == ringMax
	c := copy(p, h.ring[h.r:min(h.r+h.n, len(h.ring))])
	if c < len(p) {
		c += copy(p[c:], h.ring[:h.n-c])
	}
	h.r = (h.r + c) & (len(h.ring) - 1)
	h.n -= c
	for read := h.total - int64(h.n); len(h.marks) > 0 && h.marks[0].end <= read; {
		h.marks = h.marks[1:]
	}
	if wasFull {
		h.cond.Broadcast()
	}
	return c
}

func (h *half) write(p []byte) (written int, err error) {
	written, hit, err := h.fill(p)
	if hit != nil {
		hit()
	}
	return written, err
}

// fill writes p, waiting for room. It returns what to call, without the lock,
// if the byte was reached at which the connection is to be cut.
func (h *half) fill(p []byte) (written int, hit func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing {
		if err := h.writeErrorLocked(); err != nil {
			return 0, nil, err
		}
		h.cond.Wait()
	}
	h.writing = true
	defer func() {
		h.writing = false
		h.cond.Broadcast()
	}()
	for {
		if err := h.writeErrorLocked(); err != nil {
			return written, nil, err
		}
		if len(p) == 0 {
			return written, nil, nil
		}
		if h.cutLeft == 0 {
			return written, h.cut, syscall.ECONNRESET
		}
		room := ringMax - h.n
		if room == 0 {
			h.cond.Wait()
			continue
		}
		c := min(room, len(p))
		if h.cutLeft > 0 {
			c = int(min(int64(c), h.cutLeft))
			h.cutLeft -= int64(c)
		}
		h.putLocked(p[:c])
		written += c
		p = p[c:]
	}
}

func (h *half) writeNow(p []byte) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writing || h.cutLeft >= 0 || h.writeErrorLocked() != nil {
		return 0
	}
	n := min(len(p), ringMax-h.n)
	if n > 0 {
		h.putLocked(p[:n])
	}
	return n
}

func (h *half) writeErrorLocked() error {
	switch {
	case h.finished:
		return net.ErrClosed
	case h.broken != nil:
		return h.broken
	case h.abandoned:
		return syscall.EPIPE
	case h.writeExpired.expired:
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (h *half) putLocked(p []byte) {
	if h.n+len(p) > len(h.ring) {
		h.growLocked(h.n + len(p))
	}
	w := (h.r + h.n) & (len(h.ring) - 1)
	c := copy(h.ring[w:], p)
	copy(h.ring, p[c:])
	h.n += len(p)
	h.total += int64(len(p))
	if h.latency > 0 || len(h.marks) > 0 {
		h.marks = append(h.marks, mark{end: h.total, due: time.Now().Add(h.latency)})
	}
	h.cond.Broadcast()
}

func (h *half) growLocked(need int) {
	size := max(ringMin, len(h.ring))
	for size < need {
		size *= 2
	}
	ring := make([]byte, size)
	c := copy(ring, h.ring[h.r:min(h.r+h.n, len(h.ring))])
	copy(ring[c:], h.ring[:h.n-c])
	h.ring, h.r = ring, 0
}

// finish is the writer's close, abandon the reader's, reset the end of both.
func (h *half) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finished = true
	h.writeExpired.stopLocked()
	h.cond.Broadcast()
}

func (h *half) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.abandoned = true
	h.ring, h.r, h.n, h.marks = nil, 0, 0, nil
	h.readExpired.stopLocked()
	h.cond.Broadcast()
}

func (h *half) reset(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken == nil {
		h.broken = err
	}
	h.cond.Broadcast()
}

func (h *half) shape(stalled bool, latency time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stalled, h.latency = stalled, latency
	h.cond.Broadcast()
}

func (h *half) cutAfter(n int64, cut func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cutLeft, h.cut = n, cut
}
