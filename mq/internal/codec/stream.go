package codec

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/pierrec/lz4/v4"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// appender is an io.Writer that appends to a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// appendAll appends to dst what r yields, at most limit bytes, starting with room
// for hint. Memory grows with what was really produced.
func appendAll(dst []byte, r io.Reader, hint, limit int) ([]byte, error) {
	start := len(dst)
	// One byte more than the limit, so that exceeding it shows.
	dst = grow(dst, min(hint, limit)+1)[:start]
	for {
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst)-start > limit {
			return dst, ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		if len(dst) == cap(dst) {
			more := min(max(len(dst)-start, 4096), limit+1-(len(dst)-start))
			dst = grow(dst, more)[:len(dst)]
		}
	}
}

type gzipReader struct {
	zr  gzip.Reader
	src bytes.Reader
}

type gzipWriter struct {
	zw  *gzip.Writer
	out appender
}

var (
	gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}
	gzipWriters [gzip.BestCompression + 1]sync.Pool // by level; 0 is the default
)

func compressGzip(dst, src []byte, level int) ([]byte, error) {
	level = min(max(level, 0), gzip.BestCompression)
	w, _ := gzipWriters[level].Get().(*gzipWriter)
	if w == nil {
		l := level
		if l == 0 {
			l = gzip.DefaultCompression
		}
		zw, err := gzip.NewWriterLevel(nil, l)
		if err != nil {
			return dst, err
		}
		w = &gzipWriter{zw: zw}
	}
	w.out.b = dst
	w.zw.Reset(&w.out)
	_, err := w.zw.Write(src)
	if e := w.zw.Close(); err == nil {
		err = e
	}
	dst, w.out.b = w.out.b, nil
	gzipWriters[level].Put(w)
	return dst, err
}

func decompressGzip(dst, src []byte, limit int) ([]byte, error) {
	r := gzipReaders.Get().(*gzipReader)
	defer func() {
		r.src.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.src.Reset(src)
	if err := r.zr.Reset(&r.src); err != nil {
		return dst, corrupt(batch.Gzip, err)
	}
	out, err := appendAll(dst, &r.zr, 4*len(src), limit)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = corrupt(batch.Gzip, err)
	}
	return out, err
}

type lz4Reader struct {
	zr  *lz4.Reader
	src bytes.Reader
}

type lz4Writer struct {
	zw  *lz4.Writer
	out appender
}

var (
	lz4Readers = sync.Pool{New: func() any {
		r := &lz4Reader{zr: lz4.NewReader(nil)}
		return r
	}}
	lz4Writers = sync.Pool{New: func() any { return &lz4Writer{zw: lz4.NewWriter(nil)} }}
	// lz4Levels are the library's names for fast (no level) and levels 1 to 9.
	lz4Levels = [...]lz4.CompressionLevel{
		lz4.Fast, lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9,
	}
)

func compressLZ4(dst, src []byte, level int) ([]byte, error) {
	w := lz4Writers.Get().(*lz4Writer)
	w.out.b = dst
	w.zw.Reset(&w.out)
	// Blocks of 64 KiB and no checksum of the content, as Java's producer writes.
	err := w.zw.Apply(
		lz4.CompressionLevelOption(lz4Levels[min(max(level, 0), len(lz4Levels)-1)]),
		lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1))
	if err == nil {
		_, err = w.zw.Write(src)
	}
	if e := w.zw.Close(); err == nil {
		err = e
	}
	dst, w.out.b = w.out.b, nil
	lz4Writers.Put(w)
	return dst, err
}

func decompressLZ4(dst, src []byte, limit int) ([]byte, error) {
	r := lz4Readers.Get().(*lz4Reader)
	defer func() {
		r.src.Reset(nil)
		r.zr.Reset(nil)
		lz4Readers.Put(r)
	}()
	r.src.Reset(src)
	r.zr.Reset(&r.src)
	out, err := appendAll(dst, r.zr, 4*len(src), limit)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = corrupt(batch.LZ4, err)
	}
	return out, err
}
