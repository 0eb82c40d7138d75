package zk

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wordTimeout is how long a word waits for the loop.
const wordTimeout = 2 * time.Second

func (s *Server) wordSrvr(b *strings.Builder) {
	fmt.Fprintf(b, "Zookeeper version: %s\n", version)
	s.appendServerStats(b)
}

// appendServerStats is what srvr and stat end with.
func (s *Server) appendServerStats(b *strings.Builder) {
	st := s.Stats()
	l := st.latency()
	fmt.Fprintf(b, "Latency min/avg/max: %d/%s/%d\n", l.Min/1000, javaDouble(round4(l.Avg()/1000)), l.Max/1000)
	fmt.Fprintf(b, "Received: %d\nSent: %d\n", st.PacketsReceived, st.PacketsSent)
	fmt.Fprintf(b, "Connections: %d\nOutstanding: %d\n", st.Connections, st.Outstanding)
	fmt.Fprintf(b, "Zxid: 0x%x\nMode: %s\nNode count: %d\n", uint64(st.Status.Zxid), st.Status.State, st.Znodes)
	if st.Status.State == "leader" {
		fmt.Fprintf(b, "Proposal sizes last/min/max: %d/%d/%d\n", st.LastProposalBytes, st.MinProposalBytes, st.MaxProposalBytes)
	}
}

func (s *Server) wordStat(b *strings.Builder) {
	fmt.Fprintf(b, "Zookeeper version: %s\nClients:\n", version)
	for _, c := range s.stats.connections() {
		c.info().append(b, true)
	}
	b.WriteByte('\n')
	s.appendServerStats(b)
}

func (s *Server) wordCons(b *strings.Builder) {
	for _, c := range s.stats.connections() {
		c.info().append(b, false)
	}
	b.WriteByte('\n')
}

// append writes a connection's line, as ServerCnxn.dumpConnectionInfo does.
func (i connInfo) append(b *strings.Builder, brief bool) {
	fmt.Fprintf(b, " /%s[%d](queued=%d,recved=%d,sent=%d", i.remote, i.interestOps(), i.queued, i.received, i.sent)
	if !brief && i.session != 0 {
		fmt.Fprintf(b, ",sid=0x%x,lop=%s,est=%d,to=%d", uint64(i.session), i.lastOp, i.established.UnixMilli(), i.timeout.Milliseconds())
		if i.lastXid >= 0 {
			fmt.Fprintf(b, ",lcxid=0x%x", i.lastXid)
		}
		fmt.Fprintf(b, ",lzxid=0x%x,lresp=%d,llat=%d,minlat=%d,avglat=%d,maxlat=%d",
			uint64(i.lastZxid), i.lastResponse, i.lastLat, i.minLat, i.avgLat, i.maxLat)
	}
	b.WriteString(")\n")
}

// interestOps is 1, reading, for a session: Java's SelectionKey.OP_READ.
func (i connInfo) interestOps() int {
	if i.session == 0 {
		return 0
	}
	return 1
}

func (s *Server) wordMntr(b *strings.Builder) {
	st := s.Stats()
	for _, m := range st.metrics() {
		fmt.Fprintf(b, "zk_%s\t%s\n", m.name, m.value)
	}
}

// settings are what conf and the AdminServer's configuration tell.
type settings struct {
	clientPort, securePort   int // -1: none
	dataDir, logDir          string
	dataBytes, logBytes      int64
	tickMillis, minMS, maxMS int64
	cnxnsMax                 int
	initLimit, syncLimit     int
	electionPort, quorumPort int
	peerType                 int
	members                  string
}

func (s *Server) settings() settings {
	c := &s.cfg
	out := settings{
		clientPort: -1, securePort: -1, dataDir: c.DataDir, logDir: cmp.Or(c.DataLogDir, c.DataDir),
		tickMillis: c.TickTime.Milliseconds(), minMS: c.MinSessionTimeout.Milliseconds(), maxMS: c.MaxSessionTimeout.Milliseconds(),
		cnxnsMax: max(c.ClientCnxnsMax, 0), initLimit: c.InitLimit, syncLimit: c.SyncLimit,
	}
	for i, a := range s.Addrs() {
		port := portOf(a.String())
		if c.Clients[i].TLS != nil {
			out.securePort = port
		} else {
			out.clientPort = port
		}
	}
	out.dataBytes, out.logBytes = s.dirBytes()
	members, version := s.members()
	for _, m := range members {
		if m.ID == c.ID {
			out.quorumPort, out.electionPort = portOf(m.Peer), portOf(cmp.Or(m.Election, m.Peer))
			if m.Observer {
				out.peerType = 1
			}
		}
	}
	out.members = FormatMembers(members, version)
	return out
}

func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

func (s *Server) wordConf(b *strings.Builder) {
	c := s.settings()
	fmt.Fprintf(b, "clientPort=%d\nsecureClientPort=%d\ndataDir=%s\ndataDirSize=%d\ndataLogDir=%s\ndataLogSize=%d\n",
		c.clientPort, c.securePort, c.dataDir, c.dataBytes, c.logDir, c.logBytes)
	fmt.Fprintf(b, "tickTime=%d\nmaxClientCnxns=%d\nminSessionTimeout=%d\nmaxSessionTimeout=%d\n", c.tickMillis, c.cnxnsMax, c.minMS, c.maxMS)
	fmt.Fprintf(b, "clientPortListenBacklog=-1\nserverId=%d\n", s.cfg.ID)
	if s.Status().State == "standalone" {
		return
	}
	fmt.Fprintf(b, "initLimit=%d\nsyncLimit=%d\nelectionAlg=3\nelectionPort=%d\nquorumPort=%d\npeerType=%d\n",
		c.initLimit, c.syncLimit, c.electionPort, c.quorumPort, c.peerType)
	b.WriteString("membership: \n" + c.members)
}

// environment is what envi tells.
func environment() [][2]string {
	host, err := os.Hostname()
	if err != nil {
		host = "<NA>"
	}
	return [][2]string{
		{"zookeeper.version", version}, {"host.name", host}, {"go.version", runtime.Version()}, {"os.name", runtime.GOOS}, {"os.arch", runtime.GOARCH},
	}
}

func (s *Server) wordEnvi(b *strings.Builder) {
	b.WriteString("Environment:\n")
	for _, e := range environment() {
		fmt.Fprintf(b, "%s=%s\n", e[0], e[1])
	}
}

// readOnlyState is the state of a server that serves reads without a quorum.
const readOnlyState = "read-only"

func (s *Server) wordIsro(b *strings.Builder) {
	switch st := s.Status(); {
	case st.State == readOnlyState:
		b.WriteString("ro")
	case !st.Serving:
		b.WriteString("null")
	default:
		b.WriteString("rw")
	}
}

func (s *Server) wordDirs(b *strings.Builder) {
	data, log := s.dirBytes()
	fmt.Fprintf(b, "datadir_size: %d\nlogdir_size: %d\n", data, log)
}

func (s *Server) wordWchs(b *strings.Builder) {
	st := s.Stats()
	fmt.Fprintf(b, "%d connections watching %d paths\nTotal watches:%d\n", st.WatchingConnections, st.WatchedPaths, st.Watches)
}

// watching returns who watches what: paths by session, and sessions by path.
func (s *Server) watching() (bySession map[int64][]string, byPath map[string][]int64) {
	bySession, byPath = make(map[int64][]string), make(map[string][]int64)
	s.pub.RLock()
	defer s.pub.RUnlock()
	s.watchesMu.Lock()
	defer s.watchesMu.Unlock()
	s.watches.ByWatcher(func(id uint64, paths []string) {
		c := s.clients[id]
		if c == nil {
			return
		}
		bySession[c.session] = paths
		for _, p := range paths {
			byPath[p] = append(byPath[p], c.session)
		}
	})
	return bySession, byPath
}

func (s *Server) wordWchc(b *strings.Builder) {
	sessions, _ := s.watching()
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		fmt.Fprintf(b, "0x%x\n", uint64(id))
		for _, path := range sessions[id] {
			fmt.Fprintf(b, "\t%s\n", path)
		}
	}
	b.WriteByte('\n')
}

func (s *Server) wordWchp(b *strings.Builder) {
	_, paths := s.watching()
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		fmt.Fprintf(b, "%s\n", path)
		for _, id := range slices.Sorted(slices.Values(paths[path])) {
			fmt.Fprintf(b, "\t0x%x\n", uint64(id))
		}
	}
	b.WriteByte('\n')
}

// javaDate prints a time as Java's Date does.
const javaDate = "Mon Jan 02 15:04:05 MST 2006"

// expiries are sessions by the time at which they end if they stay silent.
type expiries map[time.Time][]int64

// sessionExpiries asks the leader's table; false if this server does not lead.
func (s *Server) sessionExpiries() (expiries, bool) {
	ctx, cancel := context.WithTimeout(s.ctx, wordTimeout)
	defer cancel()
	var all expiries
	asked := s.onLoop(ctx, func() {
		if s.lead == nil {
			return
		}
		all = make(expiries)
		for _, e := range s.lead.sessions.Sessions() {
			at := s.started.Add(time.Duration(e.Deadline) * time.Millisecond).Round(time.Millisecond)
			all[at] = append(all[at], e.ID)
		}
	})
	if !asked {
		return nil, false
	}
	return all, all != nil
}

// ephemerals returns the ephemeral znodes of each session that has any.
func (s *Server) ephemerals() map[int64][]string {
	t := s.tree.Load()
	all := make(map[int64][]string)
	for _, e := range t.Sessions(nil) {
		if paths, _ := t.Ephemerals(e.ID, ""); len(paths) > 0 {
			all[e.ID] = paths
		}
	}
	return all
}

func (s *Server) wordDump(b *strings.Builder) {
	b.WriteString("SessionTracker dump:\n")
	if sets, leads := s.sessionExpiries(); leads {
		n := 0
		for _, ids := range sets {
			n += len(ids)
		}
		fmt.Fprintf(b, "Session Sets (%d)/(%d):\n", len(sets), n)
		for _, at := range slices.SortedFunc(maps.Keys(sets), time.Time.Compare) {
			fmt.Fprintf(b, "%d expire at %s:\n", len(sets[at]), at.UTC().Format(javaDate))
			for _, id := range sets[at] {
				fmt.Fprintf(b, "\t0x%x\n", uint64(id))
			}
		}
	} else {
		sessions := s.tree.Load().Sessions(nil)
		fmt.Fprintf(b, "Global Sessions(%d):\n", len(sessions))
		for _, e := range sessions {
			fmt.Fprintf(b, "0x%x\t%dms\n", uint64(e.ID), e.Timeout)
		}
	}
	owned := s.ephemerals()
	fmt.Fprintf(b, "ephemeral nodes dump:\nSessions with Ephemerals (%d):\n", len(owned))
	for _, id := range slices.Sorted(maps.Keys(owned)) {
		fmt.Fprintf(b, "0x%x:\n", uint64(id))
		for _, path := range owned[id] {
			fmt.Fprintf(b, "\t%s\n", path)
		}
	}
	s.dumpConnections(b)
}

// dumpConnections tells when each connection would be given up if it stayed
// silent, in sets of a tick.
func (s *Server) dumpConnections(b *strings.Builder) {
	sets := make(map[time.Time][]connInfo)
	all := s.stats.connections()
	for _, c := range all {
		i := c.info()
		at := i.established.Add(helloTimeout)
		if i.session != 0 {
			at = s.started.Add(i.heard + i.timeout)
		}
		at = at.Truncate(s.cfg.TickTime).Add(s.cfg.TickTime).Round(time.Millisecond)
		sets[at] = append(sets[at], i)
	}
	fmt.Fprintf(b, "Connections dump:\nConnections Sets (%d)/(%d):\n", len(sets), len(all))
	for _, at := range slices.SortedFunc(maps.Keys(sets), time.Time.Compare) {
		fmt.Fprintf(b, "%d expire at %s:\n", len(sets[at]), at.UTC().Format(javaDate))
		for _, i := range sets[at] {
			fmt.Fprintf(b, "\tip: /%s sessionId: 0x%x\n", i.remote, uint64(i.session))
		}
	}
}

func (s *Server) wordCrst(b *strings.Builder) {
	for _, c := range s.stats.connections() {
		c.resetStats()
	}
	b.WriteString("Connection stats reset.\n")
}

func (s *Server) wordSrst(b *strings.Builder) {
	s.ResetStats()
	b.WriteString("Server stats reset.\n")
}

// treeDigest is the digest of the tree as of a zxid.
type treeDigest struct {
	Zxid   int64
	Digest uint64
}

// treeDigests asks the loop for the newest digests, oldest first.
func (s *Server) treeDigests() []treeDigest {
	ctx, cancel := context.WithTimeout(s.ctx, wordTimeout)
	defer cancel()
	var all []treeDigest
	asked := s.onLoop(ctx, func() {
		for _, d := range s.digests {
			if d.zxid != 0 {
				all = append(all, treeDigest{int64(d.zxid), d.digest})
			}
		}
	})
	if !asked {
		return nil
	}
	slices.SortFunc(all, func(a, b treeDigest) int { return cmp.Compare(a.Zxid, b.Zxid) })
	return all[max(0, len(all)-digestsTold):]
}

// digestsTold is how many digests hash tells.
const digestsTold = 128

func (s *Server) wordHash(b *strings.Builder) {
	for _, d := range s.treeDigests() {
		fmt.Fprintf(b, "%x/%x\n", uint64(d.Zxid), d.Digest)
	}
}
