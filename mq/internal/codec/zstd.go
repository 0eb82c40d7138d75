package codec

import (
	"errors"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// maxWindow bounds the window that a zstd frame may ask for: 8 MiB is what the
// format recommends every decoder to support.
const maxWindow = 8 << 20

// zstdDecoder is made when the program starts, and not when first needed, since
// it hides channels: those made inside a testing/synctest bubble must not be used
// outside it. Its buffers come with use. Encoders are used as streams, which need
// no channels, so they can be pooled.
var zstdDecoder = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("codec: zstd options: " + err.Error()) // constants above: cannot happen
	}
	return d
}()

type zstdWriter struct {
	zw  *zstd.Encoder
	out appender
}

var zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool // by encoder level

func compressZstd(dst, src []byte, level int) ([]byte, error) {
	l := zstd.SpeedDefault
	if level != 0 {
		l = zstd.EncoderLevelFromZstd(min(max(level, 1), 22))
	}
	w, _ := zstdWriters[l].Get().(*zstdWriter)
	if w == nil {
		zw, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true))
		if err != nil {
			return dst, err
		}
		w = &zstdWriter{zw: zw}
	}
	w.out.b = dst
	w.zw.ResetContentSize(&w.out, int64(len(src)))
	_, err := w.zw.Write(src)
	if e := w.zw.Close(); err == nil {
		err = e
	}
	dst, w.out.b = w.out.b, nil
	if err == nil {
		w.zw.Reset(nil)
		zstdWriters[l].Put(w)
	}
	return dst, err
}

func decompressZstd(dst, src []byte, limit int) ([]byte, error) {
	start := len(dst)
	var h zstd.Header
	room := min(max(4*len(src), 4096), limit)
	if err := h.Decode(src); err == nil && h.HasFCS && !h.Skippable {
		if h.FrameContentSize > uint64(limit) {
			return dst, ErrTooLarge
		}
		room = int(h.FrameContentSize)
	}
	// The decoder fills the capacity it is given and no more. Where the frame
	// does not say its size, as librdkafka's and the Java client's do not, try
	// again with more room, whatever the error: too little room in the middle of
	// a block shows as other ones than ErrDecoderSizeExceeded.
	sized := h.HasFCS
	for {
		grown := grow(dst, room)[:start]
		out, err := zstdDecoder.DecodeAll(src, grown[:start:start+room])
		switch {
		case err == nil:
			return out, nil
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded) && (sized || room >= limit):
			return dst, corrupt(batch.Zstd, err)
		case room >= limit:
			return dst, ErrTooLarge
		}
		room = min(4*room+4096, limit)
	}
}
