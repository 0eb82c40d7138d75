package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

const diffQuotas = "/zookeeper/quota"

// TestDiffQuota is TestDiff with quotas on the znodes that sequences write, set as
// zkCli's setquota and delquota do and in other orders. Enforced, writes are
// refused; else they are counted.
func TestDiffQuota(t *testing.T) {
	for _, enforced := range []bool{true, false} {
		t.Run(fmt.Sprintf("enforced=%v", enforced), func(t *testing.T) {
			if testing.Short() && !enforced {
				t.Skip("-short")
			}
			generate := func(seed uint64, n int) []diffStep { return generateQuotaDiff(seed, n, enforced) }
			p := newDiffPair(generate, func() (ours, theirs *diffTarget) {
				edit := func(c *zk.Config) { c.EnforceQuota = enforced }
				return diffOurs(t, 1, edit), startApache39(t, fmt.Sprintf("-Dzookeeper.enforceQuota=%v", enforced))
			})
			p.random(t, 60, 20)
			p.report(t)
			require.NotZero(t, p.sum.events)
		})
	}
}

// generateQuotaDiff draws a sequence in which a third of the steps is about quotas.
// Where quotas are enforced nothing is in a pipe and a multi has one operation: the
// counts that decide there are those before the pipe and before the multi (rule
// quotaInMulti).
func generateQuotaDiff(seed uint64, n int, enforced bool) []diffStep {
	g := &diffGen{rng: rand.New(rand.NewPCG(seed, 5)), slots: 2, open: true}
	g.live = make([]bool, g.slots)
	steps := append(g.furnish(), g.setQuota()...)
	steps = append(steps, diffStep{Slot: 1, Op: "connect"})
	for range n {
		if g.chance(15) {
			steps = append(steps, g.setQuota()...)
			continue
		}
		st := g.quotaStep()
		if !g.chance(30) {
			for st = g.step(); !diffQuotaOps[st.Op] || !enforced && len(st.Ops) > 1 && st.Pipe; {
				st = g.step()
			}
		}
		if enforced {
			st.Pipe = false
			st.Ops = st.Ops[:min(len(st.Ops), 1)]
		}
		st.Slot = g.rng.IntN(g.slots)
		steps = append(steps, st)
	}
	return steps
}

// diffQuotaOps are the operations that quotas are about.
var diffQuotaOps = map[string]bool{
	"create": true, "create2": true, "createContainer": true, "createTTL": true, "delete": true, "setData": true, "multi": true,
	"getData": true, "addWatch": true, "exists": true,
}

// setQuota is what setquota does: the znodes down to the quota, its limits, its
// counts.
func (g *diffGen) setQuota() (steps []diffStep) {
	path := quoted(diffQuotas)
	for part := range strings.SplitSeq(g.parent()[1:], "/") {
		path += "/" + quoted(part)
		steps = append(steps, diffStep{Op: "create", diffArgs: diffArgs{Path: path, ACL: diffOpen}})
	}
	zero := quoted("count=0,bytes=0")
	return append(steps,
		diffStep{Op: "create", diffArgs: diffArgs{Path: path + "/zookeeper_limits", Data: g.limits(), ACL: diffOpen}},
		diffStep{Op: "create", diffArgs: diffArgs{Path: path + "/zookeeper_stats", Data: &zero, ACL: diffOpen}})
}

// quotaStep changes, reads or removes one znode of a quota.
func (g *diffGen) quotaStep() diffStep {
	path := quoted(diffQuotas + g.parent())
	st := diffStep{Op: pick(g, "getData", "getData", "setData", "delete", "getChildren2", "exists", "create")}
	st.Path = path + pick(g, quoted("/zookeeper_stats"), "/zookeeper_limits", "/zookeeper_limits", "")
	st.Watch = g.chance(30)
	switch st.Op {
	case "getData":
		st.Path = path + "/zookeeper_stats"
	case "create":
		st.Data, st.ACL = g.limits(), diffOpen
		if strings.HasSuffix(string(st.Path), "_stats") {
			zero := quoted("count=7,bytes=-1")
			st.Data = &zero
		}
	case "setData":
		st.Path, st.Data, st.Version = path+"/zookeeper_limits", g.limits(), -1
	case "delete":
		st.Version = -1
	}
	return st
}

// limits are as old and new releases write them. What does not parse is not sent:
// every write below ends the connection there, and is without a quota here.
func (g *diffGen) limits() *quoted {
	number := func() int { return pick(g, -1, 0, 1, 2, 3, 5, 10, 40, 1000) }
	text := quoted(fmt.Sprintf("count=%d,bytes=%d", number(), number()))
	if g.chance(80) {
		text += quoted(fmt.Sprintf("=;byteHardLimit=%d;countHardLimit=%d", pick(g, -1, number()*3), pick(g, -1, number())))
	}
	if g.chance(10) {
		text = pick(g, quoted("count=3"), "bytes=3", "countHardLimit=4", "byteHardLimit=30,count=2", "count=2,other=5")
	}
	return &text
}
