package recipes_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

// Items come in their order, to one consumer each; an empty queue is waited at.
func TestQueue(t *testing.T) {
	bubble(t, func(w *world) {
		q := recipes.NewQueue(w.Connect(), "/q")
		n, err := q.Len(w.ctx)
		require.NoError(t, err)
		require.Zero(t, n)
		_, err = q.TryClaim(w.ctx)
		require.ErrorIs(t, err, recipes.ErrNone)
		for i := range 5 {
			require.NoError(t, q.Put(w.ctx, fmt.Append(nil, i)))
		}
		consumers := []*recipes.Queue{recipes.NewQueue(w.Connect(), "/q"), recipes.NewQueue(w.Connect(), "/q")}
		for i := range 5 {
			data, err := consumers[i%2].Take(w.ctx)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(data))
		}
		a := background(func() ([]byte, error) { return consumers[0].Take(w.ctx) })
		b := background(func() ([]byte, error) { return consumers[1].Take(w.ctx) })
		require.NoError(t, q.Put(w.ctx, []byte("x")))
		require.Equal(t, "x", string(a.get(t)), "the first in line")
		require.True(t, b.pending())
		require.NoError(t, q.Put(w.ctx, []byte("y")))
		require.Equal(t, "y", string(b.get(t)))
		for _, dir := range []string{"/q/items", "/q/claims", "/q/line"} {
			require.Empty(t, w.children(dir))
		}
	})
}

// An item that is claimed is nobody else's until it is released or its holder's
// session ends; acknowledged, it is gone.
func TestQueueClaims(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		q, other := recipes.NewQueue(c, "/q"), recipes.NewQueue(w.Connect(), "/q")
		for _, s := range []string{"a", "b"} {
			require.NoError(t, q.Put(w.ctx, []byte(s)))
		}
		a, err := q.Claim(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "a", string(a.Data))
		b, err := other.TryClaim(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "b", string(b.Data))
		n, err := q.Len(w.ctx)
		require.NoError(t, err)
		require.Equal(t, 2, n)

		next := background(func() (*recipes.Item, error) { return other.Claim(w.ctx) })
		require.NoError(t, b.Release(w.ctx))
		b = next.get(t)
		require.Equal(t, "b", string(b.Data))
		next = background(func() (*recipes.Item, error) { return other.Claim(w.ctx) })
		w.Expire(c)
		<-a.Done()
		require.ErrorIs(t, a.Ack(w.ctx), recipes.ErrLost)
		again := next.get(t)
		require.Equal(t, "a", string(again.Data), "at least once")
		require.NoError(t, again.Ack(w.ctx))
		require.NoError(t, b.Ack(w.ctx))
		require.ErrorIs(t, b.Ack(w.ctx), recipes.ErrReleased)
		require.Empty(t, w.children("/q/items"))
		require.Empty(t, w.children("/q/claims"))
	})
}

// An item put wakes the first in line only.
func TestQueueNoHerd(t *testing.T) {
	bubble(t, func(w *world) {
		var counters []*counter
		var takes []*result[[]byte]
		for i := range 5 {
			nw := newCounter(w.Memory.Host(fmt.Sprintf("taker-%d", i)))
			counters = append(counters, nw)
			q := recipes.NewQueue(w.ConnectConfig(zk.ClientConfig{Network: nw}), "/q")
			takes = append(takes, background(func() ([]byte, error) { return q.Take(w.ctx) }))
		}
		for _, nw := range counters {
			nw.reset()
		}
		require.NoError(t, recipes.NewQueue(w.Connect(), "/q").Put(w.ctx, []byte("x")))
		takes[0].get(t)
		synctest.Wait()
		require.NotZero(t, counters[1].count(opChildren2), "the next is first now")
		for _, nw := range counters[2:] {
			require.Zero(t, nw.count(opChildren2, opGetData, opExists, opCreate2))
		}
	})
}

// Whichever answer is lost, each item that was put is taken once.
func TestQueueLostReplies(t *testing.T) {
	bubble(t, func(w *world) {
		put, got := 0, 0
		for cut := range 30 {
			c := w.Connect()
			q := recipes.NewQueue(c, "/q")
			for _, id := range w.IDs() {
				w.Memory.CutAfter(fmt.Sprintf("zk-%d", id), w.ClientHost(c), int64(cut*15))
			}
			require.NoError(t, q.Put(w.ctx, fmt.Append(nil, put)))
			put++
			data, err := q.Take(w.ctx)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(got), string(data))
			got++
			require.NoError(t, c.Close())
		}
		require.Empty(t, w.children("/q/items"))
		require.Empty(t, w.children("/q/claims"))
	})
}

// Who gives up waiting leaves the line, and takes nothing with it.
func TestQueueCancel(t *testing.T) {
	bubble(t, func(w *world) {
		q := recipes.NewQueue(w.Connect(), "/q")
		ctx, cancel := context.WithCancel(w.ctx)
		r := background(func() ([]byte, error) { return q.Take(ctx) })
		cancel()
		require.ErrorIs(t, r.failure(), context.Canceled)
		synctest.Wait()
		require.Empty(t, w.children("/q/line"))
		require.NoError(t, q.Put(w.ctx, []byte("x")))

		it, err := q.Claim(w.ctx)
		require.NoError(t, err)
		require.NoError(t, it.Release(w.ctx))
		data, err := q.Take(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "x", string(data))
	})
}

// An acknowledgement without a connection goes on when there is one.
func TestQueueAckWithoutConnection(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		q := recipes.NewQueue(c, "/q")
		require.NoError(t, q.Put(w.ctx, []byte("x")))
		it, err := q.Claim(w.ctx)
		require.NoError(t, err)
		w.CutOff(c)
		ctx, cancel := context.WithTimeout(w.ctx, 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, it.Ack(ctx), context.DeadlineExceeded)
		w.Heal()
		require.NoError(t, c.Sync(w.ctx, "/"))
		synctest.Wait()
		require.Empty(t, w.children("/q/items"))
	})
}

// The lowest number first, then the oldest.
func TestPriorityQueue(t *testing.T) {
	bubble(t, func(w *world) {
		q := recipes.NewPriorityQueue(w.Connect(), "/p")
		for i, p := range []int64{5, -3, 5, 0, -1 << 63, 1<<63 - 1} {
			require.NoError(t, q.Put(w.ctx, fmt.Append(nil, i), p))
		}
		n, err := q.Len(w.ctx)
		require.NoError(t, err)
		require.Equal(t, 6, n)
		it, err := q.TryClaim(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "4", string(it.Data))
		require.NoError(t, it.Ack(w.ctx))
		it, err = q.Claim(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "1", string(it.Data))
		require.NoError(t, it.Ack(w.ctx))
		for _, want := range []string{"3", "0", "2", "5"} {
			data, err := q.Take(w.ctx)
			require.NoError(t, err)
			require.Equal(t, want, string(data))
		}
	})
}

// Nothing is given before it is due, and the earliest first, whenever it was put.
func TestDelayQueue(t *testing.T) {
	bubble(t, func(w *world) {
		q := recipes.NewDelayQueue(w.Connect(), "/d")
		start := time.Now()
		require.NoError(t, q.Put(w.ctx, []byte("late"), 20*time.Second))
		a := background(func() ([]byte, error) { return q.Take(w.ctx) })
		_, err := q.TryClaim(w.ctx)
		require.ErrorIs(t, err, recipes.ErrNone)
		require.NoError(t, q.Put(w.ctx, []byte("early"), 2*time.Second))
		require.Equal(t, "early", string(a.get(t)))
		require.WithinDuration(t, start.Add(2*time.Second), time.Now(), time.Second)
		it, err := q.Claim(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "late", string(it.Data))
		require.WithinDuration(t, start.Add(20*time.Second), time.Now(), time.Second)
		n, err := q.Len(w.ctx)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}
