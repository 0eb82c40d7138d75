// Package layout is the picture of a cluster in ZooKeeper: the paths of Kafka's znodes and the JSON in them.
//
// The paths and values are those of Apache Kafka 2.7 and 2.8 (kafka.zk.ZkData), so that a tool which reads them sees
// what it expects, and what such a tool writes (a topic, more partitions, a deletion, a configuration) is understood.
// Fields that Kafka does not know are added where a ruling needs them; Kafka's decoders ignore them:
//
//	/controller                            controller_epoch, controller_epoch_zk_version   the fencing tokens of this reign
//	/brokers/ids/N                         incarnation                                     see Incarnation
//	/brokers/topics/T/partitions/P/state   leader_incarnation, suspect                     see PartitionState
//
// and four kinds of znodes are added:
//
//	/brokers/incarnations/N        persistent; its data version is the broker's incarnation, and a multi that lets a replica
//	                               into an ISR checks it. Holds the ids of the data directories.
//	/brokers/topics/T/id-ID        exists as long as the topic named T is the one with this id. Every write of a partition's
//	                               state checks it, so that a late write never lands on a later topic of the same name.
//	/brokers/tombstones/ID         a deleted topic: its name, id and assignment. Local data is deleted against it only.
//	/brokers/tombstones/ID/N       broker N has deleted what it had of it.
//
// Encoding is deterministic: equal values give equal bytes. Decoding takes older versions of a value, ignores unknown
// fields, and never panics; a value that it cannot take gives an error that names the path's kind and the reason.
//
// The package is pure: values in, values out; safe for concurrent use, since it has no state.
package layout
