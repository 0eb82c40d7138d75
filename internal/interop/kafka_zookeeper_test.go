package interop

import (
	"testing"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/zk"
)

// TestKafkaOnOursOnApacheZookeeper runs our brokers on Apache ZooKeeper, and kills one of each together: what was acknowledged is
// read back, in its place and once, by clients that go on all the time.
func TestKafkaOnOursOnApacheZookeeper(t *testing.T) {
	z := startApache(t, 3)
	tg := startOurKafka(t, 3, false, func(c *mq.ClusterConfig) { c.Zookeeper = zk.ClientConfig{Servers: z.servers} })
	tg.name = "ours on Apache ZooKeeper"
	tg.run(t, kafkaFailoverFlows)
	t.Run("servers too", func(t *testing.T) {
		w := tg.startWorkload(t, 3)
		for i := range 3 {
			w.awaitAcks(300)
			z.kill(i)
			tg.kill(t, int32(i+1))
			t.Logf("broker %d and server %d killed; a partition took a record again after %v", i+1, i+1, w.awaitPartition(0))
			z.restart(t, i)
			tg.restart(t, int32(i+1))
			w.awaitISR(tg)
			for p := range int32(3) {
				w.awaitPartition(p)
			}
		}
		w.check()
	})
}
