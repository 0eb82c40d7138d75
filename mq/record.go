package mq

import "time"

// Record is one record of a topic's partition.
//
// Producing: set Topic, Value, and Key, Headers and Timestamp as wanted. Send encodes the record before it returns and keeps
// no reference to Key, Value and Headers; it does keep the pointer until the record's callback has run, and fills in Partition,
// Offset, LeaderEpoch and, if it was zero, Timestamp before that. Do not change or send the same Record before then.
//
// Consuming: the record, Key, Value and the headers' values are the caller's to keep and to read, for as long as wanted; nothing
// overwrites them. They share memory with the other records of their batch, though: to keep few records for long, clone
// the bytes (bytes.Clone), otherwise whole batches stay in memory. Do not modify the bytes.
type Record struct {
	Topic     string
	Partition int32 // set by Send, unless the partitioner is Manual
	Offset    int64 // set by the broker; -1 if it did not say (AcksNone)
	// LeaderEpoch is the epoch of the leader that appended the record, -1 if unknown.
	LeaderEpoch int32
	// Timestamp has millisecond precision. Zero when producing: the time of Send. When consuming it is the
	// producer's time or the broker's, as the topic's message.timestamp.type says.
	Timestamp time.Time
	// Key chooses the partition and is what compaction goes by. Nil is no key, which differs from an empty one.
	Key []byte
	// Value is the payload. Nil is no value: a tombstone on a compacted topic.
	Value   []byte
	Headers []Header
}

// Header is a key and a value that travel with a record. Keys may repeat; order is kept.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the last header with the given key, and whether there is one.
func (r *Record) Header(key string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}
