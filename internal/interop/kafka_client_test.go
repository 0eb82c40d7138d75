package interop

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq"
)

// TestKafkaOnKfake runs mq.Client and third-party clients on franz-go's fake cluster.
func TestKafkaOnKfake(t *testing.T) {
	tg := startKfake(t, 3)
	tg.run(t, kafkaClientFlows)
	tg.run(t, kafkaThirdParties())
}

// kafkaThirdParties returns the flows of other people's clients.
func kafkaThirdParties() []kafkaFlow { return slices.Concat(kcatFlows, franzFlows, saramaFlows) }

// kafkaClientFlows are the stories of mq.Client.
var kafkaClientFlows = []kafkaFlow{
	{name: "admin", run: flowAdmin},
	{name: "produce", run: flowProduce},
	{name: "codecs", run: flowCodecs},
	{name: "acks", run: flowAcks},
	{name: "consume from", run: flowConsumeFrom},
	{name: "commit", run: flowCommit},
	{name: "group", run: flowGroup},
	{name: "many", run: flowMany},
}

// consumeN reads n records.
func consumeN(t testing.TB, cl *mq.Client, n int, cfg mq.ConsumerConfig) []*mq.Record {
	t.Helper()
	c, err := cl.NewConsumer(cfg)
	require.NoError(t, err)
	defer c.Close()
	return readN(t, c, n)
}

// readN reads n records from c.
func readN(t testing.TB, c *mq.Consumer, n int) []*mq.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var got []*mq.Record
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		if got = append(got, r); len(got) == n {
			break
		}
	}
	require.Len(t, got, n)
	return got
}

func flowAdmin(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	cluster, err := cl.Cluster(ctx)
	require.NoError(t, err)
	require.Len(t, cluster.Brokers, tg.brokers)

	topic := tg.topic(t, cl, 3)
	info, err := cl.DescribeTopic(ctx, topic)
	require.NoError(t, err)
	require.Len(t, info.Partitions, 3)
	for i, p := range info.Partitions {
		require.EqualValues(t, i, p.Partition)
		require.GreaterOrEqual(t, p.Leader, int32(0))
		require.Len(t, p.Replicas, tg.replication)
		require.NotEmpty(t, p.ISR)
	}
	err = cl.CreateTopic(ctx, mq.TopicSpec{Name: topic, Partitions: 1, Replicas: 1})
	require.ErrorIs(t, err, mq.ErrTopicAlreadyExists)
	_, err = cl.DescribeTopic(ctx, topic+"-missing")
	require.ErrorIs(t, err, mq.ErrUnknownTopicOrPartition)
	infos, err := cl.Topics(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, infos)
	require.NoError(t, cl.DeleteTopics(ctx, topic))
	eventually(t, "topic deleted", func() bool {
		_, err := cl.DescribeTopic(ctx, topic)
		return err != nil
	})
	require.ErrorIs(t, cl.DeleteTopics(ctx, topic), mq.ErrUnknownTopicOrPartition)
}

func flowProduce(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 3)
	p, err := cl.NewProducer(mq.ProducerConfig{})
	require.NoError(t, err)
	stamp := time.UnixMilli(1_600_000_000_123)
	recs := []*mq.Record{
		{Topic: topic, Key: []byte("a"), Value: []byte("1"), Timestamp: stamp, Headers: []mq.Header{{Key: "h", Value: []byte("v")}, {Key: "null"}}},
		{Topic: topic, Key: []byte("b"), Value: nil},
		{Topic: topic, Key: nil, Value: []byte{}},
	}
	require.NoError(t, p.SendSync(ctx, recs...))
	for _, r := range recs {
		require.GreaterOrEqual(t, r.Offset, int64(0))
	}
	require.NoError(t, p.Shutdown(ctx))
	require.ErrorIs(t, p.Send(ctx, recs[0], nil), mq.ErrClosed)

	byKey := make(map[string]*mq.Record)
	for _, r := range consumeN(t, cl, 3, mq.ConsumerConfig{Topics: []string{topic}}) {
		byKey[string(r.Key)] = r
	}
	require.Equal(t, "1", string(byKey["a"].Value))
	require.True(t, byKey["a"].Timestamp.Equal(stamp))
	require.Equal(t, recs[0].Headers, byKey["a"].Headers)
	require.Equal(t, recs[0].Offset, byKey["a"].Offset)
	require.Equal(t, recs[0].Partition, byKey["a"].Partition)
	require.Nil(t, byKey["b"].Value)
	require.Nil(t, byKey[""].Key)
	require.NotNil(t, byKey[""].Value)
}

func flowCodecs(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 1)
	const each = 500
	value := fmt.Appendf(nil, "%0200d", 7)
	for codec := mq.CompressionNone; codec <= mq.CompressionZstd; codec++ {
		p, err := cl.NewProducer(mq.ProducerConfig{Compression: codec, Linger: 5 * time.Millisecond})
		require.NoError(t, err)
		for i := range each {
			require.NoError(t, p.Send(ctx, &mq.Record{Topic: topic, Key: fmt.Append(nil, codec, i), Value: value}, func(_ *mq.Record, err error) {
				require.NoError(t, err)
			}))
		}
		require.NoError(t, p.Shutdown(ctx))
	}
	for i, r := range consumeN(t, cl, 5*each, mq.ConsumerConfig{Topics: []string{topic}}) {
		require.EqualValues(t, i, r.Offset)
		require.Equal(t, fmt.Sprint(mq.Compression(i/each), i%each), string(r.Key))
		require.Equal(t, value, r.Value)
	}
}

func flowAcks(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 1)
	for _, acks := range []mq.Acks{mq.AcksAll, mq.AcksLeader, mq.AcksNone} {
		p, err := cl.NewProducer(mq.ProducerConfig{Acks: acks})
		require.NoError(t, err)
		for range 10 {
			require.NoError(t, p.SendSync(ctx, &mq.Record{Topic: topic, Value: fmt.Append(nil, acks)}))
		}
		require.NoError(t, p.Shutdown(ctx))
	}
	for i, r := range consumeN(t, cl, 30, mq.ConsumerConfig{Topics: []string{topic}}) {
		require.Equal(t, fmt.Sprint(i/10), string(r.Value))
	}
}

func flowConsumeFrom(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 1)
	p, err := cl.NewProducer(mq.ProducerConfig{})
	require.NoError(t, err)
	base := time.UnixMilli(1_700_000_000_000)
	for i := range 10 {
		r := &mq.Record{Topic: topic, Value: fmt.Append(nil, i), Timestamp: base.Add(time.Duration(i) * time.Second)}
		require.NoError(t, p.SendSync(ctx, r))
		require.EqualValues(t, i, r.Offset)
	}
	tp := mq.TopicPartition{Topic: topic}
	for start, first := range map[int64]int{mq.OffsetEarliest: 0, 4: 4, 99: 0} { // 99 is out of range
		got := consumeN(t, cl, 10-first, mq.ConsumerConfig{Partitions: map[mq.TopicPartition]int64{tp: start}})
		require.Equal(t, fmt.Sprint(first), string(got[0].Value))
	}
	earliest, err := cl.ListOffsets(ctx, topic, mq.OffsetEarliest)
	require.NoError(t, err)
	require.EqualValues(t, 0, earliest[0].Offset)
	latest, err := cl.ListOffsets(ctx, topic, mq.OffsetLatest)
	require.NoError(t, err)
	require.EqualValues(t, 10, latest[0].Offset)
	byTime, err := cl.ListOffsets(ctx, topic, base.Add(3500*time.Millisecond).UnixMilli())
	require.NoError(t, err)
	require.EqualValues(t, 4, byTime[0].Offset)

	c, err := cl.NewConsumer(mq.ConsumerConfig{Partitions: map[mq.TopicPartition]int64{tp: mq.OffsetLatest}})
	require.NoError(t, err)
	defer c.Close()
	eventually(t, "position", func() bool { pos, err := c.Position(tp); return err == nil && pos == 10 })
	require.NoError(t, p.SendSync(ctx, &mq.Record{Topic: topic, Value: []byte("new")}))
	require.Equal(t, "new", string(readN(t, c, 1)[0].Value))
	require.NoError(t, c.Seek(tp, 7))
	require.Equal(t, "7", string(readN(t, c, 1)[0].Value))
	got := readN(t, c, 2)
	require.Equal(t, "8", string(got[0].Value))
	require.NoError(t, c.Rewind(got[0]))
	require.Equal(t, "8", string(readN(t, c, 1)[0].Value))
	require.NoError(t, p.Shutdown(ctx))
}

func flowCommit(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 1)
	p, err := cl.NewProducer(mq.ProducerConfig{})
	require.NoError(t, err)
	for i := range 10 {
		require.NoError(t, p.SendSync(ctx, &mq.Record{Topic: topic, Value: fmt.Append(nil, i)}))
	}
	group := "g-" + topic
	tp := mq.TopicPartition{Topic: topic}
	committed := func() int64 {
		offsets, err := cl.CommittedOffsets(ctx, group)
		require.NoError(t, err)
		if o, ok := offsets[tp]; ok {
			return o.Offset
		}
		return -1
	}
	cfg := mq.ConsumerConfig{Group: group, Topics: []string{topic}}
	c, err := cl.NewConsumer(cfg)
	require.NoError(t, err)
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		if r.Offset == 4 {
			require.NoError(t, c.Commit(ctx)) // does not cover the record at hand
			break
		}
	}
	require.EqualValues(t, 4, committed())
	require.NoError(t, c.Commit(ctx)) // covers it: the loop was left
	require.EqualValues(t, 5, committed())
	require.NoError(t, c.Close())

	cfg.AutoCommitInterval = time.Hour
	c, err = cl.NewConsumer(cfg)
	require.NoError(t, err)
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		require.GreaterOrEqual(t, r.Offset, int64(5))
		if r.Offset == 8 {
			break // as if it had failed
		}
	}
	require.NoError(t, c.Close())
	require.EqualValues(t, 8, committed())

	require.Equal(t, "8", string(consumeN(t, cl, 1, mq.ConsumerConfig{Group: group, Topics: []string{topic}})[0].Value))
	groups, err := cl.ListGroups(ctx)
	require.NoError(t, err)
	require.Condition(t, func() bool {
		for _, g := range groups {
			if g.Group == group {
				return true
			}
		}
		return false
	})
	require.NoError(t, cl.CommitOffsets(ctx, group, map[mq.TopicPartition]mq.CommittedOffset{tp: {Offset: 2, LeaderEpoch: -1, Metadata: "m"}}))
	offsets, err := cl.CommittedOffsets(ctx, group)
	require.NoError(t, err)
	require.EqualValues(t, 2, offsets[tp].Offset)
	require.Equal(t, "m", offsets[tp].Metadata)
	require.NoError(t, cl.DeleteGroups(ctx, group))
	require.NoError(t, p.Shutdown(ctx))
}

// flowGroup has two members share a topic while records arrive, then one of them leaves.
func flowGroup(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 6)
	group := "g-" + topic
	var mu sync.Mutex
	seen := make(map[string]int)
	var members sync.WaitGroup
	start := func() (*mq.Consumer, context.CancelFunc) {
		c, err := cl.NewConsumer(mq.ConsumerConfig{
			Group: group, Topics: []string{topic}, HeartbeatInterval: 100 * time.Millisecond, AutoCommitInterval: 50 * time.Millisecond,
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(ctx)
		members.Go(func() {
			for r, err := range c.Records(ctx) {
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[string(r.Value)]++
				mu.Unlock()
			}
		})
		return c, cancel
	}
	p, err := cl.NewProducer(mq.ProducerConfig{})
	require.NoError(t, err)
	sent := 0
	send := func(n int) {
		for range n {
			require.NoError(t, p.SendSync(ctx, &mq.Record{Topic: topic, Key: fmt.Append(nil, sent), Value: fmt.Append(nil, sent)}))
			sent++
		}
	}
	all := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == sent
	}
	a, stopA := start()
	eventually(t, "first member has all", func() bool { return len(a.Assignment()) == 6 })
	send(50)
	eventually(t, "all seen", all)
	b, stopB := start()
	eventually(t, "they share", func() bool { return len(a.Assignment()) == 3 && len(b.Assignment()) == 3 })
	info, err := cl.DescribeGroup(ctx, group)
	require.NoError(t, err)
	require.Equal(t, "Stable", info.State)
	require.Len(t, info.Members, 2)
	require.Len(t, info.Members[0].Assigned, 3)
	send(50)
	eventually(t, "all seen", all)
	stopA()
	require.NoError(t, a.Close())
	eventually(t, "second member has all", func() bool { return len(b.Assignment()) == 6 })
	send(50)
	eventually(t, "all seen", all)
	stopB()
	require.NoError(t, b.Close())
	members.Wait()
	require.NoError(t, p.Shutdown(ctx))
	for v, n := range seen {
		require.Equal(t, 1, n, "record %s was delivered %d times, though every rebalance was orderly", v, n)
	}
}

// flowMany sends many records through full batches and many requests, and checks their order.
func flowMany(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	cl := tg.connect(t)
	topic := tg.topic(t, cl, 4)
	const n = 100_000
	p, err := cl.NewProducer(mq.ProducerConfig{BufferBytesMax: 4 << 20})
	require.NoError(t, err)
	value := make([]byte, 100)
	var failed error
	for i := range n {
		copy(value, fmt.Sprintf("%08d", i)) // reused: Send has copied it
		require.NoError(t, p.Send(ctx, &mq.Record{Topic: topic, Partition: int32(i % 4), Key: fmt.Append(nil, i%1000), Value: value}, func(_ *mq.Record, err error) {
			if err != nil {
				failed = err
			}
		}))
	}
	require.NoError(t, p.Flush(ctx))
	require.NoError(t, failed)
	require.NoError(t, p.Close())
	last := make(map[string]string)
	next := make(map[int32]int64)
	for _, r := range consumeN(t, cl, n, mq.ConsumerConfig{Topics: []string{topic}}) {
		require.Equal(t, next[r.Partition], r.Offset)
		next[r.Partition]++
		require.Less(t, last[string(r.Key)], string(r.Value[:8]))
		last[string(r.Key)] = string(r.Value[:8])
	}
	require.Len(t, last, 1000)
}
