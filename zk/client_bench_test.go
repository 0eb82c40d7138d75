package zk

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// echoServer grants sessions and answers get and set, over memory, in batches.
func echoServer(tb testing.TB) ClientConfig {
	nw := NewMemoryNetwork()
	l, err := nw.Listen(tb.Context(), "tcp", "echo:2181")
	require.NoError(tb, err)
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go serveEcho(nc)
		}
	}()
	return ClientConfig{Servers: []string{"echo:2181"}, Network: nw}
}

func serveEcho(nc net.Conn) {
	defer nc.Close()
	in := make([]byte, 0, 1<<20)
	var out []byte
	connected := false
	for {
		n, err := nc.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in = in[:len(in)+n]
		out = out[:0]
		b := in
		for len(b) >= 4 && len(b) >= 4+int(binary.BigEndian.Uint32(b)) {
			frame := b[4 : 4+int(binary.BigEndian.Uint32(b))]
			b = b[4+len(frame):]
			if !connected {
				connected = true
				out = jute.BeginFrame(out)
				out = (&jute.ConnectResponse{Timeout: 30_000, SessionID: 1, Password: make([]byte, 16)}).Append(out)
				out = jute.EndFrame(out, len(out)-4-36)
				continue
			}
			out = appendEcho(out, frame)
		}
		in = in[:copy(in, b)]
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

var echoData = make([]byte, 100)

func appendEcho(out, frame []byte) []byte {
	d := jute.NewAliasReader(frame)
	var h jute.RequestHeader
	h.Decode(&d)
	start := len(out)
	out = (&jute.ReplyHeader{Xid: h.Xid, Zxid: 1}).Append(jute.BeginFrame(out))
	switch h.Op {
	case jute.OpGetData:
		out = (&jute.DataResponse{Data: echoData}).Append(out)
	case jute.OpSetData:
		out = (&jute.Stat{}).Append(out)
	}
	return jute.EndFrame(out, start)
}

func echoClient(tb testing.TB) *Client {
	c, err := Connect(tb.Context(), echoServer(tb))
	require.NoError(tb, err)
	tb.Cleanup(func() { c.Close() })
	return c
}

// TestClientAllocs holds calls to a budget: a get allocates the data it gives, a
// set nothing.
func TestClientAllocs(t *testing.T) {
	c, ctx := echoClient(t), t.Context()
	data := make([]byte, 100)
	require.LessOrEqual(t, testing.AllocsPerRun(2000, func() {
		if _, err := c.Set(ctx, "/a/b", data, AnyVersion); err != nil {
			t.Fatal(err)
		}
	}), 1.0)
	require.LessOrEqual(t, testing.AllocsPerRun(2000, func() {
		if _, _, err := c.Get(ctx, "/a/b"); err != nil {
			t.Fatal(err)
		}
	}), 2.0)
}

func BenchmarkClientSet(b *testing.B) {
	c, ctx := echoClient(b), b.Context()
	data := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Set(ctx, "/a/b", data, AnyVersion); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClientSetParallel shares a client among 64 goroutines a processor.
func BenchmarkClientSetParallel(b *testing.B) {
	c, ctx := echoClient(b), b.Context()
	data := make([]byte, 100)
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Set(ctx, "/a/b", data, AnyVersion); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkClientGo keeps a hundred sets of one goroutine on their way.
func BenchmarkClientGo(b *testing.B) {
	c, ctx := echoClient(b), b.Context()
	data := make([]byte, 100)
	room := make(chan struct{}, 100)
	var wg sync.WaitGroup
	done := func(res OpResult) {
		if res.Err != nil {
			b.Error(res.Err)
		}
		<-room
		wg.Done()
	}
	b.ReportAllocs()
	for b.Loop() {
		room <- struct{}{}
		wg.Add(1)
		c.Go(ctx, SetOp("/a/b", data, AnyVersion), done)
	}
	wg.Wait()
}

var _ io.Closer = (*Client)(nil)
