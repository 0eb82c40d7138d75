package mq

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// ClientConfig says how to reach a cluster. Only Seeds has no default.
type ClientConfig struct {
	// Seeds are addresses host:port of some brokers. One that answers is enough; the others are learned from it.
	Seeds []string
	// Network carries the connections. Nil: TCP.
	Network Network
	// ClientID names this program in the brokers' logs and quotas. Empty: "vivarium".
	ClientID string
	// DialTimeout bounds one attempt to connect. 0: 5 s.
	DialTimeout time.Duration
	// RequestTimeout is how long a broker may take for one request, not counting the time it was asked to wait. After it the
	// connection counts as dead. 0: 10 s.
	RequestTimeout time.Duration
	// RetryBackoff is the wait before the second attempt of a retried request; it doubles up to RetryBackoffMax and is
	// jittered by half of itself. 0: 5 ms and 200 ms.
	RetryBackoff, RetryBackoffMax time.Duration
	// MetadataMaxAge is how old the client's idea of topics, leaders and brokers may become while nothing fails. 0: 5 minutes.
	MetadataMaxAge time.Duration
	// ResponseBytesMax bounds one response; a longer one closes the connection before memory is allocated for it.
	// 0: 128 MiB.
	ResponseBytesMax int
	// Logger receives what an operator should know. Nil: nothing is logged.
	Logger *slog.Logger
}

// Client is a connection to a cluster: what producers, consumers and administration share. It connects to a broker when it is
// first needed and again when a connection breaks. All methods are safe for concurrent use.
//
// Administrative calls retry what is safe to retry until their context ends. A change whose answer was lost returns an
// error that is ErrUnknownOutcome.
type Client struct {
	cfg  ClientConfig
	pool *connPool
	meta *metadataKeeper

	mu struct {
		sync.Mutex
		closed   bool
		children map[clientChild]struct{} // producers and consumers, closed with the client
	}
}

// clientChild is what Client.Close closes first.
type clientChild interface{ Close() error }

// Connect returns a client once one of the seeds has answered. ctx bounds the connecting only; it is retried until ctx ends.
// Errors: the configuration's, or the last attempt's.
func Connect(ctx context.Context, cfg ClientConfig) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg}
	c.mu.children = make(map[clientChild]struct{})
	c.pool = newConnPool(cfg, func() { c.meta.kick() })
	c.meta = newMetadataKeeper(c)
	c.meta.start()
	if err := c.meta.refresh(ctx); err != nil {
		_ = c.Close()
		return nil, &OpError{Op: "connect", Subject: fmt.Sprint(cfg.Seeds), Err: err}
	}
	return c, nil
}

// withDefaults checks the configuration and fills in what is zero.
func (cfg ClientConfig) withDefaults() (ClientConfig, error) {
	if len(cfg.Seeds) == 0 {
		return cfg, fmt.Errorf("mq: ClientConfig.Seeds is empty")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"DialTimeout", cfg.DialTimeout},
		{"RequestTimeout", cfg.RequestTimeout},
		{"RetryBackoff", cfg.RetryBackoff},
		{"RetryBackoffMax", cfg.RetryBackoffMax},
		{"MetadataMaxAge", cfg.MetadataMaxAge},
		{"ResponseBytesMax", time.Duration(cfg.ResponseBytesMax)},
	} {
		if d.value < 0 {
			return cfg, fmt.Errorf("mq: ClientConfig.%s is negative", d.name)
		}
	}
	if cfg.Network == nil {
		cfg.Network = &tcpNetwork{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.ClientID, "vivarium")
	setDefault(&cfg.DialTimeout, 5*time.Second)
	setDefault(&cfg.RequestTimeout, 10*time.Second)
	setDefault(&cfg.RetryBackoff, 5*time.Millisecond)
	setDefault(&cfg.RetryBackoffMax, 200*time.Millisecond)
	setDefault(&cfg.MetadataMaxAge, 5*time.Minute)
	setDefault(&cfg.ResponseBytesMax, 128<<20)
	return cfg, nil
}

// setDefault sets *v to def if it is zero.
func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// adopt registers a producer or consumer for Close; it fails if the client is closed.
func (c *Client) adopt(child clientChild) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return ErrClosed
	}
	c.mu.children[child] = struct{}{}
	return nil
}

// disown is adopt's opposite.
func (c *Client) disown(child clientChild) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.children, child)
}

// Close closes the client's producers and consumers as their own Close does, then all connections. Calls in progress return
// ErrClosed. It is idempotent.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil
	}
	c.mu.closed = true
	children := make([]clientChild, 0, len(c.mu.children))
	for child := range c.mu.children {
		children = append(children, child)
	}
	c.mu.Unlock()

	var wg sync.WaitGroup
	for _, child := range children {
		wg.Go(func() { _ = child.Close() })
	}
	wg.Wait()
	c.meta.close()
	c.pool.close()
	return nil
}
