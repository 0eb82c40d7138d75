// Package wal is a durable log: records under increasing keys in a directory of
// segment files, checksummed, written in groups, and recovered after a crash.
//
// [Open] recovers a directory (or starts an empty log; files appear with the
// first record). [Log.Append] writes records, which readers see at once;
// [Log.Sync] makes durable what was appended before it, one fsync for everybody
// who waits, and [Log.SyncAsync] does so in the background. [Log.NewReader]
// iterates from a key and tails the log. [Log.TruncateAfter],
// [Log.TruncateBefore] and [Log.Reset] remove records at either end, or all.
// [Log.Close] seals the log, so that the next Open need not search its tail.
//
// # What it promises
//
// After Sync returned nil, the records appended before it survive any crash:
// what Open recovers is every synced record and possibly some later ones, in
// order, without a gap and without a byte that was not appended. Open returns
// only records that are durable.
//
// Damage to what was known synced is an error, [ErrCorrupt], from Open or from
// the read that meets it, never a silent cut. Only a tail above the highest
// known-synced mark, which a crash may leave torn, is cut. (Each record carries
// the mark of what was synced before it, so the last group before a crash is
// covered only by its checksums.)
//
// After any failed write or fsync the log is poisoned: every later Append, Sync
// and truncation fails with [ErrPoisoned] and the first cause, nothing is
// retried, and only a new Open, which reads the disk again, tells what survived.
//
// # Who owns the bytes
//
// Append has written or copied the payloads when it returns; they are the
// caller's again. A payload that [Reader.Next] returned is valid until the next
// call on that Reader.
//
// # Many logs
//
// An idle Log holds no goroutine, no buffer and no file that the system needs
// elsewhere: thousands of them share one [Flusher], which syncs for all of them
// with bounded parallelism and bounds their open files.
//
// DESIGN.md has the format, the failure table and the reasons.
package wal
