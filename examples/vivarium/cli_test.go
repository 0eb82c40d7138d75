package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/term"

	"github.com/vivarium-go/vivarium/zk"
)

// startAlone starts a new server alone and returns its address.
func startAlone(t *testing.T) string {
	s, err := zk.StartServer(t.Context(), zk.Config{
		ID: 1, Servers: []zk.ServerSpec{{ID: 1, Peer: "127.0.0.1:0"}}, Clients: []zk.Endpoint{{Address: "127.0.0.1:0"}}, Bootstrap: true, ExtendedTypes: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Ready(t.Context()))
	return s.Addrs()[0].String()
}

// startThree starts a new ensemble that may be reconfigured, whose super user is
// super:secret, and returns the address of one server.
func startThree(t *testing.T) string {
	ports := freePorts(t, 9)
	address := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	var specs []zk.ServerSpec
	for i := range 3 {
		specs = append(specs, zk.ServerSpec{ID: int64(i + 1), Peer: address(3 * i), Election: address(3*i + 1), Client: address(3*i + 2)})
	}
	var servers []*zk.Server
	for _, spec := range specs {
		s, err := zk.StartServer(t.Context(), zk.Config{
			ID: spec.ID, Servers: specs, Clients: []zk.Endpoint{{Address: spec.Client}}, Bootstrap: true, ExtendedTypes: true, ReconfigEnabled: true,
			EnforceQuota: true, SuperDigest: zk.DigestACL(zk.PermAll, "super", "secret").ID.ID, TickTime: 100 * time.Millisecond,
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		servers = append(servers, s)
	}
	for _, s := range servers {
		require.NoError(t, s.Ready(t.Context()))
	}
	return specs[0].Client
}

// normalizeCLI takes away what is of one run, and what watches print, which comes
// at a time of its own.
func normalizeCLI(text string) (output, events string) {
	for _, r := range []struct{ re, to string }{
		{`(?m)^([cm]time|[cmp]Zxid) = .*$`, "$1 = #"},
		{`zxid: \d+`, "zxid: #"},
		{`127\.0\.0\.1(:\d\d\d+)+`, "ADDR"},
		{`(?m)^(version=)?[1-9a-f]00[0-9a-f]{6}( |$)`, "${1}VERSION$2"},
	} {
		text = regexp.MustCompile(r.re).ReplaceAllString(text, r.to)
	}
	var o, e strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case line == "\n" || line == "WATCHER::\n":
		case strings.HasPrefix(line, "WatchedEvent "):
			e.WriteString(line)
		default:
			o.WriteString(line)
		}
	}
	return o.String(), e.String()
}

// testdata/cli is a run of Apache ZooKeeper's zkCli 3.9 on three of its servers
// (TestCLIAsThere of internal/interop made it): its commands, and what it printed to
// standard output and error, and by its watches. Ours prints the same.
func TestCLIAsThere(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile("testdata/cli/" + name)
		require.NoError(t, err)
		return string(b)
	}
	var out, errs lockedBuffer
	err := runCLI(t.Context(), []string{"-server", startThree(t)}, strings.NewReader(read("commands.txt")), &out, &errs)
	require.NoError(t, err)
	output, events := normalizeCLI(out.String())
	require.Equal(t, read("stderr.txt"), errs.String())
	require.Equal(t, read("stdout.txt"), output)
	require.Equal(t, read("events.txt"), events)
}

func TestCLIArguments(t *testing.T) {
	addr := startAlone(t)
	command := func(args ...string) (out, errs string, err error) {
		var o, e lockedBuffer
		err = runCLI(t.Context(), append([]string{"-server", addr}, args...), strings.NewReader("get /no"), &o, &e)
		return o.String(), e.String(), err
	}
	_, errs, err := command("create", "/a", "some data")
	require.NoError(t, err)
	require.Equal(t, "Created /a\n", errs)
	out, _, err := command("get", "-s", "/a")
	require.NoError(t, err)
	require.Contains(t, out, "\nsome data\ncZxid = 0x")
	_, errs, err = command("get", "/b")
	require.ErrorIs(t, err, errCommand)
	require.Equal(t, "Node does not exist: /b\n", errs)
	_, errs, err = command("get", "-y", "/b")
	require.ErrorIs(t, err, errCommand)
	require.Contains(t, errs, "get [-s] [-w] [-b] [-x] path\n -b   Output")
	_, errs, err = command("dance")
	require.ErrorIs(t, err, errCommand)
	require.Contains(t, errs, "Command not found dance")
	for _, args := range [][]string{
		{"create", "-c", "-e", "/x"},
		{"create", "-t", "1", "-e", "/x"},
		{"create", "-t", "x", "/x"},
		{"set", "-v", "x", "/a", "b"},
		{"setAcl", "/a", "world"},
		{"setAcl", "/a", "world:anyone:x"},
		{"redo", "7"},
		{"redo", "x"},
		{"addWatch", "-m", "SOME", "/a"},
		{"printwatches", "maybe"},
		{"removewatches", "/a"},
		{"setquota", "/a"},
		{"setquota", "-n", "1", "-b", "1", "/a"},
		{"reconfig", "-add", "server.2=127.0.0.1:1:2:observer;3"},
		{"reconfig", "-file", "none"},
		{"reconfig", "-remove", "x"},
		{"get", "/./a"},
		{"get", "/\x01"},
		{"get", ""},
	} {
		_, errs, err := command(args...)
		require.ErrorIs(t, err, errCommand, args)
		require.NotEmpty(t, errs)
	}
	for _, args := range [][]string{
		{"create", "-s", "-e", "/x"},
		{"create", "-t", "100000", "-s", "/y"},
		{"setAcl", "-R", "/a", "world:anyone:cdrwa"},
		{"delete", "-v", "0", "/a"},
		{"version"},
		{"config", "-s", "-w"},
		{"config", "-c"},
		{"printwatches"},
		{"addWatch", "/"},
		{"help"},
	} {
		_, errs, err := command(args...)
		require.NoError(t, err, "%v %s", args, errs)
	}
	var o, e lockedBuffer
	require.Equal(t, 2, run(t.Context(), []string{"cli", "-nope"}, &o, &e))
	require.ErrorContains(t, runCLI(t.Context(), []string{"-server", "127.0.0.1:1", "-timeout", "50ms", "ls", "/"}, nil, &o, &e), "deadline")
}

// Watches tell what happens while nobody types.
func TestCLIWatches(t *testing.T) {
	addr := startAlone(t)
	in, typed := io.Pipe()
	var out, errs lockedBuffer
	ended := make(chan error, 1)
	go func() { ended <- runCLI(t.Context(), []string{"-server", addr}, in, &out, &errs) }()
	say := func(line string) {
		_, err := io.WriteString(typed, line+"\n")
		require.NoError(t, err)
	}
	say("addWatch /")
	say("sync /")
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "Sync is OK") }, time.Minute, time.Millisecond)
	var o, e lockedBuffer
	require.NoError(t, runCLI(t.Context(), []string{"-server", addr, "create", "/new"}, nil, &o, &e))
	require.Eventually(t, func() bool {
		return strings.Contains(out.String(), "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:NodeCreated path:/new zxid: ")
	}, time.Minute, time.Millisecond)
	say("quit")
	require.NoError(t, <-ended)
	require.Empty(t, errs.String())
}

// typist is a terminal's other side.
type typist struct {
	io.Reader
	mu sync.Mutex
	b  bytes.Buffer
}

func (y *typist) Write(p []byte) (int, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.b.Write(p)
}

// On a terminal there is a prompt, tab completes commands and paths, and the
// arrow brings the line before back.
func TestCLITerminal(t *testing.T) {
	addr := startAlone(t)
	keys := "cre\t/app one\r" + "create /apple two\r" + "get /ap\t\t\r" + "get /appl\t\r" + "\x1b[A\r" + "quit\r"
	y := &typist{Reader: strings.NewReader(keys)}
	sh := &shell{ctx: t.Context(), out: &lines{}, err: &lines{}, server: addr, timeout: 10 * time.Second}
	require.NoError(t, sh.converse(term.NewTerminal(y, "")))
	y.mu.Lock()
	text := y.b.String()
	y.mu.Unlock()
	require.Contains(t, text, "[zk: "+addr+"(CONNECTED) 0] ")
	require.Contains(t, text, "Created /app\r\n")
	require.Equal(t, []string{"create /app one", "create /apple two", "get /app", "get /apple", "get /apple", "quit"}, sh.history)
	require.Equal(t, 2, strings.Count(text, "\ntwo\r\n"))
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"": nil, "  ": nil, "a b": {"a", "b"}, `set /a "x y"`: {"set", "/a", "x y"}, `set /a ''`: {"set", "/a", ""}, `a'b "c'd`: {"ab \"cd"}, "ü\tx\r": {"ü", "x"},
	} {
		got, err := splitWords(line)
		require.NoError(t, err, line)
		require.Equal(t, want, got, line)
	}
	_, err := splitWords(`set /a "x`)
	require.ErrorContains(t, err, "not closed")
}

func TestHexDump(t *testing.T) {
	const rule = "+--------+-------------------------------------------------+----------------+"
	require.Empty(t, hexDump(nil))
	require.Equal(t, strings.Join([]string{
		"         +-------------------------------------------------+",
		"         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |",
		rule,
		"|00000000| 61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70 |abcdefghijklmnop|",
		"|00000010| 00 7f ff                                        |...             |",
		rule,
	}, "\n"), hexDump([]byte("abcdefghijklmnop\x00\x7f\xff")))
}
