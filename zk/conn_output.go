package zk

import (
	"net"
	"time"

	"github.com/vivarium-go/vivarium/internal/nowait"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// notify queues a watch event. Events are never dropped: a client that does not
// read them is cut off.
func (c *conn) notify(e *tree.Event) {
	c.output.Lock()
	defer c.output.Unlock()
	if c.output.closed {
		return
	}
	before := len(c.output.buf)
	c.output.buf = jute.AppendNotification(c.output.buf, e.Zxid, e.Type, e.Path)
	c.sentLocked(len(c.output.buf)-before, true)
	c.wroteLocked()
}

func (c *conn) append(frame []byte) { c.appendReply(frame, false) }

// appendReply queues a reply. The connection ends behind the last one, which is
// said at once: the client may read it, and go, before anything else is done here.
func (c *conn) appendReply(frame []byte, last bool) {
	c.output.Lock()
	defer c.output.Unlock()
	if c.output.closed {
		return
	}
	c.output.buf = append(c.output.buf, frame...)
	c.sentLocked(len(frame), false)
	c.output.finish = c.output.finish || last
	c.wroteLocked()
}

// wroteLocked follows whatever was added to buf. Sending it is for flush.
func (c *conn) wroteLocked() {
	if len(c.output.buf) > c.s.cfg.OutputBytesMax {
		c.cutOffLocked(errSlowClient)
	}
	if cap(c.output.buf) > c.output.paid {
		c.payLocked(c.output.buf, false)
	}
}

// cutOffLocked is close for who holds output.
func (c *conn) cutOffLocked(why error) {
	if !c.output.closed {
		c.closeOutputLocked()
		c.hangUp(why)
	}
}

// waitForRoom holds the reader while its client has too much to read.
func (c *conn) waitForRoom() {
	c.output.Lock()
	defer c.output.Unlock()
	for c.fullLocked() && !c.output.closed {
		c.output.cond.Wait()
	}
}

// finishOutput closes the connection once everything queued is sent.
func (c *conn) finishOutput() {
	c.output.Lock()
	defer c.output.Unlock()
	c.output.finish = true
	c.output.cond.Broadcast()
}

// flush sends what there is to send, as far as the connection takes it without
// waiting; the rest is the writer's, and so is all of it where that is better:
// system calls for more than a few requests at a time are made beside their work.
// Whoever adds output flushes it once there is no more at hand, and before it
// waits for anything.
func (c *conn) flush(few bool) {
	c.output.Lock()
	defer c.output.Unlock()
	o := &c.output
	if len(o.buf) == 0 || o.writing {
		return // nothing, or seen to by who writes
	}
	large := cap(o.buf) > outputShare
	if o.direct == nil || !few && !o.cheap || large || o.full || o.finish || o.closed {
		o.cond.Broadcast()
		return
	}
	out, _ := c.takeLocked()
	o.Unlock()
	n, err := o.direct.WriteNow(out)
	o.Lock()
	if err != nil {
		n = 0 // the writer will hear of it
	}
	c.gaveLocked(out, n)
}

// takeLocked takes all output, and with it what that has of Server.room. Who has
// it is the only one to write, until gaveLocked.
func (c *conn) takeLocked() (out []byte, taken int64) {
	o := &c.output
	out, taken = o.buf, int64(o.paid-outputShare)
	o.buf, o.spare, o.paid = o.spare, nil, outputShare
	o.writing, o.full = true, false
	return out, taken
}

// gaveLocked ends a write that the connection took n bytes of.
func (c *conn) gaveLocked(out []byte, n int) {
	o := &c.output
	o.writing = false
	if n < len(out) && !o.closed {
		o.buf, o.full = append(out[n:], o.buf...), true
		c.wroteLocked()
	} else if cap(out) <= outputKeepBytesMax {
		o.spare = out[:0]
	}
	if len(o.buf) > 0 || o.finish {
		o.cond.Broadcast()
	}
}

// write is the writer's goroutine: one write for whatever there is.
func (c *conn) write() {
	c.output.Lock()
	c.output.direct, c.output.cheap = nowait.New(c.net)
	c.output.Unlock()
	var deadline writeDeadline
	for {
		out, taken, ok := c.takeOutput()
		if !ok {
			return
		}
		err := deadline.extend(c.net, clientWriteTimeout)
		if err == nil && taken > 0 {
			err = c.writeLarge(out, taken)
		} else if err == nil {
			_, err = c.net.Write(out)
		}
		if err != nil {
			c.close(err)
			return
		}
		c.output.Lock()
		c.gaveLocked(out, len(out))
		c.output.Unlock()
	}
}

// takeOutput waits for output that nobody else sends.
func (c *conn) takeOutput() (out []byte, taken int64, ok bool) {
	c.output.Lock()
	defer c.output.Unlock()
	o := &c.output
	for !o.closed && (o.writing || len(o.buf) == 0 && !o.finish) {
		o.cond.Wait()
		o.Unlock()
		gather()
		o.Lock()
	}
	if o.closed {
		return nil, 0, false
	}
	if len(o.buf) == 0 {
		c.cutOffLocked(errSessionClosed)
		return nil, 0, false
	}
	out, taken = c.takeLocked()
	o.cond.Broadcast() // there is room
	return out, taken, true
}

// writeDeadline moves a connection's write deadline along. Setting one costs as
// much as a small write, so a write may have writeDeadlineSlack less than its time.
type writeDeadline struct{ set time.Time }

const writeDeadlineSlack = time.Second

func (d *writeDeadline) extend(c net.Conn, timeout time.Duration) error {
	now := time.Now()
	if now.Sub(d.set) < writeDeadlineSlack {
		return nil
	}
	d.set = now
	return c.SetWriteDeadline(now.Add(timeout))
}
