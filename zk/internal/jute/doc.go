// Package jute encodes and decodes the records of the ZooKeeper client protocol.
//
// Writers append: every record has Append(dst) []byte, which returns dst extended by the record. Readers stick: a [Reader]
// remembers its first error, returns zero values after it, and is asked once, at the end. Both directions exist for every
// record, so that servers, clients and tests share one description of the bytes.
//
// The format is big endian. A string or buffer is an int32 length and its bytes, a vector an int32 count and its elements, both
// with -1 for null. A null buffer decodes to a nil slice and an empty one to a non-nil slice of length 0: ZooKeeper stores
// and returns them as they came. A null string decodes to "" (except in [ReconfigRequest], where the difference matters), a
// null vector to a nil slice.
//
// # Ownership
//
// Decoded byte slices alias the input; they are valid as long as the input is neither changed nor reused. Decoded strings are
// copies, unless the Reader was made by [NewAliasReader]: then they alias the input, too, nothing is allocated for them, and
// whoever keeps one clones it (strings.Clone).
//
// # Limits
//
// No count or length from outside is believed: every vector's count is compared with the bytes that remain before anything is
// allocated, so decoding a request allocates at most a small multiple of its length. The length of the frame itself is the
// caller's limit.
//
// The records and codes are those of ZooKeeper 3.9's zookeeper.jute, ZooDefs and KeeperException.
//
// All functions are pure and safe for concurrent use on distinct values.
package jute
