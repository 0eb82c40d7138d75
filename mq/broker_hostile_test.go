package mq

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
)

// warnings keeps what an operator is warned of.
type warnings struct {
	mu    sync.Mutex
	lines []string
}

func (w *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler           { return w }
func (w *warnings) WithGroup(string) slog.Handler                { return w }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, line)
	return nil
}

// take returns the lines since the last take.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.lines
	w.lines = nil
	return lines
}

// sized puts the length in front of a frame, which is made of what is given.
func sized(parts ...[]byte) []byte {
	b := bytes.Join(parts, nil)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

// requestHeader is a request header without client id and tagged fields, for correlation id 42.
func requestHeader(key kmsg.Key, version int16) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(binary.BigEndian.AppendUint32(b, 42), 0xff, 0xff)
}

// hostile is what nobody who means well sends, and what the broker's log says of it.
var hostile = map[string]struct {
	bytes []byte
	log   string
}{
	"length is negative":         {[]byte{0xff, 0xff, 0xff, 0xff}, "request of -1 bytes, want 8 to 16777216"},
	"length is zero":             {[]byte{0, 0, 0, 0}, "request of 0 bytes"},
	"length below a header's":    {[]byte{0, 0, 0, 7}, "request of 7 bytes"},
	"length beyond the limit":    {[]byte{0x01, 0x00, 0x00, 0x01}, "request of 16777217 bytes, want 8 to 16777216"},
	"length of 2 GiB":            {[]byte{0x7f, 0xff, 0xff, 0xff}, "request of 2147483647 bytes"},
	"length beyond the api's":    {[]byte{0, 0x40, 0, 1, 0, 3, 0, 9}, "request of api key 3 has 4194305 bytes, limit is 4194304"},
	"length that never comes":    {[]byte{0, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1}, "unexpected EOF"},
	"HTTP":                       {[]byte("GET / HTTP/1.1\r\nHost: b\r\n\r\n"), "request of 1195725856 bytes"},
	"TLS hello":                  {[]byte{0x16, 0x03, 0x01, 0x02, 0, 1, 0, 1, 0xfc, 3, 3}, "request of 369295618 bytes"},
	"ZooKeeper's hello":          {sized(make([]byte, 45)), "request of api key 0 has version 0, want 3 to 9"},
	"garbage":                    {[]byte("\x00\x00\x00\x1aqwertyuiopasdfghjklzxcvbnm"), "request of unknown api key 29047"},
	"unknown api key":            {sized(requestHeader(999, 0)), "request of unknown api key 999"},
	"negative api key":           {sized(requestHeader(-1, 0)), "request of unknown api key -1"},
	"version above all":          {sized(requestHeader(kmsg.Metadata, 99)), "request of api key 3 has version 99, want 0 to 11"},
	"version below all":          {sized(requestHeader(kmsg.Produce, 2)), "request of api key 0 has version 2, want 3 to 9"},
	"negative version":           {sized(requestHeader(kmsg.Metadata, -1)), "request of api key 3 has version -1"},
	"no client id":               {sized(requestHeader(kmsg.Metadata, 1)[:8]), "malformed request: api key 3: no client id"},
	"client id beyond the end":   {sized(requestHeader(kmsg.Metadata, 1)[:8], []byte{0x7f, 0xff}), "malformed request: api key 3: client id of 32767 bytes"},
	"negative client id length":  {sized(requestHeader(kmsg.Metadata, 1)[:8], []byte{0x80, 0}), "malformed request: api key 3: client id of -32768 bytes"},
	"truncated body":             {sized(requestHeader(kmsg.JoinGroup, 5), []byte{0, 1, 'g', 0, 0}), "malformed request: api key 11 version 5: wire: SessionTimeoutMillis"},
	"no body":                    {sized(requestHeader(kmsg.Fetch, 4)), "malformed request: api key 1 version 4: wire: ReplicaID"},
	"count bomb":                 {sized(requestHeader(kmsg.Metadata, 1), []byte{0x7f, 0xff, 0xff, 0xff}), "wire: Topics: array of 2147483647 elements"},
	"count bomb, compact":        {sized(requestHeader(kmsg.Metadata, 9), []byte{0, 0xff, 0xff, 0xff, 0xff, 0x07}), "wire: Topics: array of 2147483646 elements"},
	"count bomb, a million":      {sized(requestHeader(kmsg.LeaveGroup, 4), []byte{0, 2, 'g', 0x80, 0x89, 0x7a}, make([]byte, 2_000_000)), "wire: Members: decodes to more than allowed"},
	"count bomb, million topics": {sized(requestHeader(kmsg.Produce, 9), []byte{0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x89, 0x7a}, make([]byte, 2_000_000)), "wire: Topics: decodes to more than allowed"},
	"tag bomb":                   {sized(requestHeader(kmsg.Metadata, 9), []byte{0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}), "wire: 4294967295 tagged fields"},
	"tag bomb in an element":     {sized(requestHeader(kmsg.Metadata, 9), []byte{0, 2, 2, 't', 0xff, 0xff, 0xff, 0xff, 0x0f}), "wire: Topics: 4294967295 tagged fields"},
	"tag bomb in the header":     {sized(requestHeader(kmsg.Metadata, 9), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}), "api key 3: header: wire: 4294967295 tagged fields"},
	"a hundred thousand tags":    {sized(requestHeader(kmsg.ApiVersions, 3), []byte{0, 2, 'n', 2, '1', 0xa0, 0x8d, 0x06}, bytes.Repeat([]byte{9, 0}, 100_000)), "decodes to more than allowed"},
	"tag beyond the end":         {sized(requestHeader(kmsg.Metadata, 9), []byte{1, 0, 0x7f}), "tagged field of 127 bytes"},
}

// What nobody who means well sends closes its connection, with one line in the log and no more memory than it sent and a connection
// has; another client goes on all the time.
func TestHostileFrames(t *testing.T) {
	inBubble(t, 10*time.Minute, func(ctx context.Context, t *testing.T) {
		log := &warnings{}
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1, Logger: slog.New(log)})
		r := newRawClient(ctx, t, c)
		defer r.close()
		r.create("t", 1, 1, nil)
		dial := func() net.Conn {
			nc, err := c.Network().DialContext(ctx, "tcp", c.Broker(1).Addr())
			require.NoError(t, err)
			require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
			return nc
		}
		synctest.Wait()
		log.take()
		sent := 0
		for name, h := range hostile {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			nc := dial()
			_, _ = nc.Write(h.bytes)
			if name == "length that never comes" {
				require.NoError(t, nc.Close())
			} else {
				n, err := io.Copy(io.Discard, nc)
				require.Zero(t, n, "%s: answered", name)
				require.NoError(t, err, "%s: not closed", name)
				require.NoError(t, nc.Close())
			}
			synctest.Wait()
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(3<<20+3*len(h.bytes)), name)
			lines := log.take()
			require.Len(t, lines, 1, name)
			require.Contains(t, lines[0], h.log, name)
			require.Contains(t, lines[0], "remote=", name)
			p, err := r.produce(1, "t", 0, -1, records(nil, name)) // on the connection that it has had all the time
			require.NoError(t, err, name)
			require.Zero(t, p.ErrorCode, name)
			sent++
		}
		require.Len(t, r.readAll(1, "t", 0), sent)
		require.Empty(t, log.take())
	})
}

// What is unusual, but allowed, is answered, and the connection goes on.
func TestUnusualFrames(t *testing.T) {
	inBubble(t, time.Minute, func(ctx context.Context, t *testing.T) {
		log := &warnings{}
		c := startTestCluster(ctx, t, ClusterConfig{Brokers: 1, Servers: 1, Logger: slog.New(log)})
		nc, err := c.Network().DialContext(ctx, "tcp", c.Broker(1).Addr())
		require.NoError(t, err)
		defer nc.Close()
		synctest.Wait()
		log.take()
		for name, tc := range map[string]struct {
			bytes []byte
			want  []byte // the beginning of the answer's body
		}{
			"a version of ApiVersions from the future": {
				sized(requestHeader(kmsg.ApiVersions, 77), []byte{9, 9, 9}), []byte{0, byte(api.UnsupportedVersion), 0, 0, 0},
			},
			"bytes behind the body":          {sized(requestHeader(kmsg.ListGroups, 0), []byte{1, 2, 3}), []byte{0, 0, 0, 0, 0, 0}},
			"unknown tagged fields":          {sized(requestHeader(kmsg.ListGroups, 4), []byte{1, 9, 1, 0, 1, 1, 9, 1, 0}), []byte{0, 0, 0, 0, 0, 0, 0, 1, 0}},
			"no ApiVersions before the rest": {sized(requestHeader(kmsg.Heartbeat, 0), []byte{0, 1, 'g', 0, 0, 0, 1, 0, 1, 'm'}), []byte{0}},
		} {
			_, err := nc.Write(tc.bytes)
			require.NoError(t, err)
			var size [4]byte
			_, err = io.ReadFull(nc, size[:])
			require.NoError(t, err, name)
			answer := make([]byte, binary.BigEndian.Uint32(size[:]))
			_, err = io.ReadFull(nc, answer)
			require.NoError(t, err, name)
			require.Equal(t, []byte{0, 0, 0, 42}, answer[:4], name)
			require.Equal(t, tc.want, answer[4:4+len(tc.want)], name)
		}
		require.Empty(t, log.take())
	})
}
