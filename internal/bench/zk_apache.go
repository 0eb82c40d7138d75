package bench

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
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// jars is where Debian's packages zookeeper and liblog4j1.2-java put them.
const jars = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-nop.jar:/usr/share/java/log4j-1.2.jar"

// apache is an ensemble of three Apache ZooKeeper servers, each a process.
type apache struct {
	dir     string
	remove  func() error
	syncs   bool // every write to disk before it is acknowledged
	addrs   []string
	servers []*exec.Cmd // nil: not running
}

// newApache prepares an ensemble.
func newApache(env *Env, syncs bool) (*apache, error) {
	if _, err := os.Stat("/usr/share/java/zookeeper.jar"); err != nil {
		return nil, fmt.Errorf("ZooKeeper: %w: %w", ErrMissing, err)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return nil, fmt.Errorf("ZooKeeper: %w: %w", ErrMissing, err)
	}
	dir, remove, err := env.TempDir()
	if err != nil {
		return nil, err
	}
	a := &apache{dir: dir, remove: remove, syncs: syncs, servers: make([]*exec.Cmd, 3)}
	ports, err := freePorts(9)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	var members strings.Builder
	for i := range a.servers {
		a.addrs = append(a.addrs, ports[i])
		_, peer, _ := net.SplitHostPort(ports[3+i])
		fmt.Fprintf(&members, "server.%d=127.0.0.1:%s:%s\n", i+1, peer, ports[6+i][strings.LastIndex(ports[6+i], ":")+1:])
	}
	for i := range a.servers {
		if err := a.configure(i, members.String()); err != nil {
			return nil, errors.Join(err, remove())
		}
	}
	return a, nil
}

func (a *apache) configure(i int, members string) error {
	data := a.path(i, "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "myid"), fmt.Append(nil, i+1), 0o644); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(a.addrs[i])
	conf := fmt.Sprintf("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=%s\nclientPort=%s\nclientPortAddress=127.0.0.1\n"+
		"maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n%s", data, port, members)
	return os.WriteFile(a.path(i, "zoo.cfg"), []byte(conf), 0o644)
}

func (a *apache) path(i int, name string) string {
	return filepath.Join(a.dir, fmt.Sprint(i+1), name)
}

// freePorts finds ports of 127.0.0.1 that nobody listens on, as addresses.
func freePorts(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// start starts a server that does not run.
func (a *apache) start(i int) error {
	args := []string{"-Xms256m", "-Xmx1g", "-XX:+UseParallelGC", "-Dzookeeper.jmx.log4j.disable=true"}
	if !a.syncs {
		args = append(args, "-Dzookeeper.forceSync=no")
	}
	args = append(args, "-cp", jars, "org.apache.zookeeper.server.quorum.QuorumPeerMain", a.path(i, "zoo.cfg"))
	cmd := exec.Command("java", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not to outlive us
	if err := cmd.Start(); err != nil {
		return err
	}
	adopt(cmd.Process.Pid)
	a.servers[i] = cmd
	return nil
}

// kill is kill -9.
func (a *apache) kill(i int) error {
	cmd := a.servers[i]
	if cmd == nil {
		return nil
	}
	a.servers[i] = nil
	err := cmd.Process.Kill()
	_ = cmd.Wait() // which says that it was killed
	disown(cmd.Process.Pid)
	return err
}

func (a *apache) startAll() error {
	for i := range a.servers {
		if err := a.start(i); err != nil {
			return errors.Join(err, a.Close())
		}
	}
	return nil
}

// Close kills the servers and removes their data.
func (a *apache) Close() error {
	var errs []error
	for i := range a.servers {
		errs = append(errs, a.kill(i))
	}
	return errors.Join(append(errs, a.remove())...)
}

func (a *apache) connect(ctx context.Context, i int) (session, error) {
	return connectZK(ctx, zk.ClientConfig{Servers: a.addrs[i%len(a.addrs):][:1]})
}

// leader asks each server with the four-letter word srvr.
func (a *apache) leader() int {
	for i := range a.servers {
		if a.servers[i] != nil && strings.Contains(a.srvr(i), "Mode: leader") {
			return i
		}
	}
	return 0
}

func (a *apache) srvr(i int) string {
	c, err := net.DialTimeout("tcp", a.addrs[i], time.Second)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte("srvr"))
	var all [4096]byte
	n := 0
	for n < len(all) {
		k, err := c.Read(all[n:])
		n += k
		if err != nil {
			break
		}
	}
	return string(all[:n])
}

// keptApache is an ensemble that rows share; the end of the run closes it.
type keptApache struct{ *apache }

func (keptApache) Close() error { return nil }

// startApache starts an ensemble at its first use and keeps it, since a JVM must
// run for a while before it is at its best.
func startApache(syncs bool) func(context.Context, *Env) (coordinator, error) {
	return func(ctx context.Context, env *Env) (coordinator, error) {
		a, err := shared(env, fmt.Sprint("ZooKeeper, fsync ", syncs), func() (*apache, error) {
			a, err := newApache(env, syncs)
			if err != nil {
				return nil, err
			}
			if err := a.startAll(); err != nil {
				return nil, err
			}
			if err := a.warm(ctx, env.Warm); err != nil {
				return nil, errors.Join(err, a.Close())
			}
			return a, nil
		})
		if err != nil {
			return nil, err
		}
		return keptApache{a}, nil
	}
}

// warm loads the servers without looking at the figures.
func (a *apache) warm(ctx context.Context, dur time.Duration) error {
	work, err := goroutines(64, doMixed)(ctx, &Env{Dur: dur}, keptApache{a})
	if err != nil {
		return err
	}
	if dur > 0 {
		_, err = work.Run(ctx)
	}
	return errors.Join(err, work.Close())
}
