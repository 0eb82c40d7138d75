package zk

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// adminAnswer is a JSON object whose fields keep their order.
type adminAnswer []adminField

type adminField struct {
	name  string
	value any
}

// MarshalJSON writes the fields in their order.
func (a adminAnswer) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range a {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// adminCommand is one of the AdminServer's commands.
type adminCommand struct {
	names  []string // the first is the one that the answer bears
	answer func(*Server) adminAnswer
	idle   bool // needs no server that serves
	post   bool // changes something, and takes POST, too
}

// adminCommands are in the order of the AdminServer's list.
var adminCommands = []adminCommand{
	{names: []string{"configuration", "conf", "config"}, answer: (*Server).adminConfiguration},
	{names: []string{"connection_stat_reset", "crst"}, answer: (*Server).adminConnectionReset, post: true},
	{names: []string{"connections", "cons"}, answer: (*Server).adminConnections},
	{names: []string{"dirs"}, answer: (*Server).adminDirs},
	{names: []string{"dump"}, answer: (*Server).adminDump},
	{names: []string{"environment", "env", "envi"}, answer: (*Server).adminEnvironment, idle: true},
	{names: []string{"get_trace_mask", "gtmk"}, answer: (*Server).adminTraceMask, idle: true},
	{names: []string{"hash"}, answer: (*Server).adminHash},
	{names: []string{"initial_configuration", "icfg"}, answer: (*Server).adminInitial, idle: true},
	{names: []string{"is_read_only", "isro"}, answer: (*Server).adminReadOnly},
	{names: []string{"last_snapshot", "lsnp"}, answer: (*Server).adminLastSnapshot},
	{names: []string{"leader", "lead"}, answer: (*Server).adminLeader},
	{names: []string{"monitor", "mntr"}, answer: (*Server).adminMonitor},
	{names: []string{"observers", "obsr"}, answer: (*Server).adminObservers},
	{names: []string{"ruok"}, answer: func(*Server) adminAnswer { return nil }, idle: true},
	{names: []string{"server_stats", "srvr"}, answer: (*Server).adminServerStats},
	{names: []string{"stat_reset", "srst"}, answer: (*Server).adminStatReset, post: true},
	{names: []string{"stats", "stat"}, answer: (*Server).adminStats},
	{names: []string{"system_properties", "sysp"}, answer: (*Server).adminProperties, idle: true},
	{names: []string{"voting_view"}, answer: (*Server).adminVotingView},
	{names: []string{"watch_summary", "wchs"}, answer: (*Server).adminWatchSummary},
	{names: []string{"watches", "wchc"}, answer: (*Server).adminWatches},
	{names: []string{"watches_by_path", "wchp"}, answer: (*Server).adminWatchesByPath},
	{names: []string{"zabstate"}, answer: (*Server).adminZabState},
}

// AdminHandler serves the commands of ZooKeeper's AdminServer, in JSON, and a
// list of them: mount it at /commands, with a slash behind it too. It asks for no
// password, but for snapshot, and tells much: where it listens, and who may reach
// it, is the caller's. The command snapshot streams what Restore takes, to who
// shows in an Authorization header that it is the super user, or named in the ACL
// of / with all permissions. There is no command restore: see Restore.
func (s *Server) AdminHandler() http.Handler {
	byName := make(map[string]adminCommand)
	for _, c := range adminCommands {
		for _, n := range c.names {
			byName[n] = c
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if name == "" || name == "commands" {
			s.adminList(w)
			return
		}
		if name == "snapshot" || name == "snap" {
			s.adminSnapshot(w, r)
			return
		}
		c, known := byName[strings.ToLower(name)]
		switch {
		case !known:
			writeAdmin(w, http.StatusOK, name, "Unknown command: "+name, nil)
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !(c.post && r.Method == http.MethodPost):
			w.Header().Set("Allow", "GET")
			writeAdmin(w, http.StatusMethodNotAllowed, c.names[0], "Method not allowed", nil)
		case s.Err() != nil, !c.idle && !s.Status().Serving:
			writeAdmin(w, http.StatusServiceUnavailable, c.names[0], "This ZooKeeper instance is not currently serving requests", nil)
		default:
			writeAdmin(w, http.StatusOK, c.names[0], nil, c.answer(s))
		}
	})
}

// adminList is the page of links that /commands is.
func (s *Server) adminList(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	for _, c := range append(slices.Clone(adminCommands), adminCommand{names: []string{"snapshot"}}) {
		fmt.Fprintf(w, "<a href=\"/commands/%[1]s\">%[1]s</a>\n<br/>\n", c.names[0])
	}
}

// writeAdmin writes an answer as Jackson prints it: two blanks a level, a blank
// on both sides of a colon.
func writeAdmin(w http.ResponseWriter, status int, command string, failed any, a adminAnswer) {
	a = append(slices.Clip(a), adminField{"command", command}, adminField{"error", failed})
	b, err := json.Marshal(a)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(appendJackson(nil, b)) // who went away does not read it
}

// appendJackson lays out compact JSON as Jackson's pretty printer does: arrays
// stay on a line, objects do not.
func appendJackson(dst, compact []byte) []byte {
	var inside []byte // the kinds of brackets that are open
	depth := 0        // of objects
	line := func() {
		dst = append(dst, '\n')
		for range depth {
			dst = append(dst, "  "...)
		}
	}
	for i := 0; i < len(compact); i++ {
		switch c := compact[i]; c {
		case '"':
			end := i + 1
			for compact[end] != '"' {
				if compact[end] == '\\' {
					end++
				}
				end++
			}
			dst = append(dst, compact[i:end+1]...)
			i = end
		case '{', '[':
			inside = append(inside, c)
			dst = append(dst, c)
			switch {
			case compact[i+1] == c+2: // the closing bracket of both kinds
				dst = append(dst, ' ')
			case c == '{':
				depth++
				line()
			default:
				dst = append(dst, ' ')
			}
		case '}', ']':
			inside = inside[:len(inside)-1]
			switch {
			case compact[i-1] == c-2:
			case c == '}':
				depth--
				line()
			default:
				dst = append(dst, ' ')
			}
			dst = append(dst, c)
		case ',':
			dst = append(dst, c)
			if inside[len(inside)-1] == '{' {
				line()
			} else {
				dst = append(dst, ' ')
			}
		case ':':
			dst = append(dst, " : "...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// jacksonTime is how Jackson prints a java.util.Date by default.
func jacksonTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000+00:00") }
