package zk_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// Row 28: a server that is cut off serves reads to who wants that, refuses
// writes with -119, sends others away, and lets go when it has a quorum again.
func TestReadOnlyMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{ReadOnlyMode: true}})
		c := e.Connect()
		_, err := c.Create(t.Context(), "/x", []byte("seen"), zk.Persistent)
		require.NoError(t, err)
		cut := followers(e)[0]
		known := newSession(t, e, cut)
		require.NoError(t, e.ConnectTo(cut).Sync(t.Context(), "/"))
		require.NotEqual(t, "read-only", e.Server(cut).Status().State)
		e.Isolate(cut)
		time.Sleep(20 * time.Second)
		require.Equal(t, "read-only", e.Server(cut).Status().State)

		hello := jute.ConnectRequest{Timeout: 4000, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: true}
		w := dialWire(t, e, cut)
		p := w.connect(hello)
		require.True(t, p.ReadOnly)
		require.NotZero(t, p.SessionID)
		w.raw(request(1, jute.OpGetData, &jute.PathWatchRequest{Path: "/x", Watch: true}))
		h, body := w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		var d jute.DataResponse
		d.Decode(&body)
		require.Equal(t, "seen", string(d.Data))
		for i, op := range []jute.OpCode{
			jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL, jute.OpDelete, jute.OpSetData, jute.OpSetACL, jute.OpMulti,
			jute.OpSync, jute.OpReconfig,
		} {
			w.raw(request(int32(i), op, &jute.PathVersionRequest{Path: "/x"}))
			h, _ := w.reply()
			require.Equal(t, jute.ReplyHeader{Xid: int32(i), Zxid: h.Zxid, Err: jute.CodeNotReadOnly}, h, op.String())
		}
		w.raw(request(50, jute.OpCloseSession, nil))
		h, _ = w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		w.ended()

		no := dialWire(t, e, cut)
		hello.ReadOnly = false
		no.raw(frame(hello.Append(nil)))
		no.ended()

		hello.ReadOnly, hello.SessionID, hello.Password = true, known.session, known.password
		onlooker := dialWire(t, e, cut)
		p = onlooker.connect(hello)
		require.Equal(t, known.session, p.SessionID)
		onlooker.raw(request(1, jute.OpCloseSession, nil))
		h, _ = onlooker.reply()
		require.Equal(t, jute.CodeNotReadOnly, h.Err, "the session is not this server's to end")
		hello.Password = make([]byte, 16)
		guess := dialWire(t, e, cut)
		guess.raw(frame(hello.Append(nil)))
		guess.ended()

		hello.SessionID = 0
		silent := dialWire(t, e, cut)
		silent.connect(hello)
		require.NoError(t, silent.SetDeadline(time.Now().Add(10*time.Second)))
		silent.ended() // its timeout is 4 s

		onlooker = dialWire(t, e, cut)
		onlooker.connect(hello)
		e.Heal()
		onlooker.ended()
		require.NoError(t, c.Sync(t.Context(), "/"))
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// A client that may read only sees its state change, cannot write meanwhile, and
// goes on in full once there is a better server.
func TestReadOnlyClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{ReadOnlyMode: true}})
		states := make(chan zk.State, 100)
		cut := followers(e)[0]
		cfg := e.ClientConfig()
		cfg.ReadOnly, cfg.OnState = true, func(s zk.State) { states <- s }
		cfg.Servers = []string{zktest.Host(cut) + ":2181"}
		c, err := zk.Connect(t.Context(), cfg)
		require.NoError(t, err)
		_, err = c.Create(t.Context(), "/x", nil, zk.Persistent)
		require.NoError(t, err)
		session := c.SessionID()
		wait := func(want zk.State) {
			for s := range states {
				if s == want {
					return
				}
			}
		}
		e.Isolate(cut)
		wait(zk.StateReadOnly)
		_, err = c.Exists(t.Context(), "/x")
		require.NoError(t, err)
		_, err = c.Set(t.Context(), "/x", nil, zk.AnyVersion)
		require.ErrorIs(t, err, zk.ErrNotReadOnly)
		require.ErrorIs(t, c.Sync(t.Context(), "/x"), zk.ErrNotReadOnly)
		e.Heal()
		wait(zk.StateConnected)
		_, err = c.Set(t.Context(), "/x", nil, zk.AnyVersion)
		require.NoError(t, err)
		require.Equal(t, session, c.SessionID())
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// Without the switch a server that is cut off serves nobody.
func TestReadOnlyModeIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		cut := followers(e)[0]
		e.Isolate(cut)
		cfg := e.ClientConfig()
		cfg.ReadOnly, cfg.Servers = true, []string{zktest.Host(cut) + ":2181"}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := zk.Connect(ctx, cfg)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, e.Close())
	})
}
