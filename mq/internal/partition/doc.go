// Package partition keeps one replica's log of one partition: Kafka record
// batches in a wal.Log, keyed by base offset, in the form in which they
// arrived.
//
// A Partition knows offsets, leader epochs and producers; it does not know the
// high watermark, the in-sync replicas or the other replicas, which are
// mq/internal/replica's.
//
// # Use
//
// Open is cheap and writes nothing. [Partition.StartEpoch] makes the replica the
// leader of an epoch and [Partition.Follow] a follower; then
// [Partition.AppendAsLeader] assigns offsets, or [Partition.AppendAsFollower]
// takes what the leader has. Every append and truncation carries the epoch it
// belongs to, and is refused in any other. Config.OnSynced tells how far the log
// is durable.
//
// # State and log
//
// Leader epochs, the last batches of every producer and the sparse time index
// are a function of the batches in the log: applying the headers in order
// rebuilds them. Checkpoints of them only save time; one that is missing,
// damaged or ahead of the log is ignored, and before the log is truncated those
// above the cut are removed. The one thing that is not in the batches is the
// start of an epoch in which nothing has been appended; it matters only to the
// leader of that epoch, who records it anew.
//
// # Files
//
//	meta        topic id, log start offset, whether the log may be ahead of state
//	state       checkpoint of the state at some offset; state.old the one before
//	log/        the wal
//
// A clean Close leaves a checkpoint at the log end and says so in meta, so that
// the next Open need not touch the log. meta is marked again before the first
// change to the log: [Partition.Unclean] tells the next run.
//
// # Concurrency
//
// All methods may be called concurrently. Changes go one at a time, through a
// gate that no reader waits at; no mutex is held across I/O.
package partition
