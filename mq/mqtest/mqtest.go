// Package mqtest gives tests a cluster in a line, and the faults to try it with.
//
//	c := mqtest.Start(t)
//	client := c.Connect()
//	c.Kill(c.Leader("orders", 0))
//	c.Network.Partition(mqtest.Host(1), mqtest.Host(2))
//
// Brokers and their ensemble are in this process and in memory, end with the test, and work inside and outside of testing/synctest
// bubbles. A third-party client whose dialer can be set reaches them through Network.DialContext. A method that fails ends the
// test.
package mqtest

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/zk"
)

// patience bounds each step of a test; inside a bubble it is virtual time.
const patience = 30 * time.Second

// Cluster is a cluster of a test. Its methods belong to the test's goroutine.
type Cluster struct {
	*mq.Cluster
	// Network is what everything runs on: broker N is the host mq-N, server N of the ensemble the host zk-N, and clients made by
	// Connect are the host "". Its methods inject faults.
	Network *zk.MemoryNetwork

	t testing.TB
}

// Start starts a cluster of three brokers on three servers, unless the configuration says otherwise. A Network in it must be a
// *zk.MemoryNetwork.
func Start(t testing.TB, cfg ...mq.ClusterConfig) *Cluster {
	t.Helper()
	var c mq.ClusterConfig
	if len(cfg) > 0 {
		c = cfg[0]
	}
	tc := &Cluster{t: t}
	switch n := c.Network.(type) {
	case nil:
		tc.Network = zk.NewMemoryNetwork()
		c.Network = tc.Network
	case *zk.MemoryNetwork:
		tc.Network = n
	default:
		t.Fatalf("mqtest: Network is a %T, not a *zk.MemoryNetwork", n)
	}
	ctx, cancel := tc.context()
	defer cancel()
	var err error
	tc.Cluster, err = mq.StartCluster(ctx, c)
	if err != nil {
		t.Fatalf("mqtest: %v", err)
	}
	t.Cleanup(func() {
		if err := tc.Close(); err != nil {
			t.Errorf("mqtest: close: %v", err)
		}
	})
	return tc
}

// context is one step's.
func (c *Cluster) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.t.Context()), patience)
}

// Host is the name of a broker's host on Network.
func Host(id int32) string { return "mq-" + strconv.Itoa(int(id)) }

// Connect opens a client that is closed with the test.
func (c *Cluster) Connect() *mq.Client {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	client, err := c.Cluster.Connect(ctx)
	if err != nil {
		c.t.Fatalf("mqtest: connect: %v", err)
	}
	c.t.Cleanup(func() { _ = client.Close() }) // its brokers may be gone
	return client
}

// Kill ends a broker without warning.
func (c *Cluster) Kill(id int32) {
	c.t.Helper()
	if err := c.Cluster.Kill(id); err != nil {
		c.t.Fatalf("mqtest: kill: %v", err)
	}
}

// Stop ends a broker gracefully.
func (c *Cluster) Stop(id int32) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	if err := c.Cluster.Stop(ctx, id); err != nil {
		c.t.Fatalf("mqtest: stop: %v", err)
	}
}

// Restart starts a broker that was killed or stopped, and waits until it is registered.
func (c *Cluster) Restart(id int32) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	if err := c.Cluster.Restart(ctx, id); err != nil {
		c.t.Fatalf("mqtest: restart: %v", err)
	}
}

// Isolate cuts a broker from the other brokers and from the ensemble. Clients reach it still.
func (c *Cluster) Isolate(id int32) {
	for _, o := range c.IDs() {
		if o != id {
			c.Network.Partition(Host(id), Host(o))
		}
	}
	if ens := c.Ensemble(); ens != nil {
		for _, s := range ens.IDs() {
			c.Network.Partition(Host(id), "zk-"+strconv.FormatInt(s, 10))
		}
	}
}

// Heal ends every partition and delay.
func (c *Cluster) Heal() { c.Network.Heal() }

// WaitLeader waits until a broker leads a partition, other than those named, and returns it.
func (c *Cluster) WaitLeader(topic string, partition int32, but ...int32) int32 {
	c.t.Helper()
	leader := int32(-1)
	c.wait("a leader of "+topic+"-"+strconv.Itoa(int(partition)), func() bool {
		leader = c.Leader(topic, partition)
		if slices.Contains(but, leader) {
			return false
		}
		return leader >= 0
	})
	return leader
}

// WaitInSync waits until a partition has this many in-sync replicas.
func (c *Cluster) WaitInSync(topic string, partition int32, n int) {
	c.t.Helper()
	c.wait(strconv.Itoa(n)+" in-sync replicas of "+topic+"-"+strconv.Itoa(int(partition)), func() bool {
		return len(c.InSync(topic, partition)) == n
	})
}

// wait polls until ok holds.
func (c *Cluster) wait(what string, ok func() bool) {
	c.t.Helper()
	ctx, cancel := c.context()
	defer cancel()
	for !ok() {
		timer := time.NewTimer(2 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			c.t.Fatalf("mqtest: no %s within %v", what, patience)
		}
	}
}
