package zk

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

func (s *Server) adminConfiguration() adminAnswer {
	c := s.settings()
	a := adminAnswer{
		{"client_port", c.clientPort},
		{"data_dir", c.dataDir},
		{"data_log_dir", c.logDir},
		{"tick_time", c.tickMillis},
		{"max_client_cnxns", c.cnxnsMax},
		{"min_session_timeout", c.minMS},
		{"max_session_timeout", c.maxMS},
		{"server_id", s.cfg.ID},
		{"client_port_listen_backlog", -1},
	}
	if c.securePort > 0 {
		a = slices.Insert(a, 1, adminField{"secure_client_port", c.securePort})
	}
	return a
}

func (s *Server) adminConnectionReset() adminAnswer {
	for _, c := range s.stats.connections() {
		c.resetStats()
	}
	return nil
}

func (s *Server) adminStatReset() adminAnswer {
	s.ResetStats()
	return nil
}

// adminInfo is a connection as ServerCnxn.getConnectionInfo tells it.
func (i connInfo) adminInfo(brief bool) adminAnswer {
	a := adminAnswer{
		{"remote_socket_address", "/" + i.remote},
		{"interest_ops", i.interestOps()},
		{"outstanding_requests", i.queued},
		{"packets_received", i.received},
		{"packets_sent", i.sent},
	}
	if !brief && i.session != 0 {
		a = append(a, adminAnswer{
			{"session_id", i.session},
			{"last_operation", i.lastOp},
			{"established", jacksonTime(i.established)},
			{"session_timeout", i.timeout.Milliseconds()},
			{"last_cxid", i.lastXid},
			{"last_zxid", i.lastZxid},
			{"last_response_time", i.lastResponse},
			{"last_latency", i.lastLat},
			{"min_latency", i.minLat},
			{"avg_latency", i.avgLat},
			{"max_latency", i.maxLat},
		}...)
	}
	return a
}

// adminCnxns are the connections without TLS, and those with it.
func (s *Server) adminCnxns(brief bool) (plain, secure []adminAnswer) {
	plain, secure = []adminAnswer{}, []adminAnswer{}
	for _, c := range s.stats.connections() {
		if c.stats.tls {
			secure = append(secure, c.info().adminInfo(brief))
		} else {
			plain = append(plain, c.info().adminInfo(brief))
		}
	}
	return plain, secure
}

func (s *Server) adminConnections() adminAnswer {
	plain, secure := s.adminCnxns(false)
	return adminAnswer{{"connections", plain}, {"secure_connections", secure}}
}

func (s *Server) adminDirs() adminAnswer {
	data, log := s.dirBytes()
	return adminAnswer{{"datadir_size", data}, {"logdir_size", log}}
}

func (s *Server) adminDump() adminAnswer {
	sets, leads := s.sessionExpiries()
	a := adminAnswer{}
	if leads {
		times := make(map[string][]int64) // JSON orders them
		for at, ids := range sets {
			times[strconv.FormatInt(at.UnixMilli(), 10)] = ids
		}
		a = append(a, adminField{"expiry_time_to_session_ids", times})
	}
	paths := make(map[string][]string)
	for id, p := range s.ephemerals() {
		paths[strconv.FormatInt(id, 10)] = p
	}
	return append(a, adminField{"session_id_to_ephemeral_paths", paths})
}

func (s *Server) adminEnvironment() adminAnswer {
	var a adminAnswer
	for _, e := range environment() {
		a = append(a, adminField{e[0], e[1]})
	}
	return a
}

func (s *Server) adminTraceMask() adminAnswer {
	return adminAnswer{{"tracemask", cmp.Or(s.traceMask.Load(), traceMaskDefault)}}
}

func (s *Server) adminHash() adminAnswer {
	digests := []adminAnswer{}
	for _, d := range s.treeDigests() {
		digests = append(digests, adminAnswer{{"zxid", fmt.Sprintf("%x", uint64(d.Zxid))}, {"digest", fmt.Sprintf("%x", d.Digest)}})
	}
	return adminAnswer{{"digests", digests}}
}

func (s *Server) adminInitial() adminAnswer {
	return adminAnswer{{"initial_configuration", nil}}
}

func (s *Server) adminReadOnly() adminAnswer {
	return adminAnswer{{"read_only", s.Status().State == readOnlyState}}
}

func (s *Server) adminLastSnapshot() adminAnswer {
	st := s.Stats()
	at := int64(-1)
	if !st.LastSnapshotAt.IsZero() {
		at = st.LastSnapshotAt.Unix()
	}
	return adminAnswer{{"zxid", fmt.Sprintf("%x", uint64(st.LastSnapshot))}, {"timestamp", at}}
}

func (s *Server) adminLeader() adminAnswer {
	st := s.Status()
	a := adminAnswer{{"is_leader", st.Leader == st.ID && st.Leader != 0}, {"leader_id", st.Leader}, {"leader_ip", ""}}
	members, _ := s.members()
	for _, m := range members {
		if m.ID == st.Leader {
			host, _, _ := net.SplitHostPort(m.Peer)
			a[2].value = host
		}
	}
	return a
}

func (s *Server) adminMonitor() adminAnswer {
	st := s.Stats()
	var a adminAnswer
	for _, m := range st.metrics() {
		if m.text {
			a = append(a, adminField{m.name, m.value})
		} else {
			a = append(a, adminField{m.name, number(m.value)})
		}
	}
	return a
}

// number is a JSON number as it is written.
type number string

// MarshalJSON writes it.
func (n number) MarshalJSON() ([]byte, error) { return []byte(n), nil }

func (s *Server) adminObservers() adminAnswer {
	observers := []adminAnswer{}
	learners := s.synced()
	members, _ := s.members()
	for _, m := range members {
		if !m.Observer || !slices.Contains(learners, zab.ServerID(m.ID)) {
			continue
		}
		observers = append(observers, adminAnswer{
			{"remote_socket_address", m.Peer}, {"sid", m.ID}, {"queued_packets_size", s.link(zab.ServerID(m.ID)).queued()},
		})
	}
	return adminAnswer{{"synced_observers", len(observers)}, {"observers", observers}}
}

// queued is the bytes that wait for a peer.
func (l *link) queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.bytes
}

// adminBuffers are sizes of requests or replies.
func adminBuffers(last, least, most int64) adminAnswer {
	return adminAnswer{{"last_buffer_size", last}, {"min_buffer_size", least}, {"max_buffer_size", most}}
}

func (s *Server) adminServerStats() adminAnswer {
	st := s.Stats()
	l := st.latency()
	data, log := s.dirBytes()
	responses := adminBuffers(st.LastResponseBytes, st.MinResponseBytes, st.MaxResponseBytes)
	a := adminAnswer{
		{"version", version},
		{"read_only", st.Status.State == readOnlyState},
		{"server_stats", adminAnswer{
			{"packets_sent", st.PacketsSent},
			{"packets_received", st.PacketsReceived},
			{"fsync_threshold_exceed_count", 0},
			{"client_response_stats", responses},
			{"provider_null", false},
			{"server_state", st.Status.State},
			{"data_dir_size", data},
			{"log_dir_size", log},
			{"last_processed_zxid", st.Status.Zxid},
			{"outstanding_requests", st.Outstanding},
			{"avg_latency", number(javaDouble(round4(l.Avg() / 1000)))},
			{"max_latency", l.Max / 1000},
			{"min_latency", l.Min / 1000},
			{"num_alive_client_connections", st.Connections},
			{"uptime", st.Uptime.Milliseconds()},
			{"auth_failed_count", st.AuthFailures},
			{"non_mtlsremote_conn_count", 0},
			{"non_mtlslocal_conn_count", 0},
		}},
		{"client_response", responses},
	}
	if st.Status.State == "leader" {
		a = append(a, adminField{"proposal_stats", adminBuffers(st.LastProposalBytes, st.MinProposalBytes, st.MaxProposalBytes)})
	}
	return append(a, adminField{"node_count", st.Znodes})
}

func (s *Server) adminStats() adminAnswer {
	plain, secure := s.adminCnxns(true)
	return append(s.adminServerStats(), adminField{"connections", plain}, adminField{"secure_connections", secure})
}

// adminProperties would be Java's system properties: there are none.
func (s *Server) adminProperties() adminAnswer { return nil }

func (s *Server) adminVotingView() adminAnswer {
	var view adminAnswer
	members, _ := s.members()
	for _, m := range slices.SortedFunc(slices.Values(members), func(a, b ServerSpec) int { return cmp.Compare(a.ID, b.ID) }) {
		if m.Observer {
			continue
		}
		servers, elections := []string{m.Peer}, []string{cmp.Or(m.Election, m.Peer)}
		for _, more := range m.More {
			servers, elections = append(servers, more.Peer), append(elections, more.Election)
		}
		view = append(view, adminField{strconv.FormatInt(m.ID, 10), adminAnswer{
			{"server_addresses", servers}, {"election_addresses", elections}, {"client_address", m.Client}, {"learner_type", "participant"},
		}})
	}
	return adminAnswer{{"current_config", view}}
}

func (s *Server) adminWatchSummary() adminAnswer {
	st := s.Stats()
	return adminAnswer{{"num_connections", st.WatchingConnections}, {"num_paths", st.WatchedPaths}, {"num_total_watches", st.Watches}}
}

func (s *Server) adminWatches() adminAnswer {
	sessions, _ := s.watching()
	all := make(map[string][]string)
	for id, paths := range sessions {
		all[strconv.FormatInt(id, 10)] = paths
	}
	return adminAnswer{{"session_id_to_watched_paths", all}}
}

func (s *Server) adminWatchesByPath() adminAnswer {
	_, paths := s.watching()
	for _, ids := range paths {
		slices.Sort(ids)
	}
	return adminAnswer{{"path_to_session_ids", paths}}
}

// adminAddress is a server's address as Java's MultipleAddresses shows itself.
func adminAddress(all []string) adminAnswer {
	var wildcards, hosts []string
	var ports []int
	for _, a := range all {
		host, port, _ := net.SplitHostPort(a)
		wildcards, hosts, ports = append(wildcards, "0.0.0.0:"+port), append(hosts, host), append(ports, portOf(a))
	}
	first := strings.Join(all[:1], "")
	return adminAnswer{
		{"empty", false},
		{"all_addresses", all},
		{"all_reachable_addresses", all},
		{"one", first},
		{"reachable_address", first},
		{"wildcard_addresses", wildcards},
		{"all_ports", ports},
		{"all_host_strings", hosts},
		{"all_reachable_addresses_or_all", all},
		{"reachable_or_one", first},
	}
}

func (s *Server) adminZabState() adminAnswer {
	st := s.Status()
	a := adminAnswer{{"myid", st.ID}, {"is_leader", st.Leader == st.ID && st.Leader != 0}}
	members, _ := s.members()
	voting := true
	for _, m := range members {
		if m.ID != st.ID {
			continue
		}
		voting = !m.Observer
		peers, elections := []string{m.Peer}, []string{cmp.Or(m.Election, m.Peer)}
		for _, more := range m.More {
			peers, elections = append(peers, more.Peer), append(elections, more.Election)
		}
		var client any
		if m.Client != "" {
			client = m.Client
		}
		a = append(a, adminField{"quorum_address", adminAddress(peers)}, adminField{"election_address", adminAddress(elections)}, adminField{"client_address", client})
	}
	state := "broadcast"
	if st.State == "looking" {
		state = "election"
	}
	return append(a, adminAnswer{
		{"voting", voting},
		{"last_zxid", fmt.Sprintf("0x%x", uint64(st.Zxid))},
		{"zab_epoch", uint64(st.Zxid) >> 32},
		{"zab_counter", uint64(st.Zxid) & 0xffffffff},
		{"zabstate", state},
	}...)
}
