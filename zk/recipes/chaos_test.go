package recipes_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "first seed of TestChaos")
	chaosSeeds = flag.Int("chaos.seeds", 2, "how many seeds TestChaos tries")
)

const (
	chaosTime    = 20 * time.Second // virtual
	chaosSession = 2 * time.Second
	chaosHosts   = 9
)

// Programs use recipes while servers die and are cut off, connections break,
// answers are lost and sessions expire.
//
//   - Mutex: of two holders at most one takes itself for certain of it; and what
//     holders write under their Check is in the order of their tokens.
//   - Queue: every item that was put is taken; none is taken again once its
//     acknowledgement was; none is taken that was not put.
//   - Counter: it is the sum of what was acknowledged, and of the unknown at most.
//   - Membership: in the end everybody sees those who are there.
//
// Seeds choose the faults; goroutines still race, so a seed is no replay.
func TestChaos(t *testing.T) {
	sum := make(map[string]int)
	seeds, duration := *chaosSeeds, chaosTime
	if testing.Short() {
		seeds, duration = 1, chaosTime/3
	}
	for i := range seeds {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChaos(t, seed)
				c.run(duration)
				for k, n := range c.tally {
					sum[k] += n
				}
			})
		})
	}
	t.Log(sum)
	for _, k := range []string{"grants", "fenced writes", "items put", "items taken", "adds"} {
		require.NotZero(t, sum[k], k)
	}
}

type chaos struct {
	t    *testing.T
	e    *zktest.Ensemble
	ctx  context.Context
	rng  *rand.Rand
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	tally   map[string]int
	holding map[*recipes.Grant]string // whoever takes itself for the holder
	writes  []write
	put     map[string]bool // true: acknowledged; false: unknown
	acked   map[string]bool
	taken   map[string]int
	adds    int64
	unknown int64
}

// write is one that the resource has accepted.
type write struct{ token, mzxid int64 }

func newChaos(t *testing.T, seed uint64) *chaos {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
	t.Cleanup(cancel)
	return &chaos{
		t: t, e: zktest.Start(t, zk.EnsembleConfig{Seed: seed}), ctx: ctx, rng: rand.New(rand.NewPCG(seed, 3)), stop: make(chan struct{}),
		tally: make(map[string]int), holding: make(map[*recipes.Grant]string),
		put: make(map[string]bool), acked: make(map[string]bool), taken: make(map[string]int),
	}
}

func (c *chaos) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally[what]++
}

func (c *chaos) run(duration time.Duration) {
	admin := c.e.Connect()
	_, err := admin.Create(c.ctx, "/resource", nil, zk.Persistent)
	require.NoError(c.t, err)
	for i := range 3 {
		c.program(i, func(ctx context.Context, cl *zk.Client) error { return c.lock(ctx, cl) })
	}
	c.program(3, c.produce)
	for i := 4; i < 6; i++ {
		c.program(i, c.consume)
	}
	for i := 6; i < 8; i++ {
		c.program(i, c.increment)
	}
	c.program(8, c.member)
	c.disturb(duration)
	c.e.WaitLeader()
	close(c.stop)
	c.wg.Wait()
	c.check(admin)
}

// program runs a program on a host of its own, in session after session.
func (c *chaos) program(i int, fn func(context.Context, *zk.Client) error) {
	connect := func(ctx context.Context) (*zk.Client, error) {
		cfg := c.e.ClientConfig()
		cfg.Network, cfg.SessionTimeout = c.e.Memory.Host(chaosHost(i)), chaosSession
		return zk.Connect(ctx, cfg)
	}
	c.wg.Go(func() {
		err := recipes.RunSessions(c.ctx, connect, func(ctx context.Context, cl *zk.Client) error {
			err := fn(ctx, cl)
			if errors.Is(cl.Err(), zk.ErrSessionExpired) {
				c.count("sessions expired")
			}
			return err
		})
		if err != nil {
			c.t.Errorf("program %d: %v", i, err)
		}
	})
}

func chaosHost(i int) string { return fmt.Sprintf("program-%d", i) }

func (c *chaos) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// lock locks, writes to the resource, and releases.
func (c *chaos) lock(ctx context.Context, cl *zk.Client) error {
	m := recipes.NewMutex(cl, "/lock")
	for !c.stopped() {
		short, cancel := context.WithTimeout(ctx, time.Second)
		g, err := m.Lock(short)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			c.count("gave up")
			continue
		case err != nil:
			return err
		}
		c.hold(g)
		for range 5 {
			res, err := cl.Multi(ctx, g.Check(), zk.SetOp("/resource", fmt.Append(nil, g.Token()), zk.AnyVersion))
			if err == nil {
				c.mu.Lock()
				c.writes = append(c.writes, write{g.Token(), res[1].Stat.Mzxid})
				c.mu.Unlock()
			} else if errors.Is(err, zk.ErrNoNode) {
				c.count("fenced")
			}
			time.Sleep(10 * time.Millisecond)
		}
		c.mu.Lock()
		delete(c.holding, g)
		c.mu.Unlock()
		if err := g.Release(ctx); err != nil && cl.Err() == nil && !errors.Is(err, recipes.ErrLost) {
			return err
		}
	}
	return nil
}

// hold checks that nobody else takes itself for the holder without a doubt.
func (c *chaos) hold(g *recipes.Grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally["grants"]++
	if certain(g) {
		for other := range c.holding {
			if certain(other) {
				c.t.Errorf("%s (token %x) and %s (token %x) are both held", g.Path(), g.Token(), other.Path(), other.Token())
			} else {
				c.tally["holders in doubt"]++
			}
		}
	}
	c.holding[g] = g.Path()
}

func certain(g *recipes.Grant) bool {
	select {
	case <-g.Doubt():
		return false
	default:
		return g.Err() == nil
	}
}

// produce puts items with numbers.
func (c *chaos) produce(ctx context.Context, cl *zk.Client) error {
	q := recipes.NewQueue(cl, "/queue")
	for !c.stopped() {
		c.mu.Lock()
		item := fmt.Sprintf("item %d", len(c.put))
		c.put[item] = false
		c.mu.Unlock()
		err := q.Put(ctx, []byte(item))
		if err != nil && !errors.Is(err, zk.ErrConnectionLoss) && cl.Err() == nil {
			return err
		}
		c.mu.Lock()
		c.put[item] = err == nil
		if c.tally["items put"]++; err != nil {
			c.tally["items unknown"]++
		}
		c.mu.Unlock()
		if cl.Err() != nil {
			return cl.Err()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// consume claims items and acknowledges most of them.
func (c *chaos) consume(ctx context.Context, cl *zk.Client) error {
	q := recipes.NewQueue(cl, "/queue")
	for n := 0; ; n++ {
		it, err := q.TryClaim(ctx)
		switch {
		case errors.Is(err, recipes.ErrNone) && c.stopped():
			return nil
		case errors.Is(err, recipes.ErrNone):
			time.Sleep(10 * time.Millisecond)
			continue
		case errors.Is(err, zk.ErrConnectionLoss) && cl.Err() == nil:
			continue
		case err != nil:
			return err
		}
		item := string(it.Data)
		c.mu.Lock()
		if c.acked[item] {
			c.t.Errorf("%s taken again", item)
		}
		if _, ok := c.put[item]; !ok {
			c.t.Errorf("%s was not put", item)
		}
		if c.taken[item]++; c.taken[item] > 1 {
			c.tally["items taken again"]++
		}
		c.tally["items taken"]++
		c.mu.Unlock()
		if n%7 == 0 {
			err = it.Release(ctx)
		} else if err = it.Ack(ctx); err == nil {
			c.mu.Lock()
			c.acked[item] = true
			c.mu.Unlock()
		}
		if err != nil && cl.Err() == nil && !errors.Is(err, recipes.ErrLost) {
			return err
		}
	}
}

func (c *chaos) increment(ctx context.Context, cl *zk.Client) error {
	k := recipes.NewCounter(cl, "/counter")
	for !c.stopped() {
		_, err := k.Add(ctx, 1)
		c.mu.Lock()
		c.tally["adds"]++
		switch {
		case err == nil:
			c.adds++
		case errors.Is(err, zk.ErrConnectionLoss):
			c.unknown++
			c.tally["adds unknown"]++
		case cl.Err() == nil:
			c.t.Errorf("add: %v", err)
		}
		c.mu.Unlock()
		if cl.Err() != nil {
			return cl.Err()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// member is a member that checks, in the end, who else is.
func (c *chaos) member(ctx context.Context, cl *zk.Client) error {
	m := recipes.NewMembership(cl, "/group")
	for _, name := range []string{"a", "b"} {
		if _, err := m.Join(ctx, name, nil); err != nil {
			return err
		}
	}
	select {
	case <-c.stop:
	case <-ctx.Done():
		return ctx.Err()
	}
	for members, err := range m.Watch(ctx) {
		if err != nil || len(members) == 2 {
			return err
		}
	}
	return nil
}

// disturb injects faults for a while, then heals everything.
func (c *chaos) disturb(duration time.Duration) {
	e, rng := c.e, c.rng
	for start := time.Now(); time.Since(start) < duration; {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		id := e.IDs()[rng.IntN(3)]
		host := chaosHost(rng.IntN(chaosHosts))
		switch rng.IntN(7) {
		case 0:
			e.Kill(id)
			c.count("kills")
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			e.Restart(id)
		case 1:
			e.Isolate(id)
			c.count("isolations")
			time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
			e.Heal()
		case 2:
			e.Memory.Isolate(host, zktest.Host(1), zktest.Host(2), zktest.Host(3))
			c.count("cut-offs")
			time.Sleep(time.Duration(rng.IntN(2*int(chaosSession/time.Millisecond))) * time.Millisecond)
			e.Heal()
		case 3:
			e.Memory.Reset(host, zktest.Host(id))
			c.count("resets")
		default:
			e.Memory.CutAfter(zktest.Host(id), host, int64(rng.IntN(200)))
			c.count("answers lost")
		}
	}
	e.Heal()
}

func (c *chaos) check(admin *zk.Client) {
	require.NoError(c.t, admin.Sync(c.ctx, "/"))
	slices.SortFunc(c.writes, func(a, b write) int { return cmp.Compare(a.mzxid, b.mzxid) })
	for i, w := range c.writes[1:] {
		if before := c.writes[i]; w.token < before.token {
			c.t.Errorf("write %x with token %x after write %x with token %x", w.mzxid, w.token, before.mzxid, before.token)
		}
	}
	c.tally["fenced writes"] = len(c.writes)
	for item, acked := range c.put {
		if acked && c.taken[item] == 0 {
			c.t.Errorf("%s was put and never taken", item)
		}
	}
	v, err := recipes.NewCounter(admin, "/counter").Value(c.ctx)
	require.NoError(c.t, err)
	require.GreaterOrEqual(c.t, v, c.adds)
	require.LessOrEqual(c.t, v, c.adds+c.unknown)
	for _, dir := range []string{"/lock", "/queue/items", "/queue/claims", "/group"} {
		names, _, err := admin.Children(c.ctx, dir)
		if err != nil {
			require.ErrorIs(c.t, err, zk.ErrNoNode)
		}
		require.Empty(c.t, names, "%s when all have closed", dir)
	}
}
