package codec

import (
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

const (
	// DefaultLimit is the largest decompressed section, in bytes, that a limit
	// of 0 allows.
	DefaultLimit = 64 << 20
	// MaxRatio bounds decompressed to compressed size, for results above
	// RatioFree.
	MaxRatio = 1000
	// RatioFree is the size in bytes up to which the ratio does not matter: a
	// megabyte of zeros is a legal batch and zstd makes 60 bytes of it.
	RatioFree = 1 << 20
)

var (
	// ErrTooLarge is returned when the result would exceed the limit or the ratio.
	ErrTooLarge = errors.New("codec: decompressed size exceeds the limit")
	// ErrCorrupt is wrapped by errors about bytes that the codec cannot read.
	ErrCorrupt = errors.New("codec: corrupt")
	// ErrUnknown is returned for codec numbers that the protocol does not define.
	ErrUnknown = errors.New("codec: unknown codec")
)

// Compress appends to dst src compressed with c and returns the extended slice.
// level is the codec's own: 1-9 for gzip, 1-12 for lz4, 1-22 for zstd; 0 means
// the codec's default, values out of range are clamped; snappy has none. None
// copies. dst and src must not overlap.
func Compress(dst, src []byte, c batch.Codec, level int) ([]byte, error) {
	switch c {
	case batch.None:
		return append(dst, src...), nil
	case batch.Gzip:
		return compressGzip(dst, src, level)
	case batch.Snappy:
		return compressXerial(dst, src), nil
	case batch.LZ4:
		return compressLZ4(dst, src, level)
	case batch.Zstd:
		return compressZstd(dst, src, level)
	}
	return dst, fmt.Errorf("%w %d", ErrUnknown, int8(c))
}

// Decompress appends to dst what src, compressed with c, holds, and returns the
// extended slice. limit bounds the appended bytes; 0 means DefaultLimit. It
// returns ErrTooLarge beyond the limit or MaxRatio, and an error wrapping
// ErrCorrupt for bytes that are not of the codec; dst is then returned as it
// was. None copies. dst and src must not overlap.
func Decompress(dst, src []byte, c batch.Codec, limit int) ([]byte, error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	if c != batch.None {
		limit = min(limit, max(RatioFree, ratioLimit(len(src))))
	}
	out, err := decompress(dst, src, c, limit)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// ratioLimit is n times MaxRatio, which cannot overflow for any real slice.
func ratioLimit(n int) int { return int(min(int64(n)*MaxRatio, int64(DefaultLimit)*MaxRatio)) }

func decompress(dst, src []byte, c batch.Codec, limit int) ([]byte, error) {
	switch c {
	case batch.None:
		if len(src) > limit {
			return dst, ErrTooLarge
		}
		return append(dst, src...), nil
	case batch.Gzip:
		return decompressGzip(dst, src, limit)
	case batch.Snappy:
		return decompressSnappy(dst, src, limit)
	case batch.LZ4:
		return decompressLZ4(dst, src, limit)
	case batch.Zstd:
		return decompressZstd(dst, src, limit)
	}
	return dst, fmt.Errorf("%w %d", ErrUnknown, int8(c))
}

func corrupt(c batch.Codec, err error) error {
	return fmt.Errorf("%w %s data: %w", ErrCorrupt, c, err)
}
