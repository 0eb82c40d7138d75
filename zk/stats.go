package zk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Stats is what a server has done and holds. Counters are since its start, or
// since ResetStats where that says so. Latencies are in microseconds, from the
// arrival of the bytes to the reply's place in the output.
type Stats struct {
	Status ServerStatus
	Uptime time.Duration
	// LeaderUptime is how long it has led; 0: it does not.
	LeaderUptime time.Duration

	PacketsReceived, PacketsSent int64 // frames of clients; reset by ResetStats
	BytesReceived, BytesSent     int64
	Connections                  int   // now, of clients
	Outstanding                  int   // requests that are not answered yet
	UnreadBytes                  int64 // room taken of Config.OutputBytesTotalMax
	ReadLatency, WriteLatency    Distribution
	LastResponseBytes            int64 // of a client's reply; -1: none yet
	MinResponseBytes             int64
	MaxResponseBytes             int64

	ConnectionsRejected   int64 // by the limits on connections
	ConnectionsDropped    int64 // ended otherwise than by closing the session
	ConnectionRequests    int64 // clients' hellos
	SessionsRevalidated   int64 // hellos of sessions that were there
	AuthFailures          int64
	LargeRequestsRejected int64
	SessionsExpired       int64 // by this server as leader

	Znodes, Ephemerals, Sessions int64
	DataBytes                    int64 // lengths of paths and data
	Watches, WatchedPaths        int
	WatchingConnections          int
	WatchBytes                   int64
	NodeCreatedWatches           Distribution // watches that an event went to
	NodeDeletedWatches           Distribution
	NodeChangedWatches           Distribution
	NodeChildrenWatches          Distribution

	Proposals, Commits  int64 // as leader; applied here
	LastProposalBytes   int64 // -1: none yet
	MinProposalBytes    int64
	MaxProposalBytes    int64
	Learners            int   // synchronized, if it leads: followers, observers, and servers that are no members
	SyncedFollowers     int   // of them
	SyncedObservers     int   // of them
	QuorumSize          int   // participants
	DiffsSent           int64 // learners synchronized out of the log, as leader
	SnapshotsSent       int64 // learners that got a snapshot, as leader
	LearnerCommits      int64 // entries applied while it did not lead
	LocalSessions       int64
	Lookings            int64
	ElectionTime        Distribution // microseconds without an established leader
	LeaderElectionTime  Distribution // those before it led itself
	LoadTime            Distribution // microseconds of reading the data directory
	FsyncTime           Distribution // microseconds for each durable write
	BatchSize           Distribution // entries of each durable write
	SnapshotTime        Distribution // microseconds
	Snapshots           int64
	SnapshotErrors      int64
	DigestMismatches    int64
	FilesOpen, FilesMax int64 // of the process; -1: not known
	LastSnapshot        int64 // zxid
	LastSnapshotAt      time.Time
}

const readShards = 8 // of the readers' summaries, so that they do not meet

// serverStats are the counters behind Stats. Each is written by who the comment
// names, so that no two processors want one cache line all the time.
type serverStats struct {
	reads  [readShards]readStats
	writes summary // the loop's: writes, and reads behind them

	created, deleted, changed, children summary // the loop's
	proposals, commits                  atomic.Int64
	proposalLast                        atomic.Int64 // plus one; 0: none
	proposalLeast, proposalMost         atomic.Int64
	lookings                            atomic.Int64
	election, leaderElection, loading   summary
	diffs, snaps, learnerCommits        atomic.Int64
	leadSince                           atomic.Int64 // since Server.started, plus one; 0: does not lead
	expired                             atomic.Int64
	digestMismatches                    atomic.Int64

	fsync, batch summary // the disk's

	snapshot                   summary // the saver's
	snapshotErrors, lastSnap   atomic.Int64
	lastSnapAt                 atomic.Int64 // Unix seconds
	rejected, dropped, hellos  atomic.Int64 // the acceptors' and readers', once a connection
	revalidated, auth, tooLong atomic.Int64
	learners                   atomic.Pointer[[]zab.ServerID] // synchronized ones; the loop's

	mu   sync.Mutex
	open map[*conn]struct{} // every connection of a client, with a session or not
	gone connTotals         // of those that have ended
}

type readStats struct {
	summary
	_ [64]byte
}

// connTotals are sums over connections.
type connTotals struct{ received, bytesReceived, sent, bytesSent int64 }

func (t *connTotals) add(c *conn) {
	t.received += c.stats.received.Load()
	t.bytesReceived += c.stats.bytesReceived.Load()
	c.output.Lock()
	defer c.output.Unlock()
	t.sent += c.output.sent
	t.bytesSent += c.output.bytes
}

// enter notes a new connection.
func (st *serverStats) enter(c *conn) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.open == nil {
		st.open = make(map[*conn]struct{})
	}
	st.open[c] = struct{}{}
}

func (st *serverStats) leave(c *conn) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.open, c)
	st.gone.add(c)
}

// connections returns every connection, in the order in which they came.
func (st *serverStats) connections() []*conn {
	st.mu.Lock()
	defer st.mu.Unlock()
	all := make([]*conn, 0, len(st.open))
	for c := range st.open {
		all = append(all, c)
	}
	sortConns(all)
	return all
}

func (st *serverStats) totals() connTotals {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.gone
	for c := range st.open {
		t.add(c)
	}
	return t
}

// proposed notes a proposal of n bytes. The loop calls it.
func (st *serverStats) proposed(n int) {
	size := int64(n) + 1
	st.proposals.Add(1)
	st.proposalLast.Store(size)
	st.proposalMost.Store(max(st.proposalMost.Load(), size))
	if least := st.proposalLeast.Load(); least == 0 || size < least {
		st.proposalLeast.Store(size)
	}
}

// onRole follows elections. The loop calls it.
func (st *serverStats) onRole(was, is *zab.Role, now time.Duration, lookingSince *time.Duration) {
	if is.State == zab.Looking && was.State != zab.Looking {
		st.lookings.Add(1)
	}
	if was.Established && !is.Established {
		*lookingSince = now
	}
	if is.Established && !was.Established {
		took := (now - *lookingSince).Microseconds()
		st.election.observe(took)
		if is.State == zab.Leading {
			st.leaderElection.observe(took)
		}
	}
	if is.Established && is.State == zab.Leading {
		if st.leadSince.Load() == 0 {
			st.leadSince.Store(int64(now) + 1)
		}
	} else {
		st.leadSince.Store(0)
		st.learners.Store(nil)
	}
}

// leads notes whom the leader p has synchronized. The loop calls it.
func (st *serverStats) leads(p *zab.Peer) {
	var buf [16]zab.ServerID
	now := p.AppendSynced(buf[:0])
	if was := st.learners.Load(); was == nil || !slices.Equal(*was, now) {
		st.learners.Store(new(slices.Clone(now)))
	}
}

// synced returns whom this server has synchronized, if it leads.
func (s *Server) synced() []zab.ServerID {
	if ids := s.stats.learners.Load(); ids != nil {
		return *ids
	}
	return nil
}

// ResetStats sets latencies and the counts of packets to zero, as the
// four-letter word srst does.
func (s *Server) ResetStats() {
	st := &s.stats
	for i := range st.reads {
		st.reads[i].reset()
	}
	st.writes.reset()
	for _, c := range st.connections() {
		c.resetStats()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = connTotals{}
}

// Stats returns the server's counters. It takes time in proportion to the
// number of connections and watches; the numbers are not of one instant.
func (s *Server) Stats() Stats {
	st := &s.stats
	totals := st.totals()
	latencies := make([]*summary, 0, readShards)
	for i := range st.reads {
		latencies = append(latencies, &st.reads[i].summary)
	}
	now := time.Since(s.started)
	out := Stats{
		Status: s.Status(), Uptime: now,
		PacketsReceived: totals.received, PacketsSent: totals.sent, BytesReceived: totals.bytesReceived, BytesSent: totals.bytesSent,
		Connections: s.door.count(), Outstanding: len(s.outstanding.places), UnreadBytes: s.room.bytes(),
		ReadLatency: distribution(latencies...), WriteLatency: distribution(&st.writes),
		ConnectionsRejected: st.rejected.Load(), ConnectionsDropped: st.dropped.Load(), ConnectionRequests: st.hellos.Load(),
		SessionsRevalidated: st.revalidated.Load(), AuthFailures: st.auth.Load(), LargeRequestsRejected: st.tooLong.Load(), SessionsExpired: st.expired.Load(),
		NodeCreatedWatches: distribution(&st.created), NodeDeletedWatches: distribution(&st.deleted),
		NodeChangedWatches: distribution(&st.changed), NodeChildrenWatches: distribution(&st.children),
		Proposals: st.proposals.Load(), Commits: st.commits.Load(),
		LastProposalBytes: st.proposalLast.Load() - 1, MinProposalBytes: st.proposalLeast.Load() - 1, MaxProposalBytes: st.proposalMost.Load() - 1,
		Lookings: st.lookings.Load(), ElectionTime: distribution(&st.election), LeaderElectionTime: distribution(&st.leaderElection),
		LoadTime: distribution(&st.loading), DiffsSent: st.diffs.Load(), SnapshotsSent: st.snaps.Load(), LearnerCommits: st.learnerCommits.Load(),
		LocalSessions: int64(s.locals.len()),
		FsyncTime:     distribution(&st.fsync), BatchSize: distribution(&st.batch),
		SnapshotTime: distribution(&st.snapshot), SnapshotErrors: st.snapshotErrors.Load(),
		DigestMismatches: st.digestMismatches.Load(), LastSnapshot: st.lastSnap.Load(),
	}
	if since := st.leadSince.Load(); since > 0 {
		out.LeaderUptime = now - time.Duration(since-1)
	}
	if at := st.lastSnapAt.Load(); at > 0 {
		out.LastSnapshotAt = time.Unix(at, 0)
	}
	out.Snapshots = out.SnapshotTime.Count
	s.fillResponses(&out)
	s.fillState(&out)
	return out
}

// fillResponses finds the sizes of replies to clients.
func (s *Server) fillResponses(out *Stats) {
	out.LastResponseBytes, out.MinResponseBytes, out.MaxResponseBytes = -1, -1, -1
	var newest time.Duration
	for _, c := range s.stats.connections() {
		c.output.Lock()
		last, least, most := c.output.last, c.output.least, c.output.most
		c.output.Unlock()
		if last == 0 {
			continue
		}
		if at := time.Duration(c.stats.at.Load()); at >= newest {
			newest, out.LastResponseBytes = at, int64(last)
		}
		if out.MinResponseBytes < 0 || int64(least) < out.MinResponseBytes {
			out.MinResponseBytes = int64(least)
		}
		out.MaxResponseBytes = max(out.MaxResponseBytes, int64(most))
	}
}

// fillState adds what the server holds now.
func (s *Server) fillState(out *Stats) {
	t := s.tree.Load().Stats()
	out.Znodes, out.Ephemerals, out.Sessions, out.DataBytes = t.Znodes, t.Ephemerals, t.Sessions, t.DataBytes
	s.pub.RLock()
	s.watchesMu.Lock()
	w := s.watches.Stats()
	s.watches.ByWatcher(func(id uint64, _ []string) { out.WatchBytes += int64(s.watches.Bytes(id)) })
	s.watchesMu.Unlock()
	s.pub.RUnlock()
	out.Watches, out.WatchedPaths, out.WatchingConnections = w.Data+w.Child, w.Paths, w.Watchers
	learners := s.synced()
	out.Learners = len(learners)
	members, _ := s.members()
	for _, m := range members {
		synced := slices.Contains(learners, zab.ServerID(m.ID))
		switch {
		case !m.Observer:
			out.QuorumSize++
			if synced {
				out.SyncedFollowers++
			}
		case synced:
			out.SyncedObservers++
		}
	}
	out.FilesOpen, out.FilesMax = openFiles()
}

// members returns the ensemble as this server knows it, and its configuration's version.
func (s *Server) members() ([]ServerSpec, int64) {
	m := s.Membership()
	return m.Servers, m.Version
}

// dirBytes returns the sizes of the data directory, without its log, and of the log's.
func (s *Server) dirBytes() (data, log int64) {
	logDir := filepath.Join(s.cfg.DataDir, "log")
	if s.cfg.DataLogDir != "" {
		logDir = s.cfg.DataLogDir
	}
	return s.sizeOf(s.cfg.DataDir), s.sizeOf(logDir)
}

// sizeOf adds up the files of a directory; 0 if it cannot be read.
func (s *Server) sizeOf(dir string) (n int64) {
	names, err := s.cfg.FS.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, name := range names {
		f, err := s.cfg.FS.OpenFile(filepath.Join(dir, name), os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		if size, err := f.Size(); err == nil {
			n += size
		}
		_ = f.Close()
	}
	return n
}

// onLoop runs f on the loop's goroutine and waits for it; false if that did not
// happen before ctx ended or the server stopped.
func (s *Server) onLoop(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	s.inbox.push(event{kind: eventCall, call: func() { f(); close(done) }})
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}

// triggered counts the watches that an event goes to. The loop calls it.
func (st *serverStats) triggered(typ jute.EventType, watchers int) {
	if watchers == 0 {
		return
	}
	switch typ {
	case jute.EventCreated:
		st.created.observe(int64(watchers))
	case jute.EventDeleted:
		st.deleted.observe(int64(watchers))
	case jute.EventDataChanged:
		st.changed.observe(int64(watchers))
	case jute.EventChildrenChanged:
		st.children.observe(int64(watchers))
	}
}

// synced counts a durable write. The disk's goroutine calls it.
func (st *serverStats) synced(w *zab.Write, took time.Duration) {
	st.fsync.observe(took.Microseconds())
	if w.Kind == zab.WriteEntries {
		st.batch.observe(int64(len(w.Entries)))
	}
}

// saved counts a snapshot at z. The saver's goroutine calls it.
func (st *serverStats) saved(z zab.Zxid, took time.Duration, err error) {
	if err != nil {
		st.snapshotErrors.Add(1)
		return
	}
	st.snapshot.observe(took.Microseconds())
	st.lastSnap.Store(int64(z))
	st.lastSnapAt.Store(time.Now().Unix())
}
