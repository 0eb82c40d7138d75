package zk

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/internal/nowait"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

const (
	peerDialTimeout   = 5 * time.Second
	peerWriteTimeout  = 30 * time.Second // of one write; a peer that takes nothing for so long is gone
	peerRedialMin     = 5 * time.Millisecond
	peerRedialMax     = 500 * time.Millisecond
	peerKeepBytesMax  = 1 << 20 // buffers beyond this are not kept for reuse
	peerQueueItemsMax = 4       // snapshots that wait in one queue
	peerEarlyBytesMax = 64 << 10
	peerWriteBytes    = 1 << 20 // written at a time
	peerStallMax      = 2 * time.Second
	peerQueueFactor   = 4 // see overflows
)

// link is the sending side towards one peer: a queue, and the goroutine that
// dials and drains it. What a connection that broke had not delivered is lost:
// the protocol above expects loss, and hears of it by onDown. While the first
// bytes wait for a connection only a little of the election is kept.
type link struct {
	peer      zab.ServerID
	hello     func(ctx context.Context, conn net.Conn, address string) (net.Conn, error)
	addresses []string // of the peer, tried in turn
	turn      int      // the goroutine's
	stop      context.CancelFunc
	member    bool // of a configuration
	network   Network
	queueMax  int
	log       *slog.Logger
	onDown    func(peer zab.ServerID) // the connection broke or was refused
	onMoving  func(peer zab.ServerID) // bytes of a snapshot were sent

	mu struct {
		sync.Mutex
		cond      sync.Cond
		queue     []outgoing
		bytes     int
		moved     time.Time // when the peer took something last
		connected bool
		broken    bool // the queue overflowed: start over
		closed    bool
		conn      net.Conn
		direct    nowait.Conn // conn; nil: only run's goroutine writes
		cheap     bool        // see nowait.New
		writing   bool        // somebody does
		full      bool        // it did not take all: run's goroutine goes on
		spare     []byte      // a buffer that was sent, for reuse
	}
	deadline writeDeadline
}

// outgoing is a run of frames or, after its frames, a snapshot to stream.
type outgoing struct {
	frames   []byte
	snapshot *snapshotHandle
}

func newLink(s *Server, spec ServerSpec) *link {
	l := &link{
		peer: zab.ServerID(spec.ID), addresses: peerAddresses(spec), network: s.cfg.Peers,
		hello: func(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
			return s.sayHello(ctx, conn, zab.ServerID(spec.ID), address)
		},
		queueMax: s.cfg.PeerQueueBytesMax, log: s.log.With("peer", spec.ID),
		onDown: s.peerDown, onMoving: s.peerMoving,
	}
	l.mu.cond.L = &l.mu.Mutex
	return l
}

// send queues what add appends to the frames that wait for flush. Without a
// connection it keeps what is early, that is, may arrive late.
func (l *link) send(early bool, snapshot *snapshotHandle, add func(dst []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := l.mu.connected || early && l.mu.bytes < peerEarlyBytesMax
	if !keep || l.mu.broken || l.mu.closed {
		snapshot.release()
		return
	}
	n := len(l.mu.queue)
	if n == 0 || l.mu.queue[n-1].snapshot != nil {
		l.mu.queue = append(l.mu.queue, outgoing{frames: l.mu.spare[:0]})
		l.mu.spare = nil
		n++
	}
	tail := &l.mu.queue[n-1]
	before := len(tail.frames)
	tail.frames = add(tail.frames)
	tail.snapshot = snapshot
	l.mu.bytes += len(tail.frames) - before
	if l.overflows() || n > peerQueueItemsMax {
		l.log.Warn("peer does not keep up, connection starts over", "queued", l.mu.bytes)
		l.mu.broken = true
		if l.mu.conn != nil {
			_ = l.mu.conn.Close()
		}
		l.mu.cond.Broadcast()
	}
}

// flush sends what is queued, as far as the connection takes it without waiting;
// the rest is for run's goroutine, and so is all of it where that is better, see
// conn.flush. Whoever sends flushes when there is no more at hand.
func (l *link) flush(few bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.queue) == 0 || l.mu.writing {
		return // nothing, or seen to by who writes
	}
	if l.mu.direct == nil || !few && !l.mu.cheap || l.mu.full || l.mu.broken || len(l.mu.queue) > 1 || l.mu.queue[0].snapshot != nil {
		l.mu.cond.Broadcast()
		return
	}
	out := l.mu.queue[0].frames
	l.mu.queue, l.mu.bytes, l.mu.writing = l.mu.queue[:0], 0, true
	direct := l.mu.direct
	l.mu.Unlock()
	n, err := direct.WriteNow(out)
	if err != nil {
		n = 0 // run's goroutine will hear of it
	}
	l.mu.Lock()
	if l.mu.direct != direct {
		return // it has ended, and with it what it had not taken
	}
	if n > 0 {
		l.mu.moved = time.Now()
	}
	l.gaveLocked(out, n)
}

// gaveLocked ends a write that the connection took n bytes of.
func (l *link) gaveLocked(frames []byte, n int) {
	l.mu.writing = false
	if n < len(frames) {
		l.mu.full = true
		l.mu.bytes += len(frames) - n
		if len(l.mu.queue) == 0 {
			l.mu.queue = append(l.mu.queue, outgoing{})
		}
		l.mu.queue[0].frames = append(frames[n:], l.mu.queue[0].frames...)
	} else if cap(frames) <= peerKeepBytesMax {
		l.mu.spare = frames[:0]
	}
	if len(l.mu.queue) > 0 {
		l.mu.cond.Broadcast()
	}
}

// overflows says whether a peer has too much to read. One that goes on reading may
// have some times more: a history to synchronize it with is queued all at once,
// and starting over would queue it all again.
func (l *link) overflows() bool {
	return l.mu.bytes > peerQueueFactor*l.queueMax || l.mu.bytes > l.queueMax && time.Since(l.mu.moved) > peerStallMax
}

func (l *link) sendZab(m *zab.Message) {
	kind := byte(frameZab)
	handle, _ := m.Snapshot.(*snapshotHandle)
	if handle != nil {
		kind = frameSnap
		handle.sent = true
	}
	l.send(handle == nil, handle, func(dst []byte) []byte {
		start := len(dst)
		return endPeerFrame(zab.AppendMessage(beginPeerFrame(dst, kind), m), start)
	})
}

func (l *link) sendWork(w *peerWork) {
	l.send(false, nil, func(dst []byte) []byte {
		start := len(dst)
		return endPeerFrame(appendWork(beginPeerFrame(dst, frameWork), w), start)
	})
}

// run is the sender's goroutine; it ends when ctx does.
func (l *link) run(ctx context.Context) {
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	wait := peerRedialMin
	for ctx.Err() == nil {
		conn, err := l.dial(ctx)
		if err == nil {
			since := time.Now()
			err = l.drain(conn)
			_ = conn.Close()
			if time.Since(since) > peerRedialMax { // else it may have been refused
				wait, l.turn = peerRedialMin, l.turn-1
			}
		}
		l.disconnect()
		if ctx.Err() != nil {
			return
		}
		l.log.Debug("no connection to peer", "err", err)
		l.onDown(l.peer)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
		wait = min(2*wait, peerRedialMax)
	}
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, peerDialTimeout)
	defer cancel()
	address := l.addresses[l.turn%len(l.addresses)]
	l.turn++
	raw, err := l.network.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })() // if it ends during the hello
	conn, err := l.hello(ctx, raw, address)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.mu.connected, l.mu.broken, l.mu.conn, l.mu.moved = true, false, conn, time.Now()
	l.mu.direct, l.mu.cheap = nowait.New(conn)
	l.deadline = writeDeadline{}
	return conn, nil
}

// drain writes what is queued, all of it at a time, until the connection ends.
func (l *link) drain(conn net.Conn) error {
	for {
		batch, ok := l.take()
		if !ok {
			return net.ErrClosed
		}
		for i := range batch {
			if err := l.write(conn, &batch[i]); err != nil {
				for _, rest := range batch[i:] {
					rest.snapshot.release()
				}
				return err
			}
		}
		l.mu.Lock()
		l.gaveLocked(batch[0].frames, len(batch[0].frames))
		l.mu.Unlock()
	}
}

func (l *link) take() (batch []outgoing, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.mu.broken && !l.mu.closed && (l.mu.writing || len(l.mu.queue) == 0) {
		l.mu.cond.Wait()
		l.mu.Unlock()
		gather()
		l.mu.Lock()
	}
	if l.mu.broken || l.mu.closed {
		return nil, false
	}
	batch, l.mu.queue, l.mu.bytes = l.mu.queue, nil, 0
	l.mu.writing, l.mu.full = true, false
	return batch, true
}

func (l *link) write(conn net.Conn, o *outgoing) error {
	for rest := o.frames; len(rest) > 0; {
		n := min(len(rest), peerWriteBytes)
		if err := l.writeSome(conn, rest[:n]); err != nil {
			return err
		}
		if rest = rest[n:]; len(rest) > 0 {
			l.onMoving(l.peer)
		}
	}
	if o.snapshot == nil {
		return nil
	}
	defer o.snapshot.release()
	var frame []byte
	for more := true; more; {
		frame = beginPeerFrame(frame[:0], frameChunk)
		frame, more = o.snapshot.append(frame, snapChunkBytes)
		frame = endPeerFrame(frame, 0)
		if !more {
			frame = endPeerFrame(beginPeerFrame(frame, frameChunk), len(frame))
		}
		if err := l.writeSome(conn, frame); err != nil {
			return err
		}
		l.onMoving(l.peer)
	}
	return nil
}

func (l *link) writeSome(conn net.Conn, b []byte) error {
	if err := l.deadline.extend(conn, peerWriteTimeout); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.moved = time.Now()
	return nil
}

// disconnect drops what was queued for a connection that is gone.
func (l *link) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.mu.queue {
		o.snapshot.release()
	}
	l.mu.queue, l.mu.bytes, l.mu.connected, l.mu.conn = nil, 0, false, nil
	l.mu.direct, l.mu.writing, l.mu.full = nil, false, false
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	if l.mu.conn != nil {
		_ = l.mu.conn.Close()
	}
	l.mu.cond.Broadcast()
}
