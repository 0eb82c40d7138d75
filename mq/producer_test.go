package mq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// bubble runs a test in virtual time; it fails if a goroutine is left.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, fn)
}

// produceAll sends n records to partition 0, waits, and returns their errors.
func produceAll(t testing.TB, p *Producer, topic string, n int) []error {
	t.Helper()
	ctx := context.Background()
	errs := make([]error, n)
	for i := range n {
		require.NoError(t, p.Send(ctx, &Record{Topic: topic, Value: fmt.Appendf(nil, "v%03d", i)}, func(_ *Record, err error) { errs[i] = err }))
		if i%3 == 2 {
			synctest.Wait() // so that there are several batches
		}
	}
	require.NoError(t, p.Flush(ctx))
	return errs
}

func wantValues(n int) []string {
	values := make([]string, n)
	for i := range n {
		values[i] = fmt.Sprintf("v%03d", i)
	}
	return values
}

// onceEach makes a hook that acts on the given produce requests, by their number from 1.
func onceEach(actions map[int]fakeAction) func(int32, kmsg.Request) fakeAction {
	n := 0
	return func(_ int32, req kmsg.Request) fakeAction {
		if _, ok := req.(*kmsg.ProduceRequest); !ok {
			return fakeAction{}
		}
		n++
		return actions[n]
	}
}

// TestProducerFaults loses requests and answers, and checks that every record is in the log once and in order.
func TestProducerFaults(t *testing.T) {
	for name, hook := range map[string]func(int32, kmsg.Request) fakeAction{
		"none":                  nil,
		"request lost":          onceEach(map[int]fakeAction{2: {drop: true}}),
		"answer lost":           onceEach(map[int]fakeAction{2: {lose: true}}),
		"answers lost":          onceEach(map[int]fakeAction{1: {lose: true}, 2: {lose: true}, 3: {lose: true}, 5: {drop: true}, 6: {lose: true}}),
		"never answered":        onceEach(map[int]fakeAction{2: {silent: true}}),
		"not leader":            onceEach(map[int]fakeAction{1: {code: ErrNotLeaderOrFollower}, 3: {code: ErrNotLeaderOrFollower}}),
		"not enough replicas":   onceEach(map[int]fakeAction{2: {code: ErrNotEnoughReplicas}, 3: {code: ErrNotEnoughReplicas}}),
		"timed out":             onceEach(map[int]fakeAction{2: {code: ErrRequestTimedOut}}),
		"unknown producer":      onceEach(map[int]fakeAction{1: {code: ErrUnknownProducerID}}),
		"out of order":          onceEach(map[int]fakeAction{1: {code: ErrOutOfOrderSequenceNumber}, 4: {code: ErrOutOfOrderSequenceNumber}}),
		"duplicate":             onceEach(map[int]fakeAction{2: {lose: true}}),
		"old epoch":             onceEach(map[int]fakeAction{3: {code: ErrInvalidProducerEpoch}}),
		"producer id not known": onceEach(map[int]fakeAction{3: {code: ErrInvalidProducerIDMapping}}),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFakeCluster(t, 1)
				f.topic("t", 1)
				f.hook = hook
				c := f.connect()
				p, err := c.NewProducer(ProducerConfig{})
				require.NoError(t, err)
				for i, err := range produceAll(t, p, "t", 30) {
					require.NoError(t, err, "record %d", i)
				}
				require.NoError(t, p.Close())
				require.Equal(t, wantValues(30), f.values("t", 0))
			})
		})
	}
}

// TestProducerFirstBatch has a broker that is not yet leader when the first batch comes, and that takes any sequence of a producer it does not know, as Apache
// Kafka does.
func TestProducerFirstBatch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.anySequence = true
		f.hook = onceEach(map[int]fakeAction{1: {code: ErrNotLeaderOrFollower}})
		p, err := f.connect().NewProducer(ProducerConfig{})
		require.NoError(t, err)
		for i, err := range produceAll(t, p, "t", 12) {
			require.NoError(t, err, "record %d", i)
		}
		require.Equal(t, wantValues(12), f.values("t", 0))
	})
}

// TestProducerCodecs checks that retries of compressed batches are the same batches.
func TestProducerCodecs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.hook = onceEach(map[int]fakeAction{1: {code: ErrUnknownProducerID}, 3: {lose: true}})
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{Compression: CompressionZstd, Linger: time.Millisecond})
		require.NoError(t, err)
		value := make([]byte, 300)
		for range 3 {
			require.NoError(t, p.SendSync(context.Background(), &Record{Topic: "t", Value: value}, &Record{Topic: "t", Value: value}))
		}
		f.with(func() {
			require.Len(t, f.topics["t"][0].batches, 3)
			for _, b := range f.topics["t"][0].batches {
				h, err := batch.Check(b)
				require.NoError(t, err)
				require.Equal(t, batch.Zstd, h.Codec())
				require.EqualValues(t, 1, h.ProducerEpoch)
			}
		})
	})
}

// TestProducerFailover kills the leader with requests in flight; what it had appended but not answered is not written twice.
func TestProducerFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 3)
		f.topic("t", 1)
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		ctx := context.Background()
		require.NoError(t, p.SendSync(ctx, &Record{Topic: "t", Value: []byte("v000")}))
		f.with(func() { f.hook = onceEach(map[int]fakeAction{1: {lose: true}}) })
		var mu sync.Mutex
		var done []int
		for i := 1; i < 20; i++ {
			require.NoError(t, p.Send(ctx, &Record{Topic: "t", Value: fmt.Appendf(nil, "v%03d", i)}, func(_ *Record, err error) {
				require.NoError(t, err)
				mu.Lock()
				done = append(done, i)
				mu.Unlock()
			}))
		}
		f.kill(1)
		time.Sleep(30 * time.Millisecond) // no broker leads for a while
		f.move("t", 0, 2)
		begin := time.Now()
		require.NoError(t, p.Flush(ctx))
		require.Less(t, time.Since(begin), 100*time.Millisecond, "the failover was noticed late")
		require.Equal(t, wantValues(20), f.values("t", 0))
		require.True(t, slices.IsSorted(done))
		require.Len(t, done, 19)
		require.NoError(t, p.Close())
	})
}

// TestProducerSilentLeader moves leadership away from a broker that no longer answers: the producer goes to the new one as soon as metadata
// say so, without waiting for a timeout, and a late answer does no harm.
func TestProducerSilentLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 3)
		f.topic("t", 1)
		f.topic("other", 2)
		c := f.connect(func(cfg *ClientConfig) { cfg.MetadataMaxAge = time.Second })
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		ctx := context.Background()
		require.NoError(t, p.SendSync(ctx, &Record{Topic: "t", Value: []byte("v000")}))
		f.with(func() {
			f.hook = func(id int32, req kmsg.Request) fakeAction {
				_, ok := req.(*kmsg.ProduceRequest)
				return fakeAction{silent: ok && id == 1}
			}
		})
		begin := time.Now()
		sent := make(chan error, 1)
		require.NoError(t, p.Send(ctx, &Record{Topic: "t", Value: []byte("v001")}, func(_ *Record, err error) { sent <- err }))
		time.Sleep(10 * time.Millisecond)
		f.move("t", 0, 2)
		require.NoError(t, <-sent)
		require.Less(t, time.Since(begin), 3*time.Second)
		require.Equal(t, wantValues(2), f.values("t", 0))
	})
}

// TestProducerRefused fails a batch for good in the middle: the others are written, in order, under a new epoch.
func TestProducerRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.hook = onceEach(map[int]fakeAction{2: {code: ErrMessageTooLarge}})
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		failed := 0
		for i, err := range produceAll(t, p, "t", 12) {
			if err != nil {
				require.ErrorIs(t, err, ErrMessageTooLarge)
				require.NotErrorIs(t, err, ErrUnknownOutcome)
				require.NotZero(t, i, "the first batch was written")
				failed++
			}
		}
		require.NotZero(t, failed)
		values := f.values("t", 0)
		require.Len(t, values, 12-failed)
		require.True(t, slices.IsSorted(values))
		require.NoError(t, p.SendSync(context.Background(), &Record{Topic: "t", Value: []byte("z")}))
	})
}

// TestProducerUnknownOutcome checks what is said of a batch whose answer was lost and that the broker then does not recognize.
func TestProducerUnknownOutcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.hook = onceEach(map[int]fakeAction{1: {lose: true}, 2: {code: ErrUnknownProducerID}})
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		err = p.SendSync(context.Background(), &Record{Topic: "t", Value: []byte("a")})
		require.ErrorIs(t, err, ErrUnknownOutcome)
		require.ErrorIs(t, err, ErrUnknownProducerID)
		require.NoError(t, p.SendSync(context.Background(), &Record{Topic: "t", Value: []byte("b")}))
		require.Equal(t, []string{"a", "b"}, f.values("t", 0))
	})
}

// TestProducerDeliveryTimeout gives records up: the one that was sent with unknown outcome, the one that was not without.
func TestProducerDeliveryTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.topic("u", -1)
		f.hook = func(_ int32, req kmsg.Request) fakeAction {
			_, ok := req.(*kmsg.ProduceRequest)
			return fakeAction{silent: ok}
		}
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{DeliveryTimeout: 3 * time.Second})
		require.NoError(t, err)
		begin := time.Now()
		err = p.SendSync(context.Background(), &Record{Topic: "t", Value: []byte("a")})
		require.ErrorIs(t, err, ErrDeliveryTimeout)
		require.ErrorIs(t, err, ErrUnknownOutcome)
		require.Less(t, time.Since(begin), 4*time.Second)
		err = p.SendSync(context.Background(), &Record{Topic: "u", Value: []byte("a")})
		require.ErrorIs(t, err, ErrDeliveryTimeout)
		require.NotErrorIs(t, err, ErrUnknownOutcome)
		f.with(func() { f.hook = nil })
		f.kill(1)
		f.start(1)
		require.NoError(t, p.SendSync(context.Background(), &Record{Topic: "t", Value: []byte("b")}))
		require.Equal(t, "b", f.values("t", 0)[len(f.values("t", 0))-1])
	})
}

// TestProducerBackpressure fills the buffer.
func TestProducerBackpressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		stop := true
		f.hook = func(_ int32, req kmsg.Request) fakeAction {
			_, ok := req.(*kmsg.ProduceRequest)
			return fakeAction{drop: ok && stop}
		}
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{BufferBytesMax: 10_000})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		accepted := 0
		for {
			if err = p.Send(ctx, &Record{Topic: "t", Value: make([]byte, 1000)}, nil); err != nil {
				break
			}
			accepted++
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, 9, accepted, 1)
		f.with(func() { stop = false })
		require.NoError(t, p.Send(context.Background(), &Record{Topic: "t", Value: make([]byte, 1000)}, nil))
		require.NoError(t, p.Flush(context.Background()))
		require.Len(t, f.values("t", 0), accepted+1)
		require.Zero(t, p.buffered.used.Load())
	})
}

// TestProducerClose gives up what was not written, saying what may have been.
func TestProducerClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		silent := func(_ int32, req kmsg.Request) fakeAction {
			_, ok := req.(*kmsg.ProduceRequest)
			return fakeAction{silent: ok}
		}
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		var got []error
		done := func(_ *Record, err error) { got = append(got, err) }
		f.with(func() { f.hook = nil })
		require.NoError(t, p.SendSync(context.Background(), &Record{Topic: "t"}))
		f.with(func() { f.hook = silent })
		require.NoError(t, p.Send(context.Background(), &Record{Topic: "t"}, done))
		synctest.Wait()
		for range 6 {
			require.NoError(t, p.Send(context.Background(), &Record{Topic: "t"}, done))
			synctest.Wait()
		}
		require.NoError(t, p.Close())
		require.NoError(t, p.Close())
		require.Len(t, got, 7)
		for i, err := range got {
			require.ErrorIs(t, err, ErrClosed)
			require.Equal(t, i < 5, errors.Is(err, ErrUnknownOutcome), "record %d", i)
		}
		require.ErrorIs(t, p.Send(context.Background(), &Record{Topic: "t"}, done), ErrClosed)
		require.ErrorIs(t, p.SendSync(context.Background(), &Record{Topic: "t"}), ErrClosed)
	})
}

// TestProducerTopics covers topics that are not there, and those that come.
func TestProducerTopics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 2)
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		ctx := context.Background()
		begin := time.Now()
		require.ErrorIs(t, p.SendSync(ctx, &Record{Topic: "none"}), ErrUnknownTopicOrPartition)
		require.InDelta(t, 5, time.Since(begin).Seconds(), 0.5)
		time.AfterFunc(time.Second, func() { f.topic("late", 1, 2) })
		require.NoError(t, p.SendSync(ctx, &Record{Topic: "late", Key: []byte("k")}))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, p.SendSync(short, &Record{Topic: "none2"}), context.DeadlineExceeded)
		require.ErrorIs(t, p.SendSync(ctx, &Record{Topic: "late", Value: make([]byte, 2<<20)}), ErrMessageTooLarge)

		m, err := c.NewProducer(ProducerConfig{Partitioner: ManualPartitioner})
		require.NoError(t, err)
		r := &Record{Topic: "late", Partition: 1}
		require.NoError(t, m.SendSync(ctx, r))
		require.EqualValues(t, 1, r.Partition)
		require.ErrorIs(t, m.SendSync(ctx, &Record{Topic: "late", Partition: 2}), ErrUnknownTopicOrPartition)
		f.topic("late", 1) // grows
		require.NoError(t, c.meta.refresh(ctx))
		require.NoError(t, m.SendSync(ctx, &Record{Topic: "late", Partition: 2}))
	})
}

// TestProducerEpochsRunOut makes the producer raise its epoch beyond the last one: it gets another id.
func TestProducerEpochsRunOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.hook = onceEach(map[int]fakeAction{2: {code: ErrMessageTooLarge}, 3: {code: ErrInvalidProducerIDMapping}})
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		ctx := context.Background()
		require.NoError(t, p.SendSync(ctx, &Record{Topic: "t", Value: []byte("v000")}))
		require.ErrorIs(t, p.SendSync(ctx, &Record{Topic: "t"}), ErrMessageTooLarge)
		require.NoError(t, p.SendSync(ctx, &Record{Topic: "t", Value: []byte("v001")}))
		require.Equal(t, wantValues(2), f.values("t", 0))
		require.Equal(t, 2, f.requests("InitProducerID"))
	})
}

func TestProducerConfigErrors(t *testing.T) {
	for _, cfg := range []ProducerConfig{
		{Linger: -1}, {Acks: 7}, {Compression: 9}, {BatchBytesMax: 1 << 30}, {InFlightMax: 6},
	} {
		_, err := cfg.withDefaults()
		require.Error(t, err)
	}
	cfg, err := ProducerConfig{Acks: AcksLeader, InFlightMax: 9}.withDefaults()
	require.NoError(t, err)
	require.True(t, cfg.DisableIdempotence)
}
