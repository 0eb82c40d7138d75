package zk

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// connStats are one connection's counters. The reader writes them, once for as
// many requests as a read brought; what is said of replies is in conn.output,
// under its lock.
type connStats struct {
	remote                  string
	tls                     bool // at an endpoint that has TLS
	established             time.Time
	received, bytesReceived atomic.Int64
	session                 atomic.Int64 // once it is registered
	lastXid, lastOp         atomic.Int32 // lastOp 0: none
	at                      atomic.Int64 // of the last request, since Server.started
	reads, writes           latencies    // the reader's, and the loop's
}

// latencies have one writer. In microseconds.
type latencies struct{ count, sum, most, least, last atomic.Int64 } // least plus one

func (l *latencies) observe(v, n int64) {
	v = max(v, 0)
	l.count.Add(n)
	l.sum.Add(v * n)
	l.last.Store(v)
	l.most.Store(max(l.most.Load(), v))
	if least := l.least.Load(); least == 0 || v+1 < least {
		l.least.Store(v + 1)
	}
}

func (l *latencies) reset() {
	for _, a := range []*atomic.Int64{&l.count, &l.sum, &l.most, &l.least, &l.last} {
		a.Store(0)
	}
}

// tally is what a reader has counted since it last told.
type tally struct {
	at              time.Duration // when the bytes came, since Server.started
	frames, bytes   int64
	served          int64 // reads that waited for nothing
	lastXid, lastOp int32
}

// tell publishes the tally, once for all requests of a batch.
func (q *requestReader) tell() {
	t := &q.tally
	if t.frames == 0 {
		return
	}
	c := q.c
	c.stats.received.Add(t.frames)
	c.stats.bytesReceived.Add(t.bytes)
	c.stats.lastXid.Store(t.lastXid)
	c.stats.lastOp.Store(t.lastOp)
	c.stats.at.Store(int64(t.at))
	if t.served > 0 {
		took := (time.Since(c.s.started) - t.at).Microseconds()
		c.stats.reads.observe(took, t.served)
		c.s.stats.reads[c.id%readShards].observeN(took, t.served)
	}
	t.frames, t.bytes, t.served = 0, 0, 0
}

// note counts a frame of a client.
func (t *tally) note(h *jute.RequestHeader, frame []byte) {
	t.frames++
	t.bytes += int64(len(frame)) + 4
	t.lastXid, t.lastOp = h.Xid, int32(h.Op)
}

// answered notes how long something of the queue took. The loop calls it.
func (c *conn) answered(op *operation, now time.Duration) {
	took := (now - op.at).Microseconds()
	c.stats.writes.observe(took, 1)
	c.s.stats.writes.observe(took)
}

// sentLocked counts a reply or an event of n bytes at the end of the output.
func (c *conn) sentLocked(n int, event bool) {
	o := &c.output
	o.sent++
	o.bytes += int64(n)
	if event {
		return
	}
	o.last, o.most = int32(n), max(o.most, int32(n))
	if o.least == 0 || int32(n) < o.least {
		o.least = int32(n)
	}
}

func (c *conn) resetStats() {
	c.stats.received.Store(0)
	c.stats.bytesReceived.Store(0)
	c.stats.reads.reset()
	c.stats.writes.reset()
	c.output.Lock()
	defer c.output.Unlock()
	c.output.sent, c.output.bytes = 0, 0
}

// connInfo is a connection as monitoring shows it. Times in milliseconds.
type connInfo struct {
	remote                          string
	session                         int64 // 0: none yet
	queued, received, sent          int64
	lastOp                          string
	established                     time.Time
	timeout                         time.Duration
	lastXid                         int32
	lastZxid                        int64
	lastResponse                    int64
	lastLat, minLat, avgLat, maxLat int64
	heard                           time.Duration // since Server.started
}

func (c *conn) info() connInfo {
	i := connInfo{
		remote: c.stats.remote, session: c.stats.session.Load(),
		received: c.stats.received.Load(), established: c.stats.established,
		lastXid: c.stats.lastXid.Load(), lastOp: lastOpName(jute.OpCode(c.stats.lastOp.Load())),
		lastZxid: c.s.tree.Load().Published(), heard: time.Duration(c.stats.at.Load()),
	}
	if i.session == 0 {
		i.received = max(i.received, 1)
	} else {
		i.timeout = c.timeout
	}
	c.queue.Lock()
	for op := c.queue.head; op != nil; op = op.next {
		i.queued++
	}
	c.queue.Unlock()
	c.output.Lock()
	i.sent = c.output.sent
	c.output.Unlock()
	i.lastResponse = c.s.started.Add(i.heard).UnixMilli()
	r, w := &c.stats.reads, &c.stats.writes
	n := r.count.Load() + w.count.Load()
	if n > 0 {
		i.avgLat = (r.sum.Load() + w.sum.Load()) / n / 1000
	}
	i.maxLat = max(r.most.Load(), w.most.Load()) / 1000
	least := r.least.Load()
	if l := w.least.Load(); least == 0 || l != 0 && l < least {
		least = l
	}
	i.minLat = max(least-1, 0) / 1000
	i.lastLat = max(r.last.Load(), w.last.Load()) / 1000
	return i
}

func sortConns(all []*conn) {
	slices.SortFunc(all, func(a, b *conn) int { return cmp.Compare(a.id, b.id) })
}

// lastOpNames are ZooKeeper's words for a connection's last operation.
var lastOpNames = map[jute.OpCode]string{
	jute.OpPing: "PING", jute.OpMulti: "MULT", jute.OpMultiRead: "MLTR", jute.OpCreate: "CREA", jute.OpCreate2: "CREA", jute.OpCreateContainer: "CREA",
	jute.OpCreateTTL: "CREA", jute.OpDelete: "DELE", jute.OpSetData: "SETD", jute.OpReconfig: "RECO", jute.OpSetACL: "SETA", jute.OpCloseSession: "CLOS",
	jute.OpSync: "SYNC", jute.OpCheck: "CHEC", jute.OpExists: "EXIS", jute.OpGetData: "GETD", jute.OpSetWatches: "SETW", jute.OpSetWatches2: "STW2",
	jute.OpAddWatch: "ADDW", jute.OpGetACL: "GETA", jute.OpGetChildren: "GETC", jute.OpGetChildren2: "GETC", jute.OpGetAllChildrenNumber: "GETACN",
	jute.OpCheckWatches: "CHKW", jute.OpRemoveWatches: "REMW", jute.OpGetEphemerals: "GETE", jute.OpWhoAmI: "HOMI", jute.OpAuth: "AUTH",
}

func lastOpName(op jute.OpCode) string {
	if op == 0 {
		return "SESS"
	}
	if name := lastOpNames[op]; name != "" {
		return name
	}
	return "NA"
}

// openFiles returns how many files the process has open and may have, -1 where
// that is not known: it is read from /proc.
func openFiles() (open, most int64) {
	open, most = -1, -1
	if names, err := os.ReadDir("/proc/self/fd"); err == nil {
		open = int64(len(names))
	}
	limits, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		return open, most
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if fields := strings.Fields(rest); len(fields) > 0 {
				if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
					most = n
				}
			}
		}
	}
	return open, most
}
