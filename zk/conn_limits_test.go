package zk

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// networkFrom is memory whose clients seem to come from an address.
type networkFrom struct {
	*MemoryNetwork
	addr string
}

type listenerFrom struct {
	net.Listener
	addr string
}

func (n networkFrom) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	l, err := n.MemoryNetwork.Listen(ctx, network, address)
	return listenerFrom{l, n.addr}, err
}

func (l listenerFrom) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connFrom{Conn: c, addr: l.addr}, nil
}

// heardAt starts a server of its own that takes its clients for machines at
// addrs, each by the endpoint of that name.
func heardAt(t *testing.T, cfg Config, addrs ...string) (*Server, *MemoryNetwork) {
	memory := NewMemoryNetwork()
	for _, addr := range addrs {
		cfg.Clients = append(cfg.Clients, Endpoint{Network: networkFrom{memory, addr}, Address: addr + ":2181"})
	}
	cfg.Clients = append(cfg.Clients, Endpoint{Network: memory, Address: "memory:2181"})
	return alone(t, cfg, vfs.NewMem(), nothing), memory
}

// speaker is a client's end of a connection.
type speaker struct {
	t *testing.T
	net.Conn
}

func speak(t *testing.T, m *MemoryNetwork, host string) *speaker {
	c, err := m.DialContext(t.Context(), "tcp", host+":2181")
	require.NoError(t, err)
	return &speaker{t, c}
}

func (s *speaker) send(body []byte) {
	_, err := s.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	require.NoError(s.t, err)
}

// hear returns the next frame's body, nil if the server has hung up.
func (s *speaker) hear() *jute.Reader {
	var n [4]byte
	if _, err := io.ReadFull(s, n[:]); err != nil {
		return nil
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err := io.ReadFull(s, b)
	require.NoError(s.t, err)
	r := jute.NewReader(b)
	return &r
}

// hello asks for a session, or for an old one; nil: it was hung up on.
func (s *speaker) hello(session int64, password []byte) *jute.ConnectResponse {
	s.send((&jute.ConnectRequest{Timeout: 30_000, SessionID: session, Password: password}).Append(nil))
	r := s.hear()
	if r == nil {
		return nil
	}
	p := new(jute.ConnectResponse)
	p.Decode(r)
	require.NoError(s.t, r.Err())
	return p
}

func (s *speaker) auth(scheme string) jute.Code {
	q := &jute.AuthRequest{Scheme: scheme, Auth: []byte("user:password")}
	s.send(q.Append((&jute.RequestHeader{Xid: jute.XidAuth, Op: jute.OpAuth}).Append(nil)))
	var h jute.ReplyHeader
	h.Decode(s.hear())
	return h.Err
}

// New sessions of other machines come at SessionRateMax a second and no faster;
// who is over it is hung up on and makes none. Sessions that are there, this machine
// and memory do not count (S8).
func TestSessionsHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const far, near = "10.0.0.9", "127.0.0.1"
		s, m := heardAt(t, Config{SessionRateMax: 3}, far, near)
		var first *jute.ConnectResponse
		admitted := func(host string, tries int) (n int) {
			for range tries {
				c := speak(t, m, host)
				if p := c.hello(0, make([]byte, 16)); p != nil {
					require.NotZero(t, p.SessionID)
					first = p
					n++
				}
				require.NoError(t, c.Close())
			}
			return n
		}
		require.Equal(t, 3, admitted(far, 10))
		old := speak(t, m, far)
		require.Equal(t, first.SessionID, old.hello(first.SessionID, first.Password).SessionID, "it is not new")
		require.Equal(t, 10, admitted(near, 10))
		require.Equal(t, 10, admitted("memory", 10))
		time.Sleep(400 * time.Millisecond)
		require.Equal(t, 1, admitted(far, 10))
		time.Sleep(time.Hour)
		require.Equal(t, 3, admitted(far, 10), "a pause saves up no more than a second's")
		require.NoError(t, old.Close())
		require.NoError(t, s.Close())
	})
}

func TestSessionRateCanBeOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := heardAt(t, Config{SessionRateMax: -1}, "10.0.0.9")
		for range 50 {
			c := speak(t, m, "10.0.0.9")
			require.NotNil(t, c.hello(0, make([]byte, 16)))
			require.NoError(t, c.Close())
		}
		require.NoError(t, s.Close())
	})
}

// Who has a password or a credential wrong hears so after 250 ms and is hung up
// on; nobody else waits for that (S11, S13).
func TestRefusedPasswordsTakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const far = "10.0.0.9"
		s, m := heardAt(t, Config{}, far)
		owner := speak(t, m, far)
		session := owner.hello(0, make([]byte, 16)).SessionID
		for _, try := range []struct {
			name, host string
			refused    func(c *speaker)
			pause      time.Duration
		}{
			{"session password", far, func(c *speaker) { require.Zero(t, c.hello(session, make([]byte, 16)).SessionID) }, authRefusedPause},
			{"no such session", far, func(c *speaker) { require.Zero(t, c.hello(4711, make([]byte, 16)).SessionID) }, authRefusedPause},
			{"credential", far, func(c *speaker) {
				require.NotNil(t, c.hello(0, make([]byte, 16)))
				require.Equal(t, jute.CodeAuthFailed, c.auth("no-such-scheme"))
			}, authRefusedPause},
			{"memory", "memory", func(c *speaker) { require.Zero(t, c.hello(session, make([]byte, 16)).SessionID) }, 0},
		} {
			start := time.Now()
			c := speak(t, m, try.host)
			heard := make(chan struct{})
			go func() {
				defer close(heard)
				try.refused(c)
				require.Nil(t, c.hear(), "%s: the connection ends", try.name)
			}()
			synctest.Wait()
			require.Equal(t, jute.CodeOK, owner.auth("digest"))
			require.Zero(t, time.Since(start), "the others go on")
			<-heard
			require.Equal(t, try.pause, time.Since(start), try.name)
			require.NoError(t, c.Close())
		}
		require.NoError(t, owner.Close())
		require.NoError(t, s.Close())
	})
}

// A pause ends with its connection and with the server.
func TestPauseAfterRefusalEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := heardAt(t, Config{}, "10.0.0.9")
		start := time.Now()
		c := speak(t, m, "10.0.0.9")
		c.send((&jute.ConnectRequest{Timeout: 30_000, SessionID: 1, Password: make([]byte, 16)}).Append(nil))
		synctest.Wait()
		require.NoError(t, s.Close())
		require.Zero(t, time.Since(start))
		require.NoError(t, c.Close())
	})
}
