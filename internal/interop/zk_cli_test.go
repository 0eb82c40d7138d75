package interop

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var rewriteZkCli = flag.Bool("rewrite-zkcli", false, "write the transcript of zkCli on Apache ZooKeeper to testdata")

// TestZkCliOnApache shows that the transcript is right.
func TestZkCliOnApache(t *testing.T) {
	zkCli(t, startApache(t, 1))
}

// TestZkCliOnOurs runs ZooKeeper's own command line on our servers.
func TestZkCliOnOurs(t *testing.T) {
	needApache(t) // it comes with it
	zkCli(t, startOurs(t, 3, false))
}

// zkCli feeds testdata/zkcli.txt to zkCli: commands, then what it prints, then
// the events that its watches print, which come from a thread of their own.
func zkCli(t *testing.T, tg *target) {
	file := filepath.Join("testdata", "zkcli.txt")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	parts := strings.Split(string(text), "----\n")
	require.Len(t, parts, 3, "%s has commands, output and events", file)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, zkCliScript, "-timeout", "5000", "-server", strings.Join(tg.servers, ","))
	cmd.Stdin = strings.NewReader(parts[0] + "close\nquit\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	output, events := transcript(string(out))
	if *rewriteZkCli && tg.apache {
		require.NoError(t, os.WriteFile(file, []byte(parts[0]+"----\n"+output+"----\n"+events), 0o600))
		return
	}
	require.Contains(t, string(out), "\nip: 127.0.0.1\n")
	require.Equal(t, parts[1], output)
	require.Equal(t, parts[2], events)
}

var (
	zxids = regexp.MustCompile(`(Zxid|mZxid) = 0x[0-9a-f]+`)
	times = regexp.MustCompile(`(ctime|mtime) = .*`)
)

// transcript takes from zkCli's output what depends on neither time nor machine.
func transcript(out string) (output, events string) {
	var o, e strings.Builder
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n ")
		switch {
		case line == "" || line == "WATCHER::" || strings.Contains(line, "type:None"):
		case strings.HasPrefix(line, "SLF4J") || strings.HasPrefix(line, "Connecting to") ||
			strings.HasPrefix(line, "Welcome") || strings.HasPrefix(line, "JLine"):
		case line == "ip: 127.0.0.1": // of whoami, whose order is a hash table's
		case strings.HasPrefix(line, "WatchedEvent"):
			e.WriteString(line + "\n")
		default:
			line = zxids.ReplaceAllString(line, "$1 = #")
			o.WriteString(times.ReplaceAllString(line, "$1 = #") + "\n")
		}
	}
	return o.String(), e.String()
}
