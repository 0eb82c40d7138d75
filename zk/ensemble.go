package zk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/txnlog"
)

// EnsembleConfig configures a whole ensemble in this process. The zero value is
// three servers in memory.
type EnsembleConfig struct {
	Servers int // how many, with the ids 1, 2, …; 0: 3
	// Network carries everything. Nil: a new MemoryNetwork. On a MemoryNetwork
	// server N is the host zk-N, with clients on port 2181 and peers on 2888; on
	// any other network servers take free ports of 127.0.0.1.
	Network Network
	// DataDir holds a directory zk-N for each server, made if it is not there.
	// Empty: memory.
	DataDir string
	FS      vfs.FS // the disk that DataDir is on; nil: the operating system's
	// DiskHook is called before each operation on the disk of a server, memory or
	// not, by several goroutines at once. It may take its time; an error is the
	// operation's. It is for tests. Nil: disks are what they are.
	DiskHook func(id int64, op vfs.Op) error
	// Clients says where a server hears its clients. Nil: see Network.
	Clients func(id int64) []Endpoint
	// Server is what every server's configuration begins as: limits and times.
	// Its TickTime is 50 ms if zero, its SyncLimit 10.
	Server Config
	Seed   uint64       // what a killed server's memory disk had written; 0: random
	Logger *slog.Logger // nil: nothing is logged
}

// Ensemble is a running ensemble of this process. Its methods are safe for
// concurrent use, but for several of Kill, Stop and Restart on one server.
type Ensemble struct {
	network  Network
	log      *slog.Logger
	diskHook func(id int64, op vfs.Op) error // may be nil

	mu      sync.Mutex
	members map[int64]*member
	rng     *rand.Rand
	held    []*heldNetwork // with listeners that no server has taken yet
	closed  bool
}

// member is one server and what outlives it. Ensemble.mu guards it.
type member struct {
	cfg    Config
	fs     vfs.FS       // what lies below kill
	killed *atomic.Bool // nothing is written any more
	server *Server
}

const (
	ensembleTickTime  = 50 * time.Millisecond
	ensembleSyncLimit = 10 // a dead peer is noticed at once; this is for those that vanish
	clientPort        = 2181
	peerPort          = 2888
)

// StartEnsemble starts an ensemble and returns when every server serves
// clients. The context bounds the start only; on an error nothing is left
// running. If every server's directory is empty the ensemble is taken to be new.
func StartEnsemble(ctx context.Context, cfg EnsembleConfig) (*Ensemble, error) {
	if cfg.Servers == 0 {
		cfg.Servers = 3
	}
	if cfg.Servers < 0 || cfg.Servers > serverIDMax {
		return nil, fmt.Errorf("zk: an ensemble of %d servers", cfg.Servers)
	}
	if cfg.Network == nil {
		cfg.Network = NewMemoryNetwork()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64()
	}
	e := &Ensemble{
		network: cfg.Network, log: cfg.Logger, diskHook: cfg.DiskHook,
		members: make(map[int64]*member), rng: rand.New(rand.NewPCG(cfg.Seed, 0)),
	}
	if err := e.arrange(ctx, &cfg); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	for _, id := range e.IDs() {
		if err := e.start(ctx, id); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	for _, id := range e.IDs() {
		if err := e.Server(id).Ready(ctx); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, nil
}

// Ready waits until every server that has not been stopped serves clients.
func (e *Ensemble) Ready(ctx context.Context) error {
	for _, id := range e.IDs() {
		if s := e.Server(id); s != nil && s.Err() == nil {
			if err := s.Ready(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Health is the Health of every server, stopped ones included, in one error; nil if
// all serve.
func (e *Ensemble) Health() error {
	var errs []error
	for _, id := range e.IDs() {
		if s := e.Server(id); s != nil {
			errs = append(errs, s.Health())
		}
	}
	return errors.Join(errs...)
}

// arrange makes every member's configuration.
func (e *Ensemble) arrange(ctx context.Context, cfg *EnsembleConfig) error {
	specs := make([]ServerSpec, 0, cfg.Servers)
	networks := make(map[int64]Network)
	bootstrap := true
	for i := range cfg.Servers {
		id := int64(i + 1)
		n, peer, err := e.place(ctx, id, peerPort)
		if err != nil {
			return err
		}
		networks[id] = n
		specs = append(specs, ServerSpec{ID: id, Peer: peer})
		m := &member{cfg: cfg.Server, killed: new(atomic.Bool)}
		m.cfg.DataDir = "zk-" + strconv.FormatInt(id, 10)
		m.fs = vfs.NewMem()
		if cfg.DataDir != "" {
			m.cfg.DataDir = filepath.Join(cfg.DataDir, m.cfg.DataDir)
			if m.fs = cfg.FS; m.fs == nil {
				m.fs = vfs.OS
			}
		}
		fresh, err := txnlog.Fresh(m.fs, m.cfg.DataDir)
		if err != nil {
			return err
		}
		bootstrap = bootstrap && fresh
		e.members[id] = m
	}
	for _, id := range e.IDs() { // all marks before any server: a start that is cut short is none
		m := e.members[id]
		if err := txnlog.Create(m.fs, m.cfg.DataDir, bootstrap); err != nil {
			return err
		}
	}
	for id, m := range e.members {
		m.cfg.ID, m.cfg.Servers, m.cfg.Peers, m.cfg.Logger = id, specs, networks[id], e.log
		m.cfg.Bootstrap = bootstrap
		setDefault(&m.cfg.TickTime, ensembleTickTime)
		setDefault(&m.cfg.SyncLimit, ensembleSyncLimit)
		if cfg.Clients != nil {
			m.cfg.Clients = cfg.Clients(id)
			continue
		}
		n, address, err := e.place(ctx, id, clientPort)
		if err != nil {
			return err
		}
		m.cfg.Clients = []Endpoint{{Network: n, Address: address}}
	}
	return nil
}

// place finds an address of the ensemble's network for a server: a host of its
// own in memory, else a free port, held until it is listened on.
func (e *Ensemble) place(ctx context.Context, id int64, port int) (Network, string, error) {
	if memory, ok := e.network.(*MemoryNetwork); ok {
		host := "zk-" + strconv.FormatInt(id, 10)
		return memory.Host(host), net.JoinHostPort(host, strconv.Itoa(port)), nil
	}
	l, err := e.network.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	h := &heldNetwork{Network: e.network, held: l}
	e.held = append(e.held, h)
	return h, l.Addr().String(), nil
}

// heldNetwork hands out a listener that was there before it was asked for.
type heldNetwork struct {
	Network
	mu   sync.Mutex
	held net.Listener
}

func (h *heldNetwork) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.held; l != nil && l.Addr().String() == address {
		h.held = nil
		return l, nil
	}
	return h.Network.Listen(ctx, network, address)
}

func (h *heldNetwork) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held != nil {
		_ = h.held.Close()
		h.held = nil
	}
}

// start starts a member that does not run.
func (e *Ensemble) start(ctx context.Context, id int64) error {
	e.mu.Lock()
	m := e.members[id]
	if m == nil {
		e.mu.Unlock()
		return fmt.Errorf("zk: no server %d in the ensemble", id)
	}
	before, cfg, fs := m.server, m.cfg, m.fs
	e.mu.Unlock()
	if before != nil {
		if before.Err() == nil {
			return fmt.Errorf("zk: server %d runs already", id)
		}
		select {
		case <-before.Done(): // it has let go of its disk and its addresses
		case <-ctx.Done():
			return fmt.Errorf("zk: server %d has not stopped yet: %w", id, ctx.Err())
		}
	}
	killed := new(atomic.Bool)
	cfg.killed = killed
	if _, memory := fs.(*vfs.Mem); memory && e.diskHook == nil {
		cfg.inMemory = true
	}
	cfg.FS = vfs.Inject(fs, func(op vfs.Op) error {
		if e.diskHook != nil {
			if err := e.diskHook(id, op); err != nil {
				return err
			}
		}
		if killed.Load() {
			return errKilled
		}
		return nil
	})
	s, err := StartServer(ctx, cfg)
	if err != nil {
		return err
	}
	if !e.adopt(m, s, killed) {
		return errors.Join(ErrServerClosed, s.Close())
	}
	return nil
}

// adopt makes a started server its member's; false if the ensemble has closed.
func (e *Ensemble) adopt(m *member, s *Server, killed *atomic.Bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	m.server, m.killed = s, killed
	m.cfg.Bootstrap = false
	m.cfg.Clients = slices.Clone(m.cfg.Clients)
	for i, a := range s.Addrs() {
		m.cfg.Clients[i].Address = a.String() // a restart is at the same place
	}
	return true
}

var errKilled = errors.New("zk: the server was killed")

// clients returns where a server hears its clients.
func (e *Ensemble) clients(id int64) []Endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.members[id].cfg.Clients // replaced, never changed
}

// IDs returns the servers' ids in order, running or not.
func (e *Ensemble) IDs() []int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []int64
	for id := range e.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Server returns a server as it was started last, nil for an unknown id.
func (e *Ensemble) Server(id int64) *Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.members[id]; m != nil {
		return m.server
	}
	return nil
}

// Leader returns the id of the running server that leads, 0 if there is none.
func (e *Ensemble) Leader() int64 {
	for _, id := range e.IDs() {
		s := e.Server(id)
		if s == nil || s.Err() != nil {
			continue
		}
		if st := s.Status(); st.Serving && st.Leader == id {
			return id
		}
	}
	return 0
}

// Network returns the network that the ensemble is on.
func (e *Ensemble) Network() Network { return e.network }

// Addrs returns the address of each server for clients, in the order of IDs.
func (e *Ensemble) Addrs() []string {
	var addrs []string
	for _, id := range e.IDs() {
		if cs := e.clients(id); len(cs) > 0 {
			addrs = append(addrs, cs[0].Address)
		}
	}
	return addrs
}

// ClientConfig returns what a client of the ensemble needs: where it is.
func (e *Ensemble) ClientConfig() ClientConfig {
	cfg := ClientConfig{Servers: e.Addrs(), Network: e.network, Logger: e.log}
	for _, id := range e.IDs() {
		if cs := e.clients(id); len(cs) > 0 && cs[0].Network != nil {
			if _, inMemory := e.network.(*MemoryNetwork); !inMemory {
				cfg.Network = cs[0].Network
			}
		}
	}
	return cfg
}

// Connect opens a client of the ensemble. Close it before the ensemble.
func (e *Ensemble) Connect(ctx context.Context) (*Client, error) {
	return Connect(ctx, e.ClientConfig())
}

// Kill stops a server without warning: what it had not synced is lost as in a
// loss of power if its disk is memory, and stays as it is on a real one.
func (e *Ensemble) Kill(id int64) error {
	e.mu.Lock()
	m := e.members[id]
	if m == nil || m.server == nil {
		e.mu.Unlock()
		return fmt.Errorf("zk: no server %d to kill", id)
	}
	server := m.server
	m.killed.Store(true)
	if disk, ok := m.fs.(*vfs.Mem); ok {
		m.fs = disk.CrashClone(e.rng)
	}
	e.mu.Unlock()
	_ = server.Close() // its disk is gone: that it cannot say goodbye is the point
	return nil
}

// Stop shuts a server down in good order.
func (e *Ensemble) Stop(ctx context.Context, id int64) error {
	s := e.Server(id)
	if s == nil {
		return fmt.Errorf("zk: no server %d to stop", id)
	}
	return s.Shutdown(ctx)
}

// Restart starts a server that was killed or stopped, on the disk it had, and
// waits until it serves clients.
func (e *Ensemble) Restart(ctx context.Context, id int64) error {
	if err := e.start(ctx, id); err != nil {
		return err
	}
	return e.Server(id).Ready(ctx)
}

// Shutdown stops every server in good order, the leader last. It returns when
// all have stopped; ctx bounds the waiting for requests.
func (e *Ensemble) Shutdown(ctx context.Context) error {
	leader := e.Leader()
	ids := e.IDs()
	slices.SortStableFunc(ids, func(a, b int64) int {
		return boolInt(a == leader) - boolInt(b == leader)
	})
	var errs []error
	for _, id := range ids {
		if s := e.Server(id); s != nil && s.Err() == nil {
			errs = append(errs, s.Shutdown(ctx))
		}
	}
	return errors.Join(errs...)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Close stops every server at once, and waits for those that stop already.
// Idempotent.
func (e *Ensemble) Close() error {
	e.mu.Lock()
	e.closed = true
	held := e.held
	e.mu.Unlock()
	for _, h := range held {
		h.release()
	}
	var errs []error
	for _, id := range e.IDs() {
		s := e.Server(id)
		switch {
		case s == nil:
		case s.Err() == nil:
			errs = append(errs, s.Close())
		default:
			<-s.Done()
		}
	}
	return errors.Join(errs...)
}
