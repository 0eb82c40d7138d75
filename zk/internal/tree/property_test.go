package tree

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

var seeds = flag.Int("seeds", 60, "seeds of the tree's property test")

// encode returns all bytes of a snapshot.
func encode(s *Snapshot, chunkBytes int) []byte {
	var b []byte
	for more := true; more; {
		b, more = s.Append(b, chunkBytes)
	}
	return b
}

func load(t testing.TB, b []byte) *Tree {
	l := NewLoader(Config{})
	_, err := l.Write(b)
	require.NoError(t, err)
	tr, err := l.Finish()
	require.NoError(t, err)
	return tr
}

// plain makes results comparable: lists by value, nil for empty ones.
func plain(r Result) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v %q %+v failed=%v", r.Err, r.Path, r.Stat, r.Failed)
	for _, o := range r.Ops {
		fmt.Fprintf(&s, "\n  op %v %v %q %+v", o.Type, o.Err, o.Path, o.Stat)
	}
	for _, e := range r.Events {
		fmt.Fprintf(&s, "\n  event %d %d %q %+v", e.Type, e.Zxid, e.Path, e.ACL.Entries())
	}
	return s.String()
}

// compare reads everything that the tree shows at its published zxid.
func compare(t *testing.T, m *model, tr *Tree) {
	t.Helper()
	require.EqualValues(t, len(m.nodes), tr.Stats().Znodes)
	ephemerals, dataBytes := map[int64][]string{}, 0
	for _, p := range slices.Sorted(maps.Keys(m.nodes)) {
		n, z := tr.Lookup(p)
		require.True(t, n.Exists(), "%q", p)
		require.Equal(t, tr.Published(), z)
		want := m.nodes[p]
		require.Equal(t, p, n.Path())
		require.Equal(t, want.data, n.Data(), "%q", p)
		require.Equal(t, m.stat(p), n.Stat(), "%q", p)
		require.Equal(t, want.acl, n.ACL().Entries(), "%q", p)
		require.Equal(t, m.children(p), n.AppendChildren(nil), "%q", p)
		if want.kind == "ephemeral" {
			_, alive := tr.Session(want.stat.EphemeralOwner)
			require.True(t, alive, "%q outlives its session", p) // Z12, Z19
			ephemerals[want.stat.EphemeralOwner] = append(ephemerals[want.stat.EphemeralOwner], p)
		}
		dataBytes += len(p) + len(want.data)
	}
	require.EqualValues(t, dataBytes, tr.Stats().DataBytes)
	n, _, ok := tr.CountDescendants("/")
	require.True(t, ok)
	require.Equal(t, len(m.nodes)-1, n)
	var sessions []Session
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		paths, _ := tr.Ephemerals(id, "")
		require.Equal(t, ephemerals[id], paths)
		sessions = append(sessions, Session{id, m.sessions[id], len(paths), m.owners[id]})
	}
	require.Equal(t, sessions, tr.Sessions(nil))
	for _, name := range []string{"p", "q", "r"} {
		if want, there := m.props[name]; there {
			require.Equal(t, want, string(tr.Property(name)))
		} else {
			require.Nil(t, tr.Property(name))
		}
	}
	for _, p := range []string{"/nowhere", "//", "x", sessionsRoot, propertiesRoot, reapRoot} {
		n, _ := tr.Lookup(p)
		require.False(t, n.Exists(), "%q", p)
	}
}

// pinned is a snapshot with what it must hold.
type pinned struct {
	snap *Snapshot
	m    *model
	at   int // transactions applied before it
}

// TestModel compares the tree with the model on random histories: every outcome, every read at every publication, snapshots taken at
// any time, published or not, and encoded later. Recovery is Z17 and Z18: a snapshot and the transactions above it make the live tree.
func TestModel(t *testing.T) {
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { runModel(t, seed) })
	}
}

func runModel(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	g := &generator{rng: rng, wide: seed%4 == 3}
	m, tr := newModel(), New(Config{})
	shown := m.clone()
	var log [][]byte
	var pins []pinned
	var res Result
	var txn Txn
	zxid := int64(0)
	zxids := []int64{}
	publishEvery := 1 + rng.IntN(20)
	for i := range 400 {
		zxid += 1 + rng.Int64N(3)
		made := g.txn()
		b := AppendTxn(nil, made)
		log, zxids = append(log, b), append(zxids, zxid)
		scratch := bytes.Clone(b)
		require.NoError(t, DecodeTxn(scratch, &txn))
		want := m.apply(zxid, made)
		digest := tr.Digest()
		tr.Apply(zxid, &txn, &res)
		require.Equal(t, plain(want), plain(res), "transaction %d: %+v", i, made)
		require.Equal(t, zxid, tr.Applied())
		if res.Err != 0 || res.Failed {
			require.Equal(t, digest, tr.Digest(), "a failed transaction changes nothing")
		}
		for j := range scratch { // Apply keeps nothing of the transaction's bytes
			scratch[j] ^= 0x55
		}
		if rng.IntN(publishEvery) == 0 {
			tr.Publish(zxid)
			shown = m.clone()
		}
		if rng.IntN(6) == 0 { // what is applied and not published does not show
			compare(t, shown, tr)
		}
		if rng.IntN(40) == 0 {
			pins = append(pins, pinned{tr.Snapshot(), m.clone(), i + 1})
		}
		if len(pins) > 0 && rng.IntN(40) == 0 {
			j := rng.IntN(len(pins))
			checkSnapshot(t, pins[j], log, zxids, tr, rng)
			pins = slices.Delete(pins, j, j+1)
		}
	}
	tr.Publish(zxid)
	compare(t, m, tr)
	for _, p := range pins {
		checkSnapshot(t, p, log, zxids, tr, rng)
	}
	for tr.Sweep(1000) {
	}
	checkSwept(t, tr)
	compare(t, m, tr)
}

// checkSnapshot loads a snapshot that was pinned some time ago, compares it, and brings it up to date from the log.
func checkSnapshot(t *testing.T, p pinned, log [][]byte, zxids []int64, live *Tree, rng *rand.Rand) {
	b := encode(p.snap, rng.IntN(10000))
	tr := load(t, b)
	require.Equal(t, p.snap.Zxid(), tr.Applied())
	require.Equal(t, p.snap.Digest(), tr.Digest())
	compare(t, p.m, tr)
	p.snap.Close()
	var txn Txn
	var res Result
	for i := p.at; i < len(log); i++ {
		require.NoError(t, DecodeTxn(log[i], &txn))
		tr.Apply(zxids[i], &txn, &res)
		if rng.IntN(3) == 0 { // whenever it publishes, the outcome is the same
			tr.Publish(zxids[i])
		}
	}
	require.Equal(t, live.Digest(), tr.Digest())
	one, two := live.Snapshot(), tr.Snapshot()
	require.True(t, bytes.Equal(encode(one, 1), encode(two, 1)), "equal states have equal bytes")
	one.Close()
	two.Close()
}

// checkSwept checks that only newest versions are left once all is published and no snapshot is open.
func checkSwept(t *testing.T, tr *Tree) {
	require.Empty(t, tr.pins)
	require.Empty(t, tr.held)
	require.Empty(t, tr.ready)
	require.Empty(t, tr.pending)
	entries := 0
	for i := range tr.table.shards {
		if p := tr.table.shards[i].slots.Load(); p != nil {
			for j := range p.s {
				e := p.s[j].e.Load()
				if e == nil || e == removed {
					continue
				}
				entries++
				require.NotNil(t, e.head.Load())
				require.False(t, e.head.Load().deleted, "%q", e.path)
				require.Nil(t, e.head.Load().prev.Load(), "%q", e.path)
			}
		}
	}
	require.Equal(t, tr.table.live, entries)
}

// TestSnapshotPinsOnlyItsVersions: however long a snapshot stays open, a znode that is written all the time has three versions at most.
func TestSnapshotPinsOnlyItsVersions(t *testing.T) {
	tr, paths := grown(t, 1)
	set := Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpSetData, Path: paths[0], Version: -1}}
	var res Result
	var snaps []*Snapshot
	for i := range 1000 {
		z := tr.Applied() + 1
		tr.Apply(z, &set, &res)
		tr.Publish(z)
		if i%300 == 0 {
			snaps = append(snaps, tr.Snapshot())
		}
		versions := 0
		for v := tr.table.find(paths[0]).head.Load(); v != nil; v = v.prev.Load() {
			versions++
		}
		require.LessOrEqual(t, versions, 2+len(snaps))
	}
	for _, s := range snaps {
		s.Close()
	}
	for tr.Sweep(10) {
	}
	checkSwept(t, tr)
}

// TestSnapshotBytesKnowNoSharing: lists too long to be shared are written as equal ones are.
func TestSnapshotBytesKnowNoSharing(t *testing.T) {
	var long []jute.ACL
	for i := range 100 {
		long = append(long, jute.ACL{Perms: 1, ID: jute.ID{Scheme: "digest", ID: fmt.Sprintf("user%d:hash", i)}})
	}
	tr := New(Config{})
	var res Result
	for z, p := range []string{"/a", "/b", "/c"} {
		tr.Apply(int64(z)+1, &Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpCreate, Path: p, ACL: long}}, &res)
		require.Zero(t, res.Err)
	}
	b := encode(tr.Snapshot(), 1)
	require.Less(t, len(b), 3000, "the list is written once")
	require.Equal(t, b, encode(load(t, b).Snapshot(), 1))
}

// TestLongACL: a list is bounded before anything quadratic looks at it (S6).
func TestLongACL(t *testing.T) {
	var list []jute.ACL
	for i := range 90_000 {
		list = append(list, jute.ACL{Perms: int32(i), ID: jute.ID{Scheme: "auth"}})
	}
	tr := New(Config{})
	var res Result
	create := func(n, ids int) jute.Code {
		txn := Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpCreate, Path: "/a", ACL: list[:n]}}
		for i := range ids {
			txn.Auth = append(txn.Auth, jute.ID{Scheme: "digest", ID: fmt.Sprint("u:", i)})
		}
		tr.Apply(tr.Applied()+1, &txn, &res)
		return res.Err
	}
	require.Equal(t, jute.CodeInvalidACL, create(90_000, 1))
	require.Equal(t, jute.CodeInvalidACL, create(aclEntriesMax, 2))
	require.Equal(t, jute.CodeOK, create(aclEntriesMax, 1))
}

// TestDigestFindsEveryDifference: the digest changes with each field that servers must agree on.
func TestDigestFindsEveryDifference(t *testing.T) {
	base := Txn{Kind: KindOp, Time: 7, Op: jute.Op{Type: jute.OpCreate, Path: "/a", Data: []byte("d"), ACL: jute.OpenACL()}}
	seen := map[uint64]string{}
	for name, change := range map[string]func(*Txn){
		"as it is": func(*Txn) {},
		"path":     func(x *Txn) { x.Op.Path = "/b" },
		"data":     func(x *Txn) { x.Op.Data = []byte("e") },
		"empty":    func(x *Txn) { x.Op.Data = []byte{} },
		"null":     func(x *Txn) { x.Op.Data = nil },
		"time":     func(x *Txn) { x.Time = 8 },
		"acl":      func(x *Txn) { x.Op.ACL = []jute.ACL{{Perms: 30, ID: x.Op.ACL[0].ID}} },
		"kind":     func(x *Txn) { x.Op.Type = jute.OpCreateContainer },
		"session":  func(x *Txn) { *x = Txn{Kind: KindCreateSession, Session: 1, Timeout: 5} },
		"timeout":  func(x *Txn) { *x = Txn{Kind: KindCreateSession, Session: 1, Timeout: 6} },
		"owner":    func(x *Txn) { *x = Txn{Kind: KindCreateSession, Session: 1, Timeout: 5, Owner: 2} },
		"property": func(x *Txn) { *x = Txn{Kind: KindSetProperty, Name: "n", Value: []byte("v")} },
		"value":    func(x *Txn) { *x = Txn{Kind: KindSetProperty, Name: "n", Value: []byte("w")} },
		"nothing":  func(x *Txn) { *x = Txn{} },
	} {
		x := base
		change(&x)
		tr := New(Config{})
		var res Result
		tr.Apply(1, &x, &res)
		require.Zero(t, res.Err, name)
		require.Empty(t, seen[tr.Digest()], name)
		seen[tr.Digest()] = name
	}
}
