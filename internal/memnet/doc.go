// Package memnet is a network inside one process: hosts by name, listeners,
// stream connections, and the faults that a real network has.
//
// A connection is a pair of bounded rings, one for each direction. A write
// copies into the ring and wakes the reader; it waits when the ring is full, so
// a reader that does not read pushes back. There are no goroutines, and nothing
// blocks but on conditions, so connections work inside testing/synctest.
// Errors are those of package net: net.ErrClosed, os.ErrDeadlineExceeded,
// io.EOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE.
//
// A partition does what it does to TCP: bytes stop arriving, dials hang, and
// nobody is told until a timeout of its own. Reset is the opposite: both ends
// learn at once, as when a process dies and its kernel answers for it.
//
// # Locks
//
// Network.mu guards hosts, listeners, links and the set of connections. Each
// half of a connection has a mutex of its own. Network.mu may be held while a
// half's is taken, never the other way round.
package memnet
