package tree

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// TestBuilder makes a tree of foreign znodes and goes on in it.
func TestBuilder(t *testing.T) {
	b := NewBuilder(Config{}, 0x500000007)
	require.NoError(t, b.Session(7, 4000))
	digest := []jute.ACL{{Perms: jute.PermAll, ID: jute.ID{Scheme: "digest", ID: "u:h"}}}
	for _, n := range []Znode{
		{Path: "/"},
		{Path: "/a", Data: []byte("x"), ACL: digest, Czxid: 1, Mzxid: 2, Pzxid: 3, Ctime: 4, Mtime: 5, Version: 6, Creates: 9, Aver: 7},
		{Path: "/a/e", Session: 7},
		{Path: "/a/c", Container: true},
		{Path: "/a/t", TTL: 1000},
	} {
		require.NoError(t, b.Znode(&n))
	}
	tr, err := b.Finish()
	require.NoError(t, err)
	require.EqualValues(t, 0x500000007, tr.Published())
	n, _ := tr.Lookup("/a")
	require.Equal(t, "x", string(n.Data()))
	require.Equal(t, digest, n.ACL().Entries())
	require.Equal(t, jute.Stat{
		Czxid: 1, Mzxid: 2, Ctime: 4, Mtime: 5, Version: 6, Cversion: 2*9 - 3, Aversion: 7, DataLength: 1, NumChildren: 3, Pzxid: 3,
	}, n.Stat())
	e, _ := tr.Lookup("/a/e")
	require.EqualValues(t, 7, e.Stat().EphemeralOwner)
	config, _ := tr.Lookup(ConfigPath)
	require.True(t, config.Exists())

	var res Result
	tr.Apply(0x600000001, &Txn{
		Kind: KindOp, Session: 7, Auth: []jute.ID{{Scheme: "digest", ID: "u:h"}},
		Op: jute.Op{Type: jute.OpCreate, Path: "/a/s-", Flags: 2, ACL: jute.OpenACL()},
	}, &res)
	require.Equal(t, jute.CodeOK, res.Err)
	require.Equal(t, "/a/s-0000000009", res.Path)
	tr.Apply(0x600000002, &Txn{Kind: KindCloseSession, Session: 7}, &res)
	tr.Publish(0x600000002)
	e, _ = tr.Lookup("/a/e")
	require.False(t, e.Exists())
}

// TestBuilderRefuses says what is wrong with a znode.
func TestBuilderRefuses(t *testing.T) {
	for want, n := range map[string]Znode{
		`znode "/b/c": znode without its parent`:                {Path: "/b/c"},
		`znode "b": impossible path`:                            {Path: "b"},
		`znode "/a": there already`:                             {Path: "/a"},
		`znode "/e": ephemeral without its session`:             {Path: "/e", Session: 9},
		`znode "/t": impossible kind or owner`:                  {Path: "/t", TTL: -1},
		`znode "/l": 1025 access control entries, at most 1024`: {Path: "/l", ACL: make([]jute.ACL, aclEntriesMax+1)},
	} {
		b := NewBuilder(Config{}, 1)
		require.NoError(t, b.Znode(&Znode{Path: "/"}))
		require.NoError(t, b.Znode(&Znode{Path: "/a"}))
		require.EqualError(t, b.Znode(&n), want)
	}
	_, err := NewBuilder(Config{}, 1).Finish()
	require.Error(t, err)
}
