package wal

import (
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

var (
	// ErrClosed is returned by every call on a log or reader that was closed.
	ErrClosed = errors.New("wal: closed")
	// ErrCorrupt says that bytes known to have been durable are damaged or
	// missing. The error is a *CorruptError, which says where.
	ErrCorrupt = errors.New("wal: corrupt")
	// ErrPoisoned says that an earlier write or sync failed; the error wraps
	// that first cause. Only closing the log and opening it again helps.
	ErrPoisoned = errors.New("wal: poisoned by an earlier failure")
	// ErrReadOnly says that the log was opened with Config.ReadOnly.
	ErrReadOnly = errors.New("wal: opened read-only")
	// ErrLocked says that another holder has the directory open.
	ErrLocked = vfs.ErrLocked
	// ErrGone says that a reader's position was truncated away, and it is to
	// Seek; or the segments that a Replacement was for.
	ErrGone = errors.New("wal: position was truncated away")
	// ErrKeyOrder says that a key given to Append is not greater than the one
	// before it, or below Next. Nothing was appended.
	ErrKeyOrder = errors.New("wal: keys not increasing")
	// ErrTooLarge says that a payload is longer than RecordBytesMax. Nothing
	// was appended.
	ErrTooLarge = errors.New("wal: record too large")
)

// CorruptError is the error behind ErrCorrupt.
type CorruptError struct {
	// File is the damaged file's name, with the directory as given to Open.
	File string
	// Offset is where in the file the damage was met, in bytes.
	Offset int64
	// Reason says what is wrong.
	Reason string
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: corrupt: %s at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes the error answer errors.Is(err, ErrCorrupt).
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// poisonError wraps the first cause.
type poisonError struct{ cause error }

func (e *poisonError) Error() string   { return ErrPoisoned.Error() + ": " + e.cause.Error() }
func (e *poisonError) Unwrap() []error { return []error{ErrPoisoned, e.cause} }
