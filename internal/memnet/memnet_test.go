package memnet_test

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/memnet"
	"github.com/vivarium-go/vivarium/internal/memnet/nettest"
)

func TestConformance(t *testing.T) {
	t.Run("Memory", func(t *testing.T) { nettest.Test(t, memnet.New(), "zk1") })
	t.Run("MemoryHost", func(t *testing.T) { nettest.Test(t, memnet.New().Host("zk1"), "") })
	t.Run("TCP", func(t *testing.T) {
		nettest.Test(t, struct {
			*net.Dialer
			*net.ListenConfig
		}{&net.Dialer{}, &net.ListenConfig{}}, "127.0.0.1")
	})
	t.Run("MemoryInBubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := pair(t, memnet.New())
			require.NoError(t, near.SetReadDeadline(time.Now().Add(time.Hour)))
			_, err := near.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			closeBoth(t, near, far)
		})
	})
}

func pair(t testing.TB, n *memnet.Network) (near, far net.Conn) {
	l, err := n.Host("b").Listen(t.Context(), "tcp", ":0")
	require.NoError(t, err)
	near, err = n.Host("a").DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	far, err = l.Accept()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return near, far
}

func closeBoth(t testing.TB, near, far net.Conn) {
	require.NoError(t, near.Close())
	require.NoError(t, far.Close())
}

// A partition keeps bytes and lets a reader's deadline pass; healing delivers.
func TestPartitionKeepsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		near, far := pair(t, n)
		n.PartitionOneWay("a", "b")
		write(t, near, "late")
		require.NoError(t, far.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err := far.Read(make([]byte, 4))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		write(t, far, "back")
		require.Equal(t, "back", read(t, near, 4))

		n.Heal()
		require.NoError(t, far.SetReadDeadline(time.Time{}))
		require.Equal(t, "late", read(t, far, 4))
		closeBoth(t, near, far)
		require.Zero(t, n.Connections())
	})
}

func TestDialAcrossPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		l, err := n.Host("b").Listen(t.Context(), "tcp", ":1")
		require.NoError(t, err)
		n.Partition("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.Host("a").DialContext(ctx, "tcp", "b:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		time.AfterFunc(time.Minute, func() { n.Join("a", "b") })
		c, err := n.Host("a").DialContext(t.Context(), "tcp", "b:1")
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, l.Close())
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		near, far := pair(t, n)
		n.Delay("a", "b", 3*time.Second)
		start := time.Now()
		write(t, near, "one")
		write(t, near, "two")
		require.Equal(t, "onetwo", read(t, far, 6))
		require.Equal(t, 3*time.Second, time.Since(start))
		closeBoth(t, near, far)
	})
}

func TestDownAndUp(t *testing.T) {
	n := memnet.New()
	near, far := pair(t, n)
	n.Down("b")
	for _, c := range []net.Conn{near, far} {
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = c.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
	_, err := n.Host("a").DialContext(t.Context(), "tcp", "b:1")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	_, err = n.Host("b").Listen(t.Context(), "tcp", ":1")
	require.ErrorIs(t, err, syscall.ENETDOWN)
	n.Up("b")
	l, err := n.Host("b").Listen(t.Context(), "tcp", ":1")
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestCutAfter(t *testing.T) {
	for count := range int64(6) {
		n := memnet.New()
		near, far := pair(t, n)
		n.CutAfter("a", "b", count)
		wrote, err := near.Write([]byte("hello world"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.EqualValues(t, count, wrote)
		_, err = far.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

func write(t testing.TB, c net.Conn, s string) {
	_, err := c.Write([]byte(s))
	require.NoError(t, err)
}

func read(t testing.TB, c net.Conn, n int) string {
	p := make([]byte, n)
	_, err := io.ReadFull(c, p)
	require.NoError(t, err)
	return string(p)
}

func BenchmarkRoundTrip(b *testing.B) {
	near, far := pair(b, memnet.New())
	go func() {
		buf := make([]byte, 128)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			if _, err := far.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	msg := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := near.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(near, msg); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, near.Close())
}
