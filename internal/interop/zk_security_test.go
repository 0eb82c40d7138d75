package interop

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// memoryConn is a raw connection to a server in memory.
func memoryConn(t *testing.T, e *zktest.Ensemble, host string) *rawConn {
	t.Helper()
	nc, err := e.Memory.Host(host).DialContext(t.Context(), "tcp", e.Addrs()[0])
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &rawConn{Conn: nc}
}

// trickle sends a byte a second until the connection ends, and says how long that took.
func trickle(c net.Conn, first []byte) time.Duration {
	begun := time.Now()
	c.Write(first)
	for time.Since(begun) < 5*time.Minute {
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 100)); errors.Is(err, io.EOF) {
			break
		}
		if _, err := c.Write([]byte{0}); err != nil {
			break
		}
	}
	return time.Since(begun)
}

// TestSlowFrames sends a byte now and then: a hello has ten seconds in all, and
// bytes of a request that never ends keep no session alive (S9).
func TestSlowFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		require.LessOrEqual(t, trickle(memoryConn(t, e, "slow"), packer{}.i32(60_000)), 15*time.Second)
		c := memoryConn(t, e, "slow")
		c.hello(t)
		require.LessOrEqual(t, trickle(c, packer{}.i32(900_000).i32(1).i32(5)), 15*time.Second)
		require.NoError(t, e.Close())
	})
}

// TestConnectionsHaveALimit: who comes when the server is full is sent away, and
// those that are there do not notice (S8).
func TestConnectionsHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{ConnectionsMax: 5}})
		cl := e.Connect()
		for range 20 {
			c := memoryConn(t, e, "many")
			c.send(packer{}.i32(0).i64(0).i32(30_000).i64(0).str(strings.Repeat("\x00", 16)).flag(false))
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
		}
		synctest.Wait()
		last := memoryConn(t, e, "last")
		last.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := last.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		_, err = cl.Create(t.Context(), "/served", nil, zk.Persistent)
		require.NoError(t, err)
	})
}

// lockedBuffer is a log that many write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// TestLogsKeepSecrets: what clients send is quoted and short in the log, and no
// credential is in it (S13, S15, S18).
func TestLogsKeepSecrets(t *testing.T) {
	var log lockedBuffer
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		e := zktest.Start(t, zk.EnsembleConfig{Logger: logger, Server: zk.Config{SuperDigest: superDigest}})
		cl := e.Connect()
		require.NoError(t, cl.AddAuth(t.Context(), zk.DigestAuth("ann", "topsecret")))
		require.NoError(t, cl.AddAuth(t.Context(), zk.DigestAuth("super", "secret")))
		for range 3 {
			c := memoryConn(t, e, "evil")
			c.hello(t)
			require.Contains(t, c.answer(t, 100, packer{}.i32(0).str("evil\nlevel=ERROR msg=forged "+strings.Repeat("x", 5000)).str("topsecret")), "closed")
		}
		for _, raw := range [][]byte{packer{}.i32(0x7fffffff), packer{}.i32(20).str("topsecret\nforged"), []byte("conf\nforged")} {
			c := memoryConn(t, e, "evil")
			c.Write(raw)
			c.SetReadDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.Copy(io.Discard, c)
		}
		require.NoError(t, cl.Close())
		require.NoError(t, e.Close())
	})
	text := log.b.String()
	require.NotEmpty(t, text)
	for line := range strings.Lines(text) {
		require.NotContains(t, line, "topsecret")
		require.NotContains(t, line, superDigest)
		require.Less(t, len(line), 1000)
		require.False(t, strings.HasPrefix(line, "level=ERROR msg=forged") || strings.HasPrefix(line, "forged"), line)
	}
}

// TestFilesAreTheOwners: nobody else reads or writes what a server keeps (S20).
func TestFilesAreTheOwners(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ctx := testContext(t)
	ens, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Servers: 1, DataDir: dir, Server: zk.Config{SnapCount: 10}})
	require.NoError(t, err)
	cl, err := ens.Connect(ctx)
	require.NoError(t, err)
	for range 50 {
		_, err = cl.Create(ctx, "/s-", nil, zk.PersistentSequential)
		require.NoError(t, err)
	}
	require.NoError(t, cl.Close())
	require.NoError(t, ens.Close())
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is %v", path, info.Mode())
		files++
		return nil
	}))
	require.Greater(t, files, 3)
}

// TestSessionsCannotBeGuessed: neither ids nor passwords follow from one another,
// and attempts to guess a password do not harm who has the session (S13).
func TestSessionsCannotBeGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		victim := memoryConn(t, e, "victim")
		victim.hello(t)
		seen := map[int64]bool{victim.session: true}
		for range 50 {
			c := memoryConn(t, e, "evil")
			c.hello(t)
			for id := range seen {
				near := c.session - id
				require.False(t, -1_000_000 < near && near < 1_000_000, "%x is near %x", c.session, id)
			}
			seen[c.session] = true
			require.NotEqual(t, victim.password, c.password)
			c.Close()
			guess := memoryConn(t, e, "evil")
			guess.send(packer{}.i32(0).i64(0).i32(4000).i64(victim.session).str(string(c.password)).flag(false))
			b := guess.recv(t)
			require.Equal(t, make([]byte, 8), b[8:16], "refused")
		}
		require.Contains(t, victim.answer(t, 3, packer{}.str("/").flag(false)), "open")
	})
}

// TestLimitsOfARequest: what Apache ZooKeeper bounds by the frame alone has bounds
// of its own (S6).
func TestLimitsOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		c := memoryConn(t, e, "large")
		c.hello(t)
		require.Equal(t, "0+4100 open", c.answer(t, 1, packer{}.create("/"+strings.Repeat("x", 4095), 0)))
		require.Equal(t, "-8+0 open", c.answer(t, 1, packer{}.create("/"+strings.Repeat("x", 4096), 0)))
		acl := packer{}.str("/acl").str("").i32(1025)
		for range 1025 {
			acl = acl.i32(31).str("world").str("anyone")
		}
		require.Equal(t, "-114+0 open", c.answer(t, 1, acl.i32(0)))
		multi := packer{}
		for range 1<<16 + 1 {
			multi = multi.multi(13).str("").i32(-1)
		}
		require.Contains(t, c.answer(t, 14, multi.end()), "closed", "beyond the frame")
	})
}
