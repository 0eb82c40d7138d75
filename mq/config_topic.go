package mq

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/mq/internal/partition"
)

// topicSettings is what a topic's configuration means for a broker.
type topicSettings struct {
	log       partition.Settings
	minInsync int
	durable   bool
	retains   bool // the cleanup policy deletes old records
}

// topicConfig describes one configuration of topics.
type topicConfig struct {
	name string
	kind kmsg.ConfigType
	doc  string
	// def is the value where a topic does not say; replicas is the topic's replication factor.
	def func(c *Config, replicas int) string
	// values are the ones allowed; nil: any. Lists are checked element by element.
	values []string
	min    int64
}

// fixed is a default that nothing changes.
func fixed(v string) func(*Config, int) string {
	return func(*Config, int) string { return v }
}

// defaultMinInsync is min.insync.replicas where neither topic nor broker says: 2 from three replicas on, else 1.
func defaultMinInsync(c *Config, replicas int) int {
	n := int(c.MinInsyncReplicas)
	if n == 0 {
		n = 1
		if replicas >= 3 {
			n = 2
		}
	}
	return n
}

// topicConfigs are the configurations of topics, sorted by name. Those that this version stores but does not act on say so.
var topicConfigs = []topicConfig{
	{
		name: "cleanup.policy", kind: kmsg.ConfigTypeList, values: []string{"delete", "compact"}, def: fixed("delete"),
		doc: "delete: segments older than the retention are removed; compact: stored, compaction is not there yet",
	},
	{
		name: "compression.type", kind: kmsg.ConfigTypeString, def: fixed("producer"), values: []string{"producer"},
		doc: "batches are kept as the producer compressed them",
	},
	{name: "delete.retention.ms", kind: kmsg.ConfigTypeLong, def: fixed("86400000"), doc: "stored, not acted on yet"},
	{
		name: "flush.messages", kind: kmsg.ConfigTypeLong, min: 1,
		def: func(c *Config, _ int) string { return strconv.FormatInt(c.LogFlushIntervalMessages, 10) },
		doc: "1: acknowledged when synced to disk; more: when in the page cache",
	},
	{name: "flush.ms", kind: kmsg.ConfigTypeLong, def: fixed(strconv.FormatInt(math.MaxInt64, 10)), doc: "stored, not acted on yet"},
	{
		name: "max.message.bytes", kind: kmsg.ConfigTypeInt,
		def: func(c *Config, _ int) string { return strconv.Itoa(int(c.MessageBytesMax)) }, doc: "the largest record batch",
	},
	{
		name: "message.timestamp.difference.max.ms", kind: kmsg.ConfigTypeLong, def: fixed(strconv.FormatInt(math.MaxInt64, 10)),
		doc: "how far a record's time may be from the broker's",
	},
	{
		name: "message.timestamp.type", kind: kmsg.ConfigTypeString, values: []string{"CreateTime", "LogAppendTime"}, def: fixed("CreateTime"),
		doc: "whose clock stamps records",
	},
	{
		name: "min.insync.replicas", kind: kmsg.ConfigTypeInt, min: 1,
		def: func(c *Config, replicas int) string { return strconv.Itoa(defaultMinInsync(c, replicas)) },
		doc: "how many replicas must have a batch of acks=all",
	},
	{
		name: "retention.bytes", kind: kmsg.ConfigTypeLong, min: -1,
		def: func(c *Config, _ int) string { return strconv.FormatInt(c.LogRetentionBytes, 10) }, doc: "bound of a partition's size, -1 none",
	},
	{
		name: "retention.ms", kind: kmsg.ConfigTypeLong, min: -1,
		def: func(c *Config, _ int) string {
			if c.LogRetention < 0 {
				return "-1"
			}
			return strconv.FormatInt(c.LogRetention.Milliseconds(), 10)
		}, doc: "how long records are kept, -1 for ever",
	},
	{
		name: "segment.bytes", kind: kmsg.ConfigTypeInt, min: 14,
		def: func(c *Config, _ int) string { return strconv.FormatInt(min(c.LogSegmentBytes, math.MaxInt32), 10) },
		doc: "size of a segment, from the next start of a broker on",
	},
	{name: "segment.ms", kind: kmsg.ConfigTypeLong, min: 1, def: fixed(strconv.FormatInt((7 * 24 * time.Hour).Milliseconds(), 10)), doc: "stored, not acted on yet"},
	{
		name: "unclean.leader.election.enable", kind: kmsg.ConfigTypeBoolean,
		def: func(c *Config, _ int) string { return strconv.FormatBool(c.UncleanLeaderElectionEnable) },
		doc: "whether a replica outside the in-sync set may lead when no other is alive",
	},
}

// findTopicConfig returns the description of a configuration, or nil.
func findTopicConfig(name string) *topicConfig {
	i := slices.IndexFunc(topicConfigs, func(c topicConfig) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &topicConfigs[i]
}

// check says what is wrong with a value.
func (t *topicConfig) check(value string) error {
	switch t.kind {
	case kmsg.ConfigTypeInt, kmsg.ConfigTypeLong:
		bits := 64
		if t.kind == kmsg.ConfigTypeInt {
			bits = 32
		}
		n, err := strconv.ParseInt(value, 10, bits)
		if err != nil || n < t.min {
			return fmt.Errorf("configuration %s is %.40q, want a whole number of %d or more", t.name, value, t.min)
		}
	case kmsg.ConfigTypeBoolean:
		if value != "true" && value != "false" {
			return fmt.Errorf("configuration %s is %.40q, want true or false", t.name, value)
		}
	}
	if t.values == nil {
		return nil
	}
	for v := range strings.SplitSeq(value, ",") {
		if !slices.Contains(t.values, strings.TrimSpace(v)) {
			return fmt.Errorf("configuration %s is %.40q, want %s", t.name, value, strings.Join(t.values, " or "))
		}
	}
	return nil
}

// checkTopicConfig says what is wrong with a topic's configuration.
func checkTopicConfig(config map[string]string) error {
	names := make([]string, 0, len(config))
	for name := range config {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t := findTopicConfig(name)
		if t == nil {
			return fmt.Errorf("unknown topic configuration %.60q", name)
		}
		if err := t.check(config[name]); err != nil {
			return err
		}
	}
	return nil
}

// settingsOf works out what a topic's configuration means. Values that cannot be read count as not given.
func (c *Config) settingsOf(t *meta.Topic) topicSettings {
	replicas := 0
	if len(t.Partitions) > 0 {
		replicas = len(t.Partitions[0].Replicas)
	}
	value := func(name string) string {
		tc := findTopicConfig(name)
		if v, ok := t.Config[name]; ok && tc.check(v) == nil {
			return v
		}
		return tc.def(c, replicas)
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(value(name), 10, 64)
		return n
	}
	s := topicSettings{minInsync: int(number("min.insync.replicas"))}
	s.log.MaxMessageBytes = int(number("max.message.bytes"))
	s.log.LogAppendTime = value("message.timestamp.type") == "LogAppendTime"
	if d := number("message.timestamp.difference.max.ms"); d != math.MaxInt64 {
		s.log.TimestampDifferenceMax = d
	}
	s.log.FlushMessages = number("flush.messages")
	s.log.RetentionBytes, s.log.RetentionMillis = number("retention.bytes"), number("retention.ms")
	s.durable = s.log.FlushMessages <= 1
	s.retains = strings.Contains(value("cleanup.policy"), "delete")
	return s
}

// topicDefaults lists every configuration of topics with its default.
func (c *Config) topicDefaults(replicas int) []api.ConfigValue {
	out := make([]api.ConfigValue, len(topicConfigs))
	for i := range topicConfigs {
		t := &topicConfigs[i]
		out[i] = api.ConfigValue{Name: t.name, Value: t.def(c, replicas), Type: t.kind, Doc: t.doc}
	}
	return out
}

// brokerConfigs lists the broker's own configuration under the names of server.properties.
func (c *Config) brokerConfigs() []api.ConfigValue {
	var out []api.ConfigValue
	add := func(name, value string, kind kmsg.ConfigType) {
		out = append(out, api.ConfigValue{Name: name, Value: value, Type: kind, ReadOnly: true})
	}
	number := func(name string, n int64) { add(name, strconv.FormatInt(n, 10), kmsg.ConfigTypeLong) }
	add("auto.create.topics.enable", strconv.FormatBool(c.AutoCreateTopicsEnable), kmsg.ConfigTypeBoolean)
	number("broker.id", int64(c.BrokerID))
	number("connections.max.idle.ms", c.ConnectionsIdleMax.Milliseconds())
	number("default.replication.factor", int64(orDefault(c.DefaultReplicationFactor, defaultReplicas)))
	number("fetch.max.bytes", int64(c.FetchBytesMax))
	number("group.initial.rebalance.delay.ms", c.GroupInitialRebalanceDelay.Milliseconds())
	number("group.max.session.timeout.ms", c.GroupMaxSessionTimeout.Milliseconds())
	number("group.max.size", int64(c.GroupMaxSize))
	number("group.min.session.timeout.ms", c.GroupMinSessionTimeout.Milliseconds())
	add("log.dirs", c.DataDir, kmsg.ConfigTypeString)
	number("log.flush.interval.messages", c.LogFlushIntervalMessages)
	number("log.retention.bytes", c.LogRetentionBytes)
	number("log.retention.ms", c.LogRetention.Milliseconds())
	number("log.segment.bytes", c.LogSegmentBytes)
	number("max.connections", int64(c.MaxConnections))
	number("message.max.bytes", int64(c.MessageBytesMax))
	number("min.insync.replicas", int64(defaultMinInsync(c, defaultReplicas)))
	number("num.partitions", int64(c.NumPartitions))
	number("offset.metadata.max.bytes", int64(c.OffsetMetadataBytesMax))
	number("offsets.retention.minutes", int64(c.OffsetsRetention/time.Minute))
	number("offsets.topic.num.partitions", int64(c.OffsetsTopicNumPartitions))
	number("replica.lag.time.max.ms", c.ReplicaLagTimeMax.Milliseconds())
	number("socket.request.max.bytes", int64(c.SocketRequestBytesMax))
	add("unclean.leader.election.enable", strconv.FormatBool(c.UncleanLeaderElectionEnable), kmsg.ConfigTypeBoolean)
	number("zookeeper.session.timeout.ms", c.ZookeeperSessionTimeout.Milliseconds())
	return out
}
