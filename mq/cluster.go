package mq

import (
	"context"
	"log/slog"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk"
)

// ClusterConfig configures a Cluster. The zero value is a cluster of three brokers in this process, in memory, over an
// in-memory network, on an ensemble of three servers of its own.
type ClusterConfig struct {
	// Brokers is how many brokers to start; their ids are 1, 2, … 0: 3.
	Brokers int
	// Servers is how many servers the cluster's own ensemble has. 0: 3. Ignored if Zookeeper is set.
	Servers int
	// Zookeeper is an ensemble elsewhere, any ZooKeeper 3.6 or later. No Servers: the cluster starts an ensemble of its own,
	// and closes it with itself.
	Zookeeper zk.ClientConfig
	// Network carries the brokers', the clients' and the own ensemble's connections. Nil: one in memory. For TCP say
	// struct{ net.Dialer; net.ListenConfig }{} and brokers listen on 127.0.0.1.
	Network Network
	// DataDir holds a directory for each broker and for the own ensemble. Empty: memory.
	DataDir string
	// FS is the disk under DataDir. Nil: the operating system's. Ignored if DataDir is empty.
	FS vfs.FS
	// Broker is the configuration every broker starts from. BrokerID, DataDir, FS, Network and Zookeeper are set by the cluster;
	// so are Listeners, unless Listen is set.
	Broker Config
	// Listen returns the listeners of a broker. Nil: in memory host mq-ID port 9092, over other networks 127.0.0.1 and a free port.
	Listen func(id int32) []Listener
	// Seed seeds what is random: what a killed broker's memory disk had written, backoffs. 0: a random seed.
	Seed uint64
	// Logger receives what an operator should know, each line with its broker. Nil: nothing is logged.
	Logger *slog.Logger
}

// StartCluster starts a cluster and returns when every broker is registered and serves clients. ctx bounds the start only.
// On an error nothing is left running.
func StartCluster(ctx context.Context, cfg ClusterConfig) (*Cluster, error) {
	return nil, nil
}
