package zk

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// TestOversizeReplyToWrite has a write answered by more than is taken: it may have
// been executed.
func TestOversizeReplyToWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{ReplyBytesMax: 100})
		got := async(func() error {
			_, err := c.Multi(t.Context(), CreateOp("/a", nil, Persistent), CreateOp("/b", nil, Persistent))
			return err
		})
		q := s.expect(jute.OpMulti)
		s.send(append(fakeReply(q.Xid, 1, jute.CodeOK), make([]byte, 200)...))
		err := got()
		require.ErrorIs(t, err, ErrTooLarge)
		require.ErrorIs(t, err, ErrConnectionLoss, "the outcome is unknown")
		closeWith(c, s)
	})
}

// TestGivenUpLeavesRoom gives requests up while there is no connection: they keep
// no place from others.
func TestGivenUpLeavesRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{OutstandingMax: 2})
		f.refuse(io.ErrUnexpectedEOF)
		s.Close()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.Delete(ctx, "/a", 0), context.DeadlineExceeded)
		ctx, cancel = context.WithCancel(t.Context())
		var told []error
		note := func(res OpResult) { told = append(told, res.Err) }
		c.Go(ctx, DeleteOp("/b", 0), note)
		c.Go(t.Context(), DeleteOp("/kept", 0), note)
		cancel()
		synctest.Wait()
		begun := time.Now()
		c.Go(t.Context(), DeleteOp("/last", 0), note) // it would wait for room
		require.Zero(t, time.Since(begun))
		f.refuse(nil)
		s = f.accept()
		for _, path := range []string{"/kept", "/last"} {
			q := s.expect(jute.OpDelete)
			require.Equal(t, path, q.path())
			s.replyTo(q, 1)
		}
		closeWith(c, s)
		require.Len(t, told, 3)
		require.ErrorIs(t, told[0], context.Canceled)
		require.NotErrorIs(t, told[0], ErrConnectionLoss, "it was never sent")
	})
}

// TestErrBeforeAnswers looks at the client as soon as a call says that the
// session has expired: the client knows it, too.
func TestErrBeforeAnswers(t *testing.T) {
	for range 200 {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			c, s := f.connect(ClientConfig{})
			f.refuse(io.ErrUnexpectedEOF)
			s.Close()
			synctest.Wait()
			waits := make([]func() error, 8)
			for i := range waits {
				waits[i] = async(func() error {
					if err := c.Delete(t.Context(), "/a", 0); c.Err() == nil {
						return fmt.Errorf("%w, and the client does not know", err)
					}
					return nil
				})
			}
			f.refuse(nil)
			f.take().grant(jute.ConnectResponse{Password: make([]byte, passwordBytes), HasReadOnly: true})
			for _, wait := range waits {
				require.NoError(t, wait())
			}
		})
	}
}

// TestAuthTooLarge shows a credential that no server would take: it is not sent,
// again and again.
func TestAuthTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{RequestBytesMax: 1000})
		require.ErrorIs(t, c.AddAuth(t.Context(), Auth{"digest", make([]byte, 1000)}), ErrTooLarge)
		closeWith(c, s)
	})
}

// TestReconfigurationOfBothKinds is refused: one of the two would be ignored.
func TestReconfigurationOfBothKinds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		_, _, err := c.Reconfig(t.Context(), Reconfiguration{Members: []ServerSpec{{ID: 1}}, Leaving: []int64{2}})
		require.ErrorIs(t, err, ErrBadArguments)
		closeWith(c, s)
	})
}

// TestEnsurePathWithoutPermissionAbove makes what is missing below a znode that is
// ours, under one that is not, and finds what is there already.
func TestEnsurePathWithoutPermissionAbove(t *testing.T) {
	e, err := StartEnsemble(t.Context(), EnsembleConfig{Servers: 1})
	require.NoError(t, err)
	defer e.Close()
	admin, err := e.Connect(t.Context())
	require.NoError(t, err)
	defer admin.Close()
	_, err = admin.Create(t.Context(), "/app", nil, Persistent, DigestACL(PermAll, "ann", "secret"))
	require.NoError(t, err)
	_, err = admin.SetACL(t.Context(), "/", AnyVersion, WorldACL(PermRead))
	require.NoError(t, err)
	cfg := e.ClientConfig()
	cfg.Auth = []Auth{DigestAuth("ann", "secret")}
	c, err := Connect(t.Context(), cfg)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Sync(t.Context(), "/"))
	require.NoError(t, c.EnsurePath(t.Context(), "/app/x/y/z"))
	require.NoError(t, c.EnsurePath(t.Context(), "/app/x/y/z"))
	require.NoError(t, c.EnsurePath(t.Context(), "/app"))
	require.NoError(t, c.EnsurePath(t.Context(), "/"))
	require.ErrorIs(t, c.EnsurePath(t.Context(), "/other"), ErrNoAuth)
	require.ErrorIs(t, c.EnsurePath(t.Context(), "/other/x"), ErrNoAuth)
}

// TestPoisonousRead asks for what no server answers: it breaks ten connections,
// and what is behind it is answered then.
func TestPoisonousRead(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		var got []string
		note := func(res OpResult) { got = append(got, fmt.Sprint(res.Path, " ", res.Err)) }
		c.Go(t.Context(), GetOp("/poison"), note)
		c.Go(t.Context(), GetOp("/a"), note)
		for range lostMax {
			require.Equal(t, "/poison", s.expect(jute.OpGetData).path())
			s.Close()
			s = f.accept()
		}
		q := s.expect(jute.OpGetData)
		require.Equal(t, "/a", q.path())
		s.replyTo(q, 1, &jute.DataResponse{})
		closeWith(c, s)
		require.Equal(t, []string{"/poison zk: get /poison: connection lost", "/a <nil>"}, got)
	})
}
