package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// asVivarium in the environment makes this test binary the command itself.
const asVivarium = "VIVARIUM_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asVivarium) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is a running command.
type process struct {
	cmd *exec.Cmd
	out *bufio.Reader
	log *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startProcess(t *testing.T, args ...string) *process {
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.CommandContext(t.Context(), exe, args...), log: new(lockedBuffer)}
	p.cmd.Env = append(os.Environ(), asVivarium+"=1")
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	return p
}

// ready waits for the ready line and returns the addresses in it.
func (p *process) ready(t *testing.T) []string {
	line, err := p.out.ReadString('\n')
	require.NoError(t, err, "log: %s", p.log)
	addrs, ok := strings.CutPrefix(strings.TrimSpace(line), "ready zookeeper=")
	require.True(t, ok, line)
	return strings.Split(addrs, ",")
}

// end sends a signal and returns the exit code, -1 if the signal was the end.
func (p *process) end(t *testing.T, sig syscall.Signal) int {
	require.NoError(t, p.cmd.Process.Signal(sig))
	_, err := io.Copy(io.Discard, p.out)
	require.NoError(t, err)
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

// freePorts returns ports that were free a moment ago, below those that systems
// hand out by themselves: nobody else takes one meanwhile by accident.
func freePorts(t *testing.T, n int) (ports []int) {
	const first, last = 15_000, 32_000
	for port := first + os.Getpid()*37%(last-first); len(ports) < n; port = max(first, (port+1)%last) {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			ports = append(ports, port)
			require.NoError(t, l.Close())
		}
	}
	return ports
}

// writeEnsemble writes a zoo.cfg with its data directory for each of n servers.
func writeEnsemble(t *testing.T, n int) (files []string) {
	ports := freePorts(t, 2*n)
	var members strings.Builder
	for i := range n {
		fmt.Fprintf(&members, "server.%d=127.0.0.1:%d:%d\n", i+1, ports[2*i], ports[2*i+1])
	}
	for i := range n {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "myid"), fmt.Appendf(nil, "%d\n", i+1), 0o600))
		file := filepath.Join(dir, "zoo.cfg")
		text := fmt.Sprintf("tickTime=500\ninitLimit=20\nsyncLimit=10\ndataDir=%s\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n%s", dir, &members)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		files = append(files, file)
	}
	return files
}

// Three processes of three zoo.cfg are an ensemble; what it acknowledged is
// there after all three were killed, and SIGTERM ends each cleanly.
func TestServersOfConfigFiles(t *testing.T) {
	files := writeEnsemble(t, 3)
	var servers []*process
	start := func(flags ...string) (addrs []string) {
		servers = nil
		for _, f := range files {
			servers = append(servers, startProcess(t, append([]string{"zk", "-config", f}, flags...)...))
		}
		for _, p := range servers {
			addrs = append(addrs, p.ready(t)...)
		}
		return addrs
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	c, err := zk.Connect(ctx, zk.ClientConfig{Servers: start("-new")})
	require.NoError(t, err)
	_, err = c.Create(ctx, "/kept", []byte("one"), zk.Persistent)
	require.NoError(t, err)
	_, err = c.Set(ctx, "/kept", []byte("two"), 0)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	for _, p := range servers {
		require.Equal(t, -1, p.end(t, syscall.SIGKILL))
	}

	addrs := start()
	c, err = zk.Connect(ctx, zk.ClientConfig{Servers: addrs})
	require.NoError(t, err)
	data, stat, err := c.Get(ctx, "/kept")
	require.NoError(t, err)
	require.Equal(t, "two", string(data))
	require.EqualValues(t, 1, stat.Version)
	require.NoError(t, c.Close())

	modes := make(map[string]int)
	for _, a := range addrs {
		var out bytes.Buffer
		require.Zero(t, run(ctx, []string{"status", "-server", a}, &out, io.Discard))
		lines := strings.Split(out.String(), "\n")
		require.Regexp(t, `^Client port found: \d+\. Client address: 127\.0\.0\.1\. Client SSL: false\.$`, lines[0])
		modes[lines[1]]++
	}
	require.Equal(t, map[string]int{"Mode: leader": 1, "Mode: follower": 2}, modes)
	for _, p := range servers {
		require.Zero(t, p.end(t, syscall.SIGTERM), p.log)
		require.Contains(t, p.log.String(), "stopping")
	}
}

// A server alone needs no mark, and takes the one that is there away.
func TestServerAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "zoo.cfg")
	require.NoError(t, os.WriteFile(file, []byte("dataDir="+dir+"\nclientPort=0\nclientPortAddress=127.0.0.1\nadmin.serverPort=0\n"+
		"metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\nmetricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort="+
		strconv.Itoa(freePorts(t, 1)[0])+"\n"), 0o600))
	mark := filepath.Join(dir, initializeFile)
	require.NoError(t, os.WriteFile(mark, nil, 0o600))
	p := startProcess(t, "zk", "-config", file)
	addrs := p.ready(t)
	require.NoFileExists(t, mark)
	for what, want := range map[string]string{"AdminServer": `"error" : null`, "metrics": "\n# TYPE znode_count gauge\n"} {
		var m []string
		require.Eventually(t, func() bool { // the log comes by another pipe than the ready line
			m = regexp.MustCompile(`what=` + what + ` address=(\S+)\n`).FindStringSubmatch(p.log.String())
			return m != nil
		}, time.Minute, time.Millisecond)
		res, err := http.Get("http://" + m[1] + map[string]string{"AdminServer": "/commands/ruok", "metrics": "/metrics"}[what])
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Contains(t, string(b), want, what)
	}
	var out bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"status", "-server", addrs[0]}, &out, io.Discard))
	require.Contains(t, out.String(), "Mode: standalone\n")
	require.Zero(t, p.end(t, syscall.SIGTERM), p.log)
	out.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"status", "-server", addrs[0]}, &out, io.Discard))
	require.Contains(t, out.String(), "probably not running")
}

func TestWrongConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zoo.cfg")
	require.NoError(t, os.WriteFile(file, []byte("dataDir=/nowhere\ntickTime=fast\n"), 0o600))
	var errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"zk", "-config", file}, io.Discard, &errs))
	require.Contains(t, errs.String(), file+`:2: tickTime: "fast" is not a whole number`)
	errs.Reset()
	require.Equal(t, 1, run(t.Context(), []string{"up", "-zk-config", file}, io.Discard, &errs))
	require.Contains(t, errs.String(), "tickTime")
}
