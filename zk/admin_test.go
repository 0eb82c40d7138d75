package zk_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

func getAdmin(t *testing.T, h http.Handler, method, path string) *http.Response {
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func adminBody(t *testing.T, h http.Handler, command string) string {
	res := getAdmin(t, h, http.MethodGet, "/commands/"+command)
	require.Equal(t, http.StatusOK, res.StatusCode, command)
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.True(t, json.Valid(b), "%s", b)
	return string(b)
}

// What the AdminServer of a leader answers is what Apache ZooKeeper's answered
// (testdata/admin, from release 3.9.5), values aside: same fields, in that order,
// laid out in that way.
func TestAdminAsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := startAllWords(t, 3)
		require.NoError(t, c.Close())
		synctest.Wait() // a client hears of it before its server has ended the connection
		h := e.Server(e.Leader()).AdminHandler()
		files, err := filepath.Glob("testdata/admin/*.json")
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			command := strings.TrimSuffix(filepath.Base(file), ".json")
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			if command == "hash" { // it had none
				continue
			}
			got := adminBody(t, h, command)
			require.Equal(t, normalizeJSON(string(want)), normalizeJSON(got), command)
		}
	})
}

func normalizeJSON(text string) string {
	for _, r := range []struct{ re, to string }{
		{`"(num_alive|avg|min|max|cnt|sum|p\d+)_[12]_learner.*\n *`, ""},
		{`(?m)^ *"[a-z0-9]+_[12]_learner_handler\S* : .*\n`, ""},
		{`(?m)^ *"\S*_per_namespace" : .*\n`, ""},
		{`(: |\[ )"[^"]*:\d+"`, `${1}"ADDR"`},
		{`\[ "[^"]*" \]`, `[ "TEXT" ]`},
		{`: "[^"]*"`, `: "TEXT"`},
		{`([:[] )-?\d+(\.\d+)?`, "${1}N"},
		{`: \{ \}`, ": {}"},
		{`"expiry_time_to_session_ids" : \{[^}]*\}`, `"expiry_time_to_session_ids" : {}`},
		{`(?s)"current_config" : \{.*?\n  \}`, `"current_config" : {}`},
	} {
		text = regexp.MustCompile(r.re).ReplaceAllString(text, r.to)
	}
	return strings.TrimSpace(text)
}

func TestAdminTellsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := startAllWords(t, 3)
		s := e.Server(e.Leader())
		h := s.AdminHandler()
		_, err := c.Create(t.Context(), "/eph", nil, zk.Ephemeral)
		require.NoError(t, err)
		_, _, err = c.Get(t.Context(), "/eph", zk.Watch(func(zk.Event) {}))
		require.NoError(t, err)
		require.Contains(t, adminBody(t, h, "connections"), `"last_operation" : "GETD"`)
		require.Regexp(t, `"session_id_to_ephemeral_paths" : \{\n    "-?\d+" : \[ "/eph" \]\n  \}`, adminBody(t, h, "dump"))
		require.Regexp(t, `"path_to_session_ids" : \{\n    "/eph" : \[ -?\d+ \]\n  \}`, adminBody(t, h, "wchp"))
		require.Contains(t, adminBody(t, h, "wchs"), `"num_total_watches" : 1`)
		require.Contains(t, adminBody(t, h, "voting_view"), `"2" : {`)
		require.Contains(t, adminBody(t, h, "hash"), `"digest" : "`)
		require.Contains(t, adminBody(t, h, "nonsense"), `"error" : "Unknown command: nonsense"`)
		require.Contains(t, adminBody(t, h, "srst"), `"command" : "stat_reset"`)
		require.Equal(t, http.StatusMethodNotAllowed, getAdmin(t, h, http.MethodPost, "/commands/mntr").StatusCode)
		list, err := io.ReadAll(getAdmin(t, h, http.MethodGet, "/commands").Body)
		require.NoError(t, err)
		require.Contains(t, string(list), "<a href=\"/commands/zabstate\">zabstate</a>\n<br/>\n")
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		require.Equal(t, http.StatusServiceUnavailable, getAdmin(t, h, http.MethodGet, "/commands/stat").StatusCode)
	})
}

func TestMetricsHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := startAllWords(t, 1)
		_, err := c.Create(t.Context(), "/a", nil, zk.Persistent)
		require.NoError(t, err)
		res := getAdmin(t, e.Server(1).MetricsHandler(), http.MethodGet, "/metrics")
		require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", res.Header.Get("Content-Type"))
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		text := string(b)
		require.Regexp(t, `(?m)^# TYPE znode_count gauge\nznode_count \d+\.0$`, text)
		require.Regexp(t, `(?m)^# TYPE packets_received counter\npackets_received \d+\.0$|^packets_received \d+\.0$`, text)
		require.Regexp(t, `(?m)^# TYPE updatelatency summary\nupdatelatency\{quantile="0.5",\} [0-9.]+\nupdatelatency\{quantile="0.9",\}`, text)
		require.Regexp(t, `(?m)^updatelatency_count 1\.0\nupdatelatency_sum [0-9.]+$`, text)
		seen := make(map[string]bool)
		for line := range strings.Lines(text) {
			require.Regexp(t, `^(# (HELP [a-z0-9_]+ [a-z0-9_]+|TYPE [a-z0-9_]+ (gauge|counter|summary))|[a-z0-9_]+(\{quantile="0\.\d+",\})? (NaN|-?[0-9.]+))\n$`, line)
			if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
				require.False(t, seen[name], name)
				seen[name] = true
			}
		}
		require.Equal(t, http.StatusMethodNotAllowed, getAdmin(t, e.Server(1).MetricsHandler(), http.MethodPost, "/").StatusCode)
	})
}

// A snapshot is for the super user, and for who is named in the ACL of /.
func TestAdminSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := zk.StartEnsemble(t.Context(), zk.EnsembleConfig{Servers: 1, Server: zk.Config{SuperDigest: zk.DigestACL(zk.PermAll, "super", "secret").ID.ID}})
		require.NoError(t, err)
		defer e.Close()
		h := e.Server(1).AdminHandler()
		take := func(authorization string) *http.Response {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/commands/snapshot", nil)
			r.Header.Set("Authorization", authorization)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		for _, wrong := range []string{"", "digest", "digest super", "digest super:wrong", "digest ann:pw", "basic super:secret", "world anyone", "digest :"} {
			require.Equal(t, http.StatusUnauthorized, take(wrong).StatusCode, wrong)
		}
		res := take("digest super:secret")
		require.Equal(t, http.StatusOK, res.StatusCode)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NotEmpty(t, b)
		require.Regexp(t, "^0x[0-9a-f]+$", res.Trailer.Get("last_zxid"))

		c, err := e.Connect(t.Context())
		require.NoError(t, err)
		_, err = c.SetACL(t.Context(), "/", zk.AnyVersion, zk.WorldACL(zk.PermRead), zk.DigestACL(zk.PermAll, "ann", "pw"), zk.DigestACL(zk.PermRead, "bob", "pw"))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, take("digest ann:pw").StatusCode)
		require.Equal(t, http.StatusUnauthorized, take("digest bob:pw").StatusCode)
		require.Equal(t, http.StatusMethodNotAllowed, getAdmin(t, h, http.MethodPost, "/commands/snapshot").StatusCode)
		require.NoError(t, c.Close())
	})
}
