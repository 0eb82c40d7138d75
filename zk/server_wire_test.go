package zk_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// wire is a connection that says exactly what a test wants it to say.
type wire struct {
	t testing.TB
	net.Conn
	session  int64
	password []byte
}

func dialWire(t testing.TB, e *zktest.Ensemble, id int64) *wire {
	t.Helper()
	c, err := e.Memory.DialContext(t.Context(), "tcp", zktest.Host(id)+":2181")
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return &wire{t: t, Conn: c}
}

func (w *wire) raw(b []byte) {
	w.t.Helper()
	_, err := w.Write(b)
	require.NoError(w.t, err)
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func (w *wire) connect(q jute.ConnectRequest) jute.ConnectResponse {
	w.t.Helper()
	w.raw(frame(q.Append(nil)))
	r := jute.NewReader(w.frame())
	p := jute.ConnectResponse{}
	p.Decode(&r)
	require.NoError(w.t, r.End())
	w.session, w.password = p.SessionID, p.Password
	return p
}

func (w *wire) frame() []byte {
	w.t.Helper()
	b, err := w.tryFrame()
	require.NoError(w.t, err)
	return b
}

func (w *wire) tryFrame() ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(w, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(n[:]))
	_, err := io.ReadFull(w, b)
	return b, err
}

func request(xid int32, op jute.OpCode, body jute.Record) []byte {
	b := (&jute.RequestHeader{Xid: xid, Op: op}).Append(nil)
	if body != nil {
		b = body.Append(b)
	}
	return frame(b)
}

func (w *wire) reply() (jute.ReplyHeader, jute.Reader) {
	w.t.Helper()
	r := jute.NewReader(w.frame())
	var h jute.ReplyHeader
	h.Decode(&r)
	require.NoError(w.t, r.Err())
	return h, r
}

// ended checks that the server closes the connection without another word.
func (w *wire) ended() {
	w.t.Helper()
	_, err := w.tryFrame()
	require.Error(w.t, err)
	require.NotErrorIs(w.t, err, context.DeadlineExceeded)
	var timeout net.Error
	if ok := asTimeout(err, &timeout); ok {
		w.t.Fatalf("the connection is still open: %v", err)
	}
}

func asTimeout(err error, target *net.Error) bool {
	ne, ok := err.(net.Error)
	*target = ne
	return ok && ne.Timeout()
}

func newSession(t testing.TB, e *zktest.Ensemble, id int64) *wire {
	w := dialWire(t, e, id)
	p := w.connect(jute.ConnectRequest{Timeout: 10_000, Password: make([]byte, 16), HasReadOnly: true})
	require.NotZero(t, p.SessionID)
	return w
}

var openACL = jute.OpenACL()

func TestConnectMirrorsReadOnlyByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		for _, with := range []bool{true, false} {
			w := dialWire(t, e, 1)
			w.raw(frame((&jute.ConnectRequest{Timeout: 4000, Password: make([]byte, 16), HasReadOnly: with}).Append(nil)))
			require.Len(t, w.frame(), map[bool]int{true: 37, false: 36}[with])
		}
	})
}

func TestSessionRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		live := newSession(t, e, 1)

		wrong := dialWire(t, e, 2)
		p := wrong.connect(jute.ConnectRequest{Timeout: 4000, SessionID: live.session, Password: make([]byte, 16), HasReadOnly: true})
		require.Zero(t, p.SessionID)
		require.Zero(t, p.Timeout)
		require.Equal(t, make([]byte, 16), p.Password)
		wrong.ended()
		live.raw(request(1, jute.OpExists, &jute.PathWatchRequest{Path: "/"})) // unlike Apache's, the live connection is not harmed
		h, _ := live.reply()
		require.Equal(t, jute.CodeOK, h.Err)

		ahead := dialWire(t, e, 2)
		ahead.raw(frame((&jute.ConnectRequest{LastZxidSeen: 1 << 50, Timeout: 4000, Password: make([]byte, 16)}).Append(nil)))
		ahead.ended()

		moved := dialWire(t, e, 3)
		p = moved.connect(jute.ConnectRequest{Timeout: 4000, SessionID: live.session, Password: live.password, HasReadOnly: true})
		require.Equal(t, live.session, p.SessionID)
		live.ended()
		moved.raw(request(1, jute.OpExists, &jute.PathWatchRequest{Path: "/moved"}))
		h, _ = moved.reply()
		require.Equal(t, jute.CodeNoNode, h.Err)
	})
}

// Bad input gets its error or an end, and harms nobody else (S4, S5).
func TestHostileFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log warnings
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Logger: slog.New(&log)})
		good := newSession(t, e, 1)
		for name, bytes := range map[string][]byte{
			"negative length":      {0xff, 0xff, 0xff, 0xff},
			"zero length":          {0, 0, 0, 0},
			"huge length":          {0x7f, 0xff, 0xff, 0xff},
			"beyond hello limit":   frame(make([]byte, 70_000)),
			"garbage hello":        frame([]byte{1, 2, 3}),
			"TLS hello":            {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
			"request before hello": request(1, jute.OpGetData, &jute.PathWatchRequest{Path: "/"}),
		} {
			t.Log(name)
			w := dialWire(t, e, 1)
			if _, err := w.Write(bytes); err == nil {
				w.ended()
			}
		}
		for name, bytes := range map[string][]byte{
			"negative length": {0xff, 0xff, 0xff, 0xff},
			"too long":        {0x00, 0x10, 0x00, 0x00},
			"no header":       frame([]byte{1, 2}),
		} {
			t.Log("session", name)
			w := newSession(t, e, 1)
			w.raw(bytes)
			w.ended()
		}
		good.raw(request(1, jute.OpExists, &jute.PathWatchRequest{Path: "/"}))
		h, _ := good.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		synctest.Wait()
		require.EqualValues(t, 7+3, log.count.Load(), "one line each")
	})
}

// warnings counts what an operator is told.
type warnings struct{ count atomic.Int32 }

func (w *warnings) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (w *warnings) Handle(context.Context, slog.Record) error    { w.count.Add(1); return nil }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler           { return w }
func (w *warnings) WithGroup(string) slog.Handler                { return w }

// An undecodable body is answered -5 and takes no zxid; an unknown operation is
// answered -6, and that is the end.
func TestUndecodableAndUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		w := newSession(t, e, 1)
		bomb := jute.AppendInt32(jute.AppendBuffer(jute.AppendString(nil, "/x"), nil), 0x7fffffff) // ACL count
		for i, op := range []jute.OpCode{jute.OpCreate, jute.OpSetData, jute.OpGetData, jute.OpMulti, jute.OpSetWatches, jute.OpAddWatch} {
			body := []byte{0, 0, 0, 9}
			if op == jute.OpCreate {
				body = bomb
			}
			w.raw(frame(append((&jute.RequestHeader{Xid: int32(i), Op: op}).Append(nil), body...)))
			h, _ := w.reply()
			require.Equal(t, jute.CodeMarshallingError, h.Err, op.String())
			require.Equal(t, int32(i), h.Xid)
		}
		w.raw(request(50, jute.OpCreate, &jute.CreateRequest{Path: "/x", ACL: openACL}))
		h, _ := w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		w.raw(request(51, jute.OpCode(4711), nil))
		h, _ = w.reply()
		require.Equal(t, jute.CodeUnimplemented, h.Err)
		w.ended()
	})
}

func TestFourLetterWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		for word, want := range map[string]string{"ruok": "imok", "srvr": "Zookeeper version: ", "kill": "kill is not executed because it is not in the whitelist.\n"} {
			w := dialWire(t, e, 1)
			w.raw([]byte(word))
			text, err := io.ReadAll(w)
			require.NoError(t, err)
			require.Contains(t, string(text), want)
		}
	})
}

// Reads pipelined between writes see the write before them and not the one
// behind (R4), and zxids never go back (P5).
func TestPipelineOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		for _, id := range e.IDs() {
			w := newSession(t, e, id)
			path := fmt.Sprintf("/p%d", id)
			w.raw(request(0, jute.OpCreate, &jute.CreateRequest{Path: path, ACL: openACL}))
			_, _ = w.reply()
			const rounds = 500
			go func() {
				var out []byte
				for i := range int32(rounds) {
					out = append(out, request(3*i, jute.OpSetData, &jute.SetDataRequest{Path: path, Data: fmt.Appendf(nil, "%d", i), Version: -1})...)
					out = append(out, request(3*i+1, jute.OpGetData, &jute.PathWatchRequest{Path: path, Watch: i%7 == 0})...)
					out = append(out, request(3*i+2, jute.OpExists, &jute.PathWatchRequest{Path: path})...)
				}
				_, _ = w.Write(out)
			}()
			var last int64
			events, armed := 0, false
			for want := int32(0); want < 3*rounds; {
				h, body := w.reply()
				if h.Xid == jute.XidNotification {
					var ev jute.WatcherEvent
					ev.Decode(&body)
					require.Equal(t, jute.EventDataChanged, ev.Type)
					require.True(t, armed)
					require.Zero(t, want%3, "the event comes before the reply of the set that it is of")
					require.Greater(t, h.Zxid, last)
					armed = false
					events++
					continue
				}
				require.Equal(t, want, h.Xid)
				require.Equal(t, jute.CodeOK, h.Err)
				require.GreaterOrEqual(t, h.Zxid, last)
				last = h.Zxid
				switch want % 3 {
				case 1:
					var d jute.DataResponse
					d.Decode(&body)
					require.Equal(t, fmt.Sprint(want/3), string(d.Data))
					armed = armed || want/3%7 == 0
				case 2:
					var s jute.Stat
					s.Decode(&body)
					require.Equal(t, want/3+1, s.Version)
				}
				want++
			}
			require.Equal(t, (rounds-1)/7+1, events+boolCount(armed))
		}
	})
}

func boolCount(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A client that asks and never reads is held back, and cut off when its events
// pile up; everybody else is served (S10, P16).
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{OutputBytesMax: 2 << 20}})
		c := e.Connect()
		ctx := t.Context()
		big := make([]byte, 100<<10)
		_, err := c.Create(ctx, "/big", big, zk.Persistent)
		require.NoError(t, err)
		before := heap()
		w := newSession(t, e, 1)
		get := request(1, jute.OpGetData, &jute.PathWatchRequest{Path: "/big"})
		require.NoError(t, w.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		for range 100_000 {
			if _, err := w.Write(get); err != nil {
				break
			}
		}
		require.Less(t, heap(), before+64<<20)

		watcher := newSession(t, e, 1)
		var long strings.Builder
		long.WriteString("/" + string(make([]byte, 0, 4000)))
		for range 3900 {
			long.WriteString("x")
		}
		watcher.raw(request(1, jute.OpAddWatch, &jute.PathTypeRequest{Path: "/", Type: jute.AddWatchPersistentRecursive}))
		h, _ := watcher.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		_, err = c.Create(ctx, long.String(), nil, zk.Persistent)
		require.NoError(t, err)
		for range 2000 {
			_, err = c.Set(ctx, long.String(), nil, zk.AnyVersion)
			require.NoError(t, err)
		}
		for {
			if _, err := watcher.tryFrame(); err != nil {
				break
			}
		}
		_, _, err = c.Get(ctx, "/big")
		require.NoError(t, err)
	})
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
