package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/zk"
)

const (
	startTimeout    = time.Minute
	shutdownTimeout = 10 * time.Second
	membersMax      = 100
)

// upFlags is the command line of up.
type upFlags struct {
	servers, brokers  int
	zkPort, kafkaPort int
	data, zkConfig    string
}

func parseUp(args []string, stderr io.Writer) (upFlags, error) {
	var f upFlags
	set := newFlags("up")
	set.IntVar(&f.servers, "servers", 3, "ZooKeeper servers")
	set.IntVar(&f.brokers, "brokers", 3, "Kafka brokers")
	set.IntVar(&f.zkPort, "zk-port", 2181, "port of the first server, the others follow; 0: free ones")
	set.IntVar(&f.kafkaPort, "kafka-port", 9092, "port of the first broker, the others follow; 0: free ones")
	set.StringVar(&f.data, "data", "", "directory for the data; empty: memory")
	set.StringVar(&f.zkConfig, "zk-config", "", "a zoo.cfg whose limits and times every server takes; addresses, directories and members do not count")
	if err := parseFlags(set, args, stderr); err != nil {
		return f, err
	}
	for name, n := range map[string]int{"-servers": f.servers, "-brokers": f.brokers} {
		if n < 1 || n > membersMax {
			return f, fmt.Errorf("%w: %s %d is not between 1 and %d", errUsage, name, n, membersMax)
		}
	}
	for name, p := range map[string]int{"-zk-port": f.zkPort, "-kafka-port": f.kafkaPort} {
		if p < 0 || p > 65535-membersMax {
			return f, fmt.Errorf("%w: %s %d is not a port", errUsage, name, p)
		}
	}
	return f, nil
}

// address is where member n (from 1) listens on loopback.
func address(port, n int) string {
	if port > 0 {
		port += n - 1
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// up starts everything, says where it is, and stops when ctx ends. Peers reach
// one another in memory, clients over TCP.
func up(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := parseUp(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	settings, err := serverSettings(f.zkConfig, log)
	if err != nil {
		return err
	}
	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	memory := zk.NewMemoryNetwork()
	ensemble, err := zk.StartEnsemble(startCtx, zk.EnsembleConfig{
		Servers: f.servers, Network: memory, DataDir: below(f.data, "zk"), Logger: log, Server: settings,
		Clients: func(id int64) []zk.Endpoint {
			host := "zk-" + strconv.FormatInt(id, 10)
			return []zk.Endpoint{
				{Network: memory.Host(host), Address: host + ":2181"},
				{Address: address(f.zkPort, int(id))},
			}
		},
	})
	if err != nil {
		return err
	}
	cluster, err := mq.StartCluster(startCtx, mq.ClusterConfig{
		Brokers: f.brokers, Ensemble: ensemble, Network: &struct {
			net.Dialer
			net.ListenConfig
		}{}, DataDir: below(f.data, "mq"), Logger: log,
		Broker: mq.Config{AutoCreateTopicsEnable: true}, // as a Kafka does unless told otherwise
		Listen: func(id int32) []mq.Listener { return []mq.Listener{{Address: address(f.kafkaPort, int(id))}} },
	})
	if err != nil {
		return errors.Join(err, ensemble.Close())
	}
	fmt.Fprintf(stdout, "ready zookeeper=%s kafka=%s\n", zookeeperAddrs(ensemble), strings.Join(cluster.Addrs(), ","))
	<-ctx.Done()
	log.Info("stopping")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return errors.Join(cluster.Shutdown(stopCtx), ensemble.Shutdown(stopCtx))
}

// serverSettings reads what a zoo.cfg says of every server.
func serverSettings(path string, log *slog.Logger) (zk.Config, error) {
	if path == "" {
		return zk.Config{}, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return zk.Config{}, err
	}
	defer file.Close()
	f, err := zk.ParseConfig(path, file)
	if err != nil {
		return zk.Config{}, err
	}
	for _, w := range f.Warnings {
		log.Warn(path, "warning", w)
	}
	return f.Server, nil
}

func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// zookeeperAddrs are the TCP addresses of the servers.
func zookeeperAddrs(e *zk.Ensemble) string {
	var addrs []string
	for _, id := range e.IDs() {
		all := e.Server(id).Addrs()
		addrs = append(addrs, all[len(all)-1].String())
	}
	return strings.Join(addrs, ",")
}
