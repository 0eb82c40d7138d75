package zab

import "fmt"

// issue hands out a write; no other may be outstanding. The messages in after leave once it is durable.
func (p *Peer) issue(w Write, after ...Message) {
	p.lastWrite++
	w.ID = p.lastWrite
	p.write, p.busy, p.handed = w, true, false
	clear(p.afterSync)
	p.afterSync = p.afterSync[:0]
	for _, m := range after {
		m.From = p.cfg.ID
		p.afterSync = append(p.afterSync, m)
	}
}

// Persisted reports that the write id is durable, or that it failed, which ends this peer's life: its role
// becomes Failed, and only a new Peer, made from what the disk then holds, can take its place. Completions of
// writes that are not outstanding are ignored.
func (p *Peer) Persisted(id WriteID, err error) {
	if !p.busy || id != p.write.ID || p.state == Failed {
		return
	}
	w := p.write
	p.write, p.busy = Write{}, false
	if err != nil {
		p.fail(fmt.Errorf("zab: write of %v failed: %w", w.Kind, err))
		return
	}
	switch w.Kind {
	case WriteEntries:
		p.durable = p.issued
	case WriteAcceptedEpoch, WriteCurrentEpoch:
		p.epochs = w.Epochs
	}
	if p.drained != drainedNothing {
		p.runDrained()
		return
	}
	switch p.state {
	case Following:
		p.followerPersisted(w.Kind)
	case Leading:
		p.leaderPersisted(w.Kind)
	}
}

// pump issues the next write if none is outstanding and one is due.
func (p *Peer) pump() {
	if p.busy || p.drained != drainedNothing {
		return
	}
	switch p.state {
	case Following:
		p.pumpFollower()
	case Leading:
		if p.issued < p.win.end() {
			p.issueEntries(p.win.end())
		}
	}
}

// issueEntries writes entries up to position limit, as many as one write takes.
func (p *Peer) issueEntries(limit uint64, after ...Message) {
	to := p.win.batch(p.issued, limit, p.cfg.BatchEntriesMax, p.cfg.BatchBytesMax)
	es := p.win.slice(p.issued, to)
	p.issued = to
	p.issue(Write{Kind: WriteEntries, Entries: es}, after...)
}

// Ready returns what is to be done, and whether there is anything; see the type for the order and for how long
// its slices are valid.
func (p *Peer) Ready() (Ready, bool) {
	if p.state == Leading {
		p.flush()
	}
	p.pump()
	p.check()
	var rd Ready
	if len(p.msgs) > 0 {
		rd.Messages = p.msgs
		clear(p.msgsSpare)
		p.msgs, p.msgsSpare = p.msgsSpare[:0], p.msgs
	}
	if p.busy && !p.handed && p.state != Failed {
		p.handed = true
		rd.Persist, rd.AfterSync = &p.write, p.afterSync
	}
	if p.established {
		rd.Committed = p.deliver()
	}
	if len(p.barriers) > 0 {
		rd.Barriers = p.barriers
		p.barriers, p.barriersSpare = p.barriersSpare[:0], p.barriers
	}
	if len(p.wanted) > 0 {
		rd.SnapshotsWanted = p.wanted
		p.wanted, p.wantedSpare = p.wantedSpare[:0], p.wanted
	}
	if len(p.history) > 0 {
		rd.HistoryWanted = p.history
		p.history, p.historySpare = p.historySpare[:0], p.history
	}
	if r := (Role{State: p.state, Leader: p.leader, Epoch: p.roleEpoch(), Established: p.established, Err: p.err}); r != p.reported {
		p.reported, p.role = r, r
		rd.Role = &p.role
	}
	if p.reconfigured {
		p.reconfigured, p.members = false, p.Memberships()
		p.reportedTo = p.members
		rd.Memberships = &p.members
	}
	ok := rd.Messages != nil || rd.Persist != nil || rd.Committed != nil || rd.Barriers != nil || rd.SnapshotsWanted != nil || rd.HistoryWanted != nil ||
		rd.Role != nil || rd.Memberships != nil
	return rd, ok
}

// deliver returns what is committed, durable here and not handed out yet, and trims the window behind it.
func (p *Peer) deliver() []Entry {
	to := min(p.committed, p.durable)
	if to <= p.delivered {
		return nil
	}
	es := p.win.slice(p.delivered, to)
	p.delivered = to
	if n := int(to - p.win.start); n > p.cfg.WindowEntriesMax {
		p.win.trim(to - uint64(p.cfg.WindowEntriesMax))
	}
	for p.win.bytes > p.cfg.WindowBytesMax && p.win.start < p.delivered {
		p.win.trim(p.win.start + 1)
	}
	if len(p.configs) > 1 && p.configs[1].pos <= p.win.start {
		p.recount()
	}
	return es
}
