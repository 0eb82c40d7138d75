package interop

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// saramaFlows are the stories of sarama, over TCP.
var saramaFlows = []kafkaFlow{
	{name: "sarama produce and consume", run: flowSaramaProduce},
	{name: "sarama group", run: flowSaramaGroup},
	{name: "sarama admin", run: flowSaramaAdmin},
}

// saramaConfig returns a configuration for tests; versions are those of Kafka 2.8.
func (tg *kafkaTarget) saramaConfig(t testing.TB) *sarama.Config {
	if tg.network != nil {
		t.Skip("sarama speaks TCP only")
	}
	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	if tg.name == "apache" {
		cfg.Version = sarama.V2_7_1_0
	}
	cfg.Producer.Return.Successes = true
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Producer.Idempotent = true
	cfg.Net.MaxOpenRequests = 1
	cfg.Consumer.Offsets.Initial = sarama.OffsetOldest
	cfg.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	cfg.Consumer.MaxWaitTime = 200 * time.Millisecond
	return cfg
}

func flowSaramaProduce(t *testing.T, tg *kafkaTarget) {
	topic := tg.topic(t, tg.connect(t), 1)
	for i, codec := range []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	} {
		cfg := tg.saramaConfig(t)
		cfg.Producer.Compression = codec
		p, err := sarama.NewSyncProducer(tg.seeds, cfg)
		require.NoError(t, err)
		var msgs []*sarama.ProducerMessage
		for j := range 100 {
			msgs = append(msgs, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("%d-%0100d", i, j))})
		}
		require.NoError(t, p.SendMessages(msgs))
		require.NoError(t, p.Close())
	}
	c, err := sarama.NewConsumer(tg.seeds, tg.saramaConfig(t))
	require.NoError(t, err)
	defer c.Close()
	pc, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
	require.NoError(t, err)
	defer pc.Close()
	for i := range 500 {
		select {
		case m := <-pc.Messages():
			require.Equal(t, fmt.Sprintf("%d-%0100d", i/100, i%100), string(m.Value))
		case <-time.After(20 * time.Second):
			t.Fatalf("message %d did not come", i)
		}
	}
	got := consumeN(t, tg.connect(t), 500, fromTopic(topic))
	require.Equal(t, fmt.Sprintf("4-%0100d", 99), string(got[499].Value))
}

// saramaMember counts what it is given.
type saramaMember struct {
	mu     sync.Mutex
	seen   map[string]bool
	claims int
}

func (m *saramaMember) Setup(s sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims = 0
	for _, ps := range s.Claims() {
		m.claims += len(ps)
	}
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for msg := range claim.Messages() {
		m.mu.Lock()
		m.seen[string(msg.Value)] = true
		m.mu.Unlock()
		s.MarkMessage(msg, "")
	}
	return nil
}

func (m *saramaMember) state() (claims, seen int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claims, len(m.seen)
}

func flowSaramaGroup(t *testing.T, tg *kafkaTarget) {
	topic := tg.topic(t, tg.connect(t), 4)
	ctx, stop := context.WithCancel(testContext(t))
	var running sync.WaitGroup
	start := func() (*saramaMember, sarama.ConsumerGroup) {
		g, err := sarama.NewConsumerGroup(tg.seeds, "g-"+topic, tg.saramaConfig(t))
		require.NoError(t, err)
		m := &saramaMember{seen: make(map[string]bool)}
		running.Go(func() {
			for ctx.Err() == nil {
				if err := g.Consume(ctx, []string{topic}, m); err != nil {
					return
				}
			}
		})
		return m, g
	}
	a, ga := start()
	eventually(t, "one has all", func() bool { n, _ := a.state(); return n == 4 })
	b, gb := start()
	eventually(t, "two share", func() bool {
		na, _ := a.state()
		nb, _ := b.state()
		return na == 2 && nb == 2
	})
	p, err := sarama.NewSyncProducer(tg.seeds, tg.saramaConfig(t))
	require.NoError(t, err)
	for i := range 80 {
		_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(fmt.Sprint(i)), Value: sarama.StringEncoder(fmt.Sprint(i))})
		require.NoError(t, err)
	}
	require.NoError(t, p.Close())
	eventually(t, "all seen", func() bool {
		_, sa := a.state()
		_, sb := b.state()
		return sa+sb == 80
	})
	stop()
	require.NoError(t, ga.Close())
	require.NoError(t, gb.Close())
	running.Wait()
}

func flowSaramaAdmin(t *testing.T, tg *kafkaTarget) {
	admin, err := sarama.NewClusterAdmin(tg.seeds, tg.saramaConfig(t))
	require.NoError(t, err)
	defer admin.Close()
	name := tg.topic(t, tg.connect(t), 1) + "-s"
	require.NoError(t, admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: int16(tg.replication)}, false))
	require.ErrorIs(t, admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: int16(tg.replication)}, false), sarama.ErrTopicAlreadyExists)
	eventually(t, "topic is listed", func() bool {
		topics, err := admin.ListTopics()
		return err == nil && topics[name].NumPartitions == 2
	})
	require.NoError(t, admin.DeleteTopic(name))
}
