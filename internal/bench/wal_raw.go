package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// rawLog is the least that a log can do, and so a ceiling: length, checksum and
// payload of each record in one write of each append, into a file that holds
// zeros already, so that no append makes it longer and a sync is one of data
// alone. It has no keys, no segments, no recovery and no readers beside the
// writer, and no goroutine to tell that a record is safe.
type rawLog struct {
	file    *os.File
	durable bool
	around  int64 // written to so far and no further; 0: as far as it gets
	buf     []byte
	written int64
	zeroed  int64 // zeros are written up to here
}

const (
	rawAhead = 16 << 20 // zeros of a durable log
	rawRoom  = 256 << 20
	rawPiece = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openRaw(dir string, o walOptions) (walLog, error) {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	l := &rawLog{file: f, durable: o.durable, around: o.segmentBytes}
	room := int64(rawRoom)
	switch {
	case l.durable:
		room = rawAhead
	case l.around > 0:
		room = l.around
	}
	if err := l.zero(room); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *rawLog) zero(n int64) error {
	for zeros := make([]byte, rawPiece); n > 0; n -= rawPiece {
		if _, err := l.file.WriteAt(zeros, l.zeroed); err != nil {
			return err
		}
		l.zeroed += rawPiece
	}
	if !l.durable {
		return nil
	}
	return l.file.Sync()
}

func frame(dst, record []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(record)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(record, castagnoli))
	return append(dst, record...)
}

func (l *rawLog) Append(records [][]byte) error {
	l.buf = l.buf[:0]
	for _, r := range records {
		l.buf = frame(l.buf, r)
	}
	for l.durable && l.written+int64(len(l.buf)) > l.zeroed {
		if err := l.zero(rawAhead); err != nil {
			return err
		}
	}
	if l.around > 0 && l.written+int64(len(l.buf)) > l.around {
		l.written = 0
	}
	if _, err := l.file.WriteAt(l.buf, l.written); err != nil {
		return err
	}
	l.written += int64(len(l.buf))
	if !l.durable {
		return nil
	}
	return unix.Fdatasync(int(l.file.Fd()))
}

func (l *rawLog) Put(record []byte) error { return l.Append([][]byte{record}) }

func (l *rawLog) Trim() error { return nil }

func (l *rawLog) ReadAll() (int, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(l.file, 0, l.written), 256<<10)
	var head [8]byte
	var buf []byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
		size := int(binary.LittleEndian.Uint32(head[:]))
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		if _, err := io.ReadFull(r, buf[:size]); err != nil {
			return n, err
		}
		if crc32.Checksum(buf[:size], castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
			return n, errors.New("checksum")
		}
	}
}

func (l *rawLog) Close() error { return l.file.Close() }
