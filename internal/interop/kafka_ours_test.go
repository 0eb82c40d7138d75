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
