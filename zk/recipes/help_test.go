package recipes_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// world is an ensemble in a bubble.
type world struct {
	*zktest.Ensemble
	t   *testing.T
	ctx context.Context
}

// bubble runs a test in a bubble with an ensemble of three.
func bubble(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		test(&world{Ensemble: zktest.Start(t), t: t, ctx: ctx})
	})
}

// short connects a client with a session timeout of two seconds.
func (w *world) short() *zk.Client {
	return w.ConnectConfig(zk.ClientConfig{SessionTimeout: 2 * time.Second})
}

// children lists what is at path, through a client of its own.
func (w *world) children(path string) []string {
	c := w.Connect()
	require.NoError(w.t, c.Sync(w.ctx, path))
	names, _, err := c.Children(w.ctx, path)
	if err != nil {
		require.ErrorIs(w.t, err, zk.ErrNoNode)
	}
	require.NoError(w.t, c.Close())
	return names
}

// result is what a call in the background gave.
type result[T any] struct {
	done chan struct{}
	v    T
	err  error
}

// background starts a call and returns when it and everybody else waits.
func background[T any](call func() (T, error)) *result[T] {
	r := &result[T]{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.v, r.err = call()
	}()
	synctest.Wait()
	return r
}

// pending says that the call has not returned, though everybody waits.
func (r *result[T]) pending() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// get waits for the call's value.
func (r *result[T]) get(t *testing.T) T {
	t.Helper()
	<-r.done
	require.NoError(t, r.err)
	return r.v
}

func (r *result[T]) failure() error {
	<-r.done
	return r.err
}

// closed says that a channel is closed, once everybody waits.
func closed(ch <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// counter is a Network that counts requests by their type.
type counter struct {
	zk.Network
	mu     sync.Mutex
	types  map[int32]int
	before func(typ int32) // called when one is about to leave; may be nil
}

func newCounter(n zk.Network) *counter { return &counter{Network: n, types: make(map[int32]int)} }

func (c *counter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := c.Network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: nc, c: c}, nil
}

// count is how many requests of the types have been sent since the last reset.
func (c *counter) count(types ...int32) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, typ := range types {
		n += c.types[typ]
	}
	return n
}

// beforeEach has fn called before each request leaves, from now on.
func (c *counter) beforeEach(fn func(typ int32)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = fn
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.types)
}

type countedConn struct {
	net.Conn
	c       *counter
	buf     []byte
	greeted bool
}

func (cc *countedConn) Write(p []byte) (int, error) {
	cc.buf = append(cc.buf, p...)
	for len(cc.buf) >= 4 {
		n := 4 + int(binary.BigEndian.Uint32(cc.buf))
		if len(cc.buf) < n {
			break
		}
		if cc.greeted && n >= 12 {
			typ := int32(binary.BigEndian.Uint32(cc.buf[8:]))
			cc.c.mu.Lock()
			cc.c.types[typ]++
			before := cc.c.before
			cc.c.mu.Unlock()
			if before != nil {
				before(typ)
			}
		}
		cc.greeted = true
		cc.buf = cc.buf[n:]
	}
	return cc.Conn.Write(p)
}

// Types of requests on the wire.
const (
	opDelete    = 2
	opExists    = 3
	opGetData   = 4
	opChildren2 = 12
	opMulti     = 14
	opCreate2   = 15
)
