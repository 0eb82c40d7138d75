package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

const apacheData = "../../zk/internal/apache/testdata/3.8"

// TestImport moves the data of an Apache ZooKeeper into a server, and takes what
// that server holds into another.
func TestImport(t *testing.T) {
	file := func(dir string) string {
		name := filepath.Join(dir, "zoo.cfg")
		text := fmt.Sprintf("tickTime=2000\ndataDir=%s\nclientPort=0\nclientPortAddress=127.0.0.1\n", dir)
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	first, second := t.TempDir(), t.TempDir()
	config := file(first)
	var out, log bytes.Buffer
	require.Equal(t, 0, run(t.Context(), []string{"zk", "-config", config, "-import", apacheData}, &out, &log), log.String())
	require.Equal(t, fmt.Sprintf("imported zxid=0x1e znodes=21 sessions=1 into %s\n", filepath.Join(first, "vivarium")), out.String())
	require.Equal(t, 1, run(t.Context(), []string{"zk", "-config", config, "-import", apacheData}, &out, &log))
	require.Contains(t, log.String(), "directory is not empty")

	parsed, err := zk.LoadConfig(config)
	require.NoError(t, err)
	cfg, err := parsed.ServerConfig()
	require.NoError(t, err)
	s, err := zk.StartServer(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Ready(t.Context()))
	snapshot := filepath.Join(second, "snapshot")
	f, err := os.Create(snapshot)
	require.NoError(t, err)
	_, err = s.WriteSnapshot(t.Context(), f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, s.Close())

	out.Reset()
	require.Equal(t, 0, run(t.Context(), []string{"zk", "-config", file(second), "-restore", snapshot}, &out, &log), log.String())
	require.Contains(t, out.String(), "znodes=21 sessions=1")

	require.Equal(t, 2, run(t.Context(), []string{"zk", "-config", config, "-import", "x", "-restore", "y"}, &out, &log))
	require.Equal(t, 1, run(t.Context(), []string{"zk", "-config", config, "-restore", filepath.Join(first, "none")}, &out, &log))
	require.Contains(t, log.String(), filepath.Join(first, "none"))
}
