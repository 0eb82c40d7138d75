package controller

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// whole stands for a topic as such, where a partition's number is expected.
const whole int32 = -1

// refusalsMax is how many writes of a topic in a row may be refused while nothing about it changes.
const refusalsMax = 8

// picture is the cluster as its znodes show it.
type picture struct {
	seen  map[string]seen // every znode of a kind that matters
	reads map[string]int  // paths being read again

	entry      layout.ControllerEntry
	hasEntry   bool
	entryOwner int64

	epoch        int32
	epochVersion int32
	hasEpoch     bool

	brokers    map[int32]int64 // live brokers: incarnation
	topics     map[string]*topic
	stones     map[layout.ID]*stone
	stoneQueue map[layout.ID]bool
}

// seen says which life of a znode the picture shows.
type seen struct {
	version int32
	mzxid   int64
	local   bool // as our own write left it; not seen since
}

// topic is a topic, or what is left of one.
type topic struct {
	name    string
	value   layout.Topic
	exists  bool  // /brokers/topics/T is there and could be read
	version int32 // of /brokers/topics/T
	doomed  bool  // under /admin/delete_topics
	unclean bool  // unclean.leader.election.enable
	says    bool  // the topic's configuration has a word on that
	parts   map[int32]*part

	busy     bool // a write of the topic as a whole is under way
	writes   int  // writes of partitions under way
	reads    int  // reads under way
	refusals int  // in a row
}

// part is the state of a partition.
type part struct {
	state   layout.PartitionState
	version int32
	exists  bool // the state znode is there and could be read
	busy    bool // a write is under way
}

// stone is a tombstone.
type stone struct {
	value     layout.Tombstone
	exists    bool
	confirmed map[int32]bool
	busy      bool
	reads     int
}

func newPicture() picture {
	return picture{
		seen: make(map[string]seen), reads: make(map[string]int), brokers: make(map[int32]int64),
		topics: make(map[string]*topic), stones: make(map[layout.ID]*stone), stoneQueue: make(map[layout.ID]bool),
	}
}

func (p *picture) topic(name string) *topic {
	t := p.topics[name]
	if t == nil {
		t = &topic{name: name, parts: make(map[int32]*part)}
		p.topics[name] = t
	}
	return t
}

func (p *picture) stone(id layout.ID) *stone {
	s := p.stones[id]
	if s == nil {
		s = &stone{confirmed: make(map[int32]bool)}
		p.stones[id] = s
	}
	return s
}

func (p *picture) forgetStone(id layout.ID) {
	if s := p.stones[id]; s != nil && !s.exists && len(s.confirmed) == 0 && s.reads == 0 && !s.busy {
		delete(p.stones, id)
		delete(p.stoneQueue, id)
	}
}

func (p *picture) has(path string) bool { _, ok := p.seen[path]; return ok }

func compareID(a, b layout.ID) int { return bytes.Compare(a[:], b[:]) }

// show makes the picture show a znode; local says that it is our own write.
func (c *Controller) show(n Node, local bool) {
	ref := layout.ParsePath(n.Path)
	if ref.Kind == layout.KindOther {
		return
	}
	m, ok := c.seen[n.Path]
	if ok && !local && (n.Mzxid < m.mzxid || n.Mzxid == m.mzxid && n.Version < m.version) {
		return
	}
	same := ok && m == seen{version: n.Version, mzxid: n.Mzxid}
	c.seen[n.Path] = seen{version: n.Version, mzxid: n.Mzxid, local: local}
	if same {
		return
	}
	if ref.Topic != "" {
		if t := c.topics[ref.Topic]; t != nil && !m.local && !local {
			t.refusals = 0
		}
	}
	if err := c.decode(ref, n); err != nil {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s: %v", n.Path, err))
	}
}

func (c *Controller) decode(ref layout.Ref, n Node) (err error) {
	switch ref.Kind {
	case layout.KindController:
		c.entry, err = layout.DecodeController(n.Data)
		c.hasEntry, c.entryOwner = true, n.Owner
		c.consider()
	case layout.KindControllerEpoch:
		c.epoch, err = layout.DecodeControllerEpoch(n.Data)
		c.epochVersion, c.hasEpoch = n.Version, true
	case layout.KindBroker:
		var b layout.Broker
		if b, err = layout.DecodeBroker(n.Data); err == nil {
			c.brokerLives(ref.Broker, b.Incarnation)
		}
	case layout.KindTombstone:
		s := c.stone(ref.ID)
		s.value, err = layout.DecodeTombstone(n.Data)
		s.exists = err == nil
		c.stoneQueue[ref.ID] = true
	case layout.KindTombstoneConfirm:
		c.stone(ref.ID).confirmed[ref.Broker] = true
		c.stoneQueue[ref.ID] = true
	default:
		if ref.Topic != "" {
			return c.decodeTopic(ref, n)
		}
	}
	return err
}

func (c *Controller) decodeTopic(ref layout.Ref, n Node) (err error) {
	t := c.topic(ref.Topic)
	switch ref.Kind {
	case layout.KindTopic:
		t.value, err = layout.DecodeTopic(n.Data)
		t.exists, t.version = err == nil, n.Version
		c.enqueueTopic(t)
		return err
	case layout.KindState:
		p := t.part(ref.Partition)
		var s layout.PartitionState
		s, err = layout.DecodeState(n.Data)
		p.exists = err == nil
		if err == nil {
			p.state, p.version = s, n.Version
		}
		c.enqueue(t.name, ref.Partition)
		return err
	case layout.KindDeleteTopic:
		t.doomed = true
	case layout.KindTopicConfig:
		var config map[string]string
		if config, err = layout.DecodeConfig(n.Data); err == nil {
			t.unclean = config["unclean.leader.election.enable"] == "true"
			_, t.says = config["unclean.leader.election.enable"]
			c.enqueueTopic(t)
		}
	}
	c.enqueue(t.name, whole)
	return err
}

func (t *topic) part(n int32) *part {
	p := t.parts[n]
	if p == nil {
		p = &part{}
		t.parts[n] = p
	}
	return p
}

// drop makes the picture show that a znode is gone.
func (c *Controller) drop(path string) {
	if _, ok := c.seen[path]; !ok {
		return
	}
	delete(c.seen, path)
	ref := layout.ParsePath(path)
	switch ref.Kind {
	case layout.KindController:
		c.hasEntry = false
		c.consider()
	case layout.KindControllerEpoch:
		c.hasEpoch, c.epoch, c.epochVersion = false, 0, 0
	case layout.KindBroker:
		if _, ok := c.brokers[ref.Broker]; ok {
			delete(c.brokers, ref.Broker)
			delete(c.leaving, ref.Broker)
			c.enqueueBroker(ref.Broker)
		}
	case layout.KindTombstone:
		c.stone(ref.ID).exists = false
		c.forgetStone(ref.ID)
	case layout.KindTombstoneConfirm:
		delete(c.stone(ref.ID).confirmed, ref.Broker)
		c.forgetStone(ref.ID)
	default:
		if ref.Topic != "" {
			c.dropTopic(ref)
		}
	}
}

func (c *Controller) dropTopic(ref layout.Ref) {
	t := c.topic(ref.Topic)
	t.refusals = 0
	switch ref.Kind {
	case layout.KindTopic:
		t.exists = false
		if c.stones[t.value.ID] != nil {
			c.stoneQueue[t.value.ID] = true
		}
	case layout.KindState:
		if p := t.parts[ref.Partition]; p != nil {
			p.exists = false
		}
	case layout.KindDeleteTopic:
		t.doomed = false
	case layout.KindTopicConfig:
		t.unclean, t.says = false, false
	}
	c.enqueue(t.name, whole)
}

// brokerLives notes a registration. A new life of a broker is a death and a return.
func (c *Controller) brokerLives(broker int32, incarnation int64) {
	if was, ok := c.brokers[broker]; ok && was == incarnation {
		return
	}
	c.brokers[broker] = incarnation
	if c.leaving[broker] != incarnation {
		delete(c.leaving, broker)
	}
	c.enqueueBroker(broker)
}

func (c *Controller) enqueue(topic string, partition int32) {
	tp := TopicPartition{topic, partition}
	if c.reign.Active && !c.queued[tp] {
		c.queued[tp] = true
		c.queue = append(c.queue, tp)
	}
}

func (c *Controller) enqueueTopic(t *topic) {
	c.enqueue(t.name, whole)
	for p := range t.value.Replicas {
		c.enqueue(t.name, int32(p))
	}
}

func (c *Controller) enqueueAll() {
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		c.enqueueTopic(c.topics[name])
	}
	for id := range c.stones {
		c.stoneQueue[id] = true
	}
}

// enqueueBroker queues everything that a broker's life matters to: first what it leads, since that stands still.
func (c *Controller) enqueueBroker(broker int32) {
	if !c.reign.Active {
		return
	}
	names := slices.Sorted(maps.Keys(c.topics))
	for _, led := range [...]bool{true, false} {
		for _, name := range names {
			t := c.topics[name]
			for n, replicas := range t.value.Replicas {
				p := t.parts[int32(n)]
				switch {
				case led:
					if p != nil && p.state.Leader == broker {
						c.enqueue(name, int32(n))
					}
				case slices.Contains(replicas, broker) || p != nil && slices.Contains(p.state.ISR, broker):
					c.enqueue(name, int32(n))
				}
			}
		}
	}
	for _, name := range names {
		c.enqueue(name, whole)
	}
}
