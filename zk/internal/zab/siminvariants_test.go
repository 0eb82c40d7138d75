package zab

import (
	"fmt"
	"sort"
)

// The checks below hold after every step: each is made by the event that could break it, for the server that it
// concerns. Names are those of the ZAB papers and of their TLA+ specifications.

func (c *simCluster) failf(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
		c.e.Tracef("VIOLATION %v", c.err)
	}
}

// checkAppend: PrefixConsistency (an entry has one predecessor, in all logs) and Integrity (it was proposed, as
// it is).
func (c *simCluster) checkAppend(nd *simNode, e Entry) {
	p, ok := c.proposed[e.Zxid]
	switch {
	case !ok:
		c.failf("Integrity: node %d logs %v, which nobody proposed", nd.id, e.Zxid)
	case string(p.data) != string(e.Data):
		c.failf("Integrity: node %d logs %v with other data", nd.id, e.Zxid)
	case p.prev != nd.disk.last():
		c.failf("PrefixConsistency: node %d logs %v after %v, its proposer has %v before it", nd.id, e.Zxid, nd.disk.last(), p.prev)
	}
}

// checkEpochs: epochs never decrease; currentEpoch is written after the history that it stands for.
func (c *simCluster) checkEpochs(nd *simNode, w *Write) {
	d := &nd.disk
	if w.Epochs.Accepted < d.epochs.Accepted || w.Epochs.Current < d.epochs.Current || w.Epochs.Current > w.Epochs.Accepted {
		c.failf("node %d writes epochs %+v over %+v", nd.id, w.Epochs, d.epochs)
	}
	if w.Epochs.Voter && !d.voter() {
		c.e.Mark("r3.synchronized")
	}
}

// checkSnapshot: a snapshot holds a prefix of the global history, and no log entry above it survives its
// installation.
func (c *simCluster) checkSnapshot(nd *simNode, s stateSnap) {
	if s.count > len(c.history) || s != c.states[s.count] {
		c.failf("Agreement: node %d installs a snapshot of %v that is no prefix of the history", nd.id, s.zxid)
	}
	if nd.disk.last() > s.zxid {
		c.failf("node %d installs a snapshot of %v under log entries up to %v", nd.id, s.zxid, nd.disk.last())
	}
	if s.count < nd.state.count {
		c.failf("CommittedLogMonotonicity: node %d goes back from %v to a snapshot of %v", nd.id, nd.state.zxid, s.zxid)
	}
}

// checkCommit: Agreement, TotalOrder, LocalPrimaryOrder, GlobalPrimaryOrder, PrimaryIntegrity, and that nothing
// is applied that is not durable here.
func (c *simCluster) checkCommit(nd *simNode, e Entry) {
	k := nd.state.count
	if k >= nd.disk.count() {
		c.failf("node %d applies %v, which its log does not hold", nd.id, e.Zxid)
	}
	if k < len(c.history) {
		if h := c.history[k]; h.Zxid != e.Zxid || string(h.Data) != string(e.Data) {
			c.failf("Agreement: entry %d is %v at node %d, %v elsewhere", k, e.Zxid, nd.id, h.Zxid)
		}
		return
	}
	if last := c.states[k].zxid; !follows(last, e.Zxid) {
		c.failf("PrimaryOrder: node %d applies %v after %v", nd.id, e.Zxid, last)
	}
	for epoch, t := range c.terms {
		if epoch > e.Zxid.Epoch() && k >= t.initial {
			c.failf("PrimaryIntegrity: %v is committed after epoch %d was established without it", e.Zxid, epoch)
		}
	}
	c.history = append(c.history, e)
	c.states = append(c.states, c.states[k].apply(e))
	for _, o := range c.nodes {
		c.rematch(o)
	}
	if simMembership(e.Zxid, e.Data) != nil {
		c.e.Mark("reconfig.committed")
		if !c.held(c.electorate(c.states[k])) {
			c.failf("Reconfiguration: %v is committed, but not on the disks of a quorum of the configuration before it", e.Zxid)
		}
	}
	c.checkDurability()
}

// rematch extends the prefix of the global history known to be on a disk.
func (c *simCluster) rematch(nd *simNode) {
	d := &nd.disk
	for d.matched < d.count() && d.matched < len(c.history) {
		if d.matched >= d.snap.count && d.log[d.matched-d.snap.count].Zxid != c.history[d.matched].Zxid {
			return
		}
		d.matched++
	}
}

// checkDurability: CommittedLogDurability. All that was ever committed is on the disks of a quorum, not counting
// those that were wiped and are not yet synchronized.
func (c *simCluster) checkDurability() {
	if !c.held(c.electorate(c.states[len(c.history)])) {
		c.failf("CommittedLogDurability: the last of %d committed entries, %v, is not on the disks of a quorum",
			len(c.history), c.states[len(c.history)].zxid)
	}
}

// held reports whether a quorum has all that was ever committed on its disks, or has forgotten it and knows that.
func (c *simCluster) held(e *electorate) bool {
	return c.hand || e.quorum(func(at int) bool {
		d := &c.nodes[at].disk
		return d.matched >= len(c.history) || d.forgot
	})
}

// electorate returns that of the newest configuration in a state.
func (c *simCluster) electorate(s stateSnap) *electorate {
	if e := c.electorates[s.version]; e != nil {
		return e
	}
	m := s.Membership()
	if m == nil {
		m = &c.cfg.Initial
	}
	e := newElectorate(m, func(id ServerID) int { return int(id) - 1 })
	c.electorates[s.version] = e
	return e
}

// checkRole: Leadership1 and 2 (one established leader an epoch), LeaderLogCompleteness.
func (c *simCluster) checkRole(nd *simNode, r Role) {
	switch {
	case r.State == Leading && r.Established:
		if !nd.peer.votes() && nd.peer.delivered < nd.peer.win.end() {
			c.failf("Leadership: node %d leads without a vote", nd.id)
		}
		t, ok := c.terms[r.Epoch]
		if ok && (t.leader != nd.id || t.incarnation != nd.incarnation) {
			c.failf("Leadership: epoch %d is established by node %d and node %d", r.Epoch, t.leader, nd.id)
		}
		// Whoever learns late that it is established (its quorum's last ACK was slow) may lack what later epochs
		// committed.
		older := sort.Search(len(c.history), func(i int) bool { return c.history[i].Zxid.Epoch() >= r.Epoch })
		if nd.disk.matched < older {
			c.failf("LeaderLogCompleteness: node %d leads epoch %d with %d of %d committed entries", nd.id, r.Epoch, nd.disk.matched, older)
		}
		c.terms[r.Epoch] = term{leader: nd.id, incarnation: nd.incarnation, initial: nd.disk.count()}
		c.e.Mark("role.leads")
		if c.maxEpoch > 0 && r.Epoch > c.maxEpoch+1 {
			c.e.Mark("role.epoch-skipped")
		}
		c.maxEpoch = max(c.maxEpoch, r.Epoch)
	case r.State == Following && r.Established:
		t, ok := c.terms[r.Epoch]
		if !ok || t.leader != r.Leader {
			c.failf("Leadership: node %d follows %d, which is no established leader of epoch %d", nd.id, r.Leader, r.Epoch)
		}
	}
}

// checkSend: messages state what is durable.
func (c *simCluster) checkSend(nd *simNode, m *Message) {
	if *outcomesFlag {
		return
	}
	d := &nd.disk
	switch m.Type {
	case MsgNotification:
		if m.State == Looking && m.Vote.Leader == nd.id && (m.Vote.Zxid != d.last() || m.Vote.Epoch != d.epochs.Current) {
			c.failf("node %d votes for itself with %v, its disk holds epoch %d and %v", nd.id, m.Vote, d.epochs.Current, d.last())
		}
		if m.Flags.has(FlagVoter) && !d.voter() {
			c.failf("R3: node %d votes with a wiped disk", nd.id)
		}
	case MsgFollowerInfo:
		if m.Flags.has(FlagVoter) && !d.voter() {
			c.failf("R3: node %d joins as a voter with a wiped disk", nd.id)
		}
	case MsgAckEpoch:
		if d.epochs.Accepted < m.Epoch || m.Vote.Epoch != d.epochs.Current || m.Vote.Zxid != d.last() {
			c.failf("node %d sends ACKEPOCH of %d with %v, its disk holds %+v and %v", nd.id, m.Epoch, m.Vote, d.epochs, d.last())
		}
	case MsgAck:
		if d.epochs.Current < m.Epoch || m.Zxid > d.last() || !d.voter() {
			c.failf("node %d sends ACK of %v in epoch %d, its disk holds %+v and %v", nd.id, m.Zxid, m.Epoch, d.epochs, d.last())
		}
	}
}

// checkBarrier: nothing was committed anywhere before the barrier was asked that lies above its zxid.
func (c *simCluster) checkBarrier(nd *simNode, b Barrier) {
	k := nd.barriers[b.Token]
	delete(nd.barriers, b.Token)
	if z := c.states[k].zxid; z > b.Zxid {
		c.failf("barrier: node %d confirms %v, but %v was committed before it was asked", nd.id, b.Zxid, z)
	}
	c.e.Mark("barrier.answered")
}
