package meta

import (
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// Image is the cluster at one moment, as ZooKeeper shows it. It is immutable.
type Image struct {
	// ClusterID is /cluster/id; empty before it is there.
	ClusterID string
	// Controller is the broker that holds /controller, layout.NoLeader if none does.
	Controller int32
	// Brokers are the live brokers.
	Brokers map[int32]*Broker
	// Topics by name; those without a readable assignment are left out.
	Topics map[string]*Topic
	// Deleting are the topics whose deletion was asked for.
	Deleting map[string]bool
	// Tombstones of deleted topics.
	Tombstones map[layout.ID]*Tombstone
	// BrokerConfigs are the dynamic configurations under /config/brokers by entity.
	BrokerConfigs map[string]map[string]string

	byID map[layout.ID]*Topic
}

// Broker is a live broker.
type Broker struct {
	ID int32
	layout.Broker
	// Owner is the session that registered it; Czxid is its broker epoch.
	Owner, Czxid int64
}

// Endpoint returns the broker's address on a listener, of the security protocol of that listener.
func (b *Broker) Endpoint(listener string) (layout.Endpoint, bool) {
	i := slices.IndexFunc(b.Endpoints, func(e layout.Endpoint) bool { return e.Listener == listener })
	if i < 0 {
		return layout.Endpoint{}, false
	}
	return b.Endpoints[i], true
}

// Topic is a topic with its partitions, 0 to len(Partitions)-1.
type Topic struct {
	Name       string
	ID         layout.ID
	Partitions []Partition
	// Config is the topic's own configuration; never nil.
	Config map[string]string
}

// Partition is a partition's assignment and state.
type Partition struct {
	Replicas []int32
	// State is meaningful if Version is not negative.
	State layout.PartitionState
	// Version is the data version of the state znode, -1 if it is not there yet.
	Version int32
}

// Leader is the partition's leader if it is alive, else layout.NoLeader.
func (img *Image) Leader(p *Partition) int32 {
	if p.Version < 0 || img.Brokers[p.State.Leader] == nil {
		return layout.NoLeader
	}
	return p.State.Leader
}

// Tombstone is a deleted topic, and who has deleted its data.
type Tombstone struct {
	layout.Tombstone
	Confirmed map[int32]bool
}

// TopicByID returns the topic with this id, or nil.
func (img *Image) TopicByID(id layout.ID) *Topic { return img.byID[id] }

// Partition returns a partition, or nil.
func (img *Image) Partition(topic string, partition int32) *Partition {
	t := img.Topics[topic]
	if t == nil || partition < 0 || int(partition) >= len(t.Partitions) {
		return nil
	}
	return &t.Partitions[partition]
}

// BrokerIDs returns the live brokers, ascending.
func (img *Image) BrokerIDs() []int32 {
	ids := make([]int32, 0, len(img.Brokers))
	for id := range img.Brokers {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// TopicNames returns the topics' names, ascending.
func (img *Image) TopicNames() []string {
	names := make([]string, 0, len(img.Topics))
	for name := range img.Topics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
