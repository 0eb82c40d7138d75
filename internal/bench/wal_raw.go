package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// rawLog is the least that a durable log can do, and so a ceiling: length,
// checksum and payload in one file, with zeros written ahead so that a sync is
// one of data alone, one sync for all puts that wait. It has no keys, no
// segments, no recovery and no readers beside the writer.
type rawLog struct {
	file    *os.File
	durable bool
	buf     []byte // framed and not yet written
	written int64
	zeroed  int64 // zeros are written up to here

	mu    sync.Mutex
	round *rawRound // what the next sync will be for
	io    sync.Mutex
}

type rawRound struct {
	buf  []byte
	done chan struct{}
	err  error
}

const (
	rawBuffer = 256 << 10 // unsynced records are written in such pieces
	rawAhead  = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openRaw(dir string, durable bool) (walLog, error) {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	l := &rawLog{file: f, durable: durable, round: &rawRound{done: make(chan struct{})}}
	if durable {
		if err := l.zero(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return l, nil
}

func (l *rawLog) zero() error {
	if _, err := l.file.WriteAt(make([]byte, rawAhead), l.zeroed); err != nil {
		return err
	}
	l.zeroed += rawAhead
	return l.file.Sync()
}

func frame(dst, record []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(record)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(record, castagnoli))
	return append(dst, record...)
}

func (l *rawLog) Append(records [][]byte) error {
	for _, r := range records {
		l.buf = frame(l.buf, r)
	}
	if !l.durable && len(l.buf) < rawBuffer {
		return nil
	}
	return l.flush()
}

func (l *rawLog) flush() error {
	err := l.write(l.buf)
	l.buf = l.buf[:0]
	return err
}

func (l *rawLog) write(b []byte) error {
	for l.durable && l.written+int64(len(b)) > l.zeroed {
		if err := l.zero(); err != nil {
			return err
		}
	}
	if _, err := l.file.WriteAt(b, l.written); err != nil {
		return err
	}
	l.written += int64(len(b))
	if !l.durable {
		return nil
	}
	return unix.Fdatasync(int(l.file.Fd()))
}

// Put has the first of those that wait write and sync for all.
func (l *rawLog) Put(record []byte) error {
	l.mu.Lock()
	r := l.round
	first := len(r.buf) == 0
	r.buf = frame(r.buf, record)
	l.mu.Unlock()
	if !first {
		<-r.done
		return r.err
	}
	l.io.Lock()
	l.mu.Lock()
	l.round = &rawRound{done: make(chan struct{})}
	l.mu.Unlock()
	r.err = l.write(r.buf)
	l.io.Unlock()
	close(r.done)
	return r.err
}

func (l *rawLog) ReadAll() (int, error) {
	if err := l.flush(); err != nil {
		return 0, err
	}
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
