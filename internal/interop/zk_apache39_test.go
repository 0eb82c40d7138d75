package interop

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// zookeeperPom names the release that decides what is right, for maven.
const zookeeperPom = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>interop</groupId><artifactId>zookeeper</artifactId><version>1</version><packaging>pom</packaging><dependencies>
<dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>3.9.5</version></dependency>
<dependency><groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId><version>4.1.12.1</version></dependency>
<dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId><version>1.1.10.5</version></dependency>
<dependency><groupId>commons-cli</groupId><artifactId>commons-cli</artifactId><version>1.5.0</version></dependency>
</dependencies></project>`

// mavenJars returns a directory with an artifact's jars and those that it needs,
// which maven fetches once into the user's cache; the test is skipped where they
// cannot be had.
func mavenJars(t testing.TB, name, pom string) string {
	t.Helper()
	if _, err := exec.LookPath("java"); err != nil {
		t.Skipf("%s needs java: %v", name, err)
	}
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "vivarium-interop", name)
	jars := filepath.Join(dir, "jars")
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return jars
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		t.Skipf("%s is fetched with maven: %v", name, err)
	}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom), 0o644))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", filepath.Join(dir, "pom.xml"), "dependency:copy-dependencies", "-DoutputDirectory="+jars)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("the jars of %s cannot be fetched: %v: %.500s", name, err, out)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644))
	return jars
}

// tcpNetwork is the operating system's.
type tcpNetwork struct {
	net.Dialer
	net.ListenConfig
}

// startApache39 starts one server of Apache ZooKeeper 3.9, which does not sync
// its disk, as the target of a differential test.
func startApache39(t testing.TB, options ...string) *diffTarget {
	t.Helper()
	return startApaches39(t, 1, "", options...)
}

// startApaches39 starts n such servers with more lines in their zoo.cfg.
func startApaches39(t testing.TB, n int, more string, options ...string) *diffTarget {
	t.Helper()
	jars := mavenJars(t, "zookeeper-3.9.5", zookeeperPom)
	options = append(options, "-Dzookeeper.forceSync=no", "-Dznode.container.checkIntervalMs=3600000")
	tg := startApacheOf(t, n, filepath.Join(jars, "*"), "minSessionTimeout=400\nmaxSessionTimeout=60000\n"+more, options...)
	return &diffTarget{name: "apache", servers: tg.servers, super: true}
}

// diffConfig is how a server of ours is configured as startApache39's is.
func diffConfig() zk.Config {
	return zk.Config{
		TickTime: 200 * time.Millisecond, MinSessionTimeout: 400 * time.Millisecond, MaxSessionTimeout: time.Minute,
		ExtendedTypes: true, SuperDigest: superDigest, ContainerCheckInterval: time.Hour,
	}
}

// diffOurs starts servers of ours, configured as startApache39's is.
func diffOurs(t testing.TB, n int, edit ...func(*zk.Config)) *diffTarget {
	t.Helper()
	cfg := zk.EnsembleConfig{Servers: n, Server: diffConfig(), Network: &tcpNetwork{}}
	for _, e := range edit {
		e(&cfg.Server)
	}
	ens, err := zk.StartEnsemble(testContext(t), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { ens.Close() })
	return &diffTarget{name: "ours", servers: ens.Addrs(), super: true}
}
