package mq

import "encoding/binary"

// Partitioner chooses the partition of a record, among n > 0 partitions. sticky is the partition that records without a
// preference share for the moment; it changes with every batch. It is called by Send, concurrently.
type Partitioner func(r *Record, n, sticky int32) int32

// DefaultPartitioner is Kafka's: records with a key go where murmur2 of the key says, as with the Java client; the
// others stick to a random partition for a batch (KIP-480).
func DefaultPartitioner(r *Record, n, sticky int32) int32 {
	if r.Key == nil {
		return sticky
	}
	return int32(murmur2(r.Key)&0x7fffffff) % n
}

// ManualPartitioner goes by Record.Partition.
func ManualPartitioner(r *Record, _, _ int32) int32 { return r.Partition }

// murmur2 is the hash of Kafka's clients: MurmurHash2 with Kafka's seed.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b)
		k *= m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
