package mqsim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

// bench is one partition on a few brokers whose every step a script takes: nothing happens by itself.
type bench struct {
	store   *store
	id      layout.ID
	brokers []*benchBroker
	min     int
	relaxed bool
	lag     int
	names   map[int64]string // values: what the script calls them
	values  map[string]int64
	held    map[string]func() // what a script has held back
	waiting map[uint64]string
	tokens  uint64
	out     strings.Builder
}

// benchBroker is a broker of a bench.
type benchBroker struct {
	id          int32
	up          bool
	unclean     bool
	incarnation int64
	dir         layout.ID
	log         *modelLog
	hw          int64
	r           *replica.Replica
	write       *replica.StateWrite
	read        bool
	held        map[string]replica.FetchAnswer
	heldRecs    map[string][]rec
}

func (n *bench) printf(format string, args ...any) { fmt.Fprintf(&n.out, format+"\n", args...) }

// TestScripts tells the stories that broke other systems, one a file.
func TestScripts(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		var n *bench
		script.Run(t, file, func(t *testing.T, c *script.Cmd) string {
			if c.Name == "cluster" {
				n = newBench(c)
			} else {
				n.run(c)
			}
			out := n.out.String()
			n.out.Reset()
			return out
		})
	})
}

func newBench(c *script.Cmd) *bench {
	n := &bench{
		store: newStore(), id: layout.NewID(rand.New(rand.NewPCG(1, 1))), min: c.IntOr("min", 1), relaxed: c.Has("relaxed"), lag: c.IntOr("lag", 10),
		names: map[int64]string{}, values: map[string]int64{}, held: map[string]func(){}, waiting: map[uint64]string{},
	}
	count := c.IntOr("brokers", 3)
	var replicas []int32
	for i := range count {
		b := &benchBroker{id: int32(i + 1), up: true, incarnation: -1, dir: layout.ID{byte(i + 1)}, log: &modelLog{}}
		n.brokers = append(n.brokers, b)
		replicas = append(replicas, b.id)
	}
	n.must(c, layout.Create(layout.TopicPath(topicName), layout.EncodeTopic(layout.Topic{ID: n.id, Replicas: [][]int32{replicas}})),
		layout.Create(layout.TopicMarkPath(topicName, n.id), nil), layout.Create(layout.PartitionsPath(topicName), nil), layout.Create(layout.PartitionPath(topicName, 0), nil))
	for _, b := range n.brokers {
		n.boot(b)
		n.register(c, b)
	}
	n.control(c, n.brokers[0])
	for _, b := range n.brokers {
		n.show(b)
	}
	return n
}

func (n *bench) must(c *script.Cmd, ops ...layout.Op) {
	if !n.store.multi(ops, 0) {
		c.Fatalf("ZooKeeper refuses %v", ops)
	}
}

// broker returns the broker that is the command's i-th word.
func (n *bench) broker(c *script.Cmd, i int) *benchBroker {
	if words := c.Positional(); i < len(words) {
		if id, err := strconv.Atoi(words[i]); err == nil && id >= 1 && id <= len(n.brokers) {
			return n.brokers[id-1]
		}
	}
	c.Fatalf("no broker as word %d", i)
	return nil
}

func (n *bench) run(c *script.Cmd) {
	switch c.Name {
	case "print":
		n.print()
		return
	case "show":
		for i := range c.Positional() {
			n.show(n.broker(c, i))
		}
		return
	case "land":
		n.held[c.Positional()[0]]()
		return
	}
	b := n.broker(c, 0)
	switch c.Name {
	case "produce":
		n.produce(c, b)
	case "sync":
		b.log.synced = b.log.end()
		b.r.Synced(b.log.synced)
	case "fetch":
		for range c.IntOr("times", 1) {
			n.fetch(c, b)
		}
	case "deliver":
		n.deliver(b, b.held[c.String("held")], b.heldRecs[c.String("held")], true)
	case "tick":
		for range c.Int("n") {
			b.r.Tick()
		}
	case "write":
		n.write(c, b)
	case "read":
		if b.read {
			b.read = false
			n.show(b)
			b.r.ReadDone(true)
		}
	case "crash":
		n.crash(c, b)
	case "vanish":
		n.must(c, layout.Delete(layout.BrokerPath(b.id), layout.AnyVersion))
	case "boot":
		n.boot(b)
	case "fence":
		n.fence(c, b)
	case "leave":
		n.leave(c, b)
	case "register":
		n.register(c, b)
	case "fail":
		b.r.Fail()
	case "trim":
		b.log.trim(c.Int64("to"))
		b.r.SetLogStart(b.log.start)
	case "controller":
		n.control(c, b)
	default:
		c.Fatalf("no such command")
	}
	n.drain(b)
}

func (n *bench) state() (*znode, layout.PartitionState) {
	z := n.store.nodes[layout.StatePath(topicName, 0)]
	if z == nil {
		return nil, layout.PartitionState{}
	}
	s, err := layout.DecodeState(z.data)
	if err != nil {
		panic(err)
	}
	return z, s
}

func (n *bench) show(b *benchBroker) {
	if z, s := n.state(); z != nil && b.up {
		b.r.SetState(s, z.version)
		n.drain(b)
	}
}

// drain tells what a replica wants, and keeps it for the commands write and read.
func (n *bench) drain(b *benchBroker) {
	if !b.up {
		return
	}
	for rd, ok := b.r.Ready(); ok; rd, ok = b.r.Ready() {
		if rd.Role != nil {
			n.printf("%d: %s, epoch %d", b.id, rd.Role.Kind, rd.Role.Epoch)
			if rd.Role.Kind == replica.Leader {
				b.log.epochs.Assign(rd.Role.Epoch, rd.Role.EpochStart)
			}
		}
		if rd.HighWatermarkMoved {
			b.hw, _ = b.r.HighWatermark()
			n.printf("%d: high watermark %d", b.id, b.hw)
		}
		for _, a := range rd.Acks {
			n.printf("%d: %s answered %d", b.id, n.waiting[a.Token], a.Code)
		}
		if rd.Write != nil {
			w := *rd.Write
			b.write = &w
			n.printf("%d: wants to write: %s, ISR %v, at version %d", b.id, w.Reason, w.State.ISR, w.Version)
		}
		if rd.Read {
			b.read = true
			n.printf("%d: wants to read", b.id)
		}
	}
}

func (n *bench) produce(c *script.Cmd, b *benchBroker) {
	name := c.Positional()[1]
	all := !c.Has("one")
	epoch, code := b.r.BeginAppend(-1, all)
	if code != replica.OK {
		n.printf("%d: %s answered %d", b.id, name, code)
		return
	}
	if n.values[name] == 0 {
		n.values[name] = int64(len(n.values) + 1)
		n.names[n.values[name]] = name
	}
	b.log.append(rec{epoch, n.values[name]})
	b.r.EndAppend(b.log.end())
	n.printf("%d: %s at %d", b.id, name, b.log.end()-1)
	n.tokens++
	n.waiting[n.tokens] = name
	if all {
		b.r.WaitAll(epoch, b.log.end(), n.tokens)
	} else {
		b.r.WaitSynced(epoch, b.log.end(), n.tokens)
	}
	n.drain(b)
	if !c.Has("unsynced") {
		b.log.synced = b.log.end()
		b.r.Synced(b.log.synced)
	}
}

// fetch does a follower's whole fetch; with hold= the answer is kept for deliver, with lost it is lost.
func (n *bench) fetch(c *script.Cmd, b *benchBroker) {
	req, ok := b.r.NextFetch()
	if !ok {
		n.printf("%d: does not fetch", b.id)
		return
	}
	if _, ok := c.Lookup("incarnation"); ok {
		req.Incarnation = c.Int64("incarnation")
	}
	lead := n.brokers[req.Leader-1]
	if !lead.up {
		n.printf("%d: broker %d is down", b.id, lead.id)
		return
	}
	n.printf("%d: fetches from %d in epoch %d: offset %d, last epoch %d", b.id, lead.id, req.LeaderEpoch, req.Offset, req.LastEpoch)
	a := lead.r.Fetch(req)
	n.drain(lead)
	var recs []rec
	if a.Code == replica.OK && a.DivergingEpoch < 0 {
		recs = lead.log.read(req.Offset, c.IntOr("max", 100))
	}
	switch name, held := c.Lookup("hold"); {
	case held:
		b.held[name], b.heldRecs[name] = a, recs
	case !c.Has("lost"):
		n.deliver(b, a, recs, !c.Has("unsynced"))
	}
}

func (n *bench) deliver(b *benchBroker, a replica.FetchAnswer, recs []rec, sync bool) {
	act := b.r.HandleFetch(a, len(recs) > 0)
	switch act.Kind {
	case replica.Append:
		n.printf("%d: appends %d at %d", b.id, len(recs), act.Offset)
		b.log.append(recs...)
		b.r.EndAppend(b.log.end())
		if sync {
			b.log.synced = b.log.end()
			b.r.Synced(b.log.synced)
		}
	case replica.Truncate:
		n.printf("%d: truncates to %d", b.id, act.Offset)
		b.log.truncate(act.Offset)
		b.r.EndTruncate(act.Offset)
	case replica.Reset:
		n.printf("%d: starts anew at %d", b.id, act.Offset)
		b.log.reset(act.Offset)
		b.r.EndReset(act.Offset)
	case replica.Stale:
		n.printf("%d: refused with %d", b.id, a.Code)
	default:
		n.printf("%d: nothing new", b.id)
	}
}

// write carries out what a leader wants to write: as it is; with answer=lost; with lost; or with hold=NAME, to land later.
func (n *bench) write(c *script.Cmd, b *benchBroker) {
	w := b.write
	if w == nil {
		c.Fatalf("broker %d wants to write nothing", b.id)
	}
	b.write = nil
	do := func() layout.Outcome {
		if n.store.multi(replica.StateOps(topicName, n.id, 0, w.State, w.Version, w.Joins), 0) {
			n.printf("ZooKeeper: ISR %v, version %d", w.State.ISR, w.Version+1)
			return layout.Committed
		}
		n.printf("ZooKeeper: refused")
		return layout.Refused
	}
	name, held := c.Lookup("hold")
	switch {
	case held && c.Has("inflight"):
		n.held[name] = func() { b.r.WriteDone(w.ID, do()); n.drain(b) }
	case held:
		n.held[name] = func() { do() }
		b.r.WriteDone(w.ID, layout.Unknown)
	case c.Has("lost"):
		b.r.WriteDone(w.ID, layout.Unknown)
	case c.Has("unanswered"):
		do()
		b.r.WriteDone(w.ID, layout.Unknown)
	default:
		b.r.WriteDone(w.ID, do())
	}
}

func (n *bench) crash(c *script.Cmd, b *benchBroker) {
	b.up, b.write, b.read, b.unclean = false, nil, false, true
	keep := int64(c.IntOr("keep", int(b.log.end())))
	if c.Has("power") {
		keep = b.log.synced
	}
	b.log.lose(keep)
	if c.Has("wipe") {
		b.log, b.hw, b.dir[1] = &modelLog{}, 0, b.dir[1]+1
	}
}

// boot starts the process: it knows its disk, and what ZooKeeper shows, but is not registered.
func (n *bench) boot(b *benchBroker) {
	b.up, b.incarnation = true, -1
	b.held, b.heldRecs = map[string]replica.FetchAnswer{}, map[string][]rec{}
	var replicas []int32
	for _, o := range n.brokers {
		replicas = append(replicas, o.id)
	}
	b.r = replica.New(replica.Config{Broker: b.id, Incarnation: -1, Replicas: replicas, MinInsync: n.min, Durable: !n.relaxed, LagTicks: n.lag},
		replica.Log{Start: b.log.start, End: b.log.end(), Synced: b.log.synced, HighWatermark: b.hw}, &b.log.epochs)
	n.show(b)
}

func (n *bench) former(b *benchBroker) (layout.Incarnation, int32) {
	z := n.store.nodes[layout.IncarnationPath(b.id)]
	if z == nil {
		return layout.Incarnation{}, -1
	}
	v, err := layout.DecodeIncarnation(z.data)
	if err != nil {
		panic(err)
	}
	return v, z.version
}

func (n *bench) fence(c *script.Cmd, b *benchBroker) {
	former, version := n.former(b)
	n.must(c, replica.FenceOps(b.id, former, version)...)
}

// leave leaves the ISR if the broker's data is not what it was.
func (n *bench) leave(c *script.Cmd, b *benchBroker) {
	former, _ := n.former(b)
	if !(n.relaxed && b.unclean) && slices.Contains(former.Directories, layout.Directory{ID: b.dir}) {
		return
	}
	z, s := n.state()
	if next, changed := replica.Leave(s, b.id); z != nil && changed {
		n.must(c, replica.StateOps(topicName, n.id, 0, next, z.version, nil)...)
		n.printf("%d: leaves: %s", b.id, layout.EncodeState(next))
	}
}

// register does what is left of rejoining: fence and leave, unless they were done step by step.
func (n *bench) register(c *script.Cmd, b *benchBroker) {
	if n.store.nodes[layout.BrokerPath(b.id)] != nil {
		c.Fatalf("broker %d is registered still", b.id)
	}
	if !c.Has("fenced") {
		n.fence(c, b)
		n.leave(c, b)
	}
	_, version := n.former(b)
	reg := layout.Broker{}
	n.must(c, replica.RegisterOps(b.id, &reg, layout.Incarnation{Directories: []layout.Directory{{ID: b.dir}}}, version)...)
	b.incarnation, b.unclean = reg.Incarnation, false
	b.r.Register(b.incarnation)
}

// control lets a new controller on this broker do all that there is to do.
func (n *bench) control(c *script.Cmd, b *benchBroker) {
	ctl := controller.New(controller.Config{Broker: b.id, Rand: rand.New(rand.NewPCG(1, 1)), UncleanElection: c.Has("unclean")})
	for _, p := range slices.Sorted(maps.Keys(n.store.nodes)) {
		z := n.store.nodes[p]
		ctl.Put(controller.Node{Path: p, Data: z.data, Version: z.version, Mzxid: z.mzxid, Owner: z.owner})
	}
	session := int64(n.tokens + 1000)
	n.tokens++
	if n.store.nodes[layout.ControllerPath] != nil {
		n.must(c, layout.Delete(layout.ControllerPath, layout.AnyVersion))
		ctl.Remove(layout.ControllerPath, 0)
	}
	ctl.Start(session, 0)
	for rd, ok := ctl.Ready(); ok; rd, ok = ctl.Ready() {
		for _, w := range rd.Writes {
			outcome := layout.Refused
			if n.store.multi(w.Ops, session) {
				outcome = layout.Committed
			}
			if w.Reason != "stand for controller" {
				n.printf("controller: %s", w.Reason)
			}
			ctl.Done(w.ID, outcome)
		}
		for _, p := range rd.Reads {
			c.Fatalf("the controller reads %s, but nothing happens beside it", p)
		}
	}
}

func (n *bench) print() {
	if z, s := n.state(); z != nil {
		n.printf("state: leader %d, epoch %d, ISR %v, suspect %v, version %d", s.Leader, s.LeaderEpoch, s.ISR, s.Suspect, z.version)
	}
	for _, b := range n.brokers {
		var recs []string
		for i, r := range b.log.recs {
			mark := ""
			if b.log.start+int64(i) >= b.log.synced {
				mark = "?"
			}
			recs = append(recs, fmt.Sprintf("%s/%d%s", n.names[r.value], r.epoch, mark))
		}
		role, hw, known := "down", b.hw, false
		if b.up {
			role = b.r.Role().Kind.String()
			hw, known = b.r.HighWatermark()
		}
		note := ""
		if role == "leader" && !known {
			note = " (not known yet)"
		}
		n.printf("%d: %s, from %d: [%s], high watermark %d%s", b.id, role, b.log.start, strings.Join(recs, " "), hw, note)
	}
}
