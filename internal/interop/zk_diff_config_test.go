package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// TestDiffConfig is TestDiff with reconfigurations: of a server alone and of
// three, where they are permitted and where not.
func TestDiffConfig(t *testing.T) {
	for _, c := range []struct {
		servers          int
		enabled          bool
		sequences, short int
	}{{3, true, 25, 6}, {1, false, 2, 0}, {1, true, 2, 0}, {3, false, 2, 0}} {
		t.Run(fmt.Sprintf("servers=%d,enabled=%v", c.servers, c.enabled), func(t *testing.T) {
			if testing.Short() && c.short == 0 {
				t.Skip("-short")
			}
			p := newDiffPair(generateConfigDiff, func() (ours, theirs *diffTarget) {
				theirs = startApaches39(t, c.servers, fmt.Sprintf("reconfigEnabled=%v\nstandaloneEnabled=true\n", c.enabled))
				ours = configOurs(t, c.servers, c.enabled)
				ours.nameAddresses(t)
				theirs.nameAddresses(t)
				ours.fixed, theirs.fixed = !c.enabled, !c.enabled
				return ours, theirs
			})
			if *diffScriptFile != "" {
				p.one(t)
				return
			}
			p.random(t, c.sequences, c.short)
			require.NotZero(t, p.sum.ops["reconfig"])
			p.report(t)
		})
	}
}

// configOurs starts servers of ours as a zoo.cfg with client addresses would.
func configOurs(t *testing.T, n int, enabled bool) *diffTarget {
	ports := freePorts(t, 3*n)
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	var specs []zk.ServerSpec
	for i := range n {
		specs = append(specs, zk.ServerSpec{ID: int64(i + 1), Peer: address(3 * i), Election: address(3*i + 1), Client: address(3*i + 2)})
	}
	tg := &diffTarget{name: "ours", super: true}
	var servers []*zk.Server
	for _, spec := range specs {
		cfg := diffConfig()
		cfg.ID, cfg.Servers, cfg.Bootstrap, cfg.ReconfigEnabled, cfg.Standalone = spec.ID, specs, true, enabled, true
		cfg.Clients = []zk.Endpoint{{Address: spec.Client}}
		s, err := zk.StartServer(testContext(t), cfg)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		servers = append(servers, s)
		tg.servers = append(tg.servers, spec.Client)
	}
	for _, s := range servers {
		require.NoError(t, s.Ready(testContext(t)))
	}
	return tg
}

// nameAddresses learns where the servers of a target are: addr1 and client1 stand
// for that in sequences.
func (tg *diffTarget) nameAddresses(t *testing.T) {
	ctx := testContext(t)
	c, err := zk.Connect(ctx, zk.ClientConfig{Servers: tg.servers})
	require.NoError(t, err)
	defer c.Close()
	var to, from []string
	data, _, err := c.Get(ctx, zk.ConfigPath)
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		var id int
		if _, err := fmt.Sscanf(line, "server.%d=", &id); err != nil {
			continue
		}
		_, spec, _ := strings.Cut(line, "=")
		peers, client, _ := strings.Cut(strings.TrimSpace(spec), ";")
		peers = strings.TrimSuffix(peers, ":participant")
		to = append(to, peers, fmt.Sprintf("addr%d", id), client, fmt.Sprintf("client%d", id))
		from = append(from, fmt.Sprintf("addr%d", id), peers, fmt.Sprintf("client%d", id), client)
	}
	tg.names, tg.addresses = strings.NewReplacer(to...), strings.NewReplacer(from...)
}

// generateConfigDiff draws reconfigurations of servers that are not there beside
// the three, and reads and watches of what came of them.
func generateConfigDiff(seed uint64, n int) []diffStep {
	g := &diffGen{rng: rand.New(rand.NewPCG(seed, 6)), slots: 3, open: true}
	super := quoted("super:secret")
	steps := []diffStep{
		{Op: "connect"},
		{Op: "auth", diffArgs: diffArgs{Scheme: "digest", Data: &super}},
		{Op: "reconfig", Conf: &diffConf{Members: new(diffMembers)}}, // what an earlier sequence left
		{Slot: 1, Op: "connect"},
		{Slot: 2, Op: "connect"},
	}
	for range n / 2 {
		st := diffStep{Op: pick(g, "reconfig", "reconfig", "reconfig", "getData", "exists", "addWatch", "setData", "delete", "create", "getACL")}
		st.Slot = g.rng.IntN(g.slots)
		st.Path, st.Watch, st.Version, st.ACL = zk.ConfigPath, g.chance(60), -1, diffOpen
		switch st.Op {
		case "reconfig":
			st = g.reconfig()
		case "setData", "delete":
			st.Slot = 1 + g.rng.IntN(2) // without permission
		case "create":
			st.Slot, st.Path = 1, zk.ConfigPath+"/x"
		}
		steps = append(steps, st)
	}
	return steps
}

const diffMembers = "server.1=addr1:participant;client1,server.2=addr2:participant;client2,server.3=addr3:participant;client3"

func (g *diffGen) reconfig() diffStep {
	c := &diffConf{}
	st := diffStep{Op: "reconfig", Conf: c, Rel: pick(g, "", "", "", "", "seen", "seen", "first", "future")}
	if g.chance(15) {
		st.Slot = 1 + g.rng.IntN(2) // without permission
	}
	if g.chance(30) {
		c.Members = new(pick(g, diffMembers, diffMembers+",server.4=127.0.0.1:1:2:observer;127.0.0.1:3",
			strings.ReplaceAll(diffMembers, ",", "\n")+"\nserver.5=127.0.0.1:5:6;127.0.0.1:7\nversion=77",
			"version=1", "", "nonsense", "server.1=addr1;client1",
			diffMembers+",server.4=127.0.0.1", diffMembers+",server.x=127.0.0.1:1:2", diffMembers+",peer.4=127.0.0.1:1:2",
			"# only\n"+diffMembers, diffMembers+",server.4=127.0.0.1:1:2:leader;3", diffMembers+",server.4=127.0.0.1:1:2"))
	}
	if g.chance(70) {
		c.Joining = new(pick(g, "server.4=127.0.0.1:1:2:observer;127.0.0.1:3", "server.4=127.0.0.1:1:2:observer;127.0.0.1:3",
			"server.5=127.0.0.1:5:6:observer;7", "server.4=127.0.0.1:1:2;127.0.0.1:3", "server.4=127.0.0.1:1:2:participant;3, server.5=127.0.0.1:5:6;7",
			"server.4=127.0.0.1:1:2", "server.4=127.0.0.1:1;3", "server.4", "server.x=127.0.0.1:1:2;3", "4=127.0.0.1:1:2:observer;3", "", ",,",
			"server.4=127.0.0.1:1:2:leader;3", "server.4=127.0.0.1:x:2;3", "server.4=127.0.0.1:1:2;x", "server.4=127.0.0.1:1:2;3;4",
			"server.4=127.0.0.1:1:2=;3", " server.4 = 127.0.0.1:1:2:observer;3", "server.4=127.0.0.1:1:99999;3", "server.4=127.0.0.1:1:2:OBSERVER;3"))
	}
	if g.chance(40) {
		c.Leaving = new(pick(g, "4", "5", "4,5", "9", "x", "", "4, 5", "-1", "4.0", "2,3", "1,2,3"))
	}
	return st
}
