package wal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFileSizeLimit: a process whose files the kernel lets grow only so far, in
// the middle of a record, as a full disk does. Its log is poisoned, and what it
// said was synced is found.
func TestFileSizeLimit(t *testing.T) {
	if dir := os.Getenv("WAL_RLIMIT_DIR"); dir != "" {
		rlimitChild(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "log")
	for _, limit := range []int{50_001, 100_000, 120_007} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$")
		cmd.Env = append(os.Environ(), "WAL_RLIMIT_DIR="+dir, fmt.Sprint("WAL_RLIMIT=", limit))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, said, ok := strings.Cut(string(out), "synced ")
		require.True(t, ok, "%s", out)
		synced, err := strconv.ParseUint(strings.Fields(said)[0], 10, 64)
		require.NoError(t, err)
		report, err := Check(nil, dir)
		require.NoError(t, err)
		require.NoError(t, report.Err())
		l, err := Open(dir, Config{})
		require.NoError(t, err)
		got := contents(t, l)
		require.GreaterOrEqual(t, uint64(len(got)), synced+1)
		for i, r := range got {
			require.Equal(t, Record{uint64(i), payloadOf(uint64(i), 0, 300)}, r)
		}
		require.NoError(t, l.Close())
	}
}

func rlimitChild(t *testing.T, dir string) {
	limit, err := strconv.ParseUint(os.Getenv("WAL_RLIMIT"), 10, 64)
	require.NoError(t, err)
	signal.Ignore(syscall.SIGXFSZ)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}))
	l, err := Open(dir, Config{PreallocateBytes: -1})
	require.NoError(t, err)
	for {
		if err := errors.Join(l.Append(recs(0, 300, l.Next())...), l.Sync()); err != nil {
			require.ErrorIs(t, err, ErrPoisoned)
			require.ErrorIs(t, err, syscall.EFBIG)
			break
		}
	}
	synced, _ := l.Synced()
	require.ErrorIs(t, l.Append(Record{Key: l.Next()}), ErrPoisoned)
	require.ErrorIs(t, l.Close(), ErrPoisoned)
	fmt.Println("synced", synced)
}
