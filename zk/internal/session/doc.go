// Package session is the leader's table of session deadlines.
//
// A session expires when nothing was heard of it for its timeout, rounded up to the next multiple of the tick: deadlines fall into
// buckets, as in ZooKeeper's SessionTrackerImpl, so that touching a session usually changes one number and looking for
// expired ones looks at the earliest bucket only. The table decides nothing else: the leader turns what Expired returns into
// closeSession transactions, and the log closes sessions. A new leader restarts all timers in full.
//
// Times are milliseconds since any origin, given by the caller, and never go backwards; a time before an earlier one counts
// as the earlier one. The package is pure and deterministic. A Table is not safe for concurrent use.
package session
