package wal

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnDisk: what the memory tests cannot show, on the real file system.
func TestOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "log")
	cfg := Config{SegmentBytes: 256 << 10}
	l, err := Open(dir, cfg)
	require.NoError(t, err)
	_, err = Open(dir, cfg)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, strconv.Itoa(os.Getpid()))
	var want []Record
	for k := range uint64(500) {
		rs := recs(0, 600, k)
		want = append(want, rs...)
		require.NoError(t, l.Append(rs...))
		if k%20 == 0 {
			require.NoError(t, l.Sync())
		}
		if k == 300 {
			require.NoError(t, l.TruncateBefore(k))
			first, _ := l.First()
			want = want[first:]
		}
	}
	require.Positive(t, l.Stats().Recycled)
	require.Equal(t, want, contents(t, l))
	require.NoError(t, l.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s is for others too", e.Name())
	}
	l, err = Open(dir, cfg)
	require.NoError(t, err)
	require.Equal(t, want, contents(t, l))
	require.NoError(t, l.Close())
}

// TestKill9 kills a process that appends and syncs, and finds every record that
// it said was synced. (The page cache survives, so this tests the process's
// side: locks, order of operations, half-done appends.)
func TestKill9(t *testing.T) {
	rounds := 3
	if *full {
		rounds = 200
	}
	if dir := os.Getenv("WAL_KILL9_DIR"); dir != "" {
		kill9Child(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "log")
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
		cmd.Env = append(os.Environ(), "WAL_KILL9_DIR="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		synced := -1
		for n := 0; n < 20+round%7*30 && lines.Scan(); n++ {
			synced, err = strconv.Atoi(lines.Text())
			require.NoError(t, err, "%s", lines.Text())
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		l, err := Open(dir, Config{})
		require.NoError(t, err)
		got := contents(t, l)
		last, ok := l.Last()
		require.True(t, ok)
		require.GreaterOrEqual(t, int(last), synced)
		for i, r := range got {
			require.Equal(t, payloadOf(r.Key, 0, int(r.Key%50)), r.Payload)
			require.True(t, i == 0 || r.Key == got[i-1].Key+1)
		}
		require.NoError(t, l.Close())
	}
}

func kill9Child(t *testing.T, dir string) {
	l, err := Open(dir, Config{SegmentBytes: 16 << 10})
	require.NoError(t, err)
	for {
		k := l.Next()
		for i := range uint64(5) {
			require.NoError(t, l.Append(recs(0, int((k+i)%50), k+i)...))
		}
		require.NoError(t, l.Sync())
		fmt.Println(k + 4)
		if k > 300 {
			require.NoError(t, l.TruncateBefore(k-300))
		}
	}
}
