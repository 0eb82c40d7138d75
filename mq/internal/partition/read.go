package partition

import (
	"errors"
	"fmt"
	"io"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
)

// cursorsMax is how many positions of readers a partition remembers.
const cursorsMax = 4

// cursor is a reader of the log that stands where a Read ended, so that the next
// one, of the same consumer or follower, need not search.
type cursor struct {
	r    *wal.Reader
	gen  uint64
	next int64 // r yields the batch that begins there next
	// A batch that was read and did not fit, valid until r moves.
	pending bool
	rec     wal.Record
	head    batch.Header
}

// Read appends to dst whole batches as they are in the log, beginning with the
// one that contains the offset from: as many as end at or below upTo and fit into
// maxBytes, the first one even if it does not fit (KIP-74). It returns the
// extended slice; nothing is appended where from is at the end, or the batch is
// not below upTo. A dst with capacity for maxBytes saves copies. upTo is what the
// reader may see: high watermark, last stable offset or the log end.
// ErrOffsetOutOfRange if from is below LogStart or above LEO.
func (p *Partition) Read(dst []byte, from int64, maxBytes int, upTo int64) ([]byte, error) {
	for range readTries {
		out, err := p.read(dst, from, maxBytes, upTo)
		if err == nil {
			return out, nil
		}
		if p.isClosed() {
			return dst, ErrClosed
		}
		// Truncated while reading: the range is checked anew.
		if !errors.Is(err, wal.ErrGone) {
			return dst, err
		}
	}
	return dst, nil
}

// readTries is how often a read begins anew because the log was truncated.
const readTries = 3

// inRange checks an offset to read from.
func (p *Partition) inRange(from int64) error {
	// In this order: the start never overtakes the end.
	start, end := p.logStart.Load(), p.leo.Load()
	if from < start || from > end {
		return fmt.Errorf("%w: %d, log from %d to %d", ErrOffsetOutOfRange, from, start, end)
	}
	return nil
}

func (p *Partition) read(dst []byte, from int64, maxBytes int, upTo int64) ([]byte, error) {
	if p.isClosed() {
		return dst, ErrClosed
	}
	if err := p.inRange(from); err != nil {
		return dst, err
	}
	if upTo = min(upTo, p.leo.Load()); from >= upTo {
		return dst, nil
	}
	c, err := p.takeCursor(from)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	for {
		h, rec, err := c.peek()
		if err != nil {
			p.dropCursor(c)
			if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrGone) && len(dst) > start {
				return dst, nil
			}
			return dst[:start], err
		}
		if h.NextOffset() > upTo || len(dst) > start && len(dst)-start+len(rec.Payload) > maxBytes {
			break
		}
		if h.NextOffset() > from {
			if len(dst) == start && h.BaseOffset > from {
				if err := p.inRange(from); err != nil { // retention passed by
					p.dropCursor(c)
					return dst, err
				}
			}
			dst = append(dst, rec.Payload...)
		}
		c.pending, c.next = false, h.NextOffset()
		if len(dst)-start >= maxBytes && len(dst) > start {
			break
		}
	}
	p.putCursor(c)
	return dst, nil
}

// peek returns the next batch without moving on.
func (c *cursor) peek() (*batch.Header, wal.Record, error) {
	if !c.pending {
		rec, err := c.r.Next()
		if err != nil {
			return nil, wal.Record{}, err
		}
		if c.head, err = recordHeader(rec); err != nil {
			return nil, wal.Record{}, err
		}
		c.rec, c.pending = rec, true
	}
	return &c.head, c.rec, nil
}

// takeCursor returns a cursor that yields the batch containing from next, or one
// before it.
func (p *Partition) takeCursor(from int64) (*cursor, error) {
	l, err := p.wal()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	gen := p.mu.gen
	var c *cursor
	for i := len(p.mu.cursors) - 1; i >= 0; i-- {
		if p.mu.cursors[i].next == from {
			c = p.mu.cursors[i]
			p.mu.cursors = append(p.mu.cursors[:i], p.mu.cursors[i+1:]...)
			break
		}
	}
	if c == nil && len(p.mu.cursors) == cursorsMax {
		c = p.mu.cursors[0] // the one that has not been used for longest
		p.mu.cursors = append(p.mu.cursors[:0], p.mu.cursors[1:]...)
	}
	p.mu.Unlock()
	if c != nil && c.next == from {
		return c, nil
	}
	key, ok, err := l.Floor(uint64(from))
	if err != nil {
		return nil, err
	}
	if !ok {
		key = uint64(from)
	}
	if c == nil {
		c = &cursor{r: l.NewReader(key), gen: gen}
	} else {
		c.r.Seek(key)
	}
	c.next, c.pending = int64(key), false
	return c, nil
}

// putCursor keeps a cursor for the next Read.
func (p *Partition) putCursor(c *cursor) {
	p.mu.Lock()
	keep := !p.mu.closed && c.gen == p.mu.gen && len(p.mu.cursors) < cursorsMax
	if keep {
		p.mu.cursors = append(p.mu.cursors, c)
	}
	p.mu.Unlock()
	if !keep {
		p.dropCursor(c)
	}
}

func (p *Partition) dropCursor(c *cursor) { _ = c.r.Close() }

func closeCursors(cs []*cursor) {
	for _, c := range cs {
		_ = c.r.Close()
	}
}

// takeCursors returns all remembered cursors, to be closed.
func (p *Partition) takeCursors() []*cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	cs := p.mu.cursors
	p.mu.cursors = nil
	return cs
}
