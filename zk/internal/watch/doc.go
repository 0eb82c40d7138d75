// Package watch is a server's table of who watches which path, and the rules of who hears of what.
//
// Two lists exist for a path, as in ZooKeeper: data watches (getData, exists) and child watches (getChildren). Both are one-shot: an
// event takes them away. Persistent watches are on both lists and stay. Persistent recursive ones stay, too, hear of everything below
// their path, but of childrenChanged nowhere. Who is watching in several ways hears once:
//
//	event            data  child  persistent  recursive here or above
//	created          yes   -      yes         yes
//	dataChanged      yes   -      yes         yes
//	deleted          yes   yes    yes         yes
//	childrenChanged  -     yes    yes         -
//
// A watcher is an id that its owner chooses, such as a connection's number. Registering a watch twice is registering it once. What
// a watcher may see (its ACLs) is the caller's business at delivery; a one-shot watch is spent all the same.
//
// The package is pure and deterministic. A Table is not safe for concurrent use: guard it with the lock under which events and replies
// find their places (R4).
package watch
