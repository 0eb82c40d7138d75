package mq

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// fill appends n records v000, … to a partition, in batches of two.
func (f *fakeCluster) fill(topic string, partition, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 0; i < n; i += 2 {
		var b batch.Builder
		for j := i; j < min(i+2, n); j++ {
			require.NoError(f.t, b.Append(int64(j), nil, fmt.Appendf(nil, "v%03d", j), nil))
		}
		f.append(f.topics[topic][partition].leader, topic, int32(partition), b.Build(batch.NewSpec()))
	}
}

// take reads n records.
func take(t testing.TB, c *Consumer, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var values []string
	for r, err := range c.Records(ctx) {
		require.NoError(t, err)
		if values = append(values, string(r.Value)); len(values) == n {
			break
		}
	}
	require.Len(t, values, n)
	return values
}

// TestConsumerLoops leaves the loop and enters it again, at every record.
func TestConsumerLoops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.fill("t", 0, 21)
		c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}, PartitionBytesMax: 200})
		require.NoError(t, err)
		var values []string
		for len(values) < 21 {
			values = append(values, take(t, c, min(1+len(values)%3, 21-len(values)))...)
		}
		require.Equal(t, wantValues(21), values)
		position, err := c.Position(TopicPartition{"t", 0})
		require.NoError(t, err)
		require.EqualValues(t, 21, position)

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		for range c.Records(ctx) {
			t.Fatal("there is no more")
		}
		require.NoError(t, c.Close())
		for r, err := range c.Records(context.Background()) {
			require.Nil(t, r)
			require.ErrorIs(t, err, ErrClosed)
		}
	})
}

// TestConsumerOneLoop refuses a second loop.
func TestConsumerOneLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.fill("t", 0, 1)
		c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.NoError(t, err)
		for _, err := range c.Records(context.Background()) {
			require.NoError(t, err)
			for r, err := range c.Records(context.Background()) {
				require.Nil(t, r)
				require.ErrorContains(t, err, "another loop")
			}
			break
		}
	})
}

// TestConsumerFaults loses fetches and moves leaders; every record is yielded once, in order.
func TestConsumerFaults(t *testing.T) {
	for name, act := range map[string]fakeAction{
		"request lost": {drop: true}, "answer lost": {lose: true}, "not leader": {code: ErrNotLeaderOrFollower},
		"unknown epoch": {code: ErrUnknownLeaderEpoch}, "fenced": {code: ErrFencedLeaderEpoch}, "never answered": {silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFakeCluster(t, 2)
				f.topic("t", 1)
				f.fill("t", 0, 40)
				n := 0
				f.hook = func(_ int32, req kmsg.Request) fakeAction {
					if _, ok := req.(*kmsg.FetchRequest); !ok {
						return fakeAction{}
					}
					if n++; n%3 == 0 && n < 12 {
						return act
					}
					return fakeAction{}
				}
				c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}, PartitionBytesMax: 300})
				require.NoError(t, err)
				require.Equal(t, wantValues(20), take(t, c, 20))
				f.move("t", 0, 2)
				require.Equal(t, wantValues(40)[20:], take(t, c, 20))
			})
		})
	}
}

// TestConsumerFailover kills the leader while the consumer waits at the end.
func TestConsumerFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 3)
		f.topic("t", 1)
		f.fill("t", 0, 2)
		c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.NoError(t, err)
		take(t, c, 2)
		synctest.Wait()
		f.kill(1)
		time.Sleep(30 * time.Millisecond)
		f.move("t", 0, 3)
		begin := time.Now()
		f.fill("t", 0, 2)
		take(t, c, 2)
		require.Less(t, time.Since(begin), 200*time.Millisecond)
	})
}

// TestConsumerTruncation has a new leader that lacks records: the consumer finds out by leader epoch and goes back (KIP-320).
func TestConsumerTruncation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 2)
		f.topic("t", 1)
		f.fill("t", 0, 10)
		c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.NoError(t, err)
		take(t, c, 10)
		f.kill(1)
		f.with(func() {
			p := f.topics["t"][0]
			p.leader, p.epoch = 2, 1
			p.batches, p.next = p.batches[:3], 6
			var b batch.Builder
			for range 10 {
				require.NoError(t, b.Append(0, nil, []byte("new"), nil))
			}
			f.append(2, "t", 0, b.Build(batch.NewSpec()))
		})
		require.Equal(t, slices.Repeat([]string{"new"}, 10), take(t, c, 10))
	})
}

// TestConsumerOutOfRange covers the three ways to go on when the offset is gone.
func TestConsumerOutOfRange(t *testing.T) {
	for reset, want := range map[Reset]string{ResetEarliest: "v006", ResetLatest: "late", ResetNone: ""} {
		t.Run(want, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFakeCluster(t, 1)
				f.topic("t", 1)
				f.fill("t", 0, 10)
				f.with(func() {
					p := f.topics["t"][0]
					p.start, p.batches = 6, p.batches[3:]
				})
				tp := TopicPartition{"t", 0}
				c, err := f.connect().NewConsumer(ConsumerConfig{Partitions: map[TopicPartition]int64{tp: 2}, AutoOffsetReset: reset})
				require.NoError(t, err)
				time.Sleep(time.Second)
				f.with(func() {
					var b batch.Builder
					require.NoError(t, b.Append(0, nil, []byte("late"), nil))
					f.append(1, "t", 0, b.Build(batch.NewSpec()))
				})
				if reset != ResetNone {
					require.Equal(t, []string{want}, take(t, c, 1))
					return
				}
				for r, err := range c.Records(context.Background()) {
					require.Nil(t, r)
					require.ErrorIs(t, err, ErrNoOffset)
					break
				}
				require.NoError(t, c.Seek(tp, 8))
				require.Equal(t, []string{"v008"}, take(t, c, 1))
			})
		})
	}
}

// TestConsumerCorrupt yields an error for bytes that are not what was written, and goes on when they are right again.
func TestConsumerCorrupt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		f.fill("t", 0, 6)
		flip := func() { f.with(func() { f.topics["t"][0].batches[1][batch.HeaderLen+8] ^= 1 }) }
		flip()
		c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.NoError(t, err)
		var values []string
		for r, err := range c.Records(context.Background()) {
			if err != nil {
				require.ErrorIs(t, err, batch.ErrCorrupt)
				require.ErrorContains(t, err, "t/0 at offset 2")
				flip()
				continue
			}
			if values = append(values, string(r.Value)); len(values) == 6 {
				break
			}
		}
		require.Equal(t, wantValues(6), values)
	})
}

// TestConsumerPrefetch checks that what is fetched ahead is bounded.
func TestConsumerPrefetch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1, 1, 1)
		for p := range 3 {
			f.fill("t", p, 400)
		}
		c, err := f.connect().NewConsumer(ConsumerConfig{Topics: []string{"t"}, PartitionBytesMax: 1000, PrefetchBytesMax: 4000})
		require.NoError(t, err)
		got := 0
		for _, err := range c.Records(context.Background()) {
			require.NoError(t, err)
			synctest.Wait()
			c.mu.Lock()
			require.LessOrEqual(t, c.mu.buffered, 4000+3000)
			c.mu.Unlock()
			if got++; got == 1200 {
				break
			}
		}
	})
}

// TestConsumerReadCommitted skips records of aborted transactions, and markers in any case.
func TestConsumerReadCommitted(t *testing.T) {
	var log []byte
	offset := int64(0)
	add := func(pid int64, attrs batch.Attributes, value string) {
		var b batch.Builder
		require.NoError(t, b.Append(0, nil, []byte(value), nil))
		spec := batch.NewSpec()
		spec.ProducerID, spec.Attributes, spec.BaseOffset = pid, attrs, offset
		log = append(log, b.Build(spec)...)
		offset++
	}
	marker := func(pid int64, kind batch.ControlType) {
		spec := batch.NewSpec()
		spec.ProducerID, spec.BaseOffset = pid, offset
		log = batch.AppendMarker(log, spec, batch.Marker{Type: kind})
		offset++
	}
	add(1, batch.Transactional, "aborted")
	add(2, batch.Transactional, "a")
	add(-1, 0, "b")
	marker(1, batch.Abort)
	add(1, batch.Transactional, "c")
	marker(2, batch.Commit)
	marker(1, batch.Commit)
	for isolation, want := range map[Isolation][]string{ReadCommitted: {"a", "b", "c"}, ReadUncommitted: {"aborted", "a", "b", "c"}} {
		c := &Consumer{}
		c.cfg.Isolation = isolation
		pp := &consumerPartition{tp: TopicPartition{"t", 0}}
		chunk := &consumerChunk{pp: pp, bytes: log}
		if isolation == ReadCommitted {
			chunk.aborted = []abortedTxn{{1, 0}}
		}
		var values []string
		require.True(t, c.yieldChunk(context.Background(), chunk, func(r *Record, err error) bool {
			require.NoError(t, err)
			values = append(values, string(r.Value))
			return true
		}))
		require.Equal(t, want, values)
		require.EqualValues(t, 7, pp.position.Load())
		require.EqualValues(t, 7, pp.covered.Load())
	}
}

func TestConsumerConfigErrors(t *testing.T) {
	tp := TopicPartition{"t", 0}
	for _, cfg := range []ConsumerConfig{
		{},
		{Topics: []string{"t"}, Partitions: map[TopicPartition]int64{tp: 0}},
		{Topics: []string{"t"}, AutoCommitInterval: 1},
		{Topics: []string{"t"}, SessionTimeout: -1},
		{Topics: []string{"t"}, AutoOffsetReset: 5},
		{Topics: []string{"t"}, Isolation: 5},
		{Partitions: map[TopicPartition]int64{tp: OffsetCommitted}},
		{Partitions: map[TopicPartition]int64{tp: -7}},
	} {
		_, err := cfg.withDefaults()
		require.Error(t, err)
	}
}
