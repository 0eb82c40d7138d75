// Package txnlog keeps on disk what a server must not forget: who it is, which
// epochs it has promised, its history, and snapshots of its tree.
//
//	myid            the server's id; a directory of another server is refused
//	lock            held while a server runs
//	initialize      the bootstrap mark (ruling R3): this directory is empty because the ensemble is new, not because a disk was lost
//	epochs          accepted and current epoch, and the voter mark of R3
//	snapshot.<zxid> an exact snapshot: the tree at that zxid, sixteen hex digits
//	base.<zxid>     empty: log/ was made, and holds all behind that zxid, so that a lost log or snapshot is noticed
//	log/            a wal of entries, keyed by zxid
//
// Each durable write is one call, returns when it is durable, and leaves the
// directory valid wherever a crash falls between two of them:
//
//   - a snapshot is written under a temporary name, synced and renamed before
//     the log is reset behind it, so history is never in neither of them;
//   - entries at or below the snapshot that is loaded are not replayed;
//   - the epochs are one file, replaced atomically.
//
// A Store belongs to one goroutine, but for SaveSnapshot and Purge, which may
// run beside it on another.
package txnlog
