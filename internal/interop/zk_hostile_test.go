package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

const hostileConns = 100

// hostiles are what clients do to a server that means to hold them, each on many
// connections. They return what they leave open.
var hostiles = []struct {
	name string
	do   func(t *testing.T, addr string) []net.Conn
}{
	{"say nothing", func(t *testing.T, addr string) []net.Conn { return hostileDials(t, addr, nil) }},
	{"begin a frame and wait", func(t *testing.T, addr string) []net.Conn {
		return hostileDials(t, addr, packer{}.i32(45).i32(0).i64(0)[:7])
	}},
	{"announce a large hello", func(t *testing.T, addr string) []net.Conn {
		return hostileDials(t, addr, append(packer{}.i32(60_000), make([]byte, 100)...))
	}},
	{"length beyond all limits", func(t *testing.T, addr string) []net.Conn { return hostileDials(t, addr, packer{}.i32(0x7fffffff)) }},
	{"TLS", func(t *testing.T, addr string) []net.Conn {
		return hostileDials(t, addr, []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
	}},
	{"announce a large request", func(t *testing.T, addr string) []net.Conn {
		return hostileSessions(t, addr, func(c net.Conn) { c.Write(append(packer{}.i32(1_000_000).i32(1).i32(5), make([]byte, 1000)...)) })
	}},
	{"ask and never read", func(t *testing.T, addr string) []net.Conn {
		get := packer{}.i32(1).i32(4).str("/large").flag(false)
		frame := append(packer{}.i32(int32(len(get))), get...)
		return hostileSessions(t, addr, func(c net.Conn) {
			c.SetWriteDeadline(time.Now().Add(time.Second))
			for range 100 {
				if _, err := c.Write(frame); err != nil {
					return
				}
			}
		})
	}},
	{"count bombs", func(t *testing.T, addr string) []net.Conn {
		return hostileSessions(t, addr, func(c net.Conn) {
			for _, op := range []int32{1, 14, 101, 105, 22, 7} {
				body := packer{}.i32(1).i32(op).str("/x").i32(0x7ffffff0).i32(0x7ffffff0)
				c.Write(append(packer{}.i32(int32(len(body))), body...))
			}
		})
	}},
}

func hostileDials(t *testing.T, addr string, first []byte) []net.Conn {
	conns := make([]net.Conn, 0, hostileConns)
	for range hostileConns {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		require.NoError(t, err)
		c.Write(first)
		conns = append(conns, c)
	}
	return conns
}

func hostileSessions(t *testing.T, addr string, then func(net.Conn)) []net.Conn {
	hello := packer{}.i32(0).i64(0).i32(30_000).i64(0).str(strings.Repeat("\x00", 16)).flag(false)
	conns := hostileDials(t, addr, append(packer{}.i32(int32(len(hello))), hello...))
	for _, c := range conns {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		var head [4]byte
		_, err := io.ReadFull(c, head[:])
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:])))
		require.NoError(t, err)
		then(c)
	}
	return conns
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// resources are a process's descriptors and its memory in KiB.
func (s *killServer) resources(t *testing.T) (descriptors, kib int) {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	require.NoError(t, err)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	require.NoError(t, err)
	kib, err = strconv.Atoi(string(vmRSS.FindSubmatch(status)[1]))
	require.NoError(t, err)
	return len(files), kib
}

// TestHostileClients floods a process with clients that want to hold it: it serves
// others meanwhile, its memory keeps within bounds, and its descriptors and
// goroutines are back afterwards (P16; S4, S5, S8, S9, S10, S22, S25).
func TestHostileClients(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	s := startKillServers(t, 1)[0]
	ctx := testContext(t)
	cl, err := zk.Connect(ctx, zk.ClientConfig{Servers: []string{s.addr}, SessionTimeout: 20 * time.Second})
	require.NoError(t, err)
	defer cl.Close()
	_, err = cl.Create(ctx, "/large", make([]byte, 100_000), zk.Persistent)
	require.NoError(t, err)
	before, _ := s.resources(t)
	goroutines := s.goroutines(t)
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			conns := h.do(t, s.addr)
			for range 20 { // somebody else is served
				_, err := cl.Set(ctx, "/large", make([]byte, 100_000), zk.AnyVersion)
				require.NoError(t, err)
			}
			held, kib := s.resources(t)
			for _, c := range conns {
				c.Close()
			}
			waitFor(t, "descriptors are back", func() bool {
				now, _ := s.resources(t)
				return now <= before+1
			})
			waitFor(t, "goroutines are back", func() bool { return s.goroutines(t) <= goroutines+2 })
			t.Logf("%d descriptors and %d MiB while %d connections were there", held, kib>>10, len(conns))
			require.Less(t, kib>>10, 1024)
		})
	}
	require.Equal(t, zk.StateConnected, cl.State())
}

// goroutines asks the process how many it has.
func (s *killServer) goroutines(t *testing.T) int {
	t.Helper()
	_, err := s.in.Write([]byte("\n"))
	require.NoError(t, err)
	select {
	case line := <-s.lines:
		n, err := strconv.Atoi(line)
		require.NoError(t, err)
		return n
	case <-s.exited:
		t.Fatalf("the server has ended: %s", s.errs)
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
	return 0
}
