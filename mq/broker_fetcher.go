package mq

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

const (
	// fetchVersion is the version of Fetch that brokers speak among themselves: topic ids, and the follower's incarnation.
	fetchVersion = 15
	// syncWaitMax is how long a fetcher waits for its logs to be synced, so that they are fetched for together.
	syncWaitMax = 20 * time.Millisecond
	// fetchRetryPause is the pause after a fetch that failed, as a whole or for one partition.
	fetchRetryPause = 20 * time.Millisecond
)

// fetcher copies partitions from one leader: one connection, one request at a time for all partitions that are ready. A request
// that waits at the leader is cut short when another partition becomes ready, by a second, empty one behind it.
type fetcher struct {
	host   *partitionHost
	leader int32
	cancel context.CancelFunc
	wake   chan struct{}
	conn   *peerConn

	mu struct {
		sync.Mutex
		parts map[*hostedPartition]struct{}
	}
}

// assign has the right fetcher, or none, copy a partition. It is told roles in order, under the partition's gate.
func (h *partitionHost) assign(p *hostedPartition, role replica.Role) {
	h.fetchers.Lock()
	defer h.fetchers.Unlock()
	for leader, f := range h.fetchers.m {
		if role.Kind == replica.Follower && leader == role.Leader {
			continue
		}
		f.mu.Lock()
		delete(f.mu.parts, p)
		f.mu.Unlock()
	}
	if role.Kind != replica.Follower || role.Leader == layout.NoLeader || h.fetchers.closed {
		return
	}
	f := h.fetchers.m[role.Leader]
	if f == nil {
		ctx, cancel := context.WithCancel(h.ctx)
		f = &fetcher{host: h, leader: role.Leader, cancel: cancel, wake: make(chan struct{}, 1)}
		f.mu.parts = map[*hostedPartition]struct{}{}
		h.fetchers.m[role.Leader] = f
		h.spawn(func() { f.run(ctx) })
	}
	f.mu.Lock()
	f.mu.parts[p] = struct{}{}
	f.mu.Unlock()
	f.nudge()
}

// nudgeFetcher wakes the fetcher of a partition that may be ready.
func (h *partitionHost) nudgeFetcher(p *hostedPartition) {
	p.mu.Lock()
	role := p.mu.core.Role()
	p.mu.Unlock()
	if role.Kind != replica.Follower {
		return
	}
	h.fetchers.Lock()
	f := h.fetchers.m[role.Leader]
	h.fetchers.Unlock()
	if f != nil {
		f.nudge()
	}
}

// nudgeFetchers wakes all of them: brokers may have come back.
func (h *partitionHost) nudgeFetchers() {
	h.fetchers.Lock()
	defer h.fetchers.Unlock()
	for _, f := range h.fetchers.m {
		f.nudge()
	}
}

// closeFetchers ends them.
func (h *partitionHost) closeFetchers() {
	h.fetchers.Lock()
	defer h.fetchers.Unlock()
	h.fetchers.closed = true
	for _, f := range h.fetchers.m {
		f.cancel()
	}
}

func (f *fetcher) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// inFlight is one partition of a request.
type inFlight struct {
	p   *hostedPartition
	req replica.FetchRequest
}

// run fetches until ctx ends.
func (f *fetcher) run(ctx context.Context) {
	defer f.disconnect()
	for ctx.Err() == nil {
		batch, syncing := f.collect()
		if syncing {
			f.waitSynced(ctx)
			batch, _ = f.collect()
		}
		if len(batch) == 0 {
			if !f.idle(ctx) {
				return
			}
			continue
		}
		if err := f.fetch(ctx, batch); err != nil {
			if ctx.Err() == nil {
				f.host.log.Debug("fetching from a leader failed", "leader", f.leader, "err", err)
			}
			f.disconnect()
			pause(ctx, fetchRetryPause)
		}
	}
}

// idle waits until a partition may be ready. It wakes up by itself now and then: pauses end unannounced.
func (f *fetcher) idle(ctx context.Context) bool {
	f.mu.Lock()
	none := len(f.mu.parts) == 0
	f.mu.Unlock()
	var again <-chan time.Time
	if !none {
		t := time.NewTimer(fetchRetryPause)
		defer t.Stop()
		again = t.C
	}
	select {
	case <-f.wake:
	case <-again:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// collect returns the partitions that are ready, and whether others wait for their logs to be synced.
func (f *fetcher) collect() (ready []inFlight, syncing bool) {
	f.mu.Lock()
	parts := make([]*hostedPartition, 0, len(f.mu.parts))
	for p := range f.mu.parts {
		parts = append(parts, p)
	}
	f.mu.Unlock()
	now := time.Now()
	for _, p := range parts {
		p.mu.Lock()
		req, ok := p.mu.core.NextFetch()
		end, synced := p.mu.core.LogEnd()
		paused := now.Before(p.mu.pauseUntil)
		closed := p.mu.closed || p.mu.role != nil
		p.mu.Unlock()
		switch {
		case closed || paused:
		case ok && req.Leader == f.leader:
			ready = append(ready, inFlight{p, req})
		case synced < end:
			syncing = true
		}
	}
	return ready, syncing
}

// waitSynced gives logs a moment to be synced.
func (f *fetcher) waitSynced(ctx context.Context) {
	t := time.NewTimer(syncWaitMax)
	defer t.Stop()
	for {
		select {
		case <-f.wake:
			if _, syncing := f.collect(); !syncing {
				return
			}
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// connect makes sure that there is a connection.
func (f *fetcher) connect(ctx context.Context) error {
	if f.conn != nil {
		return nil
	}
	b := f.host.image().Brokers[f.leader]
	if b == nil {
		return errors.New("the leader is not registered")
	}
	e, ok := b.Endpoint(f.host.cfg.InterBrokerListenerName)
	if !ok {
		return errors.New("the leader has no listener " + f.host.cfg.InterBrokerListenerName)
	}
	c, err := dialPeer(ctx, f.host.cfg.Network, hostPort(e.Host, e.Port), "vivarium-replica", int(f.host.cfg.ReplicaFetchResponseBytesMax)+int(f.host.cfg.MessageBytesMax)+peerResponseSlack)
	if err != nil {
		return err
	}
	f.conn = c
	return nil
}

func (f *fetcher) disconnect() {
	if f.conn != nil {
		f.conn.close()
		f.conn = nil
	}
}

// fetch sends one request and takes its answer.
func (f *fetcher) fetch(ctx context.Context, batch []inFlight) error {
	if err := f.connect(ctx); err != nil {
		return err
	}
	c := f.conn
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	req := f.request(batch)
	if err := c.send(req); err != nil {
		return err
	}
	corr := c.corr
	done := make(chan struct{})
	var resp kmsg.Response
	var err error
	// A dead leader whose connection hangs is noticed by this deadline.
	_ = c.nc.SetReadDeadline(time.Now().Add(2*f.host.cfg.ReplicaFetchWaitMax + peerDialTimeout))
	f.host.spawn(func() {
		defer close(done)
		resp, err = c.receive(req, corr)
	})
	cut, err2 := f.awaitOrCut(done, batch)
	if err2 != nil {
		c.close()
		<-done
		return err2
	}
	if err != nil {
		return err
	}
	f.take(batch, resp.(*kmsg.FetchResponse))
	if cut != nil {
		_, err = c.receive(cut, c.corr)
	}
	return err
}

// awaitOrCut waits for the answer. If a partition becomes ready that is not in the request, it has the leader answer at once.
func (f *fetcher) awaitOrCut(done <-chan struct{}, batch []inFlight) (cut kmsg.Request, err error) {
	for {
		select {
		case <-done:
			return cut, nil
		case <-f.wake:
		}
		if cut != nil {
			continue
		}
		ready, _ := f.collect()
		for _, r := range ready {
			if slices.ContainsFunc(batch, func(b inFlight) bool { return b.p == r.p && b.req.LeaderEpoch == r.req.LeaderEpoch }) {
				continue
			}
			req := kmsg.NewPtrApiVersionsRequest()
			if err := f.conn.send(req); err != nil {
				return nil, err
			}
			cut = req
			break
		}
	}
}

// request is the Fetch for some partitions.
func (f *fetcher) request(batch []inFlight) *kmsg.FetchRequest {
	cfg := f.host.cfg
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(fetchVersion)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = int32(cfg.ReplicaFetchWaitMax.Milliseconds()), 1, cfg.ReplicaFetchResponseBytesMax
	req.ReplicaState.ID, req.ReplicaState.Epoch = f.host.self, batch[0].req.Incarnation
	topics := map[layout.ID]int{}
	for _, b := range batch {
		i, ok := topics[b.p.key.topic]
		if !ok {
			i = len(req.Topics)
			topics[b.p.key.topic] = i
			t := kmsg.NewFetchRequestTopic()
			t.TopicID = b.p.key.topic
			req.Topics = append(req.Topics, t)
		}
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.CurrentLeaderEpoch, rp.FetchOffset = b.p.key.index, b.req.LeaderEpoch, b.req.Offset
		rp.LastFetchedEpoch, rp.LogStartOffset, rp.PartitionMaxBytes = b.req.LastEpoch, b.req.LogStart, cfg.ReplicaFetchBytesMax
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	return req
}

// take hands each partition its part of the answer.
func (f *fetcher) take(batch []inFlight, resp *kmsg.FetchResponse) {
	sent := make(map[partitionKey]inFlight, len(batch))
	for _, b := range batch {
		sent[b.p.key] = b
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			if b, ok := sent[partitionKey{t.TopicID, rp.Partition}]; ok {
				b.p.takeFetched(b.req, rp)
			}
		}
	}
}

// takeFetched takes a leader's answer for this follower: it appends, truncates or starts over as the core says.
func (p *hostedPartition) takeFetched(req replica.FetchRequest, rp *kmsg.FetchResponseTopicPartition) {
	ans := replica.FetchAnswer{
		Code: replica.Code(rp.ErrorCode), LeaderEpoch: req.LeaderEpoch, Offset: req.Offset, LastEpoch: req.LastEpoch,
		DivergingEpoch: -1, HighWatermark: rp.HighWatermark, LogStart: rp.LogStartOffset, LogEnd: rp.LastStableOffset,
	}
	if rp.DivergingEpoch.Epoch >= 0 {
		ans.DivergingEpoch, ans.DivergingEnd = rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset
	}
	p.enter()
	p.mu.Lock()
	if p.mu.closed {
		p.mu.Unlock()
		p.leave()
		return
	}
	action := p.mu.core.HandleFetch(ans, len(rp.RecordBatches) > 0)
	p.mu.pauseUntil = time.Time{}
	if action.Kind == replica.Stale || ans.Code != replica.OK {
		p.pauseLocked()
	}
	fx := p.drainLocked()
	p.mu.Unlock()
	p.change(action, req.LeaderEpoch, rp.RecordBatches)
	p.mu.Lock()
	more := p.drainLocked()
	p.mu.Unlock()
	p.settle()
	p.leave()
	fx.role, more.role = false, false
	p.carryOut(&fx)
	p.carryOut(&more)
}

// pauseLocked keeps the partition from being fetched for a moment, and sees to it that it is afterwards.
func (p *hostedPartition) pauseLocked() {
	p.mu.pauseUntil = time.Now().Add(fetchRetryPause)
	time.AfterFunc(fetchRetryPause, func() { p.host.nudgeFetcher(p) })
}

// change changes the log as the core decided and tells it. The gate is held.
func (p *hostedPartition) change(action replica.Action, epoch int32, records []byte) {
	var err error
	var end int64
	switch action.Kind {
	case replica.Append:
		_, err = p.log.AppendAsFollower(epoch, records)
	case replica.Truncate:
		p.host.log.Info("truncating", "topic", p.topic, "partition", p.key.index, "to", action.Offset, "end", p.log.LEO())
		end, err = p.log.TruncateTo(epoch, action.Offset)
	case replica.Reset:
		p.host.log.Info("starting over", "topic", p.topic, "partition", p.key.index, "at", action.Offset, "end", p.log.LEO())
		err = p.log.TruncateFullyAndStartAt(epoch, action.Offset)
	case replica.Ignore, replica.Stale:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.host.log.Warn("following failed", "topic", p.topic, "partition", p.key.index, "err", err)
		p.pauseLocked()
	}
	switch {
	case p.log.Err() != nil || (err != nil && action.Kind != replica.Append):
		p.mu.core.Fail()
	case action.Kind == replica.Append:
		p.endAppendLocked()
	case action.Kind == replica.Truncate:
		p.mu.core.EndTruncate(end)
	default:
		p.mu.core.EndReset(action.Offset)
	}
}
