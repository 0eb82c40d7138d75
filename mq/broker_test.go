package mq

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
)

// inBubble runs a test in a bubble, with a bound in the bubble's time.
func inBubble(t *testing.T, limit time.Duration, fn func(ctx context.Context, t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		fn(ctx, t)
	})
}

func TestProduceFetchOneCopy(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 2, 1, nil)
		for i := range 10 {
			for _, acks := range []int16{1, -1} {
				p, err := r.produce(1, "t", 0, acks, records(nil, fmt.Sprint(i, acks), "x"))
				require.NoError(t, err)
				require.Zero(t, p.ErrorCode)
			}
		}
		all := r.readAll(1, "t", 0)
		require.Len(t, all, 40)
		require.Equal(t, "0 1", all[0])
		require.Empty(t, r.readAll(1, "t", 1))

		// A long poll is answered when there is something, and when the next request arrives behind it.
		go func() {
			pause(ctx, 50*time.Millisecond)
			w := newRawClient(ctx, t, c)
			defer w.close()
			_, _ = w.produce(1, "t", 1, 1, records(nil, "late"))
		}()
		began := time.Now()
		p, err := r.fetch(1, "t", 1, 0, 10*time.Second)
		require.NoError(t, err)
		require.NotEmpty(t, p.RecordBatches)
		require.Less(t, time.Since(began), time.Second)

		// Errors: an unknown topic, an offset out of range, a batch that is damaged.
		p, err = r.fetch(1, "nope", 0, 0, 0)
		require.NoError(t, err)
		require.Equal(t, int16(api.UnknownTopicOrPartition), p.ErrorCode)
		p, err = r.fetch(1, "t", 0, 99, 0)
		require.NoError(t, err)
		require.Equal(t, int16(api.OffsetOutOfRange), p.ErrorCode)
		bad := records(nil, "damaged")
		bad[len(bad)-1] ^= 1
		pp, err := r.produce(1, "t", 0, -1, bad)
		require.NoError(t, err)
		require.Equal(t, int16(api.CorruptMessage), pp.ErrorCode)
	})
}

func TestListOffsets(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 1, nil)
		_, err := r.produce(1, "t", 0, -1, records(nil, "a", "b", "c"))
		require.NoError(t, err)
		for at, want := range map[int64]int64{-1: 3, -2: 0, 1_000_000: 0, 1_000_001: -1} {
			req := kmsg.NewPtrListOffsetsRequest()
			req.SetVersion(6)
			req.ReplicaID = -1
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = "t"
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Timestamp, rp.CurrentLeaderEpoch = at, -1
			rt.Partitions = append(rt.Partitions, rp)
			req.Topics = append(req.Topics, rt)
			p := r.do(1, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			require.Zero(t, p.ErrorCode)
			require.Equal(t, want, p.Offset, "offset at %d", at)
		}
	})
}

// K24: a batch that is sent again is acknowledged with its first offset.
func TestIdempotentProduce(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 1, nil)
		ids := map[int64]bool{}
		var state producerState
		for range 3 {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.SetVersion(4)
			resp := r.do(1, req).(*kmsg.InitProducerIDResponse)
			require.Zero(t, resp.ErrorCode)
			require.False(t, ids[resp.ProducerID])
			ids[resp.ProducerID] = true
			state = producerState{id: resp.ProducerID, epoch: resp.ProducerEpoch}
		}
		first, err := r.produce(1, "t", 0, -1, records(&state, "a", "b"))
		require.NoError(t, err)
		again, err := r.produce(1, "t", 0, -1, records(&state, "a", "b"))
		require.NoError(t, err)
		require.Zero(t, again.ErrorCode)
		require.Equal(t, first.BaseOffset, again.BaseOffset)
		state.seq = 7
		gap, err := r.produce(1, "t", 0, -1, records(&state, "c"))
		require.NoError(t, err)
		require.Equal(t, int16(api.OutOfOrderSequence), gap.ErrorCode)
		require.Len(t, r.readAll(1, "t", 0), 2)
	})
}

func TestTopicsAreDeletedForGood(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		for round := range 3 {
			r.create("t", 3, 3, map[string]string{"retention.ms": "1000000"})
			p := r.mustProduce("t", 0, -1, records(nil, "old"))
			require.Zero(t, p.BaseOffset, "round %d: a topic of the same name starts empty", round)
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.SetVersion(5)
			req.TimeoutMillis, req.TopicNames = 10_000, []string{"t"}
			resp := r.do(r.any(), req).(*kmsg.DeleteTopicsResponse)
			require.Zero(t, resp.Topics[0].ErrorCode)
		}
		eventually(t, ctx, "tombstones go when every replica has confirmed", func() bool {
			return len(c.Broker(1).image.Load().Tombstones) == 0
		})
		for _, id := range c.IDs() {
			require.Empty(t, c.Broker(id).host.partitions())
		}
	})
}
