package watch

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

var kindNames = map[string]Kind{"data": Data, "exist": Exist, "child": Child, "persistent": Persistent, "recursive": PersistentRecursive}

var typeNames = map[string]int32{
	"child": jute.WatcherChildren, "data": jute.WatcherData, "any": jute.WatcherAny, "persistent": jute.WatcherPersistent,
	"recursive": jute.WatcherPersistentRecursive, "unknown": 9,
}

// TestScripts runs the stories of testdata: each line below "do" is add KIND PATH ID, create|delete|set PATH, which trigger what the
// tree's events would, remove|contains TYPE PATH ID, gone ID, stats, paths, watchers, or missed KIND EXISTS MZXID PZXID REL.
func TestScripts(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		tb := New[int]()
		script.Run(t, file, func(t *testing.T, c *script.Cmd) string {
			var out strings.Builder
			for line := range strings.SplitSeq(c.Input, "\n") {
				if answer := runLine(t, tb, strings.Fields(line)); answer != "" {
					fmt.Fprintf(&out, "%s: %s\n", line, answer)
				}
			}
			return out.String()
		})
	})
}

func parentOf(p string) string {
	if i := strings.LastIndex(p, "/"); i > 0 {
		return p[:i]
	}
	return "/"
}

func runLine(t *testing.T, tb *Table[int], f []string) string {
	num := func(i int) (n int) {
		_, err := fmt.Sscan(f[i], &n)
		require.NoError(t, err)
		return n
	}
	switch f[0] {
	case "add":
		if !tb.Add(f[2], kindNames[f[1]], num(3)) {
			return "known"
		}
		return ""
	case "create", "delete", "set":
		own := map[string]jute.EventType{"create": jute.EventCreated, "delete": jute.EventDeleted, "set": jute.EventDataChanged}[f[0]]
		heard := fmt.Sprintf("%v", tb.Trigger(nil, own, f[1]))
		if f[0] != "set" {
			heard += fmt.Sprintf(" children %v", tb.Trigger(nil, jute.EventChildrenChanged, parentOf(f[1])))
		}
		return heard
	case "remove":
		return fmt.Sprint(tb.Remove(f[2], typeNames[f[1]], num(3)))
	case "contains":
		return fmt.Sprint(tb.Contains(f[2], typeNames[f[1]], num(3)))
	case "gone":
		tb.RemoveAll(num(1))
		return ""
	case "stats":
		return fmt.Sprintf("%+v", tb.Stats())
	case "paths":
		var out []string
		tb.ByPath(func(p string, ids []int) { out = append(out, fmt.Sprint(p, ids)) })
		return strings.Join(out, " ")
	case "watchers":
		var out []string
		tb.ByWatcher(func(id int, paths []string) { out = append(out, fmt.Sprint(id, paths)) })
		return strings.Join(out, " ")
	case "missed":
		typ, missed := Missed(kindNames[f[1]], f[2] == "there", int64(num(3)), int64(num(4)), int64(num(5)))
		return fmt.Sprint(typ, missed)
	}
	require.Fail(t, "command "+f[0])
	return ""
}

// plain is the table as simply as it can be said.
type plain map[armed]bool

type armed struct {
	path string
	id   int
	kind Kind
}

func (m plain) trigger(typ jute.EventType, p string) []int {
	var heard []int
	child := typ == jute.EventChildrenChanged
	for w := range m {
		here := w.path == p
		above := here || w.path == "/" || strings.HasPrefix(p, w.path+"/")
		once := w.kind == Data && here && !child || w.kind == Child && here && (child || typ == jute.EventDeleted)
		if once {
			delete(m, w)
		}
		if once || w.kind == Persistent && here || w.kind == PersistentRecursive && above && !child {
			heard = append(heard, w.id)
		}
	}
	slices.Sort(heard)
	return slices.Compact(heard)
}

// check compares the counts of the table with those of the set.
func (m plain) check(t *testing.T, tb *Table[int]) {
	byPath, recursive := map[string]map[int]bool{}, 0
	for w := range m {
		if byPath[w.path] == nil {
			byPath[w.path] = map[int]bool{}
		}
		byPath[w.path][w.id] = true
		if w.kind == PersistentRecursive {
			recursive++
		}
	}
	require.Equal(t, len(byPath), tb.Stats().Paths)
	require.Equal(t, recursive, tb.recursive)
	pairs, watched := 0, 0
	for p, ids := range byPath {
		require.Len(t, tb.paths[p], len(ids))
		pairs += len(ids)
	}
	for id := range 5 {
		watched += tb.Len(id)
	}
	require.Equal(t, pairs, watched)
}

var kindsOfType = map[int32][]Kind{
	1: {Child}, 2: {Data}, 3: {Data, Child, Persistent, PersistentRecursive}, 4: {Persistent}, 5: {PersistentRecursive},
}

// TestModel compares the table with a plain set of watches on random histories.
func TestModel(t *testing.T) {
	paths := []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/d"}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tb, m := New[int](), plain{}
		for range 400 {
			p, id := paths[rng.IntN(len(paths))], rng.IntN(5)
			switch rng.IntN(10) {
			case 0, 1, 2, 3:
				kind := Kind(1 + rng.IntN(5))
				w := armed{p, id, kind}
				if kind == Exist {
					w.kind = Data
				}
				require.Equal(t, !m[w], tb.Add(p, kind, id))
				m[w] = true
			case 4, 5, 6, 7:
				typ := jute.EventType(1 + rng.IntN(4))
				require.Equal(t, append([]int{99}, m.trigger(typ, p)...), tb.Trigger([]int{99}, typ, p), "%v %s", typ, p)
			case 8:
				typ := int32(1 + rng.IntN(6))
				kinds := kindsOfType[typ]
				there := slices.ContainsFunc(kinds, func(k Kind) bool { return m[armed{p, id, k}] })
				require.Equal(t, there, tb.Contains(p, typ, id))
				require.Equal(t, len(kinds) > 0, ValidWatcherType(typ))
				if rng.IntN(2) == 0 {
					maps.DeleteFunc(m, func(w armed, _ bool) bool { return w.path == p && w.id == id && slices.Contains(kinds, w.kind) })
					require.Equal(t, there, tb.Remove(p, typ, id))
				}
			case 9:
				if rng.IntN(4) == 0 {
					maps.DeleteFunc(m, func(w armed, _ bool) bool { return w.id == id })
					tb.RemoveAll(id)
				}
			}
			m.check(t, tb)
		}
	}
}

func TestUnknownKindsAndEvents(t *testing.T) {
	tb := New[int]()
	require.False(t, tb.Add("/a", 0, 1))
	require.True(t, tb.Add("/a", Persistent, 1))
	require.Empty(t, tb.Trigger(nil, jute.EventNone, "/a"))
	require.Empty(t, tb.Trigger(nil, jute.EventPersistentWatchRemoved, "/a"))
}

func BenchmarkTriggerUnwatched(b *testing.B) {
	tb := New[int]()
	for i := range 10_000 {
		tb.Add(fmt.Sprint("/other", i), Data, i)
	}
	var dst []int
	b.ReportAllocs()
	for b.Loop() {
		dst = tb.Trigger(dst[:0], jute.EventDataChanged, "/some/path/of/a/znode")
	}
}

func BenchmarkTriggerRecursive(b *testing.B) {
	tb := New[int]()
	tb.Add("/some", PersistentRecursive, 1)
	var dst []int
	b.ReportAllocs()
	for b.Loop() {
		dst = tb.Trigger(dst[:0], jute.EventDataChanged, "/some/path/of/a/znode")
	}
}

// BenchmarkAddTrigger arms and spends 1,000 one-shot watches of one path.
func BenchmarkAddTrigger(b *testing.B) {
	tb := New[int]()
	var dst []int
	b.ReportAllocs()
	for b.Loop() {
		for id := range 1000 {
			tb.Add("/a", Data, id)
		}
		dst = tb.Trigger(dst[:0], jute.EventDataChanged, "/a")
	}
}

// A watch set by getData fires once.
func Example() {
	tb := New[int64]()
	tb.Add("/config", Data, 7)
	fmt.Println(tb.Trigger(nil, jute.EventDataChanged, "/config"))
	fmt.Println(tb.Trigger(nil, jute.EventDataChanged, "/config"))
	// Output:
	// [7]
	// []
}

// The paths of events and of removals are views of buffers that are written over.
func TestPathsAreNotKept(t *testing.T) {
	for name, take := range map[string]func(w *Table[int64], path string){
		"removed":   func(w *Table[int64], path string) { require.True(t, w.Remove(path, jute.WatcherAny, 1)) },
		"triggered": func(w *Table[int64], path string) { w.Trigger(nil, jute.EventDataChanged, path) },
	} {
		t.Run(name, func(t *testing.T) {
			w := New[int64]()
			w.Add("/a", Data, 1)
			w.Add("/a", Persistent, 2)
			buf := []byte("/a")
			take(w, unsafe.String(&buf[0], len(buf)))
			copy(buf, "zz")
			require.True(t, w.Contains("/a", jute.WatcherPersistent, 2))
			require.Equal(t, []int64{2}, w.Trigger(nil, jute.EventDeleted, "/a"))
			w.RemoveAll(2)
			require.Zero(t, w.Stats())
		})
	}
}
