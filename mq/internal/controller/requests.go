package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// PartitionsMax is the most partitions that a topic can have: its assignment is one znode.
const PartitionsMax = 20000

// requests are what clients asked for and has not been answered.
type requests struct {
	creations map[string]*creation
	growths   map[string]*growth
	deletions map[string]*deletion
	elections map[TopicPartition]*election
	shutdowns []shutdown
	leaving   map[int32]int64 // brokers about to stop: incarnation
}

type creation struct {
	token uint64
	spec  TopicSpec
	topic Created
	tries int
}

type growth struct {
	token      uint64
	total      int
	assignment [][]int32
	tries      int
}

type deletion struct {
	token uint64
	id    layout.ID
	tries int
}

type election struct {
	token uint64
	how   Election
	epoch int32 // leader epoch before
	reply bool
}

type shutdown struct {
	token  uint64
	broker int32
}

func newRequests() requests {
	return requests{
		creations: make(map[string]*creation), growths: make(map[string]*growth), deletions: make(map[string]*deletion),
		elections: make(map[TopicPartition]*election), leaving: make(map[int32]int64),
	}
}

// none reports whether nothing is to be answered.
func (r *requests) none() bool {
	return len(r.creations)+len(r.growths)+len(r.deletions)+len(r.elections)+len(r.shutdowns) == 0
}

func (c *Controller) reply(r Reply) { c.out.Replies = append(c.out.Replies, r) }

func (c *Controller) refuse(token uint64, code Code, format string, args ...any) {
	c.reply(Reply{Token: token, Code: code, Text: fmt.Sprintf(format, args...)})
}

// failRequests answers everything: this controller's reign has ended.
func (c *Controller) failRequests() {
	var tokens []uint64
	for _, r := range c.creations {
		tokens = append(tokens, r.token)
	}
	for _, r := range c.growths {
		tokens = append(tokens, r.token)
	}
	for _, r := range c.deletions {
		tokens = append(tokens, r.token)
	}
	for _, r := range c.elections {
		if r.reply {
			tokens = append(tokens, r.token)
		}
	}
	for _, r := range c.shutdowns {
		tokens = append(tokens, r.token)
	}
	slices.Sort(tokens)
	for _, token := range tokens {
		c.notController(token)
	}
	c.requests = newRequests()
}

func (c *Controller) notController(token uint64) {
	c.refuse(token, NotController, "broker %d is not the controller", c.cfg.Broker)
}

// CreateTopic creates a topic. The reply comes when its znodes and the states of its partitions are written.
func (c *Controller) CreateTopic(token uint64, spec TopicSpec) {
	if !c.reign.Active {
		c.notController(token)
		return
	}
	replicas, code, text := c.checkTopic(spec)
	if code != OK {
		c.refuse(token, code, "%s", text)
		return
	}
	topic := Created{ID: layout.NewID(c.cfg.Rand), Replicas: replicas}
	if spec.ValidateOnly {
		topic.ID = layout.ID{}
		c.reply(Reply{Token: token, Topic: topic})
		return
	}
	c.creations[spec.Name] = &creation{token: token, spec: spec, topic: topic}
}

func (c *Controller) checkTopic(spec TopicSpec) ([][]int32, Code, string) {
	if text := checkName(spec.Name); text != "" {
		return nil, InvalidTopic, text
	}
	if t := c.topics[spec.Name]; c.creations[spec.Name] != nil || t != nil && (t.exists || t.doomed || c.has(layout.TopicPath(t.name))) {
		return nil, TopicAlreadyExists, fmt.Sprintf("topic %q already exists", spec.Name)
	}
	if other := c.collides(spec.Name); other != "" {
		return nil, InvalidTopic, fmt.Sprintf("topic %q collides with %q: in metrics both look the same", spec.Name, other)
	}
	if spec.Assignment != nil {
		if len(spec.Assignment) == 0 || len(spec.Assignment) > PartitionsMax {
			return nil, InvalidPartitions, fmt.Sprintf("topic %q with %d partitions", spec.Name, len(spec.Assignment))
		}
		code, text := checkAssignment(spec.Assignment, len(spec.Assignment[0]), c.isLive)
		return spec.Assignment, code, text
	}
	if spec.Partitions < 1 || spec.Partitions > PartitionsMax {
		return nil, InvalidPartitions, fmt.Sprintf("topic %q with %d partitions; 1 to %d are possible", spec.Name, spec.Partitions, PartitionsMax)
	}
	brokers := c.live()
	if spec.Replicas < 1 || spec.Replicas > len(brokers) {
		return nil, InvalidReplicationFactor, fmt.Sprintf("topic %q with replication factor %d; %d brokers are there", spec.Name, spec.Replicas, len(brokers))
	}
	return assign(assignSpec{brokers: brokers, partitions: spec.Partitions, replicas: spec.Replicas, start: -1}, c.cfg.Rand), OK, ""
}

// collides returns a topic whose name differs in '.' and '_' only.
func (c *Controller) collides(name string) string {
	if !strings.ContainsAny(name, "._") {
		return ""
	}
	flat := strings.ReplaceAll(name, ".", "_")
	found := ""
	for other, t := range c.topics {
		if t.exists && len(other) == len(name) && other != name && strings.ReplaceAll(other, ".", "_") == flat && (found == "" || other < found) {
			found = other
		}
	}
	return found
}

func (c *Controller) isLive(broker int32) bool { _, ok := c.brokers[broker]; return ok }

// live returns the live brokers that are not about to stop, ascending.
func (c *Controller) live() []int32 {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(c.brokers)), c.isLeaving)
}

// planCreations writes topics to create and deletions asked for, as far as nothing stands in the way.
func (c *Controller) planCreations() {
	for _, name := range slices.Sorted(maps.Keys(c.creations)) {
		if t := c.topic(name); !t.busy && t.reads == 0 && !c.has(layout.TopicPath(name)) {
			c.writeCreation(t, c.creations[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.deletions)) {
		r := c.deletions[name]
		t := c.topics[name]
		if t == nil || t.busy || t.reads > 0 || !t.exists || t.doomed {
			continue
		}
		r.tries++
		t.busy = true
		c.emit("mark topic "+name+" for deletion", pending{topic: name},
			layout.Check(layout.TopicPath(name), t.version), layout.Create(layout.DeleteTopicPath(name), nil))
	}
}

func (c *Controller) writeCreation(t *topic, r *creation) {
	if r.tries++; r.tries > refusalsMax {
		delete(c.creations, t.name)
		c.refuse(r.token, RequestTimedOut, "topic %q could not be written", t.name)
		return
	}
	config := layout.EncodeConfig(r.spec.Config)
	ops := []layout.Op{layout.Create(layout.TopicConfigPath(t.name), config)}
	if m, ok := c.seen[layout.TopicConfigPath(t.name)]; ok {
		ops[0] = layout.Set(layout.TopicConfigPath(t.name), config, m.version)
	}
	ops = append(ops,
		layout.Create(layout.TopicPath(t.name), layout.EncodeTopic(layout.Topic{ID: r.topic.ID, Replicas: r.topic.Replicas})),
		layout.Create(layout.TopicMarkPath(t.name, r.topic.ID), nil),
		layout.Create(layout.PartitionsPath(t.name), nil))
	for p, replicas := range r.topic.Replicas[:min(len(r.topic.Replicas), c.cfg.ChunkMax)] {
		if first, ok := c.firstState(replicas); ok {
			ops = c.createState(ops, t.name, int32(p), first, false)
		}
	}
	t.busy = true
	c.emit("create topic "+t.name, pending{topic: t.name}, ops...)
}

// CreatePartitions adds partitions until there are total; assignment, if not nil, is that of the new ones. The reply comes when
// their states are written.
func (c *Controller) CreatePartitions(token uint64, topic string, total int, assignment [][]int32, validateOnly bool) {
	t := c.topics[topic]
	switch {
	case !c.reign.Active:
		c.notController(token)
	case t == nil || !t.exists || t.doomed:
		c.refuse(token, UnknownTopicOrPartition, "topic %q does not exist", topic)
	case c.growths[topic] != nil || c.creations[topic] != nil:
		c.refuse(token, InvalidRequest, "partitions of topic %q are being created", topic)
	default:
		if _, code, text := c.grown(t, total, assignment); code != OK || validateOnly {
			c.reply(Reply{Token: token, Code: code, Text: text})
			return
		}
		c.growths[topic] = &growth{token: token, total: total, assignment: assignment}
		c.enqueue(topic, whole)
	}
}

// grown returns the replicas of a topic with total partitions.
func (c *Controller) grown(t *topic, total int, assignment [][]int32) ([][]int32, Code, string) {
	have := t.value.Replicas
	if total <= len(have) || total > PartitionsMax || len(have) == 0 {
		return nil, InvalidPartitions, fmt.Sprintf("topic %q has %d partitions; %d cannot be made of them", t.name, len(have), total)
	}
	rf := len(have[0])
	if assignment != nil {
		if len(assignment) != total-len(have) {
			return nil, InvalidReplicaAssignment, fmt.Sprintf("topic %q: %d assignments for %d new partitions", t.name, len(assignment), total-len(have))
		}
		code, text := checkAssignment(assignment, rf, c.isLive)
		return slices.Concat(have, assignment), code, text
	}
	brokers := c.live()
	if rf < 1 || rf > len(brokers) {
		return nil, InvalidReplicationFactor, fmt.Sprintf("topic %q has replication factor %d; %d brokers are there", t.name, rf, len(brokers))
	}
	start := max(0, slices.IndexFunc(brokers, func(b int32) bool { return b >= have[0][0] }))
	more := assign(assignSpec{brokers: brokers, partitions: total - len(have), replicas: rf, start: start, first: len(have)}, c.cfg.Rand)
	return slices.Concat(have, more), OK, ""
}

// planGrowth writes a longer assignment; false: the topic has it.
func (c *Controller) planGrowth(t *topic) bool {
	g := c.growths[t.name]
	if len(t.value.Replicas) >= g.total {
		return false
	}
	replicas, code, text := c.grown(t, g.total, g.assignment)
	if g.tries++; code == OK && g.tries > refusalsMax {
		code, text = RequestTimedOut, fmt.Sprintf("partitions of topic %q could not be written", t.name)
	}
	if code != OK {
		delete(c.growths, t.name)
		c.refuse(g.token, code, "%s", text)
		return false
	}
	v := t.value
	v.Replicas = replicas
	t.busy = true
	c.emit("partitions of topic "+t.name, pending{topic: t.name}, layout.Set(layout.TopicPath(t.name), layout.EncodeTopic(v), t.version))
	return true
}

// DeleteTopic deletes a topic. The reply comes when the deletion is certain; local data goes later (R12).
func (c *Controller) DeleteTopic(token uint64, topic string) {
	t := c.topics[topic]
	switch {
	case !c.reign.Active:
		c.notController(token)
	case t == nil || !t.exists:
		c.refuse(token, UnknownTopicOrPartition, "topic %q does not exist", topic)
	case t.doomed || c.deletions[topic] != nil:
		c.reply(Reply{Token: token})
	default:
		c.deletions[topic] = &deletion{token: token, id: t.value.ID}
	}
}

// ElectLeader elects a partition's leader on request.
func (c *Controller) ElectLeader(token uint64, topic string, partition int32, how Election) {
	t := c.topics[topic]
	tp := TopicPartition{topic, partition}
	switch {
	case !c.reign.Active:
		c.notController(token)
	case t == nil || !t.exists || partition < 0 || int(partition) >= len(t.value.Replicas) || t.parts[partition] == nil:
		c.refuse(token, UnknownTopicOrPartition, "partition %s-%d does not exist", topic, partition)
	case c.elections[tp] != nil && c.elections[tp].reply:
		c.refuse(token, InvalidRequest, "an election for %s-%d is under way", topic, partition)
	default:
		c.elections[tp] = &election{token: token, how: how, epoch: t.parts[partition].state.LeaderEpoch, reply: true}
		c.enqueue(topic, partition)
	}
}

// ShutDown moves leadership and ISR membership away from a broker that is about to stop, whose life is incarnation. The
// reply says what it still leads; asked again, it tries again. A new registration of the broker ends it.
func (c *Controller) ShutDown(token uint64, broker int32, incarnation int64) {
	switch was, ok := c.brokers[broker]; {
	case !c.reign.Active:
		c.notController(token)
	case !ok:
		c.refuse(token, BrokerNotAvailable, "broker %d is not registered", broker)
	case was != incarnation:
		c.refuse(token, StaleBrokerEpoch, "broker %d lives its life %d, not %d", broker, was, incarnation)
	default:
		c.leaving[broker] = incarnation
		c.shutdowns = append(c.shutdowns, shutdown{token, broker})
		c.enqueueBroker(broker)
	}
}

// Rebalance elects the preferred leader of every partition that has another one and could have it, as Kafka's
// auto.leader.rebalance does, on brokers that miss more than percent of the partitions that prefer them.
func (c *Controller) Rebalance(percent int) {
	if !c.reign.Active {
		return
	}
	prefer := make(map[int32]int)
	missed := make(map[int32][]TopicPartition)
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		t := c.topics[name]
		for n, replicas := range t.value.Replicas {
			p := t.parts[int32(n)]
			if !t.exists || p == nil || !p.exists || len(replicas) == 0 {
				continue
			}
			b := replicas[0]
			prefer[b]++
			if p.state.Leader != b && c.stays(b) && slices.Contains(p.state.ISR, b) {
				missed[b] = append(missed[b], TopicPartition{name, int32(n)})
			}
		}
	}
	for _, b := range slices.Sorted(maps.Keys(missed)) {
		if len(missed[b])*100 <= percent*prefer[b] {
			continue
		}
		for _, tp := range missed[b] {
			if c.elections[tp] == nil {
				c.elections[tp] = &election{how: Preferred, epoch: c.topics[tp.Topic].parts[tp.Partition].state.LeaderEpoch}
				c.enqueue(tp.Topic, tp.Partition)
			}
		}
	}
}
