package mq

import (
	"context"
	"errors"
)

var errStarting = errors.New("mq: broker not assembled yet")

// Broker is one server of a cluster: it keeps replicas of partitions, serves clients over the Kafka protocol, and takes part in
// the election of the cluster's controller. It is one of several that share an ensemble; StartCluster starts them together.
// All methods are safe for concurrent use.
type Broker struct {
	cfg Config
}

// StartBroker starts a broker and returns when it is registered, has the cluster's metadata and serves clients. ctx bounds the
// start only. A broker that comes back before its former session ended waits for the old registration to go, one session
// timeout at most.
//
// Errors: those of Config.Validate; the ensemble cannot be reached, or is older than 3.6; an address is in use; the data
// directory is locked, or belongs to another broker or cluster; another broker is registered under this id.
func StartBroker(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return nil, errStarting
}

// ID is the broker's id.
func (b *Broker) ID() int32 { return b.cfg.BrokerID }

// Addr is the host:port that clients of the first listener are told.
func (b *Broker) Addr() string { return b.Addrs()[0] }

// Addrs are the host:port that clients are told, in the order of Config.Listeners.
func (b *Broker) Addrs() []string { return nil }

// ClusterID is the cluster's id, as in /cluster/id.
func (b *Broker) ClusterID() string { return "" }

// Done is closed when the broker has ended, whatever the reason; see Err.
func (b *Broker) Done() <-chan struct{} { return nil }

// Err is nil while the broker runs, ErrClosed after Shutdown or Close, and else what ended it.
func (b *Broker) Err() error { return nil }

// Shutdown ends the broker gracefully: it hands leadership over, lets requests finish, closes its logs cleanly and leaves the
// ensemble. If ctx ends first, Shutdown continues as Close and returns ctx's error.
func (b *Broker) Shutdown(ctx context.Context) error { return nil }

// Close ends the broker abruptly, as a kill would: connections break, nothing is handed over, the cluster learns of it when the
// session times out. It returns when no goroutine and no file of the broker is left.
func (b *Broker) Close() error { return nil }
