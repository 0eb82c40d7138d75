package zk

import (
	"context"
	"net"
	"time"

	"github.com/vivarium-go/vivarium/internal/memnet"
)

// MemoryNetwork is a Network inside this process: hosts by name, connections
// that are bounded rings, and the faults of a real network for tests. It is the
// host program's own view, which reaches every host; servers and brokers dial
// from theirs. Methods are safe for concurrent use.
type MemoryNetwork struct{ net *memnet.Network }

// NewMemoryNetwork returns a network without hosts; they need no declaration.
func NewMemoryNetwork() *MemoryNetwork { return &MemoryNetwork{net: memnet.New()} }

// Listen announces address ("host:port") in this process.
func (m *MemoryNetwork) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return m.net.Listen(ctx, network, address)
}

// DialContext connects to an address of this process. A dialer of a
// third-party client may be set to it.
func (m *MemoryNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return m.net.DialContext(ctx, network, address)
}

// Host returns the network as the host called name sees it: what it dials comes
// from there, so faults between hosts apply to it.
func (m *MemoryNetwork) Host(name string) Network { return m.net.Host(name) }

// Partition cuts a from b in both directions until Heal or Join: bytes stop
// arriving, dials hang, and neither side is told.
func (m *MemoryNetwork) Partition(a, b string) { m.net.Partition(a, b) }

// PartitionOneWay stops what from sends to to.
func (m *MemoryNetwork) PartitionOneWay(from, to string) { m.net.PartitionOneWay(from, to) }

// Join ends a partition between a and b.
func (m *MemoryNetwork) Join(a, b string) { m.net.Join(a, b) }

// Isolate cuts host from each of others.
func (m *MemoryNetwork) Isolate(host string, others ...string) { m.net.Isolate(host, others...) }

// Delay lets each write between a and b arrive d later; zero ends that.
func (m *MemoryNetwork) Delay(a, b string, d time.Duration) { m.net.Delay(a, b, d) }

// Reset breaks every connection between a and b; both ends learn at once.
func (m *MemoryNetwork) Reset(a, b string) { m.net.Reset(a, b) }

// CutAfter resets each present connection between a and b once count more bytes
// went from a to b: a stream cut in the middle of a frame.
func (m *MemoryNetwork) CutAfter(a, b string, count int64) { m.net.CutAfter(a, b, count) }

// Heal ends every partition and delay.
func (m *MemoryNetwork) Heal() { m.net.Heal() }
