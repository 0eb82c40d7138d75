package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/internal/memnet"
	"github.com/vivarium-go/vivarium/mq/internal/group"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
)

func TestMain(m *testing.M) {
	poisonBuffers = true
	os.Exit(m.Run())
}

// fakeBackend has one partition, t-0, that holds fixed bytes.
type fakeBackend struct {
	Metadata
	img  *meta.Image
	data []byte
}

func (f *fakeBackend) Image() *meta.Image { return f.img }

func (f *fakeBackend) Find(topic string, partition int32) (Partition, Code) {
	if topic != "t" || partition != 0 {
		return nil, UnknownTopicOrPartition
	}
	return &fakePartition{f: f}, None
}

func (f *fakeBackend) FindByID(layout.ID, int32) (Partition, Code) {
	return &fakePartition{f: f}, None
}

type fakePartition struct {
	Leader
	f *fakeBackend
}

func (p *fakePartition) Append(_ []byte, acks int16, done func(AppendResult)) {
	if acks == -1 { // as if followers took their time
		time.AfterFunc(time.Millisecond, func() { done(AppendResult{BaseOffset: 7, LogAppendTime: -1}) })
		return
	}
	done(AppendResult{BaseOffset: 7, LogAppendTime: -1})
}

func (p *fakePartition) Read(dst []byte, r *Read) ([]byte, ReadResult) {
	res := ReadResult{HighWatermark: 5, LastStable: 5, LogStart: 1, DivergingEpoch: -1}
	if r.LastEpoch == 99 {
		res.DivergingEpoch, res.DivergingEnd = 3, 4
		return dst, res
	}
	return append(dst, p.f.data...), res
}

func (p *fakePartition) Watch(*Waiter, bool) {}
func (p *fakePartition) Unwatch(*Waiter)     {}

// fakeMembers keeps what it is given, and answers a sync with it.
type fakeMembers struct {
	Members
	metadata []byte
}

func (f *fakeMembers) Join(_ string, j group.Join, done func(group.JoinReply)) {
	f.metadata = j.Protocols[0].Metadata
	done(group.JoinReply{MemberID: j.MemberID})
}

func (f *fakeMembers) Sync(_ string, s group.Sync, done func(group.SyncReply)) {
	if len(s.Assignments) > 0 {
		f.metadata = append(s.Assignments[0].Data, f.metadata...)
	}
	done(group.SyncReply{Assignment: f.metadata})
}

// What a member says of itself outlives its request, whose frame the next one overwrites.
func TestMemberBytesAreKept(t *testing.T) {
	t.Parallel()
	dial, _ := startFake(t, nil)
	c := dial()
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.MemberID = "g", "m"
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Metadata: bytes.Repeat([]byte{1}, 100)}}
	exchange(t, c, join)
	lead := kmsg.NewPtrSyncGroupRequest()
	lead.Group = "g"
	lead.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberAssignment: bytes.Repeat([]byte{2}, 100)}}
	exchange(t, c, lead)
	follow := kmsg.NewPtrSyncGroupRequest()
	follow.Group = string(bytes.Repeat([]byte("g"), 300))
	resp := exchange(t, c, follow).(*kmsg.SyncGroupResponse)
	require.Equal(t, append(bytes.Repeat([]byte{2}, 100), bytes.Repeat([]byte{1}, 100)...), resp.MemberAssignment)
}

// startFake serves a fake backend, and returns how to connect to it and what it logs.
func startFake(t *testing.T, data []byte) (dial func() net.Conn, logged *bytes.Buffer) {
	t.Helper()
	img, _ := meta.NewBuilder().Image()
	f := &fakeBackend{img: img, data: data}
	logged = &bytes.Buffer{}
	s := New(Config{
		RequestBytesMax: 1 << 20, FetchBytesMax: 1 << 20, ConnectionsMax: 10, InFlightMax: 10, QueuedBytesMax: 2 << 20,
		IdleMax: time.Minute, StallMax: time.Minute, Logger: slog.New(slog.NewTextHandler(logged, nil)),
	}, Backend{Metadata: f, Logs: f, Members: &fakeMembers{}})
	nw := memnet.New()
	l, err := nw.Listen(t.Context(), "tcp", "b:9092")
	require.NoError(t, err)
	s.Serve(l, "PLAINTEXT")
	t.Cleanup(s.Close)
	return func() net.Conn {
		c, err := nw.DialContext(context.Background(), "tcp", "b:9092")
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		return c
	}, logged
}

// exchange sends a request and reads its response.
func exchange(t *testing.T, c net.Conn, req kmsg.Request) kmsg.Response {
	t.Helper()
	_, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 42))
	require.NoError(t, err)
	return receive(t, c, req)
}

// receive reads the response of a request.
func receive(t *testing.T, c net.Conn, req kmsg.Request) kmsg.Response {
	t.Helper()
	body := frame(t, c)
	require.Equal(t, uint32(42), binary.BigEndian.Uint32(body))
	body = body[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && resp.Key() != keyApiVersions {
		require.Zero(t, body[0])
		body = body[1:]
	}
	require.NoError(t, resp.ReadFrom(body))
	return resp
}

func frame(t *testing.T, c net.Conn) []byte {
	t.Helper()
	var size [4]byte
	_, err := io.ReadFull(c, size[:])
	require.NoError(t, err)
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(c, body)
	require.NoError(t, err)
	return body
}

// KIP-511: a version of ApiVersions that is not known is answered in version 0, with the list.
func TestApiVersions(t *testing.T) {
	t.Parallel()
	dial, _ := startFake(t, nil)
	c := dial()
	for _, v := range []int16{0, 1, 2, 3} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.SetVersion(v)
		resp := exchange(t, c, req).(*kmsg.ApiVersionsResponse)
		require.Zero(t, resp.ErrorCode)
		require.NotEmpty(t, resp.ApiKeys)
		for _, k := range resp.ApiKeys {
			require.NotEqual(t, keyControlledShutdown, k.ApiKey, "hidden")
			if k.ApiKey == keyFetch {
				require.Equal(t, int16(12), k.MaxVersion)
			}
		}
	}
	b := []byte{0, 0, 0, 14, 0, 18, 0, 77, 0, 0, 0, 42, 0, 0, 9, 9, 9, 9}
	_, err := c.Write(b)
	require.NoError(t, err)
	v0 := kmsg.NewPtrApiVersionsRequest()
	v0.SetVersion(0)
	resp := receive(t, c, v0).(*kmsg.ApiVersionsResponse)
	require.Equal(t, int16(UnsupportedVersion), resp.ErrorCode)
	require.NotEmpty(t, resp.ApiKeys)
}

// The responses that are written by hand are those that kmsg reads.
func TestFetchVersions(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	dial, _ := startFake(t, data)
	c := dial()
	for v := int16(4); v <= 15; v++ {
		req := kmsg.NewPtrFetchRequest()
		req.SetVersion(v)
		req.ReplicaID, req.MaxBytes, req.MinBytes, req.MaxWaitMillis = -1, math.MaxInt32, 1, 100
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = "t", [16]byte{1, 2}
		for _, last := range []int32{-1, 99} {
			rp := kmsg.NewFetchRequestTopicPartition()
			rp.LastFetchedEpoch, rp.PartitionMaxBytes = last, math.MaxInt32
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		resp := exchange(t, c, req).(*kmsg.FetchResponse)
		require.Len(t, resp.Topics, 1)
		require.Equal(t, v < 13, resp.Topics[0].Topic == "t")
		p := resp.Topics[0].Partitions
		require.Len(t, p, 2)
		require.Equal(t, int64(5), p[0].HighWatermark)
		require.Equal(t, v >= 5, p[0].LogStartOffset == 1)
		require.Equal(t, data, p[0].RecordBatches, "version %d", v)
		require.Equal(t, int32(-1), p[0].DivergingEpoch.Epoch)
		if v >= 12 {
			require.Equal(t, int32(3), p[1].DivergingEpoch.Epoch)
			require.Equal(t, int64(4), p[1].DivergingEpoch.EndOffset)
		}
	}
}

// Pipelined requests are answered in order, although produces complete later; acks=0 has no answer.
func TestPipelining(t *testing.T) {
	t.Parallel()
	dial, _ := startFake(t, nil)
	c := dial()
	produce := func(acks int16) *kmsg.ProduceRequest {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(9)
		req.Acks, req.TimeoutMillis = acks, 5000
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = "t"
		rt.Partitions = append(rt.Partitions, kmsg.NewProduceRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		return req
	}
	meta9 := kmsg.NewPtrMetadataRequest()
	meta9.SetVersion(9)
	var out []byte
	var sent []kmsg.Request
	for range 20 {
		for _, req := range []kmsg.Request{produce(-1), meta9, produce(0), produce(1)} {
			out = append(out, kmsg.NewRequestFormatter().AppendRequest(nil, req, 42)...)
			if p, ok := req.(*kmsg.ProduceRequest); !ok || p.Acks != 0 {
				sent = append(sent, req)
			}
		}
	}
	go func() { _, _ = c.Write(out) }()
	for _, req := range sent {
		if p, ok := receive(t, c, req).(*kmsg.ProduceResponse); ok {
			require.Equal(t, int64(7), p.Topics[0].Partitions[0].BaseOffset)
			require.Equal(t, "t", p.Topics[0].Topic)
		}
	}
}

func TestCheckTopicName(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"a", "A.b_c-9", "..."} {
		require.Empty(t, CheckTopicName(ok))
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a b", "ü", string(bytes.Repeat([]byte("x"), 250))} {
		require.NotEmpty(t, CheckTopicName(bad), "%q", bad)
	}
}

// No bytes make the decoder of any api panic.
func FuzzRequest(f *testing.F) {
	for key, a := range apis {
		for v := a.min; v <= max(a.max, a.internal); v++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(v)
			f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)[4:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 8 {
			return
		}
		a := apis[int16(binary.BigEndian.Uint16(b))]
		if a == nil {
			return
		}
		cl := &call{api: a}
		body, err := cl.parseHeader(b)
		if err != nil || !a.serves(cl.version) {
			return
		}
		if err := cl.decode(body); err == nil {
			_ = fmt.Sprint(cl.key)
		}
	})
}
