package recipes_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

func ids(all []recipes.Instance) (names []string) {
	for _, in := range all {
		names = append(names, in.ID)
	}
	return names
}

// Instances are found, chosen by load, and gone with their sessions.
func TestRegistry(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		r := recipes.NewRegistry(c, "/services")
		names, err := r.Services(w.ctx)
		require.NoError(t, err)
		require.Empty(t, names)
		s, err := r.Service(w.ctx, "web")
		require.NoError(t, err)
		_, err = s.Pick()
		require.ErrorIs(t, err, recipes.ErrNone)

		dies := w.Connect()
		a, err := recipes.NewRegistry(dies, "/services").Register(w.ctx, recipes.Instance{
			Service: "web", ID: "a", Address: "10.0.0.1", Port: 80, Load: 2, Metadata: map[string]string{"zone": "x"},
		})
		require.NoError(t, err)
		b, err := r.Register(w.ctx, recipes.Instance{Service: "web", ID: "b", Address: "10.0.0.2"})
		require.NoError(t, err)
		_, err = c.Create(w.ctx, "/services/web/strange", []byte("x"), zk.Ephemeral)
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"a", "b"}, ids(s.Instances()))
		require.Equal(t, "x", s.Instances()[0].Metadata["zone"])
		require.NoError(t, c.Sync(w.ctx, "/"))
		all, err := r.Instances(w.ctx, "web")
		require.NoError(t, err)
		require.Equal(t, s.Instances(), all)
		names, err = r.Services(w.ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"web"}, names)

		picks := func(n int) (picked string) {
			for range n {
				in, err := s.Pick()
				require.NoError(t, err)
				picked += in.ID
			}
			return picked
		}
		require.Equal(t, "bbab", picks(4), "each pick counts")
		require.NoError(t, b.SetLoad(w.ctx, 0.5))
		require.NoError(t, a.SetLoad(w.ctx, 10))
		synctest.Wait()
		require.Equal(t, "bbbb", picks(4))

		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		w.Expire(dies)
		for now, err := range s.Watch(ctx) {
			require.NoError(t, err)
			if len(now) == 1 {
				break
			}
		}
		<-a.Done()
		require.Equal(t, []string{"b"}, ids(s.Instances()))
		require.False(t, s.Stale())
		cancel()
		for _, err := range s.Watch(ctx) {
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		s.Close()
		<-s.Done()
		for _, err := range s.Watch(w.ctx) {
			if err != nil {
				require.ErrorIs(t, err, recipes.ErrReleased)
			}
		}
	})
}

// An expired session is followed by another, until the work is done.
func TestRunSessions(t *testing.T) {
	bubble(t, func(w *world) {
		runs := 0
		var last *zk.Client
		connect := func(context.Context) (*zk.Client, error) { return w.Connect(), nil }
		err := recipes.RunSessions(w.ctx, connect, func(ctx context.Context, c *zk.Client) error {
			runs++
			last = c
			if _, err := recipes.NewMembership(c, "/g").Join(ctx, "me", nil); err != nil {
				return err
			}
			if runs == 3 {
				return nil
			}
			w.Expire(c)
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), zk.ErrSessionExpired)
			return ctx.Err()
		})
		require.NoError(t, err)
		require.Equal(t, 3, runs)
		require.ErrorIs(t, last.Err(), zk.ErrClosed)
		require.Empty(t, w.children("/g"))

		failed := errors.New("failed")
		err = recipes.RunSessions(w.ctx, connect, func(context.Context, *zk.Client) error { return failed })
		require.ErrorIs(t, err, failed)
		err = recipes.RunSessions(w.ctx, func(context.Context) (*zk.Client, error) { return nil, failed }, nil)
		require.ErrorIs(t, err, failed)
		ctx, cancel := context.WithCancel(w.ctx)
		err = recipes.RunSessions(ctx, connect, func(ctx context.Context, _ *zk.Client) error {
			cancel()
			<-ctx.Done()
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
	})
}
