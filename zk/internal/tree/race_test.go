package tree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// history is what was published: the model at each zxid.
type history struct {
	mu sync.Mutex
	at map[int64]*model
}

func (h *history) put(z int64, m *model) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[z] = m
}

func (h *history) get(z int64) *model {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[z]
}

// TestReadersDuringApplies reads without any lock while the tree moves on: what a read finds is the model's at the zxid that it
// names (P6), zxids never go back, and snapshots encoded meanwhile are exact.
func TestReadersDuringApplies(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { raceReaders(t, seed) })
	}
}

func raceReaders(t *testing.T, seed uint64) {
	const txns = 1000
	m, tr := newModel(), New(Config{})
	h := &history{at: map[int64]*model{0: m.clone()}}
	var done atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	for i := range uint64(3) {
		wg.Go(func() {
			g := &generator{rng: rand.New(rand.NewPCG(seed, 100+i)), wide: seed%2 == 1}
			last := int64(0)
			for !done.Load() || reads.Load() < 1000 {
				z, err := oneRead(g, tr, h)
				if err == nil && z < last {
					err = fmt.Errorf("zxid %d after %d", z, last)
				}
				if err != nil {
					t.Error(err)
					return
				}
				last = z
				reads.Add(1)
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	g := &generator{rng: rng, wide: seed%2 == 1}
	var res Result
	for z := int64(1); z <= txns && !t.Failed(); z++ {
		txn := g.txn()
		m.apply(z, txn)
		tr.Apply(z, txn, &res)
		if rng.IntN(8) == 0 || z == txns {
			h.put(z, m.clone())
			tr.Publish(z)
		}
		if rng.IntN(100) == 0 {
			snap, then := tr.Snapshot(), m.clone()
			wg.Go(func() {
				defer snap.Close()
				again := load(t, encode(snap, 1))
				compare(t, then, again)
			})
		}
	}
	done.Store(true)
	wg.Wait()
	for tr.Sweep(1000) {
	}
	tr.Sweep(0)
	checkSwept(t, tr)
}

// oneRead reads something and compares it with the model at the zxid of the read.
func oneRead(g *generator, tr *Tree, h *history) (int64, error) {
	p := g.path()
	switch g.rng.IntN(8) {
	case 0:
		id := g.rng.Int64N(6)
		paths, z := tr.Ephemerals(id, "")
		m := h.get(z)
		want := 0
		for q, n := range m.nodes {
			if n.kind == "ephemeral" && n.stat.EphemeralOwner == id {
				if want++; !slices.Contains(paths, q) {
					return z, fmt.Errorf("at %d session %d lacks %q", z, id, q)
				}
			}
		}
		if want != len(paths) {
			return z, fmt.Errorf("at %d session %d has %q", z, id, paths)
		}
		return z, nil
	case 1:
		n, z, _ := tr.CountDescendants("/")
		if want := len(h.get(z).nodes) - 1; n != want {
			return z, fmt.Errorf("at %d: %d znodes below /, not %d", z, want, n)
		}
		return z, nil
	}
	n, z := tr.Lookup(p)
	m := h.get(z)
	if p == "" {
		p = "/"
	}
	want, there := m.nodes[p]
	switch {
	case n.Exists() != there:
		return z, fmt.Errorf("at %d %q exists: %v", z, p, n.Exists())
	case !there:
		return z, nil
	case n.Stat() != m.stat(p):
		return z, fmt.Errorf("at %d %q is %+v, not %+v", z, p, n.Stat(), m.stat(p))
	case string(n.Data()) != string(want.data) || (n.Data() == nil) != (want.data == nil):
		return z, fmt.Errorf("at %d %q holds %q, not %q", z, p, n.Data(), want.data)
	case !slices.Equal(n.AppendChildren(nil), m.children(p)):
		return z, fmt.Errorf("at %d %q has children %q", z, p, n.AppendChildren(nil))
	}
	return z, nil
}

// TestHotZnode: a reader that is overtaken by publications, and by the sweeping of what it was about to read, reads again.
func TestHotZnode(t *testing.T) {
	tr, paths := grown(t, 1)
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				if n, z := tr.Lookup(paths[0]); !n.Exists() || n.Mzxid() > z {
					t.Errorf("at %d: %v", z, n)
					return
				}
			}
		})
	}
	set := Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpSetData, Path: paths[0], Version: -1}}
	var res Result
	for range 200_000 {
		z := tr.Applied() + 1
		tr.Apply(z, &set, &res)
		tr.Publish(z)
	}
	done.Store(true)
	wg.Wait()
}

// TestSweptVersionIsNotSure: past a version that is gone, one that a snapshot pins can be found; a reader must not believe it.
func TestSweptVersionIsNotSure(t *testing.T) {
	tr, paths := grown(t, 1)
	set := Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpSetData, Path: paths[0], Version: -1}}
	var res Result
	apply := func() int64 {
		z := tr.Applied() + 1
		tr.Apply(z, &set, &res)
		return z
	}
	first := tr.Published()
	snap := tr.Snapshot()
	second := apply()
	tr.Publish(second)
	third := apply()
	e := tr.table.find(paths[0])
	v, sure := e.at(second) // below the newest: believed if second is still published afterwards
	require.Equal(t, second, v.zxid)
	require.False(t, sure)
	tr.Publish(third)
	for tr.Sweep(10) {
	}
	v, sure = e.at(second)
	require.LessOrEqual(t, v.zxid, first)
	require.False(t, sure)
	v, sure = e.at(third)
	require.Equal(t, third, v.zxid)
	require.True(t, sure)
	v, _ = e.at(snap.Zxid())
	require.LessOrEqual(t, v.zxid, first)
	snap.Close()
}

// TestTableUnderReaders: entries that stay are found while others come and go and the table grows.
func TestTableUnderReaders(t *testing.T) {
	tr := New(Config{})
	var stay []string
	for i := range 200 {
		e := tr.newEntry(fmt.Sprint("/stay", i))
		tr.table.insert(e)
		stay = append(stay, e.path)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				for _, p := range stay {
					if e := tr.table.find(p); e == nil || e.path != p {
						t.Errorf("%q lost", p)
						return
					}
				}
			}
		})
	}
	var batch []*entry
	for i := range 50_000 {
		e := tr.newEntry(fmt.Sprint("/go", i))
		tr.table.insert(e)
		batch = append(batch, e)
		if len(batch) == 1000 {
			for _, e := range batch[:900] {
				tr.table.remove(e)
			}
			batch = batch[:0]
		}
	}
	done.Store(true)
	wg.Wait()
	require.Equal(t, 7+200+5000, tr.table.live)
}
