// Package codec compresses and decompresses the records section of record
// batches with the four codecs of the Kafka protocol, from pools.
//
//	gzip    RFC 1952, concatenated members accepted
//	snappy  written in the xerial framing that Java and librdkafka expect; on
//	        reading, xerial frames and a bare snappy block are both accepted
//	lz4     LZ4 frames
//	zstd    Zstandard frames
//
// Decompress bounds what it produces before and while producing it, so that a
// small request cannot take much memory: by the caller's limit and by a ratio of
// [MaxRatio]. All functions are safe for concurrent use.
package codec
