package interop

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/vivarium-go/vivarium/mq"
)

// franzFlows are the stories of franz-go, over TCP or any other network.
var franzFlows = []kafkaFlow{
	{name: "franz-go produce and consume", run: flowFranzProduce},
	{name: "franz-go codecs", run: flowFranzCodecs},
	{name: "franz-go group", run: flowFranzGroup},
	{name: "franz-go mixed group", run: flowMixedGroup},
	{name: "franz-go many", run: flowFranzMany},
}

// franz gives a client of franz-go.
func (tg *kafkaTarget) franz(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers(tg.seeds...), kgo.FetchMaxWait(200 * time.Millisecond)}, opts...)
	if tg.network != nil {
		opts = append(opts, kgo.Dialer(tg.network.DialContext))
	}
	cl, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// fromTopic configures a consumer of a whole topic.
func fromTopic(topic string) mq.ConsumerConfig { return mq.ConsumerConfig{Topics: []string{topic}} }

// franzN polls until there are n records.
func franzN(t testing.TB, cl *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < n {
		fetches := cl.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		got = append(got, fetches.Records()...)
	}
	require.Len(t, got, n)
	return got
}

func flowFranzProduce(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	ours := tg.connect(t)
	topic := tg.topic(t, ours, 3)
	cl := tg.franz(t, kgo.ConsumeTopics(topic))
	var recs []*kgo.Record
	for i := range 300 {
		recs = append(recs, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i%10), Value: fmt.Appendf(nil, "%d", i), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}})
	}
	require.NoError(t, cl.ProduceSync(ctx, recs...).FirstErr())
	got := franzN(t, cl, 300)
	require.Equal(t, "v", string(got[0].Headers[0].Value))

	// The two clients agree on where keys go, and read one another.
	p, err := ours.NewProducer(mq.ProducerConfig{})
	require.NoError(t, err)
	for i := range 10 {
		r := &mq.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i), Value: []byte("ours")}
		require.NoError(t, p.SendSync(ctx, r))
		require.Equal(t, recs[i].Partition, r.Partition, "key k%d", i)
	}
	require.NoError(t, p.Shutdown(ctx))
	for _, r := range franzN(t, cl, 10) {
		require.Equal(t, "ours", string(r.Value))
	}
	require.Len(t, consumeN(t, ours, 310, fromTopic(topic)), 310)
}

func flowFranzCodecs(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	ours := tg.connect(t)
	topic := tg.topic(t, ours, 1)
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	for i, codec := range codecs {
		cl := tg.franz(t, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(5*time.Millisecond))
		var recs []*kgo.Record
		for j := range 200 {
			recs = append(recs, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d-%0100d", i, j)})
		}
		require.NoError(t, cl.ProduceSync(ctx, recs...).FirstErr())
		p, err := ours.NewProducer(mq.ProducerConfig{Compression: mq.Compression(i), Linger: 5 * time.Millisecond})
		require.NoError(t, err)
		for j := range 200 {
			require.NoError(t, p.Send(ctx, &mq.Record{Topic: topic, Value: fmt.Appendf(nil, "%d-%0100d", i, 200+j)}, nil))
		}
		require.NoError(t, p.Shutdown(ctx))
	}
	theirs := franzN(t, tg.franz(t, kgo.ConsumeTopics(topic)), 2000)
	mine := consumeN(t, ours, 2000, fromTopic(topic))
	for i := range 2000 {
		want := fmt.Sprintf("%d-%0100d", i/400, i%400)
		require.Equal(t, want, string(theirs[i].Value))
		require.Equal(t, want, string(mine[i].Value))
	}
}

// flowFranzGroup has two members of franz-go share a topic.
func flowFranzGroup(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	ours := tg.connect(t)
	topic := tg.topic(t, ours, 4)
	group := "g-" + topic
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		start := func() *kgo.Client {
			return tg.franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.HeartbeatInterval(200*time.Millisecond),
				kgo.DisableAutoCommit(), kgo.SessionTimeout(10*time.Second))
		}
		a := start()
		polling, stop := context.WithCancel(ctx)
		var pollers sync.WaitGroup
		var mu sync.Mutex
		seen := make(map[string]bool)
		poll := func(cl *kgo.Client) {
			for polling.Err() == nil {
				fetches := cl.PollFetches(polling)
				mu.Lock()
				fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
				mu.Unlock()
				if fetches.NumRecords() > 0 {
					_ = cl.CommitUncommittedOffsets(polling)
				}
			}
		}
		pollers.Go(func() { poll(a) })
		b := start()
		pollers.Go(func() { poll(b) })
		eventually(t, "two members share", func() bool {
			info, err := ours.DescribeGroup(ctx, group)
			return err == nil && info.State == "Stable" && len(info.Members) == 2 && len(info.Members[0].Assigned) == 2 && len(info.Members[1].Assigned) == 2
		})
		cl := tg.franz(t)
		var recs []*kgo.Record
		for i := range 100 {
			recs = append(recs, &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, balancer.ProtocolName(), i)})
		}
		require.NoError(t, cl.ProduceSync(ctx, recs...).FirstErr())
		eventually(t, "all seen", func() bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for _, r := range recs {
				if seen[string(r.Value)] {
					n++
				}
			}
			return n == len(recs)
		})
		stop()
		pollers.Wait()
		require.NoError(t, a.CommitUncommittedOffsets(ctx))
		require.NoError(t, b.CommitUncommittedOffsets(ctx))
		a.Close()
		b.Close()
		committed := int64(0)
		offsets, err := ours.CommittedOffsets(ctx, group)
		require.NoError(t, err)
		for _, o := range offsets {
			committed += o.Offset
		}
		latest, err := ours.ListOffsets(ctx, topic, mq.OffsetLatest)
		require.NoError(t, err)
		for _, o := range latest {
			committed -= o.Offset
		}
		require.Zero(t, committed, "what was consumed is committed")
		eventually(t, "group is empty", func() bool {
			info, err := ours.DescribeGroup(ctx, group)
			return err == nil && info.State == "Empty"
		})
	}
}

// flowMixedGroup has a member of franz-go and one of ours in one group.
func flowMixedGroup(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	ours := tg.connect(t)
	topic := tg.topic(t, ours, 4)
	group := "g-" + topic
	theirs := tg.franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.RangeBalancer()), kgo.HeartbeatInterval(200*time.Millisecond))
	polling, stop := context.WithCancel(ctx)
	var pollers sync.WaitGroup
	defer pollers.Wait()
	defer stop()
	var mu sync.Mutex
	var seen []string
	pollers.Go(func() {
		for polling.Err() == nil {
			theirs.PollFetches(polling).EachRecord(func(r *kgo.Record) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, "franz")
			})
		}
	})
	c, err := ours.NewConsumer(mq.ConsumerConfig{Group: group, Topics: []string{topic}, HeartbeatInterval: 200 * time.Millisecond})
	require.NoError(t, err)
	defer c.Close()
	pollers.Go(func() {
		for range c.Records(polling) {
			mu.Lock()
			seen = append(seen, "ours")
			mu.Unlock()
		}
	})
	eventually(t, "they share", func() bool {
		info, err := ours.DescribeGroup(ctx, group)
		return err == nil && info.State == "Stable" && len(info.Members) == 2 && len(c.Assignment()) == 2
	})
	p, err := ours.NewProducer(mq.ProducerConfig{Partitioner: mq.ManualPartitioner})
	require.NoError(t, err)
	for i := range 40 {
		require.NoError(t, p.SendSync(ctx, &mq.Record{Topic: topic, Partition: int32(i % 4)}))
	}
	eventually(t, "all seen, half by each", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) == 40 && len(slices.DeleteFunc(slices.Clone(seen), func(s string) bool { return s == "ours" })) == 20
	})
}

// flowFranzMany sends many records with franz-go's defaults and checks their order.
func flowFranzMany(t *testing.T, tg *kafkaTarget) {
	ctx := testContext(t)
	topic := tg.topic(t, tg.connect(t), 4)
	cl := tg.franz(t, kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic), kgo.MaxBufferedRecords(20_000))
	const n = 100_000
	value := make([]byte, 100)
	var mu sync.Mutex
	var failed error
	for i := range n {
		cl.Produce(ctx, &kgo.Record{Key: fmt.Append(nil, i%1000), Value: append(fmt.Appendf(nil, "%08d", i), value...)}, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	require.NoError(t, cl.Flush(ctx))
	require.NoError(t, failed)
	last := make(map[string]string)
	for _, r := range franzN(t, cl, n) {
		require.Less(t, last[string(r.Key)], string(r.Value[:8]))
		last[string(r.Key)] = string(r.Value[:8])
	}
}
