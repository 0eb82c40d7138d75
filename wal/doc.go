// Package wal is a durable log: records under increasing keys in a directory of
// segment files, checksummed, written in groups, and recovered after a crash.
//
// # Use
//
// [Open] starts a log in a directory, or recovers what is there. [Log.Append]
// writes records, many at once, which readers see when it returns. Keys are the
// caller's and increase; gaps are fine (offsets, zxids, indexes). [Log.Sync] makes
// durable what was appended before it, one fsync for everybody who waits;
// [Log.SyncAsync] does so in the background and calls back. [Log.Commit] is both
// in one, under the next key, for many goroutines that each wait for their own
// record. [Log.Close] seals the log.
//
// [Log.NewReader] iterates from a key, forward with [Reader.Next] and backward
// with [Reader.Prev], and [Reader.Wait] tails the log; [Log.All] and
// [Log.Backward] are loops over it. [Log.Floor] finds the record at or below a
// key. [Log.TruncateAfter], [Log.TruncateBefore] and [Log.Reset] remove records
// at the end, at the front (whole segments), or all. [Log.NewReplacement]
// exchanges old segments for compacted ones. [Log.Segments] says what retention
// wants to know of each: size, first and last key, time of the last append.
//
// The Examples are a key-value store's journal, a queue's log and a state machine
// with snapshots.
//
// # What it promises
//
// After Sync returned nil, the records appended before it survive any crash:
// what Open recovers is every synced record and possibly some later ones, in
// order, without a gap and without a byte that was not appended. Open returns
// only records that are durable.
//
// Truncations, Reset and the Commit of a [Replacement] are atomic, and durable on
// return: after a crash the log is as before or as after.
//
// Damage to what was known synced is an error, [ErrCorrupt], from Open or from
// the read that meets it, never a silent cut. Only a tail above the highest
// known-synced mark, which a crash may leave torn, is cut. (Each record carries
// the mark of what was synced before it, so the last group before a crash is
// covered only by its checksums.) [Check] reads a whole directory and says what
// it found.
//
// After any failed write or fsync the log is poisoned: every later Append, Sync
// and truncation fails with [ErrPoisoned] and the first cause, nothing is
// retried, and only a new Open, which reads the disk again, tells what survived.
// What there is can still be read meanwhile. (Only index files, on which nothing
// depends, may fail without a word but in Config.Logger.)
//
// # Recovery
//
// After Close the next Open has nothing to search. After a crash it reads the tail
// of the last segment, makes it durable, and cuts what is torn; Config.Progress
// tells how far it has come. With Config.ReadOnly it changes nothing, and neither
// does the log then.
//
// # Who owns the bytes
//
// Append, Commit and [Replacement.Append] have written or copied the payloads
// when they return; they are the caller's again. A payload that a Reader or an
// iterator returned is valid until its next step, and not to be changed.
//
// # Concurrency
//
// A Log may be used by many goroutines. Appends take effect one after another;
// readers neither block them nor wait for them. A Reader and a Replacement are
// for one goroutine at a time.
//
// # Many logs
//
// An idle Log holds no goroutine, no buffer and no file that the system needs
// elsewhere: thousands of them share one [Flusher], which syncs for all of them
// with bounded parallelism and bounds their open files. Sealed segments have an
// index beside them, so that a search after Open reads little.
//
// DESIGN.md has the format, the failure table and the reasons.
package wal
