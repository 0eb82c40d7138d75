package partition

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
	"github.com/vivarium-go/vivarium/wal"
)

// sections are buffers to decompress records into.
var sections = sync.Pool{New: func() any { return new([]byte) }}

// sectionKeepMax is the largest buffer that goes back to the pool.
const sectionKeepMax = 4 << 20

// OffsetForTimestamp returns the first record below upTo, at or above the log
// start, whose timestamp is ts (milliseconds) or later; ok is false if there is
// none. It is exact to the record: the batch that decides, and no other, is
// decompressed.
func (p *Partition) OffsetForTimestamp(ts, upTo int64) (found Found, ok bool, err error) {
	for range readTries {
		found, ok, err = p.offsetForTimestamp(ts, upTo)
		if !errors.Is(err, wal.ErrGone) {
			break
		}
	}
	if err != nil && p.isClosed() {
		err = ErrClosed
	}
	return found, ok, err
}

func (p *Partition) offsetForTimestamp(ts, upTo int64) (found Found, ok bool, err error) {
	if p.isClosed() {
		return Found{}, false, ErrClosed
	}
	p.mu.Lock()
	logStart := p.logStart.Load()
	from := p.mu.st.seekTime(ts, logStart)
	later := p.mu.st.maxTime >= ts
	p.mu.Unlock()
	upTo = min(upTo, p.leo.Load())
	if !later || from >= upTo {
		return Found{}, false, nil
	}
	c, err := p.takeCursor(from)
	if err != nil {
		return Found{}, false, err
	}
	defer p.dropCursor(c)
	for {
		h, rec, err := c.peek()
		if errors.Is(err, io.EOF) {
			return Found{}, false, nil
		}
		if err != nil {
			return Found{}, false, err
		}
		if h.BaseOffset >= upTo {
			return Found{}, false, nil
		}
		if h.MaxTimestamp >= ts {
			found, ok, err := searchBatch(h, rec.Payload, ts, logStart, upTo)
			if ok || err != nil {
				return found, ok, err
			}
		}
		c.pending = false
	}
}

// searchBatch looks for the first record of the batch at or after ts between the
// offsets from and upTo.
func searchBatch(h *batch.Header, b []byte, ts, from, upTo int64) (Found, bool, error) {
	section := batch.Section(b)
	if c := h.Codec(); c != batch.None {
		buf := sections.Get().(*[]byte)
		out, err := codec.Decompress((*buf)[:0], section, c, 0)
		if err != nil {
			return Found{}, false, fmt.Errorf("batch at offset %d: %w", h.BaseOffset, err)
		}
		defer func() {
			if cap(out) <= sectionKeepMax {
				*buf = out
				sections.Put(buf)
			}
		}()
		section = out
	}
	r := batch.NewReader(*h, section)
	for r.Next() {
		rec := r.Record()
		if rec.Timestamp >= ts && rec.Offset >= from && rec.Offset < upTo {
			return Found{Offset: rec.Offset, Timestamp: rec.Timestamp, LeaderEpoch: h.LeaderEpoch}, true, nil
		}
	}
	return Found{}, false, r.Err()
}
