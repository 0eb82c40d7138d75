// Package nowait writes to connections without waiting.
//
// Who has produced bytes for a connection can then send them itself, where else
// it would have to wake a goroutine for it, since a write may wait for a reader
// that does not read. What the connection does not take at once is left to such
// a goroutine after all.
package nowait
