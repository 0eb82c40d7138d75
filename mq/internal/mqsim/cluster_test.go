package mqsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

// cluster is brokers, clients, a network and a model of ZooKeeper.
type cluster struct {
	e       *sim.Engine
	r       *rand.Rand
	net     *sim.Net[msg]
	zk      *ensemble
	brokers []*broker
	check   *checker
	clients []*client // one a partition

	partitions     int
	replicas       int
	minInsync      int
	relaxed        bool // the topic relaxes flush
	lagTicks       int
	sessionTimeout time.Duration
	syncDelay      time.Duration
	slowWrites     float64
	tokens         uint64
	pace           time.Duration // mean time between a client's requests
	nums           []int32
}

// draw makes a cluster as the seed says.
func draw(e *sim.Engine) *cluster {
	r := e.Rand("cluster")
	c := &cluster{
		e: e, r: r, partitions: 1 + r.IntN(2), replicas: 3, minInsync: 1 + min(r.IntN(4), 1), relaxed: sim.Chance(r, 0.35),
		lagTicks: 3 + r.IntN(20), sessionTimeout: time.Duration(sim.LogUniform(r, 3e8, 2e9)),
		syncDelay: time.Duration(sim.LogUniform(r, 2e5, 2e7)), pace: 45 * time.Millisecond,
	}
	if sim.Chance(r, 0.3) {
		c.slowWrites = sim.LogUniform(r, 0.01, 0.3)
	}
	lag, net := time.Duration(sim.LogUniform(r, 1e5, 1e8)), time.Duration(sim.LogUniform(r, 1e5, 5e6))
	c.build(3+r.IntN(2), lag, net, sim.DrawNetFaults(e.Rand("swarm")))
	if sim.Chance(r, 0.5) {
		c.zk.snap = sim.LogUniform(r, 0.01, 0.3)
	}
	return c
}

// build makes the parts; brokers are not started.
func (c *cluster) build(brokers int, lag, net time.Duration, faults sim.NetFaults) {
	c.zk = newEnsemble(c.e, lag, net)
	c.check = newChecker(c)
	c.zk.onCommit = c.check.committedTxn
	c.net = sim.NewNet[msg](c.e, brokers+1, faults, c)
	for i := range brokers {
		c.brokers = append(c.brokers, c.newBroker(int32(i+1)))
	}
	for n := range c.partitions {
		c.nums = append(c.nums, int32(n))
		c.clients = append(c.clients, &client{c: c, n: int32(n)})
	}
}

func (c *cluster) numbers() []int32 { return c.nums }

func (c *cluster) config(b *broker, replicas []int32) replica.Config {
	return replica.Config{
		Broker: b.id, Incarnation: b.incarnation, Replicas: replicas, MinInsync: c.minInsync, Durable: !c.relaxed, LagTicks: c.lagTicks,
	}
}

func (c *cluster) broker(id int32) *broker { return c.brokers[id-1] }

// controller returns the broker whose controller acts, as far as it knows.
func (c *cluster) controller() *broker {
	for _, b := range c.brokers {
		if b.up && b.ctl.Reign().Active {
			return b
		}
	}
	return nil
}

func (c *cluster) token() uint64 { c.tokens++; return c.tokens }

// create asks for the topic until it is there.
func (c *cluster) create() {
	if c.zk.store.nodes[layout.TopicPath(topicName)] != nil {
		return
	}
	if b := c.controller(); b != nil && len(b.image) > 0 {
		b.ctl.CreateTopic(c.token(), controller.TopicSpec{Name: topicName, Partitions: c.partitions, Replicas: c.replicas})
		b.drain()
	}
	c.e.After(100*time.Millisecond, c.create)
}

func (c *cluster) replied(b *broker, r controller.Reply) {
	c.e.Tracef("controller %d replies %d: %d %s", b.id, r.Token, r.Code, r.Text)
	c.e.Mark(fmt.Sprintf("reply.%d", r.Code))
}

// state is the truth about a partition's state.
func (c *cluster) state(n int32) (layout.PartitionState, bool) {
	return c.check.truth[n].state, c.check.truth[n].known
}

// msg is what brokers and clients send one another.
type msg struct {
	kind  kind
	n     int32
	id    uint64
	req   replica.FetchRequest
	ans   replica.FetchAnswer
	recs  []rec
	value int64
	all   bool // acks=all
	code  replica.Code
	at    int64 // offset
	epoch int32
	hw    int64
	known bool
	start int64
}

type kind uint8

const (
	fetchAsk kind = iota
	fetchAnswer
	produceAsk
	produceAnswer
	consumeAsk
	consumeAnswer
)

func (c *cluster) clientNode() int { return len(c.brokers) }

// Deliver implements sim.Receiver.
func (c *cluster) Deliver(to, from int, m msg) {
	if to == c.clientNode() {
		c.clients[m.n].deliver(m)
		return
	}
	b := c.brokers[to]
	p := b.parts[m.n]
	if !b.up {
		return
	}
	if p == nil {
		if m.kind == produceAsk || m.kind == consumeAsk {
			m.kind++
			m.code = replica.NotLeader
			c.net.Send(to, from, m)
		}
		return
	}
	switch m.kind {
	case fetchAsk:
		b.serve(p, from, m)
	case fetchAnswer:
		b.answered(p, m)
	case produceAsk:
		b.produce(p, from, m)
	case consumeAsk:
		b.consume(p, from, m)
	}
	b.drain()
}

// Reset implements sim.Receiver.
func (c *cluster) Reset(at, peer int) {
	if at == c.clientNode() || !c.brokers[at].up {
		return
	}
	for _, n := range c.nums {
		if p := c.brokers[at].parts[n]; p != nil && int(p.asked.Leader)-1 == peer {
			p.fetch = 0
		}
	}
}

// kick sends the next fetch, unless one is under way.
func (b *broker) kick(p *partition) {
	now := b.c.e.Now()
	if p.fetch != 0 && now-p.sentAt < 500*time.Millisecond {
		return
	}
	req, ok := p.r.NextFetch()
	if !ok || int(req.Leader) > len(b.c.brokers) {
		return
	}
	p.fetch, p.sentAt, p.asked = b.c.token(), now, req
	b.c.net.Send(b.node(), int(req.Leader)-1, msg{kind: fetchAsk, n: p.n, id: p.fetch, req: req})
}

func (b *broker) serve(p *partition, from int, m msg) {
	a := p.r.Fetch(m.req)
	out := msg{kind: fetchAnswer, n: p.n, id: m.id, ans: a}
	if a.Code == replica.OK && a.DivergingEpoch < 0 {
		out.recs = p.log.read(m.req.Offset, 20)
	}
	b.c.net.Send(b.node(), from, out)
}

func (b *broker) answered(p *partition, m msg) {
	if m.id == p.fetch {
		p.fetch = 0
	} else {
		b.c.e.Mark("fetch.answer.stale")
	}
	act := p.r.HandleFetch(m.ans, len(m.recs) > 0)
	switch act.Kind {
	case replica.Append:
		b.write(p, func() {
			b.c.check.copied(b, p, m.recs)
			p.log.append(m.recs...)
			p.r.EndAppend(p.log.end())
		})
	case replica.Truncate:
		b.c.e.Mark("truncate")
		b.c.e.Tracef("broker %d partition %d truncates from %d to %d", b.id, p.n, p.log.end(), act.Offset)
		b.write(p, func() {
			b.c.check.truncated(b, p, act.Offset)
			p.log.truncate(act.Offset)
			p.r.EndTruncate(act.Offset)
		})
	case replica.Reset:
		b.c.e.Mark("reset")
		b.write(p, func() {
			b.c.check.truncated(b, p, 0)
			p.log.reset(act.Offset)
			p.r.EndReset(act.Offset)
		})
	default:
		if hw, _ := p.r.HighWatermark(); m.ans.Code == replica.OK && m.ans.LogStart > p.log.start && m.ans.LogStart <= hw {
			b.trim(p, m.ans.LogStart)
		}
		return
	}
	b.kick(p)
}

func (b *broker) trim(p *partition, start int64) {
	b.c.e.Mark("trim")
	p.log.trim(start)
	p.r.SetLogStart(start)
}

func (b *broker) produce(p *partition, from int, m msg) {
	out := msg{kind: produceAnswer, n: m.n, id: m.id, value: m.value, all: m.all}
	reply := func(code replica.Code) {
		out.code = code
		b.c.net.Send(b.node(), from, out)
	}
	epoch, code := p.r.BeginAppend(-1, m.all)
	switch code {
	case replica.Busy:
		b.after(2*time.Millisecond, func() { b.produce(p, from, m); b.drain() })
	case replica.OK:
		b.write(p, func() {
			out.at = p.log.end()
			b.c.check.led(b, p, rec{epoch, m.value})
			p.log.append(rec{epoch, m.value})
			p.r.EndAppend(p.log.end())
			token := b.c.token()
			p.waiting[token] = reply
			if m.all {
				p.r.WaitAll(epoch, out.at+1, token)
			} else {
				p.r.WaitSynced(epoch, out.at+1, token)
			}
		})
	default:
		reply(code)
	}
}

func (b *broker) consume(p *partition, from int, m msg) {
	out := msg{kind: consumeAnswer, n: m.n, id: m.id, at: m.at, code: p.r.CheckReader(m.epoch)}
	if out.code == replica.OK {
		out.hw, out.known = p.r.HighWatermark()
		out.epoch, out.start = p.r.Role().Epoch, p.log.start
		if m.at < p.log.start || m.at > p.log.end() {
			out.code = replica.OffsetOutOfRange
		} else if m.at < out.hw {
			out.recs = p.log.read(m.at, int(min(out.hw-m.at, 50)))
		}
	}
	b.c.net.Send(b.node(), from, out)
}

// client produces to a partition and reads it.
type client struct {
	c      *cluster
	n      int32
	id     uint64 // of the newest read
	offset int64
	epoch  int32
	hw     int64
	sent   int
	done   int
	stop   bool
}

func (k *client) run() {
	if k.stop {
		return
	}
	k.read()
	k.produce(sim.Chance(k.c.r, 0.75))
	k.c.e.After(sim.Exp(k.c.r, k.c.pace), k.run)
}

// leader is where the client believes the leader to be.
func (k *client) leader() int {
	if s, ok := k.c.state(k.n); ok && s.Leader > 0 && !sim.Chance(k.c.r, 0.1) {
		k.epoch = max(k.epoch, s.LeaderEpoch)
		return int(s.Leader) - 1
	}
	return k.c.r.IntN(len(k.c.brokers))
}

func (k *client) produce(all bool) {
	k.sent++
	id := k.c.token()
	k.c.net.Send(k.c.clientNode(), k.leader(), msg{kind: produceAsk, n: k.n, id: id, value: int64(id), all: all})
}

func (k *client) read() {
	k.id = k.c.token()
	leader := k.leader()
	k.c.net.Send(k.c.clientNode(), leader, msg{kind: consumeAsk, n: k.n, id: k.id, at: k.offset, epoch: k.epoch})
}

func (k *client) deliver(m msg) {
	switch m.kind {
	case produceAnswer:
		k.c.e.Mark(fmt.Sprintf("produce.%d", m.code))
		if m.code == replica.OK {
			k.done++
			if m.all {
				k.c.check.acked(k, m.at, m.value)
			}
		}
	case consumeAnswer:
		if m.id == k.id {
			k.consumed(m)
		}
	}
}

func (k *client) consumed(m msg) {
	switch m.code {
	case replica.OK:
	case replica.OffsetOutOfRange:
		if m.at < m.start {
			k.offset = m.start
			k.c.e.Mark("consume.behind.start")
		} else {
			k.c.check.failf("partition %d: a reader at %d is beyond the log of the leader of epoch %d", k.n, m.at, m.epoch)
		}
		return
	default:
		return
	}
	k.epoch = max(k.epoch, m.epoch)
	if m.known {
		if m.hw < k.hw {
			k.c.check.failf("P13: partition %d: high watermark %d after %d", k.n, m.hw, k.hw)
		}
		k.hw = m.hw
	}
	k.c.check.read(k.n, m.at, m.recs)
	k.offset = m.at + int64(len(m.recs))
	k.c.e.Count("consumed", uint64(len(m.recs)))
	if len(m.recs) > 0 && !k.stop {
		k.read()
	}
}

// pick returns a broker of those that pass, nil if none does.
func (c *cluster) pick(r *rand.Rand, pass func(*broker) bool) *broker {
	all := slices.DeleteFunc(slices.Clone(c.brokers), func(b *broker) bool { return !pass(b) })
	if len(all) == 0 {
		return nil
	}
	return all[r.IntN(len(all))]
}
