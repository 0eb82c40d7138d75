package zk

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// ServerSpec is one server of an ensemble as the others know it: a line
// server.N=host:port:port[:role];client of zoo.cfg.
type ServerSpec struct {
	ID       int64         // myid, 1 to 254
	Peer     string        // host:port at which it hears its peers
	Election string        // host:port of ZooKeeper's election, kept for what reads the configuration: peers here use Peer for all
	More     []PeerAddress // further addresses of the same server, tried in turn
	Observer bool          // it serves clients, but has no vote and no part in any quorum
	Client   string        // host:port at which it hears clients, kept for what reads the configuration

	// Group and Weight make quorums hierarchical, as group.N and weight.N of
	// zoo.cfg do, if every participant has a Group: a quorum is then more than half
	// of the weight in more than half of the groups that have any. A server of weight
	// 0 never leads. Without groups, 0, all participants have one vote each.
	Group, Weight int64
}

// Endpoint is an address at which a server hears its clients. A server may have
// several: in memory for the host program, TCP for the world.
type Endpoint struct {
	Network Network // nil: TCP
	Address string  // host:port; port 0 picks a free one

	// TLS encrypts the connections (secureClientPort). Its ClientAuth says whether
	// clients show certificates; who shows a verified one has its subject as an id of
	// the scheme x509. Other machines may be let in without Config.AllowInsecure if
	// ClientAuth is tls.RequireAndVerifyClientCert. Nil: plain.
	TLS *tls.Config
}

// Config configures one server of an ensemble. Names are those of zoo.cfg, in
// Go's spelling; a zero value takes the default that stands beside it. Zero
// Clients means a server that hears no client.
type Config struct {
	ID      int64        // which of Servers this is
	Servers []ServerSpec // the whole ensemble, the same on every server
	Clients []Endpoint   // where clients are heard
	Peers   Network      // how peers reach one another; nil: TCP
	// PeerListen is where this server hears its peers, host:port, if that is not
	// its Peer address in Servers (quorumListenOnAllIPs).
	PeerListen string

	// ReconfigEnabled permits changes of the ensemble while it runs. Servers then is
	// only what the ensemble began as, or whom a new server asks to be let in: what
	// counts is in the history. A server that nobody has heard of may join as a
	// learner; it gets a vote by a reconfiguration.
	ReconfigEnabled bool
	// Standalone says that a server alone in its configuration is no ensemble
	// (standaloneEnabled of zoo.cfg): it cannot be reconfigured, and no ensemble can
	// be made smaller than two participants.
	Standalone bool

	// PeerTLS encrypts connections between servers. Both sides show a certificate,
	// which must be valid for the host of the server's address in the
	// configuration. RootCAs, ClientCAs and Certificates (or their callbacks) are the
	// caller's; ServerName and ClientAuth are set here.
	PeerTLS *tls.Config
	// PeerSecret, the same on every server, is what peers prove to each other that
	// they know, without showing it. It authenticates; it does not encrypt.
	PeerSecret []byte

	// DataDir holds what the server must not forget. Empty: memory. On few cores a
	// program that syncs much does better with a GOMAXPROCS two above their
	// number, since the runtime leaves a thread that waits for a disk its place
	// for a while.
	DataDir string
	// DataLogDir holds the transaction log, on the same FS. Empty: DataDir does.
	DataLogDir string
	// FS is the disk that DataDir is on. Nil: the operating system's, or memory
	// without a DataDir.
	FS vfs.FS
	// Bootstrap says that the ensemble is new, so that an empty data directory
	// is no lost disk (ZooKeeper's initialize file). Set it at the first start
	// of every server and never again: a server whose disk was lost and that
	// votes all the same can lose what was acknowledged.
	Bootstrap bool

	TickTime          time.Duration // unit of the limits below; 2 s
	InitLimit         int           // ticks in which a follower must have synchronized; 10
	SyncLimit         int           // ticks without a word between leader and follower; 5
	MinSessionTimeout time.Duration // 2 ticks
	MaxSessionTimeout time.Duration // 20 ticks, 40 s at least

	FrameBytesMax  int // a client's frame (jute.maxbuffer); 1,048,575
	OutstandingMax int // requests of all clients that are not answered yet; 1,000
	// OutstandingBytesMax bounds the bytes of large requests, above 64 KiB, among
	// those; 64 MiB.
	OutstandingBytesMax int
	OutputBytesMax      int // bytes that a client has not read before it is cut off; 64 MiB
	// OutputBytesTotalMax bounds the memory of what all clients together have not
	// read, beyond 64 KiB for each. Above half of it large reads wait, for as long as
	// it takes to cut off clients that read nothing for 2 s; events do not wait, and
	// the client that would go above it with them is cut off. 256 MiB.
	OutputBytesTotalMax int
	WatchBytesMax       int // memory of one connection's watches before it is cut off; 64 MiB
	ClientCnxnsMax      int // connections from one address, loopback and memory exempt; 60, negative: no limit
	ConnectionsMax      int // connections in all; 10,000
	PeerQueueBytesMax   int // bytes that a peer has not read, four times as many if it goes on reading, before it starts over; 64 MiB
	SnapCount           int // writes between snapshots; 100,000
	SnapBytes           int // bytes of writes between snapshots, which a restart reads into memory; 128 MiB
	SnapRetainCount     int // snapshots kept; 3

	// PurgeInterval is the time between two removals of older snapshots and of the
	// log below them. 0: after each snapshot; negative: never.
	PurgeInterval time.Duration

	// SessionsMax is how many sessions there may be; above it a client that wants a
	// new one is sent away. 100,000; negative: no limit.
	SessionsMax int
	// SessionRateMax is how many new sessions a second this server makes for clients
	// of other machines. 1,000; negative: no limit.
	SessionRateMax int
	// ReadOnlyMode lets a server that has lost its quorum serve reads to clients
	// that ask for it (readonlymode.enabled; ClientConfig.ReadOnly).
	ReadOnlyMode bool
	// LocalSessions makes new sessions known to their server only: quicker, but
	// without ephemerals, and ended by the server's end (localSessionsEnabled). The
	// same on every server.
	LocalSessions bool
	// LocalSessionsUpgrading makes a local session that creates an ephemeral one of
	// the ensemble (localSessionsUpgradingEnabled). Else that is ErrEphemeralOnLocal.
	LocalSessionsUpgrading bool

	// ExtendedTypes permits znodes with a time to live (extendedTypesEnabled); else
	// their creation is ErrUnimplemented. The leader's counts.
	ExtendedTypes bool
	// SuperDigest, user:digest as DigestACL writes it, is who passes every ACL
	// (DigestAuthenticationProvider.superDigest). Empty: nobody does. The same on
	// every server.
	SuperDigest string
	// X509SuperUser is the subject of a client's certificate that passes every ACL
	// (X509AuthenticationProvider.superUser). Empty: none does.
	X509SuperUser string
	// DigestAlgorithm is the hash of the digest scheme, SHA1 if empty, SHA-256,
	// SHA-512, SHA3-256, … (DigestAuthenticationProvider.digestAlg). The same on
	// every server and for as long as there are ACLs made with it.
	DigestAlgorithm string
	// AuthSchemes are schemes beside world, auth, digest, ip and x509, by name. The
	// same on every server.
	AuthSchemes map[string]AuthScheme
	// SkipACL has nobody's permissions checked (skipACL). The same on every server.
	SkipACL bool
	// EnforceQuota refuses what goes beyond a quota's hard limits with
	// ErrQuotaExceeded (enforceQuota). Else quotas count and warn. The leader's counts.
	EnforceQuota bool
	// ContainerCheckInterval is how often a leader looks for containers and znodes
	// with a time to live that are to be deleted (znode.container.checkIntervalMs).
	// 0: a minute; negative: never.
	ContainerCheckInterval time.Duration
	// ContainerNeverUsedMax is the age at which a container that never had a child
	// is deleted (znode.container.maxNeverUsedIntervalMs). 0: never.
	ContainerNeverUsedMax time.Duration
	// ContainersPerMinute bounds how many of those a leader deletes
	// (znode.container.maxPerMinute); 10,000.
	ContainersPerMinute int

	// FourLetterWords are the four-letter words that are answered, "*" for all
	// (4lw.commands.whitelist). srvr always is. Nil: srvr and ruok.
	FourLetterWords []string

	counterMax uint32 // see zab.Config; 0: all that a zxid holds

	inMemory bool // writes to FS take no time to speak of: no goroutine is woken for them

	killed *atomic.Bool // what is written from now on is not on the disk that a restart finds; may be nil

	// AllowInsecure permits addresses that other machines reach, without TLS.
	AllowInsecure bool
	// Logger receives what an operator should know; nil: nothing is logged.
	Logger *slog.Logger
}

const (
	serverIDMax             = 254
	defaultFrameBytesMax    = 0xfffff
	frameBytesMaxAtMost     = 32 << 20 // peers' frames carry it
	framesQueuedMin         = 8        // largest requests that a peer's queue has room for
	defaultOutstandingMax   = 1000
	defaultClientCnxnsMax   = 60
	defaultConnectionsMax   = 10_000
	defaultBytesQueuedMax   = 64 << 20
	defaultOutputTotalMax   = 256 << 20
	outputFramesMin         = 4 // largest replies for which there is room in all
	defaultSnapCount        = 100_000
	defaultSnapBytes        = 128 << 20
	defaultSnapRetainCount  = 3
	defaultTickTime         = 2 * time.Second
	maxSessionTimeoutAtMost = 40 * time.Second // default of the maximum, however short the tick

	defaultSessionsMax    = 100_000
	defaultSessionRateMax = 1000

	defaultContainerCheckInterval = time.Minute
	defaultContainersPerMinute    = 10_000
)

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// withDefaults fills in zero values, or reports all that is wrong.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.TickTime, defaultTickTime)
	setDefault(&c.InitLimit, 10)
	setDefault(&c.SyncLimit, 5)
	setDefault(&c.MinSessionTimeout, 2*c.TickTime)
	setDefault(&c.MaxSessionTimeout, max(20*c.TickTime, maxSessionTimeoutAtMost))
	setDefault(&c.FrameBytesMax, defaultFrameBytesMax)
	setDefault(&c.OutstandingMax, defaultOutstandingMax)
	setDefault(&c.OutstandingBytesMax, defaultBytesQueuedMax)
	setDefault(&c.OutputBytesMax, defaultBytesQueuedMax)
	setDefault(&c.OutputBytesTotalMax, defaultOutputTotalMax)
	setDefault(&c.WatchBytesMax, defaultBytesQueuedMax)
	setDefault(&c.ClientCnxnsMax, defaultClientCnxnsMax)
	setDefault(&c.ConnectionsMax, defaultConnectionsMax)
	setDefault(&c.PeerQueueBytesMax, defaultBytesQueuedMax)
	setDefault(&c.SnapCount, defaultSnapCount)
	setDefault(&c.SnapBytes, defaultSnapBytes)
	setDefault(&c.SnapRetainCount, defaultSnapRetainCount)
	setDefault(&c.SessionsMax, defaultSessionsMax)
	setDefault(&c.SessionRateMax, defaultSessionRateMax)
	setDefault(&c.ContainerCheckInterval, defaultContainerCheckInterval)
	setDefault(&c.ContainersPerMinute, defaultContainersPerMinute)
	if c.DigestAlgorithm == "" {
		c.DigestAlgorithm = "SHA1"
	}
	if c.Peers == nil {
		c.Peers = tcp{}
	}
	c.Clients = slices.Clone(c.Clients)
	for i := range c.Clients {
		if c.Clients[i].Network == nil {
			c.Clients[i].Network = tcp{}
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.FS == nil && c.DataDir != "" {
		c.FS = vfs.OS
	}
	if c.FS == nil {
		c.FS = vfs.NewMem()
	}
	if _, memory := c.FS.(*vfs.Mem); memory {
		c.inMemory = true
	}
	if c.DataDir == "" {
		c.DataDir = "zk-" + strconv.FormatInt(c.ID, 10)
	}
	return c, c.validate()
}

func (c *Config) validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("zk: config: "+format, args...)) }
	seen := make(map[int64]bool)
	for _, s := range c.Servers {
		if s.ID < 1 || s.ID > serverIDMax {
			fail("server id %d is not between 1 and %d", s.ID, serverIDMax)
		}
		if seen[s.ID] {
			fail("server id %d is there twice", s.ID)
		}
		seen[s.ID] = true
		if address := cmp.Or(c.PeerListen, s.Peer); s.ID == c.ID {
			if err := c.checkAddress(c.Peers, address); err != nil && !(errors.Is(err, errExposed) && c.PeerTLS != nil) {
				fail("server %d: peer address %q: %w", s.ID, address, err)
			}
		}
	}
	if !seen[c.ID] {
		fail("ID %d is not one of Servers", c.ID)
	}
	for _, e := range c.Clients {
		if err := c.checkAddress(e.Network, e.Address); err != nil && !(errors.Is(err, errExposed) && authenticatesClients(e.TLS)) {
			fail("client address %q: %w", e.Address, err)
		}
	}
	c.validateAuth(fail)
	for name, v := range map[string]int{
		"InitLimit": c.InitLimit, "SyncLimit": c.SyncLimit, "FrameBytesMax": c.FrameBytesMax, "OutstandingMax": c.OutstandingMax,
		"OutstandingBytesMax": c.OutstandingBytesMax,
		"OutputBytesMax":      c.OutputBytesMax, "OutputBytesTotalMax": c.OutputBytesTotalMax, "ConnectionsMax": c.ConnectionsMax, "PeerQueueBytesMax": c.PeerQueueBytesMax,
		"SnapCount": c.SnapCount, "SnapBytes": c.SnapBytes, "WatchBytesMax": c.WatchBytesMax, "SnapRetainCount": c.SnapRetainCount, "TickTime": int(c.TickTime),
		"ContainerNeverUsedMax": int(c.ContainerNeverUsedMax), "ContainersPerMinute": c.ContainersPerMinute,
	} {
		if v < 0 {
			fail("%s is negative: %d", name, v)
		}
	}
	if c.FrameBytesMax > frameBytesMaxAtMost {
		fail("FrameBytesMax %d is above %d", c.FrameBytesMax, frameBytesMaxAtMost)
	}
	if c.PeerQueueBytesMax < framesQueuedMin*c.FrameBytesMax {
		fail("PeerQueueBytesMax %d is less than %d times FrameBytesMax %d", c.PeerQueueBytesMax, framesQueuedMin, c.FrameBytesMax)
	}
	if c.OutputBytesTotalMax < outputFramesMin*c.FrameBytesMax {
		fail("OutputBytesTotalMax %d is less than %d times FrameBytesMax %d", c.OutputBytesTotalMax, outputFramesMin, c.FrameBytesMax)
	}
	if c.MinSessionTimeout < 0 || c.MaxSessionTimeout < c.MinSessionTimeout {
		fail("session timeouts: minimum %v, maximum %v", c.MinSessionTimeout, c.MaxSessionTimeout)
	}
	return errors.Join(errs...)
}

var errExposed = errors.New("reachable from other machines without TLS that authenticates clients: set AllowInsecure if that is meant")

// checkAddress refuses an address that other machines reach unless that was
// asked for: this protocol has no encryption of its own.
func (c *Config) checkAddress(n Network, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number up to 65535", port)
	}
	if _, overTCP := n.(tcp); !overTCP || c.AllowInsecure || isLoopback(host) {
		return nil
	}
	return errExposed
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// tcp is the Network of the operating system.
type tcp struct{}

func (tcp) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, network, address)
}

func (tcp) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
