package wal

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var kills = flag.Int("kills", 3, "wal: how many processes TestKill9 kills")

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

// TestKill9 kills a process that appends, syncs, truncates, replaces and now and
// then closes, and finds every record that it said was synced. (The page cache
// survives, so this tests the process's side: locks, order of operations,
// half-done appends; and, each other time, that Check takes the directory.) With
// 100 or more it adds a line to wal/SOAK.md.
//
//	go test ./wal -run TestKill9 -v -kills 200
func TestKill9(t *testing.T) {
	if dir := os.Getenv("WAL_KILL9_DIR"); dir != "" {
		kill9Child(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "log")
	records, torn, replaced, killed, start := 0, 0, 0, 0, time.Now()
	defer func() {
		if *kills < 100 {
			return
		}
		failures := "none"
		if t.Failed() {
			failures = fmt.Sprintf("1, after which it stopped: round %d", killed)
		}
		writeLedger(t, start, fmt.Sprintf("0-%d", *kills-1), "TestKill9", fmt.Sprintf("%d processes killed", killed),
			fmt.Sprintf("%d records found, %d torn tails, %d records left out by replacements", records, torn, replaced), failures)
	}()
	for round := range *kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill9$")
		cmd.Env = append(os.Environ(), "WAL_KILL9_DIR="+dir, fmt.Sprint("WAL_KILL9_ROUND=", round))
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
		killed++
		if round%2 == 0 {
			report, err := Check(nil, dir)
			require.NoError(t, err)
			require.NoError(t, report.Err(), "%s", report)
		}
		l, err := Open(dir, Config{})
		require.NoError(t, err)
		got := contents(t, l)
		last, ok := l.Last()
		require.True(t, ok)
		require.GreaterOrEqual(t, int(last), synced)
		for i, r := range got {
			require.Equal(t, payloadOf(r.Key, 0, int(r.Key%50)), r.Payload)
			// Replacements leave out keys that 7 divides, and nothing else.
			require.True(t, i == 0 || r.Key == got[i-1].Key+1 || r.Key == got[i-1].Key+2 && r.Key%7 == 1)
			if i > 0 && r.Key == got[i-1].Key+2 {
				replaced++
			}
		}
		records += len(got)
		if l.Stats().TornBytes > 0 {
			torn++
		}
		require.NoError(t, l.Close())
	}
	t.Logf("%d processes killed; %d records found, %d torn tails, %d records that a replacement left out", killed, records, torn, replaced)
	require.Positive(t, replaced)
}

func kill9Child(t *testing.T, dir string) {
	smallIndexes(t)
	round, err := strconv.Atoi(os.Getenv("WAL_KILL9_ROUND"))
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(uint64(round), 1))
	cfg := Config{SegmentBytes: 16 << 10}
	l, err := Open(dir, cfg)
	require.NoError(t, err)
	for {
		k := l.Next()
		for i := range uint64(5) {
			require.NoError(t, l.Append(recs(0, int((k+i)%50), k+i)...))
		}
		require.NoError(t, l.Sync())
		fmt.Println(k + 4)
		if k > 700 {
			require.NoError(t, l.TruncateBefore(k-700))
		}
		switch rng.IntN(40) {
		case 0: // what comes next is the same again
			require.NoError(t, l.Append(recs(0, int((k+5)%50), k+5)...))
			require.NoError(t, l.TruncateAfter(k+4))
		case 1, 2:
			require.NoError(t, compactSevens(l))
		case 3:
			require.NoError(t, l.Close())
			l, err = Open(dir, cfg)
			require.NoError(t, err)
		}
	}
}

// compactSevens leaves out keys that 7 divides.
func compactSevens(l *Log) error {
	p, err := l.NewReplacement(0, KeyMax)
	if err != nil {
		if errors.Is(err, ErrGone) {
			return nil
		}
		return err
	}
	segs := p.Segments()
	for rec, err := range l.All(0) {
		if err != nil {
			p.Abort()
			return err
		}
		if rec.Key > segs[len(segs)-1].Last {
			break
		}
		if rec.Key%7 != 0 {
			if err := p.Append(rec); err != nil {
				return err
			}
		}
	}
	return p.Commit()
}
