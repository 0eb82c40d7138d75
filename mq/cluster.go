package mq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk"
)

// ClusterConfig configures a Cluster. The zero value is a cluster of three brokers in this process, in memory, over an
// in-memory network, on an ensemble of three servers of its own.
type ClusterConfig struct {
	// Brokers is how many brokers to start; their ids are 1, 2, … 0: 3.
	Brokers int
	// Servers is how many servers the cluster's own ensemble has. 0: 3. Ignored if Ensemble or Zookeeper is set.
	Servers int
	// Ensemble is a running ensemble to use; it is the caller's to close. Nil: see Zookeeper.
	Ensemble *zk.Ensemble
	// Zookeeper is an ensemble elsewhere, any ZooKeeper 3.6 or later. No Servers: the cluster starts an ensemble of its own,
	// and closes it with itself.
	Zookeeper zk.ClientConfig
	// Network carries the brokers', the clients' and the own ensemble's connections. Nil: the Ensemble's if there is one, else
	// one in memory. For TCP say &struct{ net.Dialer; net.ListenConfig }{} and brokers listen on 127.0.0.1.
	Network Network
	// DataDir holds a directory mq-ID for each broker and those of the own ensemble. Empty: memory.
	DataDir string
	// FS is the disk under DataDir. Nil: the operating system's. Ignored if DataDir is empty.
	FS vfs.FS
	// Broker is the configuration every broker starts from. BrokerID, DataDir, FS, Network, Zookeeper, Seed and Logger are set
	// by the cluster; so are Listeners, unless Listen is set.
	Broker Config
	// Listen returns the listeners of a broker. Nil: in memory host mq-ID port 9092, over other networks 127.0.0.1 and a free
	// port, which the broker keeps when it is restarted.
	Listen func(id int32) []Listener
	// Seed seeds what is random: what a killed broker's memory disk had written, backoffs. 0: a random seed.
	Seed uint64
	// Logger receives what an operator should know, each line with its broker. Nil: nothing is logged.
	Logger *slog.Logger
}

// Cluster is a set of brokers in this process, with or without an ensemble of their own. All methods are safe for concurrent
// use.
type Cluster struct {
	cfg      ClusterConfig
	network  Network
	memory   *zk.MemoryNetwork // network, if it is one in memory
	ensemble *zk.Ensemble      // nil: elsewhere
	owned    bool              // the ensemble is closed with the cluster

	mu struct {
		sync.Mutex
		rng     *rand.Rand
		brokers map[int32]*clusterBroker
	}
}

// clusterBroker is one broker of a cluster, running or not.
type clusterBroker struct {
	id int32
	// op is held by who starts or stops it.
	op     chan struct{}
	disk   *vfs.Mem // nil: not in memory
	listen []Listener
	b      *Broker // nil: not running; guarded by the cluster's mutex
}

// StartCluster starts a cluster and returns when every broker is registered, knows the others and serves clients. ctx bounds
// the start only. On an error nothing is left running.
func StartCluster(ctx context.Context, cfg ClusterConfig) (*Cluster, error) {
	if cfg.Brokers < 0 || cfg.Servers < 0 {
		return nil, fmt.Errorf("mq: a cluster of %d brokers on %d servers", cfg.Brokers, cfg.Servers)
	}
	cfg.Brokers = orDefault(cfg.Brokers, 3)
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() //nolint:gosec // backoffs and crash simulation
	}
	c := &Cluster{cfg: cfg}
	c.mu.rng = rand.New(rand.NewPCG(cfg.Seed, 1)) //nolint:gosec // likewise
	c.mu.brokers = map[int32]*clusterBroker{}
	if err := c.start(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// start does what StartCluster says.
func (c *Cluster) start(ctx context.Context) error {
	if err := c.join(ctx); err != nil {
		return err
	}
	for i := range c.cfg.Brokers {
		m := &clusterBroker{id: int32(i + 1), op: make(chan struct{}, 1)}
		if c.cfg.DataDir == "" {
			m.disk = vfs.NewMem()
		}
		m.listen = c.listeners(m.id)
		c.mu.brokers[m.id] = m
	}
	errs := make(chan error, c.cfg.Brokers)
	for _, id := range c.IDs() {
		go func() { errs <- c.Restart(ctx, id) }()
	}
	var failed error
	for range c.cfg.Brokers {
		failed = errors.Join(failed, <-errs)
	}
	if failed != nil {
		return failed
	}
	return c.Settle(ctx)
}

// join finds or starts the ensemble, and decides on the network.
func (c *Cluster) join(ctx context.Context) error {
	c.network = c.cfg.Network
	switch {
	case c.cfg.Ensemble != nil:
		c.ensemble = c.cfg.Ensemble
		if c.network == nil {
			c.network = c.ensemble.Network()
		}
	case len(c.cfg.Zookeeper.Servers) == 0:
		if c.network == nil {
			c.network = zk.NewMemoryNetwork()
		}
		ens, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{
			Servers: c.cfg.Servers, Network: c.network, DataDir: c.cfg.DataDir, FS: c.cfg.FS, Seed: c.cfg.Seed, Logger: c.cfg.Logger,
		})
		if err != nil {
			return fmt.Errorf("mq: the cluster's ensemble: %w", err)
		}
		c.ensemble, c.owned = ens, true
	case c.network == nil:
		c.network = zk.NewMemoryNetwork()
	}
	c.memory, _ = c.network.(*zk.MemoryNetwork)
	return nil
}

// listeners are where a broker listens.
func (c *Cluster) listeners(id int32) []Listener {
	switch {
	case c.cfg.Listen != nil:
		return c.cfg.Listen(id)
	case c.memory != nil:
		return []Listener{{Address: fmt.Sprintf("%s:9092", hostName(id))}}
	}
	return []Listener{{Address: "127.0.0.1:0"}}
}

// hostName is a broker's host on a network in memory.
func hostName(id int32) string { return fmt.Sprintf("mq-%d", id) }

// config is one broker's configuration.
func (c *Cluster) config(m *clusterBroker) Config {
	cfg := c.cfg.Broker
	cfg.BrokerID, cfg.Listeners, cfg.Logger = m.id, m.listen, c.cfg.Logger
	cfg.Network = c.network
	cfg.Zookeeper = c.cfg.Zookeeper
	if c.ensemble != nil {
		cfg.Zookeeper = c.ensemble.ClientConfig()
	}
	if c.memory != nil {
		cfg.Network = c.memory.Host(hostName(m.id))
		if cfg.Zookeeper.Network == zk.Network(c.memory) {
			cfg.Zookeeper.Network = cfg.Network
		}
	}
	c.mu.Lock()
	cfg.Seed = c.mu.rng.Uint64()
	c.mu.Unlock()
	if m.disk != nil {
		cfg.DataDir, cfg.FS = "", m.disk
	} else {
		cfg.DataDir, cfg.FS = filepath.Join(c.cfg.DataDir, hostName(m.id)), c.cfg.FS
	}
	return cfg
}

// Connect returns a client of the cluster. ctx bounds the connecting. Close the client before the cluster.
func (c *Cluster) Connect(ctx context.Context) (*Client, error) {
	return Connect(ctx, ClientConfig{Seeds: c.Addrs(), Network: c.network, Logger: c.cfg.Logger})
}

// Addrs are the addresses of the running brokers' first listeners, by id: the seeds of a client. They are dialed over Network.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, id := range c.IDs() {
		if b := c.Broker(id); b != nil {
			out = append(out, b.Addr())
		}
	}
	return out
}

// Network is what the cluster's connections are made over; a third-party client is given its DialContext.
func (c *Cluster) Network() Network { return c.network }

// Ensemble is the ensemble in this process that the brokers use, nil if it is elsewhere.
func (c *Cluster) Ensemble() *zk.Ensemble { return c.ensemble }

// IDs are the ids of all brokers, running or not, ascending.
func (c *Cluster) IDs() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.mu.brokers))
}

// Broker returns a running broker, nil if it does not run or there is none of this id.
func (c *Cluster) Broker(id int32) *Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.mu.brokers[id]; m != nil {
		return m.b
	}
	return nil
}

// Settle waits until all running brokers know one another, and a controller.
func (c *Cluster) Settle(ctx context.Context) error {
	var running []*Broker
	for _, id := range c.IDs() {
		if b := c.Broker(id); b != nil {
			running = append(running, b)
		}
	}
	for _, b := range running {
		err := b.awaitImage(ctx, func(img *meta.Image) bool {
			if img.Brokers[img.Controller] == nil || len(img.Brokers) < len(running) {
				return false
			}
			return !slices.ContainsFunc(running, func(o *Broker) bool {
				reg := img.Brokers[o.cfg.BrokerID]
				life := o.live.Load()
				return reg == nil || life == nil || reg.Owner != life.zk.SessionID()
			})
		})
		if err != nil {
			return fmt.Errorf("mq: broker %d does not see the whole cluster: %w", b.cfg.BrokerID, err)
		}
	}
	return nil
}

// newest returns what the running brokers' metadata says of a partition: the newest that any of them has, with its image.
func (c *Cluster) newest(topic string, partition int32) (*meta.Partition, *meta.Image) {
	var best *meta.Partition
	var img *meta.Image
	for _, id := range c.IDs() {
		b := c.Broker(id)
		if b == nil {
			continue
		}
		i := b.image.Load()
		if p := i.Partition(topic, partition); p != nil && (best == nil || p.Version > best.Version) {
			best, img = p, i
		}
	}
	return best, img
}

// Leader is the broker that leads a partition, as the newest metadata of a running broker has it; -1 if none does.
func (c *Cluster) Leader(topic string, partition int32) int32 {
	p, img := c.newest(topic, partition)
	if p == nil {
		return -1
	}
	return img.Leader(p)
}

// InSync is a partition's in-sync replicas, ascending, as the newest metadata of a running broker has them; nil if there is no
// such partition.
func (c *Cluster) InSync(topic string, partition int32) []int32 {
	p, _ := c.newest(topic, partition)
	if p == nil {
		return nil
	}
	return slices.Sorted(slices.Values(p.State.ISR))
}

// Controller is the broker that is the cluster's controller, as a running broker that has a connection to the ensemble has it;
// -1 if none is.
func (c *Cluster) Controller() int32 {
	for _, id := range c.IDs() {
		b := c.Broker(id)
		if b == nil {
			continue
		}
		if life := b.live.Load(); life != nil && life.zk.State() == zk.StateConnected {
			return b.image.Load().Controller
		}
	}
	return -1
}

// take makes the caller the only one that starts or stops a broker.
func (c *Cluster) take(id int32) (*clusterBroker, error) {
	c.mu.Lock()
	m := c.mu.brokers[id]
	c.mu.Unlock()
	if m == nil {
		return nil, fmt.Errorf("mq: the cluster has no broker %d", id)
	}
	m.op <- struct{}{}
	return m, nil
}

// detach takes the running broker out of m; nil if it does not run.
func (c *Cluster) detach(m *clusterBroker) *Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := m.b
	m.b = nil
	return b
}

// Kill ends a broker without warning, as kill -9 or a power failure would: connections break, its session is left to expire,
// and a disk in memory keeps what such a crash leaves. Killing a broker that does not run does nothing.
func (c *Cluster) Kill(id int32) error {
	m, err := c.take(id)
	if err != nil {
		return err
	}
	defer func() { <-m.op }()
	b := c.detach(m)
	if b == nil {
		return nil
	}
	b.drop()
	if m.disk != nil {
		c.mu.Lock()
		m.disk = m.disk.CrashClone(c.mu.rng)
		c.mu.Unlock()
	}
	return b.Close()
}

// Stop ends a broker gracefully.
func (c *Cluster) Stop(ctx context.Context, id int32) error {
	m, err := c.take(id)
	if err != nil {
		return err
	}
	defer func() { <-m.op }()
	if b := c.detach(m); b != nil {
		return b.Shutdown(ctx)
	}
	return nil
}

// Restart starts a broker that was killed or stopped, on its old disk and address. It returns when the broker is registered
// again, which may take as long as its former session has left. Restarting a running broker does nothing.
func (c *Cluster) Restart(ctx context.Context, id int32) error {
	m, err := c.take(id)
	if err != nil {
		return err
	}
	defer func() { <-m.op }()
	if c.Broker(id) != nil {
		return nil
	}
	b, err := StartBroker(ctx, c.config(m))
	if err != nil {
		return err
	}
	for i := range m.listen {
		m.listen[i].Address = b.bound[i].nl.Addr().String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m.b = b
	return nil
}

// Shutdown ends every broker gracefully, then the cluster's own ensemble. If ctx ends first the rest is ended abruptly.
func (c *Cluster) Shutdown(ctx context.Context) error {
	var errs []error
	for _, id := range c.IDs() {
		errs = append(errs, c.Stop(ctx, id))
	}
	if c.owned {
		errs = append(errs, c.ensemble.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// Close ends every broker and the cluster's own ensemble abruptly. It may be called again, and after Shutdown.
func (c *Cluster) Close() error {
	var errs []error
	for _, id := range c.IDs() {
		m, err := c.take(id)
		if err != nil {
			continue
		}
		if b := c.detach(m); b != nil {
			errs = append(errs, b.Close())
		}
		<-m.op
	}
	if c.owned {
		errs = append(errs, c.ensemble.Close())
	}
	return errors.Join(errs...)
}
