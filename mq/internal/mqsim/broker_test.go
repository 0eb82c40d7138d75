package mqsim

import (
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

const topicName = "t"

// broker is the shell of the cores, as thin as a model allows.
type broker struct {
	c    *cluster
	id   int32
	disk *disk
	up   bool
	life int // grows with each start and crash: events of a former life do nothing

	conn      *zkConn
	session   int64
	seen      int64
	cutUntil  time.Duration // no connection to ZooKeeper before
	image     map[string]nodeView
	buffering bool
	buffered  []string
	rejoining int // the newest attempt to register

	registered  bool
	incarnation int64
	untrusted   bool // a fresh start with other data than before
	ctl         *controller.Controller
	topicID     layout.ID
	parts       map[int32]*partition
	stopping    bool
}

// partition is a replica with its log.
type partition struct {
	n       int32
	r       *replica.Replica
	log     *modelLog
	syncing bool
	failed  bool
	target  int64 // what the sync under way covers
	fetch   uint64
	sentAt  time.Duration
	asked   replica.FetchRequest
	waiting map[uint64]func(code replica.Code)
}

func (c *cluster) newBroker(id int32) *broker {
	return &broker{c: c, id: id, disk: newDisk(c.r)}
}

func (b *broker) node() int { return int(b.id) - 1 }

// guard returns fn for this life only.
func (b *broker) guard(fn func()) func() {
	life := b.life
	return func() {
		if b.life == life {
			fn()
		}
	}
}

func (b *broker) after(d time.Duration, fn func()) { b.c.e.After(d, b.guard(fn)) }

func (b *broker) start() {
	b.life++
	b.up, b.stopping, b.registered, b.incarnation = true, false, false, layout.NoIncarnation
	b.session, b.seen, b.conn = 0, 0, nil
	b.image, b.parts, b.buffered = map[string]nodeView{}, map[int32]*partition{}, nil
	b.untrusted = !b.disk.clean && b.c.relaxed
	b.disk.clean = false
	b.ctl = controller.New(controller.Config{Broker: b.id, Rand: b.c.r, ChunkMax: 2, WritesMax: 4})
	b.c.net.Up(b.node())
	b.connect()
	b.tick(0)
}

// crash ends the process. lose says what the disk keeps of records that are not synced.
func (b *broker) crash(lose bool) {
	b.life++
	b.rejoining++
	b.up, b.registered = false, false
	b.c.net.Down(b.node())
	if b.conn != nil {
		b.conn.sever()
	}
	b.conn = nil
	for _, n := range b.c.numbers() {
		l := b.disk.logs[n]
		if l == nil {
			continue
		}
		keep := l.end()
		if lose && l.synced < keep {
			b.c.e.Mark("crash.lost.tail")
			keep = l.synced + b.c.r.Int64N(keep-l.synced+1)
		}
		counted := b.c.relaxed && keep < l.end()
		l.lose(keep)
		b.c.check.lost(b, n, counted)
	}
}

// wipe replaces the disk of a broker that is down.
func (b *broker) wipe() {
	b.disk = newDisk(b.c.r)
	for _, n := range b.c.numbers() {
		b.c.check.lost(b, n, true)
	}
}

// stop ends the process cleanly.
func (b *broker) stop() {
	clean := b.registered
	if b.conn != nil {
		b.conn.close()
	}
	b.crash(false)
	b.disk.clean = clean
}

func (b *broker) connect() {
	if !b.up || b.conn != nil {
		return
	}
	if now := b.c.e.Now(); now < b.cutUntil {
		b.after(b.cutUntil-now+sim.Exp(b.c.r, 20*time.Millisecond), b.connect)
		return
	}
	conn := b.c.zk.connect(b.session, b.c.sessionTimeout, b.seen)
	if conn == nil {
		b.expired()
		b.connect()
		return
	}
	if b.session != 0 {
		b.c.e.Mark("zk.reconnect")
	}
	b.conn, b.session, b.buffering, b.buffered = conn, conn.session.id, true, nil
	life := b.life
	conn.onEvent = func(path string, _ int64) {
		if b.life == life {
			b.event(path)
		}
	}
	conn.onBreak = func() {
		if b.life == life && b.conn == conn {
			b.conn = nil
			b.after(sim.Exp(b.c.r, 100*time.Millisecond), b.connect)
		}
	}
	b.scan(conn)
}

// expired begins a life without a registration; the process and its data go on.
func (b *broker) expired() {
	b.c.e.Mark("broker.session.expired")
	b.session, b.registered = 0, false
	b.rejoining++
	b.ctl.Stop()
	b.drain()
}

// scan reads everything, after the watch is set, and lets the image show it (R8).
func (b *broker) scan(conn *zkConn) {
	conn.request(false, func() { conn.watching = true }, func() {})
	var all []nodeView
	steps := [][]string{
		{"/controller", "/controller_epoch", "/brokers/ids/", "/brokers/incarnations/"},
		{"/brokers/topics/"},
		{"/brokers/tombstones/", "/admin/delete_topics/", "/config/topics/"},
	}
	var step func(i int)
	step = func(i int) {
		if i < len(steps) {
			conn.read(false, func(nodes []nodeView, ok bool) {
				if ok {
					all = append(all, nodes...)
					step(i + 1)
				}
			}, steps[i]...)
			return
		}
		b.scanned(all)
	}
	step(0)
}

func (b *broker) scanned(all []nodeView) {
	there := map[string]bool{}
	for _, n := range all {
		if there[n.path] = !n.gone; !n.gone {
			b.show(n)
		}
	}
	for _, path := range sortedKeys(b.image) {
		if !there[path] {
			b.c.e.Mark("scan.deletion")
			b.show(nodeView{path: path, gone: true})
		}
	}
	b.buffering = false
	events := b.buffered
	b.buffered = nil
	for _, path := range events {
		b.event(path)
	}
	if !b.registered {
		b.rejoin()
	}
	b.drain()
}

func (b *broker) event(path string) {
	if b.buffering {
		b.buffered = append(b.buffered, path)
		return
	}
	b.conn.read(false, func(nodes []nodeView, ok bool) {
		if ok {
			b.show(nodes[0])
			b.drain()
		}
	}, path)
}

// show lets the image and the cores see a znode.
func (b *broker) show(n nodeView) {
	old, had := b.image[n.path]
	if n.gone {
		if had {
			delete(b.image, n.path)
		}
		b.ctl.Remove(n.path, 0)
	} else {
		if had && n.mzxid < old.mzxid {
			return
		}
		b.seen = max(b.seen, n.mzxid)
		b.image[n.path] = n
		b.ctl.Put(controller.Node{Path: n.path, Data: n.data, Version: n.version, Mzxid: n.mzxid, Owner: n.owner})
	}
	switch ref := layout.ParsePath(n.path); ref.Kind {
	case layout.KindTopic:
		if !n.gone {
			b.host(n)
		}
	case layout.KindState:
		if p := b.parts[ref.Partition]; p != nil {
			b.showState(p, n)
		}
	case layout.KindBroker:
		if n.gone && ref.Broker == b.id && !b.registered && !b.buffering && b.conn != nil {
			b.rejoin()
		}
	}
}

func (b *broker) showState(p *partition, n nodeView) {
	if n.gone {
		p.r.StateGone()
		return
	}
	s, err := layout.DecodeState(n.data)
	if err != nil {
		b.c.check.failf("state: %v", err)
		return
	}
	p.r.SetState(s, n.version)
}

// host opens the partitions assigned to this broker.
func (b *broker) host(n nodeView) {
	t, err := layout.DecodeTopic(n.data)
	if err != nil {
		b.c.check.failf("topic: %v", err)
		return
	}
	b.topicID = t.ID
	for i, replicas := range t.Replicas {
		n := int32(i)
		if b.parts[n] != nil || !slices.Contains(replicas, b.id) {
			continue
		}
		if b.disk.logs[n] == nil {
			b.disk.logs[n] = &modelLog{}
		}
		l := b.disk.logs[n]
		p := &partition{n: n, log: l, waiting: map[uint64]func(replica.Code){}}
		p.r = replica.New(b.c.config(b, replicas), replica.Log{Start: l.start, End: l.end(), Synced: l.synced, HighWatermark: b.disk.hw[n]}, &l.epochs)
		b.parts[n] = p
		if s, ok := b.image[layout.StatePath(topicName, n)]; ok {
			b.showState(p, s)
		}
	}
}

// rejoin registers, in the steps of replica's rejoin.go; whatever goes wrong starts it over.
func (b *broker) rejoin() {
	b.rejoining++
	try, conn := b.rejoining, b.conn
	again := func() {
		b.after(20*time.Millisecond, func() {
			if b.rejoining == try && b.conn != nil && !b.registered && !b.buffering {
				b.rejoin()
			}
		})
	}
	me, inc := layout.BrokerPath(b.id), layout.IncarnationPath(b.id)
	step := func(fn func()) func() {
		return b.guard(func() {
			if b.rejoining == try && !b.registered {
				fn()
			}
		})
	}
	conn.read(true, func(nodes []nodeView, ok bool) {
		step(func() {
			switch {
			case !ok:
				again()
			case !nodes[0].gone && nodes[0].owner == b.session:
				reg, _ := layout.DecodeBroker(nodes[0].data)
				b.c.e.Mark("register.found.done")
				b.register(reg.Incarnation)
			case !nodes[0].gone:
				b.c.e.Mark("register.waits.for.former")
				again()
			default:
				b.fence(conn, nodes[1], step, again)
			}
		})()
	}, me, inc)
}

func (b *broker) fence(conn *zkConn, n nodeView, step func(func()) func(), again func()) {
	version, former := int32(-1), layout.Incarnation{}
	if !n.gone {
		version = n.version
		former, _ = layout.DecodeIncarnation(n.data)
	}
	untrusted := b.untrusted || !n.gone && !slices.Contains(former.Directories, layout.Directory{ID: b.disk.dir})
	conn.multi(replica.FenceOps(b.id, former, version), func(o layout.Outcome) {
		step(func() {
			if o != layout.Committed {
				again()
				return
			}
			finish := func() { b.finishRejoin(conn, version+1, step, again) }
			if untrusted && !b.topicID.IsZero() {
				b.leave(conn, b.c.numbers(), step, again, finish)
			} else {
				finish()
			}
		})()
	})
}

// leave leaves the ISR of every partition whose data is not to be trusted.
func (b *broker) leave(conn *zkConn, left []int32, step func(func()) func(), again, finish func()) {
	if len(left) == 0 {
		finish()
		return
	}
	n := left[0]
	conn.read(true, func(nodes []nodeView, ok bool) {
		step(func() {
			if !ok {
				again()
				return
			}
			var s layout.PartitionState
			if !nodes[0].gone {
				s, _ = layout.DecodeState(nodes[0].data)
			}
			next, changed := replica.Leave(s, b.id)
			if nodes[0].gone || !changed {
				b.leave(conn, left[1:], step, again, finish)
				return
			}
			b.c.e.Mark("rejoin.left.isr")
			conn.multi(replica.StateOps(topicName, b.topicID, n, next, nodes[0].version, nil), func(o layout.Outcome) {
				step(func() {
					if o == layout.Unknown {
						again()
					} else {
						b.leave(conn, left, step, again, finish)
					}
				})()
			})
		})()
	}, layout.StatePath(topicName, n))
}

func (b *broker) finishRejoin(conn *zkConn, version int32, step func(func()) func(), again func()) {
	reg := layout.Broker{Endpoints: []layout.Endpoint{{Listener: "PLAINTEXT", Host: "h", Port: 1, Protocol: "PLAINTEXT"}}}
	now := layout.Incarnation{Directories: []layout.Directory{{ID: b.disk.dir}}}
	conn.multi(replica.RegisterOps(b.id, &reg, now, version), func(o layout.Outcome) {
		step(func() {
			if o == layout.Committed {
				b.register(reg.Incarnation)
			} else {
				again()
			}
		})()
	})
}

func (b *broker) register(incarnation int64) {
	b.registered, b.incarnation, b.untrusted = true, incarnation, false
	b.c.check.registered(b)
	b.c.e.Tracef("broker %d registered, incarnation %d", b.id, incarnation)
	for _, n := range b.c.numbers() {
		if p := b.parts[n]; p != nil {
			p.r.Register(incarnation)
		}
	}
	b.ctl.Start(b.session, 0)
	b.drain()
}

// drain carries out what the cores want.
func (b *broker) drain() {
	for again := true; again; {
		again = false
		if rd, ok := b.ctl.Ready(); ok {
			again = true
			b.control(rd)
		}
		for _, n := range b.c.numbers() {
			p := b.parts[n]
			if p == nil {
				continue
			}
			if rd, ok := p.r.Ready(); ok {
				again = true
				b.replicate(p, rd)
			}
			b.c.check.observe(b, p)
		}
	}
}

func (b *broker) control(rd controller.Ready) {
	if rd.Reign != nil {
		b.c.check.reign(b, *rd.Reign)
	}
	for _, w := range rd.Writes {
		b.c.e.Tracef("controller %d: %s", b.id, w.Reason)
		b.multi(w.Ops, func(o layout.Outcome) { b.ctl.Done(w.ID, o) })
	}
	for _, path := range rd.Reads {
		b.synced(path, func(n nodeView, ok bool) {
			if ok {
				b.show(n)
			}
			b.ctl.ReadDone(path, ok)
		})
	}
	for _, r := range rd.Replies {
		b.c.replied(b, r)
	}
	for _, n := range rd.Notes {
		b.c.e.Tracef("controller %d notes: %s", b.id, n)
		b.c.e.Mark("controller.note")
	}
}

// multi carries a write out on whatever connection there is.
func (b *broker) multi(ops []layout.Op, done func(layout.Outcome)) {
	fin := func(o layout.Outcome) {
		b.c.e.Mark("write." + o.String())
		done(o)
		b.drain()
	}
	if b.conn == nil {
		b.after(time.Millisecond, func() { fin(layout.Unknown) })
		return
	}
	life := b.life
	b.conn.multi(ops, func(o layout.Outcome) {
		if b.life == life {
			fin(o)
		}
	})
}

func (b *broker) synced(path string, done func(nodeView, bool)) {
	life := b.life
	fail := func() { b.after(30*time.Millisecond, func() { done(nodeView{}, false); b.drain() }) }
	if b.conn == nil {
		fail()
		return
	}
	b.conn.read(true, func(nodes []nodeView, ok bool) {
		switch {
		case b.life != life:
		case !ok:
			fail()
		default:
			done(nodes[0], true)
			b.drain()
		}
	}, path)
}

// replicate carries out what a replica wants.
func (b *broker) replicate(p *partition, rd replica.Ready) {
	if rd.Role != nil {
		b.c.e.Tracef("broker %d partition %d: %s of epoch %d, leader %d, start %d, log end %d", b.id, p.n, rd.Role.Kind, rd.Role.Epoch, rd.Role.Leader, rd.Role.EpochStart, p.log.end())
		if rd.Role.Kind == replica.Leader {
			p.log.epochs.Assign(rd.Role.Epoch, rd.Role.EpochStart)
			b.c.check.elected(b, p, *rd.Role)
		}
	}
	for _, a := range rd.Acks {
		done := p.waiting[a.Token]
		delete(p.waiting, a.Token)
		done(a.Code)
	}
	if rd.Write != nil {
		w := *rd.Write
		b.c.e.Mark("isr." + w.Reason)
		b.c.e.Tracef("broker %d partition %d: %s to %v at version %d", b.id, p.n, w.Reason, w.State.ISR, w.Version)
		b.multi(replica.StateOps(topicName, b.topicID, p.n, w.State, w.Version, w.Joins), func(o layout.Outcome) {
			b.c.e.Mark("isr." + w.Reason + "." + o.String())
			p.r.WriteDone(w.ID, o)
		})
	}
	if rd.Read {
		b.synced(layout.StatePath(topicName, p.n), func(n nodeView, ok bool) {
			if ok {
				b.show(n)
			}
			p.r.ReadDone(ok)
		})
	}
}

// tick drives fetching, and every fourth time the replicas' own ticks.
func (b *broker) tick(n int) {
	if until := b.c.net.Paused(b.node()); until > b.c.e.Now() {
		b.after(until-b.c.e.Now(), func() { b.tick(n) })
		return
	}
	for _, i := range b.c.numbers() {
		p := b.parts[i]
		if p == nil {
			continue
		}
		if n%4 == 0 {
			p.r.Tick()
		}
		if n%32 == 0 {
			b.disk.hw[i], _ = p.r.HighWatermark()
		}
		b.kick(p)
		b.sync(p)
	}
	b.drain()
	b.after(25*time.Millisecond, func() { b.tick(n + 1) })
}

// sync syncs the log in the background, at once on a durable topic.
func (b *broker) sync(p *partition) {
	if p.syncing || p.failed || p.log.synced == p.log.end() || b.c.relaxed && !sim.Chance(b.c.r, 0.05) {
		return
	}
	p.syncing, p.target = true, p.log.end()
	b.after(sim.Exp(b.c.r, b.c.syncDelay), func() {
		p.syncing = false
		if p.failed {
			return
		}
		p.log.synced = max(p.log.synced, min(p.target, p.log.end()))
		p.r.Synced(p.log.synced)
		if !b.c.relaxed {
			b.sync(p)
		}
		b.kick(p)
		b.drain()
	})
}

// write changes the log, now or, as a slow disk does, later.
func (b *broker) write(p *partition, fn func()) {
	if sim.Chance(b.c.r, b.c.slowWrites) {
		b.c.e.Mark("slow.write")
		b.after(sim.Exp(b.c.r, 20*time.Millisecond), func() {
			if !p.failed {
				fn()
			}
			b.sync(p)
			b.kick(p)
			b.drain()
		})
		return
	}
	fn()
	b.sync(p)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
