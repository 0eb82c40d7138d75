// Package nettest is the conformance suite of a Network: what servers and
// clients of zk and mq rely on. Each rule says why it is there.
package nettest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Network is what is tested; see zk.Network.
type Network interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Test runs every rule on n, listening on port 0 of host.
func Test(t *testing.T, n Network, host string) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Log(r.why)
			r.test(&fixture{T: t, net: n, address: net.JoinHostPort(host, "0")})
		})
	}
}

var rules = []struct {
	name string
	why  string
	test func(*fixture)
}{
	{"RoundTrip", "bytes arrive in order, in both directions", roundTrip},
	{"BulkAndBackpressure", "a stream larger than any buffer arrives whole while its reader keeps up", bulk},
	{"FreePorts", "port 0 picks different free ports, and Addr tells which: servers advertise it", freePorts},
	{"AddressInUse", "two servers on one address is a configuration error that must be seen", addressInUse},
	{"Refused", "a dead server is told from a silent one at once", refused},
	{"DialHonoursContext", "connecting never outlives its caller", dialContext},
	{"AcceptEnds", "closing a listener ends Accept with net.ErrClosed: how servers stop", acceptEnds},
	{"EOFAfterData", "what was written before a close is read before io.EOF", eofAfterData},
	{"OwnClose", "after Close every call fails with net.ErrClosed, pending ones too", ownClose},
	{"PeerGone", "writing to a closed peer fails sooner or later", peerGone},
	{"ReadDeadline", "a deadline ends a pending read with a timeout, and can be moved", readDeadline},
	{"WriteDeadline", "a deadline ends a write that nobody reads", writeDeadline},
	{"AtomicWrites", "concurrent writes do not mix: a frame is one Write", atomicWrites},
}

type fixture struct {
	*testing.T
	net     Network
	address string
}

func (f *fixture) listen() net.Listener {
	f.Helper()
	l, err := f.net.Listen(f.Context(), "tcp", f.address)
	require.NoError(f, err)
	f.Cleanup(func() { _ = l.Close() })
	return l
}

func (f *fixture) pair() (near, far net.Conn) {
	f.Helper()
	l := f.listen()
	near, err := f.net.DialContext(f.Context(), "tcp", l.Addr().String())
	require.NoError(f, err)
	far, err = l.Accept()
	require.NoError(f, err)
	f.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	return near, far
}

func roundTrip(f *fixture) {
	near, far := f.pair()
	require.Equal(f, near.LocalAddr().String(), far.RemoteAddr().String())
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		for _, text := range []string{"a", "bcd", ""} {
			n, err := way[0].Write([]byte(text))
			require.NoError(f, err)
			require.Equal(f, len(text), n)
		}
		got := make([]byte, 4)
		_, err := io.ReadFull(way[1], got)
		require.NoError(f, err)
		require.Equal(f, "abcd", string(got))
	}
}

func bulk(f *fixture) {
	near, far := f.pair()
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := near.Write(sent)
		if err == nil {
			err = near.Close()
		}
		if err != nil {
			f.Errorf("write: %v", err)
		}
	})
	got, err := io.ReadAll(far)
	wg.Wait()
	require.NoError(f, err)
	require.True(f, bytes.Equal(sent, got))
}

func freePorts(f *fixture) {
	a, b := f.listen(), f.listen()
	require.NotEqual(f, a.Addr().String(), b.Addr().String())
	_, port, err := net.SplitHostPort(a.Addr().String())
	require.NoError(f, err)
	require.NotEqual(f, "0", port)
}

func addressInUse(f *fixture) {
	l := f.listen()
	_, err := f.net.Listen(f.Context(), "tcp", l.Addr().String())
	require.Error(f, err)
	require.NoError(f, l.Close())
	again, err := f.net.Listen(f.Context(), "tcp", l.Addr().String())
	require.NoError(f, err)
	require.NoError(f, again.Close())
}

func refused(f *fixture) {
	l := f.listen()
	require.NoError(f, l.Close())
	_, err := f.net.DialContext(f.Context(), "tcp", l.Addr().String())
	var op *net.OpError
	require.ErrorAs(f, err, &op)
	require.Equal(f, "dial", op.Op)
}

func dialContext(f *fixture) {
	l := f.listen()
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	_, err := f.net.DialContext(ctx, "tcp", l.Addr().String())
	require.Error(f, err)
}

func acceptEnds(f *fixture) {
	l := f.listen()
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { _, err = l.Accept() })
	require.NoError(f, l.Close())
	wg.Wait()
	require.ErrorIs(f, err, net.ErrClosed)
	_, err = l.Accept()
	require.ErrorIs(f, err, net.ErrClosed)
}

func eofAfterData(f *fixture) {
	near, far := f.pair()
	_, err := near.Write([]byte("last words"))
	require.NoError(f, err)
	require.NoError(f, near.Close())
	got, err := io.ReadAll(far)
	require.NoError(f, err)
	require.Equal(f, "last words", string(got))
}

func ownClose(f *fixture) {
	near, _ := f.pair()
	var wg sync.WaitGroup
	var pending error
	wg.Go(func() { _, pending = near.Read(make([]byte, 1)) })
	require.NoError(f, near.Close())
	wg.Wait()
	require.ErrorIs(f, pending, net.ErrClosed)
	_, err := near.Write([]byte("x"))
	require.ErrorIs(f, err, net.ErrClosed)
	require.ErrorIs(f, near.Close(), net.ErrClosed)
}

func peerGone(f *fixture) {
	near, far := f.pair()
	require.NoError(f, far.Close())
	chunk := make([]byte, 64<<10)
	for range 1000 {
		if _, err := near.Write(chunk); err != nil {
			var op *net.OpError
			require.ErrorAs(f, err, &op)
			return
		}
	}
	f.Fatal("64 MB were written to a closed peer")
}

func readDeadline(f *fixture) {
	near, far := f.pair()
	require.NoError(f, near.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err := near.Read(make([]byte, 1))
	require.ErrorIs(f, err, os.ErrDeadlineExceeded)
	var ne net.Error
	require.ErrorAs(f, err, &ne)
	require.True(f, ne.Timeout())

	require.NoError(f, near.SetReadDeadline(time.Time{}))
	_, err = far.Write([]byte("x"))
	require.NoError(f, err)
	_, err = near.Read(make([]byte, 1))
	require.NoError(f, err)
}

func writeDeadline(f *fixture) {
	near, _ := f.pair()
	require.NoError(f, near.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
	chunk := make([]byte, 1<<20)
	for range 1000 {
		_, err := near.Write(chunk)
		if err != nil {
			require.ErrorIs(f, err, os.ErrDeadlineExceeded)
			return
		}
	}
	f.Fatal("1 GB was written that nobody read")
}

func atomicWrites(f *fixture) {
	near, far := f.pair()
	const writers, each, size = 4, 50, 3000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			frame := bytes.Repeat([]byte{byte(w)}, size)
			for i := range each {
				binary.BigEndian.PutUint32(frame, uint32(i))
				if _, err := near.Write(frame); err != nil {
					f.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	next := make(map[byte]uint32)
	frame := make([]byte, size)
	for range writers * each {
		_, err := io.ReadFull(far, frame)
		require.NoError(f, err)
		w := frame[4]
		require.Equal(f, bytes.Repeat([]byte{w}, size-4), frame[4:])
		require.Equal(f, next[w], binary.BigEndian.Uint32(frame))
		next[w]++
	}
	wg.Wait()
	require.False(f, errors.Is(near.SetDeadline(time.Time{}), net.ErrClosed))
}
