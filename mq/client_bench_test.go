package mq

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// benchCluster gives a client of a cluster of one broker in memory, with a topic of the given number of partitions.
func benchCluster(b *testing.B, partitions int) *Client {
	b.Helper()
	ctx := context.Background()
	cluster, err := StartCluster(ctx, ClusterConfig{Brokers: 1, Servers: 1})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, cluster.Close()) })
	c, err := cluster.Connect(ctx)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	require.NoError(b, c.CreateTopic(ctx, TopicSpec{Name: "t", Partitions: partitions, Replicas: 1}))
	return c
}

// BenchmarkProduce sends records of 100 bytes without waiting, in one process, through the protocol, into a broker's log in memory.
func BenchmarkProduce(b *testing.B) {
	c := benchCluster(b, 6)
	p, err := c.NewProducer(ProducerConfig{})
	require.NoError(b, err)
	ctx := context.Background()
	value := make([]byte, 100)
	failed := 0
	done := func(_ *Record, err error) {
		if err != nil {
			failed++
		}
	}
	records := make([]Record, 1<<17) // the caller's; more than can be in flight
	b.SetBytes(100)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r := &records[i%len(records)]
		i++
		*r = Record{Topic: "t", Value: value}
		if err := p.Send(ctx, r, done); err != nil {
			b.Fatal(err)
		}
		if i%len(records) == 0 {
			require.NoError(b, p.Flush(ctx))
		}
	}
	require.NoError(b, p.Flush(ctx))
	require.Zero(b, failed)
}

// BenchmarkProduceSync waits for each record.
func BenchmarkProduceSync(b *testing.B) {
	c := benchCluster(b, 1)
	p, err := c.NewProducer(ProducerConfig{})
	require.NoError(b, err)
	ctx := context.Background()
	value := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.SendSync(ctx, &Record{Topic: "t", Value: value}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkConsume reads 600,000 records of 100 bytes from 6 partitions.
func BenchmarkConsume(b *testing.B) {
	c := benchCluster(b, 6)
	ctx := context.Background()
	p, err := c.NewProducer(ProducerConfig{})
	require.NoError(b, err)
	value := make([]byte, 100)
	const n = 600_000
	for range n {
		require.NoError(b, p.Send(ctx, &Record{Topic: "t", Value: value}, nil))
	}
	require.NoError(b, p.Shutdown(ctx))
	b.SetBytes(100 * n)
	for b.Loop() {
		k, err := c.NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.NoError(b, err)
		got := 0
		for _, err := range k.Records(ctx) {
			if err != nil {
				b.Fatal(err)
			}
			if got++; got == n {
				break
			}
		}
		require.NoError(b, k.Close())
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkDecode yields the records of a fetched chunk: the consumer's own work for a record.
func BenchmarkDecode(b *testing.B) {
	var builder batch.Builder
	value := make([]byte, 100)
	for i := range 8000 {
		require.NoError(b, builder.Append(int64(i/100), nil, value, nil))
	}
	bytes := builder.Build(batch.NewSpec())
	c := &Consumer{}
	b.ReportAllocs()
	count := 0
	for b.Loop() {
		if count > 0 {
			count--
			continue
		}
		pp := &consumerPartition{tp: TopicPartition{"t", 0}}
		c.yieldChunk(context.Background(), &consumerChunk{pp: pp, bytes: bytes}, func(*Record, error) bool {
			count++
			return true
		})
	}
}

// TestSendAllocations checks that Send allocates nothing for a record that finds an open batch.
func TestSendAllocations(t *testing.T) {
	c := &Client{cfg: ClientConfig{}}
	p := &Producer{c: c, cfg: ProducerConfig{Partitioner: DefaultPartitioner, BatchBytesMax: 1 << 20}}
	p.buffered.init(1 << 30)
	topic := &producerTopic{p: p, name: "t"}
	topic.partitions.Store(&[]*producerPartition{{p: p, topic: topic, pid: -1}})
	p.topics.Store(&map[string]*producerTopic{"t": topic})
	rng := rand.New(rand.NewPCG(1, 2))
	r := &Record{Topic: "t", Key: []byte("key"), Value: make([]byte, 20), Headers: []Header{{"h", []byte("v")}}}
	ctx := context.Background()
	for range 5000 { // until the batch's buffers have grown
		require.NoError(t, p.Send(ctx, r, nil))
	}
	allocs := testing.AllocsPerRun(100, func() {
		r.Timestamp = time.UnixMilli(rng.Int64N(1000))
		if err := p.Send(ctx, r, nil); err != nil {
			t.Fatal(err)
		}
	})
	require.Zero(t, allocs)
}
