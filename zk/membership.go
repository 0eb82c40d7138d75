package zk

// Membership is a configuration of an ensemble: who belongs to it, and whose
// word counts. It is what the znode /zookeeper/config holds.
type Membership struct {
	Servers []ServerSpec
	Version int64 // the zxid of the reconfiguration that made it; 0: it has never been agreed upon
}
