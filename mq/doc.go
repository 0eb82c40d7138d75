// Package mq is a replicated message log that lives in a Go program: topics in
// partitions, each kept by several brokers, read by position and by consumer
// groups. Brokers and client speak the protocol of Apache Kafka, so that any
// Kafka client works on these brokers, and this client works on Apache Kafka.
// The brokers keep their metadata in a ZooKeeper ensemble: package zk's, or any
// other from 3.6 on.
//
// # A cluster in this process
//
// [StartCluster] starts one, with an ensemble of its own, in memory unless told
// otherwise, over a network inside the process. [Cluster.Connect] opens a client;
// [Connect] opens one of a cluster anywhere. Package mqtest does both in a line,
// for tests, with kill, restart and partition. [StartBroker] starts one broker
// from a [Config].
//
// # Producing
//
// [Client.NewProducer] gives a [Producer]. [Producer.Send] adds a record to its
// partition's batch and calls back when every in-sync replica has it;
// [Producer.SendSync] waits for that. Batches form by themselves while others are
// in flight. The producer is idempotent: what it sends again after a lost answer
// or a change of leader is written once, in order.
//
// # Consuming
//
// [Client.NewConsumer] gives a [Consumer], a member of a group or reader of given
// partitions, and [Consumer.Records] its records:
//
//	for record, err := range consumer.Records(ctx) {
//		if err != nil {
//			return err
//		}
//		… // record and its bytes may be kept
//	}
//
// [Consumer.Commit] covers the records whose loop body has ended. In a rebalance
// the body that runs is waited for, and nothing more of a partition that was given
// away is yielded. Delivery is at least once: what was consumed and not committed
// comes again when a member dies.
//
// # What is promised
//
//   - A record acknowledged with [AcksAll], the default, was synced to disk by
//     every in-sync replica, min.insync.replicas of them at least, and stays at its
//     offset whichever of the others die. Topics that set flush.messages or
//     flush.ms rely on replication alone, as Apache Kafka does by default.
//   - Offsets are given once and rise; an idempotent producer's records are in the
//     log once, and in the order of Send.
//   - A consumer sees only what every in-sync replica has, and under
//     [ReadCommitted] only what no open transaction may still take back.
//   - In a generation of a group a partition has one owner; a member of an older
//     generation cannot commit.
//   - A write whose answer was lost has an unknown outcome, and its error says so:
//     [ErrUnknownOutcome].
//
// # Errors
//
// Those of the protocol are constants of type [Error], to be tested with
// errors.Is; most calls wrap them in an [*OpError] that names what was done to
// what. After Close every call returns [ErrClosed].
//
// DESIGN.md in this directory is for those who change this package.
package mq
