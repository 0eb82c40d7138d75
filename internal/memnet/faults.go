package memnet

import "time"

// Partition cuts a from b in both directions until Heal: bytes under way stay
// under way, dials hang.
func (n *Network) Partition(a, b string) {
	n.setLinks(func(l *link) { l.blocked = true }, direction{a, b}, direction{b, a})
}

// PartitionOneWay stops what from sends to to; the other direction goes on.
// Since a connection needs both, dials hang either way.
func (n *Network) PartitionOneWay(from, to string) {
	n.setLinks(func(l *link) { l.blocked = true }, direction{from, to})
}

// Join ends a partition between a and b.
func (n *Network) Join(a, b string) {
	n.setLinks(func(l *link) { l.blocked = false }, direction{a, b}, direction{b, a})
}

// Isolate cuts host from each of others.
func (n *Network) Isolate(host string, others ...string) {
	for _, o := range others {
		if o != host {
			n.Partition(host, o)
		}
	}
}

// Delay lets each write between a and b arrive d later; zero ends it.
func (n *Network) Delay(a, b string, d time.Duration) {
	n.setLinks(func(l *link) { l.latency = d }, direction{a, b}, direction{b, a})
}

// Heal ends every partition and delay. Hosts that are down stay down.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.mu.links)
	n.reshapeLocked()
}

func (n *Network) setLinks(change func(*link), ds ...direction) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range ds {
		l := n.mu.links[d]
		change(&l)
		n.mu.links[d] = l
	}
	n.reshapeLocked()
}

func (n *Network) reshapeLocked() {
	for c := range n.mu.conns {
		n.shapeLocked(c)
	}
	n.mu.cond.Broadcast()
}

// Reset breaks every connection between a and b; both ends learn at once.
func (n *Network) Reset(a, b string) {
	n.resetWhere(func(c *conn) bool {
		return c.from == a && c.to == b || c.from == b && c.to == a
	})
}

// Down resets every connection of host, closes its listeners and refuses its
// dials, as when its processes die. Up takes it back.
func (n *Network) Down(host string) {
	n.mu.Lock()
	n.mu.down[host] = true
	var ls []*listener
	for _, l := range n.mu.listeners {
		if l.host == host {
			ls = append(ls, l)
		}
	}
	n.mu.cond.Broadcast()
	n.mu.Unlock()
	for _, l := range ls {
		_ = l.Close() // closed already is closed
	}
	n.resetWhere(func(c *conn) bool { return c.from == host || c.to == host })
}

// Up lets a host that was Down listen and dial again.
func (n *Network) Up(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.mu.down, host)
	n.mu.cond.Broadcast()
}

// CutAfter resets each connection between a and b that exists now once from a
// to b count more bytes were written: a stream cut in the middle of a frame.
func (n *Network) CutAfter(a, b string, count int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.mu.conns {
		switch {
		case c.from == a && c.to == b:
			c.out.cutAfter(count, c.reset)
		case c.from == b && c.to == a:
			c.in.cutAfter(count, c.reset)
		}
	}
}

func (n *Network) resetWhere(match func(*conn) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.mu.conns {
		if match(c) {
			c.reset()
			delete(n.mu.conns, c)
		}
	}
}

// Connections returns how many connections have an open end.
func (n *Network) Connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.mu.conns)
}
