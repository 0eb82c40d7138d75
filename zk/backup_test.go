package zk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

const apacheFixture = "internal/apache/testdata/3.8"

// seedConfig is server id of three, on a disk of its own.
func seedConfig(id int64, fs vfs.FS) Config {
	cfg := Config{ID: id, FS: fs, DataDir: fmt.Sprintf("data/zk-%d", id)}
	for i := range int64(3) {
		cfg.Servers = append(cfg.Servers, ServerSpec{ID: i + 1, Peer: fmt.Sprintf("127.0.0.1:%d", 2888+i)})
	}
	return cfg
}

// TestImport moves what Apache ZooKeeper 3.8 left to an ensemble of three: a
// client sees what a client saw there, and can go on.
func TestImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		for id := range int64(3) {
			got, err := Import(seedConfig(id+1, fs), apacheFixture, "")
			require.NoError(t, err)
			require.Equal(t, Imported{Zxid: 0x1e, Znodes: 21, Sessions: 1}, got)
		}
		ctx := t.Context()
		e, err := StartEnsemble(ctx, EnsembleConfig{FS: fs, DataDir: "data", Server: Config{ExtendedTypes: true}})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		c, err := Connect(ctx, ClientConfig{Servers: e.Addrs(), Network: e.Network()})
		require.NoError(t, err)
		defer c.Close()
		want, err := os.ReadFile(filepath.Join(apacheFixture, "znodes.txt"))
		require.NoError(t, err)
		for line := range strings.Lines(string(want)) {
			path, _, _ := strings.Cut(line, " ")
			require.Equal(t, line, describe(t, c, path))
		}
		path, err := c.Create(ctx, "/app/s-", nil, PersistentSequential)
		require.NoError(t, err)
		require.Equal(t, "/app/s-0000000007", path)
		_, err = c.Set(ctx, "/locked", nil, AnyVersion)
		require.ErrorIs(t, err, ErrNoAuth)
		require.NoError(t, c.AddAuth(ctx, DigestAuth("u", "p")))
		_, err = c.Set(ctx, "/locked", nil, AnyVersion)
		require.NoError(t, err)
	})
}

// describe prints a znode as znodes.txt does.
func describe(t *testing.T, c *Client, path string) string {
	data, s, err := c.Get(t.Context(), path)
	require.NoError(t, err)
	list, _, err := c.ACL(t.Context(), path)
	require.NoError(t, err)
	shown := fmt.Sprintf("%q", data)
	if data == nil {
		shown = "null"
	}
	var acl []string
	for _, a := range list {
		acl = append(acl, fmt.Sprintf("%d:%s:%s", a.Perms, a.ID.Scheme, a.ID.ID))
	}
	return fmt.Sprintf("%s %s czxid=%#x mzxid=%#x pzxid=%#x ctime=%d mtime=%d version=%d cversion=%d aversion=%d children=%d owner=%#x acl=%s\n",
		path, shown, s.Czxid, s.Mzxid, s.Pzxid, s.Ctime, s.Mtime, s.Version, s.Cversion, s.Aversion, s.NumChildren, uint64(s.EphemeralOwner),
		strings.Join(acl, " "))
}

// TestImportRefuses names what is wrong, and writes nothing.
func TestImportRefuses(t *testing.T) {
	fs := vfs.NewMem()
	_, err := Import(seedConfig(1, fs), "nowhere", "")
	require.EqualError(t, err, "zk: import: nowhere: not a directory")
	_, err = Import(seedConfig(1, fs), t.TempDir(), "")
	require.ErrorContains(t, err, "no snapshot")
	_, err = Import(seedConfig(1, fs), apacheFixture, "")
	require.NoError(t, err)
	_, err = Import(seedConfig(1, fs), apacheFixture, "")
	require.ErrorContains(t, err, "data/zk-1: directory is not empty")
	_, err = Import(Config{ID: 4}, apacheFixture, "")
	require.ErrorContains(t, err, "config")
}

// TestRestore takes a snapshot of a server under way and starts another ensemble
// of it.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		e, err := StartEnsemble(ctx, EnsembleConfig{})
		require.NoError(t, err)
		leader := e.Server(e.Leader()) // a follower may have applied what it has not yet
		c, err := Connect(ctx, ClientConfig{Servers: []string{leader.Addrs()[0].String()}, Network: e.Network()})
		require.NoError(t, err)
		for i := range 100 {
			_, err := c.Create(ctx, fmt.Sprintf("/n-%d", i), []byte{byte(i)}, Persistent)
			require.NoError(t, err)
		}
		require.NoError(t, c.Sync(ctx, "/"))
		var backup bytes.Buffer
		zxid, err := leader.WriteSnapshot(ctx, &backup)
		require.NoError(t, err)
		require.GreaterOrEqual(t, zxid, c.LastZxid())
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())

		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = e.Server(1).WriteSnapshot(ended, &backup)
		require.Error(t, err)

		fs := vfs.NewMem()
		for id := range int64(3) {
			got, err := Restore(seedConfig(id+1, fs), bytes.NewReader(backup.Bytes()))
			require.NoError(t, err)
			require.Equal(t, zxid, got.Zxid)
		}
		_, err = Restore(seedConfig(1, vfs.NewMem()), bytes.NewReader(backup.Bytes()[:backup.Len()-1]))
		require.ErrorContains(t, err, "it ends too early")
		e, err = StartEnsemble(ctx, EnsembleConfig{FS: fs, DataDir: "data"})
		require.NoError(t, err)
		defer e.Close()
		c, err = Connect(ctx, ClientConfig{Servers: e.Addrs(), Network: e.Network(), SessionTimeout: 10 * time.Second})
		require.NoError(t, err)
		defer c.Close()
		for i := range 100 {
			data, _, err := c.Get(ctx, fmt.Sprintf("/n-%d", i))
			require.NoError(t, err)
			require.Equal(t, []byte{byte(i)}, data)
		}
		_, err = c.Create(ctx, "/after", nil, Persistent)
		require.NoError(t, err)
		require.Greater(t, c.LastZxid(), zxid)
	})
}
