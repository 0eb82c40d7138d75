package tree

import (
	"encoding/binary"
	"math/bits"
)

// The digest is a sum modulo 2^64 of one hash per znode, session and property, as AdHash makes of a set: order does not matter
// and a change costs one subtraction and one addition. It finds servers that differ by mistake; it is no defence against
// somebody who searches for collisions. Its definition is part of the snapshot format and of what servers compare.

const (
	mixA = 0xa0761d6478bd642f
	mixB = 0xe7037ed1a0b428db
	mixC = 0x8ebc6af09c88c6e3
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hashBytes hashes s, in the manner of wyhash: 16 bytes a multiplication.
func hashBytes[T string | []byte](s T) uint64 {
	h := uint64(len(s)) ^ mixC
	var tail [16]byte
	for len(s) > 16 {
		copy(tail[:], s[:16])
		h = mix(binary.LittleEndian.Uint64(tail[:8])^mixA, binary.LittleEndian.Uint64(tail[8:])^h)
		s = s[16:]
	}
	tail = [16]byte{}
	copy(tail[:], s)
	return mix(binary.LittleEndian.Uint64(tail[:8])^mixA^h, binary.LittleEndian.Uint64(tail[8:])^mixB)
}

// hashData tells null from empty.
func hashData(b []byte) uint64 {
	if b == nil {
		return mixB
	}
	return hashBytes(b)
}

// nodeSum hashes everything about v that two servers must agree on. Children count through their own sums.
func nodeSum(e *entry, v *version) uint64 {
	h := mix(e.pathSum^mixA, v.dataSum^mixB)
	h = mix(h^uint64(v.czxid), uint64(v.mzxid)^mixA)
	h = mix(h^uint64(v.pzxid), uint64(v.ctime)^mixB)
	h = mix(h^uint64(v.mtime), uint64(v.owner)^mixC)
	h = mix(h^(uint64(uint32(v.version))<<32|uint64(uint32(v.creates))), uint64(uint32(v.aver))<<8|uint64(v.kind)^mixA)
	if v.acl != nil {
		h = mix(h^v.acl.sum, mixC)
	}
	return h
}

// resum brings the digest up to date with a change of v, the newest version of e.
func (t *Tree) resum(e *entry, v *version) {
	sum := nodeSum(e, v)
	t.digest += sum - v.sum
	v.sum = sum
}
