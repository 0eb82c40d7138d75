package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	zookeeperJar = "/usr/share/java/zookeeper.jar"
	zkCliScript  = "/usr/share/zookeeper/bin/zkCli.sh"

	// The flows' super user is super:secret.
	superDigest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="
)

// needApache skips the test where Apache ZooKeeper is not installed.
func needApache(t testing.TB) {
	for _, f := range []string{zookeeperJar, "/usr/bin/java"} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("Apache ZooKeeper is not installed (%v): apt-get install zookeeper", err)
		}
	}
}

// apacheServer is one process of Apache ZooKeeper.
type apacheServer struct {
	dir, addr string
	classes   string
	options   []string // of the JVM
	cmd       *exec.Cmd
	exited    chan struct{}
}

// startApache starts n servers of Apache ZooKeeper and stops them when the test
// has ended.
func startApache(t testing.TB, n int) *target {
	t.Helper()
	needApache(t)
	return startApacheOf(t, n, zookeeperJar, "")
}

// startApacheOf starts servers of the release in classes, with more lines in
// their zoo.cfg and more options of their JVM.
func startApacheOf(t testing.TB, n int, classes, more string, options ...string) *target {
	t.Helper()
	tg := &target{name: "apache", apache: true, ttl: true}
	ports := freePorts(t, 3*n)
	var members strings.Builder
	reconfig := n > 1 && strings.Contains(more, "reconfigEnabled=") // then the list says where clients connect
	for i := range n {
		if n > 1 {
			fmt.Fprintf(&members, "server.%d=127.0.0.1:%d:%d", i+1, ports[n+2*i], ports[n+2*i+1])
		}
		if reconfig {
			fmt.Fprintf(&members, ";127.0.0.1:%d", ports[i])
		}
		members.WriteByte('\n')
	}
	servers := make([]*apacheServer, n)
	for i := range n {
		s := &apacheServer{dir: t.TempDir(), addr: fmt.Sprintf("127.0.0.1:%d", ports[i]), classes: classes, options: options}
		servers[i] = s
		tg.servers = append(tg.servers, s.addr)
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, "myid"), fmt.Appendf(nil, "%d\n", i+1), 0o600))
		cfg := fmt.Sprintf("tickTime=200\ninitLimit=50\nsyncLimit=20\ndataDir=%s\n"+
			"maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n%s%s", s.dir, members.String(), more)
		if !reconfig {
			cfg += fmt.Sprintf("clientPort=%d\nclientPortAddress=127.0.0.1\n", ports[i])
		}
		require.NoError(t, os.WriteFile(s.config(), []byte(cfg), 0o600))
		require.NoError(t, s.start())
		t.Cleanup(s.kill)
	}
	tg.kill = func(i int) { servers[i].kill() }
	tg.restart = func(t testing.TB, i int) {
		require.NoError(t, servers[i].start())
		waitServing(t, servers[i].addr)
	}
	for _, s := range servers {
		waitServing(t, s.addr)
	}
	return tg
}

func (s *apacheServer) config() string { return filepath.Join(s.dir, "zoo.cfg") }

func (s *apacheServer) start() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{
		"-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.fsync.warningthresholdms=60000",
		"-Dzookeeper.DigestAuthenticationProvider.superDigest=" + superDigest,
	}, s.options...)
	s.cmd = exec.Command("/usr/bin/java", append(args, "-cp", s.dir+":"+s.classes, "org.apache.zookeeper.server.quorum.QuorumPeerMain", s.config())...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.exited = exited
	cmd := s.cmd
	go func() {
		defer close(exited)
		cmd.Wait()
	}()
	return nil
}

// kill is kill -9; it returns when the process has gone.
func (s *apacheServer) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// waitServing waits until the server answers srvr with a mode.
func waitServing(t testing.TB, addr string) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if s, err := fourLetterWord(addr, "srvr"); err == nil && strings.Contains(s, "Mode: ") {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatalf("no server at %s after 60 s", addr)
}

// fourLetterWord asks a server.
func fourLetterWord(addr, word string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := nc.Write([]byte(word)); err != nil {
		return "", err
	}
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return "", err
			}
			return b.String(), nil
		}
	}
}

// freePorts finds ports of loopback that are free now.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}
