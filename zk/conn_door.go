package zk

import (
	"net"
	"strings"
	"sync"
	"time"
)

// door counts clients' connections, in all and by address.
type door struct {
	mu      sync.Mutex
	max     int
	perHost int // negative: no limit
	hosts   map[string]int
	conns   map[net.Conn]string // "" for who is exempt
	closed  bool
}

func newDoor(cfg *Config) *door {
	return &door{max: cfg.ConnectionsMax, perHost: cfg.ClientCnxnsMax, hosts: make(map[string]int), conns: make(map[net.Conn]string)}
}

// enter lets a connection in, unless there are too many of its kind. Memory and
// loopback are this machine's own and count only in all.
func (d *door) enter(c net.Conn) bool {
	host := ""
	if ip := remoteIP(c); ip != nil && !ip.IsLoopback() {
		host = ip.String()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.conns) >= d.max || host != "" && d.perHost >= 0 && d.hosts[host] >= d.perHost {
		return false
	}
	d.conns[c] = host
	if host != "" {
		d.hosts[host]++
	}
	return true
}

func (d *door) leave(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if host := d.conns[c]; host != "" {
		if d.hosts[host]--; d.hosts[host] == 0 {
			delete(d.hosts, host)
		}
	}
	delete(d.conns, c)
}

func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

// close ends every connection and lets no more in.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.conns {
		_ = c.Close()
	}
}

// remoteIP is the address of the other end's host, nil if that is memory: it has
// names.
func remoteIP(c net.Conn) net.IP {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return nil
	}
	host, _, _ = strings.Cut(host, "%") // the zone of an IPv6 address
	return net.ParseIP(host)
}

// rate lets so many pass in a second, and as many at once after a pause.
type rate struct {
	mu    sync.Mutex
	left  float64
	at    time.Duration // of the last one that asked
	begun bool          // somebody has
}

func (r *rate) take(perSecond int, now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = min(r.left+float64(perSecond)*(now-r.at).Seconds(), float64(perSecond))
	if !r.begun {
		r.left = float64(perSecond)
	}
	r.at, r.begun = now, true
	if r.left < 1 {
		return false
	}
	r.left--
	return true
}
