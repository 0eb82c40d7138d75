package zk_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// Rows 8 and 9 on the wire: a TTL needs extended types; the leader alone deletes
// containers, whatever a client asks.
func TestKindsOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		w := newSession(t, e, 1)
		w.raw(request(1, jute.OpCreateTTL, &jute.CreateTTLRequest{CreateRequest: jute.CreateRequest{Path: "/t", ACL: openACL, Flags: jute.FlagTTL}, TTL: 1000}))
		h, _ := w.reply()
		require.Equal(t, jute.CodeUnimplemented, h.Err)
		w.raw(request(2, jute.OpCreateContainer, &jute.CreateRequest{Path: "/c", ACL: openACL, Flags: jute.FlagContainer}))
		h, body := w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
		var made jute.Create2Response
		made.Decode(&body)
		require.Zero(t, made.Stat.EphemeralOwner)
		before := h.Zxid
		w.raw(request(3, jute.OpDeleteContainer, &jute.PathRequest{Path: "/c"}))
		h, _ = w.reply()
		require.Equal(t, jute.CodeBadArguments, h.Err)
		require.Equal(t, before+1, h.Zxid, "a failed write consumes a zxid")
		w.raw(request(4, jute.OpExists, &jute.PathWatchRequest{Path: "/c"}))
		h, _ = w.reply()
		require.Equal(t, jute.CodeOK, h.Err)
	})
}

// Containers that were used and TTL znodes whose time is over go, on every
// server, with events, and by a new leader, too; those in use stay.
func TestReaper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{
			ExtendedTypes: true, ContainerCheckInterval: time.Minute, ContainerNeverUsedMax: 10 * time.Minute,
		}})
		c := e.Connect()
		ctx := context.WithoutCancel(t.Context())
		create := func(path string, mode zk.CreateMode) {
			_, err := c.Create(ctx, path, nil, mode)
			require.NoError(t, err)
		}
		here := func(path string) bool {
			require.NoError(t, c.Sync(ctx, path))
			_, err := c.Exists(ctx, path)
			require.True(t, err == nil || errors.Is(err, zk.ErrNoNode), "%v", err)
			return err == nil
		}
		create("/used", zk.Container)
		create("/used/x", zk.Persistent)
		create("/unused", zk.Container)
		create("/ttl", zk.PersistentTTL(90*time.Second))
		create("/parent", zk.PersistentTTL(time.Second))
		create("/parent/x", zk.Persistent)
		events := make(chan zk.Event, 10)
		_, err := c.Exists(ctx, "/used", zk.Watch(func(ev zk.Event) { events <- ev }))
		require.NoError(t, err)
		require.NoError(t, c.Delete(ctx, "/used/x", zk.AnyVersion))
		require.True(t, here("/used"))

		time.Sleep(80 * time.Second)
		require.False(t, here("/used"))
		require.Equal(t, zk.EventDeleted, (<-events).Type)
		require.True(t, here("/unused"))
		require.True(t, here("/ttl"))
		require.True(t, here("/parent"))
		_, err = c.Set(ctx, "/ttl", []byte("again"), zk.AnyVersion)
		require.NoError(t, err)

		e.Kill(e.Leader())
		time.Sleep(60 * time.Second)
		require.True(t, here("/ttl"), "its time began anew when it was set")
		time.Sleep(3 * time.Minute)
		require.False(t, here("/ttl"))
		require.True(t, here("/unused"))
		time.Sleep(6 * time.Minute)
		require.False(t, here("/unused"))
		require.True(t, here("/parent"))
		require.NoError(t, c.Close())
		require.NoError(t, e.Close())
	})
}

// Header zxids and xids that are not those of a read or a write, as Apache's
// servers send them; and the operations that no client has.
func TestOddHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		w := newSession(t, e, 1)
		w.raw(request(9, jute.OpPing, nil))
		h, _ := w.reply()
		require.Equal(t, jute.XidPing, h.Xid)
		require.NotZero(t, h.Zxid)
		w.raw(request(7, jute.OpAuth, &jute.AuthRequest{Scheme: "digest", Auth: []byte("u:p")}))
		h, _ = w.reply()
		require.Equal(t, jute.ReplyHeader{Xid: 7}, h)
		w.raw(request(8, jute.OpSASL, &jute.SASLToken{Token: []byte{}}))
		h, body := w.reply()
		require.Equal(t, jute.ReplyHeader{Xid: 8}, h)
		require.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, body.Rest(), "a null token")
		w.raw(request(9, jute.OpCreateSession, nil))
		h, _ = w.reply()
		require.Equal(t, jute.CodeMarshallingError, h.Err)
		for _, op := range []jute.OpCode{jute.OpError, jute.OpNotification, jute.OpCheck, 4711} {
			w := newSession(t, e, 1)
			w.raw(request(3, op, nil))
			h, _ := w.reply()
			require.Equal(t, jute.ReplyHeader{Xid: 3, Zxid: -1, Err: jute.CodeUnimplemented}, h)
			w.ended()
		}
		for _, scheme := range []string{"world", "auth", "x509", "super", "nonsense", ""} {
			w := newSession(t, e, 1)
			w.raw(request(jute.XidAuth, jute.OpAuth, &jute.AuthRequest{Scheme: scheme}))
			h, _ := w.reply()
			require.Equal(t, jute.ReplyHeader{Xid: jute.XidAuth, Err: jute.CodeAuthFailed}, h, scheme)
			w.ended()
		}
	})
}

// Row 103: the prefix is one of the string; none, or blanks, is all.
func TestEphemeralsPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		w := newSession(t, e, 1)
		for i, path := range []string{"/e1", "/e2", "/f"} {
			w.raw(request(int32(i), jute.OpCreate, &jute.CreateRequest{Path: path, ACL: openACL, Flags: jute.FlagEphemeral}))
			h, _ := w.reply()
			require.Equal(t, jute.CodeOK, h.Err)
		}
		for prefix, want := range map[string]int{"": 3, "/": 3, " ": 3, "/e": 2, "/e1": 1, "/e1/": 0} {
			w.raw(request(9, jute.OpGetEphemerals, &jute.PathRequest{Path: prefix}))
			h, body := w.reply()
			require.Equal(t, jute.CodeOK, h.Err)
			var p jute.StringsResponse
			p.Decode(&body)
			require.Len(t, p.Strings, want, prefix)
		}
	})
}

// Row 26 through a client: counts are kept always, hard limits hold where they
// are enforced, in a multi too, and an operator is told.
func TestQuotas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, enforce := range []bool{false, true} {
			var log warnings
			e := zktest.Start(t, zk.EnsembleConfig{Logger: slog.New(&log), Server: zk.Config{EnforceQuota: enforce}})
			time.Sleep(time.Second) // at zero nobody has been told yet
			c := e.Connect()
			ctx := t.Context()
			for _, z := range [][2]string{
				{"/app", "12345"},
				{"/zookeeper/quota/app", ""},
				{"/zookeeper/quota/app/zookeeper_limits", "count=2,bytes=-1=;countHardLimit=3"},
				{"/zookeeper/quota/app/zookeeper_stats", ""},
				{"/app/1", "x"},
				{"/app/2", "x"},
			} {
				_, err := c.Create(ctx, z[0], []byte(z[1]), zk.Persistent)
				require.NoError(t, err)
			}
			_, err := c.Create(ctx, "/app/3", nil, zk.Persistent)
			_, multiErr := c.Multi(ctx, zk.DeleteOp("/app/1", -1), zk.CreateOp("/app/4", nil, zk.Persistent), zk.CreateOp("/app/5", nil, zk.Persistent))
			data, stat, readErr := c.Get(ctx, "/zookeeper/quota/app/zookeeper_stats")
			require.NoError(t, readErr)
			require.Zero(t, stat.Version)
			if enforce {
				require.ErrorIs(t, err, zk.ErrQuotaExceeded)
				require.ErrorIs(t, multiErr, zk.ErrQuotaExceeded)
				require.Equal(t, "count=3,bytes=7", string(data))
				continue
			}
			require.NoError(t, err)
			require.NoError(t, multiErr)
			require.Equal(t, "count=5,bytes=6", string(data))
			synctest.Wait() // a follower may be ahead of its leader in applying
			require.EqualValues(t, 1, log.count.Load())
		}
	})
}
