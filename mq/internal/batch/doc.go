// Package batch reads and writes Kafka record batches, format version 2.
//
// A batch is 61 bytes of header followed by records; when the batch is
// compressed, only the records are:
//
//	 0 baseOffset           int64   broker rewrites, outside the CRC
//	 8 batchLength          int32   bytes after this field
//	12 partitionLeaderEpoch int32   broker sets, outside the CRC
//	16 magic                int8    2
//	17 crc                  uint32  CRC-32C of everything from byte 21 on
//	21 attributes           int16   0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//	23 lastOffsetDelta      int32   also what the sequence advances by; kept by compaction
//	27 baseTimestamp        int64   milliseconds since 1970
//	35 maxTimestamp         int64
//	43 producerId           int64   -1 when not idempotent
//	51 producerEpoch        int16
//	53 baseSequence         int32   wraps from 2^31-1 to 0
//	57 recordCount          int32
//	61 records
//
// A broker lives on headers: [Cut] splits what arrived into batches, [Check]
// verifies one, [SetBaseOffset], [SetLeaderEpoch] and [SetLogAppendTime] change
// it in place. Clients make batches with a [Builder] and read them with
// [NewReader]. Compression itself is in mq/internal/codec, since it needs pools;
// this package is pure and hands out and takes the bytes of the records section.
//
// Nothing here panics on bytes from outside, and nothing allocates but a
// Builder's buffer. Functions that take a batch take it whole, as [Cut] returns
// it, unless they say otherwise.
//
// Sources: Kafka documentation, "Record Batch"; KIP-98 (format), KIP-101
// (leader epoch), KIP-32 (log append time).
package batch
