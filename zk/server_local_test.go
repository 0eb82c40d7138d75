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

func createEphemeral(path string) []byte {
	return request(7, jute.OpCreate, &jute.CreateRequest{Path: path, ACL: openACL, Flags: jute.FlagEphemeral})
}

// Row 29: a local session takes no entry of the history, writes as any other, owns
// no ephemeral, can be taken up on its own server only, and ends by its timeout.
func TestLocalSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{LocalSessions: true}})
		at, elsewhere := followers(e)[0], followers(e)[1]
		before := e.Server(at).Status().Zxid
		w := newSession(t, e, at)
		require.Equal(t, before, e.Server(at).Status().Zxid)
		w.raw(request(1, jute.OpCreate, &jute.CreateRequest{Path: "/x", ACL: openACL}))
		h, _ := w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		w.raw(createEphemeral("/e"))
		h, _ = w.reply()
		require.Equal(t, jute.CodeEphemeralOnLocalSession, h.Err)
		w.raw(request(2, jute.OpMulti, &jute.MultiRequest{Ops: []jute.Op{
			{Type: jute.OpCreate, Path: "/y", ACL: openACL}, {Type: jute.OpCreate, Path: "/e", ACL: openACL, Flags: jute.FlagEphemeralSequential},
		}}))
		_, body := w.reply()
		var m jute.MultiResponse
		m.Decode(&body)
		require.Equal(t, jute.CodeEphemeralOnLocalSession, m.Results[1].Err)

		again, p := attach(t, e, at, w, 6000)
		require.Equal(t, w.session, p.SessionID)
		w.ended()
		gone, p := attach(t, e, elsewhere, w, 6000)
		require.Zero(t, p.SessionID)
		gone.ended()
		for range 3 {
			time.Sleep(4 * time.Second)
			again.raw(request(jute.XidPing, jute.OpPing, nil))
			again.reply()
		}
		time.Sleep(7 * time.Second)
		again.ended()
		gone, p = attach(t, e, at, w, 6000)
		require.Zero(t, p.SessionID)
		gone.ended()

		closing := newSession(t, e, e.Leader())
		before = e.Server(at).Status().Zxid
		closing.raw(request(3, jute.OpCloseSession, nil))
		h, _ = closing.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		closing.ended()
		require.Equal(t, before, e.Server(at).Status().Zxid)
		require.NoError(t, e.Close())
	})
}

// Upgrading makes it one of the ensemble with its first ephemeral: it can move
// then, and what it owns ends with it, in the log.
func TestLocalSessionUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{LocalSessions: true, LocalSessionsUpgrading: true}})
		at, elsewhere := followers(e)[0], followers(e)[1]
		w := newSession(t, e, at)
		w.raw(append(createEphemeral("/e1"), createEphemeral("/e2")...))
		for range 2 {
			h, _ := w.reply()
			require.Equal(t, jute.CodeOK, h.Err)
		}
		moved, p := attach(t, e, elsewhere, w, 6000)
		require.Equal(t, w.session, p.SessionID)
		w.ended()
		moved.raw(request(1, jute.OpGetEphemerals, &jute.PathRequest{}))
		_, body := moved.reply()
		var paths jute.StringsResponse
		paths.Decode(&body)
		require.Equal(t, []string{"/e1", "/e2"}, paths.Strings)
		c := e.Connect()
		require.NoError(t, moved.Close())
		time.Sleep(7 * time.Second)
		require.NoError(t, c.Sync(t.Context(), "/"))
		_, err := c.Exists(t.Context(), "/e1")
		require.ErrorIs(t, err, zk.ErrNoNode)
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// There is a limit to how many sessions clients can make (S8).
func TestSessionsHaveALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, local := range []bool{false, true} {
			e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{SessionsMax: 3, LocalSessions: local}})
			var last *wire
			for range 3 {
				last = newSession(t, e, 1)
			}
			w := dialWire(t, e, 1)
			w.raw(frame((&jute.ConnectRequest{Timeout: 4000, Password: make([]byte, 16)}).Append(nil)))
			w.ended()
			_, p := attach(t, e, 1, last, 4000)
			require.Equal(t, last.session, p.SessionID, "those that are there may stay")
		}
	})
}
