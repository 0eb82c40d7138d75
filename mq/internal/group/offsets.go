package group

import (
	"cmp"
	"slices"
)

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// compare orders partitions by topic, then number.
func (a TopicPartition) compare(b TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

// Offset is a committed offset.
type Offset struct {
	// Offset is the next offset to be consumed.
	Offset int64
	// LeaderEpoch of the last consumed record, -1 if unknown.
	LeaderEpoch int32
	// Metadata is the client's own text.
	Metadata string
	// CommitTime in milliseconds.
	CommitTime int64
}

// Offsets holds the committed offsets of one group. The zero value is empty. A commit becomes visible when its record is
// replicated, in the order of the log: Set is called with the record's own offset, and an older record never replaces a newer.
type Offsets struct {
	m map[TopicPartition]committed
}

// committed is an offset with the place of its record in the log.
type committed struct {
	Offset
	at int64
}

// Set makes a commit visible whose record is at offset at of the partition of __consumer_offsets.
func (o *Offsets) Set(tp TopicPartition, v Offset, at int64) {
	if o.m == nil {
		o.m = make(map[TopicPartition]committed)
	}
	if old, ok := o.m[tp]; ok && old.at > at {
		return
	}
	o.m[tp] = committed{v, at}
}

// Delete forgets a commit; at is the tombstone's offset.
func (o *Offsets) Delete(tp TopicPartition, at int64) {
	if old, ok := o.m[tp]; ok && old.at <= at {
		delete(o.m, tp)
	}
}

// Lookup returns the offset committed for a partition.
func (o *Offsets) Lookup(tp TopicPartition) (Offset, bool) {
	v, ok := o.m[tp]
	return v.Offset, ok
}

// Len is how many partitions have a committed offset.
func (o *Offsets) Len() int { return len(o.m) }

// Partitions returns the partitions with a committed offset, by topic and number.
func (o *Offsets) Partitions() []TopicPartition {
	out := make([]TopicPartition, 0, len(o.m))
	for tp := range o.m {
		out = append(out, tp)
	}
	slices.SortFunc(out, TopicPartition.compare)
	return out
}

// Expired returns the partitions whose commits are older than before (milliseconds), by topic and number.
func (o *Offsets) Expired(before int64) []TopicPartition {
	return slices.DeleteFunc(o.Partitions(), func(tp TopicPartition) bool { return o.m[tp].CommitTime >= before })
}
