package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The whole story on small files, in memory and on disk.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 4 {
		var text strings.Builder
		for l := range 300 + i {
			fmt.Fprintf(&text, "file %d line %d has %s\n", i, l, strings.Repeat("words ", l%7))
		}
		name := filepath.Join(dir, fmt.Sprintf("f%d.txt", i))
		require.NoError(t, os.WriteFile(name, []byte(text.String()+"no newline at the end"), 0o600))
		names = append(names, name)
	}
	for _, args := range [][]string{names, append([]string{"-data", filepath.Join(dir, "data")}, names...)} {
		var out, errs bytes.Buffer
		require.Zero(t, run(t.Context(), args, &out, &errs), errs.String())
		require.Contains(t, out.String(), fmt.Sprintf("%d", 4*300+6+4))
		require.NotContains(t, out.String(), "differs")
		require.NotContains(t, out.String(), "NO")
	}
}

func TestBadInput(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, args := range [][]string{{"-x"}, {"/no/such/file"}, {empty}} {
		var out, errs bytes.Buffer
		require.Equal(t, 2, run(t.Context(), args, &out, &errs))
		require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
		require.Empty(t, out.String())
	}
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	require.Equal(t, 1, run(ctx, nil, &out, &errs))
}

// A difference is named and exits 1: what the report does with a bad result.
func TestDifferencesAreNamed(t *testing.T) {
	in := &input{files: []file{{name: "a", lines: make([][]byte, 2), words: 3}}, lines: 2}
	r := &result{sent: 2, acked: 1, sending: 1, tally: newTally(in), brokersSame: "partition 0", serversSame: "another tree"}
	var out bytes.Buffer
	differences := strings.Join(r.print(&out, in), "\n")
	for _, want := range []string{"a: 0 words", "1 acknowledged", "0 distinct", "partition 0", "another tree"} {
		require.Contains(t, differences, want)
	}
	require.Contains(t, out.String(), "differs")
}
