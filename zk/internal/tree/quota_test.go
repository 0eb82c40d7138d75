package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// counted is what a quota's znode has to say, by looking at all znodes.
func counted(tr *Tree, on string, except ...string) string {
	n, bytes := 0, 0
	var walk func(path string)
	walk = func(path string) {
		if slices.Contains(except, path) {
			return
		}
		node, _ := tr.Lookup(path)
		if !node.Exists() {
			return
		}
		n++
		bytes += len(node.Data())
		for _, name := range node.AppendChildren(nil) {
			walk(path + "/" + name)
		}
	}
	walk(on)
	return fmt.Sprintf("count=%d,bytes=%d", n, bytes)
}

// TestQuotaCounts: after whatever creates, sets, deletes, multis that fail and sessions that end, each quota has counted what is there;
// hard limits hold; and the tree that a snapshot brings back goes on counting.
func TestQuotaCounts(t *testing.T) {
	refused := 0
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 26))
		tr := New(Config{})
		zxid := int64(0)
		apply := func(txn Txn) *Result {
			zxid++
			res := new(Result)
			tr.Apply(zxid, &txn, res)
			tr.Publish(zxid)
			return res
		}
		create := func(path, data string) jute.Op {
			return jute.Op{Type: jute.OpCreate, Path: path, Data: []byte(data), ACL: jute.OpenACL(), Version: -1}
		}
		apply(Txn{Kind: KindCreateSession, Session: 1, Timeout: 1})
		for _, on := range []string{"/q", "/q/0"} {
			require.Equal(t, jute.CodeOK, apply(Txn{Kind: KindOp, Op: create("/zookeeper/quota"+on, "")}).Err)
			limits := fmt.Sprintf("count=3,bytes=-1=;byteHardLimit=40;countHardLimit=%d", 5+rng.IntN(5))
			apply(Txn{Kind: KindOp, Op: create("/zookeeper/quota"+on+"/zookeeper_limits", limits)})
			apply(Txn{Kind: KindOp, Op: create("/zookeeper/quota"+on+"/zookeeper_stats", "")})
		}
		require.Equal(t, jute.CodeOK, apply(Txn{Kind: KindOp, Op: create("/q", "")}).Err)
		op := func() jute.Op {
			path := []string{"", "q"}
			for range 1 + rng.IntN(2) {
				path = append(path, strconv.Itoa(rng.IntN(3)))
			}
			o := create(strings.Join(path, "/"), strings.Repeat("x", rng.IntN(9)))
			switch rng.IntN(4) {
			case 0:
				o.Type = jute.OpSetData
			case 1:
				o.Type = jute.OpDelete
			case 2:
				o.Flags = rng.Int32N(2)
			}
			return o
		}
		for range 400 {
			txn := Txn{Kind: KindOp, Op: op(), Session: 1, Features: FeatureEnforceQuota}
			switch rng.IntN(8) {
			case 0, 1:
				txn.Kind, txn.Ops = KindMulti, []jute.Op{op(), op(), op()}
			case 2:
				if txn.Kind = KindCloseSession; rng.IntN(3) > 0 {
					txn.Kind, txn.Timeout = KindCreateSession, 1
				}
			case 3:
				tr = load(t, encode(tr.Snapshot(), 1<<10))
			}
			if apply(txn).Err == jute.CodeQuotaExceeded {
				refused++
			}
			stats := func(on string) string {
				n, _ := tr.Lookup("/zookeeper/quota" + on + "/zookeeper_stats")
				return string(n.Data())
			}
			if n, _ := tr.Lookup("/q/0"); n.Exists() {
				require.Equal(t, counted(tr, "/q/0"), stats("/q/0"))
			}
			require.Equal(t, counted(tr, "/q", "/q/0"), stats("/q"))
		}
	}
	require.NotZero(t, refused)
}

// FuzzQuotaTrack: whatever a client writes there is read without harm, and what is written back reads the same.
func FuzzQuotaTrack(f *testing.F) {
	for _, s := range []string{"", "count=1,bytes=2", "count=5,bytes=3=;byteHardLimit=9;countHardLimit=7", "count=,bytes", "=;=,", "x=9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		track, ok := parseQuotaTrack(s)
		if !ok {
			return
		}
		again, ok := parseQuotaTrack(string(track.append(nil)))
		require.True(t, ok)
		for _, n := range track {
			require.Equal(t, n.value, again.of(n.name), n.name)
		}
	})
}
