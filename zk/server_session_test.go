package zk_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// followers are the ids of the servers that do not lead.
func followers(e *zktest.Ensemble) []int64 {
	leader := e.Leader()
	var ids []int64
	for _, id := range e.IDs() {
		if id != leader {
			ids = append(ids, id)
		}
	}
	return ids
}

// attach takes a session up on another server.
func attach(t *testing.T, e *zktest.Ensemble, id int64, of *wire, timeout int32) (*wire, jute.ConnectResponse) {
	t.Helper()
	w := dialWire(t, e, id)
	return w, w.connect(jute.ConnectRequest{Timeout: timeout, SessionID: of.session, Password: of.password, HasReadOnly: true})
}

// A server that is cut off holds a write of a client that has moved on. A new
// leader knows from the history where the session is: the write comes true
// neither before nor after what the client has written since (P5).
func TestHeldWriteOfSessionThatMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		leader, cut, other := e.Leader(), followers(e)[0], followers(e)[1]
		old := newSession(t, e, cut)
		e.Isolate(cut)
		old.raw(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/held", ACL: openACL}))
		synctest.Wait()

		moved, p := attach(t, e, other, old, 30_000)
		require.Equal(t, old.session, p.SessionID)
		moved.raw(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/moved", ACL: openACL}))
		h, _ := moved.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		e.Kill(leader)
		e.Heal()
		old.ended()

		c := e.ConnectTo(cut, other)
		require.NoError(t, c.Sync(t.Context(), "/"))
		_, err := c.Exists(t.Context(), "/held")
		require.ErrorIs(t, err, zk.ErrNoNode)
		moved.raw(request(2, jute.OpSetData, &jute.SetDataRequest{Path: "/moved", Version: 0}))
		h, _ = moved.reply()
		require.Equal(t, jute.CodeOK, h.Err, "the session is still where it went")
		require.NoError(t, c.Close())
		require.NoError(t, moved.Close())
		require.NoError(t, e.Close())
	})
}

// Row 20: the timeout is negotiated again at each attach, and what was agreed last
// counts, for a new leader too.
func TestTimeoutNegotiatedAtEachAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		leader, rest := e.Leader(), followers(e)
		first := newSession(t, e, rest[0]) // 10 s
		w, p := attach(t, e, rest[1], first, 2000)
		require.EqualValues(t, 2000, p.Timeout)
		w.raw(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/e", ACL: openACL, Flags: jute.FlagEphemeral}))
		h, _ := w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		e.Kill(leader)
		c := e.ConnectTo(rest...)
		here := func() bool {
			require.NoError(t, c.Sync(t.Context(), "/e"))
			_, err := c.Exists(t.Context(), "/e")
			return err == nil
		}
		time.Sleep(1500 * time.Millisecond)
		require.True(t, here())
		time.Sleep(1500 * time.Millisecond)
		require.False(t, here())
		gone, p := attach(t, e, rest[0], first, 2000)
		require.Zero(t, p.SessionID, "it has expired")
		gone.ended()
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// Row 19: what is asked for is brought between the bounds.
func TestTimeoutBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{MinSessionTimeout: 3 * time.Second, MaxSessionTimeout: 7 * time.Second}})
		for asked, want := range map[int32]int32{0: 3000, -1: 3000, -1 << 31: 3000, 2999: 3000, 5000: 5000, 7001: 7000, 1<<31 - 1: 7000} {
			w := dialWire(t, e, 1)
			p := w.connect(jute.ConnectRequest{Timeout: asked, Password: make([]byte, 16)})
			require.Equal(t, want, p.Timeout, asked)
		}
		_, err := zk.StartServer(t.Context(), zk.Config{
			ID: 1, Servers: []zk.ServerSpec{{ID: 1, Peer: "127.0.0.1:1"}}, MinSessionTimeout: 2 * time.Second, MaxSessionTimeout: time.Second,
		})
		require.ErrorContains(t, err, "session timeouts")
	})
}
