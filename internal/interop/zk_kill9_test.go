package interop

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

var killTimes = flag.Int("kills", 0, "how many times TestKill9 kills; 0: 300, or 40 with -short")

// The environment that makes this test binary one server: its zoo.cfg.
const killChild = "VIVARIUM_INTEROP_ZOO_CFG"

func TestMain(m *testing.M) {
	flag.Parse()
	if file := os.Getenv(killChild); file != "" {
		if err := serveZooCfg(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveZooCfg is a process with one server, until its standard input ends.
func serveZooCfg(file string) error {
	fc, err := zk.LoadConfig(file)
	if err != nil {
		return err
	}
	cfg, err := fc.ServerConfig()
	if err != nil {
		return err
	}
	_, err = os.Stat(file + ".started")
	cfg.Bootstrap = errors.Is(err, os.ErrNotExist)
	ctx := context.Background()
	s, err := zk.StartServer(ctx, cfg)
	if err != nil {
		return err
	}
	go func() {
		if s.Ready(ctx) == nil && os.WriteFile(file+".started", nil, 0o600) == nil {
			fmt.Println("ready")
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(runtime.NumGoroutine())
	}
	return s.Close()
}

// killServer is a process with one server on a real disk.
type killServer struct {
	file, addr string
	cmd        *exec.Cmd
	in         io.Writer   // a line asks for the number of goroutines
	lines      chan string // what it prints after ready
	ready      chan struct{}
	exited     chan struct{}
	errs       *strings.Builder
}

func startKillServers(t testing.TB, n int) []*killServer {
	t.Helper()
	ports := freePorts(t, 3*n)
	var members strings.Builder
	for i := range n {
		fmt.Fprintf(&members, "server.%d=127.0.0.1:%d:%d\n", i+1, ports[3*i], ports[3*i+1])
	}
	servers := make([]*killServer, n)
	for i := range n {
		dir := t.TempDir()
		s := &killServer{file: filepath.Join(dir, "zoo.cfg"), addr: fmt.Sprintf("127.0.0.1:%d", ports[3*i+2])}
		cfg := fmt.Sprintf("tickTime=100\ninitLimit=50\nsyncLimit=20\nsnapCount=500\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\nmaxSessionTimeout=60000\n%s",
			dir, ports[3*i+2], members.String())
		require.NoError(t, os.WriteFile(s.file, []byte(cfg), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "myid"), fmt.Appendf(nil, "%d\n", i+1), 0o600))
		servers[i] = s
		s.start(t)
		t.Cleanup(s.kill)
	}
	for _, s := range servers {
		s.await(t)
	}
	return servers
}

func (s *killServer) start(t testing.TB) {
	self, err := os.Executable()
	require.NoError(t, err)
	s.cmd = exec.Command(self)
	s.cmd.Env = append(os.Environ(), killChild+"="+s.file)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.errs = &strings.Builder{}
	s.cmd.Stderr = s.errs
	s.in, err = s.cmd.StdinPipe() // open as long as this process lives
	require.NoError(t, err)
	out, err := s.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	ready, exited, lines, cmd := make(chan struct{}), make(chan struct{}), make(chan string, 1), s.cmd
	s.ready, s.exited, s.lines = ready, exited, lines
	go func() {
		defer close(exited)
		for in := bufio.NewScanner(out); in.Scan(); {
			if in.Text() == "ready" {
				close(ready)
			} else {
				lines <- in.Text()
			}
		}
		cmd.Wait()
	}()
}

func (s *killServer) await(t testing.TB) {
	t.Helper()
	select {
	case <-s.ready:
	case <-s.exited:
		t.Fatalf("the server of %s ended: %s", s.file, s.errs)
	case <-time.After(60 * time.Second):
		t.Fatalf("the server of %s is not ready", s.file)
	}
}

// kill is kill -9.
func (s *killServer) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// killLoad writes and remembers what was acknowledged.
type killLoad struct {
	mu      sync.Mutex
	created []string
	acked   atomic.Int64
	unknown atomic.Int64
	version atomic.Int32 // of /counter, the greatest acknowledged
	tried   atomic.Int32 // sets of it
}

func (l *killLoad) run(t *testing.T, ctx context.Context, servers []string, worker int, stop <-chan struct{}) {
	for n := 0; ; n++ {
		cl, err := zk.Connect(ctx, zk.ClientConfig{Servers: servers, SessionTimeout: 20 * time.Second})
		if err != nil {
			t.Errorf("connect: %v", err)
			return
		}
		for i := 0; cl.Err() == nil; i++ {
			select {
			case <-stop:
				cl.Abandon()
				return
			default:
			}
			path := fmt.Sprintf("/w/%d-%d-%d", worker, n, i)
			if l.outcome(t, l.create(ctx, cl, path)) {
				l.mu.Lock()
				l.created = append(l.created, path)
				l.mu.Unlock()
			}
			l.tried.Add(1)
			stat, err := cl.Set(ctx, "/counter", []byte(path), zk.AnyVersion)
			if l.outcome(t, err) {
				for v := l.version.Load(); stat.Version > v && !l.version.CompareAndSwap(v, stat.Version); v = l.version.Load() {
				}
			}
		}
		cl.Close()
	}
}

func (l *killLoad) create(ctx context.Context, cl *zk.Client, path string) error {
	_, err := cl.Create(ctx, path, []byte(path), zk.Persistent)
	return err
}

func (l *killLoad) outcome(t *testing.T, err error) bool {
	switch {
	case err == nil:
		l.acked.Add(1)
		return true
	case errors.Is(err, zk.ErrConnectionLoss):
		l.unknown.Add(1)
	case !errors.Is(err, zk.ErrSessionExpired):
		t.Error(err)
	}
	return false
}

// TestKill9 kills processes of an ensemble on a real disk, one at a time and all at
// once, under load: what was acknowledged is there afterwards, on every server (P4).
func TestKill9(t *testing.T) {
	kills := *killTimes
	if kills == 0 {
		kills = 300
		if testing.Short() {
			kills = 40
		}
	}
	servers := startKillServers(t, 3)
	addrs := []string{servers[0].addr, servers[1].addr, servers[2].addr}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	cl, err := zk.Connect(ctx, zk.ClientConfig{Servers: addrs})
	require.NoError(t, err)
	for _, path := range []string{"/w", "/counter"} {
		_, err = cl.Create(ctx, path, nil, zk.Persistent)
		require.NoError(t, err)
	}
	cl.Abandon()

	var load killLoad
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 4 {
		wg.Go(func() { load.run(t, ctx, addrs, worker, stop) })
	}
	rng := rand.New(rand.NewPCG(uint64(kills), 9))
	for i := range kills {
		before := load.acked.Load()
		waitFor(t, "writes after a kill", func() bool { return load.acked.Load() > before+20 || t.Failed() })
		victims := servers
		if i%5 != 4 {
			at := rng.IntN(len(servers))
			victims = servers[at : at+1]
		}
		for _, s := range victims {
			s.kill()
		}
		for _, s := range victims {
			s.start(t)
		}
		for _, s := range victims {
			s.await(t)
		}
	}
	close(stop)
	wg.Wait()
	for _, addr := range addrs {
		load.check(ctx, t, addr)
	}
	t.Logf("%d kills; %d writes acknowledged, %d of unknown outcome", kills, load.acked.Load(), load.unknown.Load())
}

func (l *killLoad) check(ctx context.Context, t *testing.T, addr string) {
	cl, err := zk.Connect(ctx, zk.ClientConfig{Servers: []string{addr}, ReplyBytesMax: 64 << 20})
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.Sync(ctx, "/"))
	names, _, err := cl.Children(ctx, "/w")
	require.NoError(t, err)
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there["/w/"+name] = true
	}
	for _, path := range l.created {
		require.True(t, there[path], "%s was acknowledged and is not on %s", path, addr)
	}
	require.LessOrEqual(t, int64(len(names)), int64(len(l.created))+l.unknown.Load())
	stat, err := cl.Exists(ctx, "/counter")
	require.NoError(t, err)
	require.GreaterOrEqual(t, stat.Version, l.version.Load())
	require.LessOrEqual(t, stat.Version, l.tried.Load())
}
