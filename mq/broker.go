package mq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/zk"
)

// Broker is one server of a cluster: it keeps replicas of partitions, serves clients over the Kafka protocol, and takes part in
// the election of the cluster's controller. It is one of several that share an ensemble; StartCluster starts them together.
// All methods are safe for concurrent use.
type Broker struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // the session loop
	disk   *brokerDisk
	host   *partitionHost
	groups *groupCoordinator
	admin  *brokerAdmin
	server *api.Server
	bound  []boundListener

	image     atomic.Pointer[meta.Image]
	live      atomic.Pointer[brokerLife]
	clusterID atomic.Pointer[string]
	pids      producerIDs
	// imageMu guards imageNew, which is closed and replaced with each image.
	imageMu  sync.Mutex
	imageNew chan struct{}
	rngMu    sync.Mutex
	rng      *rand.Rand

	endOnce sync.Once
	ended   chan struct{}
	err     error // set before ended is closed
}

// boundListener is a listener with the address clients are told.
type boundListener struct {
	cfg  Listener
	nl   net.Listener
	host string
	port int32
}

// StartBroker starts a broker and returns when it is registered, has the cluster's metadata and serves clients. ctx bounds the
// start only. A broker that comes back before its former session ended waits for the old registration to go, one session
// timeout at most.
//
// Errors: those of Config.Validate; the ensemble cannot be reached, or is older than 3.6; an address is in use; the data
// directory is locked, or belongs to another broker or cluster; another broker is registered under this id.
func StartBroker(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{cfg: cfg.withDefaults(), ended: make(chan struct{}), imageNew: make(chan struct{})}
	b.cfg.Logger = b.cfg.Logger.With(slog.Int("broker", int(cfg.BrokerID)))
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // ids and jitter, no secrets
	}
	b.rng = rand.New(rand.NewPCG(seed, uint64(cfg.BrokerID))) //nolint:gosec // likewise
	b.ctx, b.cancel = context.WithCancel(context.Background())
	img, _ := meta.NewBuilder().Image()
	b.image.Store(img)
	if err := b.start(ctx); err != nil {
		_ = b.end(err, false)
		return nil, fmt.Errorf("mq: starting broker %d: %w", cfg.BrokerID, err)
	}
	return b, nil
}

// start does what StartBroker says. What has been started when it fails is ended by the caller.
func (b *Broker) start(ctx context.Context) error {
	disk, err := openDisk(&b.cfg, b.rng)
	if err != nil {
		return err
	}
	b.disk = disk
	if err := b.listen(ctx); err != nil {
		return err
	}
	b.host = newPartitionHost(b.ctx, &b.cfg, b.disk)
	b.host.life, b.host.image = b.live.Load, b.image.Load
	b.admin = &brokerAdmin{b: b, creating: map[string]bool{}}
	b.pids.gate = make(chan struct{}, 1)
	b.groups = newGroupCoordinator(b)
	b.host.onRole = b.groups.roleChanged
	b.groups.start()
	b.host.start()
	life, err := b.firstLife(ctx)
	if err != nil {
		return err
	}
	b.wg.Go(func() { b.keepAlive(life) })
	return b.awaitImage(ctx, func(img *meta.Image) bool {
		self := img.Brokers[b.cfg.BrokerID]
		return self != nil && self.Owner == life.zk.SessionID()
	})
}

// firstLife connects to the ensemble and registers. A session or a connection that is lost meanwhile, as on a machine that is
// busy starting many things, begins another attempt until ctx ends.
func (b *Broker) firstLife(ctx context.Context) (*brokerLife, error) {
	for {
		life, err := b.beginLife(ctx)
		if err == nil {
			b.live.Store(life)
			if b.server == nil {
				b.serve() // not before there is metadata to tell
			}
			if err = life.join(ctx, true); err == nil {
				return life, nil
			}
			b.live.Store(nil)
			life.end(true)
		}
		passes := errors.Is(err, zk.ErrConnectionLoss) || errors.Is(err, zk.ErrSessionExpired) || errors.Is(err, zk.ErrSessionMoved)
		if !passes || ctx.Err() != nil {
			return nil, err
		}
		b.cfg.Logger.Info("starting again", "err", err)
		pause(ctx, zkRetryPause)
	}
}

// listen binds every listener.
func (b *Broker) listen(ctx context.Context) error {
	for _, l := range b.cfg.Listeners {
		nl, err := l.Network.Listen(ctx, "tcp", l.Address)
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
		bl := boundListener{cfg: l, nl: nl}
		b.bound = append(b.bound, bl)
		host, port, err := net.SplitHostPort(nl.Addr().String())
		if err != nil {
			return fmt.Errorf("listener %s: bound address: %w", l.Name, err)
		}
		if l.Advertised != "" {
			advertised := ""
			if host, advertised, err = net.SplitHostPort(l.Advertised); err == nil && advertised != "0" {
				port = advertised
			}
		}
		n, err := strconv.ParseInt(port, 10, 32)
		if err != nil {
			return fmt.Errorf("listener %s: port %q: %w", l.Name, port, err)
		}
		last := &b.bound[len(b.bound)-1]
		last.host, last.port = host, int32(n)
	}
	return nil
}

// serve starts answering on every listener.
func (b *Broker) serve() {
	backend := api.Backend{Metadata: b.admin, Logs: b.host, Members: b.groups, Offsets: b.groups, Groups: b.groups, Admin: b.admin}
	b.server = api.New(api.Config{
		RequestBytesMax: int(b.cfg.SocketRequestBytesMax), FetchBytesMax: int(b.cfg.FetchBytesMax),
		ConnectionsMax: b.cfg.MaxConnections, InFlightMax: b.cfg.MaxInFlightRequests, QueuedBytesMax: b.cfg.QueuedRequestBytesMax,
		IdleMax: b.cfg.ConnectionsIdleMax, StallMax: stallMax, Logger: b.cfg.Logger,
	}, backend)
	for _, l := range b.bound {
		b.server.Serve(l.nl, l.cfg.Name)
	}
}

// stallMax is how long a frame may take to arrive, and a response to be taken.
const stallMax = 30 * time.Second

// keepAlive begins a new life whenever the session expires, until the broker ends.
func (b *Broker) keepAlive(life *brokerLife) {
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-life.zk.Done():
		}
		if b.ctx.Err() != nil {
			return
		}
		b.cfg.Logger.Warn("the ZooKeeper session has ended", "err", life.zk.Err())
		b.live.Store(nil)
		life.end(false)
		next := b.rejoin()
		if next == nil {
			return
		}
		life = next
	}
}

// rejoin begins a new life and registers, however often it takes; nil if the broker ends meanwhile.
func (b *Broker) rejoin() *brokerLife {
	for b.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(b.ctx, within)
		life, err := b.beginLife(ctx)
		if err == nil {
			b.live.Store(life)
			if err = life.join(ctx, false); err == nil {
				cancel()
				return life
			}
			b.live.Store(nil)
			life.end(false)
		}
		cancel()
		if b.ctx.Err() == nil {
			b.cfg.Logger.Warn("rejoining failed", "err", err)
			pause(b.ctx, 5*zkRetryPause)
		}
	}
	return nil
}

// publish takes a new image.
func (b *Broker) publish(img *meta.Image, changed []string) {
	b.image.Store(img)
	b.imageMu.Lock()
	close(b.imageNew)
	b.imageNew = make(chan struct{})
	b.imageMu.Unlock()
	b.host.changed(changed)
}

// awaitImage waits for an image that fits.
func (b *Broker) awaitImage(ctx context.Context, fits func(*meta.Image) bool) error {
	for {
		b.imageMu.Lock()
		next := b.imageNew
		b.imageMu.Unlock()
		if fits(b.image.Load()) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-b.ctx.Done():
			return ErrClosed
		}
	}
}

// endpoints are the addresses to register.
func (b *Broker) endpoints() []layout.Endpoint {
	out := make([]layout.Endpoint, len(b.bound))
	for i, l := range b.bound {
		out[i] = layout.Endpoint{Listener: l.cfg.Name, Host: l.host, Port: l.port, Protocol: "PLAINTEXT"}
	}
	return out
}

// newRand returns a source of its own for one goroutine or mutex.
func (b *Broker) newRand() *rand.Rand {
	b.rngMu.Lock()
	defer b.rngMu.Unlock()
	return rand.New(rand.NewPCG(b.rng.Uint64(), b.rng.Uint64())) //nolint:gosec // ids and jitter
}

// newID draws an id.
func (b *Broker) newID() layout.ID { return layout.NewID(b.newRand()) }

// hostPort joins a host and a port.
func hostPort(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// ID is the broker's id.
func (b *Broker) ID() int32 { return b.cfg.BrokerID }

// Addr is the host:port that clients of the first listener are told.
func (b *Broker) Addr() string { return b.Addrs()[0] }

// Addrs are the host:port that clients are told, in the order of Config.Listeners.
func (b *Broker) Addrs() []string {
	out := make([]string, len(b.bound))
	for i, l := range b.bound {
		out[i] = hostPort(l.host, l.port)
	}
	return out
}

// ClusterID is the cluster's id, as in /cluster/id.
func (b *Broker) ClusterID() string { return *b.clusterID.Load() }

// Done is closed when the broker has ended, whatever the reason; see Err.
func (b *Broker) Done() <-chan struct{} { return b.ended }

// Err is nil while the broker runs, ErrClosed after Shutdown or Close, and else what ended it.
func (b *Broker) Err() error {
	select {
	case <-b.ended:
		return b.err
	default:
		return nil
	}
}

// Shutdown ends the broker gracefully: it hands leadership over, lets requests finish, closes its logs cleanly and leaves the
// ensemble. If ctx ends first, Shutdown continues as Close and returns ctx's error.
func (b *Broker) Shutdown(ctx context.Context) error {
	if b.ctx.Err() != nil {
		<-b.ended
		return nil
	}
	b.handOver(ctx)
	err := b.server.Drain(ctx)
	return errors.Join(err, b.end(ErrClosed, err == nil))
}

// Close ends the broker abruptly, as a kill would: connections break, nothing is handed over, the cluster learns of it when the
// session times out. It returns when no goroutine and no file of the broker is left.
func (b *Broker) Close() error { return b.end(ErrClosed, false) }

// drop breaks every connection at once without ending the broker: from here on nothing it does reaches anybody. What follows is
// Close.
func (b *Broker) drop() {
	if b.server != nil {
		b.server.Drop()
	}
	b.cancel() // or the session's end would begin a new life
	if life := b.live.Load(); life != nil {
		life.zk.Abandon()
	}
}

// end ends everything in order: connections first, so that nothing is acknowledged that the disk will not have.
func (b *Broker) end(why error, clean bool) error {
	var err error
	b.endOnce.Do(func() {
		if b.server != nil {
			b.server.Drop()
		} else {
			for _, l := range b.bound {
				_ = l.nl.Close()
			}
		}
		b.cancel()
		b.wg.Wait()
		life := b.live.Swap(nil)
		if life != nil {
			life.end(clean)
		}
		if b.groups != nil {
			b.groups.close()
		}
		if b.host != nil {
			b.host.clean.Store(clean)
			err = b.host.close()
		}
		if b.server != nil {
			b.server.Close()
		}
		if b.disk != nil {
			err = errors.Join(err, b.disk.close(clean && err == nil))
		}
		b.err = why
		close(b.ended)
	})
	<-b.ended
	return err
}

// handOver asks the controller to take leadership and in-sync memberships from this broker. What nobody else can lead stays.
func (b *Broker) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverMax)
	defer cancel()
	b.host.retire()
	for try := 0; try < handOverTries && ctx.Err() == nil; try++ {
		life := b.live.Load()
		if life == nil || len(b.image.Load().Brokers) <= 1 {
			return
		}
		remaining, code := b.askShutdown(ctx, life)
		if code == api.None && remaining == 0 {
			return
		}
		pause(ctx, zkRetryPause)
	}
}

const (
	// handOverMax bounds how long leadership is handed over when a broker shuts down, handOverTries how often it is tried.
	handOverMax   = 5 * time.Second
	handOverTries = 3
)

// askShutdown asks the controller once.
func (b *Broker) askShutdown(ctx context.Context, life *brokerLife) (remaining int, code api.Code) {
	if b.admin.Controls() {
		return b.admin.ControlledShutdown(ctx, b.cfg.BrokerID, life.incarnation())
	}
	req := kmsg.NewPtrControlledShutdownRequest()
	req.SetVersion(3)
	req.BrokerID, req.BrokerEpoch = b.cfg.BrokerID, life.incarnation()
	resp, err := b.admin.Forward(ctx, req)
	if err != nil {
		return 0, api.NotController
	}
	r := resp.(*kmsg.ControlledShutdownResponse)
	return len(r.PartitionsRemaining), api.Code(r.ErrorCode)
}
