package mq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/batch"
	"github.com/vivarium-go/vivarium/mq/internal/codec"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/mq/internal/partition"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
	"github.com/vivarium-go/vivarium/zk"
)

// hostedPartition is the broker's replica of one partition: its log, its replica core, and who waits for either.
//
// The gate is held by whoever changes the log, from the core's Begin to its End; it may be held across I/O. The mutex guards the
// core and is never held across I/O; it may be taken while the gate is held, not the other way round. A change of role found under
// the mutex is applied to the log by the next holder of the gate, before anything else (settle).
type hostedPartition struct {
	host  *partitionHost
	topic string
	key   partitionKey
	log   *partition.Partition
	gate  chan struct{}
	leads atomic.Bool // the core's role is Leader

	mu struct {
		sync.Mutex
		core *replica.Replica
		// role waits to be applied to the log.
		role *replica.Role
		// applied is the role that the log is in.
		applied  replica.Role
		acks     map[uint64]ackWaiter
		token    uint64
		watchers []watcher
		closed   bool
		retains  bool // old records are removed
		// pauseUntil keeps a follower from fetching again too soon after an answer that did not fit.
		pauseUntil time.Time
	}
}

// ackWaiter is a producer that waits for its batch to be replicated.
type ackWaiter struct {
	done func(api.AppendResult)
	res  api.AppendResult
}

// watcher is a fetch that waits for more.
type watcher struct {
	w        *api.Waiter
	follower bool
}

// effects is what a call of the core wants done after the mutex is released.
type effects struct {
	acks  []func()
	write *replica.StateWrite
	read  bool
	role  bool
	hw    bool
}

// enter takes the gate, and applies a role that waits.
func (p *hostedPartition) enter() {
	p.gate <- struct{}{}
	p.settle()
}

// leave gives the gate back.
func (p *hostedPartition) leave() { <-p.gate }

// settle applies the newest role to the log. The gate is held.
func (p *hostedPartition) settle() {
	p.mu.Lock()
	role := p.mu.role
	p.mu.role = nil
	closed := p.mu.closed
	p.mu.Unlock()
	if role == nil || closed {
		return
	}
	var err error
	switch role.Kind {
	case replica.Leader:
		err = p.log.StartEpoch(role.Epoch)
	case replica.Follower, replica.Waiting:
		if role.Epoch >= 0 {
			err = p.log.Follow(role.Epoch)
		}
	case replica.Failed:
	}
	if err != nil {
		p.host.log.Error("a change of role failed", "topic", p.topic, "partition", p.key.index, "role", role.Kind.String(), "err", err)
	}
	p.mu.Lock()
	p.mu.applied = *role
	p.mu.Unlock()
	p.host.roleChanged(p, *role)
}

// with calls the core under the mutex and carries out what it wants afterwards.
func (p *hostedPartition) with(fn func(core *replica.Replica)) {
	fx := p.call(fn)
	p.carryOut(&fx)
}

// withGate is with for who holds the gate: a change of role is applied at once.
func (p *hostedPartition) withGate(fn func(core *replica.Replica)) {
	fx := p.call(fn)
	if fx.role {
		fx.role = false
		p.settle()
	}
	p.carryOut(&fx)
}

// call calls the core under the mutex, unless the partition is closed, and returns what is to be carried out.
func (p *hostedPartition) call(fn func(core *replica.Replica)) effects {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return effects{}
	}
	fn(p.mu.core)
	return p.drainLocked()
}

// drainLocked takes what the core wants.
func (p *hostedPartition) drainLocked() effects {
	var fx effects
	for rd, ok := p.mu.core.Ready(); ok; rd, ok = p.mu.core.Ready() {
		if rd.Role != nil {
			role := *rd.Role
			p.mu.role, fx.role = &role, true
			p.leads.Store(role.Kind == replica.Leader)
			p.mu.pauseUntil = time.Time{}
		}
		if rd.Write != nil {
			w := *rd.Write
			w.State, w.Joins = w.State.Clone(), slices.Clone(w.Joins)
			fx.write = &w
		}
		fx.read = fx.read || rd.Read
		fx.hw = fx.hw || rd.HighWatermarkMoved
		for _, a := range rd.Acks {
			if w, ok := p.mu.acks[a.Token]; ok {
				delete(p.mu.acks, a.Token)
				if a.Code != replica.OK {
					w.res = api.AppendResult{Code: api.Code(a.Code), BaseOffset: -1, LogAppendTime: -1, LogStart: -1}
				}
				fx.acks = append(fx.acks, func() { w.done(w.res) })
			}
		}
	}
	if fx.hw || fx.role {
		p.wakeLocked(fx.role)
	}
	return fx
}

// wakeLocked wakes consumers that wait for the high watermark, and followers too if all.
func (p *hostedPartition) wakeLocked(all bool) {
	for _, w := range p.mu.watchers {
		if all || !w.follower {
			w.w.Wake()
		}
	}
}

// carryOut does what the core wants. Neither gate nor mutex may be needed by what it calls, but for goroutines of their own.
func (p *hostedPartition) carryOut(fx *effects) {
	for _, ack := range fx.acks {
		ack()
	}
	if fx.role {
		p.host.spawn(func() { // who holds the gate settles it; this makes sure that somebody does
			p.enter()
			p.leave()
		})
	}
	if fx.write != nil {
		p.writeState(fx.write)
	}
	if fx.read {
		p.host.spawn(p.readState)
	}
}

// writeState starts a conditional write of the partition's state.
func (p *hostedPartition) writeState(w *replica.StateWrite) {
	life := p.host.life()
	if life == nil {
		p.with(func(c *replica.Replica) { c.WriteDone(w.ID, layout.Unknown) })
		return
	}
	id := w.ID
	p.host.log.Debug("partition state", "topic", p.topic, "partition", p.key.index, "reason", w.Reason, "isr", w.State.ISR, "version", w.Version)
	ops := replica.StateOps(p.topic, p.key.topic, p.key.index, w.State, w.Version, w.Joins)
	life.zk.GoMulti(life.ctx, func(_ []zk.OpResult, err error) {
		p.with(func(c *replica.Replica) { c.WriteDone(id, outcomeOf(err)) })
	}, zkOps(ops)...)
}

// readState reads the partition's state behind a sync, and shows it to the core.
func (p *hostedPartition) readState() {
	life := p.host.life()
	if life == nil {
		p.readLater()
		return
	}
	ctx, cancel := context.WithTimeout(life.ctx, within)
	defer cancel()
	path := layout.StatePath(p.topic, p.key.index)
	err := life.zk.Sync(ctx, path)
	var data []byte
	var st zk.Stat
	if err == nil {
		data, st, err = life.zk.Get(ctx, path)
	}
	var state layout.PartitionState
	if err == nil {
		state, err = layout.DecodeState(data)
	}
	switch {
	case err == nil:
		p.enter()
		p.withGate(func(c *replica.Replica) {
			c.SetState(state, st.Version)
			c.ReadDone(true)
		})
		p.leave()
	case errors.Is(err, zk.ErrNoNode):
		p.enter()
		p.withGate(func(c *replica.Replica) {
			c.StateGone()
			c.ReadDone(true)
		})
		p.leave()
	default:
		p.readLater()
	}
}

// readLater has the core ask again, after a pause.
func (p *hostedPartition) readLater() {
	pause(p.host.ctx, zkRetryPause)
	if p.host.ctx.Err() == nil {
		p.with(func(c *replica.Replica) { c.ReadDone(false) })
	}
}

// show shows the core the partition's state as the image has it.
func (p *hostedPartition) show(mp *meta.Partition) {
	if mp.Version < 0 {
		return
	}
	p.enter()
	p.withGate(func(c *replica.Replica) { c.SetState(mp.State, mp.Version) })
	p.leave()
}

// synced is told by the log that more of it is on disk.
func (p *hostedPartition) synced(int64) {
	p.with(func(c *replica.Replica) { c.Synced(p.log.SyncedEnd()) })
	p.host.nudgeFetcher(p)
}

// failed is told by the log that it takes no more appends.
func (p *hostedPartition) failed(err error) {
	p.host.log.Error("a partition's log failed", "topic", p.topic, "partition", p.key.index, "err", err)
	p.with(func(c *replica.Replica) { c.Fail() })
}

// Append implements api.Partition.
func (p *hostedPartition) Append(records []byte, acks int16, done func(api.AppendResult)) {
	p.appendIn(-1, records, acks, done)
}

// refused is the result of an append that did not happen.
func refused(code api.Code) api.AppendResult {
	return api.AppendResult{Code: code, BaseOffset: -1, LogAppendTime: -1, LogStart: -1}
}

// appendIn appends in a leader epoch, -1 for whatever it is.
func (p *hostedPartition) appendIn(epoch int32, records []byte, acks int16, done func(api.AppendResult)) {
	p.enter()
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		p.leave()
		done(refused(api.NotLeaderOrFollower))
		return
	}
	epoch, code := p.mu.core.BeginAppend(epoch, acks == -1)
	p.mu.Unlock()
	if code != replica.OK {
		p.leave()
		if code == replica.Busy {
			code = replica.NotLeader
		}
		done(refused(api.Code(code)))
		return
	}
	a, err := p.log.AppendAsLeader(epoch, records, time.Now().UnixMilli())
	p.finishAppend(epoch, a, err, acks, done)
}

// finishAppend ends the bracket around an append, and answers or queues the producer. The gate is held, and given back.
func (p *hostedPartition) finishAppend(epoch int32, a partition.Appended, err error, acks int16, done func(api.AppendResult)) {
	res := api.AppendResult{BaseOffset: a.BaseOffset, LogAppendTime: a.LogAppendTime, LogStart: a.LogStart}
	if err != nil {
		res = refused(appendCode(err))
		if res.Code != api.KafkaStorageError {
			res.Message = err.Error()
		}
	}
	p.mu.Lock()
	switch {
	case err == nil:
		p.endAppendLocked()
		if acks != 0 {
			p.mu.token++
			p.mu.acks[p.mu.token] = ackWaiter{done, res}
			if acks == -1 {
				p.mu.core.WaitAll(epoch, a.NextOffset, p.mu.token)
			} else {
				p.mu.core.WaitSynced(epoch, a.NextOffset, p.mu.token)
			}
		}
		for _, w := range p.mu.watchers {
			if w.follower {
				w.w.Wake()
			}
		}
	case p.log.Err() != nil:
		p.mu.core.Fail()
	default:
		p.endAppendLocked()
	}
	fx := p.drainLocked()
	p.mu.Unlock()
	p.leave()
	if err != nil || acks == 0 {
		done(res)
	}
	p.carryOut(&fx)
}

// endAppendLocked ends the bracket around an append. The sync may have been faster than this: the core is told again.
func (p *hostedPartition) endAppendLocked() {
	p.mu.core.EndAppend(p.log.LEO())
	p.mu.core.Synced(p.log.SyncedEnd())
}

// appendCode is the protocol's name for why an append failed.
func appendCode(err error) api.Code {
	switch {
	case errors.Is(err, partition.ErrUnsupportedMagic):
		return api.UnsupportedForMessageFormat
	case errors.Is(err, batch.ErrCorrupt), errors.Is(err, codec.ErrCorrupt), errors.Is(err, batch.ErrPartial):
		return api.CorruptMessage
	case errors.Is(err, partition.ErrMessageTooLarge):
		return api.MessageTooLarge
	case errors.Is(err, partition.ErrInvalidTimestamp):
		return api.InvalidTimestamp
	case errors.Is(err, partition.ErrInvalidRecord):
		return api.InvalidRecord
	case errors.Is(err, partition.ErrUnsupportedCodec):
		return api.UnsupportedCompressionType
	case errors.Is(err, partition.ErrOutOfOrderSequence):
		return api.OutOfOrderSequence
	case errors.Is(err, partition.ErrUnknownProducer):
		return api.UnknownProducerID
	case errors.Is(err, partition.ErrInvalidProducerEpoch):
		return api.InvalidProducerEpoch
	case errors.Is(err, partition.ErrFencedEpoch), errors.Is(err, partition.ErrClosed):
		return api.NotLeaderOrFollower
	}
	return api.KafkaStorageError
}

// close ends the replica on this broker: whoever waits is told, and the log is closed, cleanly or as a crash would leave it.
func (p *hostedPartition) close(clean bool) error {
	p.enter()
	defer p.leave()
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		return nil
	}
	p.mu.closed = true
	acks := p.mu.acks
	p.mu.acks = map[uint64]ackWaiter{}
	p.wakeLocked(true)
	p.mu.Unlock()
	for _, a := range acks {
		a.done(refused(api.NotLeaderOrFollower))
	}
	if !clean {
		p.log.Abort()
		return nil
	}
	return p.log.Close()
}

// highWatermark is what the replica knows of the high watermark.
func (p *hostedPartition) highWatermark() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	hw, _ := p.mu.core.HighWatermark()
	return hw
}
