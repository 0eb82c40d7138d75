package layout

import (
	"strconv"
	"strings"
)

// Paths of single znodes and of the parents of others, relative to the cluster's chroot.
const (
	ControllerPath      = "/controller"
	ControllerEpochPath = "/controller_epoch"
	BrokersPath         = "/brokers"
	BrokerIDsPath       = "/brokers/ids"
	SeqIDPath           = "/brokers/seqid"
	IncarnationsPath    = "/brokers/incarnations"
	TopicsPath          = "/brokers/topics"
	TombstonesPath      = "/brokers/tombstones"
	DeleteTopicsPath    = "/admin/delete_topics"
	TopicConfigsPath    = "/config/topics"
	BrokerConfigsPath   = "/config/brokers"
	ConfigChangesPath   = "/config/changes"
	ClusterIDPath       = "/cluster/id"
	ProducerIDPath      = "/latest_producer_id_block"
	FeaturePath         = "/feature"
	// DefaultEntity is the name of the znode under /config/brokers that speaks for every broker.
	DefaultEntity = "<default>"
)

// RootPaths returns every persistent znode that a cluster needs before its first broker registers, parents first, with
// those that Apache tools expect to find even when they are empty. The caller creates what is missing, without data.
func RootPaths() []string {
	return []string{
		"/consumers", BrokersPath, BrokerIDsPath, TopicsPath, SeqIDPath, IncarnationsPath, TombstonesPath,
		"/config", TopicConfigsPath, BrokerConfigsPath, "/config/clients", "/config/users", ConfigChangesPath,
		"/admin", DeleteTopicsPath, "/isr_change_notification", "/log_dir_event_notification", "/cluster",
	}
}

// BrokerPath is the ephemeral registration of a broker.
func BrokerPath(broker int32) string { return BrokerIDsPath + "/" + itoa(broker) }

// IncarnationPath is the persistent znode whose data version is the broker's incarnation.
func IncarnationPath(broker int32) string { return IncarnationsPath + "/" + itoa(broker) }

// TopicPath is the assignment of a topic.
func TopicPath(topic string) string { return TopicsPath + "/" + topic }

// TopicMarkPath is the znode that exists as long as the topic of this name has this id.
func TopicMarkPath(topic string, id ID) string {
	return TopicPath(topic) + "/" + markPrefix + id.String()
}

// PartitionsPath is the parent of a topic's partitions.
func PartitionsPath(topic string) string { return TopicPath(topic) + "/partitions" }

// PartitionPath is the parent of a partition's state.
func PartitionPath(topic string, partition int32) string {
	return PartitionsPath(topic) + "/" + itoa(partition)
}

// StatePath is the state of a partition.
func StatePath(topic string, partition int32) string {
	return PartitionPath(topic, partition) + "/state"
}

// TombstonePath is the tombstone of a deleted topic.
func TombstonePath(id ID) string { return TombstonesPath + "/" + id.String() }

// TombstoneConfirmPath says that a broker holds nothing of a deleted topic any more.
func TombstoneConfirmPath(id ID, broker int32) string { return TombstonePath(id) + "/" + itoa(broker) }

// DeleteTopicPath asks the controller to delete a topic.
func DeleteTopicPath(topic string) string { return DeleteTopicsPath + "/" + topic }

// TopicConfigPath holds the configuration of a topic.
func TopicConfigPath(topic string) string { return TopicConfigsPath + "/" + topic }

// BrokerConfigPath holds the dynamic configuration of a broker; of every broker for DefaultEntity.
func BrokerConfigPath(entity string) string { return BrokerConfigsPath + "/" + entity }

// ConfigChangePrefix is the prefix of the sequential znodes that announce a changed configuration.
const ConfigChangePrefix = ConfigChangesPath + "/config_change_"

const markPrefix = "id-"

// Kind says what a znode is.
type Kind uint8

// The kinds of znodes. A path that is none of them is KindOther.
const (
	KindOther Kind = iota
	KindController
	KindControllerEpoch
	KindBroker           // Ref.Broker
	KindIncarnation      // Ref.Broker
	KindTopic            // Ref.Topic
	KindTopicMark        // Ref.Topic, Ref.ID
	KindPartitions       // Ref.Topic
	KindPartition        // Ref.Topic, Ref.Partition
	KindState            // Ref.Topic, Ref.Partition
	KindTombstone        // Ref.ID
	KindTombstoneConfirm // Ref.ID, Ref.Broker
	KindDeleteTopic      // Ref.Topic
	KindTopicConfig      // Ref.Topic
	KindBrokerConfig     // Ref.Entity
	KindConfigChange     // Ref.Entity is its last name
	KindClusterID
	KindProducerID
)

// Ref is a path taken apart.
type Ref struct {
	Kind      Kind
	Broker    int32
	Topic     string
	Partition int32
	ID        ID
	Entity    string
}

// ParsePath takes a path apart. It does not allocate for the paths of topics and partitions. A path below a known parent
// whose name cannot be read (a broker id that is no number) is KindOther.
func ParsePath(path string) Ref {
	switch path {
	case ControllerPath:
		return Ref{Kind: KindController}
	case ControllerEpochPath:
		return Ref{Kind: KindControllerEpoch}
	case ClusterIDPath:
		return Ref{Kind: KindClusterID}
	case ProducerIDPath:
		return Ref{Kind: KindProducerID}
	}
	if rest, ok := strings.CutPrefix(path, TopicsPath+"/"); ok {
		return parseTopic(rest)
	}
	if rest, ok := strings.CutPrefix(path, TombstonesPath+"/"); ok {
		return parseTombstone(rest)
	}
	for _, e := range [...]struct {
		parent string
		kind   Kind
	}{
		{BrokerIDsPath, KindBroker},
		{IncarnationsPath, KindIncarnation},
		{DeleteTopicsPath, KindDeleteTopic},
		{TopicConfigsPath, KindTopicConfig},
		{BrokerConfigsPath, KindBrokerConfig},
		{ConfigChangesPath, KindConfigChange},
	} {
		name, ok := strings.CutPrefix(path, e.parent)
		if !ok || len(name) < 2 || name[0] != '/' || strings.Contains(name[1:], "/") {
			continue
		}
		return parseLeaf(e.kind, name[1:])
	}
	return Ref{}
}

func parseLeaf(kind Kind, name string) Ref {
	switch kind {
	case KindBroker, KindIncarnation:
		id, ok := atoi(name)
		if !ok {
			return Ref{}
		}
		return Ref{Kind: kind, Broker: id}
	case KindDeleteTopic, KindTopicConfig:
		return Ref{Kind: kind, Topic: name}
	default:
		return Ref{Kind: kind, Entity: name}
	}
}

func parseTopic(rest string) Ref {
	topic, rest, more := strings.Cut(rest, "/")
	switch {
	case topic == "":
		return Ref{}
	case !more:
		return Ref{Kind: KindTopic, Topic: topic}
	case rest == "partitions":
		return Ref{Kind: KindPartitions, Topic: topic}
	}
	if text, ok := strings.CutPrefix(rest, markPrefix); ok {
		id, err := ParseID(text)
		if err != nil {
			return Ref{}
		}
		return Ref{Kind: KindTopicMark, Topic: topic, ID: id}
	}
	rest, ok := strings.CutPrefix(rest, "partitions/")
	if !ok {
		return Ref{}
	}
	number, rest, more := strings.Cut(rest, "/")
	p, ok := atoi(number)
	switch {
	case !ok:
		return Ref{}
	case !more:
		return Ref{Kind: KindPartition, Topic: topic, Partition: p}
	case rest == "state":
		return Ref{Kind: KindState, Topic: topic, Partition: p}
	}
	return Ref{}
}

func parseTombstone(rest string) Ref {
	text, rest, more := strings.Cut(rest, "/")
	id, err := ParseID(text)
	if err != nil {
		return Ref{}
	}
	if !more {
		return Ref{Kind: KindTombstone, ID: id}
	}
	b, ok := atoi(rest)
	if !ok {
		return Ref{}
	}
	return Ref{Kind: KindTombstoneConfirm, ID: id, Broker: b}
}

func itoa(n int32) string { return strconv.FormatInt(int64(n), 10) }

// atoi reads a number of the only form that itoa writes for n >= 0.
func atoi(s string) (int32, bool) {
	if len(s) == 0 || len(s) > 10 || (len(s) > 1 && s[0] == '0') {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return int32(n), n <= 1<<31-1
}
