package zk_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// Every server stops, and starts again from its directory: the same tree,
// sessions included.
func TestRestartAllFromDisk(t *testing.T) {
	for _, end := range []string{"Shutdown", "Kill"} {
		t.Run(end, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			dir := t.TempDir()
			cfg := zk.EnsembleConfig{DataDir: dir, Server: zk.Config{SnapCount: 50}}
			for round := range 3 {
				e, err := zk.StartEnsemble(ctx, cfg)
				require.NoError(t, err)
				c, err := e.Connect(ctx)
				require.NoError(t, err)
				for i := range round {
					data, stat, err := c.Get(ctx, fmt.Sprintf("/r%d", i))
					require.NoError(t, err)
					require.Equal(t, "99", string(data))
					require.EqualValues(t, 100, stat.Version)
				}
				path := fmt.Sprintf("/r%d", round)
				_, err = c.Create(ctx, path, nil, zk.Persistent)
				require.NoError(t, err)
				for i := range 100 {
					_, err = c.Set(ctx, path, fmt.Append(nil, i), zk.AnyVersion)
					require.NoError(t, err)
				}
				if end == "Kill" {
					for _, id := range e.IDs() {
						require.NoError(t, e.Kill(id))
					}
					_ = c.Close() // nobody is there to hear it
				} else {
					require.NoError(t, c.Close())
					require.NoError(t, e.Stop(ctx, e.IDs()[round]))
					require.NoError(t, e.Shutdown(ctx))
				}
				require.NoError(t, e.Close())
			}
		})
	}
}

// A directory says whose it is and whether somebody is in it.
func TestForeignAndLockedDirectory(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	start := func(id int64) (*zk.Server, error) {
		return zk.StartServer(ctx, zk.Config{ID: id, Servers: []zk.ServerSpec{{ID: id, Peer: "127.0.0.1:0"}}, DataDir: dir, Bootstrap: true})
	}
	s, err := start(1)
	require.NoError(t, err)
	_, err = start(1)
	require.ErrorContains(t, err, "lock")
	require.ErrorContains(t, err, dir)
	require.NoError(t, s.Close())
	_, err = start(2)
	require.ErrorContains(t, err, "belongs to server 1, not 2")
	s, err = start(1)
	require.NoError(t, err)
	require.NoError(t, s.Ready(ctx))
	require.EqualValues(t, 1, s.ID())
	require.NoError(t, s.Err())
	require.NoError(t, s.Close())
	<-s.Done()
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Err(), zk.ErrServerClosed)
}

// A server whose disk was lost does not vote until it has caught up (R3, Z26):
// with the third server down, what only the lost disk and one other had
// acknowledged is not forgotten; the two of them do elect once it is safe.
func TestWipedServerDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		dir := t.TempDir()
		e, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{DataDir: dir})
		require.NoError(t, err)
		c, err := e.Connect(ctx)
		require.NoError(t, err)
		require.NoError(t, e.Kill(3))
		_, err = c.Create(ctx, "/kept", nil, zk.Persistent)
		for err != nil {
			require.ErrorIs(t, err, zk.ErrConnectionLoss)
			_, err = c.Create(ctx, "/kept", nil, zk.Persistent)
			if err != nil {
				require.ErrorIs(t, err, zk.ErrNodeExists)
				break
			}
		}
		require.NoError(t, e.Kill(1))
		require.NoError(t, e.Kill(2))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "zk-1")))

		for _, id := range []int64{1, 3} { // 1 has forgotten, 3 never knew: no quorum of those who remember
			short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
			require.ErrorIs(t, e.Restart(short, id), context.DeadlineExceeded)
			stop()
			require.Nil(t, e.Server(id).Err())
			require.Zero(t, e.Leader())
		}

		require.NoError(t, e.Restart(ctx, 2))
		_, err = c.Exists(ctx, "/kept")
		require.NoError(t, err)
		for _, id := range e.IDs() {
			require.NoError(t, e.Server(id).Ready(ctx))
		}
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

func TestConfigViolationsAllAtOnce(t *testing.T) {
	_, err := zk.StartServer(t.Context(), zk.Config{
		ID: 9, Servers: []zk.ServerSpec{{ID: 1, Peer: "x"}, {ID: 1, Peer: "y:1"}, {ID: 300, Peer: "z:1"}},
		Clients: []zk.Endpoint{{Address: "0.0.0.0:2181"}, {Address: "127.0.0.1:http"}}, SnapCount: -1,
	})
	for _, want := range []string{"id 300", "id 1 is there twice", "ID 9 is not", "0.0.0.0:2181", "AllowInsecure", `"http"`, "SnapCount"} {
		require.ErrorContains(t, err, want)
	}
}
