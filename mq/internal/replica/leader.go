package replica

import "slices"

// member is another replica of the partition, as the leader sees it.
type member struct {
	broker      int32
	incarnation int64 // the newest that fetched; -1: none yet
	end         int64 // how far its log counts, from its last fetch in this leader epoch; -1: it has not fetched yet
	caughtUp    int   // tick at which it last had everything
	fetched     int   // tick of its last fetch
	fetchedEnd  int64 // the leader's log end at that time
	barred      int64 // incarnation that ZooKeeper did not let into the ISR; -1: none
}

func newMember(broker int32) member {
	return member{broker: broker, incarnation: -1, end: -1, barred: -1}
}

// BeginAppend asks to append on behalf of a producer. expected is the leader epoch that the caller's state belongs to,
// -1 for any; acksAll refuses an ISR below min.insync.replicas. On OK the shell stamps the batches with the epoch
// returned, and EndAppend or Fail follows.
func (r *Replica) BeginAppend(expected int32, acksAll bool) (epoch int32, code Code) {
	switch {
	case r.role.Kind == Failed:
		return -1, StorageError
	case r.role.Kind != Leader:
		return -1, NotLeader
	case r.busy != idle:
		return -1, Busy
	case expected >= 0 && expected < r.role.Epoch:
		return -1, FencedLeaderEpoch
	case expected > r.role.Epoch:
		return -1, UnknownLeaderEpoch
	case acksAll && len(r.state.ISR) < r.cfg.MinInsync:
		return -1, NotEnoughReplicas
	}
	r.busy = appending
	return r.role.Epoch, OK
}

// WaitAll queues a producer with acks=all until the high watermark reaches end, the offset behind its last record. epoch
// is the one that BeginAppend returned.
func (r *Replica) WaitAll(epoch int32, end int64, token uint64) {
	switch {
	case r.role.Kind != Leader || r.role.Epoch != epoch:
		r.acks = append(r.acks, Ack{token, NotLeader})
	case end <= r.hw:
		r.acks = append(r.acks, Ack{token, OK})
	case len(r.state.ISR) < r.cfg.MinInsync:
		r.acks = append(r.acks, Ack{token, NotEnoughAfterAppend})
	default:
		r.all.push(end, token)
	}
}

// WaitSynced queues a producer with acks=1 until the leader's own log is synced to end. On a topic that relaxes flush it
// is released at once. epoch is the one that BeginAppend returned.
func (r *Replica) WaitSynced(epoch int32, end int64, token uint64) {
	switch {
	case r.role.Kind != Leader || r.role.Epoch != epoch:
		r.acks = append(r.acks, Ack{token, NotLeader})
	case end <= r.position():
		r.acks = append(r.acks, Ack{token, OK})
	default:
		r.one.push(end, token)
	}
}

// checkLeader checks that a request made in a leader epoch (-1: any) reached the leader of that epoch.
func (r *Replica) checkLeader(epoch int32) Code {
	switch {
	case epoch >= 0 && epoch < r.role.Epoch:
		return FencedLeaderEpoch
	case epoch > r.role.Epoch:
		return UnknownLeaderEpoch
	case r.role.Kind == Failed:
		return StorageError
	case r.role.Kind != Leader:
		return NotLeader
	}
	return OK
}

// CheckReader checks a consumer's fetch: its current leader epoch, -1 for none. The records below the high watermark may
// be served.
func (r *Replica) CheckReader(currentEpoch int32) Code { return r.checkLeader(currentEpoch) }

// OffsetForEpoch answers OffsetForLeaderEpoch: the largest epoch <= asked and its end, -1 and -1 if there is none.
func (r *Replica) OffsetForEpoch(currentEpoch, asked int32) (code Code, epoch int32, end int64) {
	if code := r.checkLeader(currentEpoch); code != OK {
		return code, -1, -1
	}
	epoch, end = r.epochs.EndOffsetFor(asked)
	return OK, epoch, end
}

// Fetch handles a follower's fetch on the leader. The shell adds records from req.Offset on if the answer is OK without a
// diverging epoch.
func (r *Replica) Fetch(req FetchRequest) FetchAnswer {
	a := FetchAnswer{LeaderEpoch: req.LeaderEpoch, Offset: req.Offset, LastEpoch: req.LastEpoch, DivergingEpoch: -1, DivergingEnd: -1}
	a.Code = r.admit(req)
	if a.Code != OK {
		return a
	}
	a.LogStart, a.LogEnd = r.start, r.end
	if epoch, end, differs := r.diverges(req); differs {
		a.DivergingEpoch, a.DivergingEnd = epoch, end
	} else if req.Offset < r.start || req.Offset > r.end {
		a.Code = OffsetOutOfRange
	} else {
		r.fetched(req)
	}
	a.HighWatermark = r.hw
	return a
}

func (r *Replica) admit(req FetchRequest) Code {
	if req.LeaderEpoch < 0 {
		return FencedLeaderEpoch
	}
	if code := r.checkLeader(req.LeaderEpoch); code != OK {
		if code == UnknownLeaderEpoch {
			r.reread()
		}
		return code
	}
	m := r.member(req.Replica)
	if m == nil {
		return InconsistentReplicaSet
	}
	if req.Incarnation < m.incarnation {
		return StaleBrokerEpoch
	}
	return OK
}

func (r *Replica) member(broker int32) *member {
	for i := range r.members {
		if r.members[i].broker == broker {
			return &r.members[i]
		}
	}
	return nil
}

// diverges compares the epoch of the follower's last record with this log (KIP-595). If this log begins in a later epoch
// nothing can be compared: the follower is to begin where this log does, since what it holds below may differ too.
func (r *Replica) diverges(req FetchRequest) (epoch int32, end int64, differs bool) {
	if req.LastEpoch < 0 {
		return -1, -1, false
	}
	epoch, end = r.epochs.EndOffsetFor(req.LastEpoch)
	if epoch < 0 {
		return req.LastEpoch, r.start, true
	}
	return epoch, end, epoch < req.LastEpoch || end < req.Offset
}

// fetched notes how far a follower is: it has everything below the offset that it asks for.
func (r *Replica) fetched(req FetchRequest) {
	m := r.member(req.Replica)
	if req.Incarnation > m.incarnation {
		fresh := newMember(m.broker)
		fresh.incarnation, fresh.caughtUp, fresh.barred = req.Incarnation, m.caughtUp, m.barred
		*m = fresh
	}
	m.end = req.Offset
	switch {
	case req.Offset >= r.end:
		m.caughtUp = r.now
	case m.fetched > m.caughtUp && req.Offset >= m.fetchedEnd:
		m.caughtUp = m.fetched
	}
	m.fetched, m.fetchedEnd = r.now, r.end
	r.advance()
	r.expand(m)
}

// advance moves the leader's high watermark: the least position of every member of the committed ISR and of every ISR
// proposed at its version (R10, K29), given enough members (K13).
func (r *Replica) advance() {
	if r.role.Kind != Leader || len(r.state.ISR) < min(r.cfg.MinInsync, len(r.cfg.Replicas)) {
		return
	}
	hw := r.position()
	for i := range r.members {
		m := &r.members[i]
		if slices.Contains(r.state.ISR, m.broker) || slices.Contains(r.isr.proposed, m.broker) {
			hw = min(hw, m.end)
		}
	}
	if hw > r.hw {
		r.raise(hw)
		for w, ok := r.all.pop(r.hw); ok; w, ok = r.all.pop(r.hw) {
			r.acks = append(r.acks, Ack{w.token, OK})
		}
	}
}

func (r *Replica) releaseSynced() {
	for w, ok := r.one.pop(r.position()); ok; w, ok = r.one.pop(r.position()) {
		r.acks = append(r.acks, Ack{w.token, OK})
	}
}

// checkMinInsync answers those who wait for an ISR that has become too small; their records stay in the log.
func (r *Replica) checkMinInsync() {
	if len(r.state.ISR) < r.cfg.MinInsync {
		r.release(&r.all, NotEnoughAfterAppend)
	}
}

func (r *Replica) releaseAll(code Code) {
	r.release(&r.all, code)
	r.release(&r.one, code)
}

func (r *Replica) release(q *waiters, code Code) {
	for _, w := range q.list[q.head:] {
		r.acks = append(r.acks, Ack{w.token, code})
	}
	q.list, q.head = q.list[:0], 0
}

// waiters is a queue of producers in the order of their appends; its memory is used again.
type waiters struct {
	list []waiter
	head int
}

type waiter struct {
	end   int64
	token uint64
}

func (q *waiters) push(end int64, token uint64) {
	if q.head > 0 && len(q.list) == cap(q.list) {
		q.list = q.list[:copy(q.list, q.list[q.head:])]
		q.head = 0
	}
	q.list = append(q.list, waiter{end, token})
}

// pop takes the first waiter if it waits for reached or less.
func (q *waiters) pop(reached int64) (waiter, bool) {
	if q.head == len(q.list) || q.list[q.head].end > reached {
		return waiter{}, false
	}
	w := q.list[q.head]
	if q.head++; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return w, true
}
