package mqtest_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/mq/mqtest"
)

// The package's own promise: a cluster, a client, a fault, in a bubble, and nothing left behind.
func TestClusterInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mqtest.Start(t)
		client := c.Connect()
		require.NoError(t, client.CreateTopic(t.Context(), mq.TopicSpec{Name: "t", Partitions: 1, Replicas: 3}))
		p, err := client.NewProducer(mq.ProducerConfig{})
		require.NoError(t, err)
		send := func(v string) {
			t.Helper()
			require.NoError(t, p.SendSync(t.Context(), &mq.Record{Topic: "t", Value: []byte(v)}))
		}
		send("a")
		first := c.WaitLeader("t", 0)
		c.Kill(first)
		send("b")
		second := c.WaitLeader("t", 0, first)
		c.Isolate(second)
		c.Restart(first)
		c.WaitLeader("t", 0, second)
		c.Heal()
		send("c")
		c.WaitInSync("t", 0, 3)
		c.Stop(first)
		c.WaitInSync("t", 0, 2)
		send("d")
		require.NoError(t, p.Close())
	})
}
