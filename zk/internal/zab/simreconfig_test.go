package zab

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/internal/sim"
)

// simConfigMark begins the data of a configuration.
const simConfigMark = 0xc0

// simMembership is Config.Membership of the simulated servers.
func simMembership(z Zxid, data []byte) *Membership {
	if len(data) == 0 || data[0] != simConfigMark {
		return nil
	}
	m := &Membership{Version: z}
	for b := data[9:]; len(b) >= 4; b = b[4:] {
		m.Members = append(m.Members, Member{ID: ServerID(b[0]), Observer: b[1] != 0, Group: int64(b[2]), Weight: int64(b[3])})
	}
	return m
}

// simConfigData is what simMembership reads; serial makes it unlike any other.
func simConfigData(m *Membership, serial int) []byte {
	b := binary.BigEndian.AppendUint64([]byte{simConfigMark}, uint64(serial))
	for _, s := range m.Members {
		observer := byte(0)
		if s.Observer {
			observer = 1
		}
		b = append(b, byte(s.ID), observer, byte(s.Group), byte(s.Weight))
	}
	return b
}

// proveSoon does the duty of Peer.Unproven.
func (c *simCluster) proveSoon(nd *simNode) {
	if nd.proving || !nd.peer.Unproven() {
		return
	}
	nd.proving = true
	incarnation := nd.incarnation
	c.e.After(sim.Exp(c.rDisk, time.Millisecond), func() {
		if nd.incarnation != incarnation || nd.peer == nil {
			return
		}
		nd.proving = false
		if nd.peer.Unproven() {
			c.propose(nd, 1)
		}
	})
}

// reconfigure proposes a change of the configuration that is in force.
func (c *simCluster) reconfigure(nd *simNode) {
	m := c.drawMembership(c.rLoad, nd.peer.Memberships().Active)
	if m == nil || !c.canServe(m) || c.proposeMembership(nd, m) != nil {
		return
	}
	for _, s := range m.Members {
		if !s.Observer && c.cfg.Initial.Members[s.ID-1].Observer {
			c.e.Mark("reconfig.joins")
		}
		if s.Group != 0 {
			c.e.Mark("reconfig.groups")
		}
	}
	if s, ok := m.Member(nd.id); !ok || s.Observer {
		c.e.Mark("reconfig.leader-leaves")
	}
}

// canServe reports whether a quorum's disks remember. One that has just lost them, which its leader cannot know yet, is
// the end of an ensemble.
func (c *simCluster) canServe(m *Membership) bool {
	return newElectorate(m, func(id ServerID) int { return int(id) - 1 }).quorum(func(at int) bool { return c.nodes[at].disk.voter() })
}

func (c *simCluster) proposeMembership(nd *simNode, m *Membership) error {
	data := simConfigData(m, c.accepted)
	prev := nd.peer.Status().LastZxid
	z, err := nd.peer.ProposeMembership(data)
	switch {
	case errors.Is(err, ErrNoQuorum):
		c.e.Mark("reconfig.refused")
		return err
	case err != nil:
		return err
	}
	c.e.Mark("reconfig.proposed")
	c.e.Tracef("%d proposes %v: %+v", nd.id, z, m.Members)
	c.accepted++
	if _, ok := c.proposed[z]; ok {
		c.failf("node %d proposes %v a second time", nd.id, z)
	}
	if k := len(c.history); c.states[k].zxid < nd.peer.Memberships().Active.Version {
		c.failf("Reconfiguration: node %d proposes %v over a configuration that nobody has committed", nd.id, z)
	}
	c.proposed[z] = proposal{data: data, prev: prev}
	c.drain(nd)
	return nil
}

// drawMembership changes one server's part, or everybody's; nil if nothing comes of it.
func (c *simCluster) drawMembership(r *rand.Rand, from *Membership) *Membership {
	m := &Membership{Members: slices.Clone(from.Members)}
	change := []ServerID{ServerID(1 + r.IntN(len(c.nodes)))}
	if sim.Chance(r, 0.3) {
		change = nil
		for _, nd := range c.nodes {
			change = append(change, nd.id)
		}
	}
	for _, id := range change {
		m.Members = slices.DeleteFunc(m.Members, func(s Member) bool { return s.ID == id })
		if sim.Chance(r, 0.75) {
			m.Members = append(m.Members, Member{ID: id, Observer: sim.Chance(r, 0.3)})
		}
	}
	grouped := sim.Chance(r, 0.2)
	groups := 1 + r.IntN(3)
	for i := range m.Members {
		s := &m.Members[i]
		s.Group, s.Weight = 0, 0
		if grouped {
			s.Group, s.Weight = int64(1+r.IntN(groups)), int64(r.IntN(4))
		}
	}
	if m.Validate() != nil {
		return nil
	}
	return m
}

// inPlay returns the electorates that may be asked: of the newest committed configuration, and of those that a disk
// holds and whose commit it cannot prove.
func (c *simCluster) inPlay() []*electorate {
	es := []*electorate{c.electorate(c.states[len(c.history)])}
	for _, nd := range c.nodes {
		s, before := nd.disk.snap, nd.disk.snap
		for _, e := range nd.disk.log {
			if e.Data[0] == simConfigMark {
				before, s.config, s.version = s, string(e.Data), e.Zxid
			}
		}
		if s.version != before.version && s.version == nd.disk.last() {
			es = append(es, c.electorate(before))
		}
		if s.version == nd.disk.last() || s.version > c.states[len(c.history)].zxid {
			es = append(es, c.electorate(s))
		}
		if nd.peer == nil {
			continue
		}
		for _, e := range nd.peer.rules {
			es = append(es, newElectorate(e.m, func(id ServerID) int { return int(id) - 1 }))
		}
	}
	return es
}

// enough reports whether nodes are a quorum whoever of them is asked.
func (c *simCluster) enough(nodes []*simNode) bool {
	for _, e := range c.inPlay() {
		if !e.quorum(func(at int) bool { return c.nodes[at].disk.voter() && slices.Contains(nodes, c.nodes[at]) }) {
			return false
		}
	}
	return true
}
