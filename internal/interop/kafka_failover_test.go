package interop

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq"
)

// kafkaFailoverFlows kill brokers; they need a target that can and that replicates.
var kafkaFailoverFlows = []kafkaFlow{
	{name: "failover", run: flowFailover},
	{name: "rolling", run: flowRolling},
}

// workload is a producer and a group that run while things happen to the cluster.
type workload struct {
	t         *testing.T
	topic     string
	cl        *mq.Client
	stop      context.CancelFunc
	producers sync.WaitGroup
	consumers sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]mq.TopicPartition // by value
	offsets map[string]int64
	failed  []error
	seen    map[string]int
	lastAck time.Time
}

// startWorkload begins to write values in order to each partition, and to read them in a group of two.
func (tg *kafkaTarget) startWorkload(t *testing.T, partitions int) *workload {
	w := &workload{t: t, cl: tg.connect(t), acked: make(map[string]mq.TopicPartition), offsets: make(map[string]int64), seen: make(map[string]int)}
	w.topic = tg.topic(t, w.cl, partitions, "min.insync.replicas", "2")
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	p, err := w.cl.NewProducer(mq.ProducerConfig{Partitioner: mq.ManualPartitioner, BufferBytesMax: 64 << 10})
	require.NoError(t, err)
	w.producers.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			r := &mq.Record{Topic: w.topic, Partition: int32(i % partitions), Value: fmt.Appendf(nil, "%08d", i)}
			_ = p.Send(ctx, r, w.done)
			if i%20 == 0 {
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
		w.finish(p)
	})
	for range 2 {
		c, err := w.cl.NewConsumer(mq.ConsumerConfig{
			Group: "g-" + w.topic, Topics: []string{w.topic}, HeartbeatInterval: 200 * time.Millisecond, AutoCommitInterval: 100 * time.Millisecond,
		})
		require.NoError(t, err)
		w.consumers.Go(func() {
			for r, err := range c.Records(context.Background()) {
				if err != nil {
					return // closed
				}
				w.mu.Lock()
				w.seen[string(r.Value)]++
				w.mu.Unlock()
			}
		})
		t.Cleanup(func() { c.Close() })
	}
	return w
}

func (w *workload) done(r *mq.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed = append(w.failed, err)
		return
	}
	w.acked[string(r.Value)] = mq.TopicPartition{Topic: r.Topic, Partition: r.Partition}
	w.offsets[string(r.Value)] = r.Offset
	w.lastAck = time.Now()
}

func (w *workload) finish(p *mq.Producer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		w.t.Error("flush:", err)
	}
}

// ackedNow returns how many records were acknowledged so far.
func (w *workload) ackedNow() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// awaitAcks waits for n more acknowledgements and returns how long the first took.
func (w *workload) awaitAcks(n int) time.Duration {
	w.t.Helper()
	begin, had := time.Now(), w.ackedNow()
	first := time.Duration(0)
	eventually(w.t, "records are acknowledged", func() bool {
		now := w.ackedNow()
		if first == 0 && now > had {
			first = time.Since(begin)
		}
		return now >= had+n
	})
	return first
}

// awaitPartition waits until a record of the partition that was sent after the call is acknowledged.
func (w *workload) awaitPartition(partition int32) time.Duration {
	w.t.Helper()
	begin := time.Now()
	count := func() (n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, tp := range w.acked {
			if tp.Partition == partition {
				n++
			}
		}
		return n
	}
	had := count()
	eventually(w.t, "a record of the partition is acknowledged", func() bool { return count() > had })
	return time.Since(begin)
}

// check ends the workload and compares: every acknowledged record is in the log once, at its offset, in order, and was consumed.
func (w *workload) check() {
	t := w.t
	w.stop()
	w.producers.Wait()
	require.Empty(t, w.failed)
	n := len(w.acked)
	require.NotZero(t, n)
	eventually(t, "the group has seen everything", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.seen) >= n
	})
	found := make(map[string]bool)
	last := make(map[int32]string)
	for _, r := range consumeN(t, w.cl, n, fromTopic(w.topic)) {
		v := string(r.Value)
		require.False(t, found[v], "record %s is in the log twice", v)
		found[v] = true
		require.Equal(t, w.acked[v].Partition, r.Partition)
		require.Equal(t, w.offsets[v], r.Offset, "record %s", v)
		require.Less(t, last[r.Partition], v, "order")
		last[r.Partition] = v
	}
	latest, err := w.cl.ListOffsets(testContext(t), w.topic, mq.OffsetLatest)
	require.NoError(t, err)
	total := int64(0)
	for _, o := range latest {
		total += o.Offset
	}
	require.EqualValues(t, n, total, "there is nothing in the log but what was acknowledged")
	redelivered := 0
	for _, times := range w.seen {
		redelivered += times - 1
	}
	t.Logf("%d records acknowledged, all in the log once and in order; %d delivered again to the group", n, redelivered)
}

// flowFailover kills the leader of a partition in the middle of everything, and brings it back.
func flowFailover(t *testing.T, tg *kafkaTarget) {
	if tg.kill == nil {
		t.Skip("this target cannot kill brokers")
	}
	w := tg.startWorkload(t, 3)
	w.awaitAcks(500)
	info, err := w.cl.DescribeTopic(testContext(t), w.topic)
	require.NoError(t, err)
	leader := info.Partitions[0].Leader
	tg.kill(t, leader)
	t.Logf("broker %d killed; its partition took a record again after %v", leader, w.awaitPartition(0).Round(time.Millisecond))
	w.awaitAcks(500)
	tg.restart(t, leader)
	w.awaitAcks(500)
	w.awaitISR(tg)
	w.check()
}

// flowRolling kills and restarts every broker once.
func flowRolling(t *testing.T, tg *kafkaTarget) {
	if tg.kill == nil {
		t.Skip("this target cannot kill brokers")
	}
	w := tg.startWorkload(t, 3)
	for id := int32(1); id <= int32(tg.brokers); id++ {
		w.awaitAcks(300)
		tg.kill(t, id)
		w.awaitAcks(300)
		tg.restart(t, id)
		w.awaitISR(tg)
	}
	w.check()
}

// awaitISR waits until all replicas are in sync.
func (w *workload) awaitISR(tg *kafkaTarget) {
	w.t.Helper()
	eventually(w.t, "all replicas are in sync", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		info, err := w.cl.DescribeTopic(ctx, w.topic)
		if err != nil {
			return false
		}
		for _, p := range info.Partitions {
			if len(p.ISR) != tg.replication {
				return false
			}
		}
		return true
	})
}
