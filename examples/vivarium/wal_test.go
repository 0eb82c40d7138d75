package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal"
)

func TestWALTool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l, err := wal.Open(dir, wal.Config{})
	require.NoError(t, err)
	require.NoError(t, l.Append(wal.Record{Key: 1, Payload: []byte("one")}, wal.Record{Key: 2, Payload: []byte(strings.Repeat("x", 100))}))
	require.NoError(t, l.Close())
	var out strings.Builder
	require.Zero(t, run(t.Context(), []string{"wal", "dump", dir}, &out, io.Discard))
	require.Equal(t, "0x1 3 \"one\"\n0x2 100 \""+strings.Repeat("x", dumpBytesMax)+"\"…\n", out.String())
	out.Reset()
	require.Zero(t, run(t.Context(), []string{"wal", "check", dir}, &out, io.Discard))
	require.NotEmpty(t, out.String())
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	b, err := os.ReadFile(names[0])
	require.NoError(t, err)
	b[strings.Index(string(b), "one")]++
	require.NoError(t, os.WriteFile(names[0], b, 0o600))
	require.Equal(t, 1, run(t.Context(), []string{"wal", "check", dir}, &out, io.Discard))
	require.Equal(t, 2, run(t.Context(), []string{"wal", "eat", dir}, &out, io.Discard))
}
