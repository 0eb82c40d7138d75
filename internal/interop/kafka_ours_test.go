package interop

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq"
)

// startOurKafka starts a cluster of ours: over TCP on loopback, or in memory.
func startOurKafka(t testing.TB, brokers int, memory bool, modify ...func(*mq.ClusterConfig)) *kafkaTarget {
	t.Helper()
	cfg := mq.ClusterConfig{Brokers: brokers, Logger: testLogger(t)}
	tg := &kafkaTarget{name: "ours in memory", brokers: brokers, replication: min(brokers, 3), lacks: map[string]string{}}
	if !memory {
		tg.name = "ours over TCP"
		cfg.Network = &struct {
			net.Dialer
			net.ListenConfig
		}{}
	}
	for _, m := range modify {
		m(&cfg)
	}
	c, err := mq.StartCluster(testContext(t), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	tg.seeds = c.Addrs()
	if memory {
		tg.network = c.Network()
	}
	tg.kill = func(t testing.TB, id int32) { require.NoError(t, c.Kill(id)) }
	tg.restart = func(t testing.TB, id int32) { require.NoError(t, c.Restart(testContext(t), id)) }
	return tg
}

// TestKafkaOnOurs runs mq.Client and third-party clients on our brokers.
func TestKafkaOnOurs(t *testing.T) {
	for name, memory := range map[string]bool{"memory": true, "tcp": false} {
		t.Run(name, func(t *testing.T) {
			tg := startOurKafka(t, 3, memory)
			tg.run(t, kafkaClientFlows)
			tg.run(t, kafkaThirdParties())
			tg.run(t, kafkaFailoverFlows)
		})
	}
	t.Run("one", func(t *testing.T) { startOurKafka(t, 1, true).run(t, kafkaClientFlows) })
}

// TestKafkaOnOursWithEnsemble kills a broker and the ensemble's leader together, in memory and on disk.
func TestKafkaOnOursWithEnsemble(t *testing.T) {
	for name, disk := range map[string]bool{"memory": false, "disk": true} {
		t.Run(name, func(t *testing.T) {
			cfg := mq.ClusterConfig{Brokers: 3, Logger: testLogger(t)}
			if disk {
				cfg.DataDir = t.TempDir()
			}
			ctx := testContext(t)
			c, err := mq.StartCluster(ctx, cfg)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, c.Close()) })
			tg := &kafkaTarget{name: "ours", brokers: 3, replication: 3, seeds: c.Addrs(), network: c.Network()}
			w := tg.startWorkload(t, 6)
			for range 3 {
				w.awaitAcks(500)
				broker, server := c.Leader(w.topic, 0), c.Ensemble().Leader()
				require.NoError(t, c.Kill(broker))
				require.NoError(t, c.Ensemble().Kill(server))
				t.Logf("broker %d and server %d killed; the partition took a record again after %v", broker, server, w.awaitPartition(0))
				require.NoError(t, c.Ensemble().Restart(ctx, server))
				require.NoError(t, c.Restart(ctx, broker))
				w.awaitISR(tg)
				for p := range int32(6) {
					w.awaitPartition(p)
				}
			}
			w.check()
		})
	}
}
