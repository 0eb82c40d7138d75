package mq

import (
	"cmp"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// rawClient speaks the Kafka protocol to the brokers of a cluster, one request at a time, without any logic of its own: what the
// broker's tests drive it with.
type rawClient struct {
	t     *testing.T
	ctx   context.Context
	c     *Cluster
	conns map[int32]*peerConn
}

func newRawClient(ctx context.Context, t *testing.T, c *Cluster) *rawClient {
	r := &rawClient{t: t, ctx: ctx, c: c, conns: map[int32]*peerConn{}}
	return r
}

func (r *rawClient) close() {
	for _, c := range r.conns {
		c.close()
	}
	clear(r.conns)
}

// try sends a request to a broker; the connection is dropped if that fails.
func (r *rawClient) try(id int32, req kmsg.Request) (kmsg.Response, error) {
	b := r.c.Broker(id)
	if b == nil {
		return nil, fmt.Errorf("broker %d does not run", id)
	}
	c := r.conns[id]
	if c == nil {
		var err error
		if c, err = dialPeer(r.ctx, r.c.Network(), b.Addr(), "test", 64<<20); err != nil {
			return nil, err
		}
		r.conns[id] = c
	}
	_ = c.nc.SetDeadline(time.Now().Add(20 * time.Second))
	err := c.send(req)
	var resp kmsg.Response
	if err == nil {
		resp, err = c.receive(req, c.corr)
	}
	if err != nil {
		c.close()
		delete(r.conns, id)
	}
	return resp, err
}

// do is try that must succeed.
func (r *rawClient) do(id int32, req kmsg.Request) kmsg.Response {
	r.t.Helper()
	resp, err := r.try(id, req)
	require.NoError(r.t, err)
	return resp
}

// any is a running broker.
func (r *rawClient) any() int32 {
	for _, id := range r.c.IDs() {
		if r.c.Broker(id) != nil {
			return id
		}
	}
	return -1
}

// create creates a topic.
func (r *rawClient) create(name string, partitions int32, replicas int16, config map[string]string) {
	r.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(7)
	req.TimeoutMillis = 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	for k, v := range config {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	resp := r.do(r.any(), req).(*kmsg.CreateTopicsResponse)
	require.Len(r.t, resp.Topics, 1)
	require.Zero(r.t, resp.Topics[0].ErrorCode, "create %s: %v", name, resp.Topics[0].ErrorMessage)
	require.NotEmpty(r.t, resp.Topics[0].Configs)
	require.Equal(r.t, partitions, resp.Topics[0].NumPartitions)
}

// identity is a producer's.
type producerState struct {
	id    int64
	epoch int16
	seq   int32
}

// records builds a batch of values.
func records(p *producerState, values ...string) []byte {
	var b batch.Builder
	for _, v := range values {
		if err := b.Append(1_000_000, []byte("k"), []byte(v), nil); err != nil {
			panic(err)
		}
	}
	spec := batch.NewSpec()
	if p != nil {
		spec.ProducerID, spec.ProducerEpoch, spec.BaseSequence = p.id, p.epoch, p.seq
	}
	return b.Build(spec)
}

// produce sends one batch to a broker.
func (r *rawClient) produce(id int32, topic string, partition int32, acks int16, recs []byte) (kmsg.ProduceResponseTopicPartition, error) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks, req.TimeoutMillis = acks, 5000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, recs
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := r.try(id, req)
	if err != nil {
		return kmsg.ProduceResponseTopicPartition{}, err
	}
	return resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0], nil
}

// mustProduce sends one batch to the partition's leader, whoever that is, until it is acknowledged.
func (r *rawClient) mustProduce(topic string, partition int32, acks int16, recs []byte) kmsg.ProduceResponseTopicPartition {
	r.t.Helper()
	var last any
	for r.ctx.Err() == nil {
		p, err := r.produce(r.c.Leader(topic, partition), topic, partition, acks, append([]byte(nil), recs...))
		if err == nil && p.ErrorCode == 0 {
			return p
		}
		last = fmt.Sprint(p.ErrorCode, err)
		pause(r.ctx, 10*time.Millisecond)
	}
	require.Fail(r.t, "not acknowledged", "%s-%d: %v", topic, partition, last)
	return kmsg.ProduceResponseTopicPartition{}
}

// fetch reads once from a broker.
func (r *rawClient) fetch(id int32, topic string, partition int32, offset int64, wait time.Duration) (kmsg.FetchResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(12)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(wait.Milliseconds()), 1, 10<<20
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := r.try(id, req)
	if err != nil {
		return kmsg.FetchResponseTopicPartition{}, err
	}
	return resp.(*kmsg.FetchResponse).Topics[0].Partitions[0], nil
}

// readAll reads a partition from its start to its high watermark: values by offset.
func (r *rawClient) readAll(id int32, topic string, partition int32) map[int64]string {
	r.t.Helper()
	out := map[int64]string{}
	for next := int64(0); ; {
		p, err := r.fetch(id, topic, partition, next, 0)
		require.NoError(r.t, err)
		require.Zero(r.t, p.ErrorCode)
		if len(p.RecordBatches) == 0 {
			require.Equal(r.t, p.HighWatermark, next)
			return out
		}
		next, err = eachRecord(p.RecordBatches, next, func(at int64, _, value []byte) { out[at] = string(value) })
		require.NoError(r.t, err)
	}
}

// eventually polls until ok holds, in the time of the test's bubble.
func eventually(t *testing.T, ctx context.Context, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !ok() {
		pause(ctx, 20*time.Millisecond)
		require.NoError(t, ctx.Err(), what)
	}
}

// startTestCluster starts a cluster that ends with the test's bubble.
func startTestCluster(ctx context.Context, t *testing.T, cfg ClusterConfig) *Cluster {
	t.Helper()
	cfg.Logger = cmp.Or(cfg.Logger, testLogger())
	c, err := StartCluster(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the cluster: %v", err)
		}
	})
	return c
}
