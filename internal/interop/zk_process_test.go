package interop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// kazooPython returns a Python that has kazoo, which pip fetches once into the
// user's cache; the test is skipped where it cannot be had.
func kazooPython(t testing.TB) string {
	t.Helper()
	const kazoo = "kazoo==2.11.0"
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "vivarium-interop", "kazoo-2.11.0")
	python := filepath.Join(dir, "bin", "python")
	if exec.Command(python, "-c", "import kazoo.client").Run() == nil {
		return python
	}
	system, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("kazoo needs python3: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, system, "-m", "venv", dir).CombinedOutput(); err != nil {
		t.Skipf("no venv for kazoo: %v: %.300s", err, out)
	}
	if out, err := exec.CommandContext(ctx, python, "-m", "pip", "install", "-q", kazoo).CombinedOutput(); err != nil {
		t.Skipf("kazoo cannot be fetched: %v: %.300s", err, out)
	}
	return python
}

// cClient compiles testdata/cclient.c with ZooKeeper's C client.
func cClient(t testing.TB) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skipf("the C client needs a compiler: %v", err)
	}
	if _, err := os.Stat("/usr/include/zookeeper/zookeeper.h"); err != nil {
		t.Skipf("ZooKeeper's C client is not installed (%v): apt-get install libzookeeper-mt-dev", err)
	}
	bin := filepath.Join(t.TempDir(), "cclient")
	out, err := exec.Command(gcc, "-DTHREADED", "-Wall", "-o", bin, "testdata/cclient.c", "-lzookeeper_mt", "-lpthread").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return bin
}

// runFlows runs a program that prints done when all its flows went well.
func runFlows(t testing.TB, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.True(t, strings.HasSuffix(string(out), "done\n"), "%s", out)
}

// byProcess runs a third party's client in a process of its own, on Apache
// ZooKeeper, which shows that its flows are right, and on ours.
func byProcess(t *testing.T, run func(t *testing.T, servers string)) {
	t.Run("apache", func(t *testing.T) { run(t, strings.Join(startApache(t, 1).servers, ",")) })
	t.Run("one", func(t *testing.T) { run(t, strings.Join(startOurs(t, 1, false).servers, ",")) })
	t.Run("three", func(t *testing.T) { run(t, strings.Join(startOurs(t, 3, false).servers, ",")) })
}

// TestKazoo runs kazoo's operations, watches and recipes.
func TestKazoo(t *testing.T) {
	python := kazooPython(t)
	byProcess(t, func(t *testing.T, servers string) { runFlows(t, python, "testdata/kazoo_flows.py", servers) })
}

// TestCClient runs a program on ZooKeeper's own C client.
func TestCClient(t *testing.T) {
	bin := cClient(t)
	byProcess(t, func(t *testing.T, servers string) { runFlows(t, bin, servers) })
}
