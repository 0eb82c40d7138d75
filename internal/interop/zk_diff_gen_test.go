package interop

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
)

var diffOpen = []diffACL{{31, "world", "anyone"}}

var diffUsers = []string{"ann:secret", "bob:hidden"}

// diffDigest is the identity of somebody who shows user:password.
func diffDigest(who string) string {
	user, _, _ := strings.Cut(who, ":")
	sum := sha1.Sum([]byte(who))
	return user + ":" + base64.StdEncoding.EncodeToString(sum[:])
}

// diffGen draws sequences. Names are few, so that operations meet.
type diffGen struct {
	rng   *rand.Rand
	slots int
	live  []bool
	open  bool // everybody may do everything
}

// generateDiff draws a sequence of about n steps.
func generateDiff(seed uint64, n int) []diffStep {
	g := &diffGen{rng: rand.New(rand.NewPCG(seed, 4)), slots: 3}
	g.live, g.open = make([]bool, g.slots), g.chance(50)
	var steps []diffStep
	if g.chance(80) {
		steps = g.furnish()
	}
	for range n {
		slot := g.rng.IntN(g.slots)
		if !g.live[slot] {
			g.live[slot] = true
			steps = append(steps, diffStep{Slot: slot, Op: "connect"})
		}
		st := g.step()
		st.Slot = slot
		steps = append(steps, st)
		switch st.Op {
		case "close":
			g.live[slot] = false
			if g.chance(10) {
				steps = append(steps, diffStep{Slot: slot, Op: "attach"})
			}
		case "raw", "cut":
			if g.chance(15) {
				steps = append(steps, diffStep{Slot: slot, Op: "attachBad"})
			}
			steps = append(steps, diffStep{Slot: slot, Op: "attach"})
			if g.open && g.chance(70) { // else rule setWatchesNeedsRead
				w := g.setWatches()
				w.Slot = slot
				steps = append(steps, w)
			}
		}
	}
	return steps
}

// furnish makes znodes for the others to meet at.
func (g *diffGen) furnish() []diffStep {
	g.live[0] = true
	steps := []diffStep{{Op: "connect"}}
	for _, path := range []quoted{"/a", "/b", "/a/a", "/a/b", "/a/a/a"} {
		steps = append(steps, diffStep{Op: "create", diffArgs: diffArgs{Path: diffRootMark + path, ACL: g.acl()}})
	}
	return steps
}

func (g *diffGen) chance(percent int) bool { return g.rng.IntN(100) < percent }

func pick[T any](g *diffGen, of ...T) T { return of[g.rng.IntN(len(of))] }

// diffWeights are how often operations come.
var diffWeights = []struct {
	op     string
	weight int
}{
	{"create", 14},
	{"create2", 8},
	{"createContainer", 3},
	{"createTTL", 4},
	{"delete", 10},
	{"exists", 9},
	{"getData", 9},
	{"setData", 14},
	{"getACL", 4},
	{"setACL", 5},
	{"getChildren", 5},
	{"getChildren2", 4},
	{"getAllChildrenNumber", 2},
	{"getEphemerals", 2},
	{"check", 1},
	{"multi", 12},
	{"multiRead", 4},
	{"sync", 2},
	{"ping", 1},
	{"auth", 4},
	{"setWatches", 2},
	{"addWatch", 7},
	{"checkWatches", 2},
	{"removeWatches", 4},
	{"whoAmI", 1},
	{"close", 2},
	{"cut", 2},
	{"attach", 1},
	{"raw", 1},
}

var diffWeightSum = func() (sum int) {
	for _, w := range diffWeights {
		sum += w.weight
	}
	return sum
}()

func (g *diffGen) op() string {
	n := g.rng.IntN(diffWeightSum)
	for _, w := range diffWeights {
		if n -= w.weight; n < 0 {
			return w.op
		}
	}
	panic("unreachable")
}

func (g *diffGen) step() diffStep {
	st := diffStep{Op: g.op()}
	switch st.Op {
	case "multi", "multiRead":
		g.multi(&st)
	case "setWatches":
		if !g.open {
			return diffStep{Op: "sync", diffArgs: diffArgs{Path: "/"}}
		}
		return g.setWatches()
	case "check":
		if !g.chance(10) { // it ends the connection
			st.Op = "exists"
		}
		g.args(st.Op, &st.diffArgs)
	case "raw":
		st.Code = pick[int32](g, 4711, -1, 0, 10, 108, 23)
		st.Extra = pick(g, quoted(""), "\x00\x00\x00\x01", "garbage")
	default:
		g.args(st.Op, &st.diffArgs)
	}
	switch st.Op {
	case "cut", "attach", "close", "raw", "auth", "ping", "check":
	default:
		if g.chance(2) {
			st.Chop = 1 + g.rng.IntN(6)
		} else if g.chance(2) {
			st.Extra = pick(g, quoted("\x00"), "more")
		}
		st.Pipe = g.chance(15)
	}
	return st
}

func (g *diffGen) args(op string, a *diffArgs) {
	a.Path = quoted(g.path())
	switch op {
	case "create", "create2", "createContainer", "createTTL":
		a.Data, a.ACL = g.data(), g.acl()
		a.NoACL = len(a.ACL) == 0 && g.chance(50)
		a.Flags = g.flags(op)
		if a.TTL = 3_600_000; op == "createTTL" && g.chance(20) {
			a.TTL = pick[int64](g, 0, -1, 1<<40-1, 1<<40, 1<<62, 100_000)
		}
		if a.Flags != 5 && a.Flags != 6 && a.TTL == -1 {
			a.TTL = 0 // the end of Apache's process
		}
		if g.chance(15) {
			a.Path = quoted(g.parent() + pick(g, "/s-", "/", "/s"))
			a.Flags = a.Flags&4 | 2
			if a.Flags == 2 {
				a.Flags += pick[int32](g, 0, 1)
				a.TTL = max(a.TTL, 0)
			}
		}
	case "delete", "check", "setACL":
		a.Version = g.version()
		if a.ACL = nil; op == "setACL" {
			a.ACL = g.acl()
			if strings.HasPrefix(string(a.Path), "/zookeeper") || len(a.Path) < 2 {
				a.Path = diffRootMark + "/a"
			}
		}
	case "setData":
		a.Data, a.Version = g.data(), g.version()
		if strings.HasPrefix(string(a.Path), "/zookeeper") {
			a.Path = diffRootMark + "/b"
		}
	case "exists", "getData", "getChildren", "getChildren2":
		a.Watch = g.chance(70)
	case "addWatch":
		a.Flags = pick[int32](g, 0, 1, 0, 1, 0, 1, 2, -1)
	case "checkWatches", "removeWatches":
		a.Flags = pick[int32](g, 1, 2, 3, 1, 2, 3, 4, 5, 0, 6, 9)
	case "auth":
		a.Path, a.Scheme = "", "digest"
		who := quoted(pick(g, diffUsers...))
		if g.chance(20) {
			a.Scheme = pick(g, quoted("ip"), "world", "palm", "digest", "auth", "super", "")
			who = pick(g, quoted("nocolon"), "", ":", "a:b:c", "127.0.0.1", "super:wrong")
		}
		a.Data = &who
	case "getEphemerals":
		a.Path = pick(g, quoted(diffRootMark), diffRootMark+"/", diffRootMark+"/a", diffRootMark+"/a/b", "/", "")
	case "whoAmI", "ping", "close":
		a.Path = ""
	}
}

func (g *diffGen) flags(op string) int32 {
	if g.chance(5) {
		return pick[int32](g, 4, 5, 6, 7, -1, 8, 0x7fffffff)
	}
	switch op {
	case "createContainer":
		return pick[int32](g, 4, 4, 4, 0, 2)
	case "createTTL":
		return pick[int32](g, 5, 5, 6, 0, 1)
	}
	return pick[int32](g, 0, 0, 0, 0, 0, 1, 1, 2, 3)
}

func (g *diffGen) version() int32 {
	return pick[int32](g, -1, -1, -1, -1, -1, 0, 0, 1, 2, 3, -2, 0x7fffffff, -0x80000000)
}

func (g *diffGen) data() *quoted {
	d := pick(g, quoted(""), "x", "more data", "\x00\xff", quoted(strings.Repeat("z", 30)), "null")
	if d == "null" {
		return nil
	}
	return &d
}

// acl draws access control lists, of which one in six is wrong.
func (g *diffGen) acl() []diffACL {
	if g.open || !g.chance(40) {
		return diffOpen
	}
	ann, bob := quoted(diffDigest(diffUsers[0])), quoted(diffDigest(diffUsers[1]))
	good := []diffACL{
		{31, "digest", ann},
		{31, "digest", bob},
		{int32(g.rng.IntN(32)), "digest", ann},
		{int32(g.rng.IntN(32)), "world", "anyone"},
		{31, "ip", "127.0.0.1"},
		{31, "ip", "127.0.0.0/8"},
		{31, "ip", "10.1.2.3"},
		{31, "auth", ""},
		{1, "auth", "whatever"},
		{0, "world", "anyone"},
		{-1, "world", "anyone"},
		{1 << 20, "world", "anyone"},
	}
	bad := []diffACL{
		{31, "world", "nobody"},
		{31, "palm", "x"},
		{31, "", ""},
		{31, "ip", "1.2.3"},
		{31, "ip", "127.0.0.1/33"},
		{31, "ip", "::1"},
		{31, "digest", "nocolon"},
		{31, "digest", "a:b:c"},
		{31, "digest", ""},
		{31, "super", "x"},
		{31, "sasl", "x"},
	}
	if g.chance(5) {
		return nil
	}
	out := []diffACL{pick(g, good...)}
	for g.chance(30) {
		out = append(out, pick(g, good...))
	}
	if g.chance(15) {
		out = append(out, pick(g, bad...))
	}
	return out
}

// parent is a znode that is often there.
func (g *diffGen) parent() string {
	var p strings.Builder
	p.WriteString(diffRootMark)
	for range pick(g, 0, 0, 0, 1, 1, 2) {
		p.WriteString("/" + pick(g, "a", "a", "b", "c"))
	}
	return p.String()
}

func (g *diffGen) path() string {
	if g.chance(7) {
		return g.oddPath()
	}
	if g.chance(8) {
		return fmt.Sprintf("%s/s-%010d", g.parent(), g.rng.IntN(4))
	}
	return g.parent() + "/" + pick(g, "a", "a", "b", "c")
}

func (g *diffGen) oddPath() string {
	r := diffRootMark
	return pick(g, "", "/", "//", "x", r, r+"/", r+"/a/", r+"//a", r+"/./a", r+"/..", r+"/.", r+"/a/../b", r+"/...", r+"/a/.x",
		"/zookeeper", "/zookeeper/quota", "/zookeeper/none", "/zookeeper/", "/zookeeperx",
		r+"/\x00", r+"/a\x00b", r+"/\x01", r+"/\x1f", r+"/\x7f", r+"/\u0080", r+"/\u009f", r+"/\u00a0", r+"/é", r+"/日本",
		r+"/\ue000", r+"/\uf8ff", r+"/\uf900", r+"/\uffef", r+"/\ufff0", r+"/\uffff", r+"/\ufffd", r+"/😀", r+"/ ", r+"/a b", r+"/\t",
		r+"/\xff", r+"/\xc3", r+"/"+strings.Repeat("l", 300))
}

func (g *diffGen) multi(st *diffStep) {
	for range pick(g, 0, 1, 1, 2, 2, 3, 3, 4, 6) {
		op := pick(g, "create", "create", "create2", "delete", "setData", "check", "createContainer", "createTTL")
		if st.Op == "multiRead" {
			op = pick(g, "getData", "getChildren")
		}
		if g.chance(2) {
			op = pick(g, "getData", "exists", "setACL", "getChildren", "sync", "delete", "getChildren2")
		}
		o := diffOp{Op: op}
		g.args(op, &o.diffArgs)
		o.Watch, o.NoACL = false, false
		if op == "check" || op == "setData" || op == "delete" {
			o.Version = pick[int32](g, -1, -1, -1, -1, 0, 0, 1, 7)
		}
		st.Ops = append(st.Ops, o)
	}
}

func (g *diffGen) setWatches() diffStep {
	st := diffStep{Op: pick(g, "setWatches", "setWatches2"), Rel: pick(g, "", "seen", "seen", "first", "future")}
	lists := 3
	if st.Op == "setWatches2" {
		lists = 5
	}
	for i := range lists {
		for range pick(g, 0, 0, 1, 2) {
			st.Lists[i] = append(st.Lists[i], quoted(g.path()))
		}
	}
	return st
}
