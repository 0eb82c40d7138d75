package zk

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// metricValues are the gauges and counters that mean something here.
var metricValues = map[string]func(*Stats) float64{
	"ephemerals_count":              func(s *Stats) float64 { return float64(s.Ephemerals) },
	"num_alive_connections":         func(s *Stats) float64 { return float64(s.Connections) },
	"avg_latency":                   func(s *Stats) float64 { return round4(s.latency().Avg() / 1000) },
	"min_latency":                   func(s *Stats) float64 { return float64(s.latency().Min / 1000) },
	"max_latency":                   func(s *Stats) float64 { return float64(s.latency().Max / 1000) },
	"min_proposal_size":             func(s *Stats) float64 { return float64(s.MinProposalBytes) },
	"max_proposal_size":             func(s *Stats) float64 { return float64(s.MaxProposalBytes) },
	"last_proposal_size":            func(s *Stats) float64 { return float64(s.LastProposalBytes) },
	"outstanding_requests":          func(s *Stats) float64 { return float64(s.Outstanding) },
	"znode_count":                   func(s *Stats) float64 { return float64(s.Znodes) },
	"global_sessions":               func(s *Stats) float64 { return float64(s.Sessions) },
	"local_sessions":                func(s *Stats) float64 { return float64(s.LocalSessions) },
	"last_client_response_size":     func(s *Stats) float64 { return float64(s.LastResponseBytes) },
	"min_client_response_size":      func(s *Stats) float64 { return float64(s.MinResponseBytes) },
	"max_client_response_size":      func(s *Stats) float64 { return float64(s.MaxResponseBytes) },
	"packets_sent":                  func(s *Stats) float64 { return float64(s.PacketsSent) },
	"packets_received":              func(s *Stats) float64 { return float64(s.PacketsReceived) },
	"synced_followers":              func(s *Stats) float64 { return float64(s.SyncedFollowers) },
	"synced_observers":              func(s *Stats) float64 { return float64(s.SyncedObservers) },
	"synced_non_voting_followers":   func(s *Stats) float64 { return float64(s.Learners - s.SyncedFollowers - s.SyncedObservers) },
	"learners":                      func(s *Stats) float64 { return float64(s.Learners) },
	"quorum_size":                   func(s *Stats) float64 { return float64(s.QuorumSize) },
	"watch_count":                   func(s *Stats) float64 { return float64(s.Watches) },
	"watch_bytes":                   func(s *Stats) float64 { return float64(s.WatchBytes) },
	"auth_failed_count":             func(s *Stats) float64 { return float64(s.AuthFailures) },
	"max_file_descriptor_count":     func(s *Stats) float64 { return float64(s.FilesMax) },
	"open_file_descriptor_count":    func(s *Stats) float64 { return float64(s.FilesOpen) },
	"approximate_data_size":         func(s *Stats) float64 { return float64(s.DataBytes) },
	"leader_uptime":                 func(s *Stats) float64 { return float64(s.LeaderUptime.Milliseconds()) },
	"uptime":                        func(s *Stats) float64 { return float64(s.Uptime.Milliseconds()) },
	"connection_rejected":           func(s *Stats) float64 { return float64(s.ConnectionsRejected) },
	"connection_drop_count":         func(s *Stats) float64 { return float64(s.ConnectionsDropped) },
	"connection_request_count":      func(s *Stats) float64 { return float64(s.ConnectionRequests) },
	"connection_revalidate_count":   func(s *Stats) float64 { return float64(s.SessionsRevalidated) },
	"revalidate_count":              func(s *Stats) float64 { return float64(s.SessionsRevalidated) },
	"bytes_received_count":          func(s *Stats) float64 { return float64(s.BytesReceived) },
	"response_bytes":                func(s *Stats) float64 { return float64(s.BytesSent) },
	"commit_count":                  func(s *Stats) float64 { return float64(s.Commits) },
	"proposal_count":                func(s *Stats) float64 { return float64(s.Proposals) },
	"large_requests_rejected":       func(s *Stats) float64 { return float64(s.LargeRequestsRejected) },
	"looking_count":                 func(s *Stats) float64 { return float64(s.Lookings) },
	"digest_mismatches_count":       func(s *Stats) float64 { return float64(s.DigestMismatches) },
	"snap_count":                    func(s *Stats) float64 { return float64(s.SnapshotsSent) },
	"diff_count":                    func(s *Stats) float64 { return float64(s.DiffsSent) },
	"learner_commit_received_count": func(s *Stats) float64 { return float64(s.LearnerCommits) },
	// What was made durable and was not proposed here.
	"learner_proposal_received_count": func(s *Stats) float64 { return float64(max(0, s.BatchSize.Sum-s.Proposals)) },
	"snapshot_error_count":            func(s *Stats) float64 { return float64(s.SnapshotErrors) },
	"stale_sessions_expired":          func(s *Stats) float64 { return float64(s.SessionsExpired) },
	"sync_processor_request_queued":   func(s *Stats) float64 { return float64(s.BatchSize.Sum) },
	"prep_processor_request_queued":   func(s *Stats) float64 { return float64(s.Proposals) },
}

// metricSummaries are the distributions that mean something here, in the unit of
// ZooKeeper: those of times, in ms there and in µs in Stats, have scale 1000.
var metricSummaries = map[string]struct {
	of    func(*Stats) Distribution
	scale float64
}{
	"readlatency":               {func(s *Stats) Distribution { return s.ReadLatency }, 1000},
	"updatelatency":             {func(s *Stats) Distribution { return s.WriteLatency }, 1000},
	"fsynctime":                 {func(s *Stats) Distribution { return s.FsyncTime }, 1000},
	"snapshottime":              {func(s *Stats) Distribution { return s.SnapshotTime }, 1000},
	"election_time":             {func(s *Stats) Distribution { return s.ElectionTime }, 1000},
	"unavailable_time":          {func(s *Stats) Distribution { return s.ElectionTime }, 1000},
	"leader_unavailable_time":   {func(s *Stats) Distribution { return s.LeaderElectionTime }, 1000},
	"dbinittime":                {func(s *Stats) Distribution { return s.LoadTime }, 1000},
	"sync_processor_batch_size": {func(s *Stats) Distribution { return s.BatchSize }, 1},
	"node_created_watch_count":  {func(s *Stats) Distribution { return s.NodeCreatedWatches }, 1},
	"node_deleted_watch_count":  {func(s *Stats) Distribution { return s.NodeDeletedWatches }, 1},
	"node_changed_watch_count":  {func(s *Stats) Distribution { return s.NodeChangedWatches }, 1},
	"node_children_watch_count": {func(s *Stats) Distribution { return s.NodeChildrenWatches }, 1},
}

// latency is that of reads and writes together, without percentiles.
func (s *Stats) latency() Distribution {
	r, w := s.ReadLatency, s.WriteLatency
	if r.Count == 0 {
		return w
	}
	if w.Count == 0 {
		return r
	}
	return Distribution{Count: r.Count + w.Count, Sum: r.Sum + w.Sum, Min: min(r.Min, w.Min), Max: max(r.Max, w.Max)}
}

func round4(v float64) float64 { return math.Round(v*10_000) / 10_000 }

// javaDouble prints a number as Java does, if it is not very large or small.
func javaDouble(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") && !math.IsNaN(v) && !math.IsInf(v, 0) {
		s += ".0"
	}
	return s
}

// metric is one line of mntr: a name without "zk_", and its value as there.
type metric struct {
	name  string
	value string
	text  bool // the value is no number
}

// isDouble are gauges that Java has as floating point numbers.
func isDouble(name string) bool {
	return name == "avg_latency" || name == "connection_drop_probability"
}

// gauges are the names of gauges that a server in this state has.
func (s *Stats) gauges() []string {
	leads, alone := s.Status.State == "leader", s.Status.State == "standalone"
	return slices.DeleteFunc(slices.Clone(gaugeNames), func(n string) bool {
		return !leads && slices.Contains(leaderGauges, n) || alone && n == "quorum_size"
	})
}

// metrics returns what mntr tells.
func (s *Stats) metrics() []metric {
	all := []metric{{"version", version, true}, {"server_state", s.Status.State, true}}
	if state := s.Status.peerState(); state != "" {
		all = append(all, metric{"peer_state", state, true})
	}
	number := func(name string) {
		v := 0.0
		if f := metricValues[name]; f != nil {
			v = f(s)
		}
		text := strconv.FormatFloat(v, 'f', -1, 64)
		if isDouble(name) {
			text = javaDouble(v)
		}
		all = append(all, metric{name: name, value: text})
	}
	for _, name := range s.gauges() {
		number(name)
	}
	for _, name := range counterNames {
		number(name)
	}
	for _, name := range summaryNames {
		all = s.appendSummary(all, name, false)
	}
	for _, name := range percentileNames {
		all = s.appendSummary(all, name, true)
	}
	return all
}

// summary returns a distribution in ZooKeeper's unit, and the factor to it.
func (s *Stats) summary(name string) (Distribution, float64) {
	m := metricSummaries[name]
	if m.of == nil {
		return Distribution{}, 1
	}
	return m.of(s), m.scale
}

func (s *Stats) appendSummary(all []metric, name string, percentiles bool) []metric {
	d, scale := s.summary(name)
	whole := func(v int64) string { return strconv.FormatInt(int64(float64(v)/scale), 10) }
	all = append(
		all, metric{name: "avg_" + name, value: javaDouble(round4(d.Avg() / scale))}, metric{name: "min_" + name, value: whole(d.Min)},
		metric{name: "max_" + name, value: whole(d.Max)}, metric{name: "cnt_" + name, value: strconv.FormatInt(d.Count, 10)},
		metric{name: "sum_" + name, value: whole(d.Sum)},
	)
	if percentiles {
		all = append(
			all, metric{name: "p50_" + name, value: whole(d.P50)}, metric{name: "p95_" + name, value: whole(d.P95)},
			metric{name: "p99_" + name, value: whole(d.P99)}, metric{name: "p999_" + name, value: whole(d.P999)},
		)
	}
	return all
}

// peerState is what mntr calls the role of a member of an ensemble.
func (st *ServerStatus) peerState() string {
	switch st.State {
	case "leader":
		return "leading - broadcast"
	case "follower":
		return "following - broadcast"
	case "observer":
		return "observing - broadcast"
	case "looking":
		return "looking"
	}
	return ""
}

// MetricsHandler serves the server's metrics in Prometheus' text format, under
// the names that ZooKeeper's own provider gives them. Mount it where they are to
// be scraped: /metrics there.
func (s *Server) MetricsHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		st := s.Stats()
		_, _ = w.Write(appendPrometheus(nil, &st)) // who went away does not read it
	})
}

func appendPrometheus(b []byte, s *Stats) []byte {
	value := func(name string) float64 {
		if f := metricValues[name]; f != nil {
			return f(s)
		}
		return 0
	}
	for _, name := range s.gauges() {
		b = fmt.Appendf(b, "# HELP %[1]s %[1]s\n# TYPE %[1]s gauge\n%[1]s %s\n", name, javaDouble(value(name)))
	}
	for _, name := range counterNames {
		b = fmt.Appendf(b, "# HELP %[1]s %[1]s\n# TYPE %[1]s counter\n%[1]s %s\n", name, javaDouble(value(name)))
	}
	for i, names := range [][]string{summaryNames, percentileNames} {
		for _, name := range names {
			b = s.appendPrometheusSummary(b, name, i > 0)
		}
	}
	return b
}

func (s *Stats) appendPrometheusSummary(b []byte, name string, percentiles bool) []byte {
	d, scale := s.summary(name)
	b = fmt.Appendf(b, "# HELP %[1]s %[1]s\n# TYPE %[1]s summary\n", name)
	quantile := func(q string, v int64) {
		text := "NaN"
		if d.Count > 0 {
			text = javaDouble(float64(v) / scale)
		}
		b = fmt.Appendf(b, "%s{quantile=\"%s\",} %s\n", name, q, text)
	}
	quantile("0.5", d.P50)
	if percentiles {
		quantile("0.9", d.P90)
		quantile("0.99", d.P99)
	}
	return fmt.Appendf(b, "%[1]s_count %[2]s\n%[1]s_sum %[3]s\n", name, javaDouble(float64(d.Count)), javaDouble(float64(d.Sum)/scale))
}
