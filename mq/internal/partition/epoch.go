package partition

import "fmt"

// StartEpoch makes the replica the leader of an epoch, recording that the epoch
// begins at the log end even if nothing will be appended in it (K7). From then
// on AppendAsLeader takes this epoch only, AppendAsFollower none. It returns
// ErrFencedEpoch if a later epoch, or this one as a follower, was begun before.
func (p *Partition) StartEpoch(epoch int32) error {
	p.change.lock()
	defer p.change.unlock()
	if err := p.usable(); err != nil {
		return err
	}
	if epoch < 0 || epoch < p.epoch || epoch == p.epoch && !p.leading || epoch < p.state().epochs.latest() {
		return p.fenced("lead", epoch)
	}
	p.epoch, p.leading = epoch, true
	p.mu.Lock()
	p.mu.st.epochs = p.mu.st.epochs.assign(epoch, p.leo.Load())
	p.mu.Unlock()
	return nil
}

// Follow makes the replica a follower of the leader of an epoch. It returns
// ErrFencedEpoch if a later epoch, or this one as the leader, was begun before.
func (p *Partition) Follow(epoch int32) error {
	p.change.lock()
	defer p.change.unlock()
	if err := p.usable(); err != nil {
		return err
	}
	if epoch < 0 || epoch < p.epoch || epoch == p.epoch && p.leading {
		return p.fenced("follow", epoch)
	}
	p.epoch, p.leading = epoch, false
	return nil
}

func (p *Partition) fenced(what string, epoch int32) error {
	role := "following"
	if p.leading {
		role = "leading"
	}
	return fmt.Errorf("%w: cannot %s in epoch %d, %s in epoch %d", ErrFencedEpoch, what, epoch, role, p.epoch)
}

// may checks, under change, that a change carrying epoch is one of the current
// leader's or follower's.
func (p *Partition) may(what string, epoch int32, leading bool) error {
	if err := p.usable(); err != nil {
		return err
	}
	if epoch != p.epoch || leading != p.leading || epoch == noEpoch {
		return p.fenced(what, epoch)
	}
	return nil
}

// LatestEpoch is the last leader epoch of the log, -1 if it has none.
func (p *Partition) LatestEpoch() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.st.epochs.latest()
}

// EpochStart returns the offset at which an epoch's records begin; ok is false
// if the log has none of that epoch.
func (p *Partition) EpochStart(epoch int32) (offset int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.st.epochs.startOf(epoch)
}

// EndOffsetFor answers OffsetForLeaderEpoch (KIP-101, KIP-279): the largest epoch
// of the log at or below the one asked for, and the offset at which it ends. It
// is (-1, -1) if the asked epoch is newer than all in the log; one older than all
// in the log ends where the log begins.
func (p *Partition) EndOffsetFor(epoch int32) (int32, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.st.epochs.endFor(epoch, p.leo.Load())
}
