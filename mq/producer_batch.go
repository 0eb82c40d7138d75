package mq

import (
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
)

// pooledBatchBytes is the largest batch whose buffers are kept for another one.
const pooledBatchBytes = 2 << 20

// batchState is where a batch is.
type batchState int8

const (
	batchQueued   batchState = iota // in producerPartition.queue
	batchInFlight                   // in producerPartition.sent, its answer awaited
	batchFailed                     // in producerPartition.sent, to be sent again once nothing of the partition is in flight
	batchDone                       // in neither
)

// producerBatch is a record batch on its way. It is guarded by its partition's mutex, except that while busy is set its builder
// and bytes belong to the sink that encodes it, and that after it is done its entries belong to the finisher.
type producerBatch struct {
	pp      *producerPartition
	builder batch.Builder
	bytes   []byte // the encoded batch, valid once it was sent; aliases the builder
	entries []producerEntry

	created     time.Time
	size        int64 // accounted in the producer's buffer
	callbacks   int   // entries with one
	state       batchState
	sealed      bool // takes no more records
	busy        bool // being encoded
	leaked      bool // done while busy: left to the garbage collector
	sequenced   bool
	maybe       bool // an attempt may have written it
	attempt     int  // number of the send, unique in the partition, so that late answers are recognized
	pid         int64
	epoch       int16
	seq         int32
	leaderEpoch int32
	flushers    []*flushWait
	err         error // for callbacks, once done
}

// producerEntry is a record in a batch and who wants to hear of it.
type producerEntry struct {
	record *Record
	done   func(*Record, error)
	wait   *syncWait
}

var batchPool = sync.Pool{New: func() any { return new(producerBatch) }}

func newProducerBatch(pp *producerPartition) *producerBatch {
	b := batchPool.Get().(*producerBatch)
	b.pp, b.created = pp, time.Now()
	return b
}

// recycle gives the batch's memory back. Nobody may refer to it any more.
func (b *producerBatch) recycle() {
	if b.leaked || cap(b.entries) > 1<<16 || b.builder.Size() > pooledBatchBytes {
		return
	}
	clear(b.entries)
	b.builder.Reset()
	*b = producerBatch{builder: b.builder, entries: b.entries[:0]}
	batchPool.Put(b)
}

// append adds a record. The caller has checked that it fits.
func (b *producerBatch) append(r *Record, entry producerEntry, size int, headers []batch.RecordHeader) error {
	if err := b.builder.Append(r.Timestamp.UnixMilli(), r.Key, r.Value, headers); err != nil {
		return err
	}
	b.entries = append(b.entries, entry)
	b.size += int64(size)
	if entry.done != nil {
		b.callbacks++
	}
	return nil
}

// encode makes bytes what goes on the wire now. Only while busy.
func (b *producerBatch) encode(c Compression) error {
	if b.bytes != nil {
		if b.pid >= 0 {
			if h, err := batch.ParseHeader(b.bytes); err != nil || h.ProducerID != b.pid || h.ProducerEpoch != b.epoch || h.BaseSequence != b.seq {
				batch.SetProducer(b.bytes, b.pid, b.epoch, b.seq)
			}
		}
		return nil
	}
	spec := batch.NewSpec()
	if b.pid >= 0 {
		spec.ProducerID, spec.ProducerEpoch, spec.BaseSequence = b.pid, b.epoch, b.seq
	}
	if c == CompressionNone {
		b.bytes = b.builder.Build(spec)
		return nil
	}
	bytes, err := b.builder.BuildCompressed(spec, batch.Codec(c), func(dst, src []byte) ([]byte, error) {
		return codec.Compress(dst, src, batch.Codec(c), 0)
	})
	b.bytes = bytes
	return err
}

// settle fills in what the records learn from the answer. Base is -1 if the broker did not say.
func (b *producerBatch) settle(base int64, appendTime int64, err error) {
	b.err = err
	if err != nil {
		return
	}
	for i := range b.entries {
		r := b.entries[i].record
		r.LeaderEpoch = b.leaderEpoch
		if base >= 0 {
			r.Offset = base + int64(i)
		}
		if appendTime >= 0 {
			r.Timestamp = time.UnixMilli(appendTime)
		}
	}
}
