package codec

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/s2"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// The xerial framing (snappy-java's SnappyOutputStream): a header, then blocks,
// each with its compressed length.
//
//	82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version int32 = 1 | compatible int32 = 1
//	{ length int32 | snappy block }
var (
	xerialMagic  = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}
	xerialHeader = append(bytes.Clone(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
)

// xerialBlock is how much is compressed at a time: snappy-java's block size.
const xerialBlock = 32 << 10

func compressXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		block := src[:min(xerialBlock, len(src))]
		src = src[len(block):]
		at := len(dst)
		need := 4 + s2.MaxEncodedLen(len(block))
		dst = grow(dst, need)
		// EncodeSnappy writes into the capacity it is given: no allocation.
		out := s2.EncodeSnappy(dst[at+4:at+need], block)
		binary.BigEndian.PutUint32(dst[at:at+4], uint32(len(out)))
		dst = dst[:at+4+len(out)]
	}
	return dst
}

// grow returns dst with n more bytes of length.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst[:len(dst)+n]
	}
	out := make([]byte, len(dst)+n, max(2*cap(dst), len(dst)+n))
	copy(out, dst)
	return out
}

var (
	errShort  = errors.New("ends early")
	errLength = errors.New("bad length")
)

func decompressSnappy(dst, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, xerialMagic) {
		return snappyBlock(dst, src, limit)
	}
	if len(src) < len(xerialHeader) {
		return dst, corrupt(batch.Snappy, errShort)
	}
	src = src[len(xerialHeader):]
	start := len(dst)
	for len(src) > 0 {
		if len(src) < 4 {
			return dst, corrupt(batch.Snappy, errShort)
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return dst, corrupt(batch.Snappy, errLength)
		}
		var err error
		if dst, err = snappyBlock(dst, src[:n], limit-(len(dst)-start)); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func snappyBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return dst, corrupt(batch.Snappy, err)
	}
	if n > limit {
		return dst, ErrTooLarge
	}
	at := len(dst)
	out := grow(dst, n)
	if _, err := s2.Decode(out[at:at+n:at+n], src); err != nil {
		return dst, corrupt(batch.Snappy, err)
	}
	return out, nil
}
