package zk

import (
	"bytes"
	"crypto/sha256"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// scriptConn is a connection whose other end says what it says, whatever it hears.
type scriptConn struct {
	net.Conn
	says  *bytes.Reader
	heard bytes.Buffer
}

func (c *scriptConn) Read(b []byte) (int, error)  { return c.says.Read(b) }
func (c *scriptConn) Write(b []byte) (int, error) { return c.heard.Write(b) }
func (c *scriptConn) SetDeadline(time.Time) error { return nil }

// notStarted is a server that can say and hear hellos.
func notStarted(f *testing.F, cfg Config) *Server {
	cfg.ID, cfg.Servers = 1, []ServerSpec{{ID: 1, Peer: "a:1"}, {ID: 2, Peer: "b:1"}}
	cfg.Peers = NewMemoryNetwork()
	cfg, err := cfg.withDefaults()
	require.NoError(f, err)
	s := newServer(cfg)
	s.initial = Membership{Servers: cfg.Servers}
	s.active.Store(&s.initial)
	return s
}

// FuzzPeerHello hears what a stranger says at a peer's door, both ways: no panic,
// nothing that grows with what is said, no byte read behind a hello. What is
// accepted is written as what was read, comes from who may be a peer, and nobody gets
// past the secret who does not know it.
func FuzzPeerHello(f *testing.F) {
	servers := []*Server{notStarted(f, Config{}), notStarted(f, Config{ReconfigEnabled: true}), notStarted(f, Config{PeerSecret: []byte("secret")})}
	for _, h := range []peerHello{
		{from: 2, to: 1, address: "b:1"},
		{from: 2, to: 1, flags: helloHasSecret},
		{from: 9, to: 1, address: "new:2888"},
		{from: 2, to: 2, address: "b:1"},
		{from: -1, to: 1 << 40},
	} {
		f.Add(append(h.append(nil), make([]byte, sha256.Size)...))
		f.Add(h.append(nil)[:helloBytes-1])
	}
	f.Add(append([]byte("VVZB\x02\x00"), bytes.Repeat([]byte{0xff}, 100)...))
	f.Fuzz(func(t *testing.T, said []byte) {
		r := bytes.NewReader(said)
		var h peerHello
		var err error
		boundedBy(t, 0, func() { h, err = readHello(r) })
		for _, s := range servers {
			_, dialErr := s.sayHello(t.Context(), &scriptConn{says: bytes.NewReader(said)}, 2, "b:1")
			if len(s.cfg.PeerSecret) > 0 {
				require.Error(t, dialErr, "it does not know the secret")
			}
		}
		if err != nil {
			return
		}
		used := said[:len(said)-r.Len()]
		require.Equal(t, used, h.append(nil))
		for _, s := range servers {
			spec, err := s.mayJoin(&h)
			if err != nil {
				require.ErrorIs(t, err, errPeerRefused)
				continue
			}
			require.Equal(t, zab.ServerID(spec.ID), h.from)
			require.NotEqual(t, s.cfg.ID, spec.ID)
			require.Equal(t, zab.ServerID(s.cfg.ID), h.to)
			if spec.ID != 2 {
				require.True(t, s.cfg.ReconfigEnabled && spec.Observer, "a stranger")
			}
			conn := &scriptConn{says: bytes.NewReader(said[len(used):])}
			err = s.demandSecret(conn, &h)
			want := len(s.cfg.PeerSecret) == 0 && h.flags&helloHasSecret == 0
			require.Equal(t, want, err == nil)
			if h.flags&helloHasSecret == 0 {
				require.Zero(t, conn.heard.Len(), "nothing is proven to who does not ask")
			}
		}
	})
}
