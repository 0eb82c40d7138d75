package interop

import (
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/vivarium-go/vivarium/mq"
)

// kafkaTarget is a cluster of the Kafka protocol that flows run against.
type kafkaTarget struct {
	name    string
	seeds   []string
	network mq.Network // nil: TCP
	brokers int
	// replication is the factor that topics get.
	replication int
	// kill stops the broker with the given id without warning, restart brings it back; nil if the target cannot.
	kill, restart func(t testing.TB, id int32)
	// lacks names what the target is known not to do, with the reason.
	lacks map[string]string
}

// kafkaFlow is one story, told to any target.
type kafkaFlow struct {
	name  string
	needs string // what a target may lack
	run   func(t *testing.T, tg *kafkaTarget)
}

// run tells all flows, one after the other, to one target.
func (tg *kafkaTarget) run(t *testing.T, flows []kafkaFlow) {
	for _, f := range flows {
		t.Run(f.name, func(t *testing.T) {
			if reason, lacks := tg.lacks[f.needs]; lacks {
				t.Skipf("%s: %s", tg.name, reason)
			}
			f.run(t, tg)
		})
	}
}

// connect gives a client of ours.
func (tg *kafkaTarget) connect(t testing.TB) *mq.Client {
	t.Helper()
	cl, err := mq.Connect(testContext(t), mq.ClientConfig{Seeds: tg.seeds, Network: tg.network, ClientID: t.Name(), Logger: testLogger(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cl.Close()) })
	return cl
}

var topicNumber atomic.Int64

// topic creates a topic with a name of its own.
func (tg *kafkaTarget) topic(t testing.TB, cl *mq.Client, partitions int, configs ...string) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '#' || r == ' ' {
			return '-'
		}
		return r
	}, t.Name()) + "-" + strconv.FormatInt(topicNumber.Add(1), 10)
	spec := mq.TopicSpec{Name: name, Partitions: partitions, Replicas: tg.replication, Configs: map[string]string{}}
	for i := 0; i < len(configs); i += 2 {
		spec.Configs[configs[i]] = configs[i+1]
	}
	require.NoError(t, cl.CreateTopic(testContext(t), spec))
	return name
}

// testLogger logs into the test's output, with -v, and not after its end.
func testLogger(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	var over atomic.Bool
	t.Cleanup(func() { over.Store(true) })
	return slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		if !over.Load() {
			t.Log(strings.TrimSpace(string(b)))
		}
		return len(b), nil
	}), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

var _ io.Writer = writerFunc(nil)

// startKfake starts franz-go's fake cluster. It does not replicate, and its brokers do not die.
func startKfake(t testing.TB, brokers int, opts ...kfake.Opt) *kafkaTarget {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(brokers), kfake.SleepOutOfOrder()}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return &kafkaTarget{name: "kfake", seeds: c.ListenAddrs(), brokers: brokers, replication: 1, lacks: map[string]string{}}
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 10*time.Millisecond, what)
}
