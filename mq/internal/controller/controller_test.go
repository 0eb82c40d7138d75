package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// reigning returns a controller that acts over topics of 10 partitions with 3 replicas on 3 brokers.
func reigning(topics int) *Controller {
	c := New(Config{Broker: 1, Rand: rand.New(rand.NewPCG(1, 1))})
	for b := range int32(3) {
		c.Put(Node{Path: layout.BrokerPath(b + 1), Data: layout.EncodeBroker(layout.Broker{Incarnation: 1}), Mzxid: 1, Owner: 7})
	}
	for i := range topics {
		t := layout.Topic{ID: layout.ID{1, byte(i), byte(i >> 8)}}
		name := fmt.Sprintf("topic-%d", i)
		for p := range int32(10) {
			r := []int32{1 + p%3, 1 + (p+1)%3, 1 + (p+2)%3}
			t.Replicas = append(t.Replicas, r)
			s := layout.PartitionState{ControllerEpoch: 1, Leader: r[0], ISR: r, LeaderIncarnation: 1}
			c.Put(Node{Path: layout.StatePath(name, p), Data: layout.EncodeState(s), Mzxid: 1})
		}
		c.Put(Node{Path: layout.TopicPath(name), Data: layout.EncodeTopic(t), Mzxid: 1})
		c.Put(Node{Path: layout.TopicMarkPath(name, t.ID), Mzxid: 1})
	}
	e := layout.ControllerEntry{Broker: 1, Epoch: 1, EpochVersion: 0}
	c.Put(Node{Path: layout.ControllerEpochPath, Data: layout.EncodeControllerEpoch(1), Mzxid: 2})
	c.Put(Node{Path: layout.ControllerPath, Data: layout.EncodeController(e), Mzxid: 2, Owner: 7})
	c.Start(7, 0)
	return c
}

// carryOut commits everything, and returns the number of writes and the most that were under way.
func carryOut(c *Controller) (writes, most int) {
	var under []uint64
	for {
		for rd, ok := c.Ready(); ok; rd, ok = c.Ready() {
			for _, w := range rd.Writes {
				under = append(under, w.ID)
				writes++
			}
		}
		most = max(most, len(under))
		if len(under) == 0 {
			return writes, most
		}
		c.Done(under[0], layout.Committed)
		under = under[1:]
	}
}

func TestFailoverOfManyPartitions(t *testing.T) {
	c := reigning(100)
	n, _ := carryOut(c)
	require.Zero(t, n, "everything is as it should be")
	c.Remove(layout.BrokerPath(2), 9)
	rd, ok := c.Ready()
	require.True(t, ok)
	require.Len(t, rd.Writes, 256)
	for _, w := range rd.Writes {
		require.Contains(t, w.Reason, " leads", "what stands still comes first")
		require.Equal(t, layout.Check(layout.ControllerEpochPath, 0), w.Ops[0])
		require.Equal(t, layout.OpCheck, w.Ops[1].Type)
		require.Equal(t, layout.OpSet, w.Ops[2].Type)
	}
	for _, w := range rd.Writes {
		c.Done(w.ID, layout.Committed)
	}
	n, most := carryOut(c)
	require.Equal(t, 1000, n+256, "one write a partition")
	require.Equal(t, 256, most)
	for _, topic := range c.topics {
		for _, p := range topic.parts {
			require.NotContains(t, p.state.ISR, int32(2))
			require.NotEqual(t, int32(2), p.state.Leader)
		}
	}
}

// The assignments that Kafka's AdminUtils makes, from its own test (AdminTest, testReplicaAssignment): 5 brokers, 10 partitions, start and shift 0.
func TestAssign(t *testing.T) {
	want := [][]int32{
		{0, 1, 2},
		{1, 2, 3},
		{2, 3, 4},
		{3, 4, 0},
		{4, 0, 1},
		{0, 2, 3},
		{1, 3, 4},
		{2, 4, 0},
		{3, 0, 1},
		{4, 1, 2},
	}
	require.Equal(t, want, assign(assignSpec{brokers: []int32{0, 1, 2, 3, 4}, partitions: 10, replicas: 3}, nil))
	require.Equal(t, [][]int32{{7}, {7}}, assign(assignSpec{brokers: []int32{7}, partitions: 2, replicas: 1, start: -1}, rand.New(rand.NewPCG(1, 1))))
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		leads := map[int32]int{}
		for _, r := range assign(assignSpec{brokers: []int32{1, 2, 3, 4}, partitions: 8, replicas: 1 + int(seed%4), start: -1}, rng) {
			code, text := checkAssignment([][]int32{r}, 1+int(seed%4), func(b int32) bool { return b >= 1 && b <= 4 })
			require.Equal(t, OK, code, text)
			leads[r[0]]++
		}
		require.Equal(t, map[int32]int{1: 2, 2: 2, 3: 2, 4: 2}, leads)
	}
}

func TestStaleNodesAreIgnored(t *testing.T) {
	c := reigning(1)
	carryOut(c)
	path := layout.StatePath("topic-0", 0)
	s := layout.PartitionState{ControllerEpoch: 1, Leader: 1, LeaderEpoch: 3, ISR: []int32{1}, LeaderIncarnation: 1}
	c.Put(Node{Path: path, Data: layout.EncodeState(s), Version: 4, Mzxid: 9})
	c.Put(Node{Path: path, Data: layout.EncodeState(layout.PartitionState{Leader: 2, ISR: []int32{2}}), Version: 3, Mzxid: 8})
	c.Remove(path, 5)
	require.Equal(t, int32(3), c.topics["topic-0"].parts[0].state.LeaderEpoch)
	require.True(t, c.topics["topic-0"].parts[0].exists)
	c.Done(999, layout.Committed)
	c.ReadDone("/nothing", true)
	_, ok := c.Ready()
	require.False(t, ok)
}

func TestReadsAreTriedAgain(t *testing.T) {
	c := reigning(1)
	carryOut(c)
	c.Remove(layout.BrokerPath(3), 0)
	rd, _ := c.Ready()
	for _, w := range rd.Writes {
		c.Done(w.ID, layout.Unknown)
	}
	rd, _ = c.Ready()
	require.Empty(t, rd.Writes, "nothing is decided before it is read")
	reads := rd.Reads
	require.Contains(t, reads, layout.ControllerPath)
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(reads))), len(reads), "each once")
	for _, p := range reads {
		c.ReadDone(p, false)
	}
	rd, _ = c.Ready()
	require.ElementsMatch(t, reads, rd.Reads)
	for _, p := range reads {
		c.ReadDone(p, true)
	}
	n, _ := carryOut(c)
	require.Equal(t, 10, n)
}

func TestGivesUpWhatIsRefusedThoughNothingChanges(t *testing.T) {
	c := reigning(1)
	carryOut(c)
	c.Remove(layout.BrokerPath(3), 0)
	writes, notes := 0, 0
	for rd, ok := c.Ready(); ok; rd, ok = c.Ready() {
		for _, w := range rd.Writes {
			writes++
			c.Done(w.ID, layout.Refused)
		}
		for _, p := range rd.Reads {
			c.ReadDone(p, true)
		}
		notes += len(rd.Notes)
	}
	require.Equal(t, 1, notes)
	require.Less(t, writes, 30)
	c.Put(Node{Path: layout.StatePath("topic-0", 9), Version: 1, Mzxid: 10, Data: layout.EncodeState(layout.PartitionState{Leader: 1, ISR: []int32{1, 3}, LeaderIncarnation: 1})})
	n, _ := carryOut(c)
	require.NotZero(t, n, "something changed")
}

func BenchmarkFailover(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := reigning(1000)
		carryOut(c)
		b.StartTimer()
		c.Remove(layout.BrokerPath(2), 9)
		carryOut(c)
	}
}
