package meta_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
)

func node(path string, data []byte, mzxid int64, version int32) meta.Node {
	return meta.Node{Path: path, Data: data, Mzxid: mzxid, Version: version}
}

func TestBuilderFollowsATopic(t *testing.T) {
	t.Parallel()
	b := meta.NewBuilder()
	id := layout.NewID(rand.New(rand.NewPCG(1, 2)))
	state := layout.PartitionState{Leader: 1, LeaderEpoch: 4, ISR: []int32{1, 2}, LeaderIncarnation: 3}

	// The state may be read before the assignment.
	require.NoError(t, b.Set(node(layout.StatePath("t", 0), layout.EncodeState(state), 12, 7)))
	img, changed := b.Image()
	require.Empty(t, img.Topics)
	require.Equal(t, []string{"t"}, changed)

	require.NoError(t, b.Set(node(layout.TopicPath("t"), layout.EncodeTopic(layout.Topic{ID: id, Replicas: [][]int32{{1, 2}, {2, 1}}}), 10, 0)))
	require.NoError(t, b.Set(node(layout.BrokerPath(1), layout.EncodeBroker(layout.Broker{}), 9, 0)))
	before := img
	img, changed = b.Image()
	require.Equal(t, []string{"t"}, changed)
	require.Empty(t, before.Topics, "a published image does not change")
	require.Same(t, img.Topics["t"], img.TopicByID(id))
	require.Equal(t, int32(7), img.Partition("t", 0).Version)
	require.Equal(t, int32(1), img.Leader(img.Partition("t", 0)))
	require.Equal(t, int32(-1), img.Partition("t", 1).Version)
	require.Equal(t, layout.NoLeader, img.Leader(img.Partition("t", 1)))
	require.Nil(t, img.Partition("t", 2))
	require.Nil(t, img.Partition("u", 0))

	// An older version, and the same again, change nothing.
	require.NoError(t, b.Set(node(layout.StatePath("t", 0), layout.EncodeState(layout.PartitionState{Leader: 2}), 11, 6)))
	same, changed := b.Image()
	require.Same(t, img, same)
	require.Empty(t, changed)

	// The leader's registration goes: the partition has no live leader.
	b.Remove(layout.BrokerPath(1))
	img, _ = b.Image()
	require.Equal(t, layout.NoLeader, img.Leader(img.Partition("t", 0)))

	// A scan that finds nothing deletes it all.
	for _, path := range b.Missing(map[string]bool{}) {
		b.Remove(path)
	}
	img, changed = b.Image()
	require.Empty(t, img.Topics)
	require.Nil(t, img.TopicByID(id))
	require.Equal(t, []string{"t"}, changed)
}

func TestBuilderTombstonesAndRest(t *testing.T) {
	t.Parallel()
	b := meta.NewBuilder()
	id := layout.NewID(rand.New(rand.NewPCG(1, 2)))
	require.NoError(t, b.Set(node(layout.TombstonePath(id), layout.EncodeTombstone(layout.Tombstone{Topic: "t", ID: id, Replicas: [][]int32{{1, 2}}}), 1, 0)))
	require.NoError(t, b.Set(node(layout.ClusterIDPath, layout.EncodeClusterID("c"), 1, 0)))
	require.NoError(t, b.Set(node(layout.ControllerPath, layout.EncodeController(layout.ControllerEntry{Broker: 2, Epoch: 1, EpochVersion: 1}), 1, 0)))
	require.NoError(t, b.Set(node(layout.DeleteTopicPath("x"), nil, 1, 0)))
	first, _ := b.Image()
	require.NoError(t, b.Set(node(layout.TombstoneConfirmPath(id, 1), nil, 2, 0)))
	b.Remove(layout.ControllerPath)
	img, _ := b.Image()
	require.Equal(t, int32(2), first.Controller)
	require.Equal(t, "c", img.ClusterID)
	require.Equal(t, layout.NoLeader, img.Controller)
	require.True(t, img.Deleting["x"])
	require.Empty(t, first.Tombstones[id].Confirmed)
	require.True(t, img.Tombstones[id].Confirmed[1])
	require.Equal(t, []int32{1, 2}, img.Tombstones[id].Brokers())

	// What cannot be read counts as missing, and says so.
	require.Error(t, b.Set(node(layout.ClusterIDPath, []byte("{"), 3, 1)))
	img, _ = b.Image()
	require.Empty(t, img.ClusterID)
}
