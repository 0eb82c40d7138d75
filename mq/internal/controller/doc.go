// Package controller is the cluster's controller: from the picture of the cluster in ZooKeeper to the znode operations
// that bring it to what it should be. It is a state machine without I/O; every broker runs one, and the one whose broker
// holds /controller acts.
//
// # Use
//
// The shell shows it every znode that it sees under the paths of package layout, and every one that is gone: [Controller.Put] and
// [Controller.Remove], in the order seen. [Controller.Ready] returns multis to carry out, each answered by [Controller.Done], and paths
// to read again, each answered by Put or Remove, then [Controller.ReadDone]. Requests of clients ([Controller.CreateTopic] and
// its like) are answered by [Ready.Replies] under the caller's token.
//
// # Why nothing is lost
//
// Nothing is remembered but the picture: each decision is a difference between what the picture shows and what it should, so a
// lost event, a failed write or a write of unknown outcome is healed by reading again. Every write checks the data version of
// /controller_epoch as it was when this controller was elected, so that none of a former controller's takes effect, and the version
// of the state that it replaces. A stale picture costs a refused write, never a wrong one.
//
// # What it does
//
//   - Election: creates /controller and bumps /controller_epoch in one multi.
//   - A registration vanishes: its broker leaves every ISR (the last members of an ISR stay), and partitions that it led get a
//     new leader, in the same write, at once (R11).
//   - A leader is the first assigned replica that is live, in the ISR and not suspect; with unclean election also the first live one,
//     and then the ISR is that one. A leader that lives another life than the one elected is no leader.
//   - A topic without states gets them: leader the first live replica, ISR the live ones. One without id gets an id.
//   - A topic under /admin/delete_topics is replaced by a tombstone, which goes when every assigned broker has confirmed (R12).
//
// A Controller is not safe for concurrent use.
package controller
