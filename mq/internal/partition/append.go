package partition

import (
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/wal"
)

// stagedProducer is a producer as it will be when the batches before the one at
// hand have been appended.
type stagedProducer struct {
	id int64
	p  producer
}

// AppendAsLeader appends batches that a producer sent, giving them offsets, the
// leader epoch and, if the topic says so, the time now (milliseconds). records
// holds one or more whole batches; it is changed in place, and may be reused
// when the call returns. Nothing is appended unless all of it can be: errors are
// ErrFencedEpoch, batch.ErrCorrupt, ErrMessageTooLarge, ErrInvalidRecord,
// ErrInvalidTimestamp, ErrUnsupportedCodec, ErrUnsupportedMagic,
// ErrOutOfOrderSequence, ErrUnknownProducer, ErrInvalidProducerEpoch, ErrClosed
// and, when the log has failed, its cause.
//
// A batch of an idempotent producer that is among the last five it appended is
// not appended again; the offset it has is returned (KIP-98). The append counts
// when SyncedEnd has reached Appended.NextOffset, or the high watermark has.
func (p *Partition) AppendAsLeader(epoch int32, records []byte, now int64) (Appended, error) {
	s := p.settings.Load()
	if err := validate(records, s, now); err != nil {
		return Appended{}, err
	}
	p.change.lock()
	res, err := p.appendLeading(epoch, records, s, now)
	end := p.leo.Load()
	p.change.unlock()
	if err == nil && !res.Duplicate {
		p.countCached(s, end)
	}
	return res, err
}

// validate checks what can be without a look at the log.
func validate(records []byte, s *Settings, now int64) error {
	if len(records) == 0 {
		return fmt.Errorf("%w: no batch", ErrInvalidRecord)
	}
	for rest := records; len(rest) > 0; {
		h, b, after, err := batch.Cut(rest)
		if errors.Is(err, batch.ErrPartial) {
			err = fmt.Errorf("%w: %w", batch.ErrCorrupt, err)
		}
		if err != nil {
			return err
		}
		if len(b) > s.maxMessageBytes() {
			return fmt.Errorf("%w: %d bytes, at most %d", ErrMessageTooLarge, len(b), s.maxMessageBytes())
		}
		if err := h.VerifyCRC(b); err != nil {
			return err
		}
		if err := validateHeader(&h, s, now); err != nil {
			return err
		}
		rest = after
	}
	return nil
}

func validateHeader(h *batch.Header, s *Settings, now int64) error {
	switch {
	case !h.Codec().Valid():
		return fmt.Errorf("%w %d", ErrUnsupportedCodec, h.Codec())
	case h.IsControl():
		return fmt.Errorf("%w: control batch from a producer", ErrInvalidRecord)
	case h.Count == 0 || h.Count != h.LastOffsetDelta+1:
		return fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalidRecord, h.Count, h.LastOffsetDelta)
	case h.IsIdempotent() && (h.BaseSequence < 0 || h.ProducerEpoch < 0):
		return fmt.Errorf("%w: producer id %d, epoch %d, sequence %d", ErrInvalidRecord, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	case h.IsTransactional() && !h.IsIdempotent():
		return fmt.Errorf("%w: transactional without producer id", ErrInvalidRecord)
	case h.IsLogAppendTime():
		return fmt.Errorf("%w: producers may not set the log append time", ErrInvalidTimestamp)
	}
	if d := s.TimestampDifferenceMax; d > 0 && !s.LogAppendTime {
		for _, ts := range [...]int64{h.BaseTimestamp, h.MaxTimestamp} {
			if ts < now-d || ts > now+d {
				return fmt.Errorf("%w: %d is more than %d ms from %d", ErrInvalidTimestamp, ts, d, now)
			}
		}
	}
	return nil
}

// appendLeading is AppendAsLeader under change.
func (p *Partition) appendLeading(epoch int32, records []byte, s *Settings, now int64) (Appended, error) {
	res := Appended{LogAppendTime: -1, LogStart: p.logStart.Load()}
	if err := p.may("append", epoch, true); err != nil {
		return res, err
	}
	if s.LogAppendTime {
		res.LogAppendTime = now
	}
	if err := p.place(records, epoch, s, now, &res); err != nil {
		return res, err
	}
	if len(p.records) == 0 {
		res.Duplicate = true
		return res, nil
	}
	return res, p.write(s)
}

// place decides about each batch, gives those to append their offsets and fills
// p.headers and p.records with them.
func (p *Partition) place(records []byte, epoch int32, s *Settings, now int64, res *Appended) error {
	p.headers, p.records, p.staged = p.headers[:0], p.records[:0], p.staged[:0]
	next := p.leo.Load()
	for rest, first := records, true; len(rest) > 0; first = false {
		h, b, after, err := batch.Cut(rest)
		if err != nil {
			return err
		}
		rest = after
		base := next
		if h.IsIdempotent() {
			v, was, err := p.producer(h.ProducerID).check(&h)
			if err != nil {
				return err
			}
			if v == duplicate {
				if first {
					res.BaseOffset = was.Base
					if s.LogAppendTime {
						res.LogAppendTime = was.Timestamp
					}
				}
				res.NextOffset = max(res.NextOffset, was.End)
				continue
			}
		}
		batch.SetBaseOffset(b, base)
		batch.SetLeaderEpoch(b, epoch)
		if s.LogAppendTime {
			batch.SetLogAppendTime(b, now)
		}
		if h, err = batch.ParseHeader(b); err != nil { // the offsets may overflow
			return err
		}
		if h.IsIdempotent() && len(rest) > 0 {
			p.stage(&h)
		}
		next = h.NextOffset()
		if first {
			res.BaseOffset = base
		}
		res.NextOffset = next
		p.headers = append(p.headers, h)
		p.records = append(p.records, wal.Record{Key: uint64(base), Payload: b})
	}
	return nil
}

// producer returns a producer with the staged batches applied, nil if there is
// none of that id.
func (p *Partition) producer(id int64) *producer {
	for i := len(p.staged) - 1; i >= 0; i-- {
		if p.staged[i].id == id {
			return &p.staged[i].p
		}
	}
	return p.state().producers[id]
}

// stage notes what a batch will do to its producer, for the batches after it in
// the same call.
func (p *Partition) stage(h *batch.Header) {
	q := p.producer(h.ProducerID)
	if q == nil {
		q = newProducer(h)
	}
	c := *q
	c.apply(h)
	p.staged = append(p.staged, stagedProducer{h.ProducerID, c})
}

// write appends p.records with p.headers to the log, then to the state, and asks
// for a sync if it is due. The state is touched only when the log has them (K22).
func (p *Partition) write(s *Settings) error {
	l, err := p.touch()
	if err != nil {
		return p.fail(err)
	}
	if err := l.Append(p.records...); err != nil {
		return p.fail(err)
	}
	sync := s.durable()
	p.mu.Lock()
	st := p.mu.st
	for i := range p.headers {
		if err := st.apply(&p.headers[i], p.records[i].Payload); err != nil {
			p.mu.Unlock()
			return p.fail(err) // checked before: the log and the state differ
		}
		p.unsynced += int64(p.headers[i].Count)
		p.sinceCkpt += int64(len(p.records[i].Payload))
	}
	end := st.end
	p.leo.Store(end)
	if !sync && p.unsynced >= s.FlushMessages {
		sync = true
	}
	if sync {
		p.mu.pending = append(p.mu.pending, end)
		p.unsynced = 0
	}
	p.mu.Unlock()
	clear(p.records) // the caller's bytes
	if sync {
		l.SyncAsync(p.onSynced)
	}
	return nil
}

// countCached advances SyncedEnd to end where the page cache counts.
func (p *Partition) countCached(s *Settings, end int64) {
	if s.durable() {
		return
	}
	p.mu.Lock()
	end = min(end, p.leo.Load()) // a truncation may have come between
	advanced := end > p.syncedEnd.Load()
	if advanced {
		p.syncedEnd.Store(end)
	}
	p.mu.Unlock()
	if advanced && p.cfg.OnSynced != nil {
		p.cfg.OnSynced(end)
	}
}

// AppendAsFollower appends batches exactly as the leader of the epoch has them
// and returns the log end offset. records is what a Fetch returned: a partial
// batch at its end is ignored. The batches must continue the log (ErrOffsetGap),
// but that an empty log may begin with a batch whose first records lie below its
// start: the leader's log start may be inside a batch (KIP-107). CRCs are
// verified. Errors are otherwise AppendAsLeader's.
func (p *Partition) AppendAsFollower(epoch int32, records []byte) (int64, error) {
	for rest := records; len(rest) > 0; {
		h, b, after, err := batch.Cut(rest)
		if errors.Is(err, batch.ErrPartial) {
			records = records[:len(records)-len(rest)]
			break
		}
		if err != nil {
			return p.leo.Load(), err
		}
		if err := h.VerifyCRC(b); err != nil {
			return p.leo.Load(), err
		}
		rest = after
	}
	s := p.settings.Load()
	p.change.lock()
	err := p.appendFollowing(epoch, records, s)
	end := p.leo.Load()
	p.change.unlock()
	if err == nil && len(records) > 0 {
		p.countCached(s, end)
	}
	return end, err
}

// appendFollowing is AppendAsFollower under change.
func (p *Partition) appendFollowing(epoch int32, records []byte, s *Settings) error {
	if err := p.may("replicate", epoch, false); err != nil {
		return err
	}
	if len(records) == 0 {
		return nil
	}
	p.headers, p.records = p.headers[:0], p.records[:0]
	next := p.leo.Load()
	latest := p.state().epochs.truncateEnd(next).latest() // of those with records
	for rest := records; len(rest) > 0; {
		h, b, after, err := batch.Cut(rest)
		if err != nil {
			return err
		}
		rest = after
		if len(p.headers) == 0 && p.state().lastBase < 0 && h.BaseOffset < next && next < h.NextOffset() {
			if err := p.restartAt(h.BaseOffset); err != nil {
				return err
			}
			next = h.BaseOffset
		}
		if h.BaseOffset != next {
			return fmt.Errorf("%w: batch at %d, log end %d", ErrOffsetGap, h.BaseOffset, next)
		}
		if h.LeaderEpoch < latest || h.LeaderEpoch > epoch {
			return fmt.Errorf("%w: batch at %d of epoch %d, after %d, from the leader of %d",
				ErrFencedEpoch, h.BaseOffset, h.LeaderEpoch, latest, epoch)
		}
		if h.IsControl() {
			if _, err := batch.ParseMarker(h, b); err != nil {
				return err
			}
		}
		next, latest = h.NextOffset(), h.LeaderEpoch
		p.headers = append(p.headers, h)
		p.records = append(p.records, wal.Record{Key: uint64(h.BaseOffset), Payload: b})
	}
	return p.write(s)
}

// restartAt lets an empty log begin at an offset below its log start.
func (p *Partition) restartAt(base int64) error {
	l, err := p.touch()
	if err != nil {
		return p.fail(err)
	}
	if err := l.Reset(uint64(base)); err != nil {
		return p.fail(err)
	}
	p.mu.Lock()
	p.mu.st.end = base
	p.mu.Unlock()
	return nil
}

// Producers describes the producers of the log, in no particular order.
func (p *Partition) Producers() []Producer {
	p.change.lock()
	defer p.change.unlock()
	out := make([]Producer, 0, len(p.state().producers))
	for id, q := range p.state().producers {
		d := Producer{
			ID: id, Epoch: q.epoch, LastSequence: batch.NoSequence, LastTimestamp: q.lastTimestamp,
			CoordinatorEpoch: q.coordinatorEpoch, TxnStart: q.txnStart,
		}
		if w, ok := q.last(); ok {
			d.LastSequence = w.Last
		}
		out = append(out, d)
	}
	return out
}

// ExpireProducers forgets the producers without an open transaction whose last
// batch's timestamp is before the given one (milliseconds).
func (p *Partition) ExpireProducers(before int64) {
	p.change.lock()
	defer p.change.unlock()
	for id, q := range p.state().producers {
		if q.txnStart < 0 && q.lastTimestamp < before {
			delete(p.state().producers, id)
		}
	}
}
