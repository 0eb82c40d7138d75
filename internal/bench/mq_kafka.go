package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/vivarium-go/vivarium/mq"
)

// kafka is brokers that speak Kafka's protocol, over TCP, with clients of
// franz-go.
type kafka struct {
	seeds []string
	stop  func() error
}

func (k *kafka) Close() error { return k.stop() }

func (k *kafka) client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(opts, kgo.SeedBrokers(k.seeds...), kgo.MetadataMinAge(50*time.Millisecond))...)
}

// franzProducer has a client that lingers, for batches, and one that does not.
type franzProducer struct{ batching, prompt *kgo.Client }

func (k *kafka) producer(context.Context) (producer, error) {
	open := func(linger time.Duration) (*kgo.Client, error) {
		return k.client(kgo.DefaultProduceTopic(mqTopic), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(linger),
			kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(50_000))
	}
	batching, err := open(5 * time.Millisecond)
	if err != nil {
		return nil, err
	}
	prompt, err := open(0)
	if err != nil {
		batching.Close()
		return nil, err
	}
	return &franzProducer{batching, prompt}, nil
}

func (p *franzProducer) send(ctx context.Context, value []byte, done func(error)) error {
	p.batching.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) { done(err) })
	return nil
}

func (p *franzProducer) flush(ctx context.Context) error { return p.batching.Flush(ctx) }

func (p *franzProducer) sendSync(ctx context.Context, value []byte) error {
	return p.prompt.ProduceSync(ctx, &kgo.Record{Value: value}).FirstErr()
}

func (p *franzProducer) Close() error {
	p.batching.Close()
	p.prompt.Close()
	return nil
}

func (k *kafka) consume(ctx context.Context, n int) error {
	c, err := k.client(kgo.ConsumeTopics(mqTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer c.Close()
	for got := 0; got < n; {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			return fmt.Errorf("consumed %d of %d messages: %w", got, n, err)
		}
		f.EachRecord(func(*kgo.Record) { got++ })
	}
	return nil
}

// startKfake starts franz-go's fake broker, which replicates nothing.
func startKfake(fsync bool) func(context.Context, *Env) (messageLog, error) {
	return func(ctx context.Context, env *Env) (messageLog, error) {
		opts := []kfake.Opt{kfake.NumBrokers(1)}
		remove := func() error { return nil }
		if fsync {
			dir, removeDir, err := env.TempDir()
			if err != nil {
				return nil, err
			}
			remove = removeDir
			opts = append(opts, kfake.DataDir(dir), kfake.SyncWrites())
		}
		c, err := kfake.NewCluster(opts...)
		if err != nil {
			return nil, errors.Join(err, remove())
		}
		k := &kafka{seeds: c.ListenAddrs(), stop: func() error {
			c.Close()
			return remove()
		}}
		admin, err := mq.Connect(ctx, mq.ClientConfig{Seeds: k.seeds})
		if err == nil {
			err = errors.Join(createTopic(ctx, admin, 1), admin.Close())
		}
		if err != nil {
			return nil, errors.Join(err, k.Close())
		}
		return k, nil
	}
}
