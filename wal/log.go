package wal

import (
	"context"
	"errors"
)

// Log is a durable log. Safe for concurrent use.
type Log struct{}

// Flusher syncs logs in the background.
type Flusher struct{}

// NewFlusher returns a Flusher that syncs at most parallelism logs at once.
func NewFlusher(parallelism int) *Flusher { return &Flusher{} }

// Close ends its goroutines.
func (f *Flusher) Close() error { return nil }

// Reader iterates over a log.
type Reader struct{}

var errUnready = errors.ErrUnsupported

func Open(dir string, cfg Config) (*Log, error)              { return nil, errUnready }
func (l *Log) Append(recs ...Record) error                   { return errUnready }
func (l *Log) Sync() error                                   { return errUnready }
func (l *Log) SyncAsync(done func(synced uint64, err error)) {}
func (l *Log) First() (uint64, bool)                         { return 0, false }
func (l *Log) Last() (uint64, bool)                          { return 0, false }
func (l *Log) Synced() (uint64, bool)                        { return 0, false }
func (l *Log) Next() uint64                                  { return 0 }
func (l *Log) Floor(key uint64) (uint64, bool, error)        { return 0, false, errUnready }
func (l *Log) NewReader(from uint64) *Reader                 { return nil }
func (l *Log) TruncateAfter(key uint64) error                { return errUnready }
func (l *Log) TruncateBefore(key uint64) error               { return errUnready }
func (l *Log) Reset(next uint64) error                       { return errUnready }
func (l *Log) Size() int64                                   { return 0 }
func (l *Log) Segments() []SegmentInfo                       { return nil }
func (l *Log) Stats() Stats                                  { return Stats{} }
func (l *Log) Close() error                                  { return errUnready }
func (r *Reader) Next() (Record, error)                      { return Record{}, errUnready }
func (r *Reader) Seek(from uint64)                           {}
func (r *Reader) Wait(ctx context.Context) error             { return errUnready }
func (r *Reader) Close() error                               { return errUnready }
