package mq

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

// isr is a partition's in-sync set as a running broker's metadata has it, sorted.
func isr(c *Cluster, topic string, partition int32) []int32 { return c.InSync(topic, partition) }

// sameLogs waits until every running replica of a partition holds the same bytes.
func sameLogs(t *testing.T, ctx context.Context, c *Cluster, topic string, partition int32) {
	t.Helper()
	defer func() {
		for _, id := range c.IDs() {
			if b := c.Broker(id); b != nil && t.Failed() {
				all, err := b.Replicas(topic)
				t.Logf("broker %d: %+v %v", id, all, err)
			}
		}
	}()
	eventually(t, ctx, "replicas do not become equal", func() bool {
		var want *ReplicaStatus
		for _, id := range c.IDs() {
			b := c.Broker(id)
			if b == nil {
				continue
			}
			all, err := b.Replicas(topic)
			if err != nil || int(partition) >= len(all) {
				return false
			}
			got := all[partition]
			if want == nil {
				want = &got
			}
			if want.LogEnd != got.LogEnd || want.Checksum != got.Checksum || want.LogStart != got.LogStart {
				return false
			}
		}
		return true
	})
}

func TestReplicatedProduce(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 3, 3, nil)
		for i := range 50 {
			for part := range int32(3) {
				p := r.mustProduce("t", part, -1, records(nil, fmt.Sprint(i)))
				require.Equal(t, int64(i), p.BaseOffset)
			}
		}
		for part := range int32(3) {
			sameLogs(t, ctx, c, "t", part)
			require.Len(t, r.readAll(c.Leader("t", part), "t", part), 50)
			require.Equal(t, []int32{1, 2, 3}, isr(c, "t", part))
		}
	})
}

// P11: what was acknowledged with acks=all survives the repeated death of leaders, at its offset, once.
func TestAcknowledgedSurvivesKills(t *testing.T) {
	inBubble(t, 5*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 3, map[string]string{"min.insync.replicas": "2"})
		state := producerState{id: 77}
		acked := map[int64]string{}
		send := func() {
			v := fmt.Sprint("v", state.seq)
			p := r.mustProduce("t", 0, -1, records(&state, v))
			require.Empty(t, acked[p.BaseOffset], "offset %d given twice", p.BaseOffset)
			acked[p.BaseOffset] = v
			state.seq++
		}
		for range 6 {
			for range 20 {
				send()
			}
			victim := c.Leader("t", 0)
			require.NoError(t, c.Kill(victim))
			delete(r.conns, victim)
			began := time.Now()
			send()
			t.Logf("killed %d: acknowledged again after %v", victim, time.Since(began))
			for range 20 {
				send()
			}
			require.NoError(t, c.Restart(ctx, victim))
			eventually(t, ctx, "the broker returns to the in-sync set", func() bool { return len(isr(c, "t", 0)) == 3 })
		}
		sameLogs(t, ctx, c, "t", 0)
		all := r.readAll(c.Leader("t", 0), "t", 0)
		require.Equal(t, len(acked), len(all))
		for at, v := range acked {
			require.Equal(t, v, all[at], "offset %d", at)
		}
	})
}

func TestMinInsyncReplicas(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 3, map[string]string{"min.insync.replicas": "2"})
		r.mustProduce("t", 0, -1, records(nil, "a"))
		leader := c.Leader("t", 0)
		for _, id := range c.IDs() {
			if id != leader {
				require.NoError(t, c.Kill(id))
			}
		}
		eventually(t, ctx, "the dead leave the in-sync set", func() bool { return len(isr(c, "t", 0)) == 1 })
		p, err := r.produce(leader, "t", 0, -1, records(nil, "b"))
		require.NoError(t, err)
		require.Equal(t, int16(replica.NotEnoughReplicas), p.ErrorCode)
		p, err = r.produce(leader, "t", 0, 1, records(nil, "c"))
		require.NoError(t, err)
		require.Zero(t, p.ErrorCode, "acks=1 needs the leader only")
		for _, id := range c.IDs() {
			require.NoError(t, c.Restart(ctx, id))
		}
		r.mustProduce("t", 0, -1, records(nil, "d"))
		eventually(t, ctx, "all are in sync again", func() bool { return len(isr(c, "t", 0)) == 3 })
		sameLogs(t, ctx, c, "t", 0)
		require.Equal(t, map[int64]string{0: "a", 1: "c", 2: "d"}, r.readAll(c.Leader("t", 0), "t", 0))
	})
}

// A follower that is cut off leaves the in-sync set when it lags too long, and comes back when it has caught up.
func TestLaggingFollower(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Broker: Config{ReplicaLagTimeMax: time.Second}})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 3, nil)
		r.mustProduce("t", 0, -1, records(nil, "a"))
		leader := c.Leader("t", 0)
		lagging := leader%3 + 1
		c.memory.Partition(hostName(leader), hostName(lagging))
		began := time.Now()
		r.mustProduce("t", 0, -1, records(nil, "b"))
		require.Less(t, time.Since(began), 4*time.Second)
		eventually(t, ctx, "it leaves", func() bool { return !slices.Contains(isr(c, "t", 0), lagging) })
		c.memory.Heal()
		eventually(t, ctx, "it returns", func() bool { return len(isr(c, "t", 0)) == 3 })
		sameLogs(t, ctx, c, "t", 0)
	})
}

// A broker that is stopped gracefully hands its partitions over: no request waits for a session to expire.
func TestGracefulStop(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 6, 3, nil)
		for part := range int32(6) {
			r.mustProduce("t", part, -1, records(nil, "a"))
		}
		for _, id := range c.IDs() {
			began := time.Now()
			require.NoError(t, c.Stop(ctx, id))
			delete(r.conns, id)
			for part := range int32(6) {
				r.mustProduce("t", part, -1, records(nil, "b"))
			}
			require.Less(t, time.Since(began), 500*time.Millisecond, "stopping broker %d", id)
			require.NoError(t, c.Restart(ctx, id))
			for part := range int32(6) {
				eventually(t, ctx, "all are in sync again", func() bool { return len(isr(c, "t", part)) == 3 })
			}
		}
	})
}

// A broker whose session expires while it runs comes back by itself.
func TestSessionExpiry(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 3, nil)
		r.mustProduce("t", 0, -1, records(nil, "a"))
		leader := c.Leader("t", 0)
		before := c.Broker(leader).live.Load()
		for s := 1; s <= 3; s++ {
			c.memory.Partition(hostName(leader), fmt.Sprintf("zk-%d", s))
		}
		eventually(t, ctx, "somebody else leads", func() bool {
			img := c.Broker(leader%3 + 1).image.Load()
			return img.Brokers[leader] == nil && img.Leader(img.Partition("t", 0)) != leader
		})
		c.memory.Heal()
		eventually(t, ctx, "it registers again", func() bool {
			life := c.Broker(leader).live.Load()
			return life != nil && life != before && life.incarnation() > before.incarnation()
		})
		require.NoError(t, c.Settle(ctx))
		r.mustProduce("t", 0, -1, records(nil, "b"))
		eventually(t, ctx, "all are in sync again", func() bool { return len(isr(c, "t", 0)) == 3 })
		sameLogs(t, ctx, c, "t", 0)
		p, err := r.fetch(c.Leader("t", 0), "t", 0, 0, 0)
		require.NoError(t, err)
		require.Equal(t, int16(api.None), p.ErrorCode)
	})
}
