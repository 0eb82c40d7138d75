// Package mqsim simulates brokers made of the cores of packages replica and controller on a small model of ZooKeeper, whose
// watches are late and lost on reconnect and whose writes may have unknown outcome, with model disks that lose what was not
// synced. One goroutine, one seed; the tests hold everything.
package mqsim
