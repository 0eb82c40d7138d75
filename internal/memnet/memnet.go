package memnet

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// backlogMax is how many connections a listener holds that nobody accepted.
const backlogMax = 1024

// Network is a set of hosts that reach one another. As a value to dial and
// listen with, it is the host whose name is empty: the program that embeds the
// others, which listens under any name it likes. The zero value is not usable;
// all methods are safe for concurrent use.
type Network struct {
	mu struct {
		sync.Mutex
		cond      sync.Cond // a link or a listener changed
		listeners map[string]*listener
		conns     map[*conn]struct{} // one end of each connection: the dialer's
		links     map[direction]link
		down      map[string]bool
		nextPort  int
	}
}

// direction is one way between two hosts.
type direction struct{ from, to string }

type link struct {
	blocked bool
	latency time.Duration
}

// New returns a network without hosts, listeners or faults.
func New() *Network {
	n := &Network{}
	n.mu.cond.L = &n.mu.Mutex
	n.mu.listeners = make(map[string]*listener)
	n.mu.conns = make(map[*conn]struct{})
	n.mu.links = make(map[direction]link)
	n.mu.down = make(map[string]bool)
	n.mu.nextPort = 32768
	return n
}

// Host is a Network seen from one of its hosts: what it dials comes from there,
// and faults between hosts apply. Obtain it from Network.Host.
type Host struct {
	net  *Network
	name string
}

// Host returns the host called name; hosts need no declaration.
func (n *Network) Host(name string) *Host { return &Host{net: n, name: name} }

// Listen announces address on the host. An address without a host part takes
// the host's own name, port 0 a free port.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return h.net.listen(ctx, h.name, network, address)
}

// DialContext connects from the host to address. Across a partition it waits
// until ctx ends or the partition heals.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return h.net.dial(ctx, h.name, network, address)
}

// Listen is Host("").Listen.
func (n *Network) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return n.listen(ctx, "", network, address)
}

// DialContext is Host("").DialContext.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.dial(ctx, "", network, address)
}

// Addr is the address of an end of a connection. Its network is "tcp", so that
// callers that look at it take it for what it stands in for.
type Addr struct {
	Host string
	Port int
}

// Network returns "tcp".
func (a Addr) Network() string { return "tcp" }

// String returns host:port.
func (a Addr) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

func parseAddr(own, network, address string) (Addr, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return Addr{}, net.UnknownNetworkError(network)
	}
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return Addr{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return Addr{}, &net.AddrError{Err: "invalid port", Addr: address}
	}
	if host == "" {
		host = own
	}
	if host == "" {
		host = "localhost"
	}
	return Addr{Host: host, Port: int(port)}, nil
}

func opError(op, network string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}

func (n *Network) listen(ctx context.Context, from, network, address string) (net.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, opError("listen", network, nil, err)
	}
	addr, err := parseAddr(from, network, address)
	if err != nil {
		return nil, opError("listen", network, nil, err)
	}
	owner := from
	if owner == "" {
		owner = addr.Host
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.down[owner] {
		return nil, opError("listen", network, addr, syscall.ENETDOWN)
	}
	for free := addr.Port == 0; free; {
		addr.Port = n.portLocked()
		_, free = n.mu.listeners[addr.String()]
	}
	if _, taken := n.mu.listeners[addr.String()]; taken {
		return nil, opError("listen", network, addr, syscall.EADDRINUSE)
	}
	l := &listener{net: n, addr: addr, host: owner}
	l.cond.L = &l.mu
	n.mu.listeners[addr.String()] = l
	n.mu.cond.Broadcast()
	return l, nil
}

// portLocked returns the next port of the range that systems hand out.
func (n *Network) portLocked() int {
	n.mu.nextPort++
	if n.mu.nextPort > 60999 {
		n.mu.nextPort = 32768
	}
	return n.mu.nextPort
}

func (n *Network) dial(ctx context.Context, from, network, address string) (net.Conn, error) {
	addr, err := parseAddr(from, network, address)
	if err != nil {
		return nil, opError("dial", network, nil, err)
	}
	stop := context.AfterFunc(ctx, n.wake)
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return nil, opError("dial", network, addr, err)
		}
		l := n.mu.listeners[addr.String()]
		to := addr.Host
		if l != nil {
			to = l.host
		}
		if n.mu.down[from] {
			return nil, opError("dial", network, addr, syscall.ENETDOWN)
		}
		if n.mu.links[direction{from, to}].blocked || n.mu.links[direction{to, from}].blocked {
			n.mu.cond.Wait()
			continue
		}
		if l == nil || n.mu.down[to] {
			return nil, opError("dial", network, addr, syscall.ECONNREFUSED)
		}
		c := n.connectLocked(from, l)
		if c == nil {
			return nil, opError("dial", network, addr, syscall.ECONNREFUSED)
		}
		return c, nil
	}
}

func (n *Network) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.cond.Broadcast()
}

// connectLocked makes a connection and queues its far end; nil if the listener
// has closed or is full.
func (n *Network) connectLocked(from string, l *listener) *conn {
	there, back := newHalf(), newHalf()
	local := Addr{Host: from, Port: n.portLocked()}
	if from == "" {
		local.Host = "localhost"
	}
	near := &conn{net: n, in: back, out: there, local: local, remote: l.addr, from: from, to: l.host}
	far := &conn{net: n, in: there, out: back, local: l.addr, remote: local, from: l.host, to: from}
	near.peer, far.peer = far, near
	n.shapeLocked(near)
	if !l.push(far) {
		return nil
	}
	n.mu.conns[near] = struct{}{}
	return near
}

// shapeLocked applies the links between a connection's hosts to its halves.
func (n *Network) shapeLocked(c *conn) {
	there, back := n.mu.links[direction{c.from, c.to}], n.mu.links[direction{c.to, c.from}]
	c.out.shape(there.blocked, there.latency)
	c.in.shape(back.blocked, back.latency)
}

// forget drops a connection of which both ends are closed.
func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mu.conns, c)
	delete(n.mu.conns, c.peer)
}

// listener is a queue of connections that were dialled and not yet accepted.
type listener struct {
	net  *Network
	addr Addr
	host string

	mu     sync.Mutex
	cond   sync.Cond
	queue  []*conn
	closed bool
}

func (l *listener) push(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= backlogMax {
		return false
	}
	l.queue = append(l.queue, c)
	l.cond.Broadcast()
	return true
}

func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return nil, opError("accept", "tcp", l.addr, net.ErrClosed)
		}
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			return c, nil
		}
		l.cond.Wait()
	}
}

// Close refuses the connections that wait, and frees the address.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return opError("close", "tcp", l.addr, net.ErrClosed)
	}
	l.closed = true
	waiting := l.queue
	l.queue = nil
	l.cond.Broadcast()
	l.mu.Unlock()

	l.net.mu.Lock()
	if l.net.mu.listeners[l.addr.String()] == l {
		delete(l.net.mu.listeners, l.addr.String())
	}
	l.net.mu.Unlock()
	for _, c := range waiting {
		c.reset()
	}
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) String() string { return fmt.Sprintf("memnet listener %s", l.addr) }
