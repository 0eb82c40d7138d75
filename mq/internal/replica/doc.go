// Package replica is one partition's replica on one broker: its role, its log end, its high watermark and, while it leads,
// the in-sync replicas. It is a state machine without I/O: a shell calls it under the partition's lock, carries out what
// [Replica.Ready] says, and reports back.
//
// # Roles
//
// [Replica.SetState] hands over the partition's state znode with its version, whenever a watch, a scan or a read shows
// one; older versions are ignored. The replica leads if the state names this broker in this incarnation; else it follows
// the leader named, or waits if there is none. [Ready.Role] tells the shell what changed.
//
// # Changing the log
//
// The log belongs to the shell. Each change of it is bracketed, so that a role never changes in the middle:
//
//	epoch, code := r.BeginAppend(expected, acksAll)   // a leader's produce; the shell stamps the batches with epoch
//	action := r.HandleFetch(answer, records)          // a follower's fetch: append, truncate or reset
//	… the shell writes to the log, with or without the partition's lock …
//	r.EndAppend(end)                                  // or EndTruncate, EndReset, Fail
//
// Between begin and end no other change of the log may begin (BeginAppend answers Busy), and a newer state is kept until
// the end. After an append the shell starts a sync of its log and reports [Replica.Synced]. On a topic that relaxes flush
// (Config.Durable false) nothing waits for it.
//
// # High watermark
//
// The leader's high watermark is the least synced end of every member of the committed ISR and of any ISR whose write
// may yet take effect (R10). It needs min.insync.replicas members in the committed ISR, and counts a follower only once
// that one has fetched in this leader epoch. A follower's high watermark is what its leader said, at most its own log
// end. [Replica.WaitAll] and [Replica.WaitSynced] queue the answers to producers; [Ready.Acks] releases them.
//
// # The ISR
//
// The leader changes it by [Ready.Write]: a conditional write, carried out by the shell as one multi ([StateOps]). A lost
// answer or a refusal is followed by [Ready.Read]: the shell syncs with ZooKeeper, reads the znode and calls SetState,
// then ReadDone. Until a version above the one written at is seen, a proposed ISR keeps counting, since the write may
// take effect later than the read; the replica then writes the state as it is, to settle the matter.
//
// A Replica is not safe for concurrent use. It allocates nothing for appends, fetches and acknowledgements.
package replica
