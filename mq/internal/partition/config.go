package partition

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

var (
	// ErrClosed is returned by every call after Close, Abort or Delete.
	ErrClosed = errors.New("partition: closed")
	// ErrCorrupt says that the log's content is not what it must be. Damage that
	// the wal itself finds is wal.ErrCorrupt.
	ErrCorrupt = errors.New("partition: corrupt log")
	// ErrTopicID says that the directory holds another topic's partition. It is
	// to be quarantined, not deleted.
	ErrTopicID = errors.New("partition: directory belongs to another topic")
	// ErrFencedEpoch says that the call carries another leader epoch than the
	// partition's, or that the partition does not lead (or follow) in it.
	ErrFencedEpoch = errors.New("partition: leader epoch is not the current one")
	// ErrOffsetOutOfRange says that an offset is below the log start or above
	// the log end.
	ErrOffsetOutOfRange = errors.New("partition: offset out of range")
	// ErrOffsetGap says that batches for a follower do not continue its log.
	ErrOffsetGap = errors.New("partition: batch does not continue the log")
	// ErrMessageTooLarge says that a batch is longer than MaxMessageBytes.
	ErrMessageTooLarge = errors.New("partition: batch too large")
	// ErrInvalidRecord says that a producer may not send such a batch.
	ErrInvalidRecord = errors.New("partition: invalid record batch")
	// ErrInvalidTimestamp says that a batch's time is too far from the broker's.
	ErrInvalidTimestamp = errors.New("partition: timestamp out of range")
	// ErrUnsupportedCodec says that the batch's codec is none of the protocol's.
	ErrUnsupportedCodec = errors.New("partition: unsupported compression codec")
	// ErrUnsupportedMagic says that a batch is not of format version 2.
	ErrUnsupportedMagic = batch.ErrMagic
	// ErrOutOfOrderSequence says that a producer's sequence has a gap.
	ErrOutOfOrderSequence = errors.New("partition: out of order sequence")
	// ErrUnknownProducer says that nothing is known of a producer whose sequence
	// says that it sent something before.
	ErrUnknownProducer = errors.New("partition: unknown producer id")
	// ErrInvalidProducerEpoch says that a newer epoch of the producer was seen.
	ErrInvalidProducerEpoch = errors.New("partition: producer epoch is fenced")
)

// MaxMessageBytesDefault is Settings.MaxMessageBytes where it is 0: Kafka's
// message.max.bytes.
const MaxMessageBytesDefault = 1048588

// Settings are what a topic's configuration says about its log; they may change
// while the partition is open. The zero value: durable, create time, no
// retention limit.
type Settings struct {
	// MaxMessageBytes bounds a batch sent by a producer. 0: MaxMessageBytesDefault.
	MaxMessageBytes int
	// LogAppendTime has the leader stamp batches (message.timestamp.type).
	LogAppendTime bool
	// TimestampDifferenceMax bounds, in milliseconds, how far a batch's time may
	// be from the leader's, either way. 0: no bound.
	TimestampDifferenceMax int64
	// FlushMessages is after how many records a sync is asked for
	// (flush.messages). 0 and 1: after every append, and SyncedEnd is what is
	// synced. Above: the page cache counts, SyncedEnd is the log end.
	FlushMessages int64
	// RetentionBytes and RetentionMillis bound the log, in whole segments, when
	// ApplyRetention is called. 0 or less: no bound.
	RetentionBytes  int64
	RetentionMillis int64
}

// durable says that a batch counts once it is synced.
func (s *Settings) durable() bool { return s.FlushMessages <= 1 }

func (s *Settings) maxMessageBytes() int {
	if s.MaxMessageBytes <= 0 {
		return MaxMessageBytesDefault
	}
	return s.MaxMessageBytes
}

// Config says where a partition lives and whom it tells.
type Config struct {
	// Dir is the partition's own directory. It is created at the first append.
	Dir string
	// FS is the file system; nil: vfs.OS.
	FS vfs.FS
	// Flusher is shared by the partitions of a data directory; nil: one of the
	// log's own.
	Flusher *wal.Flusher
	// TopicID is checked against the directory's, and written to it.
	TopicID [16]byte
	// SegmentBytes is the wal's; 0: its default.
	SegmentBytes int64
	// Settings may be changed later by Configure.
	Settings Settings
	// OnSynced is called after SyncedEnd has advanced to end, by the flusher or
	// an appending goroutine; of two calls at once the one with the lower end may
	// come last, so use SyncedEnd. It must be quick and must not call methods
	// that change the partition. nil: nobody.
	OnSynced func(end int64)
	// OnError is called once, when a write or sync has failed: the partition
	// takes no more appends until it is opened anew. Same rules. nil: nobody.
	OnError func(err error)
	// Logger gets what recovery found; nil: nobody.
	Logger *slog.Logger
}

func (c *Config) setDefaults() error {
	if c.Dir == "" {
		return fmt.Errorf("partition: Config.Dir is empty")
	}
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Appended is the outcome of AppendAsLeader.
type Appended struct {
	// BaseOffset is the offset of the first record.
	BaseOffset int64
	// NextOffset is the offset after the last record: what must be synced, or
	// below the high watermark, for the append to count.
	NextOffset int64
	// LogAppendTime is the time given to the batches in milliseconds, -1 if the
	// topic keeps the producer's.
	LogAppendTime int64
	// LogStart is the log start offset.
	LogStart int64
	// Duplicate says that all of it was appended before, at these offsets.
	Duplicate bool
}

// Found is a record found by its timestamp.
type Found struct {
	Offset      int64
	Timestamp   int64 // milliseconds
	LeaderEpoch int32
}
