package interop

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// kcatFlows are the stories of kcat, that is of librdkafka, over TCP.
var kcatFlows = []kafkaFlow{
	{name: "kcat list", run: flowKcatList},
	{name: "kcat produce and consume", run: flowKcatProduce},
	{name: "kcat codecs", run: flowKcatCodecs},
	{name: "kcat old protocol", run: flowKcatOld},
	{name: "kcat group", needs: "kcat group", run: flowKcatGroup},
}

// kcat runs kcat with input and returns what it printed.
func (tg *kafkaTarget) kcat(t testing.TB, input string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		if path, err = exec.LookPath("kafkacat"); err != nil {
			t.Skip("kcat is not installed: apt-get install kcat")
		}
	}
	if tg.network != nil {
		t.Skip("kcat speaks TCP only")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"-b", strings.Join(tg.seeds, ",")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "kcat %q: %s", args, &errs)
	return out.String()
}

// numbered returns n lines key:value.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d:value-%04d\n", i%7, i)
	}
	return b.String()
}

func sortedLines(s string) []string {
	return slices.Sorted(strings.Lines(s))
}

func flowKcatList(t *testing.T, tg *kafkaTarget) {
	topic := tg.topic(t, tg.connect(t), 3)
	out := tg.kcat(t, "", "-L", "-t", topic)
	require.Contains(t, out, fmt.Sprintf("%d brokers:", tg.brokers))
	require.Contains(t, out, fmt.Sprintf("topic %q with 3 partitions", topic))
	require.NotContains(t, out, "leader -1")
}

func flowKcatProduce(t *testing.T, tg *kafkaTarget) {
	cl := tg.connect(t)
	for _, acks := range []string{"all", "1", "0"} {
		topic := tg.topic(t, cl, 3)
		tg.kcat(t, numbered(500), "-P", "-t", topic, "-K:", "-X", "acks="+acks)
		out := tg.kcat(t, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s\\n")
		require.Equal(t, sortedLines(numbered(500)), sortedLines(out), "acks=%s", acks)
		out = tg.kcat(t, "", "-C", "-t", topic, "-p", "0", "-o", "-1", "-e", "-q", "-f", "%p %o\\n")
		require.Contains(t, out, "0 ")
	}
	topic := tg.topic(t, cl, 1)
	tg.kcat(t, numbered(300), "-P", "-t", topic, "-K:", "-X", "enable.idempotence=true")
	out := tg.kcat(t, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s\\n")
	require.Equal(t, numbered(300), out)
}

func flowKcatCodecs(t *testing.T, tg *kafkaTarget) {
	cl := tg.connect(t)
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		topic := tg.topic(t, cl, 1)
		tg.kcat(t, numbered(400), "-P", "-t", topic, "-K:", "-z", codec)
		out := tg.kcat(t, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s\\n")
		require.Equal(t, numbered(400), out, codec)
		got := consumeN(t, cl, 400, fromTopic(topic)) // and ours reads what librdkafka compressed
		require.Equal(t, "value-0399", string(got[399].Value), codec)
	}
}

// flowKcatOld has kcat not ask for versions but use those of Kafka 0.11.
func flowKcatOld(t *testing.T, tg *kafkaTarget) {
	topic := tg.topic(t, tg.connect(t), 1)
	old := []string{"-X", "api.version.request=false", "-X", "broker.version.fallback=0.11.0"}
	tg.kcat(t, numbered(50), append([]string{"-P", "-t", topic, "-K:"}, old...)...)
	out := tg.kcat(t, "", append([]string{"-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%k:%s\\n"}, old...)...)
	require.Equal(t, numbered(50), out)
}

// flowKcatGroup consumes as a group, twice: the second time nothing is left.
func flowKcatGroup(t *testing.T, tg *kafkaTarget) {
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 3)
	tg.kcat(t, numbered(200), "-P", "-t", topic, "-K:")
	group := []string{"-q", "-X", "auto.offset.reset=earliest", "-f", "%k:%s\\n"}
	out := tg.kcat(t, "", append(group, "-e", "-G", "g-"+topic, topic)...)
	require.Equal(t, sortedLines(numbered(200)), sortedLines(out))
	tg.kcat(t, "x:last\n", "-P", "-t", topic, "-K:")
	out = tg.kcat(t, "", append(group, "-e", "-G", "g-"+topic, topic)...)
	require.Equal(t, "x:last\n", out)
}
