package controller

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// plan looks at a partition, or at a topic as a whole, and writes what differs from what should be.
func (c *Controller) plan(t *topic, partition int32) {
	if t.busy || t.reads > 0 || t.refusals >= refusalsMax {
		return
	}
	switch {
	case t.doomed || t.exists && c.has(layout.TombstonePath(t.value.ID)):
		c.planDeletion(t) // once there is a tombstone there is no way back: data may be gone
	case !t.exists:
		c.forgetTopic(t)
	case partition != whole:
		c.planPartition(t, partition)
	default:
		c.planTopic(t)
	}
}

// forgetTopic drops a topic of which nothing is left in the picture.
func (c *Controller) forgetTopic(t *topic) {
	for _, p := range t.parts {
		if p.exists {
			return
		}
	}
	if t.writes == 0 && !c.has(layout.TopicPath(t.name)) && c.creations[t.name] == nil {
		delete(c.topics, t.name)
	}
}

// planTopic gives a topic its id and its mark, and partitions their first states.
func (c *Controller) planTopic(t *topic) {
	if c.growths[t.name] != nil && c.planGrowth(t) {
		return
	}
	if t.value.ID.IsZero() || !c.has(layout.TopicMarkPath(t.name, t.value.ID)) {
		var ops []layout.Op
		v := t.value
		if v.ID.IsZero() {
			v.ID = layout.NewID(c.cfg.Rand)
			ops = append(ops, layout.Set(layout.TopicPath(t.name), layout.EncodeTopic(v), t.version))
		} else {
			ops = append(ops, layout.Check(layout.TopicPath(t.name), t.version))
		}
		t.busy = true
		c.emit("name topic "+t.name, pending{topic: t.name}, append(ops, layout.Create(layout.TopicMarkPath(t.name, v.ID), nil))...)
		return
	}
	var ops []layout.Op
	n := 0
	for p, replicas := range t.value.Replicas {
		if c.has(layout.StatePath(t.name, int32(p))) || n == c.cfg.ChunkMax {
			continue
		}
		if first, ok := c.firstState(replicas); ok {
			ops = c.createState(ops, t.name, int32(p), first, n == 0)
			n++
		}
	}
	if n > 0 {
		t.busy = true
		ops = slices.Insert(ops, 0, layout.Check(layout.TopicMarkPath(t.name, t.value.ID), layout.AnyVersion))
		c.emit(fmt.Sprintf("%d partitions of topic %s", n, t.name), pending{topic: t.name}, ops...)
	}
}

// firstState is the state of a partition that never had one: leader and ISR are the live replicas.
func (c *Controller) firstState(replicas []int32) (layout.PartitionState, bool) {
	s := layout.PartitionState{ControllerEpoch: c.reign.Epoch}
	for _, b := range replicas {
		if _, ok := c.brokers[b]; ok {
			s.ISR = append(s.ISR, b)
		}
	}
	if len(s.ISR) == 0 {
		return s, false
	}
	s.Leader, s.LeaderIncarnation = s.ISR[0], c.brokers[s.ISR[0]]
	return s, true
}

// createState adds the operations that create a partition's znodes, and before the first one their parent's.
func (c *Controller) createState(ops []layout.Op, topic string, p int32, s layout.PartitionState, parent bool) []layout.Op {
	if parent && !c.has(layout.PartitionsPath(topic)) {
		ops = append(ops, layout.Create(layout.PartitionsPath(topic), nil))
	}
	if !c.has(layout.PartitionPath(topic, p)) {
		ops = append(ops, layout.Create(layout.PartitionPath(topic, p), nil))
	}
	return append(ops, layout.Create(layout.StatePath(topic, p), layout.EncodeState(s)))
}

// planPartition writes a partition's state if it should be another.
func (c *Controller) planPartition(t *topic, n int32) {
	p := t.parts[n]
	if p == nil || !p.exists || p.busy || int(n) >= len(t.value.Replicas) || !c.has(layout.TopicMarkPath(t.name, t.value.ID)) {
		return
	}
	next, reason := c.desire(t, n)
	if reason == "" {
		return
	}
	next.ControllerEpoch = c.reign.Epoch
	p.busy = true
	t.writes++
	c.emit(fmt.Sprintf("%s-%d: %s", t.name, n, reason), pending{topic: t.name, parts: []int32{n}},
		layout.Check(layout.TopicMarkPath(t.name, t.value.ID), layout.AnyVersion),
		layout.Set(layout.StatePath(t.name, n), layout.EncodeState(next), p.version))
}

// desire returns what a partition's state should be, and why; no reason: what it is.
func (c *Controller) desire(t *topic, n int32) (layout.PartitionState, string) {
	s, replicas := t.parts[n].state, t.value.Replicas[n]
	led := c.leads(s)
	if how, ok := c.elections[TopicPartition{t.name, n}]; ok {
		if next, reason := c.electOnRequest(s, replicas, led, how.how); reason != "" {
			return next, reason
		}
	}
	if led && !c.isLeaving(s.Leader) {
		return c.withoutDead(s)
	}
	if leader, ok := c.eligible(s, replicas); ok {
		return c.elect(s, leader), fmt.Sprintf("broker %d leads", leader)
	}
	switch {
	case led:
		return s, "" // it is about to stop, and nobody can take over
	case t.unclean || !t.says && c.cfg.UncleanElection:
		if leader, ok := c.anyLive(s, replicas); ok {
			return uncleanly(c.elect(s, leader)), fmt.Sprintf("broker %d leads by unclean election", leader)
		}
	}
	if s.Leader == layout.NoLeader {
		return s, ""
	}
	next := s.Clone()
	next.Leader, next.LeaderIncarnation = layout.NoLeader, layout.NoIncarnation
	next.LeaderEpoch++
	return next, "offline"
}

// leads reports whether a state's leader lives the life that it was elected in and may lead.
func (c *Controller) leads(s layout.PartitionState) bool {
	incarnation, ok := c.brokers[s.Leader]
	return ok && incarnation == s.LeaderIncarnation && slices.Contains(s.ISR, s.Leader) && !slices.Contains(s.Suspect, s.Leader)
}

func (c *Controller) isLeaving(broker int32) bool { _, ok := c.leaving[broker]; return ok }

// stays reports whether a member of an ISR remains one.
func (c *Controller) stays(broker int32) bool {
	_, live := c.brokers[broker]
	return live && !c.isLeaving(broker)
}

// withoutDead takes members that do not live out of the ISR of a partition that has a leader (R11).
func (c *Controller) withoutDead(s layout.PartitionState) (layout.PartitionState, string) {
	if !slices.ContainsFunc(s.ISR, func(b int32) bool { return !c.stays(b) }) {
		return s, ""
	}
	next := s.Clone()
	next.ISR = slices.DeleteFunc(next.ISR, func(b int32) bool { return !c.stays(b) })
	next.Suspect = slices.DeleteFunc(next.Suspect, func(b int32) bool { return !c.stays(b) })
	return next, "dead members leave the ISR"
}

// eligible returns the first assigned replica that may be elected without losing anything.
func (c *Controller) eligible(s layout.PartitionState, replicas []int32) (int32, bool) {
	for _, b := range replicas {
		if c.stays(b) && slices.Contains(s.ISR, b) && !slices.Contains(s.Suspect, b) {
			return b, true
		}
	}
	return 0, false
}

// anyLive returns a live replica, a suspect one only if there is no other.
func (c *Controller) anyLive(s layout.PartitionState, replicas []int32) (int32, bool) {
	for _, suspect := range [...]bool{false, true} {
		for _, b := range replicas {
			if c.stays(b) && slices.Contains(s.Suspect, b) == suspect {
				return b, true
			}
		}
	}
	return 0, false
}

// elect makes a live broker the leader of a new epoch, with the live and trusted part of the ISR.
func (c *Controller) elect(s layout.PartitionState, leader int32) layout.PartitionState {
	next := s.Clone()
	next.Leader, next.LeaderIncarnation = leader, c.brokers[leader]
	next.LeaderEpoch++
	next.ISR = slices.DeleteFunc(next.ISR, func(b int32) bool {
		return b != leader && (!c.stays(b) || slices.Contains(s.Suspect, b))
	})
	next.Suspect = nil
	return next
}

// uncleanly leaves nobody but the leader in the ISR: what the others hold may differ below the high watermark.
func uncleanly(s layout.PartitionState) layout.PartitionState {
	s.ISR = []int32{s.Leader}
	return s
}

// electOnRequest serves ElectLeaders.
func (c *Controller) electOnRequest(s layout.PartitionState, replicas []int32, led bool, how Election) (layout.PartitionState, string) {
	switch {
	case len(replicas) == 0:
	case how == Preferred:
		if b := replicas[0]; s.Leader != b && c.stays(b) && slices.Contains(s.ISR, b) && !slices.Contains(s.Suspect, b) {
			return c.elect(s, b), fmt.Sprintf("preferred broker %d leads", b)
		}
	default:
		if _, clean := c.eligible(s, replicas); led || clean {
			return s, ""
		}
		if b, ok := c.anyLive(s, replicas); ok {
			return uncleanly(c.elect(s, b)), fmt.Sprintf("broker %d leads by unclean election, on request", b)
		}
	}
	return s, ""
}

// planDeletion replaces a topic by its tombstone, in as many multis as its size takes; the last one takes the topic itself.
func (c *Controller) planDeletion(t *topic) {
	if t.writes > 0 {
		return
	}
	if !c.has(layout.TopicPath(t.name)) {
		t.busy = true
		c.emit("no topic "+t.name+" to delete", pending{topic: t.name}, layout.Delete(layout.DeleteTopicPath(t.name), layout.AnyVersion))
		return
	}
	if !t.exists {
		return // its assignment cannot be read, so nobody could say who holds data of it
	}
	if t.value.ID.IsZero() {
		c.planTopic(t)
		return
	}
	id := t.value.ID
	var ops []layout.Op
	if !c.has(layout.TombstonePath(id)) {
		ops = append(ops, layout.Create(layout.TombstonePath(id), layout.EncodeTombstone(layout.Tombstone{Topic: t.name, ID: id, Replicas: t.value.Replicas})))
	}
	left := 0
	for _, p := range sortedParts(t) {
		if paths := c.present(layout.StatePath(t.name, p), layout.PartitionPath(t.name, p)); len(paths) > 0 {
			if left++; left <= c.cfg.ChunkMax {
				ops = append(ops, deletes(paths)...)
			}
		}
	}
	ops = slices.Insert(ops, 0, layout.Check(layout.TopicPath(t.name), t.version))
	if left <= c.cfg.ChunkMax {
		ops = append(ops[1:], deletes(c.present(layout.PartitionsPath(t.name), layout.TopicMarkPath(t.name, id)))...)
		ops = append(ops, layout.Delete(layout.TopicPath(t.name), t.version))
		ops = append(ops, deletes(c.present(layout.TopicConfigPath(t.name), layout.DeleteTopicPath(t.name)))...)
	}
	t.busy = true
	c.emit("delete topic "+t.name, pending{topic: t.name}, ops...)
}

// sortedParts returns the numbers of every partition that has a znode or should have.
func sortedParts(t *topic) []int32 {
	all := make([]int32, 0, len(t.parts))
	for p := range t.value.Replicas {
		all = append(all, int32(p))
	}
	for p := range t.parts {
		if int(p) >= len(t.value.Replicas) {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

func (c *Controller) present(paths ...string) []string {
	return slices.DeleteFunc(paths, func(p string) bool { return !c.has(p) })
}

func deletes(paths []string) []layout.Op {
	ops := make([]layout.Op, 0, len(paths))
	for _, p := range paths {
		ops = append(ops, layout.Delete(p, layout.AnyVersion))
	}
	return ops
}

// planStone removes a tombstone that every assigned broker has confirmed.
func (c *Controller) planStone(id layout.ID) {
	s := c.stones[id]
	if s == nil || !s.exists || s.busy || s.reads > 0 {
		return
	}
	if t := c.topics[s.value.Topic]; t != nil && t.exists && t.value.ID == id {
		return // its deletion is not complete
	}
	for _, b := range s.value.Brokers() {
		if !s.confirmed[b] {
			return
		}
	}
	var ops []layout.Op
	for b := range s.confirmed {
		ops = append(ops, layout.Delete(layout.TombstoneConfirmPath(id, b), layout.AnyVersion))
	}
	slices.SortFunc(ops, func(a, b layout.Op) int { return strings.Compare(a.Path, b.Path) })
	s.busy = true
	c.emit("topic "+s.value.Topic+" is gone everywhere", pending{stone: id},
		append(ops, layout.Delete(layout.TombstonePath(id), layout.AnyVersion))...)
}
