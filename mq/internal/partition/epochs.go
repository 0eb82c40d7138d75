package partition

import "slices"

// epochStart says that a leader epoch's batches begin at Start.
type epochStart struct {
	Epoch int32
	Start int64
}

// epochs is the leader epoch cache: epochs and starts strictly increase, but
// that the last epoch may have nothing in it yet. See KIP-101 and KIP-279.
type epochs []epochStart

// latest returns the last epoch, -1 if there is none.
func (e epochs) latest() int32 {
	if len(e) == 0 {
		return -1
	}
	return e[len(e)-1].Epoch
}

// assign records that epoch begins at start, unless it is the latest already.
// Epochs that turn out to have nothing in them go, later ones too: a replica may
// have led in an epoch, appended nothing, and now follow a leader whose records
// of an earlier epoch go on here. The caller has made sure that epoch is not
// below the latest of the others.
func (e epochs) assign(epoch int32, start int64) epochs {
	e = e.truncateEnd(start)
	if len(e) > 0 && e.latest() == epoch {
		return e
	}
	return append(e, epochStart{epoch, start})
}

// truncateEnd forgets the epochs that begin at end or later.
func (e epochs) truncateEnd(end int64) epochs {
	for len(e) > 0 && e[len(e)-1].Start >= end {
		e = e[:len(e)-1]
	}
	return e
}

// truncateStart makes the epoch that start is in the first, beginning there.
func (e epochs) truncateStart(start int64) epochs {
	i := 0
	for i+1 < len(e) && e[i+1].Start <= start {
		i++
	}
	e = slices.Delete(e, 0, i)
	if len(e) > 0 && e[0].Start < start {
		e[0].Start = start
	}
	return e
}

// endFor answers OffsetForLeaderEpoch: the largest epoch at or below the one
// asked for, and where it ends. (-1, -1) if that cannot be told: the asked epoch
// is newer than all here. An epoch older than all here ends where the log begins.
func (e epochs) endFor(epoch int32, leo int64) (int32, int64) {
	if len(e) == 0 || epoch < 0 || epoch > e.latest() {
		return -1, -1
	}
	if epoch == e.latest() {
		return epoch, leo
	}
	for i := len(e) - 2; i >= 0; i-- {
		if e[i].Epoch <= epoch {
			return e[i].Epoch, e[i+1].Start
		}
	}
	return epoch, e[0].Start
}

// startOf returns where epoch begins.
func (e epochs) startOf(epoch int32) (int64, bool) {
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].Epoch == epoch {
			return e[i].Start, true
		}
	}
	return 0, false
}
