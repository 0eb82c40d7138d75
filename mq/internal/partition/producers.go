package partition

import (
	"fmt"
	"math"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// windowLen is how many batches of a producer are remembered: as many as a
// client may have in flight, so that each retry is recognized (K24).
const windowLen = 5

// sequenceRange is a batch that a producer appended.
type sequenceRange struct {
	First, Last int32 // sequences
	Base, End   int64 // offsets; End is after the last
	Timestamp   int64 // the batch's maximal timestamp
}

// producer is what the log says of one producer id.
type producer struct {
	epoch            int16
	n                uint8 // used in window
	window           [windowLen]sequenceRange
	lastTimestamp    int64
	txnStart         int64 // first offset of the open transaction, -1 if none
	coordinatorEpoch int32 // of the last marker, -1 if none
}

// Producer describes what is known of a producer id.
type Producer struct {
	ID               int64
	Epoch            int16
	LastSequence     int32 // -1 if none
	LastTimestamp    int64 // milliseconds
	CoordinatorEpoch int32 // -1 if there was no transaction marker
	TxnStart         int64 // -1 if no transaction is open
}

func (p *producer) last() (sequenceRange, bool) {
	if p.n == 0 {
		return sequenceRange{}, false
	}
	return p.window[p.n-1], true
}

// verdict is what becomes of an idempotent batch.
type verdict uint8

const (
	fresh verdict = iota
	duplicate
)

// check decides about a batch with producer id, for the leader. p is nil if
// nothing is known of the producer. For a duplicate the batch appended before is
// returned.
func (p *producer) check(h *batch.Header) (verdict, sequenceRange, error) {
	var none sequenceRange
	switch {
	case p == nil:
		if h.BaseSequence != 0 {
			return fresh, none, fmt.Errorf("%w %d, sequence %d", ErrUnknownProducer, h.ProducerID, h.BaseSequence)
		}
		return fresh, none, nil
	case h.ProducerEpoch < p.epoch:
		return fresh, none, fmt.Errorf("%w: producer id %d, epoch %d, newest %d",
			ErrInvalidProducerEpoch, h.ProducerID, h.ProducerEpoch, p.epoch)
	case h.ProducerEpoch > p.epoch || p.n == 0:
		if h.BaseSequence != 0 {
			return fresh, none, fmt.Errorf("%w: producer id %d begins epoch %d with sequence %d",
				ErrOutOfOrderSequence, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
		}
		return fresh, none, nil
	}
	lastSeq := h.LastSequence()
	for i := range p.n {
		if w := &p.window[i]; w.First == h.BaseSequence && w.Last == lastSeq {
			return duplicate, *w, nil
		}
	}
	if prev := p.window[p.n-1].Last; h.BaseSequence != batch.AddSequence(prev, 1) {
		return fresh, none, fmt.Errorf("%w: producer id %d, sequence %d after %d",
			ErrOutOfOrderSequence, h.ProducerID, h.BaseSequence, prev)
	}
	return fresh, none, nil
}

// apply adds a batch of the log. What it leaves is a function of the batches
// applied, in order, and of nothing else (K22).
func (p *producer) apply(h *batch.Header) {
	if h.ProducerEpoch != p.epoch {
		p.epoch, p.n = h.ProducerEpoch, 0
	}
	p.lastTimestamp = h.MaxTimestamp
	if h.IsTransactional() && p.txnStart < 0 {
		p.txnStart = h.BaseOffset
	}
	if h.BaseSequence < 0 {
		return
	}
	if p.n == windowLen {
		copy(p.window[:], p.window[1:])
		p.n--
	}
	p.window[p.n] = sequenceRange{
		First: h.BaseSequence, Last: h.LastSequence(), Base: h.BaseOffset, End: h.NextOffset(), Timestamp: h.MaxTimestamp,
	}
	p.n++
}

// applyMarker adds a transaction marker of the log.
func (p *producer) applyMarker(h *batch.Header, m batch.Marker) {
	if h.ProducerEpoch != p.epoch {
		p.epoch, p.n = h.ProducerEpoch, 0
	}
	p.lastTimestamp = h.MaxTimestamp
	p.txnStart = -1
	p.coordinatorEpoch = m.CoordinatorEpoch
}

func newProducer(h *batch.Header) *producer {
	return &producer{epoch: h.ProducerEpoch, lastTimestamp: math.MinInt64, txnStart: -1, coordinatorEpoch: -1}
}
