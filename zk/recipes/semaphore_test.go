package recipes_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

func (w *world) acquire(c *zk.Client) *result[*recipes.Grant] {
	return background(func() (*recipes.Grant, error) { return recipes.NewSemaphore(c, "/s", 2).Acquire(w.ctx) })
}

// Two hold, the others wait in their order, each release lets one in.
func TestSemaphore(t *testing.T) {
	bubble(t, func(w *world) {
		a, b := w.acquire(w.Connect()).get(t), w.acquire(w.Connect()).get(t)
		require.Greater(t, b.Token(), a.Token())
		try := recipes.NewSemaphore(w.Connect(), "/s", 2)
		_, err := try.TryAcquire(w.ctx)
		require.ErrorIs(t, err, recipes.ErrTaken)
		c, d, e := w.acquire(w.Connect()), w.acquire(w.Connect()), w.acquire(w.Connect())
		require.NoError(t, b.Release(w.ctx))
		gc := c.get(t)
		require.True(t, d.pending())
		require.NoError(t, a.Release(w.ctx))
		gd := d.get(t)
		require.Greater(t, gd.Token(), gc.Token())
		require.True(t, e.pending())
		require.NoError(t, gc.Release(w.ctx))
		require.NoError(t, e.get(t).Release(w.ctx))
		require.NoError(t, gd.Release(w.ctx))
		g, err := try.TryAcquire(w.ctx)
		require.NoError(t, err)
		require.NoError(t, g.Release(w.ctx))
		require.Empty(t, w.children("/s/locks"))
		require.Empty(t, w.children("/s/leases"))
	})
}

// Everybody has to agree on the number of permits.
func TestSemaphorePermitsDiffer(t *testing.T) {
	bubble(t, func(w *world) {
		w.acquire(w.Connect()).get(t)
		_, err := recipes.NewSemaphore(w.Connect(), "/s", 3).Acquire(w.ctx)
		require.ErrorIs(t, err, zk.ErrBadArguments)
		require.ErrorContains(t, err, `3 permits, while others have "2"`)
		_, err = recipes.NewSemaphore(w.Connect(), "/t", 0).Acquire(w.ctx)
		require.ErrorIs(t, err, zk.ErrBadArguments)
	})
}

// A lost lease, by the end of its session, lets the next in; so does one who gives
// up waiting.
func TestSemaphoreLoss(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		a := w.acquire(c).get(t)
		w.acquire(w.Connect()).get(t)
		ctx, cancel := context.WithCancel(w.ctx)
		waiter := w.Connect()
		first := background(func() (*recipes.Grant, error) { return recipes.NewSemaphore(waiter, "/s", 2).Acquire(ctx) })
		second := w.acquire(w.Connect())
		cancel()
		require.ErrorIs(t, first.failure(), context.Canceled)
		require.True(t, second.pending())
		w.Expire(c)
		<-a.Done()
		require.ErrorIs(t, a.Err(), recipes.ErrLost)
		second.get(t)
		require.Len(t, w.children("/s/leases"), 2)
		require.Empty(t, w.children("/s/locks"))
	})
}

// Whichever answer of an acquisition is lost, there is one lease in the end, and
// nobody left in line.
func TestSemaphoreLostReplies(t *testing.T) {
	bubble(t, func(w *world) {
		for i := range 12 {
			c := w.Connect()
			s := recipes.NewSemaphore(c, fmt.Sprintf("/s%d", i), 1)
			g, err := s.Acquire(w.ctx)
			require.NoError(t, err)
			require.NoError(t, g.Release(w.ctx))
			for _, id := range w.IDs() { // cut a little later each time
				w.Memory.CutAfter(fmt.Sprintf("zk-%d", id), w.ClientHost(c), int64(i*40))
			}
			g, err = s.Acquire(w.ctx)
			require.NoError(t, err)
			require.NoError(t, g.Confirm(w.ctx))
			require.Len(t, w.children(fmt.Sprintf("/s%d/leases", i)), 1)
			require.Empty(t, w.children(fmt.Sprintf("/s%d/locks", i)))
			require.NoError(t, g.Release(w.ctx))
			require.Empty(t, w.children(fmt.Sprintf("/s%d/leases", i)))
			require.NoError(t, c.Close())
		}
	})
}

// One leads, an observer sees each leader, and none when there is none.
func TestElection(t *testing.T) {
	bubble(t, func(w *world) {
		seen := make(chan recipes.Candidate, 100)
		ctx, cancel := context.WithCancel(w.ctx)
		watcher := recipes.NewElection(w.Connect(), "/e")
		_, err := watcher.Leader(w.ctx)
		require.ErrorIs(t, err, recipes.ErrNone)
		observer := background(func() (struct{}, error) {
			for leader, err := range watcher.Observe(ctx) {
				if err != nil {
					return struct{}{}, err
				}
				seen <- leader
			}
			return struct{}{}, nil
		})
		require.Zero(t, (<-seen).Token)
		clients := []*zk.Client{w.Connect(), w.Connect(), w.Connect()}
		var got []*result[*recipes.Grant]
		for i, c := range clients {
			e := recipes.NewElection(c, "/e")
			e.Data = []byte{byte('a' + i)}
			got = append(got, background(func() (*recipes.Grant, error) { return e.Campaign(w.ctx) }))
		}
		all, err := watcher.Candidates(w.ctx)
		require.NoError(t, err)
		require.Len(t, all, 3)
		a := got[0].get(t)
		require.Equal(t, recipes.Candidate{Path: a.Path(), Token: a.Token(), Data: []byte("a")}, <-seen)
		require.Equal(t, all[0].Path, a.Path())
		require.NoError(t, a.SetData(w.ctx, []byte("A")))
		require.Equal(t, "A", string((<-seen).Data))
		w.Expire(clients[0])
		b := got[1].get(t)
		require.Equal(t, b.Token(), (<-seen).Token)
		<-a.Done()
		leader, err := watcher.Leader(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "b", string(leader.Data))
		require.NoError(t, b.Release(w.ctx))
		c := got[2].get(t)
		require.Equal(t, "c", string((<-seen).Data))
		data, err := c.Data(w.ctx)
		require.NoError(t, err)
		require.Equal(t, "c", string(data))
		require.NoError(t, c.Release(w.ctx))
		require.Zero(t, (<-seen).Token)
		cancel()
		require.ErrorIs(t, observer.failure(), context.Canceled)
	})
}

func TestBarrier(t *testing.T) {
	bubble(t, func(w *world) {
		wait := func() *result[struct{}] {
			b := recipes.NewBarrier(w.Connect(), "/b/x")
			return background(func() (struct{}, error) { return struct{}{}, b.Wait(w.ctx) })
		}
		wait().get(t) // it is down
		c := w.Connect()
		b := recipes.NewBarrier(c, "/b/x")
		w.LoseReply(c)
		require.NoError(t, b.Raise(w.ctx))
		require.NoError(t, b.Raise(w.ctx))
		x, y := wait(), wait()
		_, err := c.Set(w.ctx, "/b/x", []byte("why"), zk.AnyVersion)
		require.NoError(t, err)
		require.True(t, x.pending())
		w.LoseReply(c)
		require.NoError(t, b.Lower(w.ctx))
		x.get(t)
		y.get(t)
		require.NoError(t, b.Lower(w.ctx))
		require.NoError(t, b.Raise(w.ctx))
		ctx, cancel := context.WithCancel(w.ctx)
		z := background(func() (struct{}, error) { return struct{}{}, b.Wait(ctx) })
		cancel()
		require.ErrorIs(t, z.failure(), context.Canceled)
	})
}

func (w *world) enter(c *zk.Client) *result[*recipes.Party] {
	return background(func() (*recipes.Party, error) { return recipes.NewDoubleBarrier(c, "/d", 3).Enter(w.ctx) })
}

func (w *world) leave(p *recipes.Party) *result[struct{}] {
	return background(func() (struct{}, error) { return struct{}{}, p.Leave(w.ctx) })
}

// All begin together and leave together, in several rounds; who is early for the
// next round waits for this one's end.
func TestDoubleBarrierRounds(t *testing.T) {
	bubble(t, func(w *world) {
		clients := []*zk.Client{w.Connect(), w.Connect(), w.Connect()}
		early := w.Connect()
		for range 3 {
			var in []*result[*recipes.Party]
			for _, c := range clients {
				for _, r := range in {
					require.True(t, r.pending())
				}
				in = append(in, w.enter(c))
			}
			var out []*result[struct{}]
			ctx, cancel := context.WithCancel(w.ctx)
			next := background(func() (*recipes.Party, error) { return recipes.NewDoubleBarrier(early, "/d", 3).Enter(ctx) })
			for _, r := range in {
				for _, o := range out {
					require.True(t, o.pending())
				}
				out = append(out, w.leave(r.get(t)))
			}
			for _, o := range out {
				o.get(t)
			}
			require.True(t, next.pending())
			require.Len(t, w.children("/d"), 1, "the early one")
			cancel()
			require.ErrorIs(t, next.failure(), context.Canceled)
			synctest.Wait()
			require.Empty(t, w.children("/d"))
		}
	})
}

// A party that dies while others enter is not counted; one that dies inside is
// not waited for; and if all die the barrier is usable again.
func TestDoubleBarrierDeaths(t *testing.T) {
	bubble(t, func(w *world) {
		dead := w.Connect()
		lost := w.enter(dead)
		a, b := w.enter(w.Connect()), (*result[*recipes.Party])(nil)
		w.Expire(dead)
		require.Error(t, lost.failure())
		b = w.enter(w.Connect())
		require.True(t, a.pending(), "two of three are there")
		dies := w.Connect()
		c := w.enter(dies)
		pa, pb := a.get(t), b.get(t)
		pc := c.get(t)
		oa := w.leave(pa)
		require.True(t, oa.pending())
		ob := w.leave(pb)
		require.True(t, oa.pending())
		w.Expire(dies)
		oa.get(t)
		ob.get(t)
		<-pc.Done()
		require.ErrorIs(t, pc.Err(), recipes.ErrLost)
		require.Error(t, pc.Leave(w.ctx))

		var clients []*zk.Client
		var in []*result[*recipes.Party]
		for range 3 {
			clients = append(clients, w.Connect())
			in = append(in, w.enter(clients[len(clients)-1]))
		}
		for _, r := range in {
			r.get(t)
		}
		next := []*result[*recipes.Party]{w.enter(w.Connect()), w.enter(w.Connect()), w.enter(w.Connect())}
		require.True(t, next[0].pending())
		for _, c := range clients {
			w.Expire(c)
		}
		for _, r := range next {
			r.get(t)
		}
	})
}

// A party dies after it was counted and before the barrier opens: it does not.
func TestDoubleBarrierPartyDiesWhenCounted(t *testing.T) {
	bubble(t, func(w *world) {
		dies, nw := w.Connect(), newCounter(w.Memory.Host("last"))
		lost := w.enter(dies)
		a := w.enter(w.Connect())
		multis := 0
		nw.beforeEach(func(typ int32) {
			if typ != opMulti {
				return
			}
			if multis++; multis == 2 { // the first is its entering
				w.Expire(dies)
			}
		})
		b := w.enter(w.ConnectConfig(zk.ClientConfig{Network: nw}))
		require.Error(t, lost.failure())
		require.True(t, a.pending())
		require.True(t, b.pending())
		c := w.enter(w.Connect())
		a.get(t)
		b.get(t)
		c.get(t)
	})
}

// Whichever answer is lost, everybody gets in and out.
func TestDoubleBarrierLostReplies(t *testing.T) {
	bubble(t, func(w *world) {
		clients := []*zk.Client{w.Connect(), w.Connect(), w.Connect()}
		for round := range 24 {
			unlucky := clients[round%3]
			for _, id := range w.IDs() {
				w.Memory.CutAfter(fmt.Sprintf("zk-%d", id), w.ClientHost(unlucky), int64(round*20))
			}
			var in []*result[*recipes.Party]
			for _, c := range clients {
				in = append(in, w.enter(c))
			}
			var out []*result[struct{}]
			for _, r := range in {
				out = append(out, w.leave(r.get(t)))
			}
			for _, o := range out {
				o.get(t)
			}
		}
		require.Empty(t, w.children("/d"))
	})
}
