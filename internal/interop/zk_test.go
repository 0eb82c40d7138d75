package interop

import "testing"

// The same flows run against Apache ZooKeeper and against ours, over TCP and in
// memory: what passes on one must pass on the other.

// TestClientOnApache runs zk.Client on Apache ZooKeeper.
func TestClientOnApache(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		tg := startApache(t, 1)
		tg.run(t, clientFlows)
		tg.run(t, watchFlows)
	})
	t.Run("three", func(t *testing.T) { startApache(t, 3).run(t, failoverFlows) })
}

// TestClientOnOurs runs zk.Client on our servers.
func TestClientOnOurs(t *testing.T) {
	for _, memory := range []bool{true, false} {
		name := map[bool]string{true: "memory", false: "tcp"}[memory]
		t.Run(name, func(t *testing.T) {
			tg := startOurs(t, 3, memory)
			tg.run(t, clientFlows)
			tg.run(t, watchFlows)
			tg.run(t, failoverFlows)
		})
	}
	t.Run("one", func(t *testing.T) {
		tg := startOurs(t, 1, true)
		tg.run(t, clientFlows)
		tg.run(t, watchFlows)
	})
}
