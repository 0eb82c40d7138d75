package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/mq"
)

// brokersOf says which of our clusters to start: as many brokers as replicas.
type brokersOf struct {
	rf          int
	tcp         bool // else a network in memory
	disk, fsync bool // else memory, else the page cache
	franz       bool // clients are franz-go's, else ours
}

// ourBrokers is a cluster of package mq in this process with our client.
type ourBrokers struct {
	*mq.Cluster
	client *mq.Client
	remove func() error // its data
}

func startBrokers(of brokersOf) func(context.Context, *Env) (messageLog, error) {
	return func(ctx context.Context, env *Env) (messageLog, error) {
		o, err := startCluster(ctx, env, of)
		if err != nil {
			return nil, err
		}
		if err := createTopic(ctx, o.client, of.rf); err != nil {
			return nil, errors.Join(err, o.Close())
		}
		if of.franz {
			return &kafka{seeds: o.Addrs(), stop: o.Close}, nil
		}
		return o, nil
	}
}

// startCluster starts brokers and an ensemble of three.
func startCluster(ctx context.Context, env *Env, of brokersOf) (*ourBrokers, error) {
	o := &ourBrokers{remove: func() error { return nil }}
	cfg := mq.ClusterConfig{Brokers: of.rf}
	if of.tcp {
		cfg.Network = &tcp{}
	}
	if !of.fsync {
		cfg.Broker.LogFlushIntervalMessages = 1 << 40
	}
	var err error
	if of.disk {
		if cfg.DataDir, o.remove, err = env.TempDir(); err != nil {
			return nil, err
		}
	}
	if o.Cluster, err = mq.StartCluster(ctx, cfg); err != nil {
		return nil, errors.Join(err, o.remove())
	}
	if o.client, err = o.Connect(ctx); err != nil {
		return nil, errors.Join(err, o.Cluster.Close(), o.remove())
	}
	return o, nil
}

// createTopic serves all that speak Kafka's protocol.
func createTopic(ctx context.Context, c *mq.Client, rf int) error {
	return c.CreateTopic(ctx, mq.TopicSpec{Name: mqTopic, Partitions: mqPartitions, Replicas: rf})
}

func (o *ourBrokers) Close() error {
	return errors.Join(o.client.Close(), o.Cluster.Close(), o.remove())
}

func (o *ourBrokers) producer(context.Context) (producer, error) {
	p, err := o.client.NewProducer(mq.ProducerConfig{})
	if err != nil {
		return nil, err
	}
	return ourProducer{p}, nil
}

type ourProducer struct{ *mq.Producer }

func (p ourProducer) send(ctx context.Context, value []byte, done func(error)) error {
	return p.Send(ctx, &mq.Record{Topic: mqTopic, Value: value}, func(_ *mq.Record, err error) { done(err) })
}

func (p ourProducer) flush(ctx context.Context) error { return p.Flush(ctx) }

func (p ourProducer) sendSync(ctx context.Context, value []byte) error {
	return p.SendSync(ctx, &mq.Record{Topic: mqTopic, Value: value})
}

func (o *ourBrokers) consume(ctx context.Context, n int) (err error) {
	c, err := o.client.NewConsumer(mq.ConsumerConfig{Topics: []string{mqTopic}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	got := 0
	for _, err := range c.Records(ctx) {
		if err != nil {
			return err
		}
		if got++; got == n {
			return nil
		}
	}
	return fmt.Errorf("consumed %d of %d messages: %w", got, n, context.Cause(ctx))
}
