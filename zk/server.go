package zk

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/txnlog"
	"github.com/vivarium-go/vivarium/zk/internal/watch"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// historyEntriesMax is how many entries a server keeps in memory for peers that
// were away for a moment: some tenths of a second of the heaviest load.
const historyEntriesMax = 1 << 17

// ErrServerClosed is why a server that was closed or shut down does nothing.
var ErrServerClosed = errors.New("zk: server closed")

// Server is one member of an ensemble. Make it with StartServer; its methods
// are safe for concurrent use.
//
// Its goroutines, each ended by Close, are: the loop, which owns the protocol's
// state and the tree's writer side; the disk, which makes writes durable; a
// sender and a receiver for each peer; an acceptor for each listener; a reader
// and a writer for each client; and at times one that saves a snapshot.
type Server struct {
	cfg     Config
	log     *slog.Logger
	tick    time.Duration
	started time.Time

	sessionClock atomic.Int64 // ns, see now

	ctx        context.Context // ends when the server does
	stop       context.CancelCauseFunc
	goroutines sync.WaitGroup
	done       chan struct{} // closed when all is released
	closeOnce  sync.Once
	closeErr   error
	shutdown   sync.Mutex // held by one Shutdown at a time

	store     *txnlog.Store
	disk      chan diskWrite
	links     atomic.Pointer[map[zab.ServerID]*link] // replaced under linksMu, never changed
	linksMu   sync.Mutex
	initial   Membership // what the history begins with
	active    atomic.Pointer[Membership]
	receivers receivers
	listeners []net.Listener // clients' first, the peers' last
	inbox     mailbox

	door        *door
	outstanding *limiter
	large       *limiter // of those, requests above largeRequestBytes
	room        outputRoom
	nextConn    atomic.Uint64
	serving     gate
	readOnly    gate // open while there are reads only
	locals      *locals
	newSessions rate
	status      atomic.Pointer[ServerStatus]
	stats       serverStats
	traceMask   atomic.Int64

	snapshotStreams sync.Mutex // held while the admin's command snapshot sends one

	// pub is the publication lock (R4). Its holder may publish, or knows that
	// nobody does. It guards the tree's published zxid, clients, bySession and,
	// together with watchesMu when held for reading only, watches.
	pub       sync.RWMutex
	watchesMu sync.Mutex
	tree      atomic.Pointer[tree.Tree]
	watches   *watch.Table[uint64]
	clients   map[uint64]*conn
	bySession map[int64]*conn

	loopState
}

// loopState belongs to the loop's goroutine.
type loopState struct {
	peer     *zab.Peer
	rand     *rand.Rand
	role     zab.Role
	writing  *zab.Write // at the disk
	applied  zab.Zxid
	requests map[uint64]*submission // by seq: no outcome yet
	seq      uint64
	syncs    []pendingSync
	held     []heldReply
	fence    fence
	lead     *leadership // nil unless an established leader
	batch    batch
	digestState

	reaper       reaper
	quotaWarned  time.Duration // since started
	lookingSince time.Duration // since started
	tickedAt     time.Duration // since started
	housekept    time.Duration // since started
	strandedAt   time.Duration
	appliedSince int // the last snapshot
	appliedBytes int
	purgedAt     time.Duration // since started
	snapshotting bool

	// scratch
	txn, admitting tree.Txn
	res            tree.Result
	watchers       []uint64
	touched        []int64
	expired        []int64
}

// ServerStatus is what a server says of itself.
type ServerStatus struct {
	ID      int64
	State   string // looking, follower, observer, leader or standalone
	Leader  int64  // 0: none
	Epoch   uint32
	Zxid    int64 // last applied
	Serving bool  // clients are served
}

// StartServer recovers a server from its data directory and starts it. It
// returns as soon as peers and clients are heard; Ready waits for a leader. The
// context bounds the start only.
func StartServer(ctx context.Context, cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := newServer(cfg)
	if err := s.recover(); err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.start()
	return s, nil
}

func newServer(cfg Config) *Server {
	s := &Server{
		cfg: cfg, log: cfg.Logger.With("server", cfg.ID), started: time.Now(), done: make(chan struct{}),
		tick:      min(max(cfg.TickTime/5, 5*time.Millisecond), 100*time.Millisecond),
		disk:      make(chan diskWrite, 1),
		receivers: receivers{conns: make(map[zab.ServerID]net.Conn), all: make(map[net.Conn]struct{})},
		inbox:     mailbox{wake: make(chan struct{}, 1)},
		door:      newDoor(&cfg), outstanding: newLimiter(cfg.OutstandingMax),
		large:   newLimiter(max(1, cfg.OutstandingBytesMax/cfg.FrameBytesMax)),
		watches: watch.New[uint64](), clients: make(map[uint64]*conn), bySession: make(map[int64]*conn),
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	s.rand = rand.New(rand.NewPCG(binary.BigEndian.Uint64(s.randomBytes(8)), binary.BigEndian.Uint64(s.randomBytes(8))))
	s.room.max = int64(cfg.OutputBytesTotalMax)
	s.requests = make(map[uint64]*submission)
	s.seq = s.rand.Uint64() >> 1 // unlike any of an earlier life, whose entries may still be applied
	if len(cfg.Servers) > 1 {
		s.stats.lookings.Store(1)
	}
	s.serving.init()
	s.readOnly.init()
	s.locals = newLocals(&s.cfg)
	s.links.Store(&map[zab.ServerID]*link{})
	s.status.Store(&ServerStatus{ID: cfg.ID, State: "looking"})
	return s
}

func (s *Server) treeConfig() tree.Config { return tree.Config{Schemes: s.cfg.schemes()} }

// recover reads the data directory: the tree is that of the newest snapshot,
// the entries above it go to the protocol, which knows what of them counts.
func (s *Server) recover() error {
	if err := txnlog.Create(s.cfg.FS, s.cfg.DataDir, s.cfg.Bootstrap); err != nil {
		return err
	}
	s.tree.Store(tree.New(s.treeConfig()))
	began := time.Now()
	store, rec, err := txnlog.Open(txnlog.Config{
		FS: s.cfg.FS, Dir: s.cfg.DataDir, LogDir: s.cfg.DataLogDir, ID: zab.ServerID(s.cfg.ID), Logger: s.log, Restore: s.restore,
		Check: func(z zab.Zxid, r io.Reader) error { _, err := s.loadTree(z, r); return err },
	})
	if err != nil {
		return err
	}
	s.stats.loading.observe(time.Since(began).Microseconds())
	if nothing := !rec.HasEpochs && !rec.Bootstrap && rec.Snapshot == 0 && len(rec.Entries) == 0; nothing && s.cfg.Bootstrap {
		rec.Bootstrap = true // it was started without the mark before, and waited
	} else if nothing {
		s.log.Warn("the data directory holds no state: this server has no vote before a leader has synchronized it; in a new ensemble start every server with Bootstrap once")
	}
	s.store = store
	s.applied = rec.Snapshot
	s.noteDigest(s.applied, s.tree.Load().Digest())
	ticks := func(d time.Duration) int { return max(1, int(d/s.tick)) }
	pc := zab.Config{
		ID: zab.ServerID(s.cfg.ID), Rand: s.rand,
		PingTicks:        ticks(s.cfg.TickTime / 2),
		SyncLimitTicks:   max(ticks(s.cfg.TickTime*time.Duration(s.cfg.SyncLimit)), ticks(s.cfg.TickTime/2)+1),
		InitLimitTicks:   ticks(s.cfg.TickTime * time.Duration(s.cfg.InitLimit)),
		FinalizeTicks:    ticks(min(s.cfg.TickTime, 200*time.Millisecond)),
		ResendTicks:      ticks(min(s.cfg.TickTime, 200*time.Millisecond)),
		WindowEntriesMax: historyEntriesMax,
		// A learner that gets the whole window, and what is proposed meanwhile, must not
		// overflow its link's queue: it would start over for ever.
		WindowBytesMax:   s.cfg.PeerQueueBytesMax / 2,
		InFlightBytesMax: s.cfg.PeerQueueBytesMax / 8,
		LogHistory:       true,
		CounterMax:       s.cfg.counterMax,
	}
	s.initial = s.initialMembership(&rec)
	s.active.Store(&s.initial)
	pc.Initial = *s.initial.zab()
	if s.cfg.ReconfigEnabled {
		pc.Membership = entryMembership
		rec.Membership = s.treeMembership(s.tree.Load())
	}
	s.peer, err = zab.New(pc, rec)
	if err != nil {
		return errors.Join(fmt.Errorf("zk: %s: %w", s.cfg.DataDir, err), s.store.Close())
	}
	return nil
}

func (s *Server) restore(z zab.Zxid, r io.Reader) error {
	t, err := s.loadTree(z, r)
	if err == nil {
		s.tree.Store(t)
	}
	return err
}

func (s *Server) loadTree(z zab.Zxid, r io.Reader) (*tree.Tree, error) {
	loader := tree.NewLoader(s.treeConfig())
	if _, err := io.Copy(loader, r); err != nil {
		return nil, err
	}
	t, err := loader.Finish()
	if err == nil && t.Applied() != int64(z) {
		err = fmt.Errorf("zk: snapshot is at %v", zab.Zxid(t.Applied()))
	}
	return t, err
}

func (s *Server) listen(ctx context.Context) error {
	for _, e := range s.cfg.Clients {
		l, err := e.Network.Listen(ctx, "tcp", e.Address)
		if err != nil {
			return fmt.Errorf("zk: client address %s: %w", e.Address, err)
		}
		s.listeners = append(s.listeners, l)
	}
	for _, spec := range s.cfg.Servers {
		if spec.ID != s.cfg.ID || s.standalone() {
			continue
		}
		address := cmp.Or(s.cfg.PeerListen, spec.Peer)
		l, err := s.cfg.Peers.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("zk: peer address %s: %w", address, err)
		}
		s.listeners = append(s.listeners, l)
	}
	return nil
}

// start starts every goroutine that lasts as long as the server.
func (s *Server) start() {
	for _, spec := range s.cfg.Servers {
		s.connect(spec, true)
	}
	s.goroutines.Go(s.writeDisk)
	s.goroutines.Go(func() { defer close(s.disk); s.loop() })
	for i, l := range s.listeners {
		if i < len(s.cfg.Clients) {
			s.goroutines.Go(func() { s.acceptClients(l, s.cfg.Clients[i]) })
		} else {
			s.goroutines.Go(func() { s.acceptPeers(l) })
		}
	}
}

// ID returns the server's id.
func (s *Server) ID() int64 { return s.cfg.ID }

// Addrs returns where clients are heard, in the order of Config.Clients.
func (s *Server) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range s.listeners[:len(s.cfg.Clients)] {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// Ready waits until the server serves clients, which takes a leader.
func (s *Server) Ready(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.ctx, func() { cancel(s.Err()) })
	defer stop()
	err := s.serving.wait(ctx)
	if s.Err() != nil {
		err = s.Err()
	}
	if err != nil {
		return fmt.Errorf("zk: server %d does not serve: %w", s.cfg.ID, err)
	}
	return nil
}

// ErrNotServing is what Health's error wraps while a server runs and cannot do all
// that clients may ask.
var ErrNotServing = errors.New("zk: not serving")

// Health is nil while the server serves clients in full. Else it says why not:
// what Err says, or an ErrNotServing without a leader or with reads only. It does not
// wait, and is what a host program's health check wants.
func (s *Server) Health() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("zk: server %d has stopped: %w", s.cfg.ID, err)
	}
	if st := s.Status(); !st.Serving {
		return fmt.Errorf("%w: server %d is %s", ErrNotServing, st.ID, st.State)
	}
	return nil
}

// Status returns the server's state as of its last change.
func (s *Server) Status() ServerStatus {
	st := *s.status.Load()
	st.Zxid, st.Serving = s.tree.Load().Published(), s.serving.isOpen()
	return st
}

// Done is closed when the server has stopped and released all it held.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns why the server stopped: ErrServerClosed, or what made it fail. It
// is nil while the server runs.
func (s *Server) Err() error {
	if s.ctx.Err() == nil {
		return nil
	}
	return context.Cause(s.ctx)
}

// Shutdown stops hearing new clients, waits until the requests under way are
// answered and the answers sent, or ctx ends, and closes the server. Several calls
// at a time are one after the other.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, l := range s.listeners[:len(s.cfg.Clients)] {
		_ = l.Close() // closed already is closed
	}
	s.shutdown.Lock()
	defer s.shutdown.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // closed meanwhile, or failed
	s.outstanding.waitEmpty(ctx)
	s.pub.RLock()
	conns := s.clientList(nil)
	s.pub.RUnlock()
	for _, c := range conns {
		c.finishOutput()
	}
	for _, c := range conns {
		select {
		case <-c.ctx.Done():
		case <-ctx.Done():
		}
	}
	return s.Close()
}

// Close stops the server at once and waits until it has. What was acknowledged
// is durable already. Idempotent.
func (s *Server) Close() error {
	s.stop(ErrServerClosed)
	s.closeOnce.Do(func() {
		s.closeErr = s.release()
		close(s.done)
	})
	return s.closeErr
}

// release ends every goroutine and frees what the server holds.
func (s *Server) release() error {
	s.stop(ErrServerClosed)
	for _, l := range s.listeners {
		_ = l.Close() // closed already is closed
	}
	s.receivers.close()
	s.door.close()
	s.pub.RLock()
	conns := s.clientList(nil)
	s.pub.RUnlock()
	for _, c := range conns {
		c.close(ErrServerClosed)
	}
	s.goroutines.Wait()
	return s.store.Close()
}

// fail stops a server that cannot go on. The loop calls it, so it does not wait.
func (s *Server) fail(err error) {
	s.log.Error("server stops", "err", err)
	s.stop(err)
	go func() { _ = s.Close() }()
}

// publishStatus tells the world what the loop knows.
func (s *Server) publishStatus() {
	st := &ServerStatus{ID: s.cfg.ID, State: "looking", Leader: int64(s.role.Leader), Epoch: s.role.Epoch}
	switch {
	case s.readOnly.isOpen():
		st.State = readOnlyState
	case s.role.State == zab.Leading && s.standalone():
		st.State = "standalone"
	case s.role.State == zab.Leading:
		st.State = "leader"
	case s.role.State == zab.Following:
		st.State = "follower"
		if m, ok := s.active.Load().member(s.cfg.ID); !ok || m.Observer {
			st.State = "observer"
		}
	}
	s.status.Store(st)
	s.checkServing()
}

// checkServing opens the gate for clients when this server can do all they ask.
func (s *Server) checkServing() {
	s.serving.set((s.lead != nil || s.fence.passed) && s.tree.Load().Property(secretProperty) != nil)
}

// randomBytes returns n bytes that nobody can guess.
func (s *Server) randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = crand.Read(b) // never fails
	return b
}

// gate is something to wait for that may come and go.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
	open   bool
}

func (g *gate) init() { g.opened = make(chan struct{}) }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open && !g.open:
		close(g.opened)
	case !open && g.open:
		g.opened = make(chan struct{})
	}
	g.open = open
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// channel is closed while the gate is open.
func (g *gate) channel() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

func (g *gate) wait(ctx context.Context) error {
	select {
	case <-g.channel():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
