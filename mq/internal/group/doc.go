// Package group is the classic consumer group of Kafka's group coordinator as a pure state machine.
//
// A Group is created empty with New, or from what __consumer_offsets holds with Restore. Its owner then
//
//   - calls Join, Sync, Heartbeat, Leave and ValidateCommit as requests arrive. Heartbeat, Leave and ValidateCommit answer at
//     once; Join and Sync may have to wait for other members, so their answers come out of Ready, named by the Token given.
//   - calls Tick with the time in milliseconds often enough for its timeouts (every 10-100 ms). Time never moves otherwise.
//   - after each of these calls takes everything Ready offers: replies to send, and at most one Persist, the group's metadata
//     to be written to __consumer_offsets. When that is replicated, or failed, it calls Persisted. Replies that promise what the
//     record holds are held back until then.
//
// The group does no I/O, reads no clock, draws no random number (callers pass the member id that a newcomer would get) and
// starts no goroutine. It is not safe for concurrent use.
//
// States, as in Kafka:
//
//	         join                 all joined, or rebalance timeout
//	Empty ────────► PreparingRebalance ────────► CompletingRebalance
//	  ▲                ▲    │    ▲                    │   the leader synced,
//	  │ last member    │    │    │ join, leave,       ▼   and that is replicated
//	  └────────────────┼────┘    └───────────────── Stable
//	                   └── join, leave, expiry ───────┘
//
// Dead is the end: the group was deleted or its partition moved to another coordinator.
//
// Offsets holds the committed offsets of a group; ParseKey and the Append functions are Kafka's formats of the records of
// __consumer_offsets (GroupMetadataManager in Kafka 2.8: key versions 0-2, offset value 3, group value 3).
package group
