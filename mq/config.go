package mq

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk"
)

// Config configures a Broker. Its fields are named after the keys of Kafka's server.properties, which each comment repeats.
// The zero value of every field is usable and documented; a negative value is an error except where the comment gives it a
// meaning. StartBroker reports every violation at once.
type Config struct {
	// BrokerID (broker.id) identifies the broker in its cluster. It must be unique there; 0 is an identity like any other.
	BrokerID int32
	// Rack (broker.rack) is published with the broker; it does not influence placement yet.
	Rack string

	// Listeners (listeners, advertised.listeners) are the addresses clients and brokers reach this broker at.
	// Empty: one listener named PLAINTEXT on 127.0.0.1, a free port.
	Listeners []Listener
	// Network is where listeners without a network of their own listen, and what this broker dials other brokers over. Nil: TCP.
	Network Network
	// InterBrokerListenerName (inter.broker.listener.name) names the listener of other brokers that replication dials.
	// Empty: the first listener's name.
	InterBrokerListenerName string
	// AllowInsecureNonLoopback permits listeners on addresses that other machines reach, although this version has neither TLS
	// nor authentication on them. Without it such a listener is an error. Addresses on a Network other than TCP are exempt.
	AllowInsecureNonLoopback bool

	// DataDir (log.dirs) is the directory that holds the partitions. Empty: memory, gone when the broker ends.
	DataDir string
	// FS is the disk. Nil: the operating system's if DataDir is set, else memory.
	FS vfs.FS

	// Zookeeper (zookeeper.connect) says where the ensemble is: any ZooKeeper 3.6 or later. Its SessionTimeout is overridden by
	// ZookeeperSessionTimeout, its OnState and ReadOnly fields are ignored.
	Zookeeper zk.ClientConfig
	// ZookeeperSessionTimeout (zookeeper.session.timeout.ms) is how long the broker may be silent before the cluster considers
	// it dead. 0: 1 s, for one process; across machines 6-18 s is usual.
	ZookeeperSessionTimeout time.Duration

	// NumPartitions (num.partitions) of topics created without a number of their own. 0: 1.
	NumPartitions int32
	// DefaultReplicationFactor (default.replication.factor) of topics created without one. 0: three, or the number of live
	// brokers if fewer.
	DefaultReplicationFactor int16
	// MinInsyncReplicas (min.insync.replicas) is how many replicas must hold a batch sent with acks=all before it is
	// acknowledged. 0: 2 for topics with three replicas or more, else 1.
	MinInsyncReplicas int32
	// AutoCreateTopicsEnable (auto.create.topics.enable) creates topics when a client asks for the metadata of one that does
	// not exist and allows it. False, the zero value, differs from Kafka's default.
	AutoCreateTopicsEnable bool
	// UncleanLeaderElectionEnable (unclean.leader.election.enable) lets a replica outside the in-sync set lead when no other is
	// alive, at the price of acknowledged records. False: the partition waits.
	UncleanLeaderElectionEnable bool

	// ReplicaLagTimeMax (replica.lag.time.max.ms) is how long a live follower may trail before it leaves the in-sync set.
	// 0: 10 s. A broker whose registration vanishes leaves at once, whatever the value.
	ReplicaLagTimeMax time.Duration
	// ReplicaFetchWaitMax (replica.fetch.wait.max.ms) is how long a leader holds a follower's empty fetch. 0: 500 ms.
	ReplicaFetchWaitMax time.Duration
	// ReplicaFetchBytesMax (replica.fetch.max.bytes) is what a follower asks for per partition. 0: 1 MiB.
	ReplicaFetchBytesMax int32
	// ReplicaFetchResponseBytesMax (replica.fetch.response.max.bytes) is what a follower asks for in all. 0: 10 MiB.
	ReplicaFetchResponseBytesMax int32

	// MessageBytesMax (message.max.bytes) bounds one record batch as sent. 0: 1,048,588.
	MessageBytesMax int32
	// LogSegmentBytes (log.segment.bytes) is the size at which a partition's log rolls. 0: 64 MiB.
	LogSegmentBytes int64
	// LogRetention (log.retention.ms) is how long records are kept. 0: 7 days; negative: for ever.
	LogRetention time.Duration
	// LogRetentionBytes (log.retention.bytes) bounds a partition. 0 or negative: no bound.
	LogRetentionBytes int64
	// LogRetentionCheckInterval (log.retention.check.interval.ms). 0: 5 minutes.
	LogRetentionCheckInterval time.Duration
	// LogFlushIntervalMessages (log.flush.interval.messages, topic configuration flush.messages). 0 or 1: a batch is
	// acknowledged when it is synced to disk on every in-sync replica. Greater: when it is in their page caches, as Apache Kafka does.
	LogFlushIntervalMessages int64

	// SocketRequestBytesMax (socket.request.max.bytes) bounds a request frame. 0: 16 MiB.
	SocketRequestBytesMax int32
	// FetchBytesMax (fetch.max.bytes) bounds a fetch response whatever the client asks for. 0: 55 MiB.
	FetchBytesMax int32
	// MaxConnections (max.connections) bounds open connections. 0: 10,000.
	MaxConnections int
	// ConnectionsIdleMax (connections.max.idle.ms) closes silent connections. 0: 10 minutes.
	ConnectionsIdleMax time.Duration
	// MaxInFlightRequests is how many requests of one connection may await their responses before the broker stops reading it.
	// 0: 100.
	MaxInFlightRequests int
	// QueuedRequestBytesMax (queued.max.request.bytes) bounds the bytes of all requests being received or handled.
	// 0: 256 MiB.
	QueuedRequestBytesMax int64

	// GroupInitialRebalanceDelay (group.initial.rebalance.delay.ms) is how long an empty group waits for more members before
	// its first rebalance. 0: none. Kafka waits 3 s.
	GroupInitialRebalanceDelay time.Duration
	// GroupMinSessionTimeout (group.min.session.timeout.ms). 0: 1 s (Kafka: 6 s).
	GroupMinSessionTimeout time.Duration
	// GroupMaxSessionTimeout (group.max.session.timeout.ms). 0: 30 minutes.
	GroupMaxSessionTimeout time.Duration
	// GroupMaxSize (group.max.size) bounds the members of a group. 0: 10,000.
	GroupMaxSize int
	// OffsetsTopicNumPartitions (offsets.topic.num.partitions) of __consumer_offsets when it is created. 0: 4.
	OffsetsTopicNumPartitions int32
	// OffsetsTopicReplicationFactor (offsets.topic.replication.factor). 0: three, or the number of live brokers if fewer.
	OffsetsTopicReplicationFactor int16
	// OffsetMetadataBytesMax (offset.metadata.max.bytes) bounds the text a client stores with an offset. 0: 4096.
	OffsetMetadataBytesMax int
	// OffsetsRetention (offsets.retention.minutes) is how long offsets of an empty group are kept. 0: 7 days.
	OffsetsRetention time.Duration

	// Seed seeds the broker's random choices (backoff, member ids). 0: a random seed.
	Seed uint64
	// Logger receives what an operator should know. Nil: nothing is logged.
	Logger *slog.Logger
}

// Listener is one address a broker serves.
type Listener struct {
	// Name is the listener's name in Kafka's sense: a client that connects through a listener is told the other brokers'
	// addresses on the listener of the same name. Empty: PLAINTEXT.
	Name string
	// Network is where Address lives. Nil: the Config's.
	Network Network
	// Address is host:port; port 0 picks a free one, which is then advertised. Empty: 127.0.0.1:0.
	Address string
	// Advertised is the host:port that clients are told. Empty: the address bound. A port of 0 means the port bound.
	Advertised string
}

// durations, sizes and counts that a zero field means.
const (
	defaultListenerName          = "PLAINTEXT"
	defaultZookeeperSession      = time.Second
	defaultReplicaLagTimeMax     = 10 * time.Second
	defaultReplicaFetchWaitMax   = 500 * time.Millisecond
	defaultReplicaFetchBytes     = 1 << 20
	defaultReplicaFetchResponse  = 10 << 20
	defaultMessageBytesMax       = 1048588
	defaultLogSegmentBytes       = 64 << 20
	defaultLogRetention          = 7 * 24 * time.Hour
	defaultRetentionCheck        = 5 * time.Minute
	defaultSocketRequestBytesMax = 16 << 20
	defaultFetchBytesMax         = 55 << 20
	defaultMaxConnections        = 10_000
	defaultConnectionsIdleMax    = 10 * time.Minute
	defaultMaxInFlightRequests   = 100
	defaultQueuedRequestBytesMax = 256 << 20
	defaultGroupMinSession       = time.Second
	defaultGroupMaxSession       = 30 * time.Minute
	defaultGroupMaxSize          = 10_000
	defaultOffsetsPartitions     = 4
	defaultOffsetMetadataBytes   = 4096
	defaultOffsetsRetention      = 7 * 24 * time.Hour
	defaultReplicas              = 3
)

// orDefault is v, or def where v is the zero value.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// withDefaults returns the configuration with every zero field replaced by what it means.
func (c Config) withDefaults() Config {
	if len(c.Listeners) == 0 {
		c.Listeners = []Listener{{}}
	}
	c.Listeners = append([]Listener(nil), c.Listeners...)
	if c.Network == nil {
		c.Network = &tcpNetwork{}
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		l.Name = orDefault(l.Name, defaultListenerName)
		l.Address = orDefault(l.Address, "127.0.0.1:0")
		if l.Network == nil {
			l.Network = c.Network
		}
	}
	c.InterBrokerListenerName = orDefault(c.InterBrokerListenerName, c.Listeners[0].Name)
	c.ZookeeperSessionTimeout = orDefault(c.ZookeeperSessionTimeout, defaultZookeeperSession)
	c.NumPartitions = orDefault(c.NumPartitions, 1)
	c.ReplicaLagTimeMax = orDefault(c.ReplicaLagTimeMax, defaultReplicaLagTimeMax)
	c.ReplicaFetchWaitMax = orDefault(c.ReplicaFetchWaitMax, defaultReplicaFetchWaitMax)
	c.ReplicaFetchBytesMax = orDefault(c.ReplicaFetchBytesMax, defaultReplicaFetchBytes)
	c.ReplicaFetchResponseBytesMax = orDefault(c.ReplicaFetchResponseBytesMax, defaultReplicaFetchResponse)
	c.MessageBytesMax = orDefault(c.MessageBytesMax, defaultMessageBytesMax)
	c.LogSegmentBytes = orDefault(c.LogSegmentBytes, defaultLogSegmentBytes)
	c.LogRetention = orDefault(c.LogRetention, defaultLogRetention)
	c.LogRetentionBytes = orDefault(c.LogRetentionBytes, -1)
	c.LogRetentionCheckInterval = orDefault(c.LogRetentionCheckInterval, defaultRetentionCheck)
	c.LogFlushIntervalMessages = orDefault(c.LogFlushIntervalMessages, 1)
	c.SocketRequestBytesMax = orDefault(c.SocketRequestBytesMax, defaultSocketRequestBytesMax)
	c.FetchBytesMax = orDefault(c.FetchBytesMax, defaultFetchBytesMax)
	c.MaxConnections = orDefault(c.MaxConnections, defaultMaxConnections)
	c.ConnectionsIdleMax = orDefault(c.ConnectionsIdleMax, defaultConnectionsIdleMax)
	c.MaxInFlightRequests = orDefault(c.MaxInFlightRequests, defaultMaxInFlightRequests)
	c.QueuedRequestBytesMax = orDefault(c.QueuedRequestBytesMax, defaultQueuedRequestBytesMax)
	c.GroupMinSessionTimeout = orDefault(c.GroupMinSessionTimeout, defaultGroupMinSession)
	c.GroupMaxSessionTimeout = orDefault(c.GroupMaxSessionTimeout, defaultGroupMaxSession)
	c.GroupMaxSize = orDefault(c.GroupMaxSize, defaultGroupMaxSize)
	c.OffsetsTopicNumPartitions = orDefault(c.OffsetsTopicNumPartitions, defaultOffsetsPartitions)
	c.OffsetMetadataBytesMax = orDefault(c.OffsetMetadataBytesMax, defaultOffsetMetadataBytes)
	c.OffsetsRetention = orDefault(c.OffsetsRetention, defaultOffsetsRetention)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// violations collects what is wrong with a configuration.
type violations struct{ errs []error }

// addf records one violation.
func (v *violations) addf(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

// notNegative records every named value below zero.
func (v *violations) notNegative(values ...any) {
	for i := 0; i+1 < len(values); i += 2 {
		name := values[i].(string)
		var n int64
		switch x := values[i+1].(type) {
		case int:
			n = int64(x)
		case int16:
			n = int64(x)
		case int32:
			n = int64(x)
		case int64:
			n = x
		case time.Duration:
			n = int64(x)
		}
		if n < 0 {
			v.addf("%s is %v, want 0 (its default) or more", name, values[i+1])
		}
	}
}

// Validate reports every violation in the configuration, joined into one error; nil if StartBroker would accept it.
func (c Config) Validate() error {
	var v violations
	v.notNegative("BrokerID", c.BrokerID, "ZookeeperSessionTimeout", c.ZookeeperSessionTimeout,
		"NumPartitions", c.NumPartitions, "DefaultReplicationFactor", c.DefaultReplicationFactor,
		"MinInsyncReplicas", c.MinInsyncReplicas, "ReplicaLagTimeMax", c.ReplicaLagTimeMax,
		"ReplicaFetchWaitMax", c.ReplicaFetchWaitMax, "ReplicaFetchBytesMax", c.ReplicaFetchBytesMax,
		"ReplicaFetchResponseBytesMax", c.ReplicaFetchResponseBytesMax, "MessageBytesMax", c.MessageBytesMax,
		"LogSegmentBytes", c.LogSegmentBytes, "LogRetentionCheckInterval", c.LogRetentionCheckInterval,
		"LogFlushIntervalMessages", c.LogFlushIntervalMessages, "SocketRequestBytesMax", c.SocketRequestBytesMax,
		"FetchBytesMax", c.FetchBytesMax, "MaxConnections", c.MaxConnections, "ConnectionsIdleMax", c.ConnectionsIdleMax,
		"MaxInFlightRequests", c.MaxInFlightRequests, "QueuedRequestBytesMax", c.QueuedRequestBytesMax,
		"GroupInitialRebalanceDelay", c.GroupInitialRebalanceDelay, "GroupMinSessionTimeout", c.GroupMinSessionTimeout,
		"GroupMaxSessionTimeout", c.GroupMaxSessionTimeout, "GroupMaxSize", c.GroupMaxSize,
		"OffsetsTopicNumPartitions", c.OffsetsTopicNumPartitions,
		"OffsetsTopicReplicationFactor", c.OffsetsTopicReplicationFactor,
		"OffsetMetadataBytesMax", c.OffsetMetadataBytesMax, "OffsetsRetention", c.OffsetsRetention)
	if len(c.Zookeeper.Servers) == 0 {
		v.addf("Zookeeper.Servers is empty, want the address of at least one ZooKeeper server")
	}
	d := c.withDefaults()
	if d.GroupMinSessionTimeout > d.GroupMaxSessionTimeout {
		v.addf("GroupMinSessionTimeout %v exceeds GroupMaxSessionTimeout %v", d.GroupMinSessionTimeout, d.GroupMaxSessionTimeout)
	}
	if d.SocketRequestBytesMax > 0 && d.MessageBytesMax > d.SocketRequestBytesMax {
		v.addf("MessageBytesMax %d exceeds SocketRequestBytesMax %d: such a batch could never arrive", d.MessageBytesMax, d.SocketRequestBytesMax)
	}
	d.validateListeners(&v)
	if len(v.errs) == 0 {
		return nil
	}
	return fmt.Errorf("mq: invalid configuration of broker %d: %w", c.BrokerID, errors.Join(v.errs...))
}

// validateListeners checks names and addresses; defaults are filled in.
func (c Config) validateListeners(v *violations) {
	names := make(map[string]bool, len(c.Listeners))
	for i, l := range c.Listeners {
		if names[l.Name] {
			v.addf("Listeners[%d]: name %q is used twice", i, l.Name)
		}
		names[l.Name] = true
		host, err := checkHostPort(l.Address)
		if err != nil {
			v.addf("Listeners[%d].Address: %w", i, err)
		}
		if l.Advertised != "" {
			if _, err := checkHostPort(l.Advertised); err != nil {
				v.addf("Listeners[%d].Advertised: %w", i, err)
			}
		}
		_, overTCP := l.Network.(*tcpNetwork)
		if err == nil && overTCP && !isLoopback(host) && !c.AllowInsecureNonLoopback {
			v.addf("Listeners[%d].Address %q is reachable from other machines without TLS or authentication; set AllowInsecureNonLoopback to permit it", i, l.Address)
		}
	}
	if !names[c.InterBrokerListenerName] {
		v.addf("InterBrokerListenerName %q names no listener", c.InterBrokerListenerName)
	}
}

// checkHostPort returns the host of a host:port whose port is a number.
func checkHostPort(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("address %q: port %q is not a number below 65536", addr, port)
	}
	return host, nil
}

// isLoopback reports whether host is this machine only. An empty host listens everywhere and is not.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
