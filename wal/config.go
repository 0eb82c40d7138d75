package wal

import (
	"log/slog"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Limits and defaults.
const (
	// SegmentBytesDefault is Config.SegmentBytes where it is 0.
	SegmentBytesDefault = 64 << 20
	// RecordBytesMax is the longest payload: 256 MiB less one byte.
	RecordBytesMax = 1<<28 - 1
	// KeyMax is the greatest key.
	KeyMax = 1<<64 - 2

	segmentBytesMin = 1 << 10
	segmentBytesMax = 16 << 30
)

// Config says how a log is kept. The zero value is a log on the operating
// system's disk with the defaults below.
type Config struct {
	// FS is the file system; nil: vfs.OS.
	FS vfs.FS
	// SegmentBytes is the size at which a segment is followed by a new one; a
	// record that is longer gets a segment of its own. 0: 64 MiB.
	SegmentBytes int64
	// PreallocateBytes is how far ahead of the records zeros are written once
	// the log is being synced, which makes a sync cheaper. The step begins at
	// 64 KiB and doubles up to this. 0: 4 MiB on a disk, none on vfs.Mem;
	// negative: none.
	PreallocateBytes int64
	// Flusher serves SyncAsync and bounds open files. Thousands of logs may
	// share one; whoever made it closes it after the logs. nil: one of the
	// log's own.
	Flusher *Flusher
	// Logger gets what recovery cut and what poisoned the log; nil: nobody.
	Logger *slog.Logger
	// NoLock leaves out the lock file: the caller holds a lock on an enclosing
	// directory.
	NoLock bool
	// ReadOnly opens a log that is there to be read, and writes nothing at all.
	// It shares the lock with other readers, and nobody writes meanwhile; a
	// directory without a lock file, as NoLock leaves it or a copy may be, is
	// read without. Since nothing is synced either, what Open finds behind the
	// last clean close may be in the system's memory only. Whatever would change
	// the log fails with ErrReadOnly.
	ReadOnly bool
	// Progress is called by Open as it goes along: at first, at least every
	// 64 MiB that it reads, and when it is done. nil: nobody is told.
	Progress func(Progress)
}

// Progress is how far Open has come.
type Progress struct {
	// Segments of SegmentsTotal were looked at.
	Segments, SegmentsTotal int
	// Bytes of BytesTotal were read of the tail that a crash may have torn, which
	// only the last segment can have; both are 0 elsewhere.
	Bytes, BytesTotal int64
}

// Record is a key and what is stored under it.
type Record struct {
	// Key is at most KeyMax.
	Key uint64
	// Payload is at most RecordBytesMax long; empty is allowed.
	Payload []byte
}

// SegmentInfo describes a segment of the log.
type SegmentInfo struct {
	// File is the file's name in the log's directory.
	File string
	// ID is the random identity that its records' checksums contain.
	ID uint64
	// First and Last are the keys of its first and last record.
	First, Last uint64
	// Bytes is how much of the file its header and records take.
	Bytes int64
	// LastAppend is when the last record was appended, in Unix milliseconds; for
	// records recovered after a crash, when they were recovered.
	LastAppend int64
	// Sealed says that nothing will be appended to it.
	Sealed bool
}

// Stats counts what a log did since it was opened.
type Stats struct {
	Appends       uint64 // calls of Append that wrote something
	Records       uint64 // records appended
	BytesAppended uint64 // their payloads' length together
	Flushes       uint64 // times that files were synced for Sync or SyncAsync
	Rolls         uint64 // segments begun
	Recycled      uint64 // of those, in a file that had been used before
	Replaced      uint64 // segments that a Replacement took the place of
	IndexesSaved  uint64 // index files written
	IndexesLoaded uint64 // index files read and taken
	TornBytes     int64  // what recovery cut off the tail
	Segments      int    // now
	Bytes         int64  // now, as Size
}
