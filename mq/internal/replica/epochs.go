package replica

import "slices"

// EpochStart says where a leader epoch begins.
type EpochStart struct {
	Epoch int32
	Start int64
}

// EpochList is the leader epochs of a log, in memory. The zero value is an empty log's; End must be kept up to date.
type EpochList struct {
	Starts []EpochStart // ascending in both fields
	End    int64        // log end offset
}

// Assign notes that epoch begins at start; a no-op if the newest entry is that epoch or a later one. Entries that held
// nothing (K7: elections with no data between) stay, since followers may ask for them.
func (l *EpochList) Assign(epoch int32, start int64) {
	if n := len(l.Starts); n > 0 && l.Starts[n-1].Epoch >= epoch {
		return
	}
	l.Starts = append(l.Starts, EpochStart{epoch, start})
}

// TruncateFrom forgets what begins at end or later; the log now ends at end.
func (l *EpochList) TruncateFrom(end int64) {
	l.Starts = slices.DeleteFunc(l.Starts, func(e EpochStart) bool { return e.Start >= end })
	l.End = end
}

// TruncateTo forgets what lies below start, the new log start offset; the epoch that start lies in begins there.
func (l *EpochList) TruncateTo(start int64) {
	i := len(l.Starts)
	for i > 0 && l.Starts[i-1].Start > start {
		i--
	}
	if i == 0 {
		return
	}
	l.Starts = slices.Delete(l.Starts, 0, i-1)
	l.Starts[0].Start = max(l.Starts[0].Start, start)
}

// LatestEpoch implements Epochs.
func (l *EpochList) LatestEpoch() int32 {
	if n := len(l.Starts); n > 0 {
		return l.Starts[n-1].Epoch
	}
	return -1
}

// EndOffsetFor implements Epochs.
func (l *EpochList) EndOffsetFor(asked int32) (int32, int64) {
	for i := len(l.Starts) - 1; i >= 0; i-- {
		if l.Starts[i].Epoch > asked {
			continue
		}
		if i+1 < len(l.Starts) {
			return l.Starts[i].Epoch, l.Starts[i+1].Start
		}
		return l.Starts[i].Epoch, l.End
	}
	return -1, -1
}
