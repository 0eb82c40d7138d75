package zab

import (
	"math/rand/v2"
	"slices"
)

// stateSnap is the simulated state machine: how many entries it applied, which was the last, and a digest of all
// of them. It is also its own snapshot.
type stateSnap struct {
	zxid    Zxid
	count   int
	hash    uint64
	config  string // data of the newest configuration, at version
	version Zxid
}

func (s stateSnap) Zxid() Zxid { return s.zxid }

func (s stateSnap) Membership() *Membership { return simMembership(s.version, []byte(s.config)) }

func (s stateSnap) apply(e Entry) stateSnap {
	h := s.hash ^ uint64(e.Zxid)
	for _, b := range e.Data {
		h = (h ^ uint64(b)) * 1099511628211
	}
	if e.Data[0] == simConfigMark {
		s.config, s.version = string(e.Data), e.Zxid
	}
	return stateSnap{zxid: e.Zxid, count: s.count + 1, hash: (h ^ h>>29) * 0xbf58476d1ce4e5b9, config: s.config, version: s.version}
}

// simDisk is what is durable on one server.
type simDisk struct {
	boot    bool // the explicit mark that the server may vote although it is new
	has     bool // the epoch file is there
	forgot  bool // it was wiped, and has not been synchronized since
	epochs  Epochs
	snap    stateSnap
	log     []Entry // above snap
	older   []Entry // what the log holds up to snap
	matched int     // how many entries of the global history it holds as its prefix
}

func (d *simDisk) count() int { return d.snap.count + len(d.log) }

func (d *simDisk) last() Zxid {
	if n := len(d.log); n > 0 {
		return d.log[n-1].Zxid
	}
	return d.snap.zxid
}

func (d *simDisk) voter() bool { return d.boot || d.has && d.epochs.Voter }

func (d *simDisk) recovered() Recovered {
	return Recovered{
		HasEpochs: d.has && d.epochs.Voter, Bootstrap: d.boot && !d.has,
		AcceptedEpoch: d.epochs.Accepted, CurrentEpoch: d.epochs.Current,
		Snapshot: d.snap.zxid, Membership: d.snap.Membership(), Entries: slices.Clone(d.log),
	}
}

// steps returns how many atomic steps w has on a disk; a crash may fall between any two.
func steps(w *Write) int {
	switch w.Kind {
	case WriteEntries:
		return len(w.Entries)
	case WriteSnapshot:
		return 2 // truncation; snapshot, whose log reset recovery does implicitly
	}
	return 1
}

// perform performs the first n steps of w.
func (c *simCluster) perform(nd *simNode, w *Write, n int) {
	d := &nd.disk
	switch w.Kind {
	case WriteEntries:
		for _, e := range w.Entries[:n] {
			c.checkAppend(nd, e)
			d.log = append(d.log, e)
		}
	case WriteAcceptedEpoch, WriteCurrentEpoch:
		if n > 0 {
			c.checkEpochs(nd, w)
			d.epochs, d.has, d.boot = w.Epochs, true, false
			d.forgot = d.forgot && !d.voter()
		}
	case WriteTruncate:
		if n > 0 {
			c.truncate(nd, w.Truncate)
		}
	case WriteSnapshot:
		if n > 0 {
			c.truncate(nd, w.Truncate)
		}
		if n > 1 {
			s := w.Snapshot.(stateSnap)
			c.checkSnapshot(nd, s)
			d.log, d.older, d.snap = nil, nil, s
			d.matched = min(s.count, len(c.history))
		}
	}
	c.rematch(nd)
}

func (c *simCluster) truncate(nd *simNode, z Zxid) {
	d := &nd.disk
	n := len(d.log)
	for n > 0 && d.log[n-1].Zxid > z {
		n--
	}
	if n < len(d.log) {
		c.e.Mark("disk.truncated")
		if z < nd.state.zxid {
			c.failf("node %d truncates to %v below its state %v", nd.id, z, nd.state.zxid)
		}
	}
	d.log = d.log[:n:n]
	d.matched = min(d.matched, d.count())
}

// compact writes a local snapshot of the state and drops the log below it.
func (nd *simNode) compact(r *rand.Rand) {
	d := &nd.disk
	if nd.state.count <= d.snap.count {
		return
	}
	n := nd.state.count - d.snap.count
	keep := r.IntN(min(n, 64) + 1)
	upTo := d.snap.zxid
	if n-keep > 0 {
		upTo = d.log[n-keep-1].Zxid
	}
	d.older = append(d.older, d.log[:n]...)
	if len(d.older) > 0 {
		d.older = slices.Clone(d.older[r.IntN(len(d.older)):])
	}
	d.log = slices.Clone(d.log[n:])
	d.snap = nd.state
	nd.peer.Compact(upTo)
}
