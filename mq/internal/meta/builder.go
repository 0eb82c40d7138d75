package meta

import (
	"maps"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// Node is a znode as it was read.
type Node struct {
	Path  string
	Data  []byte // not kept
	Czxid int64
	Mzxid int64
	// Version is the data version, Owner the session of an ephemeral.
	Version int32
	Owner   int64
}

// Builder turns znodes into Images. The zero value is not usable; see NewBuilder.
type Builder struct {
	// seen holds the mzxid of every znode of interest.
	seen   map[string]int64
	topics map[string]*topicNodes
	image  *Image
	dirty  map[string]bool // topics to rebuild
	// what else the next image must not share with the last
	brokersDirty, deletingDirty, tombstonesDirty, configsDirty, otherDirty bool
}

// topicNodes is what the znodes of one topic said.
type topicNodes struct {
	topic  *layout.Topic // nil: the znode is missing or cannot be read
	config map[string]string
	states map[int32]stateNode
}

type stateNode struct {
	state   layout.PartitionState
	version int32
}

// NewBuilder returns a builder whose image is empty.
func NewBuilder() *Builder {
	return &Builder{
		seen: map[string]int64{}, topics: map[string]*topicNodes{}, dirty: map[string]bool{},
		image: &Image{
			Controller: layout.NoLeader, Brokers: map[int32]*Broker{}, Topics: map[string]*Topic{}, Deleting: map[string]bool{},
			Tombstones: map[layout.ID]*Tombstone{}, BrokerConfigs: map[string]map[string]string{}, byID: map[layout.ID]*Topic{},
		},
	}
}

// Set takes a znode. Znodes that no image shows, and versions already seen, are ignored. An unreadable value is an error and
// counts as missing.
func (b *Builder) Set(n Node) error {
	ref := layout.ParsePath(n.Path)
	if ref.Kind == layout.KindOther {
		return nil
	}
	if old, ok := b.seen[n.Path]; ok && old >= n.Mzxid {
		return nil
	}
	b.seen[n.Path] = n.Mzxid
	err := b.put(ref, &n)
	if err != nil {
		b.drop(ref)
	}
	return err
}

// Remove takes note that a znode does not exist.
func (b *Builder) Remove(path string) {
	if _, ok := b.seen[path]; !ok {
		return
	}
	delete(b.seen, path)
	b.drop(layout.ParsePath(path))
}

// Has reports whether a znode is known to exist.
func (b *Builder) Has(path string) bool { _, ok := b.seen[path]; return ok }

// Missing returns the known znodes that are not in found, sorted: what a full scan says was deleted. The caller passes each to
// Remove.
func (b *Builder) Missing(found map[string]bool) []string {
	var gone []string
	for path := range b.seen {
		if !found[path] {
			gone = append(gone, path)
		}
	}
	slices.Sort(gone)
	return gone
}

// topic returns what is known of a topic, and marks it for rebuilding.
func (b *Builder) topic(name string) *topicNodes {
	b.dirty[name] = true
	t := b.topics[name]
	if t == nil {
		t = &topicNodes{states: map[int32]stateNode{}}
		b.topics[name] = t
	}
	return t
}

// put reads a znode's value into the picture.
func (b *Builder) put(ref layout.Ref, n *Node) error {
	switch ref.Kind {
	case layout.KindState:
		s, err := layout.DecodeState(n.Data)
		if err != nil {
			return err
		}
		b.topic(ref.Topic).states[ref.Partition] = stateNode{s, n.Version}
	case layout.KindTopic:
		t, err := layout.DecodeTopic(n.Data)
		if err != nil {
			return err
		}
		b.topic(ref.Topic).topic = &t
	case layout.KindTopicConfig:
		c, err := layout.DecodeConfig(n.Data)
		if err != nil {
			return err
		}
		b.topic(ref.Topic).config = c
	case layout.KindBroker:
		r, err := layout.DecodeBroker(n.Data)
		if err != nil {
			return err
		}
		b.brokers()[ref.Broker] = &Broker{ID: ref.Broker, Broker: r, Owner: n.Owner, Czxid: n.Czxid}
	default:
		return b.putOther(ref, n)
	}
	return nil
}

// putOther is put for what changes rarely.
func (b *Builder) putOther(ref layout.Ref, n *Node) error {
	switch ref.Kind {
	case layout.KindController:
		c, err := layout.DecodeController(n.Data)
		if err != nil {
			return err
		}
		b.other().Controller = c.Broker
	case layout.KindClusterID:
		id, err := layout.DecodeClusterID(n.Data)
		if err != nil {
			return err
		}
		b.other().ClusterID = id
	case layout.KindDeleteTopic:
		b.deleting()[ref.Topic] = true
	case layout.KindTombstone:
		t, err := layout.DecodeTombstone(n.Data)
		if err != nil {
			return err
		}
		b.tombstone(ref.ID).Tombstone = t
	case layout.KindTombstoneConfirm:
		b.tombstone(ref.ID).Confirmed[ref.Broker] = true
	case layout.KindBrokerConfig:
		c, err := layout.DecodeConfig(n.Data)
		if err != nil {
			return err
		}
		b.brokerConfigs()[ref.Entity] = c
	}
	return nil
}

// drop takes a znode out of the picture.
func (b *Builder) drop(ref layout.Ref) {
	switch ref.Kind {
	case layout.KindState:
		delete(b.topic(ref.Topic).states, ref.Partition)
	case layout.KindTopic:
		b.topic(ref.Topic).topic = nil
	case layout.KindTopicConfig:
		b.topic(ref.Topic).config = nil
	case layout.KindBroker:
		delete(b.brokers(), ref.Broker)
	case layout.KindController:
		b.other().Controller = layout.NoLeader
	case layout.KindClusterID:
		b.other().ClusterID = ""
	case layout.KindDeleteTopic:
		delete(b.deleting(), ref.Topic)
	case layout.KindTombstone:
		delete(b.tombstones(), ref.ID)
	case layout.KindTombstoneConfirm:
		if b.image.Tombstones[ref.ID] != nil {
			delete(b.tombstone(ref.ID).Confirmed, ref.Broker)
		}
	case layout.KindBrokerConfig:
		delete(b.brokerConfigs(), ref.Entity)
	}
}

// other returns the next image, to change a plain field of.
func (b *Builder) other() *Image {
	if !b.otherDirty {
		next := *b.image
		b.image, b.otherDirty = &next, true
	}
	return b.image
}

// own makes the next image's copy of one of its maps the first time it changes.
func own[K comparable, V any](b *Builder, dirty *bool, field func(*Image) *map[K]V) map[K]V {
	m := field(b.other())
	if !*dirty {
		*m, *dirty = maps.Clone(*m), true
	}
	return *m
}

func (b *Builder) brokers() map[int32]*Broker {
	return own(b, &b.brokersDirty, func(i *Image) *map[int32]*Broker { return &i.Brokers })
}

func (b *Builder) deleting() map[string]bool {
	return own(b, &b.deletingDirty, func(i *Image) *map[string]bool { return &i.Deleting })
}

func (b *Builder) tombstones() map[layout.ID]*Tombstone {
	return own(b, &b.tombstonesDirty, func(i *Image) *map[layout.ID]*Tombstone { return &i.Tombstones })
}

func (b *Builder) brokerConfigs() map[string]map[string]string {
	return own(b, &b.configsDirty, func(i *Image) *map[string]map[string]string { return &i.BrokerConfigs })
}

// tombstone returns a copy of a tombstone that the next image owns.
func (b *Builder) tombstone(id layout.ID) *Tombstone {
	m := b.tombstones()
	t := &Tombstone{Confirmed: map[int32]bool{}}
	if old := m[id]; old != nil {
		t.Tombstone, t.Confirmed = old.Tombstone, maps.Clone(old.Confirmed)
	}
	m[id] = t
	return t
}

// Image returns the picture as it is now, and the names of the topics that changed since the last call, sorted. Without any
// change the same Image comes back.
func (b *Builder) Image() (img *Image, changed []string) {
	if len(b.dirty) > 0 {
		next := b.other()
		next.Topics, next.byID = maps.Clone(next.Topics), maps.Clone(next.byID)
		for name := range b.dirty {
			changed = append(changed, name)
			b.rebuild(next, name)
		}
		slices.Sort(changed)
		clear(b.dirty)
	}
	b.brokersDirty, b.deletingDirty, b.tombstonesDirty, b.configsDirty, b.otherDirty = false, false, false, false, false
	return b.image, changed
}

// rebuild makes a topic of next from its znodes.
func (b *Builder) rebuild(next *Image, name string) {
	if old := next.Topics[name]; old != nil {
		delete(next.Topics, name)
		if next.byID[old.ID] == old {
			delete(next.byID, old.ID)
		}
	}
	n := b.topics[name]
	if n.topic == nil {
		if n.config == nil && len(n.states) == 0 {
			delete(b.topics, name)
		}
		return
	}
	t := &Topic{Name: name, ID: n.topic.ID, Config: n.config, Partitions: make([]Partition, len(n.topic.Replicas))}
	if t.Config == nil {
		t.Config = map[string]string{}
	}
	for i, replicas := range n.topic.Replicas {
		p := &t.Partitions[i]
		p.Replicas, p.Version = replicas, -1
		p.State.Leader = layout.NoLeader
		if s, ok := n.states[int32(i)]; ok {
			p.State, p.Version = s.state, s.version
		}
	}
	next.Topics[name] = t
	if !t.ID.IsZero() {
		next.byID[t.ID] = t
	}
}
