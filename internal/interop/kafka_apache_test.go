package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq"
)

// kafkaPom names Apache Kafka 2.7.1, the last line of brokers that keep everything in ZooKeeper, for maven.
const kafkaPom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>interop</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>2.7.1</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.30</version></dependency>
</dependencies></project>`

// kafkaJars returns the directory of Apache Kafka's jars.
func kafkaJars(t testing.TB) string {
	t.Helper()
	return mavenJars(t, "kafka-2.7.1", kafkaPom)
}

// apacheBroker is one process of Apache Kafka.
type apacheBroker struct {
	dir, jars, addr string
	id              int32
	cmd             *exec.Cmd
	exited          chan struct{}
}

// startApacheKafka starts n brokers of Apache Kafka on the given ZooKeeper connect string and stops them when the test has ended.
func startApacheKafka(t testing.TB, n int, zookeeper string) *kafkaTarget {
	t.Helper()
	jars := kafkaJars(t)
	rf := min(n, 3)
	tg := &kafkaTarget{name: "apache", brokers: n, replication: rf, lacks: map[string]string{}}
	brokers := make(map[int32]*apacheBroker)
	for i, port := range freePorts(t, n) {
		b := &apacheBroker{dir: t.TempDir(), jars: jars, id: int32(i + 1), addr: fmt.Sprintf("127.0.0.1:%d", port)}
		brokers[b.id] = b
		tg.seeds = append(tg.seeds, b.addr)
		props := fmt.Sprintf(`broker.id=%d
listeners=PLAINTEXT://%s
zookeeper.connect=%s
zookeeper.session.timeout.ms=4000
log.dirs=%s
num.network.threads=2
num.io.threads=4
num.partitions=1
auto.create.topics.enable=false
default.replication.factor=%d
offsets.topic.num.partitions=4
offsets.topic.replication.factor=%d
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=%d
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
log.cleaner.dedupe.buffer.size=4000000
log.segment.bytes=67108864
`, b.id, b.addr, zookeeper, filepath.Join(b.dir, "logs"), rf, rf, rf)
		require.NoError(t, os.WriteFile(filepath.Join(b.dir, "server.properties"), []byte(props), 0o600))
		b.start(t)
		t.Cleanup(b.kill)
	}
	for _, b := range brokers {
		b.await(t)
	}
	tg.kill = func(_ testing.TB, id int32) { brokers[id].kill() }
	tg.restart = func(t testing.TB, id int32) {
		brokers[id].start(t)
		brokers[id].await(t)
	}
	tg.awaitBrokers(t)
	return tg
}

func (b *apacheBroker) start(t testing.TB) {
	log, err := os.OpenFile(filepath.Join(b.dir, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	b.cmd = exec.Command("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(b.jars, "*"), "kafka.Kafka", filepath.Join(b.dir, "server.properties"))
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, b.cmd.Start())
	exited := make(chan struct{})
	b.exited = exited
	cmd := b.cmd
	go func() {
		defer close(exited)
		cmd.Wait()
	}()
}

// kill is kill -9; it returns when the process has gone.
func (b *apacheBroker) kill() {
	b.cmd.Process.Kill()
	<-b.exited
}

// await waits until the broker listens.
func (b *apacheBroker) await(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; {
		nc, err := net.DialTimeout("tcp", b.addr, time.Second)
		if err == nil {
			nc.Close()
			return
		}
		select {
		case <-b.exited:
			out, _ := os.ReadFile(filepath.Join(b.dir, "out.log"))
			t.Fatalf("broker %d of Apache Kafka ended: %s", b.id, lastLines(out, 20))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("broker %d of Apache Kafka does not listen after 90 s", b.id)
		}
	}
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(string(bytes.TrimSpace(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// awaitBrokers waits until the target knows all its brokers.
func (tg *kafkaTarget) awaitBrokers(t testing.TB) {
	t.Helper()
	ctx := testContext(t)
	cl, err := mq.Connect(ctx, mq.ClientConfig{Seeds: tg.seeds, Network: tg.network})
	require.NoError(t, err)
	defer cl.Close()
	eventually(t, "all brokers are registered", func() bool {
		cluster, err := cl.Cluster(ctx)
		return err == nil && len(cluster.Brokers) == tg.brokers && cluster.Controller >= 0
	})
}

// TestKafkaOnApache runs mq.Client and third-party clients on Apache Kafka: what the flows expect is what Apache Kafka does.
func TestKafkaOnApache(t *testing.T) {
	if testing.Short() {
		t.Skip("starts four JVMs")
	}
	kafkaJars(t)
	zookeeper := startApache(t, 1)
	tg := startApacheKafka(t, 3, zookeeper.servers[0]+"/kafka")
	tg.run(t, kafkaClientFlows)
	tg.run(t, kafkaThirdParties())
	tg.run(t, kafkaFailoverFlows)
}
