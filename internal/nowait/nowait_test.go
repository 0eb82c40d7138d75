package nowait_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/memnet"
	"github.com/vivarium-go/vivarium/internal/nowait"
)

type network interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

var networks = map[string]network{
	"memory": memnet.New(),
	"TCP": struct {
		*net.Dialer
		*net.ListenConfig
	}{&net.Dialer{}, &net.ListenConfig{}},
}

func pair(t *testing.T, n network) (near, far net.Conn) {
	l, err := n.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	near, err = n.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = near.Close() // some tests have
		_ = far.Close()
	})
	return near, far
}

// What a connection takes at once arrives, and what it does not take is the
// caller's: nothing is lost or sent twice, with a Write in between or not.
func TestWriteNow(t *testing.T) {
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t, n)
			w, _ := nowait.New(near)
			require.NotNil(t, w)
			sent := make([]byte, 64<<20)
			for i := range sent {
				sent[i] = byte(i >> 8)
			}
			rest := sent
			for {
				k, err := w.WriteNow(rest)
				require.NoError(t, err)
				if rest = rest[k:]; k == 0 {
					break // full
				}
			}
			require.NotEmpty(t, rest, "nobody reads")
			read := make(chan []byte)
			go func() {
				b, _ := io.ReadAll(far) // what came before an error
				read <- b
			}()
			_, err := near.Write(rest[:1000])
			require.NoError(t, err)
			sent = sent[:len(sent)-len(rest)+2_000_000]
			for rest = rest[1000:2_000_000]; len(rest) > 0; {
				k, err := w.WriteNow(rest)
				require.NoError(t, err)
				rest = rest[k:]
			}
			require.NoError(t, near.Close())
			require.True(t, bytes.Equal(sent, <-read))
		})
	}
}

// A deadline that has passed is for the next Write to tell, or to move.
func TestPastDeadline(t *testing.T) {
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t, n)
			w, _ := nowait.New(near)
			require.NoError(t, near.SetWriteDeadline(time.Unix(1, 0)))
			k, err := w.WriteNow([]byte("late"))
			require.NoError(t, err)
			require.Zero(t, k)
			require.NoError(t, near.SetWriteDeadline(time.Time{}))
			k, err = w.WriteNow([]byte("now"))
			require.NoError(t, err)
			require.Equal(t, 3, k)
			b := make([]byte, 3)
			_, err = io.ReadFull(far, b)
			require.NoError(t, err)
			require.Equal(t, "now", string(b))
		})
	}
}

func TestClosed(t *testing.T) {
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			near, _ := pair(t, n)
			w, _ := nowait.New(near)
			require.NoError(t, near.Close())
			k, _ := w.WriteNow([]byte("x")) // it says why, or leaves that to Write
			require.Zero(t, k)
			_, err := near.Write([]byte("x"))
			require.Error(t, err)
		})
	}
}

func TestOthersOnlyWait(t *testing.T) {
	near, far := net.Pipe()
	for _, c := range []net.Conn{near, tls.Client(far, &tls.Config{ServerName: "x"})} {
		w, cheap := nowait.New(c)
		require.Nil(t, w)
		require.False(t, cheap)
	}
}
