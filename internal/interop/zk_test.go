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
	onOurs(t, func(t *testing.T, tg *target) {
		tg.run(t, clientFlows)
		tg.run(t, watchFlows)
		if len(tg.servers) > 1 {
			tg.run(t, failoverFlows)
		}
	})
}

// TestGoZookeeperOnApache shows that the flows of go-zookeeper are right.
func TestGoZookeeperOnApache(t *testing.T) {
	startApache(t, 1).run(t, goClientFlows)
}

// TestGoZookeeperOnOurs runs go-zookeeper on our servers.
func TestGoZookeeperOnOurs(t *testing.T) {
	onOurs(t, func(t *testing.T, tg *target) { tg.run(t, goClientFlows) })
}

// onOurs tells a story to ensembles of ours: three servers in memory, three over
// TCP, and one.
func onOurs(t *testing.T, tell func(t *testing.T, tg *target)) {
	t.Run("memory", func(t *testing.T) { tell(t, startOurs(t, 3, true)) })
	t.Run("tcp", func(t *testing.T) { tell(t, startOurs(t, 3, false)) })
	t.Run("one", func(t *testing.T) { tell(t, startOurs(t, 1, true)) })
}
