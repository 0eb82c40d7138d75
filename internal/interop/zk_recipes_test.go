package interop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	gozk "github.com/go-zookeeper/zk"
	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

// Recipes use the public client only, so they must do on Apache ZooKeeper what
// they do on our servers.

// TestRecipesOnApache runs the recipes on Apache ZooKeeper.
func TestRecipesOnApache(t *testing.T) { startApache(t, 1).run(t, recipeFlows) }

// TestRecipesOnOurs runs the recipes on our servers.
func TestRecipesOnOurs(t *testing.T) {
	onOurs(t, func(t *testing.T, tg *target) { tg.run(t, recipeFlows) })
}

var recipeFlows = []flow{
	{"mutex", recipeMutex},
	{"mutex with go-zookeeper", recipeMutexMixed},
	{"rwmutex", recipeRWMutex},
	{"semaphore", recipeSemaphore},
	{"election", recipeElection},
	{"barriers", recipeBarriers},
	{"queues", recipeQueues},
	{"counter under cuts", recipeCounterCuts},
	{"membership", recipeMembership},
	{"config", recipeConfig},
	{"cache", recipeCache},
	{"registry", recipeRegistry},
}

// expire ends a client's session, by taking it over.
func expire(t *testing.T, tg *target, cl *zk.Client) {
	t.Helper()
	session := cl.Session()
	ctx := testContext(t)
	for {
		thief, err := zk.Connect(ctx, zk.ClientConfig{Servers: tg.servers, Network: tg.network, Session: &session})
		if errors.Is(err, zk.ErrSessionExpired) {
			return
		}
		require.NoError(t, err)
		thief.Close()
	}
}

// later calls in the background.
func later[T any](call func() (T, error)) func(t *testing.T) T {
	type result struct {
		v   T
		err error
	}
	ch := make(chan result, 1)
	go func() {
		v, err := call()
		ch <- result{v, err}
	}()
	return func(t *testing.T) T {
		t.Helper()
		r := <-ch
		require.NoError(t, r.err)
		return r.v
	}
}

func recipeMutex(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b, c := tg.connect(t), tg.connect(t), tg.connect(t)
	ga, err := recipes.NewMutex(a, "/m").Lock(ctx)
	require.NoError(t, err)
	_, err = recipes.NewMutex(b, "/m").TryLock(ctx)
	require.ErrorIs(t, err, recipes.ErrTaken)
	gave, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = recipes.NewMutex(b, "/m").Lock(gave)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	next := later(func() (*recipes.Grant, error) { return recipes.NewMutex(c, "/m").Lock(ctx) })
	require.NoError(t, ga.Confirm(ctx))
	expire(t, tg, a)
	gc := next(t)
	<-ga.Done()
	require.ErrorIs(t, ga.Err(), recipes.ErrLost)
	require.Greater(t, gc.Token(), ga.Token())
	_, err = c.Multi(ctx, gc.Check(), zk.CreateOp("/fenced", nil, zk.Persistent))
	require.NoError(t, err)
	_, err = c.Multi(ctx, ga.Check(), zk.CreateOp("/late", nil, zk.Persistent))
	require.ErrorIs(t, err, zk.ErrNoNode)
	require.NoError(t, gc.Release(ctx))
}

// go-zookeeper's Lock and ours exclude one another.
func recipeMutexMixed(t *testing.T, tg *target) {
	ctx := testContext(t)
	conn, _, _ := goConnect(t, tg, nil, 10*time.Second)
	chroot := "/" + escaped(t.Name())
	ours := recipes.NewMutex(tg.connect(t), "/m")
	var mu sync.Mutex
	holders, turns := 0, 0
	enter := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		if holders += n; holders > 1 {
			t.Error("two holders")
		}
		turns++
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20 {
			l := gozk.NewLock(conn, chroot+"/m", gozk.WorldACL(gozk.PermAll))
			if err := l.Lock(); err != nil {
				t.Error(err)
				return
			}
			enter(1)
			enter(-1)
			if err := l.Unlock(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Go(func() {
		for range 20 {
			g, err := ours.Lock(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			enter(1)
			enter(-1)
			if err := g.Release(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	require.Equal(t, 80, turns)
}

func recipeRWMutex(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b, c := tg.connect(t), tg.connect(t), tg.connect(t)
	w, err := recipes.NewRWMutex(a, "/rw").Lock(ctx)
	require.NoError(t, err)
	r := later(func() (*recipes.Grant, error) { return recipes.NewRWMutex(b, "/rw").RLock(ctx) })
	_, err = recipes.NewRWMutex(c, "/rw").TryRLock(ctx)
	require.ErrorIs(t, err, recipes.ErrTaken)
	require.NoError(t, recipes.NewRWMutex(a, "/rw").Downgrade(ctx, w))
	gr := r(t)
	require.NoError(t, w.Release(ctx))
	require.NoError(t, gr.Release(ctx))
}

func recipeSemaphore(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b, c := tg.connect(t), tg.connect(t), tg.connect(t)
	ga, err := recipes.NewSemaphore(a, "/s", 2).Acquire(ctx)
	require.NoError(t, err)
	gb, err := recipes.NewSemaphore(b, "/s", 2).Acquire(ctx)
	require.NoError(t, err)
	require.Greater(t, gb.Token(), ga.Token())
	_, err = recipes.NewSemaphore(c, "/s", 2).TryAcquire(ctx)
	require.ErrorIs(t, err, recipes.ErrTaken)
	next := later(func() (*recipes.Grant, error) { return recipes.NewSemaphore(c, "/s", 2).Acquire(ctx) })
	require.NoError(t, ga.Release(ctx))
	require.NoError(t, next(t).Release(ctx))
}

func recipeElection(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b := tg.connect(t), tg.connect(t)
	ea, eb := recipes.NewElection(a, "/e"), recipes.NewElection(b, "/e")
	ea.Data, eb.Data = []byte("a"), []byte("b")
	ga, err := ea.Campaign(ctx)
	require.NoError(t, err)
	next := later(func() (*recipes.Grant, error) { return eb.Campaign(ctx) })
	for leader, err := range eb.Observe(ctx) {
		require.NoError(t, err)
		if string(leader.Data) == "b" {
			break
		}
		if leader.Token == ga.Token() {
			expire(t, tg, a)
		}
	}
	require.NoError(t, next(t).Release(ctx))
}

func recipeBarriers(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b := tg.connect(t), tg.connect(t)
	bar := recipes.NewBarrier(a, "/b")
	require.NoError(t, bar.Raise(ctx))
	waited := later(func() (int, error) { return 0, recipes.NewBarrier(b, "/b").Wait(ctx) })
	require.NoError(t, bar.Lower(ctx))
	waited(t)
	for range 3 {
		round := func(cl *zk.Client) func() (int, error) {
			return func() (int, error) {
				p, err := recipes.NewDoubleBarrier(cl, "/d", 2).Enter(ctx)
				if err != nil {
					return 0, err
				}
				return 0, p.Leave(ctx)
			}
		}
		x, y := later(round(a)), later(round(b))
		x(t)
		y(t)
	}
}

func recipeQueues(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b := tg.connect(t), tg.connect(t)
	q, other := recipes.NewQueue(a, "/q"), recipes.NewQueue(b, "/q")
	taken := later(func() ([]byte, error) { return other.Take(ctx) })
	for i := range 3 {
		require.NoError(t, q.Put(ctx, fmt.Append(nil, i)))
	}
	require.Len(t, taken(t), 1)
	it, err := q.Claim(ctx)
	require.NoError(t, err)
	expire(t, tg, a)
	require.NoError(t, b.Sync(ctx, "/"))
	again, err := other.Claim(ctx)
	require.NoError(t, err)
	require.Equal(t, it.Data, again.Data)
	require.NoError(t, again.Ack(ctx))
	_, err = other.Take(ctx)
	require.NoError(t, err)
	_, err = other.TryClaim(ctx)
	require.ErrorIs(t, err, recipes.ErrNone)

	p := recipes.NewPriorityQueue(b, "/p")
	require.NoError(t, p.Put(ctx, []byte("later"), 2))
	require.NoError(t, p.Put(ctx, []byte("sooner"), -1))
	data, err := p.Take(ctx)
	require.NoError(t, err)
	require.Equal(t, "sooner", string(data))
	d := recipes.NewDelayQueue(b, "/delay")
	require.NoError(t, d.Put(ctx, []byte("x"), 50*time.Millisecond))
	_, err = d.Take(ctx)
	require.NoError(t, err)
}

// Adds through a connection that is cut again and again: the sum is that of what
// was acknowledged, and at most what is unknown.
func recipeCounterCuts(t *testing.T, tg *target) {
	ctx := testContext(t)
	cut := tg.cutter()
	k := recipes.NewCounter(tg.connect(t, zk.ClientConfig{Network: cut}), "/k")
	var wg sync.WaitGroup
	acked, unknown := int64(0), int64(0)
	for i := range 30 {
		if i%3 == 2 {
			wg.Go(func() { cut.cut(false) })
		}
		switch _, err := k.Add(ctx, 1); {
		case err == nil:
			acked++
		case errors.Is(err, zk.ErrConnectionLoss):
			unknown++
		default:
			t.Error(err)
		}
	}
	wg.Wait()
	cl := tg.connect(t)
	require.NoError(t, cl.Sync(ctx, "/"))
	v, err := recipes.NewCounter(cl, "/k").Value(ctx)
	require.NoError(t, err)
	t.Logf("acknowledged %d, unknown %d, sum %d", acked, unknown, v)
	require.GreaterOrEqual(t, v, acked)
	require.LessOrEqual(t, v, acked+unknown)
}

func recipeMembership(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b := tg.connect(t), tg.connect(t)
	m := recipes.NewMembership(b, "/g")
	_, err := recipes.NewMembership(a, "/g").Join(ctx, "x", []byte("1"))
	require.NoError(t, err)
	again := later(func() (*recipes.Grant, error) { return m.Join(ctx, "x", []byte("2")) })
	for members, err := range m.Watch(ctx) {
		require.NoError(t, err)
		if len(members) == 1 && string(members[0].Data) == "2" {
			break
		}
		if len(members) == 1 {
			expire(t, tg, a)
		}
	}
	require.NoError(t, again(t).Release(ctx))

	p := recipes.NewPersistentEphemeral(b, "/p", []byte("p"))
	require.NoError(t, p.Start(ctx))
	first := p.Grant()
	require.NoError(t, b.Delete(ctx, "/p", zk.AnyVersion))
	<-first.Done()
	waitFor(t, "it is made again", func() bool { return p.Grant() != first && p.Grant().Err() == nil })
	require.NoError(t, p.Stop(ctx))
}

func recipeConfig(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b := tg.connect(t), tg.connect(t)
	for v, err := range recipes.NewConfigWatch(a, "/conf").Values(ctx) {
		require.NoError(t, err)
		if !v.Exists {
			_, err := b.Create(ctx, "/conf", []byte("1"), zk.Persistent)
			require.NoError(t, err)
			continue
		}
		if v.Version == 3 {
			break
		}
		_, err = b.Set(ctx, "/conf", []byte("2"), v.Version)
		require.NoError(t, err)
	}
}

func recipeCache(t *testing.T, tg *target) {
	ctx := testContext(t)
	cut := tg.cutter()
	a, b := tg.connect(t, zk.ClientConfig{Network: cut}), tg.connect(t)
	require.NoError(t, b.EnsurePath(ctx, "/t/a/b"))
	k := recipes.NewCache(a, "/t")
	require.NoError(t, a.Sync(ctx, "/"))
	require.NoError(t, k.Start(ctx))
	defer k.Close()
	require.Equal(t, 3, k.Len())
	cut.cut(true)
	require.NoError(t, b.DeleteAll(ctx, "/t/a"))
	require.NoError(t, b.EnsurePath(ctx, "/t/c/d"))
	cut.heal()
	waitFor(t, "the copy is the tree", func() bool {
		_, gone := k.Node("/t/a/b")
		_, come := k.Node("/t/c/d")
		return !gone && come && !k.Stale()
	})
	_, err := b.Set(ctx, "/t/c", []byte("x"), zk.AnyVersion)
	require.NoError(t, err)
	waitFor(t, "the set is seen", func() bool {
		n, _ := k.Node("/t/c")
		return string(n.Data) == "x"
	})
}

func recipeRegistry(t *testing.T, tg *target) {
	ctx := testContext(t)
	a, b := tg.connect(t), tg.connect(t)
	ra := recipes.NewRegistry(a, "/services")
	_, err := ra.Register(ctx, recipes.Instance{Service: "web", ID: "a", Load: 1})
	require.NoError(t, err)
	reg, err := recipes.NewRegistry(b, "/services").Register(ctx, recipes.Instance{Service: "web", ID: "b", Load: 3})
	require.NoError(t, err)
	s, err := recipes.NewRegistry(b, "/services").Service(ctx, "web")
	require.NoError(t, err)
	defer s.Close()
	waitFor(t, "both are seen", func() bool { return len(s.Instances()) == 2 })
	in, err := s.Pick()
	require.NoError(t, err)
	require.Equal(t, "a", in.ID)
	require.NoError(t, reg.SetLoad(ctx, 0))
	waitFor(t, "the load is seen", func() bool { return s.Instances()[1].Load == 0 })
	in, err = s.Pick()
	require.NoError(t, err)
	require.Equal(t, "b", in.ID)
	expire(t, tg, a)
	waitFor(t, "a is gone", func() bool { return len(s.Instances()) == 1 })
}
