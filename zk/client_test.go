package zk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

func TestClientHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{SessionTimeout: 5 * time.Second})
		require.Equal(t, jute.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true}, s.hello)
		require.EqualValues(t, fakeSession, c.SessionID())
		require.Equal(t, fakeTimeout, c.SessionTimeout())
		require.Equal(t, Session{fakeSession, fakePassword}, c.Session())
		require.Equal(t, StateConnected, c.State())
		require.NoError(t, c.Err())
		closeWith(c, s)
		require.Equal(t, StateClosed, c.State())
		require.ErrorIs(t, c.Err(), ErrClosed)
	})
}

func TestClientConfigFaults(t *testing.T) {
	_, err := Connect(t.Context(), ClientConfig{Chroot: "x", SessionTimeout: -1, Session: &Session{}})
	for _, want := range []string{"Servers is empty", `path "x" does not begin with a slash`, "SessionTimeout is negative", "password of 0 bytes"} {
		require.ErrorContains(t, err, want)
	}
}

// TestClientWriteLost breaks the connection under a write: the outcome is unknown,
// and it is not sent again.
func TestClientWriteLost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		result := async(func() error {
			_, err := c.Set(t.Context(), "/a", []byte("x"), 3)
			return err
		})
		s.expect(jute.OpSetData)
		s.Close()
		err := result()
		require.ErrorIs(t, err, ErrConnectionLoss)
		e, ok := errors.AsType[*OpError](err)
		require.True(t, ok)
		require.True(t, e.Unknown)
		require.EqualError(t, err, "zk: set /a: connection lost: outcome unknown, it may or may not have been executed")
		s = f.accept()
		closeWith(c, s) // its request is the first
	})
}

// TestClientReadLost breaks the connection under reads and a write between them:
// the reads are sent again, in order.
func TestClientReadLost(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		var got []string
		done := func(res OpResult) { got = append(got, fmt.Sprint(res.Path, res.Err == nil)) }
		for _, op := range []Op{GetOp("/a"), SetOp("/b", nil, 0), ExistsOp("/c"), ChildrenOp("/d"), SyncOp("/e")} {
			c.Go(t.Context(), op, done)
		}
		s.replyTo(s.expect(jute.OpGetData), 77, &jute.DataResponse{})
		s.expect(jute.OpSetData)
		s.Close()
		s = f.accept()
		require.EqualValues(t, 77, s.hello.LastZxidSeen)
		require.EqualValues(t, fakeSession, s.hello.SessionID)
		require.Equal(t, fakePassword, s.hello.Password)
		s.replyTo(s.expect(jute.OpExists), 78, &jute.Stat{})
		s.replyTo(s.expect(jute.OpGetChildren2), 78, &jute.Children2Response{})
		s.replyTo(s.expect(jute.OpSync), 78, &jute.PathRequest{Path: "/e"})
		closeWith(c, s)
		require.Equal(t, []string{"/atrue", "/bfalse", "/ctrue", "/dtrue", "/etrue"}, got)
	})
}

// TestClientUnsent passes requests while there is no connection.
func TestClientUnsent(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		f.refuse(io.ErrUnexpectedEOF)
		s.Close()
		synctest.Wait()
		require.Equal(t, StateConnecting, c.State())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		given := async(func() error { return c.Delete(ctx, "/given-up", 0) })
		kept := async(func() error { return c.Delete(t.Context(), "/kept", 0) })
		err := given()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrConnectionLoss, "it was never sent")
		f.refuse(nil)
		s = f.accept()
		q := s.expect(jute.OpDelete)
		require.Equal(t, "/kept", q.path())
		s.replyTo(q, 1)
		require.NoError(t, kept())
		closeWith(c, s)
	})
}

// TestClientContextEnds ends a context while the request is on its way.
func TestClientContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		wrote := async(func() error { return c.Delete(ctx, "/w", 0) })
		w := s.expect(jute.OpDelete)
		read := async(func() error { _, err := c.Exists(ctx, "/r"); return err })
		r := s.expect(jute.OpExists)
		cancel()
		err := wrote()
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, ErrConnectionLoss)
		require.ErrorContains(t, err, "outcome unknown")
		err = read()
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrConnectionLoss)
		// The answers come late, and are not taken for others'.
		next := async(func() error { _, err := c.Exists(t.Context(), "/n"); return err })
		n := s.expect(jute.OpExists)
		s.replyTo(w, 1)
		s.replyTo(r, 1, &jute.Stat{})
		s.send(fakeReply(n.Xid, 1, jute.CodeNoNode))
		require.ErrorIs(t, next(), ErrNoNode)
		closeWith(c, s)
	})
}

// TestClientGoContext checks that done is called once, whatever comes first.
func TestClientGoContext(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		var calls []error
		c.Go(ctx, SetOp("/a", nil, 0), func(res OpResult) { calls = append(calls, res.Err) })
		q := s.expect(jute.OpSetData)
		cancel()
		synctest.Wait()
		require.Len(t, calls, 1)
		require.ErrorIs(t, calls[0], context.Canceled)
		require.ErrorIs(t, calls[0], ErrConnectionLoss)
		s.replyTo(q, 1, &jute.Stat{})
		c.Go(ctx, SetOp("/a", nil, 0), func(res OpResult) { calls = append(calls, res.Err) })
		c.Go(t.Context(), CheckOp("/a", 0), func(res OpResult) { calls = append(calls, res.Err) })
		c.GoMulti(t.Context(), func(_ []OpResult, err error) { calls = append(calls, err) }, GetOp("/a"))
		synctest.Wait()
		require.Len(t, calls, 4)
		require.NotErrorIs(t, calls[1], ErrConnectionLoss)
		require.ErrorIs(t, calls[2], ErrBadArguments)
		require.ErrorIs(t, calls[3], ErrBadArguments)
		closeWith(c, s)
	})
}

// TestClientGoSharedContext ends a context that many requests have: theirs end,
// and no other's.
func TestClientGoSharedContext(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			var ended, unknown, kept int
			done := func(res OpResult) {
				ended++
				if errors.Is(res.Err, ErrConnectionLoss) {
					unknown++
				}
			}
			for range 2 {
				c.Go(ctx, DeleteOp("/a", 0), done)
				c.Go(ctx, GetOp("/a"), done)
				c.Go(t.Context(), GetOp("/kept"), func(OpResult) { kept++ })
			}
			var requests []fakeRequest
			for range 6 {
				q, _ := s.next()
				requests = append(requests, q)
			}
			cancel()
			synctest.Wait()
			require.Equal(t, []int{4, 2, 0}, []int{ended, unknown, kept})
			for _, q := range requests {
				s.send(fakeReply(q.Xid, 1, jute.CodeNoNode))
			}
			synctest.Wait()
			require.Equal(t, []int{4, 2, 2}, []int{ended, unknown, kept})
			c.mu.Lock()
			require.Empty(t, c.mu.contexts)
			c.mu.Unlock()
		}
		closeWith(c, s)
	})
}

// TestClientGoClosed checks that done is called on a closed client, too.
func TestClientGoClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		closeWith(c, s)
		for range 3 {
			got := make(chan error, 2)
			c.Go(t.Context(), GetOp("/a"), func(res OpResult) { got <- res.Err })
			c.GoMulti(t.Context(), func(_ []OpResult, err error) { got <- err }, DeleteOp("/a", 0))
			require.ErrorIs(t, <-got, ErrClosed)
			require.ErrorIs(t, <-got, ErrClosed)
		}
	})
}

// TestClientThrownOut has servers that end every connection at once: the client
// pauses between its attempts.
func TestClientThrownOut(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		s.Close()
		for begun := time.Now(); time.Since(begun) < 30*time.Second; {
			f.accept().Close()
		}
		require.Less(t, f.dials(), 100)
		closeWith(c, f.accept())
	})
}

// TestClientOutstandingMax fills the client up.
func TestClientOutstandingMax(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{OutstandingMax: 2})
		var done atomic.Int64
		for range 2 {
			c.Go(t.Context(), DeleteOp("/a", 0), func(OpResult) { done.Add(1) })
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := async(func() error { return c.Delete(ctx, "/b", 0) })
		synctest.Wait()
		third := async(func() error { return c.Delete(t.Context(), "/c", 0) })
		synctest.Wait()
		cancel()
		require.ErrorIs(t, gaveUp(), context.Canceled)
		s.replyTo(s.expect(jute.OpDelete), 1)
		second := s.expect(jute.OpDelete)
		q := s.expect(jute.OpDelete)
		require.Equal(t, "/c", q.path())
		s.replyTo(second, 2)
		s.replyTo(q, 3)
		require.NoError(t, third())
		require.EqualValues(t, 2, done.Load())
		closeWith(c, s)
	})
}

// TestClientOversizeReply checks that what is too large is skipped.
func TestClientOversizeReply(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{ReplyBytesMax: 100})
		for _, size := range []int{101, 300_000} {
			got := async(func() error { _, _, err := c.Get(t.Context(), "/big"); return err })
			q := s.expect(jute.OpGetData)
			payload := fakeReply(q.Xid, 1, jute.CodeOK)
			payload = append(payload, make([]byte, size-len(payload))...)
			s.send(payload)
			require.ErrorIs(t, got(), ErrTooLarge)
		}
		got := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
		s.replyTo(s.expect(jute.OpExists), 1, &jute.Stat{})
		require.NoError(t, got())
		require.Equal(t, 1, f.dials())
		closeWith(c, s)
	})
}

// TestClientLargeReply has a reply come in pieces.
func TestClientLargeReply(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		data := []byte(strings.Repeat("0123456789", 200_000))
		for range 2 {
			got := async(func() []byte { b, _, _ := c.Get(t.Context(), "/big"); return b })
			q := s.expect(jute.OpGetData)
			payload := fakeReply(q.Xid, 1, jute.CodeOK, &jute.DataResponse{Data: data})
			frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
			for piece := range slices.Chunk(frame, 99_991) {
				_, err := s.Write(piece)
				require.NoError(t, err)
			}
			require.True(t, slices.Equal(data, got()))
		}
		closeWith(c, s)
	})
}

// TestClientGarbage has the server send what no server sends: the client leaves
// the connection, and its requests go to the next one.
func TestClientGarbage(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"negative length":  {0xff, 0xff, 0xff, 0xff},
		"short reply":      {0, 0, 0, 3, 1, 2, 3},
		"other protocol":   []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"unknown xid":      append([]byte{0, 0, 0, 16}, fakeReply(4711, 1, 0)...),
		"reply to no auth": append([]byte{0, 0, 0, 16}, fakeReply(jute.XidAuth, 1, 0)...),
		"broken event":     append([]byte{0, 0, 0, 17}, append(fakeReply(jute.XidNotification, 1, 0), 1)...),
		"no setWatches":    append([]byte{0, 0, 0, 16}, fakeReply(jute.XidSetWatches, 1, jute.CodeUnimplemented)...),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fakeServers) {
				c, s := f.connect(ClientConfig{})
				got := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
				s.expect(jute.OpExists)
				_, err := s.Write(garbage)
				require.NoError(t, err)
				if len(garbage) < 4+replyHeaderBytes {
					s.Close()
				}
				s = f.accept()
				s.replyTo(s.expect(jute.OpExists), 1, &jute.Stat{})
				require.NoError(t, got())
				closeWith(c, s)
			})
		})
	}
}

// TestClientMalformedBody has a body that is not what it should be: that call
// fails, and the connection stays.
func TestClientMalformedBody(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		got := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
		s.replyTo(s.expect(jute.OpExists), 1, &jute.Int32Response{})
		require.ErrorIs(t, got(), jute.ErrMalformed)
		wrote := async(func() error { _, err := c.Multi(t.Context(), DeleteOp("/x", 0)); return err })
		s.replyTo(s.expect(jute.OpMulti), 1, &jute.MultiResponse{})
		err := wrote()
		require.ErrorIs(t, err, jute.ErrMalformed)
		require.ErrorIs(t, err, ErrConnectionLoss, "it may have been executed")
		require.Equal(t, 1, f.dials())
		closeWith(c, s)
	})
}

// TestClientPings measures the duties of a client in virtual time.
func TestClientPings(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{})
		begun := time.Now()
		for i := range 3 {
			payload := s.frame()
			require.Equal(t, pingFrame[4:], payload)
			require.Equal(t, time.Duration(i+1)*fakeTimeout/3, time.Since(begun))
			s.send(fakeReply(jute.XidPing, 1, 0))
		}
		// A request is as good as a ping.
		<-time.After(time.Second)
		got := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
		s.replyTo(s.expect(jute.OpExists), 1, &jute.Stat{})
		require.NoError(t, got())
		asked := time.Now()
		require.Equal(t, pingFrame[4:], s.frame())
		require.Equal(t, fakeTimeout/3, time.Since(asked))
		// Two thirds of the timeout without an answer, and it goes elsewhere: events
		// show that the server can be heard, not that it hears.
		s.event(2, EventCreated, "/other")
		require.Nil(t, s.frame())
		require.Equal(t, 2*fakeTimeout/3, time.Since(asked))
		s = f.accept()
		closeWith(c, s)
	})
}

// TestClientExpired has the session refused when it is resumed.
func TestClientExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		var states []State
		c, s := f.connect(ClientConfig{OnState: func(st State) { states = append(states, st) }})
		var mine []State
		stop := c.WatchState(func(st State) { mine = append(mine, st) })
		stopped := c.WatchState(func(State) { t.Error("called after stop") })
		stopped()
		wrote := async(func() error { return c.Delete(t.Context(), "/w", 0) })
		s.expect(jute.OpDelete)
		s.Close()
		require.ErrorIs(t, wrote(), ErrConnectionLoss)
		read := async(func() error { _, err := c.Exists(t.Context(), "/r"); return err })
		s = f.take()
		s.grant(jute.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true})
		require.ErrorIs(t, read(), ErrSessionExpired)
		<-c.Done()
		require.ErrorIs(t, c.Err(), ErrSessionExpired)
		synctest.Wait()
		require.Equal(t, []State{StateConnected, StateConnecting, StateExpired}, states)
		require.Equal(t, []State{StateConnecting, StateExpired}, mine)
		stop()
		stop()
		require.ErrorIs(t, c.Delete(t.Context(), "/w", 0), ErrSessionExpired)
		require.NoError(t, c.Close())
	})
}

// TestClientServers walks over servers: those that hang, those that close the
// connection without a word, and those that refuse.
func TestClientServers(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		f.dial = func(ctx context.Context, address string) error {
			if address == "hangs:2181" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		begun := time.Now()
		connected := async(func() *Client {
			c, err := Connect(t.Context(), ClientConfig{
				Servers: []string{"hangs", "mute", "refuses", "good"}, Network: f, SessionTimeout: 4 * time.Second, Seed: 1,
			})
			if err != nil {
				t.Error(err)
			}
			return c
		})
		var s *fakeConn
		for s == nil {
			switch next := f.take(); next.address {
			case "mute:2181":
				next.Close()
			case "refuses:2181":
				next.grant(jute.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true})
			case "good:2181":
				next.grant(jute.ConnectResponse{Timeout: 4000, SessionID: 1, Password: fakePassword})
				s = next
			}
		}
		c := connected()
		require.LessOrEqual(t, time.Since(begun), time.Second, "a quarter of the session timeout for each")
		closeWith(c, s)
	})
}

// TestClientPauses counts dials while nobody answers.
func TestClientPauses(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		f.refuse(io.ErrUnexpectedEOF)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Connect(ctx, ClientConfig{Servers: []string{"a", "b:1"}, Network: f})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "last attempt: ")
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Greater(t, f.dials(), 100)
		require.Less(t, f.dials(), 300)
	})
}

// TestClientClose closes in all states; that it takes a bounded time is the
// bubble's clock.
func TestClientClose(t *testing.T) {
	t.Run("server silent", func(t *testing.T) {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			c, s := f.connect(ClientConfig{})
			begun := time.Now()
			closed := async(c.Close)
			s.expect(jute.OpCloseSession)
			require.ErrorContains(t, closed(), "the session ends after 9s")
			require.Equal(t, closeWait, time.Since(begun))
			require.NoError(t, c.Close())
		})
	})
	t.Run("disconnected", func(t *testing.T) {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			c, s := f.connect(ClientConfig{})
			f.refuse(io.EOF)
			s.Close()
			synctest.Wait()
			waiting := async(func() error { _, err := c.Exists(t.Context(), "/x"); return err })
			synctest.Wait()
			require.ErrorIs(t, c.Close(), ErrOperationTimeout)
			require.ErrorIs(t, waiting(), ErrClosed)
		})
	})
	t.Run("requests before it", func(t *testing.T) {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			c, s := f.connect(ClientConfig{})
			var got error
			c.Go(t.Context(), DeleteOp("/x", 0), func(res OpResult) { got = res.Err })
			closed := async(c.Close)
			synctest.Wait()
			require.ErrorIs(t, c.Delete(t.Context(), "/y", 0), ErrClosed)
			s.send(fakeReply(s.expect(jute.OpDelete).Xid, 1, jute.CodeNoNode))
			s.endSession()
			require.NoError(t, closed())
			require.ErrorIs(t, got, ErrNoNode)
		})
	})
	t.Run("connection breaks", func(t *testing.T) {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			c, s := f.connect(ClientConfig{})
			closed := async(c.Close)
			s.expect(jute.OpCloseSession)
			s.Close()
			f.accept().endSession()
			require.NoError(t, closed())
		})
	})
	t.Run("abandon", func(t *testing.T) {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			c, s := f.connect(ClientConfig{})
			wrote := async(func() error { return c.Delete(t.Context(), "/w", 0) })
			s.expect(jute.OpDelete)
			c.Abandon()
			require.ErrorIs(t, wrote(), ErrConnectionLoss)
			require.Nil(t, s.frame(), "no closeSession")
			c.Abandon()
			require.NoError(t, c.Close())
		})
	})
	t.Run("callback stuck", func(t *testing.T) {
		inBubble(t, func(t *testing.T, f *fakeServers) {
			stuck := make(chan struct{})
			c, s := f.connect(ClientConfig{OnState: func(State) { <-stuck }})
			begun := time.Now()
			closeWith(c, s)
			require.LessOrEqual(t, time.Since(begun), 2*closeWait)
			close(stuck)
		})
	})
}

// TestClientReadOnly goes from a read-only server to a better one.
func TestClientReadOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		connected := async(func() *Client {
			c, err := Connect(t.Context(), ClientConfig{Servers: []string{"ro", "rw"}, Network: f, ReadOnly: true, Seed: 1})
			if err != nil {
				t.Error(err)
			}
			return c
		})
		var s *fakeConn
		for s == nil || s.address == "rw:2181" {
			if s = f.take(); s.address == "rw:2181" {
				s.Close()
			}
		}
		require.True(t, s.hello.ReadOnly)
		s.grant(jute.ConnectResponse{Timeout: 9000, SessionID: 7, Password: fakePassword, ReadOnly: true, HasReadOnly: true})
		c := connected()
		require.Equal(t, StateReadOnly, c.State())
		wrote := async(func() error { return c.Delete(t.Context(), "/w", 0) })
		s.send(fakeReply(s.expect(jute.OpDelete).Xid, 1, jute.CodeNotReadOnly))
		require.ErrorIs(t, wrote(), ErrNotReadOnly)
		for {
			probe := <-f.arrived
			word := make([]byte, 4)
			_, err := io.ReadFull(probe, word)
			require.NoError(t, err)
			require.Equal(t, "isro", string(word))
			_, err = probe.Write([]byte(probe.address[:2]))
			require.NoError(t, err)
			probe.Close()
			if probe.address == "rw:2181" {
				break
			}
		}
		s = f.accept()
		require.Equal(t, "rw:2181", s.address)
		require.Zero(t, s.hello.SessionID, "a read-only server's session is its own")
		synctest.Wait()
		require.Equal(t, StateConnected, c.State())
		closeWith(c, s)
	})
}

// TestClientAuthAgain shows credentials on a new connection before anything else.
func TestClientAuthAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeServers) {
		c, s := f.connect(ClientConfig{Auth: []Auth{DigestAuth("a", "1")}})
		added := async(func() error { return c.AddAuth(t.Context(), DigestAuth("b", "2")) })
		s.expect(jute.OpAuth)
		s.Close() // the answer is lost
		s = f.accept()
		s.replyTo(s.expect(jute.OpAuth), 0)
		s.replyTo(s.expect(jute.OpAuth), 0)
		require.NoError(t, added())
		exists := async(func() error {
			_, err := c.Exists(t.Context(), "/x", Watch(func(Event) {}))
			return err
		})
		s.replyTo(s.expect(jute.OpExists), 1, &jute.Stat{})
		require.NoError(t, exists())
		s.Close()
		s = f.accept()
		for _, want := range []string{"a:1", "b:2"} {
			q := s.expect(jute.OpAuth)
			d := jute.NewReader(q.body)
			var a jute.AuthRequest
			a.Decode(&d)
			require.Equal(t, want, string(a.Auth))
			s.replyTo(q, 0)
		}
		s.replyTo(s.expect(jute.OpSetWatches), 0)
		closeWith(c, s)
	})
}

// FuzzClientBytes feeds a connected client whatever a server might send.
func FuzzClientBytes(f *testing.F) {
	f.Add([]byte{0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Add(jute.AppendNotification(nil, 5, jute.EventDeleted, "/x"))
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1})
	stat := fakeReply(1, 9, 0, &jute.Stat{})
	f.Add(append([]byte{0, 0, 0, byte(len(stat))}, stat...))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := ClientConfig{Servers: []string{"x"}, ReplyBytesMax: 1 << 16}
		require.NoError(t, cfg.setDefaults())
		c := newClient(cfg)
		c.mu.watches.add(watchRecursive, "/", &watcher{func(Event) {}})
		cn := newClientConn(c, nil, "x")
		var requests []*request
		for _, op := range []Op{ExistsOp("/x"), GetOp("/x"), ChildrenOp("/x"), SetOp("/x", nil, 0)} {
			r, err := c.newOpRequest(op)
			require.NoError(t, err)
			c.mu.Lock()
			c.enqueue(r)
			requests = append(requests, r)
		}
		c.mu.conn = cn
		cn.collect()
		cn.in = b
		for len(cn.in) > 0 {
			before := len(cn.in)
			if cn.parse() != nil || len(cn.in) == before {
				break
			}
		}
		for _, r := range requests {
			if r.phase == phaseAnswered {
				r.decode("")
			}
		}
	})
}

// A request that was given up belongs to the client, whose reader may be at it.
func TestClientGivenUp(t *testing.T) {
	c := echoClient(t)
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		res, err := c.Do(ctx, GetOp("/a"))
		require.Equal(t, err, res.Err)
	}
}
