package mq

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// epochRewindsMax is how often a broker may show an older leader epoch before it is believed: a topic of the same name may have
	// been created anew by a cluster without topic ids.
	epochRewindsMax = 5
	// metadataQuietTime without requests for new metadata lets the waits between refreshes start small again.
	metadataQuietTime = time.Second
)

// clusterView is what the client knows about the cluster at one moment. It is immutable.
type clusterView struct {
	clusterID  string
	controller int32
	brokers    map[int32]BrokerInfo
	topics     map[string]*topicView
}

// topicView is what the client knows about a topic. A topic that the cluster says is not there has an err and no partitions.
type topicView struct {
	id         [16]byte
	internal   bool
	err        error
	partitions []partitionView
}

// partitionView is what the client knows about a partition.
type partitionView struct {
	PartitionInfo
	rewinds int // older epochs ignored in a row
}

// addr returns the address of a broker.
func (v *clusterView) addr(id int32) (string, bool) {
	b, ok := v.brokers[id]
	return joinAddr(b.Host, b.Port), ok
}

func joinAddr(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// leader returns the leader of a partition and its epoch; ok is false if there is none at the moment or the partition is not known.
func (v *clusterView) leader(topic string, partition int32) (id, epoch int32, ok bool) {
	t := v.topics[topic]
	if t == nil || int(partition) >= len(t.partitions) {
		return -1, -1, false
	}
	p := &t.partitions[partition]
	_, known := v.brokers[p.Leader]
	return p.Leader, p.LeaderEpoch, p.Leader >= 0 && known
}

// metadataKeeper keeps the client's view of the cluster fresh. Its run goroutine lives until close; it asks when the view is old and
// when kick says that something is wrong, and backs off while that goes on.
type metadataKeeper struct {
	c    *Client
	view atomic.Pointer[clusterView]
	wake chan struct{} // capacity 1

	mu struct {
		sync.Mutex
		topics    map[string]bool // of interest; true: ask to create
		listeners map[metadataListener]struct{}
		updated   chan struct{} // closed at the next refresh
		started   uint64        // refreshes started
		finished  uint64        // the start number of the last one that succeeded
		last      error         // why the last one failed, nil if it did not
	}
	wg sync.WaitGroup
}

// metadataListener hears of each refresh, on the run goroutine; it must not block.
type metadataListener interface{ metadataChanged(v *clusterView) }

func newMetadataKeeper(c *Client) *metadataKeeper {
	k := &metadataKeeper{c: c, wake: make(chan struct{}, 1)}
	k.view.Store(&clusterView{controller: -1})
	k.mu.topics = make(map[string]bool)
	k.mu.listeners = make(map[metadataListener]struct{})
	k.mu.updated = make(chan struct{})
	return k
}

// start begins to refresh.
func (k *metadataKeeper) start() { k.wg.Go(k.run) }

func (k *metadataKeeper) close() {
	k.c.pool.cancel()
	k.wg.Wait()
}

// current returns the newest view.
func (k *metadataKeeper) current() *clusterView { return k.view.Load() }

// kick asks for a refresh soon.
func (k *metadataKeeper) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// want adds topics of interest and reports whether one of them is new.
func (k *metadataKeeper) want(create bool, topics ...string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	added := false
	for _, t := range topics {
		was, known := k.mu.topics[t]
		k.mu.topics[t] = was || create
		added = added || !known || create && !was
	}
	return added
}

func (k *metadataKeeper) listen(l metadataListener) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.listeners[l] = struct{}{}
}

func (k *metadataKeeper) unlisten(l metadataListener) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.mu.listeners, l)
}

// refresh returns after a refresh that began after the call has succeeded; else the context's error, or why the last attempt failed.
func (k *metadataKeeper) refresh(ctx context.Context) error {
	k.mu.Lock()
	after := k.mu.started
	for k.mu.finished <= after {
		updated := k.mu.updated
		k.mu.Unlock()
		k.kick()
		select {
		case <-updated:
		case <-ctx.Done():
			k.mu.Lock()
			err := k.mu.last
			k.mu.Unlock()
			if err == nil {
				return ctx.Err()
			}
			return &refreshError{ctx.Err(), err}
		case <-k.c.pool.ctx.Done():
			return ErrClosed
		}
		k.mu.Lock()
	}
	k.mu.Unlock()
	return nil
}

// refreshError is a context that ended, and what was wrong all the while.
type refreshError struct{ ended, cause error }

func (e *refreshError) Error() string   { return e.ended.Error() + "; last error: " + e.cause.Error() }
func (e *refreshError) Unwrap() []error { return []error{e.ended, e.cause} }

// run refreshes until the pool's context ends.
func (k *metadataKeeper) run() {
	ctx := k.c.pool.ctx
	streak := 0 // refreshes in quick succession, and failures
	for last := time.Now(); ; {
		age := time.NewTimer(k.c.cfg.MetadataMaxAge)
		select {
		case <-k.wake:
		case <-age.C:
		case <-ctx.Done():
		}
		age.Stop()
		if time.Since(last) > metadataQuietTime {
			streak = 0
		}
		if streak > 0 {
			limit := k.c.cfg.RetryBackoffMax / 4
			if k.c.sleep(ctx, k.c.pool.backoff(streak, limit)) != nil {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		select { // what was asked for during the wait is answered now
		case <-k.wake:
		default:
		}
		if err := k.attempt(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			k.c.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "mq client: metadata refresh failed", slog.Any("err", err))
			k.kick()
		}
		last = time.Now()
		streak++
	}
}

// attempt asks the brokers in turn until one answers, and installs the answer.
func (k *metadataKeeper) attempt(ctx context.Context) error {
	k.mu.Lock()
	k.mu.started++
	number := k.mu.started
	var topics, create []string
	for t, wanted := range k.mu.topics {
		topics = append(topics, t)
		if seen := k.current().topics[t]; wanted && (seen == nil || seen.err != nil) {
			create = append(create, t)
		}
	}
	k.mu.Unlock()
	slices.Sort(topics)
	slices.Sort(create)

	if len(create) > 0 {
		if _, err := k.c.requestAny(ctx, func() kmsg.Request {
			req := metadataRequest(create, false)
			req.AllowAutoTopicCreation = true
			return req
		}); err != nil {
			return k.failed(err)
		}
	}
	resp, err := k.c.requestAny(ctx, func() kmsg.Request { return metadataRequest(topics, false) })
	if err != nil {
		return k.failed(err)
	}
	v := mergeMetadata(k.current(), resp.(*kmsg.MetadataResponse))

	k.mu.Lock()
	k.view.Store(v)
	listeners := slices.Collect(maps.Keys(k.mu.listeners))
	k.mu.Unlock()
	for _, l := range listeners { // before those that wait in refresh go on
		l.metadataChanged(v)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.finished, k.mu.last = number, nil
	close(k.mu.updated)
	k.mu.updated = make(chan struct{})
	return nil
}

func (k *metadataKeeper) failed(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.last = err
	return err
}

// candidates returns the addresses to ask, those with a connection first, in an order that differs from call to call.
func (k *metadataKeeper) candidates() []string {
	v := k.current()
	var addrs []string
	for _, id := range slices.Sorted(maps.Keys(v.brokers)) {
		addr, _ := v.addr(id)
		addrs = append(addrs, addr)
	}
	if n := len(addrs); n > 1 {
		first := k.c.pool.intN(n)
		addrs = slices.Concat(addrs[first:], addrs[:first])
	}
	for _, seed := range k.c.cfg.Seeds {
		if !slices.Contains(addrs, seed) {
			addrs = append(addrs, seed)
		}
	}
	slices.SortStableFunc(addrs, func(a, b string) int {
		return cmp.Compare(btoi(k.c.pool.connected(b)), btoi(k.c.pool.connected(a)))
	})
	return addrs
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// metadataRequest asks for topics, or for all of them.
func metadataRequest(topics []string, all bool) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, t := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = new(t)
		req.Topics = append(req.Topics, rt)
	}
	if all {
		req.Topics = nil
	}
	return req
}

// mergeMetadata returns the view after an answer. Topics that the answer does not mention keep their state, and no partition goes
// back to an older leader epoch (KIP-320), since the answer may come from a broker that is behind.
func mergeMetadata(old *clusterView, resp *kmsg.MetadataResponse) *clusterView {
	v := &clusterView{
		clusterID: old.clusterID, controller: resp.ControllerID,
		brokers: make(map[int32]BrokerInfo, len(resp.Brokers)), topics: make(map[string]*topicView, len(resp.Topics)),
	}
	if resp.ClusterID != nil {
		v.clusterID = *resp.ClusterID
	}
	for _, b := range resp.Brokers {
		info := BrokerInfo{ID: b.NodeID, Host: b.Host, Port: b.Port}
		if b.Rack != nil {
			info.Rack = *b.Rack
		}
		v.brokers[b.NodeID] = info
	}
	maps.Copy(v.topics, old.topics)
	for i := range resp.Topics {
		if t := &resp.Topics[i]; t.Topic != nil {
			v.topics[*t.Topic] = mergeTopic(old.topics[*t.Topic], t)
		}
	}
	return v
}

// mergeTopic returns the state of a topic after an answer.
func mergeTopic(old *topicView, t *kmsg.MetadataResponseTopic) *topicView {
	tv := &topicView{id: t.TopicID, internal: t.IsInternal, err: codeError(t.ErrorCode)}
	if old != nil && len(t.Partitions) == 0 && temporaryTopicError(tv.err) {
		kept := *old
		kept.err = tv.err
		return &kept
	}
	n := int32(0)
	for i := range t.Partitions {
		n = max(n, t.Partitions[i].Partition+1)
	}
	if int(n) > len(t.Partitions) {
		n = int32(len(t.Partitions)) // the numbers have gaps: take what is contiguous
	}
	tv.partitions = make([]partitionView, n)
	for i := range tv.partitions {
		tv.partitions[i].PartitionInfo = PartitionInfo{Partition: int32(i), Leader: -1, LeaderEpoch: -1}
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if p.Partition < 0 || p.Partition >= n {
			continue
		}
		next := partitionView{PartitionInfo: PartitionInfo{
			Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
			Replicas: p.Replicas, ISR: p.ISR, Offline: p.OfflineReplicas,
		}}
		if old != nil && old.id == tv.id && int(p.Partition) < len(old.partitions) {
			was := old.partitions[p.Partition]
			if next.LeaderEpoch >= 0 && next.LeaderEpoch < was.LeaderEpoch && (was.rewinds < epochRewindsMax || tv.id != [16]byte{}) {
				was.rewinds++
				next = was
			}
		}
		tv.partitions[p.Partition] = next
	}
	return tv
}

// temporaryTopicError reports whether a topic's error says nothing about its partitions.
func temporaryTopicError(err error) bool {
	code, ok := err.(Error) //nolint:errorlint // codeError's own
	return ok && code != ErrUnknownTopicOrPartition && code.Retriable()
}
