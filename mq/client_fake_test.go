package mq

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/internal/memnet"
	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// fakeCluster is a scripted cluster in memory: brokers that answer by a small model of Kafka, unless the test's hook says otherwise.
type fakeCluster struct {
	t      testing.TB
	net    *memnet.Network
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup

	mu        sync.Mutex
	changed   chan struct{} // closed at the next append
	alive     map[int32]net.Listener
	conns     map[int32]map[net.Conn]bool
	topics    map[string][]*fakePartition
	versions  map[int16]versionRange // instead of all
	hook      func(broker int32, req kmsg.Request) fakeAction
	count     map[string]int // requests seen, by name
	pids      int64
	committed map[TopicPartition]int64
	member    string
	gen       int32

	anySequence bool // of producers that are not known
}

// fakeAction says what a broker does with a request.
type fakeAction struct {
	drop   bool  // hang up without looking at it
	lose   bool  // obey, then hang up instead of answering
	silent bool  // never answer
	code   Error // answer with this code everywhere
}

type fakePartition struct {
	leader, epoch int32
	batches       [][]byte
	start, next   int64
	producers     map[int64]*fakeProducer
}

type fakeProducer struct {
	epoch int16
	last  []fakeAppend // the last five
}

type fakeAppend struct {
	seq, count int32
	base       int64
}

// newFakeCluster starts brokers 1 to n on hosts b1, b2, …
func newFakeCluster(t testing.TB, n int32) *fakeCluster {
	f := &fakeCluster{
		t: t, net: memnet.New(), changed: make(chan struct{}), alive: make(map[int32]net.Listener), conns: make(map[int32]map[net.Conn]bool),
		topics: make(map[string][]*fakePartition), count: make(map[string]int), committed: make(map[TopicPartition]int64), pids: 100,
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for id := int32(1); id <= n; id++ {
		f.start(id)
	}
	t.Cleanup(f.close)
	return f
}

func fakeHost(id int32) string { return "b" + string(rune('0'+id)) }

func (f *fakeCluster) close() {
	f.cancel()
	for id := range f.alive {
		f.kill(id)
	}
	f.wg.Wait()
}

func (f *fakeCluster) start(id int32) {
	l, err := f.net.Host(fakeHost(id)).Listen(f.ctx, "tcp", fakeHost(id)+":9092")
	require.NoError(f.t, err)
	f.mu.Lock()
	f.alive[id] = l
	f.conns[id] = make(map[net.Conn]bool)
	f.mu.Unlock()
	f.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns[id][conn] = true
			f.mu.Unlock()
			f.wg.Go(func() {
				defer conn.Close()
				f.serve(id, conn)
			})
		}
	})
}

// kill closes a broker's listener and connections.
func (f *fakeCluster) kill(id int32) {
	f.mu.Lock()
	l, conns := f.alive[id], f.conns[id]
	delete(f.alive, id)
	f.mu.Unlock()
	if l != nil {
		l.Close()
	}
	for conn := range conns {
		conn.Close()
	}
}

// topic creates a topic whose partitions are led by the given brokers.
func (f *fakeCluster) topic(name string, leaders ...int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range leaders {
		f.topics[name] = append(f.topics[name], &fakePartition{leader: l, producers: make(map[int64]*fakeProducer)})
	}
}

// move makes another broker lead, under the next epoch.
func (f *fakeCluster) move(name string, partition int, leader int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.topics[name][partition]
	p.leader = leader
	p.epoch++
}

// with runs fn under the lock.
func (f *fakeCluster) with(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

func (f *fakeCluster) requests(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[name]
}

// values returns the values of a partition's records.
func (f *fakeCluster) values(topic string, partition int) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var values []string
	for _, b := range f.topics[topic][partition].batches {
		h, err := batch.Check(b)
		require.NoError(f.t, err)
		r := batch.NewReader(h, batch.Section(b))
		for r.Next() {
			values = append(values, string(r.Record().Value))
		}
		require.NoError(f.t, r.Err())
	}
	return values
}

// serve answers a connection's requests, one after the other.
func (f *fakeCluster) serve(id int32, conn net.Conn) {
	for {
		var head [4]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		req := kmsg.RequestForKey(int16(binary.BigEndian.Uint16(frame)))
		req.SetVersion(int16(binary.BigEndian.Uint16(frame[2:])))
		rest := frame[10+binary.BigEndian.Uint16(frame[8:]):]
		if req.IsFlexible() {
			rest = rest[1:]
		}
		require.NoError(f.t, req.ReadFrom(rest))

		f.mu.Lock()
		f.count[kmsg.NameForKey(req.Key())]++
		var act fakeAction
		if f.hook != nil {
			act = f.hook(id, req)
		}
		f.mu.Unlock()
		if act.drop {
			return
		}
		resp := f.answer(id, req, act.code)
		if act.lose {
			return
		}
		if act.silent {
			<-f.ctx.Done()
			return
		}
		if p, ok := req.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
			continue
		}
		resp.SetVersion(req.GetVersion())
		out := append([]byte{0, 0, 0, 0}, frame[4:8]...)
		if resp.IsFlexible() && req.Key() != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

// answer obeys a request. With a code it only complains.
func (f *fakeCluster) answer(id int32, req kmsg.Request, code Error) kmsg.Response {
	if fetch, ok := req.(*kmsg.FetchRequest); ok {
		return f.fetch(id, fetch, code)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := req.ResponseKind()
	switch r := req.(type) {
	case *kmsg.ApiVersionsRequest:
		f.apiVersions(resp.(*kmsg.ApiVersionsResponse), code)
	case *kmsg.MetadataRequest:
		f.metadata(r, resp.(*kmsg.MetadataResponse), code)
	case *kmsg.InitProducerIDRequest:
		out := resp.(*kmsg.InitProducerIDResponse)
		f.pids++
		out.ProducerID, out.ErrorCode = f.pids, code.Code()
	case *kmsg.ProduceRequest:
		for _, t := range r.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.BaseOffset, rp.LogAppendTime = p.Partition, -1, -1
				rp.ErrorCode = code.Code()
				if code == 0 {
					rp.BaseOffset, rp.ErrorCode = f.append(id, t.Topic, p.Partition, p.Records)
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.(*kmsg.ProduceResponse).Topics = append(resp.(*kmsg.ProduceResponse).Topics, rt)
		}
	case *kmsg.ListOffsetsRequest:
		f.listOffsets(id, r, resp.(*kmsg.ListOffsetsResponse), code)
	case *kmsg.OffsetForLeaderEpochRequest:
		f.epochs(r, resp.(*kmsg.OffsetForLeaderEpochResponse))
	default:
		f.groupAnswer(req, resp, code)
	}
	return resp
}

func (f *fakeCluster) apiVersions(out *kmsg.ApiVersionsResponse, code Error) {
	out.ErrorCode = code.Code()
	versions := f.versions
	if versions == nil {
		versions = make(map[int16]versionRange)
		for key, v := range clientVersions {
			versions[key.Int16()] = v
		}
	}
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = key, versions[key].min, versions[key].max
		out.ApiKeys = append(out.ApiKeys, k)
	}
}

func (f *fakeCluster) metadata(r *kmsg.MetadataRequest, out *kmsg.MetadataResponse, code Error) {
	out.ClusterID, out.ControllerID = new("fake"), 1
	for _, id := range slices.Sorted(maps.Keys(f.alive)) {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = id, fakeHost(id), 9092
		out.Brokers = append(out.Brokers, b)
	}
	for _, t := range r.Topics {
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.ErrorCode = t.Topic, code.Code()
		partitions, ok := f.topics[*t.Topic]
		if !ok && code == 0 {
			rt.ErrorCode = ErrUnknownTopicOrPartition.Code()
		}
		for i, p := range partitions {
			rp := kmsg.NewMetadataResponseTopicPartition()
			rp.Partition, rp.Leader, rp.LeaderEpoch = int32(i), p.leader, p.epoch
			rt.Partitions = append(rt.Partitions, rp)
		}
		out.Topics = append(out.Topics, rt)
	}
}

// append is what a leader does with a batch, KIP-98 included.
func (f *fakeCluster) append(id int32, topic string, partition int32, records []byte) (int64, int16) {
	p := f.topics[topic][partition]
	if p.leader != id {
		return -1, ErrNotLeaderOrFollower.Code()
	}
	b := bytes.Clone(records)
	h, err := batch.Check(b)
	require.NoError(f.t, err)
	if h.IsIdempotent() {
		pr := p.producers[h.ProducerID]
		switch {
		case pr == nil && h.BaseSequence != 0 && !f.anySequence:
			return -1, ErrUnknownProducerID.Code()
		case pr == nil:
			pr = &fakeProducer{epoch: h.ProducerEpoch}
			p.producers[h.ProducerID] = pr
		case h.ProducerEpoch < pr.epoch:
			return -1, ErrInvalidProducerEpoch.Code()
		case h.ProducerEpoch > pr.epoch:
			if h.BaseSequence != 0 {
				return -1, ErrOutOfOrderSequenceNumber.Code()
			}
			*pr = fakeProducer{epoch: h.ProducerEpoch}
		default:
			for _, a := range pr.last {
				if a.seq == h.BaseSequence && a.count == h.Count {
					return a.base, 0
				}
			}
			last := pr.last[len(pr.last)-1]
			if batch.AddSequence(last.seq, last.count) != h.BaseSequence {
				return -1, ErrOutOfOrderSequenceNumber.Code()
			}
		}
		pr.last = append(pr.last, fakeAppend{h.BaseSequence, h.Count, p.next})
		pr.last = pr.last[max(0, len(pr.last)-5):]
	}
	base := p.next
	batch.SetBaseOffset(b, base)
	batch.SetLeaderEpoch(b, p.epoch)
	p.batches = append(p.batches, b)
	p.next += int64(h.LastOffsetDelta) + 1
	close(f.changed)
	f.changed = make(chan struct{})
	return base, 0
}

// fetch waits for records as a broker does.
func (f *fakeCluster) fetch(id int32, r *kmsg.FetchRequest, code Error) kmsg.Response {
	timer := time.NewTimer(time.Duration(r.MaxWaitMillis) * time.Millisecond)
	defer timer.Stop()
	for waited := false; ; {
		f.mu.Lock()
		resp, answer := f.fetchNow(id, r, code)
		changed := f.changed
		f.mu.Unlock()
		if answer || waited {
			return resp
		}
		select {
		case <-changed:
		case <-timer.C:
			waited = true
		case <-f.ctx.Done():
			waited = true
		}
	}
}

func (f *fakeCluster) fetchNow(id int32, r *kmsg.FetchRequest, code Error) (resp *kmsg.FetchResponse, answer bool) {
	resp = r.ResponseKind().(*kmsg.FetchResponse)
	for _, t := range r.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = t.Topic
		for _, rp := range t.Partitions {
			out := kmsg.NewFetchResponseTopicPartition()
			out.Partition, out.ErrorCode = rp.Partition, code.Code()
			p := f.topics[t.Topic][rp.Partition]
			switch {
			case code != 0:
			case p.leader != id:
				out.ErrorCode = ErrNotLeaderOrFollower.Code()
			case rp.FetchOffset < p.start || rp.FetchOffset > p.next:
				out.ErrorCode = ErrOffsetOutOfRange.Code()
			default:
				out.HighWatermark = p.next
				for _, b := range p.batches {
					h, _ := batch.ParseHeader(b)
					if h.LastOffset() >= rp.FetchOffset && (len(out.RecordBatches) == 0 || len(out.RecordBatches)+len(b) <= int(rp.PartitionMaxBytes)) {
						out.RecordBatches = append(out.RecordBatches, b...)
					}
				}
			}
			answer = answer || out.ErrorCode != 0 || len(out.RecordBatches) > 0
			rt.Partitions = append(rt.Partitions, out)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, answer
}

func (f *fakeCluster) listOffsets(id int32, r *kmsg.ListOffsetsRequest, out *kmsg.ListOffsetsResponse, code Error) {
	for _, t := range r.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for _, rp := range t.Partitions {
			p := f.topics[t.Topic][rp.Partition]
			o := kmsg.NewListOffsetsResponseTopicPartition()
			o.Partition, o.ErrorCode, o.Offset = rp.Partition, code.Code(), p.next
			if rp.Timestamp == OffsetEarliest {
				o.Offset = p.start
			}
			if p.leader != id {
				o.ErrorCode = ErrNotLeaderOrFollower.Code()
			}
			rt.Partitions = append(rt.Partitions, o)
		}
		out.Topics = append(out.Topics, rt)
	}
}

func (f *fakeCluster) epochs(r *kmsg.OffsetForLeaderEpochRequest, out *kmsg.OffsetForLeaderEpochResponse) {
	for _, t := range r.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, rp := range t.Partitions {
			o := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			o.Partition, o.LeaderEpoch, o.EndOffset = rp.Partition, -1, f.topics[t.Topic][rp.Partition].start
			for _, b := range f.topics[t.Topic][rp.Partition].batches {
				if h, _ := batch.ParseHeader(b); h.LeaderEpoch <= rp.LeaderEpoch {
					o.LeaderEpoch, o.EndOffset = h.LeaderEpoch, h.NextOffset()
				}
			}
			rt.Partitions = append(rt.Partitions, o)
		}
		out.Topics = append(out.Topics, rt)
	}
}

// groupAnswer is a coordinator for a group of one member.
func (f *fakeCluster) groupAnswer(req kmsg.Request, resp kmsg.Response, code Error) {
	switch r := req.(type) {
	case *kmsg.FindCoordinatorRequest:
		out := resp.(*kmsg.FindCoordinatorResponse)
		out.NodeID, out.Host, out.Port, out.ErrorCode = 1, "b1", 9092, code.Code()
	case *kmsg.JoinGroupRequest:
		out := resp.(*kmsg.JoinGroupResponse)
		out.ErrorCode = code.Code()
		if r.MemberID == "" {
			f.member = "m" + string(rune('0'+f.count["JoinGroup"]%10))
			out.MemberID, out.ErrorCode = f.member, ErrMemberIDRequired.Code()
			return
		}
		if r.MemberID != f.member {
			out.ErrorCode = ErrUnknownMemberID.Code()
			return
		}
		f.gen++
		out.Generation, out.MemberID, out.LeaderID, out.Protocol = f.gen, r.MemberID, r.MemberID, &r.Protocols[0].Name
		m := kmsg.NewJoinGroupResponseMember()
		m.MemberID, m.ProtocolMetadata = r.MemberID, r.Protocols[0].Metadata
		out.Members = append(out.Members, m)
	case *kmsg.SyncGroupRequest:
		out := resp.(*kmsg.SyncGroupResponse)
		out.ErrorCode = code.Code()
		if len(r.GroupAssignment) > 0 {
			out.MemberAssignment = r.GroupAssignment[0].MemberAssignment
		}
	case *kmsg.HeartbeatRequest:
		resp.(*kmsg.HeartbeatResponse).ErrorCode = code.Code()
		if code == 0 && (r.MemberID != f.member || r.Generation != f.gen) {
			resp.(*kmsg.HeartbeatResponse).ErrorCode = ErrUnknownMemberID.Code()
		}
	case *kmsg.LeaveGroupRequest:
		f.member = ""
	case *kmsg.OffsetCommitRequest:
		for _, t := range r.Topics {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code.Code()
				if code == 0 {
					f.committed[TopicPartition{t.Topic, p.Partition}] = p.Offset
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.(*kmsg.OffsetCommitResponse).Topics = append(resp.(*kmsg.OffsetCommitResponse).Topics, rt)
		}
	case *kmsg.OffsetFetchRequest:
		for _, t := range r.Topics {
			rt := kmsg.NewOffsetFetchResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetFetchResponseTopicPartition()
				rp.Partition, rp.Offset, rp.ErrorCode = p, -1, code.Code()
				if o, ok := f.committed[TopicPartition{t.Topic, p}]; ok {
					rp.Offset = o
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.(*kmsg.OffsetFetchResponse).Topics = append(resp.(*kmsg.OffsetFetchResponse).Topics, rt)
		}
	default:
		f.t.Errorf("the fake cluster does not know %T", req)
	}
}

// connect gives a client on a host of its own.
func (f *fakeCluster) connect(mod ...func(*ClientConfig)) *Client {
	f.t.Helper()
	cfg := ClientConfig{Seeds: []string{"b1:9092", "b2:9092", "b3:9092"}, Network: f.net.Host("client")}
	for _, m := range mod {
		m(&cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Connect(ctx, cfg)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, c.Close()) })
	return c
}
