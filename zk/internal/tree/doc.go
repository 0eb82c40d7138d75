// Package tree is the znode store of one server: a deterministic state machine that applies the transactions of the replicated
// log, in order, and that any number of readers read at the published zxid meanwhile.
//
//	t := tree.New(tree.Config{})
//	t.Apply(zxid, &txn, &res)  // the writer: total, deterministic, failures included (R6)
//	t.Publish(zxid)            // the writer: readers now see everything applied so far, at once
//	n, z := t.Lookup(path)     // readers: an immutable znode and the zxid at which it was read (R4)
//	s := t.Snapshot()          // the writer: pins the applied state in O(1); any goroutine encodes it while applying goes on
//
// # State
//
// The state is the znodes, the sessions (id and timeout) with their ephemerals, and the properties, a small map of opaque bytes
// for the server itself. It is a function of the sequence of (zxid, txn) alone. A transaction carries whatever else decides its
// outcome: the caller's ids, the leader's time, feature switches, limits (R5). A failed transaction changes nothing but the
// last zxid. The digest, a sum over all entries that does not depend on their order, is equal on two servers if and, but for
// collisions, only if their states are (P10).
//
// # Versions
//
// Paths lead to entries through a hash table that one goroutine writes and all read without locks. An entry points to its newest
// version, an immutable znode, which points to the one before it. Invariant: a version whose zxid is at most the published
// zxid, or that of a pinned snapshot, is never changed; one above it is invisible and may be, which makes a batch that writes
// one znode many times cost one version. Versions that neither readers nor snapshots can reach are unlinked, a few with each
// later Apply. Children are ordered copy-on-write sets in their parent's version.
//
// # Concurrency
//
// Apply, Publish, Snapshot, Applied and Digest belong to one goroutine at a time, the writer's. The other methods are safe
// for concurrent use with it and each other. One read is one consistent moment; two reads see the same zxid only if the
// caller keeps Publish from running in between (the publication lock of R4), so that lock also keeps long reads from
// starting over.
//
// The semantics are those of ZooKeeper 3.9's PrepRequestProcessor and DataTree.
package tree
