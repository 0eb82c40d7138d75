package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/zk"
)

const (
	topic      = "lines"
	partitions = 6
	replicas   = 3
	group      = "word-count"
	members    = 2
	lineHeader = "line"
)

// result is what happened.
type result struct {
	sent, acked  int
	sending      time.Duration
	brokerKilled int32
	serverKilled int64
	// From the kill of the broker to the first write sent and acknowledged after
	// it, on any partition, and on one that it led.
	brokerFirst, brokerLed time.Duration
	// From the kill of the ensemble's leader to the first znode written after it.
	serverFirst time.Duration
	tally       *tally
	brokersSame string // empty: what all brokers hold is the same
	serversSame string
}

// run of the whole story; each method of driver is one of its parts.
type driver struct {
	in      *input
	p       *progress
	cluster *mq.Cluster
	client  *mq.Client
	res     result

	acked atomic.Int64
	gate  gate // holds the sender back until what must happen first has happened

	mu        sync.Mutex
	killedAt  time.Time
	wasLed    map[int32]bool // partitions that the killed broker led
	firstErr  error
	milestone map[int64]chan struct{} // closed when so many are acknowledged
}

func drive(ctx context.Context, in *input, data string, p *progress) (*result, error) {
	p.event("starting 3 servers and 3 brokers")
	cluster, err := mq.StartCluster(ctx, mq.ClusterConfig{DataDir: data, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	d := &driver{in: in, p: p, cluster: cluster}
	err = d.run(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return &d.res, errors.Join(err, cluster.Shutdown(stop))
}

func (d *driver) run(ctx context.Context) (err error) {
	d.client, err = d.cluster.Connect(ctx)
	if err != nil {
		return err
	}
	defer d.client.Close()
	err = d.client.CreateTopic(ctx, mq.TopicSpec{
		Name: topic, Partitions: partitions, Replicas: replicas, Configs: map[string]string{"min.insync.replicas": "2"},
	})
	if err != nil {
		return err
	}
	d.res.tally = newTally(d.in)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	fail := func(err error) {
		if err != nil {
			cancel(err)
		}
	}
	total := int64(d.in.lines)
	d.gate.init(total / 2)
	d.milestone = map[int64]chan struct{}{total / 3: make(chan struct{}), total / 2: make(chan struct{})}
	d.reach(0)

	var consuming, working sync.WaitGroup
	for range members {
		consuming.Go(func() { fail(d.consume(ctx)) })
	}
	working.Go(func() { fail(d.produce(ctx)) })
	working.Go(func() { fail(d.disturb(ctx)) })
	working.Wait()
	consuming.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.res.brokersSame = d.compareBrokers(ctx)
	d.res.serversSame = d.compareServers(ctx)
	return nil
}

// produce sends every line and waits until all are acknowledged.
func (d *driver) produce(ctx context.Context) error {
	producer, err := d.client.NewProducer(mq.ProducerConfig{})
	if err != nil {
		return err
	}
	start := time.Now()
	for _, f := range d.in.files {
		for i, line := range f.lines {
			if err := d.gate.pass(ctx); err != nil {
				return errors.Join(err, producer.Close())
			}
			r := &mq.Record{
				Topic: topic, Key: []byte(f.name), Value: line,
				Headers: []mq.Header{{Key: lineHeader, Value: strconv.AppendInt(nil, int64(i), 10)}},
			}
			if err := producer.Send(ctx, r, d.onAck); err != nil {
				return errors.Join(err, producer.Close())
			}
			d.res.sent++
		}
	}
	err = producer.Flush(ctx)
	d.res.sending = time.Since(start)
	err = errors.Join(err, producer.Close()) // callbacks take mu, so it is not held here
	d.res.acked = int(d.acked.Load())
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(err, d.firstErr)
}

func (d *driver) onAck(r *mq.Record, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if d.firstErr == nil {
			d.firstErr = fmt.Errorf("a line was not acknowledged: %w", err)
		}
		return
	}
	if !d.killedAt.IsZero() && r.Timestamp.After(d.killedAt) { // sent after it, too
		since := time.Since(d.killedAt)
		if d.res.brokerFirst == 0 {
			d.res.brokerFirst = since
		}
		if d.res.brokerLed == 0 && d.wasLed[r.Partition] {
			d.res.brokerLed = since
		}
	}
	n := d.acked.Add(1)
	d.reach(n)
	d.p.update("sent and acknowledged %d of %d lines", n, d.in.lines)
}

// reach opens the milestones up to n. The caller holds mu, or nobody else runs.
func (d *driver) reach(n int64) {
	for at, c := range d.milestone {
		if n >= at {
			close(c)
			delete(d.milestone, at)
		}
	}
}

func (d *driver) await(ctx context.Context, at int64) error {
	d.mu.Lock()
	c := d.milestone[at]
	d.mu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// disturb kills and restarts. The sender cannot run ahead of it.
func (d *driver) disturb(ctx context.Context) error {
	total := int64(d.in.lines)
	if err := d.await(ctx, total/3); err != nil {
		return err
	}
	if err := d.killBroker(ctx); err != nil {
		return err
	}
	d.gate.raise(max(total*2/3, total/2))
	if err := d.await(ctx, total/2); err != nil {
		return err
	}
	if err := d.killServer(ctx); err != nil {
		return err
	}
	if err := d.cluster.Ensemble().Restart(ctx, d.res.serverKilled); err != nil {
		return err
	}
	if err := d.cluster.Restart(ctx, d.res.brokerKilled); err != nil {
		return err
	}
	d.p.event("broker %d and server %d are back", d.res.brokerKilled, d.res.serverKilled)
	d.gate.raise(total)
	return nil
}

// killBroker kills the broker that leads most partitions of the topic.
func (d *driver) killBroker(ctx context.Context) error {
	info, err := d.client.DescribeTopic(ctx, topic)
	if err != nil {
		return err
	}
	led := make(map[int32]map[int32]bool)
	for _, p := range info.Partitions {
		if led[p.Leader] == nil {
			led[p.Leader] = make(map[int32]bool)
		}
		led[p.Leader][p.Partition] = true
	}
	for id, ps := range led {
		best := len(led[d.res.brokerKilled])
		if len(ps) > best || len(ps) == best && id < d.res.brokerKilled {
			d.res.brokerKilled = id
		}
	}
	d.mu.Lock()
	d.killedAt, d.wasLed = time.Now(), led[d.res.brokerKilled]
	d.mu.Unlock()
	d.p.event("killing broker %d, which leads %d of %d partitions", d.res.brokerKilled, len(d.wasLed), partitions)
	return d.cluster.Kill(d.res.brokerKilled)
}

// killServer kills the ensemble's leader and writes a znode as soon as it can.
func (d *driver) killServer(ctx context.Context) error {
	ensemble := d.cluster.Ensemble()
	c, err := ensemble.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	d.res.serverKilled = ensemble.Leader()
	d.p.event("killing server %d, the ensemble's leader", d.res.serverKilled)
	start := time.Now()
	if err := ensemble.Kill(d.res.serverKilled); err != nil {
		return err
	}
	for {
		_, err := c.Create(ctx, "/quickstart-", nil, zk.EphemeralSequential)
		if err == nil {
			d.res.serverFirst = time.Since(start)
			return nil
		}
		if !errors.Is(err, zk.ErrConnectionLoss) {
			return err
		}
	}
}

// gate lets the sender pass up to a limit, which only grows.
type gate struct {
	mu            sync.Mutex
	passed, limit int64
	raised        chan struct{}
}

func (g *gate) init(limit int64) { g.limit, g.raised = max(limit, 1), make(chan struct{}) }

func (g *gate) raise(limit int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limit = max(g.limit, limit)
	close(g.raised)
	g.raised = make(chan struct{})
}

func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.Lock()
		raised := g.raised
		if g.passed < g.limit {
			g.passed++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-raised:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
