package mq

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

var (
	chaosSeeds = flag.Int("chaos.seeds", 3, "how many seeds TestChaos runs")
	chaosSeed  = flag.Uint64("chaos.seed", 0, "the one seed TestChaos runs; 0: seeds from 1 on")
)

// ledger is what a producer was told.
type ledger struct {
	mu    sync.Mutex
	acked map[int64]string
}

// TestChaos kills, stops, cuts off and restarts brokers and servers at random while idempotent producers write with acks=all.
// Afterwards every acknowledged record is at its offset, no record is there twice, and all replicas are equal (P11, P12).
func TestChaos(t *testing.T) {
	count := *chaosSeeds
	if testing.Short() {
		count = min(count, 1)
	}
	seeds := make([]uint64, 0, count)
	for i := range count {
		seeds = append(seeds, uint64(i+1))
	}
	if *chaosSeed != 0 {
		seeds = []uint64{*chaosSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			inBubble(t, 30*time.Minute, func(ctx context.Context, t *testing.T) { chaos(ctx, t, seed) })
		})
	}
}

func chaos(ctx context.Context, t *testing.T, seed uint64) {
	const partitions = 3
	rng := rand.New(rand.NewPCG(seed, 0))
	c := startTestCluster(ctx, t, ClusterConfig{Seed: seed, Broker: Config{ReplicaLagTimeMax: 2 * time.Second}})
	admin := newRawClient(ctx, t, c)
	defer admin.close()
	admin.create("t", partitions, 3, map[string]string{"min.insync.replicas": "2"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ledgers := make([]*ledger, partitions)
	for i := range ledgers {
		ledgers[i] = &ledger{acked: map[int64]string{}}
		wg.Go(func() { chaosProducer(ctx, t, c, int32(i), ledgers[i], stop) })
	}
	faults := 0
	for range 25 {
		pause(ctx, time.Duration(rng.IntN(1500))*time.Millisecond)
		faults += chaosFault(ctx, t, c, rng)
	}
	c.memory.Heal()
	for _, id := range c.ensemble.IDs() {
		_ = c.ensemble.Restart(ctx, id) // most run
	}
	for _, id := range c.IDs() {
		require.NoError(t, c.Restart(ctx, id))
	}
	pause(ctx, 5*time.Second)
	close(stop)
	wg.Wait()
	total := 0
	for i := range ledgers {
		eventually(t, ctx, "all are in sync again", func() bool { return len(isr(c, "t", int32(i))) == 3 })
		sameLogs(t, ctx, c, "t", int32(i))
		total += chaosCheck(t, admin, c, int32(i), ledgers[i])
	}
	t.Logf("seed %d: %d faults, %d records acknowledged", seed, faults, total)
	require.NotZero(t, total)
}

// chaosFault injects one fault, or ends some.
func chaosFault(ctx context.Context, t *testing.T, c *Cluster, rng *rand.Rand) int {
	id := int32(rng.IntN(3) + 1)
	server := int64(rng.IntN(3) + 1)
	switch rng.IntN(10) {
	case 0, 1, 2:
		require.NoError(t, c.Kill(id))
	case 3:
		_ = c.Stop(ctx, id) // may be cut off
	case 4:
		other := id%3 + 1
		c.memory.Partition(hostName(id), hostName(other))
	case 5:
		for s := range 3 {
			c.memory.Partition(hostName(id), fmt.Sprint("zk-", s+1))
		}
	case 6:
		require.NoError(t, c.ensemble.Kill(server))
		pause(ctx, time.Duration(rng.IntN(1000))*time.Millisecond)
		require.NoError(t, c.ensemble.Restart(ctx, server))
	default:
		c.memory.Heal()
		for _, id := range c.IDs() {
			require.NoError(t, c.Restart(ctx, id))
		}
		return 0
	}
	return 1
}

// chaosProducer writes one record after the other until it is told to stop.
func chaosProducer(ctx context.Context, t *testing.T, c *Cluster, part int32, l *ledger, stop chan struct{}) {
	r := newRawClient(ctx, t, c)
	defer r.close()
	state := producerState{id: 1000 + int64(part)}
	for {
		v := fmt.Sprintf("%d-%d", part, state.seq)
		for {
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			default:
			}
			leader := c.Leader("t", part)
			p, err := r.produce(leader, "t", part, -1, records(&state, v))
			if err == nil && p.ErrorCode == 0 {
				l.mu.Lock()
				l.acked[p.BaseOffset] = v
				l.mu.Unlock()
				break
			}
			pause(ctx, 20*time.Millisecond)
		}
		state.seq++
		pause(ctx, 5*time.Millisecond)
	}
}

// chaosCheck compares what was acknowledged with what is there.
func chaosCheck(t *testing.T, r *rawClient, c *Cluster, part int32, l *ledger) int {
	var all map[int64]string
	eventually(t, r.ctx, "the partition can be read", func() bool {
		p, err := r.fetch(c.Leader("t", part), "t", part, 0, 0)
		return err == nil && p.ErrorCode == 0
	})
	all = r.readAll(c.Leader("t", part), "t", part)
	seen := map[string]int64{}
	for at, v := range all {
		if other, twice := seen[v]; twice {
			require.Fail(t, "a record is there twice", "%s at %d and %d", v, other, at)
		}
		seen[v] = at
	}
	for at, v := range l.acked {
		require.Equal(t, v, all[at], "acknowledged at offset %d of partition %d", at, part)
	}
	return len(l.acked)
}

// K27: a broker that lost its disk is never elected on its empty log.
func TestWipedBroker(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 2})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 2, nil)
		for i := range 10 {
			r.mustProduce("t", 0, -1, records(nil, fmt.Sprint(i)))
		}
		victim := c.Leader("t", 0)
		m := c.mu.brokers[victim]
		require.NoError(t, c.Kill(victim))
		m.disk = vfs.NewMem()
		require.NoError(t, c.Restart(ctx, victim))
		eventually(t, ctx, "it is in sync again", func() bool { return len(isr(c, "t", 0)) == 2 })
		sameLogs(t, ctx, c, "t", 0)
		require.Len(t, r.readAll(c.Leader("t", 0), "t", 0), 10)

		// The same where it was alone in the in-sync set: nothing is elected, nothing is lost for good.
		other := victim%2 + 1
		require.NoError(t, c.Kill(other))
		eventually(t, ctx, "it is alone", func() bool { return len(isr(c, "t", 0)) == 1 && c.Leader("t", 0) == victim })
		require.NoError(t, c.Kill(victim))
		m.disk = vfs.NewMem()
		require.NoError(t, c.Restart(ctx, victim))
		pause(ctx, 3*time.Second)
		require.Equal(t, int32(-1), c.Leader("t", 0))
	})
}

// K31: a broker refuses the wrong ensemble.
func TestForeignCluster(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		one := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		disk := one.mu.brokers[1].disk
		require.NoError(t, one.Stop(ctx, 1))
		two := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1})
		m := two.mu.brokers[1]
		require.NoError(t, two.Stop(ctx, 1))
		m.disk = disk
		err := two.Restart(ctx, 1)
		require.ErrorContains(t, err, "belongs to cluster")
	})
}

// Every broker dies at once, disks survive: what was acknowledged is there.
func TestAllBrokersDie(t *testing.T) {
	inBubble(t, 2*time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 3, 3, nil)
		for round := range 3 {
			for i := range 20 {
				p := r.mustProduce("t", int32(i%3), -1, records(nil, fmt.Sprint(i)))
				require.Zero(t, p.ErrorCode)
			}
			for _, id := range c.IDs() {
				require.NoError(t, c.Kill(id))
			}
			for _, id := range c.IDs() {
				require.NoError(t, c.Restart(ctx, id))
			}
			n := 0
			for part := range int32(3) {
				r.mustProduce("t", part, -1, records(nil, "again"))
				n += len(r.readAll(c.Leader("t", part), "t", part))
			}
			require.Equal(t, (round+1)*23, n)
		}
	})
}

func TestMetadataAndConfigs(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		c := startTestCluster(ctx, t, ClusterConfig{})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 2, 3, map[string]string{"retention.ms": "5000"})
		meta := kmsg.NewPtrMetadataRequest()
		meta.SetVersion(9)
		m := r.do(1, meta).(*kmsg.MetadataResponse)
		require.Len(t, m.Brokers, 3)
		require.Len(t, m.Topics, 1)
		require.Len(t, m.Topics[0].Partitions, 2)

		alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
		alter.SetVersion(1)
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		set.Name, set.Value = "max.message.bytes", new("100")
		res.Configs = append(res.Configs, set)
		alter.Resources = append(alter.Resources, res)
		a := r.do(2, alter).(*kmsg.IncrementalAlterConfigsResponse)
		require.Zero(t, a.Resources[0].ErrorCode)
		eventually(t, ctx, "the leader enforces it", func() bool {
			p, err := r.produce(c.Leader("t", 0), "t", 0, -1, records(nil, string(make([]byte, 200))))
			return err == nil && p.ErrorCode == 10
		})

		describe := kmsg.NewPtrDescribeConfigsRequest()
		describe.SetVersion(4)
		dr := kmsg.NewDescribeConfigsRequestResource()
		dr.ResourceType, dr.ResourceName = kmsg.ConfigResourceTypeTopic, "t"
		describe.Resources = append(describe.Resources, dr)
		d := r.do(2, describe).(*kmsg.DescribeConfigsResponse)
		values := map[string]string{}
		for _, v := range d.Resources[0].Configs {
			values[v.Name] = *v.Value
		}
		require.Equal(t, "5000", values["retention.ms"])
		require.Equal(t, "100", values["max.message.bytes"])
		require.Equal(t, "2", values["min.insync.replicas"])
		require.Equal(t, "1", values["flush.messages"])
	})
}
