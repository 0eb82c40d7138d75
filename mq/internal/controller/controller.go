package controller

import (
	"maps"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// Controller decides for a cluster. Create it with New.
type Controller struct {
	cfg Config
	picture

	standing bool
	session  int64
	now      int64
	reign    Reign
	told     Reign // as last handed out

	lastWrite uint64
	pending   map[uint64]*pending
	electing  bool
	blocked   int // reads of /controller and /controller_epoch under way

	// What is to be looked at, in the order in which it came up.
	queue  []TopicPartition
	queued map[TopicPartition]bool

	requests
	out Ready
}

// pending is a write under way.
type pending struct {
	ops   []layout.Op
	topic string  // "" for a write that concerns no topic
	parts []int32 // nil: the topic as a whole
	stone layout.ID
	// session that the write was handed out in; an ephemeral znode belongs to it
	session int64
}

// New returns a controller with an empty picture, which does not act.
func New(cfg Config) *Controller {
	if cfg.WritesMax <= 0 {
		cfg.WritesMax = 256
	}
	if cfg.ChunkMax <= 0 {
		cfg.ChunkMax = 200
	}
	return &Controller{
		cfg: cfg, picture: newPicture(), requests: newRequests(),
		pending: make(map[uint64]*pending), queued: make(map[TopicPartition]bool),
	}
}

// Start lets it stand for election under this session: it wants to be the controller while there is none. Call it once
// the picture is complete, after the scan that follows registering, and again for each new session. nowMillis is
// milliseconds since 1970, for /controller.
func (c *Controller) Start(session, nowMillis int64) {
	c.standing, c.session, c.now = true, session, nowMillis
	c.consider()
}

// Stop ends its reign and its candidature: the session has expired, or the broker shuts down. Requests under way are
// answered NotController. Writes under way may still be reported.
func (c *Controller) Stop() {
	c.standing = false
	c.consider()
}

// Reign says whether this controller acts, and in which epoch.
func (c *Controller) Reign() Reign { return c.reign }

// consider decides by the picture whether this controller acts.
func (c *Controller) consider() {
	e := c.entry
	active := c.standing && c.hasEntry && e.Broker == c.cfg.Broker && c.entryOwner == c.session && e.Epoch >= 0
	next := Reign{Active: active}
	if active {
		next.Epoch = e.Epoch
	}
	if next == c.reign {
		return
	}
	c.reign = next
	c.failRequests()
	c.queue, c.queued = nil, make(map[TopicPartition]bool)
	c.leaving = make(map[int32]int64)
	if active {
		c.enqueueAll()
	}
}

// Put shows a znode as it has been seen. Nodes that are no business of the controller are ignored.
func (c *Controller) Put(n Node) { c.show(n, false) }

// Remove says that there is no such znode, as of zxid (0: as of now).
func (c *Controller) Remove(path string, zxid int64) {
	m, ok := c.seen[path]
	switch {
	case !ok || zxid != 0 && m.mzxid > zxid:
	case m.local && c.reads[path] == 0:
		c.wantRead(path) // written by ourselves and not seen since: this may be about its former life
	default:
		c.drop(path)
	}
}

// emit adds a write to the output. ops are guarded by the epoch of this reign.
func (c *Controller) emit(reason string, p pending, ops ...layout.Op) {
	p.ops = slices.Insert(ops, 0, layout.Check(layout.ControllerEpochPath, c.entry.EpochVersion))
	c.send(reason, p)
}

func (c *Controller) send(reason string, p pending) {
	c.lastWrite++
	p.session = c.session
	c.pending[c.lastWrite] = &p
	c.out.Writes = append(c.out.Writes, Write{ID: c.lastWrite, Ops: p.ops, Reason: reason})
}

// Done reports the outcome of a write. Every write is reported, given up ones as Unknown.
func (c *Controller) Done(id uint64, outcome layout.Outcome) {
	p, ok := c.pending[id]
	if !ok {
		return
	}
	delete(c.pending, id)
	c.release(p, outcome)
	if outcome == layout.Committed {
		c.apply(p)
	} else {
		for _, op := range p.ops {
			c.wantRead(op.Path)
		}
		c.wantRead(layout.ControllerPath)
	}
	if p.topic == "" {
		return
	}
	for _, part := range p.parts {
		c.enqueue(p.topic, part)
	}
	if p.parts == nil || outcome != layout.Committed || c.topic(p.topic).doomed {
		c.enqueue(p.topic, whole)
	}
}

// release lets go of what the write held.
func (c *Controller) release(p *pending, outcome layout.Outcome) {
	if p.topic == "" {
		if p.stone.IsZero() {
			c.electing = false
		} else if s := c.stones[p.stone]; s != nil {
			s.busy = false
		}
		return
	}
	t := c.topic(p.topic)
	if p.parts == nil {
		t.busy = false
	}
	for _, n := range p.parts {
		if part := t.parts[n]; part != nil {
			part.busy = false
		}
		t.writes--
	}
	switch outcome {
	case layout.Committed:
		t.refusals = 0
	case layout.Refused:
		if t.refusals++; t.refusals == refusalsMax {
			c.out.Notes = append(c.out.Notes, "topic "+p.topic+": writes refused though nothing changes; given up until it does")
		}
	}
}

// apply makes the picture show what a committed write did.
func (c *Controller) apply(p *pending) {
	for _, op := range p.ops {
		n := Node{Path: op.Path, Data: op.Data, Mzxid: c.seen[op.Path].mzxid}
		switch op.Type {
		case layout.OpCreate:
			if op.Ephemeral {
				n.Owner = p.session
			}
			c.show(n, true)
		case layout.OpSet:
			n.Version = op.Version + 1
			c.show(n, true)
		case layout.OpDelete:
			c.drop(op.Path)
		}
	}
}

// wantRead asks for a path to be read again; what depends on it waits.
func (c *Controller) wantRead(path string) {
	ref := layout.ParsePath(path)
	if c.reads[path] > 0 || ref.Kind == layout.KindOther {
		return
	}
	c.reads[path] = 1
	c.out.Reads = append(c.out.Reads, path)
	c.hold(ref, 1)
}

// hold counts the reads that an entity waits for.
func (c *Controller) hold(ref layout.Ref, n int) {
	switch {
	case ref.Topic != "":
		t := c.topic(ref.Topic)
		if t.reads += n; t.reads == 0 {
			c.enqueueTopic(t)
		}
	case !ref.ID.IsZero():
		s := c.stone(ref.ID)
		if s.reads += n; s.reads == 0 {
			c.stoneQueue[ref.ID] = true
			c.forgetStone(ref.ID)
		}
	case ref.Kind == layout.KindController || ref.Kind == layout.KindControllerEpoch:
		c.blocked += n
	}
}

// ReadDone says that a path of Ready.Reads has been shown again or, if not ok, that it could not be read: then it is asked
// for again, and the shell paces that.
func (c *Controller) ReadDone(path string, ok bool) {
	switch {
	case c.reads[path] == 0:
	case !ok:
		c.out.Reads = append(c.out.Reads, path)
	default:
		delete(c.reads, path)
		c.hold(layout.ParsePath(path), -1)
	}
}

// Ready returns what the shell has to carry out; false: nothing.
func (c *Controller) Ready() (Ready, bool) {
	if c.standing && !c.hasEntry && !c.electing && c.blocked == 0 {
		c.stand()
	}
	if c.reign.Active && c.blocked == 0 {
		c.work()
	}
	c.answer()
	rd := c.out
	c.out = Ready{}
	if c.told != c.reign {
		c.told = c.reign
		rd.Reign = &Reign{Active: c.reign.Active, Epoch: c.reign.Epoch}
	}
	return rd, rd.Reign != nil || len(rd.Writes)+len(rd.Reads)+len(rd.Replies)+len(rd.Notes) > 0
}

// stand tries to become the controller: /controller and the next epoch in one multi (KAFKA-6082). /controller says which epoch is
// its own, so that reading it alone shows who won, also after an unknown outcome.
func (c *Controller) stand() {
	e := layout.ControllerEntry{Broker: c.cfg.Broker, Timestamp: c.now, Epoch: c.epoch + 1, EpochVersion: c.epochVersion + 1}
	bump := layout.Set(layout.ControllerEpochPath, layout.EncodeControllerEpoch(e.Epoch), c.epochVersion)
	if !c.hasEpoch {
		e.Epoch, e.EpochVersion = 1, 0
		bump = layout.Create(layout.ControllerEpochPath, layout.EncodeControllerEpoch(e.Epoch))
	}
	c.electing = true
	c.send("stand for controller", pending{ops: []layout.Op{
		layout.CreateEphemeral(layout.ControllerPath, layout.EncodeController(e)), bump,
	}})
}

// work looks at what is queued, as long as there is room for writes.
func (c *Controller) work() {
	if len(c.stoneQueue) > 0 {
		c.workStones()
	}
	if !c.none() {
		c.planCreations()
	}
	for len(c.queue) > 0 && len(c.pending) < c.cfg.WritesMax {
		tp := c.queue[0]
		c.queue = c.queue[1:]
		delete(c.queued, tp)
		if t := c.topics[tp.Topic]; t != nil {
			c.plan(t, tp.Partition)
		}
	}
}

func (c *Controller) workStones() {
	for _, id := range slices.SortedFunc(maps.Keys(c.stoneQueue), compareID) {
		if len(c.pending) >= c.cfg.WritesMax {
			return
		}
		delete(c.stoneQueue, id)
		c.planStone(id)
	}
}
