package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// TestApacheKafkaOnOurs has three brokers of Apache Kafka 2.7.1 keep everything in
// an ensemble of ours, administers a topic with Kafka's own command, and goes on
// producing and consuming while the ensemble's leader dies.
func TestApacheKafkaOnOurs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts JVMs")
	}
	jars := kafkaJars(t)
	ens, err := zk.StartEnsemble(testContext(t), zk.EnsembleConfig{
		Network: &tcpNetwork{}, DataDir: t.TempDir(), Server: zk.Config{TickTime: 200 * time.Millisecond},
	})
	require.NoError(t, err)
	t.Cleanup(func() { ens.Close() })
	connect := strings.Join(ens.Addrs(), ",") + "/kafka"
	tg := startApacheKafka(t, 3, connect)

	topics := func(class string, args ...string) string {
		return kafkaCommand(t, jars, class, append([]string{"--zookeeper", connect}, args...)...)
	}
	topics("kafka.admin.TopicCommand", "--create", "--topic", "orders", "--partitions", "3", "--replication-factor", "3")
	out := topics("kafka.admin.TopicCommand", "--describe", "--topic", "orders")
	require.Contains(t, out, "PartitionCount: 3")
	require.Contains(t, out, "ReplicationFactor: 3")
	topics("kafka.admin.TopicCommand", "--alter", "--topic", "orders", "--partitions", "5")
	topics("kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "orders", "--add-config", "retention.ms=3600000")
	out = topics("kafka.admin.TopicCommand", "--describe", "--topic", "orders")
	require.Contains(t, out, "PartitionCount: 5")
	require.Contains(t, out, "retention.ms=3600000")

	w := tg.startWorkload(t, 3)
	for range 2 {
		w.awaitAcks(300)
		leader := ens.Leader()
		require.NoError(t, ens.Kill(leader))
		w.awaitAcks(300)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		require.NoError(t, ens.Restart(ctx, leader))
		require.NoError(t, ens.Server(leader).Ready(ctx))
		cancel()
	}
	// The brokers' sessions have outlived two leaders, and a broker's own death is noticed.
	tg.kill(t, 1)
	for p := range int32(3) {
		w.awaitPartition(p)
	}
	tg.restart(t, 1)
	w.awaitISR(tg)
	w.check()

	topics("kafka.admin.TopicCommand", "--delete", "--topic", "orders")
	eventually(t, "the topic is gone", func() bool {
		return !slices.Contains(strings.Fields(topics("kafka.admin.TopicCommand", "--list")), "orders")
	})
}

// kafkaCommand runs one of Kafka's own administration commands.
func kafkaCommand(t testing.TB, jars, class string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	java := append([]string{
		"-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", filepath.Join(jars, "*"), class,
	}, args...)
	cmd := exec.CommandContext(ctx, "java", java...)
	cmd.Env = append(os.Environ(), "KAFKA_HEAP_OPTS=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", class, args, out)
	return string(out)
}
