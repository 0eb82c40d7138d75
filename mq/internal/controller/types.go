package controller

import (
	"math/rand/v2"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// Code is a Kafka error code.
type Code int16

// The codes that requests are answered with.
const (
	OK                         Code = 0
	UnknownTopicOrPartition    Code = 3
	LeaderNotAvailable         Code = 5
	RequestTimedOut            Code = 7 // the outcome is unknown
	BrokerNotAvailable         Code = 8
	InvalidTopic               Code = 17
	TopicAlreadyExists         Code = 36
	InvalidPartitions          Code = 37
	InvalidReplicationFactor   Code = 38
	InvalidReplicaAssignment   Code = 39
	NotController              Code = 41
	InvalidRequest             Code = 42
	StaleBrokerEpoch           Code = 77
	PreferredLeaderUnavailable Code = 80
	EligibleLeadersUnavailable Code = 83
	ElectionNotNeeded          Code = 84
)

// Config of a controller.
type Config struct {
	Broker          int32      // this broker
	Rand            *rand.Rand // topic ids, where an assignment starts
	UncleanElection bool       // unclean.leader.election.enable where a topic does not say
	WritesMax       int        // writes outstanding; 0: 256
	ChunkMax        int        // partitions in one multi; 0: 200
}

// Node is a znode as it has been seen.
type Node struct {
	Path    string
	Data    []byte // not kept
	Version int32  // data version
	Mzxid   int64  // of the last change; a node older than the one shown before is ignored
	Owner   int64  // ephemeral owner's session, 0 if none
}

// TopicSpec is a topic to create.
type TopicSpec struct {
	Name         string
	Partitions   int               // with Assignment nil
	Replicas     int               // with Assignment nil: the replication factor
	Assignment   [][]int32         // by partition; nil: round robin over the live brokers, as Kafka's AdminUtils without racks
	Config       map[string]string // topic configuration
	ValidateOnly bool
}

// Election says how a leader is chosen on request.
type Election uint8

// The elections of ElectLeaders.
const (
	Preferred Election = iota // the first assigned replica, if it is live and in the ISR
	Unclean                   // if there is no leader: any live replica, suspect ones last; records may be lost
)

// Write is a multi to carry out.
type Write struct {
	ID     uint64
	Ops    []layout.Op
	Reason string // for the log: "elect", "broker 3 gone", "create topic t"
}

// Reply answers a request.
type Reply struct {
	Token     uint64
	Code      Code
	Text      string           // what is wrong, naming the input; empty if OK
	Topic     Created          // CreateTopic
	Remaining []TopicPartition // ShutDown: partitions that the broker still leads
}

// Created describes a topic created, or one that would have been (ValidateOnly).
type Created struct {
	ID       layout.ID
	Replicas [][]int32
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Reign says whether this controller acts.
type Reign struct {
	Active bool
	Epoch  int32
}

// Ready is what the shell carries out. Slices are the caller's.
type Ready struct {
	Writes  []Write  // independent of one another: in any order, also concurrently; each then Done
	Reads   []string // sync with ZooKeeper, read, Put or Remove, then ReadDone
	Replies []Reply
	Notes   []string // for the log: znodes that cannot be read, writes given up
	Reign   *Reign   // this controller began or ceased to act
}
