package mq

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/internal/memnet"
)

// TestConnectErrors covers what Connect says when it cannot.
func TestConnectErrors(t *testing.T) {
	_, err := Connect(context.Background(), ClientConfig{})
	require.ErrorContains(t, err, "Seeds")
	_, err = Connect(context.Background(), ClientConfig{Seeds: []string{"a:1"}, RequestTimeout: -1})
	require.ErrorContains(t, err, "RequestTimeout")
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 0)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := Connect(ctx, ClientConfig{Seeds: []string{"b1:9092"}, Network: f.net})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "b1:9092")
		require.ErrorContains(t, err, "refused")
	})
}

// TestNegotiation covers brokers that do not know the version of ApiVersions that is asked first.
func TestNegotiation(t *testing.T) {
	for name, act := range map[string]fakeAction{"KIP-511": {code: ErrUnsupportedVersion}, "hangs up": {drop: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFakeCluster(t, 1)
				f.topic("t", 1)
				f.versions = map[int16]versionRange{
					kmsg.Metadata.Int16(): {0, 4}, kmsg.Produce.Int16(): {3, 3}, kmsg.Fetch.Int16(): {4, 4}, kmsg.ListOffsets.Int16(): {1, 1},
					kmsg.InitProducerID.Int16(): {0, 0},
				}
				f.hook = func(_ int32, req kmsg.Request) fakeAction {
					if r, ok := req.(*kmsg.ApiVersionsRequest); ok && r.Version > 0 {
						if act.code != 0 {
							r.Version = 0 // the answer is in version 0
						}
						return act
					}
					return fakeAction{}
				}
				c := f.connect()
				p, err := c.NewProducer(ProducerConfig{})
				require.NoError(t, err)
				require.NoError(t, p.SendSync(context.Background(), &Record{Topic: "t", Value: []byte("v")}))
				k, err := c.NewConsumer(ConsumerConfig{Topics: []string{"t"}})
				require.NoError(t, err)
				require.Equal(t, []string{"v"}, take(t, k, 1))
				_, err = c.ListGroups(context.Background())
				require.ErrorIs(t, err, ErrVersion)
			})
		})
	}
}

// TestMetadataEpochs checks that the client never goes back to an older leader epoch of the same topic.
func TestMetadataEpochs(t *testing.T) {
	view := func(old *clusterView, id byte, leader, epoch int32) *clusterView {
		resp := kmsg.NewPtrMetadataResponse()
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID[0] = new("t"), id
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.LeaderEpoch = leader, epoch
		topic.Partitions = append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
		for id := range int32(4) {
			b := kmsg.NewMetadataResponseBroker()
			b.NodeID = id
			resp.Brokers = append(resp.Brokers, b)
		}
		return mergeMetadata(old, resp)
	}
	leader := func(v *clusterView) int32 {
		id, _, ok := v.leader("t", 0)
		require.True(t, ok)
		return id
	}
	v := view(&clusterView{}, 0, 1, 5)
	v = view(v, 0, 2, 6)
	require.EqualValues(t, 2, leader(v))
	for range epochRewindsMax {
		v = view(v, 0, 1, 5)
		require.EqualValues(t, 2, leader(v), "a broker that is behind")
	}
	v = view(v, 0, 1, 0)
	require.EqualValues(t, 1, leader(v), "the topic was created anew, in a cluster without ids")
	v = view(view(v, 7, 1, 9), 7, 2, 8)
	require.EqualValues(t, 1, leader(v))
	v = view(v, 8, 3, 0)
	require.EqualValues(t, 3, leader(v), "another id, another topic")
	_, _, ok := v.leader("t", 1)
	require.False(t, ok)
	_, _, ok = v.leader("u", 0)
	require.False(t, ok)
}

// TestMetadataHedge has a broker that does not answer: the next one is asked soon.
func TestMetadataHedge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 3)
		f.topic("t", 3)
		f.hook = func(id int32, req kmsg.Request) fakeAction {
			_, ok := req.(*kmsg.MetadataRequest)
			return fakeAction{silent: ok && id < 3}
		}
		begin := time.Now()
		f.connect()
		require.Less(t, time.Since(begin), 3*hedgeAfter)
	})
}

// rawBroker serves one connection with fn, after the requests' frames were read by it.
func rawBroker(t *testing.T, fn func(conn net.Conn)) *Client {
	n := memnet.New()
	l, err := n.Listen(context.Background(), "tcp", "b1:9092")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fn(conn)
			conn.Close()
		}
	}()
	cfg, err := ClientConfig{Seeds: []string{"b1:9092"}, Network: n, ResponseBytesMax: 1 << 20}.withDefaults()
	require.NoError(t, err)
	c := &Client{cfg: cfg}
	c.pool = newConnPool(cfg, func() {})
	c.meta = newMetadataKeeper(c)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		l.Close()
		<-done
	})
	return c
}

// TestBadResponses sends what no broker sends; the connection is closed with an error that says what was wrong.
func TestBadResponses(t *testing.T) {
	for name, tc := range map[string]struct {
		answer []byte
		want   string
	}{
		"too long":          {[]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1}, "announced a response of 2147483647 bytes"},
		"negative":          {[]byte{0xff, 0xff, 0xff, 0xff}, "announced a response of -1 bytes"},
		"too short":         {[]byte{0, 0, 0, 3, 0, 0, 0}, "announced a response of 3 bytes"},
		"wrong correlation": {[]byte{0, 0, 0, 4, 0, 0, 0, 9}, "out of order"},
		"cut off":           {[]byte{0, 0, 0, 9, 0, 0, 0, 1, 0}, "EOF"},
		"count bomb":        {[]byte{0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 0}, "ApiVersions response"},
		"empty":             {[]byte{0, 0, 0, 4, 0, 0, 0, 1}, "ApiVersions response"},
		"nothing":           {nil, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := rawBroker(t, func(conn net.Conn) {
					var head [4]byte
					if _, err := io.ReadFull(conn, head[:]); err == nil {
						_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[:])))
						_, _ = conn.Write(tc.answer)
					}
				})
				_, err := c.pool.get(context.Background(), "b1:9092", quickLane)
				require.ErrorContains(t, err, tc.want)
			})
		})
	}
}

// TestClientClose ends what is in progress.
func TestClientClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFakeCluster(t, 1)
		f.topic("t", 1)
		c := f.connect()
		p, err := c.NewProducer(ProducerConfig{})
		require.NoError(t, err)
		k, err := c.NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.NoError(t, err)
		f.with(func() {
			f.hook = func(_ int32, req kmsg.Request) fakeAction {
				return fakeAction{silent: req.Key() != kmsg.ApiVersions.Int16()}
			}
		})
		errs := make(chan error, 3)
		go func() { errs <- p.SendSync(context.Background(), &Record{Topic: "t"}) }()
		go func() {
			for _, err := range k.Records(context.Background()) {
				errs <- err
			}
		}()
		go func() {
			_, err := c.Topics(context.Background())
			errs <- err
		}()
		synctest.Wait()
		require.NoError(t, c.Close())
		for range 3 {
			require.ErrorIs(t, <-errs, ErrClosed)
		}
		require.NoError(t, c.Close())
		_, err = c.NewProducer(ProducerConfig{})
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.NewConsumer(ConsumerConfig{Topics: []string{"t"}})
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.Topics(context.Background())
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, p.Close())
		require.NoError(t, k.Close())
	})
}

// FuzzResponses decodes arbitrary bytes as a response, or as what members of a group say of themselves; nothing may panic.
func FuzzResponses(f *testing.F) {
	var all []kmsg.Request
	for _, key := range slices.Sorted(maps.Keys(clientVersions)) {
		for version := clientVersions[key].min; version <= clientVersions[key].max; version++ {
			req := key.Request()
			req.SetVersion(version)
			resp := req.ResponseKind()
			b := []byte(nil)
			if resp.IsFlexible() {
				b = []byte{0}
			}
			f.Add(uint16(len(all)), resp.AppendTo(b))
			all = append(all, req)
		}
	}
	f.Add(uint16(len(all)), encodeSubscription([]string{"t"}, []TopicPartition{{"t", 1}}))
	f.Add(uint16(len(all)), encodeAssignment([]TopicPartition{{"t", 1}}))
	f.Fuzz(func(t *testing.T, which uint16, b []byte) {
		if i := int(which) % (len(all) + 1); i < len(all) {
			for _, unsafe := range []bool{false, true} {
				if _, err := decodeResponse(all[i], b, unsafe); err != nil {
					require.ErrorIs(t, err, ErrProtocol)
				}
			}
			return
		}
		_, _ = decodeAssignment(b)
		_, _ = decodeMember(&kmsg.JoinGroupResponseMember{ProtocolMetadata: b})
	})
}

func TestErrors(t *testing.T) {
	require.Equal(t, "NOT_LEADER_OR_FOLLOWER", ErrNotLeaderOrFollower.Error())
	require.EqualValues(t, 6, ErrNotLeaderOrFollower.Code())
	require.True(t, ErrNotLeaderOrFollower.Retriable())
	require.False(t, ErrTopicAlreadyExists.Retriable())
	require.Equal(t, "UNKNOWN_ERROR_CODE_999", Error(999).Error())
	require.NoError(t, codeError(0))
	err := unknownOutcome(&OpError{Op: "produce to", Subject: "t/1", Err: ErrRequestTimedOut, Detail: "no replica"})
	require.ErrorIs(t, err, ErrUnknownOutcome)
	require.ErrorIs(t, err, ErrRequestTimedOut)
	op, ok := errors.AsType[*OpError](err)
	require.True(t, ok)
	require.Equal(t, "mq: produce to t/1: REQUEST_TIMED_OUT (no replica)", op.Error())
	require.Equal(t, err, unknownOutcome(err))
	require.NoError(t, unknownOutcome(nil))
	for code := range retriableErrors {
		require.Contains(t, errorNames, code)
	}
}

func TestRecordHeader(t *testing.T) {
	r := &Record{Headers: []Header{{"a", []byte("1")}, {"b", nil}, {"a", []byte("2")}}}
	v, ok := r.Header("a")
	require.True(t, ok)
	require.Equal(t, "2", string(v))
	v, ok = r.Header("b")
	require.True(t, ok)
	require.Nil(t, v)
	_, ok = r.Header("c")
	require.False(t, ok)
}
