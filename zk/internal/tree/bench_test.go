package tree

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// grown returns a tree with n znodes of 100 bytes, 100 to a parent, published, and their paths.
func grown(tb testing.TB, n int) (*Tree, []string) {
	tr := New(Config{})
	var res Result
	var paths []string
	zxid := int64(0)
	apply := func(txn *Txn) {
		zxid++
		tr.Apply(zxid, txn, &res)
		require.Zero(tb, res.Err)
	}
	apply(&Txn{Kind: KindCreateSession, Session: 1})
	for i := range n {
		if i%100 == 0 {
			apply(&Txn{Kind: KindOp, Session: 1, Op: jute.Op{Type: jute.OpCreate, Path: fmt.Sprintf("/dir%06d", i/100), ACL: jute.OpenACL()}})
		}
		p := fmt.Sprintf("/dir%06d/node%06d", i/100, i)
		apply(&Txn{Kind: KindOp, Session: 1, Op: jute.Op{Type: jute.OpCreate, Path: p, Data: make([]byte, 100), ACL: jute.OpenACL()}})
		paths = append(paths, p)
	}
	tr.Publish(zxid)
	for tr.Sweep(1 << 20) {
	}
	return tr, paths
}

const benchZnodes = 100_000

// pathOf writes the path of one of grown's znodes, picked by x, into b: requests bring their paths in warm buffers.
func pathOf(b *[22]byte, x uint64) string {
	i := (x >> 33) % benchZnodes
	copy(b[:], "/dir000000/node000000")
	for at, d := 20, i; d > 0; at, d = at-1, d/10 {
		b[at] += byte(d % 10)
	}
	for at, d := 9, i/100; d > 0; at, d = at-1, d/10 {
		b[at] += byte(d % 10)
	}
	return unsafe.String(&b[0], 21)
}

// BenchmarkApplySet sets random znodes out of 100,000, publishing after every batch.
func BenchmarkApplySet(b *testing.B) {
	for _, batch := range []int64{1, 64} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			tr, _ := grown(b, benchZnodes)
			txn := Txn{Kind: KindOp, Session: 1, Op: jute.Op{Type: jute.OpSetData, Data: make([]byte, 100), Version: -1}}
			var res Result
			var path [22]byte
			i, zxid := uint64(0), tr.Applied()
			b.ReportAllocs()
			for b.Loop() {
				i = i*6364136223846793005 + 1442695040888963407
				txn.Op.Path = pathOf(&path, i)
				zxid++
				tr.Apply(zxid, &txn, &res)
				if zxid%batch == 0 {
					tr.Publish(zxid)
				}
			}
		})
	}
}

// BenchmarkDecodeApplySet is the same from the log's bytes.
func BenchmarkDecodeApplySet(b *testing.B) {
	tr, paths := grown(b, benchZnodes)
	txn := Txn{
		Kind: KindOp, Session: 1, Auth: []jute.ID{{Scheme: "ip", ID: "127.0.0.1"}},
		Op: jute.Op{Type: jute.OpSetData, Data: make([]byte, 100), Version: -1},
	}
	var log [][]byte
	for i := range 4096 {
		txn.Op.Path = paths[i*7919%len(paths)]
		log = append(log, AppendTxn(nil, &txn))
	}
	var res Result
	i, zxid := 0, tr.Applied()
	b.ReportAllocs()
	for b.Loop() {
		i++
		if err := DecodeTxn(log[i%len(log)], &txn); err != nil {
			b.Fatal(err)
		}
		zxid++
		tr.Apply(zxid, &txn, &res)
		tr.Publish(zxid)
	}
}

func BenchmarkApplySetHot(b *testing.B) {
	tr, paths := grown(b, 100)
	txn := Txn{Kind: KindOp, Session: 1, Op: jute.Op{Type: jute.OpSetData, Path: paths[0], Data: make([]byte, 100), Version: -1}}
	var res Result
	zxid := tr.Applied()
	b.ReportAllocs()
	for b.Loop() {
		zxid++
		tr.Apply(zxid, &txn, &res)
		tr.Publish(zxid)
	}
}

// BenchmarkLookup reads random znodes out of 100,000; its floor is the same on a Go map of pointers.
func BenchmarkLookup(b *testing.B) {
	tr, _ := grown(b, benchZnodes)
	var path [22]byte
	i, sum := uint64(0), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		i = i*6364136223846793005 + 1442695040888963407
		n, _ := tr.Lookup(pathOf(&path, i))
		sum += n.Stat().Mzxid
	}
	require.Positive(b, sum)
}

func BenchmarkFloorMap(b *testing.B) {
	tr, paths := grown(b, benchZnodes)
	m := map[string]*version{}
	for _, p := range paths {
		m[strings.Clone(p)] = &version{znode: tr.table.find(p).head.Load().znode}
	}
	var path [22]byte
	i, sum := uint64(0), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		i = i*6364136223846793005 + 1442695040888963407
		sum += m[pathOf(&path, i)].stat().Mzxid
	}
	require.Positive(b, sum)
}

// BenchmarkCreateDelete creates and deletes one child of a parent that has so many others.
func BenchmarkCreateDelete(b *testing.B) {
	for _, siblings := range []int{0, 20, 1000, 100_000} {
		b.Run(fmt.Sprint("siblings=", siblings), func(b *testing.B) {
			tr := New(Config{})
			var res Result
			zxid := int64(0)
			apply := func(txn *Txn) {
				zxid++
				tr.Apply(zxid, txn, &res)
				if res.Err != 0 {
					b.Fatal(res.Err)
				}
				tr.Publish(zxid)
			}
			for i := range siblings {
				apply(&Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpCreate, Path: fmt.Sprintf("/s%06d", i), ACL: jute.OpenACL()}})
			}
			create := Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpCreate, Path: "/s050000x", ACL: jute.OpenACL()}}
			remove := Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpDelete, Path: "/s050000x", Version: -1}}
			b.ReportAllocs()
			for b.Loop() {
				apply(&create)
				apply(&remove)
			}
		})
	}
}

func BenchmarkMulti(b *testing.B) {
	tr, paths := grown(b, benchZnodes)
	txn := Txn{Kind: KindMulti, Session: 1}
	for i := range 4 {
		txn.Ops = append(txn.Ops, jute.Op{Type: jute.OpSetData, Path: paths[i*1000], Data: make([]byte, 100), Version: -1})
	}
	var res Result
	zxid := tr.Applied()
	b.ReportAllocs()
	for b.Loop() {
		zxid++
		tr.Apply(zxid, &txn, &res)
		tr.Publish(zxid)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	tr, _ := grown(b, benchZnodes)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		s := tr.Snapshot()
		size := 0
		for more := true; more; {
			buf, more = s.Append(buf[:0], 64<<10)
			size += len(buf)
		}
		s.Close()
		b.SetBytes(int64(size))
	}
}

func BenchmarkLoad(b *testing.B) {
	tr, _ := grown(b, benchZnodes)
	snap := encode(tr.Snapshot(), 64<<10)
	b.SetBytes(int64(len(snap)))
	b.ReportAllocs()
	for b.Loop() {
		load(b, snap)
	}
}
