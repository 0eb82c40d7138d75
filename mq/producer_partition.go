package mq

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// producerPartition is a producer's queue for one partition.
//
// Invariants: sent and queue together hold the unfinished batches in the order of Send; all sequenced batches come before all
// others; sent holds at most inFlightMax batches, and none is sent while recovering. A batch that must be sent again is sent with the sequence it
// had, so that the broker recognizes it, unless the epoch was raised after it was certain that it is not in the log.
type producerPartition struct {
	p      *Producer
	topic  *producerTopic
	number int32

	mu          sync.Mutex
	closed      bool
	sink        *producerSink // of the leader; nil: none is known
	leaderEpoch int32
	queue       []*producerBatch // to be sent, in order; only the last one may be unsealed
	sent        []*producerBatch // sent, in order; batchInFlight or batchFailed
	inFlight    int              // of sent, how many are batchInFlight
	scheduled   bool             // in sink's ready list
	recovering  bool             // something failed: nothing is sent until nothing is in flight
	raise       bool             // …and then the epoch is raised
	held        bool             // a backoff runs
	hold        *time.Timer      // ends the backoff, or the linger of the first batch
	failures    int              // in a row
	unknown     time.Time        // since when the leader says that there is no such partition
	attempts    int
	headers     []batch.RecordHeader // scratch

	pid   int64 // -1: none yet
	epoch int16
	next  int32 // sequence
	known bool  // a batch of this pid and epoch was acknowledged
}

func (pp *producerPartition) name() string {
	return TopicPartition{pp.topic.name, pp.number}.String()
}

// inFlightMaxLocked is how many batches of the partition may be in flight. It is one until the broker has acknowledged the first of a sequence, since a
// broker that knows nothing of the producer accepts any sequence number: if it refused the first batch, say because it was not yet
// leader, and took the second, their order would be lost.
func (pp *producerPartition) inFlightMaxLocked() int {
	switch {
	case pp.p.cfg.Acks == AcksNone:
		return pp.p.cfg.InFlightMax
	case pp.p.cfg.DisableIdempotence, !pp.known:
		return 1
	}
	return pp.p.cfg.InFlightMax
}

// add appends a record to the open batch, or to a new one.
func (pp *producerPartition) add(r *Record, entry producerEntry, size int) error {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.closed {
		return ErrClosed
	}
	r.Partition, r.Offset, r.LeaderEpoch = pp.number, -1, -1
	if r.Timestamp.IsZero() {
		r.Timestamp = time.UnixMilli(time.Now().UnixMilli())
	}
	pp.headers = pp.headers[:0]
	for _, h := range r.Headers {
		pp.headers = append(pp.headers, batch.RecordHeader(h))
	}
	var b *producerBatch
	if n := len(pp.queue); n > 0 && !pp.queue[n-1].sealed {
		b = pp.queue[n-1]
		if b.builder.Size()+size-batch.HeaderLen > pp.p.cfg.BatchBytesMax {
			b.sealed = true
			b = nil
		}
	}
	fresh := b == nil
	if fresh {
		b = newProducerBatch(pp)
	}
	if err := b.append(r, entry, size, pp.headers); err != nil {
		return err
	}
	if fresh {
		pp.queue = append(pp.queue, b)
	}
	if !pp.scheduled {
		pp.scheduleLocked()
	}
	return nil
}

// scheduleLocked puts the partition on its sink's list if there is something to send now.
func (pp *producerPartition) scheduleLocked() {
	if pp.scheduled || pp.sink == nil || !pp.sendableLocked() {
		return
	}
	if wait := pp.lingerLocked(); wait > 0 {
		if pp.hold == nil {
			pp.hold = time.AfterFunc(wait, pp.resume)
		}
		return
	}
	pp.scheduled = true
	pp.sink.push(pp)
}

// sendableLocked reports whether the first batch may be sent, its linger aside.
func (pp *producerPartition) sendableLocked() bool {
	return !pp.closed && !pp.recovering && !pp.held && len(pp.queue) > 0 && len(pp.sent) < pp.inFlightMaxLocked()
}

// lingerLocked returns how long the first batch still waits for company.
func (pp *producerPartition) lingerLocked() time.Duration {
	first := pp.queue[0]
	if pp.p.cfg.Linger == 0 || first.sealed || len(pp.queue) > 1 || pp.p.flushing.Load() > 0 {
		return 0
	}
	return time.Until(first.created.Add(pp.p.cfg.Linger))
}

// holdLocked starts a backoff.
func (pp *producerPartition) holdLocked(d time.Duration) {
	if pp.hold != nil {
		pp.hold.Stop()
	}
	pp.held = true
	pp.hold = time.AfterFunc(d, pp.resume)
}

// resume ends a backoff or a linger.
func (pp *producerPartition) resume() {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	pp.resumeLocked()
}

func (pp *producerPartition) resumeLocked() {
	if pp.hold != nil {
		pp.hold.Stop()
		pp.hold = nil
	}
	pp.held = false
	pp.scheduleLocked()
}

// take gives the first batch to the sink, sequenced and busy, or nil if there is nothing to send to it now.
func (pp *producerPartition) take(s *producerSink, pid int64, epoch int16) *producerBatch {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.sink != s {
		return nil // it moved meanwhile; metadataChanged cleared scheduled
	}
	pp.scheduled = false
	if !pp.sendableLocked() {
		return nil
	}
	b := pp.queue[0]
	pp.queue[0] = nil
	pp.queue = pp.queue[1:]
	b.sealed, b.busy = true, true
	if b.pid = -1; !pp.p.cfg.DisableIdempotence {
		pp.sequenceLocked(b, pid, epoch)
	}
	pp.attempts++
	b.attempt, b.state, b.leaderEpoch = pp.attempts, batchInFlight, pp.leaderEpoch
	pp.sent = append(pp.sent, b)
	pp.inFlight++
	pp.topic.moveSticky(pp.number)
	if len(pp.queue) > 0 {
		pp.scheduleLocked()
	}
	return b
}

// sequenceLocked gives the batch its place in the partition's sequence, unless it has one.
func (pp *producerPartition) sequenceLocked(b *producerBatch, pid int64, epoch int16) {
	if pp.pid < 0 {
		pp.pid, pp.epoch, pp.next = pid, epoch, 0
	}
	if !b.sequenced {
		b.sequenced = true
		b.seq = pp.next
		pp.next = batch.AddSequence(pp.next, int32(len(b.entries)))
		b.epoch = pp.epoch
	}
	b.pid = pp.pid
}

// findLocked returns the place in sent of the given send, -1 if its answer no longer matters. The batch must not be touched before, since it may be
// another's by now.
func (pp *producerPartition) findLocked(b *producerBatch, attempt int) int {
	for i, s := range pp.sent {
		if s == b && s.attempt == attempt && s.state == batchInFlight {
			return i
		}
	}
	return -1
}

// encoded says that the sink no longer reads the batch.
func (pp *producerPartition) encoded(b *producerBatch, attempt int) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	for _, s := range pp.sent {
		if s == b && s.attempt == attempt {
			s.busy = false
			pp.settleLocked()
			pp.scheduleLocked()
			return
		}
	}
}

// producerResult is a broker's answer about one batch.
type producerResult struct {
	code       Error
	message    string
	base       int64
	appendTime int64
	lost       error // instead of all of the above: there was no answer
	sent       bool  // the request may have reached the broker
}

// answered takes the outcome of a send.
func (pp *producerPartition) answered(b *producerBatch, attempt int, r producerResult) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	i := pp.findLocked(b, attempt)
	if i < 0 {
		return
	}
	pp.inFlight--
	b.state = batchFailed // until found otherwise
	if r.lost != nil {
		b.maybe = b.maybe || r.sent
		if pp.p.cfg.Acks == AcksNone {
			pp.finishLocked(i, -1, -1, unknownOutcome(r.lost))
		}
		pp.recovering = true
		pp.p.c.meta.kick()
		pp.settleLocked()
		return
	}
	if r.code != ErrUnknownTopicOrPartition {
		pp.unknown = time.Time{}
	}
	switch {
	case r.code == 0, r.code == ErrDuplicateSequenceNumber:
		pp.failures = 0
		pp.known = pp.known || pp.sent[i].epoch == pp.epoch && pp.sent[i].pid == pp.pid
		pp.finishLocked(i, r.base, r.appendTime, nil)
	case sequenceError(r.code) && !pp.p.cfg.DisableIdempotence:
		pp.outOfSequenceLocked(i, r)
	case r.code.Retriable() && !pp.unknownForLongLocked(r.code):
		b.maybe = b.maybe || !notWritten(r.code)
		pp.recovering = true
		if r.code != ErrNotEnoughReplicas && r.code != ErrNotEnoughReplicasAfterAppend {
			pp.p.c.meta.kick()
		}
	default:
		pp.refusedLocked(i, r)
	}
	pp.settleLocked()
	pp.scheduleLocked()
}

// unknownForLongLocked reports whether the cluster has not known the partition for longer than it takes a new one to be known.
func (pp *producerPartition) unknownForLongLocked(code Error) bool {
	if code != ErrUnknownTopicOrPartition {
		return false
	}
	if pp.unknown.IsZero() {
		pp.unknown = time.Now()
	}
	return time.Since(pp.unknown) > pp.p.cfg.UnknownTopicTimeout
}

// outOfSequenceLocked handles a broker that does not accept the sequence of sent[i].
//
// If an earlier batch is unfinished or the epoch is about to be raised, that is what was to be expected, and the batch is not in the log. Otherwise the
// broker has lost what it knew of this producer (its records were all deleted, or lost by an unclean election): if no attempt can have written the
// batch, it is safe to go on under a higher epoch (KIP-360); if one can, nobody can tell whether the batch is in the log.
func (pp *producerPartition) outOfSequenceLocked(i int, r producerResult) {
	b := pp.sent[i]
	pp.recovering = true
	if i > 0 || pp.raise {
		return
	}
	pp.raise = true
	if r.code == ErrInvalidProducerIDMapping {
		pp.epoch = math.MaxInt16 // no epoch of this id will do
	}
	pp.p.warn("mq producer: the broker no longer knows this producer's sequence", pp.name(), r.code)
	if b.maybe {
		pp.finishLocked(i, -1, -1, unknownOutcome(pp.errorOf(r)))
	}
}

// refusedLocked fails sent[i] for good. Its sequence number is thereby missing, so the epoch must be raised.
func (pp *producerPartition) refusedLocked(i int, r producerResult) {
	err := pp.errorOf(r)
	if pp.sent[i].maybe || !notWritten(r.code) {
		err = unknownOutcome(err)
	}
	if !pp.p.cfg.DisableIdempotence {
		pp.recovering, pp.raise = true, true
	}
	pp.finishLocked(i, -1, -1, err)
}

func (pp *producerPartition) errorOf(r producerResult) error {
	return &OpError{Op: "produce to", Subject: pp.name(), Detail: r.message, Err: r.code}
}

// finishLocked removes sent[i], which is not in flight, and tells those who wait.
func (pp *producerPartition) finishLocked(i int, base, appendTime int64, err error) {
	b := pp.sent[i]
	pp.sent = slices.Delete(pp.sent, i, i+1)
	pp.doneLocked(b, base, appendTime, err)
}

// doneLocked tells those who wait for a batch that is in neither list any more.
func (pp *producerPartition) doneLocked(b *producerBatch, base, appendTime int64, err error) {
	b.state, b.leaked = batchDone, b.busy
	b.settle(base, appendTime, err)
	pp.p.buffered.release(b.size)
	for i := range b.entries {
		if w := b.entries[i].wait; w != nil {
			w.finish(err)
		}
	}
	flushers := b.flushers
	if b.callbacks > 0 {
		pp.p.finisher.push(finished{b: b}) // the batch is the finisher's now
	} else {
		b.recycle()
	}
	for _, w := range flushers {
		w.done()
	}
}

// settleLocked ends a recovery once nothing is in flight: what failed goes back to the front of the queue.
func (pp *producerPartition) settleLocked() {
	if !pp.recovering || pp.inFlight > 0 || slices.ContainsFunc(pp.sent, func(b *producerBatch) bool { return b.busy }) {
		return
	}
	pp.recovering = false
	if len(pp.sent) > 0 {
		pp.failures++
		pp.queue = slices.Concat(pp.sent, pp.queue)
		pp.sent = pp.sent[:0]
	}
	if pp.raise {
		pp.raise = false
		pp.raiseEpochLocked()
	}
	for _, b := range pp.queue {
		b.state = batchQueued
	}
	if pp.failures > 0 {
		pp.holdLocked(pp.p.c.pool.backoff(pp.failures, pp.p.c.cfg.RetryBackoffMax))
	}
}

// raiseEpochLocked starts a new sequence: under the next epoch, or under a new producer id if there is none. What is in the queue is
// not in the log: it was refused for its sequence, or comes after a batch without which it would have been.
func (pp *producerPartition) raiseEpochLocked() {
	if pp.epoch == math.MaxInt16 {
		pp.p.identity.renew(pp.pid)
		pp.pid = -1
	} else {
		pp.epoch++
	}
	pp.next, pp.known = 0, false
	for _, b := range pp.queue {
		b.sequenced, b.maybe = false, false
	}
}

// moved follows the partition to its leader. What is in flight to another broker is given up and sent again: the new leader recognizes what
// it has.
func (pp *producerPartition) moved(s *producerSink, leaderEpoch int32) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.closed || pp.sink == s {
		pp.leaderEpoch = leaderEpoch
		return
	}
	pp.sink, pp.leaderEpoch, pp.scheduled = s, leaderEpoch, false
	if s == nil {
		return
	}
	for _, b := range pp.sent {
		if b.state == batchInFlight {
			b.state, b.maybe = batchFailed, true
			pp.inFlight--
			pp.recovering = true
		}
	}
	pp.failures = 0
	pp.settleLocked()
	if pp.held {
		pp.resumeLocked()
	}
	pp.scheduleLocked()
}

// unreachable backs off since the leader could not be connected to; nothing was sent.
func (pp *producerPartition) unreachable(s *producerSink) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	if pp.sink != s {
		return
	}
	pp.scheduled = false
	pp.failures++
	pp.holdLocked(pp.p.c.pool.backoff(pp.failures, pp.p.c.cfg.RetryBackoffMax))
}

// fail gives up all batches that are not in flight.
func (pp *producerPartition) fail(err error) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	pp.scheduled = false
	pp.failQueueLocked(func(*producerBatch) error { return &OpError{Op: "produce to", Subject: pp.name(), Err: err} })
}

// failQueueLocked gives up the batches in the queue for which cause returns an error.
func (pp *producerPartition) failQueueLocked(cause func(*producerBatch) error) {
	kept := pp.queue[:0]
	for _, b := range pp.queue {
		err := cause(b)
		if err == nil {
			kept = append(kept, b)
			continue
		}
		if b.maybe {
			err = unknownOutcome(err)
		}
		pp.raise = pp.raise || b.sequenced
		pp.doneLocked(b, -1, -1, err)
	}
	clear(pp.queue[len(kept):])
	pp.queue = kept
	if pp.raise && len(pp.sent) == 0 && !pp.recovering {
		pp.raise = false
		pp.raiseEpochLocked()
	}
}

// expire gives up what was not written in time. If that was sent, so is everything after it that was sent: without it the rest cannot be in
// sequence, and its outcome could not be told.
func (pp *producerPartition) expire(now time.Time) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	limit := now.Add(-pp.p.cfg.DeliveryTimeout)
	late := func(b *producerBatch) bool { return b.created.Before(limit) }
	var raise bool
	if slices.ContainsFunc(pp.sent, late) {
		raise = true
		for len(pp.sent) > 0 {
			b := pp.sent[0]
			err := error(&OpError{Op: "produce to", Subject: pp.name(), Err: ErrDeliveryTimeout})
			if b.maybe || b.state == batchInFlight {
				err = unknownOutcome(err)
			}
			pp.finishLocked(0, -1, -1, err)
		}
		pp.inFlight, pp.recovering = 0, false
	}
	if len(pp.queue) > 0 && late(pp.queue[0]) || raise {
		sequencedLate := raise
		pp.failQueueLocked(func(b *producerBatch) error {
			sequencedLate = sequencedLate || b.sequenced && late(b)
			if late(b) || sequencedLate && b.sequenced {
				return &OpError{Op: "produce to", Subject: pp.name(), Err: ErrDeliveryTimeout}
			}
			return nil
		})
	}
	if raise && pp.pid >= 0 {
		pp.raise = false
		pp.raiseEpochLocked()
	}
	pp.scheduleLocked()
}

// flush makes what lingers leave and adds w to all unfinished batches.
func (pp *producerPartition) flush(w *flushWait) {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	for _, list := range [][]*producerBatch{pp.sent, pp.queue} {
		for _, b := range list {
			w.left.Add(1)
			b.flushers = append(b.flushers, w)
		}
	}
	if pp.hold != nil && !pp.held {
		pp.resumeLocked() // a linger
	}
	pp.scheduleLocked()
}

// close gives up everything.
func (pp *producerPartition) close() {
	pp.mu.Lock()
	defer pp.mu.Unlock()
	pp.closed = true
	if pp.hold != nil {
		pp.hold.Stop()
	}
	for _, b := range slices.Concat(pp.sent, pp.queue) {
		err := error(&OpError{Op: "produce to", Subject: pp.name(), Err: ErrClosed})
		if b.maybe || b.state == batchInFlight {
			err = unknownOutcome(err)
		}
		pp.doneLocked(b, -1, -1, err)
	}
	pp.sent, pp.queue, pp.inFlight = nil, nil, 0
}

// sequenceError reports whether the code is about the producer's sequence or epoch.
func sequenceError(code Error) bool {
	switch code {
	case ErrOutOfOrderSequenceNumber, ErrUnknownProducerID, ErrInvalidProducerEpoch, ErrInvalidProducerIDMapping:
		return true
	}
	return false
}

// notWritten reports whether a broker that answers with the code has certainly not appended the batch.
func notWritten(code Error) bool {
	switch code {
	case ErrCorruptMessage, ErrUnknownTopicOrPartition, ErrLeaderNotAvailable, ErrMessageTooLarge, ErrInvalidTopicException,
		ErrRecordListTooLarge, ErrNotEnoughReplicas, ErrInvalidRequiredAcks, ErrTopicAuthorizationFailed,
		ErrClusterAuthorizationFailed, ErrInvalidTimestamp, ErrUnsupportedVersion, ErrUnsupportedForMessageFormat, ErrPolicyViolation,
		ErrOutOfOrderSequenceNumber, ErrInvalidProducerEpoch, ErrUnknownProducerID, ErrInvalidProducerIDMapping,
		ErrUnsupportedCompressionType, ErrInvalidRecord, ErrThrottlingQuotaExceeded, ErrInvalidRequest, ErrUnknownTopicID:
		return true
	}
	return false
}
