package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// answer replies to the requests whose end the picture shows.
func (c *Controller) answer() {
	if !c.reign.Active || c.none() {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.creations)) {
		c.answerCreation(name, c.creations[name])
	}
	for _, name := range slices.Sorted(maps.Keys(c.growths)) {
		g := c.growths[name]
		if t := c.topics[name]; t == nil || !t.exists || t.doomed {
			delete(c.growths, name)
			c.refuse(g.token, UnknownTopicOrPartition, "topic %q was deleted", name)
		} else if t.quiet() && len(t.value.Replicas) >= g.total && c.complete(t) {
			delete(c.growths, name)
			c.reply(Reply{Token: g.token})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.deletions)) {
		r := c.deletions[name]
		t := c.topics[name]
		if t != nil && (t.busy || t.reads > 0) {
			continue
		}
		if t == nil || t.doomed || !t.exists || t.value.ID != r.id {
			delete(c.deletions, name)
			c.reply(Reply{Token: r.token})
		} else if r.tries > refusalsMax {
			delete(c.deletions, name)
			c.refuse(r.token, RequestTimedOut, "the deletion of topic %q could not be written", name)
		}
	}
	c.answerElections()
	c.shutdowns = slices.DeleteFunc(c.shutdowns, c.answerShutdown)
}

// quiet reports whether nothing about the topic as a whole is under way.
func (t *topic) quiet() bool { return !t.busy && t.reads == 0 }

// complete reports whether every partition that can have a state has one.
func (c *Controller) complete(t *topic) bool {
	for n, replicas := range t.value.Replicas {
		if c.has(layout.StatePath(t.name, int32(n))) {
			continue
		}
		if _, ok := c.firstState(replicas); ok {
			return false
		}
	}
	return true
}

func (c *Controller) answerCreation(name string, r *creation) {
	t := c.topics[name]
	if t == nil || !t.quiet() || !c.has(layout.TopicPath(name)) {
		return
	}
	switch {
	case t.value.ID != r.topic.ID:
		delete(c.creations, name)
		c.refuse(r.token, TopicAlreadyExists, "topic %q already exists", name)
	case c.complete(t):
		delete(c.creations, name)
		c.reply(Reply{Token: r.token, Topic: r.topic})
	}
}

func (c *Controller) answerElections() {
	for _, tp := range slices.SortedFunc(maps.Keys(c.elections), compareTP) {
		e := c.elections[tp]
		t := c.topics[tp.Topic]
		if t != nil && (!t.quiet() || c.queued[tp] || t.parts[tp.Partition] != nil && t.parts[tp.Partition].busy) {
			continue
		}
		delete(c.elections, tp)
		if !e.reply {
			continue
		}
		code, text := c.judge(t, tp, e)
		c.reply(Reply{Token: e.token, Code: code, Text: text})
	}
}

// judge says how an election ended.
func (c *Controller) judge(t *topic, tp TopicPartition, e *election) (Code, string) {
	if t == nil || !t.exists || int(tp.Partition) >= len(t.value.Replicas) || t.parts[tp.Partition] == nil || !t.parts[tp.Partition].exists {
		return UnknownTopicOrPartition, fmt.Sprintf("partition %s-%d does not exist", tp.Topic, tp.Partition)
	}
	s := t.parts[tp.Partition].state
	good := c.leads(s)
	if e.how == Preferred {
		good = good && slices.Index(t.value.Replicas[tp.Partition], s.Leader) == 0
	}
	switch {
	case good && s.LeaderEpoch > e.epoch:
		return OK, ""
	case good:
		return ElectionNotNeeded, ""
	case e.how == Preferred:
		return PreferredLeaderUnavailable, fmt.Sprintf("the preferred leader of %s-%d is not there or not in the ISR", tp.Topic, tp.Partition)
	}
	return EligibleLeadersUnavailable, fmt.Sprintf("no replica of %s-%d is there", tp.Topic, tp.Partition)
}

func compareTP(a, b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// answerShutdown answers a shutdown once nothing is under way that could still take leadership from the broker.
func (c *Controller) answerShutdown(r shutdown) bool {
	if _, ok := c.leaving[r.broker]; !ok {
		c.refuse(r.token, StaleBrokerEpoch, "broker %d has gone or come back meanwhile", r.broker)
		return true
	}
	var remaining []TopicPartition
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		t := c.topics[name]
		for n := range t.value.Replicas {
			p := t.parts[int32(n)]
			if p == nil || !p.exists || p.state.Leader != r.broker && !slices.Contains(p.state.ISR, r.broker) {
				continue
			}
			if p.busy || !t.quiet() || c.queued[TopicPartition{name, int32(n)}] {
				return false
			}
			if p.state.Leader == r.broker {
				remaining = append(remaining, TopicPartition{name, int32(n)})
			}
		}
	}
	c.reply(Reply{Token: r.token, Remaining: remaining})
	return true
}
