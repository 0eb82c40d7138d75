// Package bench measures this repository beside its peers, in one run and one
// table. Command bench (cmd/bench) prints it:
//
//	cd internal/bench
//	go run ./cmd/bench -list            # the rows
//	go run ./cmd/bench                  # all of them, minutes
//	go run ./cmd/bench -rows '^wal/' -dur 2s -reps 5
//	go run ./cmd/bench -cpu             # see Noise
//
// # How to read the table
//
// Every line is one of our subjects in one workload, beside the peers that did
// the same in the same run, each the median of its repetitions. The repetitions
// alternate: ours, peer, peer, ours, … with a different one first each time, so
// that what else the machine does hits all of them.
//
// Behind each peer stands how many times better ours is than it, and under
// "ours/best peer" what it is to the best of them: for rates ours divided by
// theirs, for times theirs divided by ours, so that more is always better. A
// ceiling is what the machine could do with nothing around it; behind it stands
// the part of it that ours reached or, for times, by how much ours took longer.
// The target is what we set out to reach: a figure, or a ratio to the best peer
// or to the ceiling with, in brackets, what it came to on the machine on which
// the peers' figures were taken. "Of target" is in bold where we miss it.
//
// # Noise
//
// Figures depend on the machine and on what else it does; the table ends with
// how many cores other processes used. Compare columns of one line, not lines of
// two runs. Below half a core of others and with five repetitions of a second a
// ratio moves by a tenth or so from run to run; rows that sync to a disk by a
// quarter.
//
// On a machine that others use, -quiet 0.2 measures again what they disturbed by
// more than a fifth of a core, with repetitions short enough to fall into their
// pauses (-dur 200ms -reps 9). And -cpu divides by the processor time that subject
// and load used, not by the time that passed: how rates that the processor bounds
// compare, whoever else runs. It says nothing of times and of rows that wait for
// a disk, and multiplied by the number of cores it is more than what these cores
// would do, since nothing keeps all of them busy.
//
// # What is compared
//
// Logs: ours, tidwall/wal and the raw file write each append to the file before
// it returns; etcd's gathers 128 KiB, and raft-wal syncs always. With 64
// goroutines each waits for its own record, and only ours groups them: by
// Commit. The raw file holds zeros before it is measured; where 64 goroutines
// sync it writes and syncs 64 records at a time for nobody. Trimmed logs drop
// old segments between appends, which is not measured.
//
// A subject runs only while it is measured; Apache ZooKeeper alone, each server
// a process, is started once and warmed up (-warm), but for the rows on failover
// and cold start. "Killed" is SIGKILL for Apache ZooKeeper; a member in this
// process loses its connections and its disk at once. The file streams of NATS
// are not synced at each message unless the row says fsync, and kfake replicates
// nothing. The same client, ours, drives our servers and Apache ZooKeeper; where
// a line says franz-go, that drives both brokers.
//
// Our ensembles on a disk run with a GOMAXPROCS two above the number of cores, as
// zk.Config.DataDir advises and the command vivarium does. The one client of the
// rows over TCP spends a third of its time on each member.
//
// Everything is on loopback, in this process but for Apache ZooKeeper, and load
// and servers share the same cores. A peer that is not installed is left out and
// its place says so.
package bench
