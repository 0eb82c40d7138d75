// Package zktest gives tests an ensemble in a line, and the faults to try it with.
//
//	e := zktest.Start(t)
//	c := e.Connect()
//	e.Kill(e.Leader())
//
// Everything is in this process and in memory, ends with the test, and works
// inside and outside of testing/synctest bubbles. A method that fails ends the test.
package zktest

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// patience bounds each step of a test; inside a bubble it is virtual time.
const patience = 30 * time.Second

// Ensemble is an ensemble of a test. Its methods belong to the test's goroutine.
type Ensemble struct {
	*zk.Ensemble
	// Memory is the network that it is on; server N is the host zk-N, and
	// clients made by Connect are the host "".
	Memory *zk.MemoryNetwork

	t testing.TB
}

// Start starts an ensemble, of three servers unless the configuration says
// otherwise. A Network in it must be a *zk.MemoryNetwork.
func Start(t testing.TB, cfg ...zk.EnsembleConfig) *Ensemble {
	t.Helper()
	var c zk.EnsembleConfig
	if len(cfg) > 0 {
		c = cfg[0]
	}
	e := &Ensemble{t: t}
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
	return e.ConnectTo(e.IDs()...)
}

// ConnectTo opens a client that knows the named servers only.
func (e *Ensemble) ConnectTo(ids ...int64) *zk.Client {
	e.t.Helper()
	ctx, cancel := e.context()
	defer cancel()
	cfg := e.ClientConfig()
	cfg.Servers = nil
	for i, id := range e.IDs() {
		if slices.Contains(ids, id) {
			cfg.Servers = append(cfg.Servers, e.Addrs()[i])
		}
	}
	c, err := zk.Connect(ctx, cfg)
	if err != nil {
		e.t.Fatalf("zktest: connect to servers %v: %v", ids, err)
	}
	e.t.Cleanup(func() { _ = c.Close() }) // its servers may be gone
	return c
}

// Kill stops a server without warning.
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

// Heal ends every partition and delay.
func (e *Ensemble) Heal() { e.Memory.Heal() }

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
