package interop

import (
	"bytes"
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

var rewriteCLI = flag.Bool("rewrite-cli", false, "write what zkCli 3.9 prints to examples/vivarium/testdata/cli")

var (
	cliDates     = regexp.MustCompile(`(?m)^([cm]time|[cmp]Zxid) = .*$`)
	cliAddresses = regexp.MustCompile(`127\.0\.0\.1(:\d\d\d+)+`)
	cliZxids     = regexp.MustCompile(`zxid: \d+`)
	cliVersions  = regexp.MustCompile(`(?m)^(version=)?[1-9a-f]00[0-9a-f]{6}( |$)`)
)

// TestCLIAsThere runs the commands of examples/vivarium/testdata/cli by the zkCli
// of Apache ZooKeeper 3.9 on three of its servers, and compares what it prints with
// what is kept there, which is what vivarium cli must print.
func TestCLIAsThere(t *testing.T) {
	const dir = "../../examples/vivarium/testdata/cli"
	tg := startApaches39(t, 3, "reconfigEnabled=true\n", "-Dzookeeper.enforceQuota=true")
	in, err := os.ReadFile(filepath.Join(dir, "commands.txt"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	classes := filepath.Join(mavenJars(t, "zookeeper-3.9.5", zookeeperPom), "*")
	cmd := exec.CommandContext(ctx, "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Duser.timezone=UTC",
		"-cp", classes, "org.apache.zookeeper.ZooKeeperMain", "-timeout", "30000", "-server", tg.servers[0])
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	_ = cmd.Run() // its exit code is the last command's
	output, events := cliEvents(cliNormal(out.String()))
	for name, text := range map[string]string{"stdout.txt": output, "events.txt": events, "stderr.txt": cliNormal(errs.String())} {
		if *rewriteCLI {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		want, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, string(want), text)
	}
}

// cliNormal takes away what is of one run or of Java.
func cliNormal(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "SLF4J") && !strings.HasPrefix(line, "JLine") {
			b.WriteString(line)
		}
	}
	text = cliDates.ReplaceAllString(b.String(), "$1 = #")
	text = cliZxids.ReplaceAllString(text, "zxid: #")
	text = cliAddresses.ReplaceAllString(text, "ADDR")
	return cliVersions.ReplaceAllString(text, "${1}VERSION$2")
}

// cliEvents takes what watches print, at a time of their own, out of what commands
// print.
func cliEvents(text string) (output, events string) {
	var o, e strings.Builder
	for line := range strings.Lines(text) {
		switch {
		case line == "\n" || line == "WATCHER::\n":
		case strings.HasPrefix(line, "WatchedEvent "):
			e.WriteString(line)
		default:
			o.WriteString(line)
		}
	}
	return o.String(), e.String()
}
