// Package zktest gives tests an ensemble in a line, and the faults to try it with.
//
//	e := zktest.Start(t)
//	c := e.Connect()
//	e.Kill(e.Leader())
//
// Everything is in this process and in memory, ends with the test, and works
// inside and outside of testing/synctest bubbles. A method that fails ends the
// test.
//
// # Faults
//
//   - Servers: [Ensemble.Kill], [Ensemble.Restart], [Ensemble.Isolate],
//     [Ensemble.Partition], [Ensemble.SlowDisk], [Ensemble.FailDisk].
//   - Clients, made by [Ensemble.Connect] or [Ensemble.ConnectConfig], each a host
//     of its own: [Ensemble.CutOff], [Ensemble.Reset], [Ensemble.LoseReply],
//     [Ensemble.Expire].
//   - [Ensemble.Heal] ends all that can be ended; Ensemble.Memory has the
//     network's own faults.
package zktest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk"
)

// patience bounds each step of a test; inside a bubble it is virtual time.
const patience = 30 * time.Second

// Ensemble is an ensemble of a test. Its methods belong to the test's goroutine,
// but for those on Memory.
type Ensemble struct {
	*zk.Ensemble
	// Memory is the network that it is on; server N is the host zk-N, and the
	// clients made by Connect are hosts of their own, see ClientHost.
	Memory *zk.MemoryNetwork

	t       testing.TB
	disks   disks
	clients map[*zk.Client]string // their hosts
}

// disks is what is wrong with the servers' disks. Servers ask it.
type disks struct {
	sync.Mutex
	slow map[int64]time.Duration
	fail map[int64]error
	next func(id int64, op vfs.Op) error // the test's own; may be nil
}

// Start starts an ensemble, of three servers unless the configuration says
// otherwise, and returns when every server serves clients. A Network in it must
// be a *zk.MemoryNetwork.
func Start(t testing.TB, cfg ...zk.EnsembleConfig) *Ensemble {
	t.Helper()
	var c zk.EnsembleConfig
	if len(cfg) > 0 {
		c = cfg[0]
	}
	e := &Ensemble{t: t, clients: make(map[*zk.Client]string)}
	e.disks.slow = make(map[int64]time.Duration)
	e.disks.fail = make(map[int64]error)
	e.disks.next = c.DiskHook
	c.DiskHook = e.disks.hook
	switch n := c.Network.(type) {
	case nil:
		e.Memory = zk.NewMemoryNetwork()
		c.Network = e.Memory
	case *zk.MemoryNetwork:
		e.Memory = n
	default:
		t.Fatalf("zktest: Network is a %T, not a *zk.MemoryNetwork", n)
	}
	ctx, cancel := e.context()
	defer cancel()
	var err error
	e.Ensemble, err = zk.StartEnsemble(ctx, c)
	if err != nil {
		t.Fatalf("zktest: %v", err)
	}
	t.Cleanup(func() { _ = e.Close() }) // what a test killed does not close well
	return e
}

func (e *Ensemble) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(e.t.Context()), patience)
}

// Connect opens a client that is closed with the test.
func (e *Ensemble) Connect() *zk.Client {
	e.t.Helper()
	return e.ConnectConfig(zk.ClientConfig{})
}

// ConnectTo opens a client that knows the named servers only.
func (e *Ensemble) ConnectTo(ids ...int64) *zk.Client {
	e.t.Helper()
	var cfg zk.ClientConfig
	for i, id := range e.IDs() {
		if slices.Contains(ids, id) {
			cfg.Servers = append(cfg.Servers, e.Addrs()[i])
		}
	}
	return e.ConnectConfig(cfg)
}

// ConnectConfig opens a client with settings of the test's own. Without Servers
// it knows all; without a Network it is a host of its own.
func (e *Ensemble) ConnectConfig(cfg zk.ClientConfig) *zk.Client {
	e.t.Helper()
	ctx, cancel := e.context()
	defer cancel()
	if len(cfg.Servers) == 0 {
		cfg.Servers = e.Addrs()
	}
	host := ""
	if cfg.Network == nil {
		host = "zktest-" + strconv.Itoa(len(e.clients)+1)
		cfg.Network = e.Memory.Host(host)
	}
	c, err := zk.Connect(ctx, cfg)
	if err != nil {
		e.t.Fatalf("zktest: connect to %v: %v", cfg.Servers, err)
	}
	e.clients[c] = host
	e.t.Cleanup(func() { _ = c.Close() }) // its servers may be gone
	return c
}

// ClientHost is the name of a client's host on Memory, such as zktest-1. The
// client must have been made by this Ensemble.
func (e *Ensemble) ClientHost(c *zk.Client) string {
	e.t.Helper()
	host := e.clients[c]
	if host == "" {
		e.t.Fatal("zktest: the client was not made by Connect, or on a network of the test's own")
	}
	return host
}

// Kill stops a server without warning: what it had not synced is lost.
func (e *Ensemble) Kill(id int64) {
	e.t.Helper()
	if err := e.Ensemble.Kill(id); err != nil {
		e.t.Fatalf("zktest: kill: %v", err)
	}
}

// Restart starts a killed server and waits until it serves.
func (e *Ensemble) Restart(id int64) {
	e.t.Helper()
	ctx, cancel := e.context()
	defer cancel()
	if err := e.Ensemble.Restart(ctx, id); err != nil {
		e.t.Fatalf("zktest: restart: %v", err)
	}
}

// Host is the name of a server's host on Memory.
func Host(id int64) string { return "zk-" + strconv.FormatInt(id, 10) }

// Isolate cuts the named servers, as one group, from the other servers. Clients
// reach both sides.
func (e *Ensemble) Isolate(ids ...int64) {
	for _, a := range ids {
		for _, b := range e.IDs() {
			if !slices.Contains(ids, b) {
				e.Memory.Partition(Host(a), Host(b))
			}
		}
	}
}

// Partition cuts two hosts from each other, by name: see Host and ClientHost.
// Neither is told; both keep what they had sent.
func (e *Ensemble) Partition(a, b string) { e.Memory.Partition(a, b) }

// CutOff cuts a client from every server until Heal. It is not told: it notices
// by their silence, as they do by its.
func (e *Ensemble) CutOff(c *zk.Client) {
	e.t.Helper()
	for _, id := range e.IDs() {
		e.Memory.Partition(e.ClientHost(c), Host(id))
	}
}

// Reset breaks a client's connection; it finds another.
func (e *Ensemble) Reset(c *zk.Client) {
	e.t.Helper()
	for _, id := range e.IDs() {
		e.Memory.Reset(e.ClientHost(c), Host(id))
	}
}

// LoseReply breaks a client's connection when a server next sends something on
// it, which is lost: the answer to the client's next request, if nothing else is
// on its way. The request itself is executed.
func (e *Ensemble) LoseReply(c *zk.Client) {
	e.t.Helper()
	for _, id := range e.IDs() {
		e.Memory.CutAfter(Host(id), e.ClientHost(c), 0)
	}
}

// Heal ends every partition, delay, and fault of a disk.
func (e *Ensemble) Heal() {
	e.Memory.Heal()
	e.disks.Lock()
	defer e.disks.Unlock()
	clear(e.disks.slow)
	clear(e.disks.fail)
}

// SlowDisk makes each write, sync and other change on a server's disk take d
// longer; zero ends that.
func (e *Ensemble) SlowDisk(id int64, d time.Duration) {
	e.disks.Lock()
	defer e.disks.Unlock()
	e.disks.slow[id] = d
}

// FailDisk makes each write, sync and other change on a server's disk fail, after
// which the server stops. Nil ends that.
func (e *Ensemble) FailDisk(id int64, err error) {
	e.disks.Lock()
	defer e.disks.Unlock()
	e.disks.fail[id] = err
}

// hook runs before each operation on a disk.
func (d *disks) hook(id int64, op vfs.Op) error {
	d.Lock()
	slow, err, next := d.slow[id], d.fail[id], d.next
	d.Unlock()
	if op.Changes() {
		if slow > 0 {
			time.Sleep(slow)
		}
		if err != nil {
			return err
		}
	}
	if next != nil {
		return next(id, op)
	}
	return nil
}

// Expire ends a client's session at the ensemble, as its timeout would: when it
// returns, the session's ephemerals are gone. The client still takes itself for
// connected or on its way to be, and learns of it when it next reaches a server.
func (e *Ensemble) Expire(c *zk.Client) {
	e.t.Helper()
	ctx, cancel := e.context()
	defer cancel()
	host := e.ClientHost(c)
	for _, id := range e.IDs() { // so that it does not take the session back
		e.Memory.Partition(host, Host(id))
		defer e.Memory.Join(host, Host(id))
	}
	session := c.Session()
	for {
		thief, err := zk.Connect(ctx, zk.ClientConfig{Servers: e.Addrs(), Network: e.Memory.Host(host + "-thief"), Session: &session})
		if errors.Is(err, zk.ErrSessionExpired) {
			return
		}
		if err != nil {
			e.t.Fatalf("zktest: expire session %#x: %v", session.ID, err)
		}
		_ = thief.Close() // the next round tells
	}
}

// WaitLeader waits until a server leads, other than those named, and returns it.
func (e *Ensemble) WaitLeader(but ...int64) int64 {
	e.t.Helper()
	ctx, cancel := e.context()
	defer cancel()
	for {
		if id := e.Leader(); id != 0 && !slices.Contains(but, id) {
			return id
		}
		timer := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			e.t.Fatalf("zktest: no leader but %v within %v", but, patience)
		case <-timer.C:
		}
	}
}
