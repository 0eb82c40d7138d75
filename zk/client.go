package zk

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ClientConfig says how a Client reaches its ensemble. Only Servers is needed.
type ClientConfig struct {
	// Servers are the ensemble's addresses, "host:port" or "host" (DefaultPort).
	// They are tried in random order; a name is resolved again at every dial. See
	// also ParseConnectString.
	Servers []string

	// Network dials the servers. nil: TCP.
	Network Network

	// TLS encrypts connections; its ServerName, if empty, is each server's host.
	// With a certificate in it the client is whom that names, under the scheme
	// x509. nil: plain.
	TLS *tls.Config

	// SessionTimeout is how long the ensemble keeps the session without hearing
	// from the client; a server may grant less or more, see
	// Client.SessionTimeout. 0: 10 s.
	SessionTimeout time.Duration

	// Chroot is put before every path that is sent and taken off every path that
	// comes back. The znode itself is not created. Empty: none.
	Chroot string

	// ReadOnly lets the client connect to a server that has lost its quorum and
	// serves reads only (StateReadOnly; writes are ErrNotReadOnly) while it looks
	// for a better one.
	ReadOnly bool

	// Auth are credentials to show on every connection; see Client.AddAuth.
	Auth []Auth

	// Session resumes a session of an earlier client (Client.Session) instead of
	// starting one. If it has expired, Connect fails with ErrSessionExpired.
	Session *Session

	// OnState is told of every change of state, in order with the callbacks of
	// watches and on the same goroutine. nil: nobody. See also Client.WatchState.
	OnState func(State)

	// RequestBytesMax is the largest request to send; a larger one fails with
	// ErrTooLarge. 0: 1,048,575, which is also the most that a server with
	// default settings takes (it closes the connection on a larger one).
	RequestBytesMax int

	// ReplyBytesMax is the largest reply to accept. A larger one fails with
	// ErrTooLarge and is skipped. 0: 64 MiB.
	ReplyBytesMax int

	// OutstandingMax is how many requests may be queued or on their way; further
	// calls wait. 0: 4,096.
	OutstandingMax int

	// Seed of the order of servers and of delays. 0: a random one.
	Seed uint64

	// Logger is told of connections gained and lost. nil: discard.
	Logger *slog.Logger
}

// Session names a session and proves that it is ours.
type Session struct {
	ID       int64
	Password []byte // a secret: whoever has it is the session
}

// Client is one session with a ZooKeeper ensemble. It keeps one connection, finds
// another server when that breaks, and keeps the session, its ephemerals and its
// watches through that. Requests of all goroutines are pipelined on the
// connection and executed in the order in which they were passed.
//
// All methods are safe for concurrent use. Every call ends when its context does.
// Without a connection calls wait for one: a client whose servers are all away
// does not know whether its session lives, so the context is what bounds the wait.
//
// When a connection breaks, requests that were not sent yet are sent on the next
// one, and so are reads whose answer was lost, without the caller noticing; a read
// under which ten connections have broken fails with ErrConnectionLoss. A
// write whose answer was lost fails with ErrConnectionLoss: its outcome is
// unknown. A context that ends while a write is on its way gives an error that is
// both the context's and ErrConnectionLoss.
//
// Slices passed in may be reused when the call returns; slices that come back
// are the caller's.
type Client struct {
	cfg    ClientConfig
	log    *slog.Logger
	cancel context.CancelFunc // ends the session goroutine and what it waits for
	ended  chan struct{}      // closed when the session goroutine has returned
	done   chan struct{}      // closed when the state is final
	del    *delivery

	requests sync.Pool // of *request; not global: their channels belong to a bubble

	timeout   atomic.Int64 // negotiated session timeout, ns
	state     atomic.Int32 // State
	lastZxid  atomic.Int64
	sessionID atomic.Int64

	mu clientState
}

// Connect starts a session. It returns when a server has granted it, or when ctx
// ends or a credential is refused. ctx bounds only Connect, not the session. The
// caller closes the Client.
func Connect(ctx context.Context, cfg ClientConfig) (*Client, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	c := newClient(cfg)
	c.start()
	if err := c.waitConnected(ctx); err != nil {
		c.Abandon()
		return nil, err
	}
	return c, nil
}

// setDefaults validates cfg, all violations at once, and fills in defaults.
func (cfg *ClientConfig) setDefaults() error {
	var errs []error
	if len(cfg.Servers) == 0 {
		errs = append(errs, errors.New("zk: ClientConfig.Servers is empty"))
	}
	cfg.Servers = slices.Clone(cfg.Servers)
	for i, s := range cfg.Servers {
		cfg.Servers[i] = withPort(s)
	}
	if cfg.Chroot == "/" {
		cfg.Chroot = ""
	}
	if cfg.Chroot != "" {
		if err := ValidatePath(cfg.Chroot); err != nil {
			errs = append(errs, fmt.Errorf("zk: ClientConfig.Chroot: %w", err))
		}
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"SessionTimeout", int64(cfg.SessionTimeout)},
		{"RequestBytesMax", int64(cfg.RequestBytesMax)},
		{"ReplyBytesMax", int64(cfg.ReplyBytesMax)},
		{"OutstandingMax", int64(cfg.OutstandingMax)},
	} {
		if n.value < 0 {
			errs = append(errs, fmt.Errorf("zk: ClientConfig.%s is negative: %d", n.name, n.value))
		}
	}
	if s := cfg.Session; s != nil && len(s.Password) != passwordBytes {
		errs = append(errs, fmt.Errorf("zk: ClientConfig.Session: a password of %d bytes, want %d", len(s.Password), passwordBytes))
	}
	if cfg.Network == nil {
		cfg.Network = &struct {
			net.Dialer
			net.ListenConfig
		}{}
	}
	orDefault(&cfg.SessionTimeout, 10*time.Second)
	orDefault(&cfg.RequestBytesMax, 0xfffff)
	orDefault(&cfg.ReplyBytesMax, 64<<20)
	orDefault(&cfg.OutstandingMax, 4096)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// SessionID is the session's id, as in Stat.EphemeralOwner.
func (c *Client) SessionID() int64 { return c.sessionID.Load() }

// Session is what another client needs to resume the session (ClientConfig).
// Resuming it takes it away from this client.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Session{c.sessionID.Load(), slices.Clone(c.mu.password)}
}

// SessionTimeout is the session timeout that the server granted.
func (c *Client) SessionTimeout() time.Duration { return time.Duration(c.timeout.Load()) }

// LastZxid is the greatest zxid that a reply has brought: no server that is behind
// it will be accepted.
func (c *Client) LastZxid() int64 { return c.lastZxid.Load() }

// State is the state at this moment.
func (c *Client) State() State { return State(c.state.Load()) }

// Done is closed when the client has ended: expired, refused or closed. Err says
// which.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil until Done is closed, and then ErrSessionExpired, ErrAuthFailed or
// ErrClosed.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return finalError(c.State())
	default:
		return nil
	}
}

func finalError(s State) error {
	switch s {
	case StateExpired:
		return ErrSessionExpired
	case StateAuthFailed:
		return ErrAuthFailed
	default:
		return ErrClosed
	}
}

// WatchState has fn told of every change of state from now on, as
// ClientConfig.OnState, until stop is called. A nil fn is told of nothing.
func (c *Client) WatchState(fn func(State)) (stop func()) {
	if fn == nil {
		return func() {}
	}
	w := &stateWatcher{fn: fn}
	c.mu.Lock()
	c.mu.stateWatchers = append(c.mu.stateWatchers, w)
	c.mu.Unlock()
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.stopped.Store(true)
		c.mu.stateWatchers = slices.DeleteFunc(slices.Clone(c.mu.stateWatchers), func(x *stateWatcher) bool { return x == w })
	})
}

type stateWatcher struct {
	fn      func(State)
	stopped atomic.Bool
}
