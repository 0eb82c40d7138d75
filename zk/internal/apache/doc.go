// Package apache reads what a server of Apache ZooKeeper leaves in its version-2
// directories: snapshots and transaction logs, of releases 3.4 to 3.9.
//
// # Snapshot
//
// snapshot.<zxid in hex>, perhaps with the suffix .gz. Its state is fuzzy: some
// of what happened after its zxid is in it, so that the log above it has to be
// replayed, and replaying is idempotent.
//
//	"ZKSN" | version i32 = 2 | dbid i64
//	sessions: number i32, then id i64 | timeout i32 each
//	access control lists: number i32, then index i64 | vector of (perms i32, scheme, id) each
//	znodes, parents first: path ("" is the root) | data | index of its list i64 (-1: open)
//	    | czxid mzxid ctime mtime i64 | version cversion aversion i32 | ephemeralOwner pzxid i64
//	end: the string "/", then the Adler-32 of all so far i64, and "/" again
//	since 3.6: digests, which are not looked at
//
// # Log
//
// log.<zxid of its first transaction in hex>, zeros behind its end.
//
//	"ZKLG" | version i32 = 2 | dbid i64
//	transactions: Adler-32 i64 | length i32 | bytes | 'B'
//	bytes: session i64 | cxid i32 | zxid i64 | time i64 ms | type i32 | what was done; since 3.6 a digest
//
// A transaction says what was done, not what was asked for. Integers are big
// endian, strings and data have their length before them, -1 for null.
package apache
