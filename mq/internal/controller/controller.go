package controller

import "github.com/vivarium-go/vivarium/mq/internal/layout"

// Controller decides for a cluster. Create it with New.
type Controller struct{}

// New returns a controller with an empty picture, which does not act.
func New(cfg Config) *Controller { return &Controller{} }

// Start lets it stand for election under this session: it wants to be the controller while there is none. Call it once the picture is complete
// (after the scan that follows registering) and again for each new session; nowMillis is written to /controller.
func (c *Controller) Start(session int64, nowMillis int64) {}

// Stop ends its reign and its candidature: the session has expired, or the broker shuts down. Requests under way are answered NotController.
func (c *Controller) Stop() {}

// Put shows a znode as it has been seen.
func (c *Controller) Put(n Node) {}

// Remove says that there is no such znode, as of zxid (0: now).
func (c *Controller) Remove(path string, zxid int64) {}

// Done reports the outcome of a write. versions are the data versions of the znodes that its OpSet operations wrote, in order; may be nil.
func (c *Controller) Done(id uint64, outcome layout.Outcome) {}

// ReadDone says that a path of Ready.Reads has been shown again or, if not ok, that it could not be read and is to be tried again.
func (c *Controller) ReadDone(path string, ok bool) {}

// Ready returns what the shell has to carry out; false: nothing.
func (c *Controller) Ready() (Ready, bool) { return Ready{}, false }

// Reign says whether this controller acts, and in which epoch.
func (c *Controller) Reign() Reign { return Reign{} }

// CreateTopic creates a topic. The reply comes when its znodes and the states of its partitions are written.
func (c *Controller) CreateTopic(token uint64, spec TopicSpec) {}

// CreatePartitions adds partitions until there are total; assignment, if not nil, is that of the new ones.
func (c *Controller) CreatePartitions(token uint64, topic string, total int, assignment [][]int32, validateOnly bool) {
}

// DeleteTopic deletes a topic. The reply comes when the deletion is certain; local data goes later.
func (c *Controller) DeleteTopic(token uint64, topic string) {}

// ElectLeader elects a partition's leader on request.
func (c *Controller) ElectLeader(token uint64, topic string, partition int32, how Election) {}

// ShutDown moves leadership and ISR membership away from a broker that is about to stop, whose life is incarnation. The reply says what it
// still leads; asked again, it tries again. A new registration of the broker ends it.
func (c *Controller) ShutDown(token uint64, broker int32, incarnation int64) {}

// Rebalance elects the preferred leader of every partition that has another one and could have it, as Kafka's
// auto.leader.rebalance does, on brokers that lead more than percent of theirs in others' stead.
func (c *Controller) Rebalance(percent int) {}
