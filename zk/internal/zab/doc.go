// Package zab is ZooKeeper's atomic broadcast as a value: fast leader election, discovery, synchronization and
// broadcast, without a clock, a socket or a file.
//
// # Using a Peer
//
// One goroutine owns a Peer. It creates it with what its disk holds, feeds it events (Tick, Step, Unreachable,
// Propose, Barrier, Persisted, SnapshotTaken), and after each event, or a batch of them, drains it:
//
//	for rd, ok := p.Ready(); ok; rd, ok = p.Ready() {
//		// 1. start rd.Persist; once durable: send rd.AfterSync, then call p.Persisted from the owning goroutine
//		// 2. send rd.Messages, apply rd.Committed, answer rd.Barriers, take rd.SnapshotsWanted, read rd.HistoryWanted
//		// 3. act on rd.Memberships and rd.Role
//	}
//
// The duties of the shell:
//
//   - Messages to one destination leave in the order handed out. They may be lost, but what one connection
//     delivers, it delivers in order and unduplicated. Whatever arrives goes to Step; the connection must have
//     proved that From is true.
//   - A Write is durable as a whole before AfterSync leaves and Persisted is called. After an error nothing of
//     AfterSync leaves, and the error goes to Persisted: the peer fails for good, and the server restarts from
//     disk.
//   - When a connection to a peer breaks, or a dial is refused, call Unreachable. That makes failover take
//     milliseconds; without it everything still happens, after SyncLimitTicks.
//   - MsgSnap carries Message.Snapshot, whose bytes the shell streams. The receiving shell steps the message
//     when all of them have arrived (not yet installed: that is a WriteSnapshot), and calls Heard meanwhile on
//     both sides.
//   - Recovery yields the newest durable snapshot and the log entries above its zxid, nothing else. Both epochs
//     and the voter mark live in one file, replaced atomically.
//   - A peer's process that starts again gets a fresh Rand.
//   - While Unproven reports true, propose something.
//
// # States
//
// A peer is in one of these states; "drain" comes first wherever a durable write is still outstanding, so that
// every vote and every handshake speaks of the durable log and of nothing else.
//
//	LOOKING    drain → electing → LEADING or FOLLOWING
//	FOLLOWING  drain → discovery (FOLLOWERINFO sent) → accepting (acceptedEpoch being written) → synchronizing
//	           (ACKEPOCH sent; DIFF, TRUNC or SNAP, PROPOSALs, NEWLEADER) → established (UPTODATE seen)
//	LEADING    discovery (collecting FOLLOWERINFO) → accepting (acceptedEpoch being written) → promising (LEADERINFO
//	           sent, collecting ACKEPOCH) → synchronizing (currentEpoch being written, NEWLEADER sent) → established
//	           → draining (counters used up)
//	FAILED     for good
//
// Any state but FAILED goes to LOOKING: a follower when its leader is unreachable, silent for SyncLimitTicks,
// looking itself, or proposes an epoch below the accepted one; a leader without a quorum for SyncLimitTicks
// (InitLimitTicks before it is established), or meeting a learner that is ahead of it (before it is established)
// or has accepted a later epoch.
//
// # Events and effects
//
//	event                    effects, in the order of their durability
//	LEADERINFO e             write acceptedEpoch e → ACKEPOCH
//	DIFF                     -
//	TRUNC z                  write truncate z
//	SNAP z                   write snapshot z
//	PROPOSAL                 (queued: one write at a time takes all that is queued) write entries → ACK, but no ACK
//	                         before that of NEWLEADER
//	NEWLEADER                all entries up to it durable → write currentEpoch → ACK
//	UPTODATE, COMMIT         hand out what is committed and durable here
//	Propose                  PROPOSAL to all synchronized learners at once; write entries as soon as no write is
//	                         outstanding; an ACK of its own when durable
//	a quorum of ACKs         hand out what is durable here; COMMIT, on a PROPOSAL that leaves anyway if there is one
//
// # Invariants
//
//   - The window (history in memory) minus its unwritten tail equals the durable log above the base.
//   - delivered <= durable <= last, delivered <= committed <= last. Hence truncation never touches what was
//     delivered.
//   - A promise (ACKEPOCH) for epoch e counts for one leader only: the one from which e was accepted.
//   - NEWLEADER of epoch e is sent only after a quorum has promised e, none of which was ahead of the leader; a
//     learner ahead of a leader not yet established makes it step down. So every quorum that acknowledges
//     NEWLEADER consists of servers none of which holds a committed entry that the leader lacks.
//   - An ACK is sent only by a learner whose currentEpoch is the leader's epoch, durably.
//
// # Finding the common prefix
//
// Within an epoch all logs are prefixes of what its leader broadcast, starting at counter 1. So ACKEPOCH
// carries, for each epoch in the learner's log, its last zxid, and the start of that log; the greatest
// min(learner's last, leader's last) over epochs that both hold is the end of the common prefix. That is exact,
// where ZooKeeper compares one zxid and falls back to SNAP across epochs. If the common prefix ends below the
// window's base, SNAP it is. What the learner holds above the base is then no part of the leader's log;
// WriteSnapshot removes it first, what remains lies below the snapshot, and so its steps may be separated by a
// crash. (That there ever is such a thing contradicts PrimaryIntegrity, since the base is committed; the removal
// costs nothing, and recovery does not depend on the argument.)
//
// # R3: servers that forgot
//
// A server whose disk was wiped has forgotten what it promised and acknowledged. Without the voter mark it
// neither votes nor acknowledges; an established leader opens a session with it only after a quorum of *other*
// voters has confirmed, after the server asked, that they still follow (the round that Barrier uses). Then no
// leader of a later epoch can have been promised anything by a quorum that the forgotten server was part of:
// such a quorum shares a server with those that confirmed. The mark is set in the same write as currentEpoch,
// when all history is durable. That the leader was elected without the server is not enough: it may have been
// deposed by a quorum that the server was part of before it forgot, and not know it yet
// (testdata/r3-stale-leader.txt, testdata/mutants/r3confirm.mutant).
//
// Recovered.Bootstrap excuses a new server of a new ensemble. The mark on disk must stay until the first epochs
// are written, and must not outlive them.
//
// # Elections
//
// As in ZooKeeper's fast leader election, with two differences that make it quick. The wait for a better vote
// (FinalizeTicks) ends as soon as every other voter has voted in this round, has a leader, must not vote, or is
// unreachable; so when connections break with their process, or everybody is there, no election waits for a
// tick. And a notification that opens a round asks for an answer, so that nothing depends on resending. A server
// joins whoever says that it is an established leader of an epoch not below the one it accepted, or a leader
// still in discovery that it is not ahead of. An established leader that hears of a server which has accepted a
// later epoch steps down, as that server could never join it.
//
// # Configurations
//
// Who belongs to the ensemble, whose word counts and how much (electorate: a majority, or groups and weights) is a
// function of the history: Config.Initial, until an entry that Config.Membership takes for a configuration. The
// last one in the history counts alone once it is known to be committed; until then it is pending, and the one before
// it counts beside it. Everything that asks for a quorum (votes, FOLLOWERINFO, promises, ACKs of NEWLEADER and of
// entries, confirmations, contact) asks for one of each configuration that counts.
//
// A leader proposes nothing behind a configuration that is pending. So there is at most one, and whatever follows a
// configuration in a log proves that it was committed. That is why an entry must follow (Unproven): when it is
// committed, a quorum of the new configuration holds the proof, and the servers that were left behind may be stopped.
// Before that a server may learn it from another one, by the Commit of a notification: the proof may lie with servers
// that have lost their votes, and are ahead of all that have one (found by the simulator). Truncation gives up proofs,
// which is safe: to ask for two quorums instead of one always is.
//
// Why no entry is lost: until a configuration is committed, a quorum of the one before it holds no proof, so each leader
// needs a quorum of that one; once it is committed, one of those holds it, and whoever is not ahead of them leads with it
// in its history, hence asks for a quorum of the new one, too.
//
// Observers, and servers that are no members, are learners whose word does not count; they never propose themselves.
// But a server does not know what it has not heard of, such as its own vote in a configuration that others hold. So
// everybody whose disk remembers votes (for nobody whose history is behind its own), and who counts votes decides
// whose count. A leader without a vote in the committed configuration takes one more proposal, hands it out and stands
// down. Peers answer servers that they have never heard of; the shell decides who may speak.
//
// A pending configuration whose quorum is lost for good, disks and all, blocks the ensemble, as it does in ZooKeeper:
// ProposeMembership refuses one of which no quorum is synchronized, and so the loss must fall into the moment between.
//
// # Catching up
//
// The window goes back as far as Config says. Who lacks more gets what the leader's log on disk holds (HistoryWanted),
// if the shell finds that it reaches far enough and is not too much, else SNAP.
//
// # What is lost, and what notices it
//
// Any message may be lost, repeated, or arrive late on its own. PROPOSAL names its predecessor, PING the last
// entry and the phase: what does not fit makes the learner open a new session with the same leader (resync),
// which costs a round trip and no election. ACK and COMMIT are cumulative and PONG and PING repeat them.
// FOLLOWERINFO and ACKEPOCH are sent again. Messages of another session are answered by RESET. All else ends by
// SyncLimitTicks without a sign of life, or InitLimitTicks without progress, in an election.
//
// # Tests
//
// Scripts in testdata tell the stories that broke other systems, by their ids. TestSim runs ensembles that begin with 1, 3
// or 5 voters, and servers that may join them, under message, crash, disk, wipe and partition faults and random
// reconfigurations with all invariants after every step
// (siminvariants_test.go), then demands that a healed majority and then everybody converge. TestMutants puts
// known bugs back (testdata/mutants) and demands that the simulator sees their outcome.
//
//	go test ./zk/internal/zab -run TestSim -v -seeds 1-10000
//	go test ./zk/internal/zab -run TestMutants -v -mutants all
package zab
