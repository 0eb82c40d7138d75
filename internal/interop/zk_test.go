package interop

import "testing"

// TestClientOnApache runs zk.Client on one server of Apache ZooKeeper.
func TestClientOnApache(t *testing.T) {
	tg := startApache(t, 1)
	tg.run(t, clientFlows)
}
