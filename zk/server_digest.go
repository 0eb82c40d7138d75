package zk

import (
	"fmt"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Servers that hold the same history hold the same tree (P10). Every entry bears
// its proposer's digest at an earlier zxid. Whoever holds another one there cannot
// know which of the two is wrong, nor that it is not the leader's: it polls the
// voters. A leader polls them, too, before it hands its tree to anybody. See
// "Digests" in DESIGN.md.

const digestsKept = 4096 // a power of two; digests of the newest applied zxids

// digestState is the loop's.
type digestState struct {
	digests    [digestsKept]digestAt
	poll       poll
	polled     map[zab.ServerID]digestAt // who has asked about what is not applied yet; may be nil
	disputedAt time.Duration             // since started, when a dispute was logged
	wanted     []wantedSnapshot          // in the order in which they were
	taken      []*snapshotHandle         // handed to the protocol, which may have no use for them
}

// digestAt is the digest of this server's tree at a zxid.
type digestAt struct {
	zxid   zab.Zxid
	digest uint64
}

// poll is the question whether a quorum holds the same digest at a zxid as this
// server. There is at most one at a time.
type poll struct {
	open     bool
	own      digestAt
	since    time.Duration           // since started
	disputed bool                    // a voter has another one: this must come to an end
	stale    bool                    // somebody cannot say any more
	heard    map[zab.ServerID]uint64 // digests at own.zxid, this server's among them
	covers   int                     // of wanted: what was wanted when it began
}

// wantedSnapshot is a learner that waits for this leader's tree.
type wantedSnapshot struct {
	zab.SnapshotWanted
	since time.Duration // since started
}

// unelectedSnapshotWait is how long a leader that no quorum follows yet keeps a
// learner waiting for its tree. It may need this one for its quorum, and then there
// is nobody to ask.
const unelectedSnapshotWait = 200 * time.Millisecond

// noteDigest remembers the digest of what was applied last.
func (s *Server) noteDigest(z zab.Zxid, digest uint64) {
	s.digests[uint64(z)%digestsKept] = digestAt{z, digest}
}

// digestOf returns this server's digest at a zxid, unless that is too long ago, or
// to come.
func (s *Server) digestOf(z zab.Zxid) (digestAt, bool) {
	d := s.digests[uint64(z)%digestsKept]
	return d, d.zxid == z
}

// compareDigest compares this tree with the proposer's.
func (s *Server) compareDigest(env *envelope) {
	own := &s.digests[uint64(env.DigestZxid)%digestsKept]
	if own.digest != env.Digest && own.zxid == env.DigestZxid && env.DigestZxid != 0 {
		s.dispute(*own, env.Digest)
	}
}

// dispute sees to it that the members are polled about a zxid where a voter has
// another digest than this server.
func (s *Server) dispute(own digestAt, other uint64) {
	if s.poll.open && s.poll.disputed {
		return
	}
	s.stats.digestMismatches.Add(1)
	if now := time.Since(s.started); s.disputedAt == 0 || now-s.disputedAt > time.Second {
		s.disputedAt = now
		s.log.Error("trees differ", "zxid", own.zxid, "digest", fmt.Sprintf("%016x", own.digest), "other", fmt.Sprintf("%016x", other))
	}
	s.openPoll(own, true)
}

// openPoll asks all voters; a poll that is open begins anew.
func (s *Server) openPoll(own digestAt, disputed bool) {
	s.poll = poll{
		open: true, own: own, since: time.Since(s.started), disputed: disputed, covers: len(s.wanted),
		heard: map[zab.ServerID]uint64{zab.ServerID(s.cfg.ID): own.digest},
	}
	s.askPoll()
	s.countPoll() // this server may be a quorum
}

func (s *Server) askPoll() {
	ms := s.peer.Memberships()
	for _, z := range []*zab.Membership{ms.Active, ms.Pending} {
		if z == nil {
			continue
		}
		for _, m := range z.Members {
			if m.ID != zab.ServerID(s.cfg.ID) && !m.Observer {
				s.sendWork(m.ID, &peerWork{Kind: workPoll, Zxid: s.poll.own.zxid, Seq: s.poll.own.digest})
			}
		}
	}
}

// onPollWork takes what another server says about its tree, or asks about this one.
func (s *Server) onPollWork(from zab.ServerID, w *peerWork) {
	switch w.Kind {
	case workPoll:
		if s.polled == nil {
			s.polled = make(map[zab.ServerID]digestAt)
		}
		s.polled[from] = digestAt{w.Zxid, w.Seq}
		s.answerPolls()
	case workDigest:
		s.hearDigest(from, digestAt{w.Zxid, w.Seq})
	case workNoDigest:
		if w.Zxid == s.poll.own.zxid {
			s.poll.stale = true
		}
	}
}

// answerPolls answers those who have asked about what is applied by now.
func (s *Server) answerPolls() {
	for from, theirs := range s.polled {
		if theirs.zxid > s.applied {
			continue
		}
		delete(s.polled, from)
		own, ok := s.digestOf(theirs.zxid)
		if !ok {
			s.sendWork(from, &peerWork{Kind: workNoDigest, Zxid: theirs.zxid})
			continue
		}
		s.sendWork(from, &peerWork{Kind: workDigest, Zxid: own.zxid, Seq: own.digest})
		s.hearDigest(from, theirs)
	}
}

// hearDigest takes a server's word for its digest. Only a voter's makes a dispute:
// whoever else differs can do no more than ask.
func (s *Server) hearDigest(from zab.ServerID, theirs digestAt) {
	own, ok := s.digestOf(theirs.zxid)
	if ok && own.digest != theirs.digest && s.peer.Votes(from) {
		s.dispute(own, theirs.digest)
	}
	if s.poll.open && s.poll.own.zxid == theirs.zxid {
		s.poll.heard[from] = theirs.digest
		s.countPoll()
	}
}

// countPoll ends the poll, or this server, once a quorum holds one digest.
func (s *Server) countPoll() {
	p := &s.poll
	agree := func(digest uint64) bool {
		return s.peer.Quorum(func(id zab.ServerID) bool { d, ok := p.heard[id]; return ok && d == digest })
	}
	if agree(p.own.digest) {
		covered := s.wanted[:p.covers]
		s.wanted = s.wanted[p.covers:]
		s.poll = poll{}
		s.handOut(covered)
		s.offerSnapshots()
		return
	}
	for _, d := range p.heard {
		if d != p.own.digest && agree(d) {
			s.fail(fmt.Errorf("zk: tree at %v differs from a quorum's: digest %016x, not %016x", p.own.zxid, p.own.digest, d))
			return
		}
	}
}

// checkPoll asks those again who have not answered, about something newer if what
// was asked about is forgotten. A server does not serve for long what may be wrong:
// without a quorum that holds one digest, who knows of a difference stops.
func (s *Server) checkPoll(now time.Duration) {
	p := &s.poll
	if !p.open {
		return
	}
	if !s.role.Established {
		p.since = now // nobody is served, and nobody may be there to answer
	}
	if own, ok := s.digestOf(s.applied); ok && p.stale && own.zxid > p.own.zxid {
		s.openPoll(own, p.disputed)
		return
	}
	if p.disputed && now-p.since > 2*s.cfg.TickTime*time.Duration(s.cfg.SyncLimit) {
		s.fail(fmt.Errorf("zk: trees at %v differ, this one's digest is %016x, and no quorum holds one of them", p.own.zxid, p.own.digest))
		return
	}
	s.askPoll()
}

// dropWanted forgets learners of a leadership that has ended.
func (s *Server) dropWanted() {
	s.wanted, s.poll.covers = nil, 0
	if !s.poll.disputed {
		s.poll = poll{}
	}
}

// wantSnapshots notes who lacks more than this leader's log holds.
func (s *Server) wantSnapshots(ws []zab.SnapshotWanted) {
	for _, w := range ws {
		s.wanted = append(s.wanted, wantedSnapshot{w, time.Since(s.started)})
	}
	s.offerSnapshots()
}

// offerSnapshots hands this leader's tree to those who wait for it once a quorum is
// known to hold the same one.
func (s *Server) offerSnapshots() {
	switch {
	case len(s.wanted) == 0 || s.poll.open:
	case s.lead != nil:
		own, _ := s.digestOf(s.applied)
		s.openPoll(own, false)
	case time.Since(s.started)-s.wanted[0].since > unelectedSnapshotWait:
		ws := s.wanted
		s.wanted = nil
		s.handOut(ws)
	}
}

func (s *Server) handOut(ws []wantedSnapshot) {
	for _, w := range ws {
		h := &snapshotHandle{snap: s.tree.Load().Snapshot(), members: s.treeMembership(s.tree.Load())}
		s.taken = append(s.taken, h)
		s.peer.SnapshotTaken(w.To, w.Session, h)
	}
}
