package zk

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

type connFrom struct {
	net.Conn
	addr string
}

func (c *connFrom) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.addr), Port: 1}
}

// An address has so many connections and no more, whoever else there is; this
// machine's own count only in all (S8).
func TestConnectionsOfAnAddress(t *testing.T) {
	d := newDoor(&Config{ConnectionsMax: 10, ClientCnxnsMax: 2})
	a, b := &connFrom{addr: "10.0.0.1"}, &connFrom{addr: "10.0.0.1"}
	require.True(t, d.enter(a))
	require.True(t, d.enter(b))
	require.False(t, d.enter(&connFrom{addr: "10.0.0.1"}))
	require.False(t, d.enter(&connFrom{addr: "::ffff:10.0.0.1"}), "the same, written otherwise")
	require.True(t, d.enter(&connFrom{addr: "10.0.0.2"}))
	d.leave(a)
	require.True(t, d.enter(a), "one has left")
	require.False(t, d.enter(&connFrom{addr: "10.0.0.1"}))
	for d.count() < 10 {
		require.True(t, d.enter(&connFrom{addr: "127.0.0.1"}))
	}
	require.False(t, d.enter(&connFrom{addr: "127.0.0.1"}), "full")
	require.False(t, d.enter(&connFrom{addr: "10.0.0.3"}))
}
