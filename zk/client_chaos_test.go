package zk_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

var (
	chaosSeeds = flag.Int("chaos-seeds", 3, "how many seeds TestClientChaos runs")
	chaosSeed  = flag.Uint64("chaos-seed", 1, "the first of them")
)

// TestClientChaos has clients read, write and watch one ensemble while servers
// die, are cut off and come back, and checks what P4, P5, P7, P8 and P9 promise.
// Time is virtual; the seed decides the faults but not the goroutines.
func TestClientChaos(t *testing.T) {
	seeds := *chaosSeeds
	if testing.Short() {
		seeds = 1
	}
	for i := range seeds {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				(&chaos{t: t, seed: seed}).run()
			})
			if t.Failed() {
				t.Logf("again: go test ./zk -run TestClientChaos -chaos-seeds 20 -chaos-seed %d", seed)
			}
		})
	}
}

const (
	chaosTime    = 20 * time.Second
	chaosClients = 3
	chaosSession = 4 * time.Second
)

// chaos is one run.
type chaos struct {
	t    *testing.T
	seed uint64
	e    *zktest.Ensemble
	stop atomic.Bool
	wg   sync.WaitGroup

	acked   atomic.Int64 // the greatest version of /reg that a write has been acknowledged with
	stats   struct{ sets, reads, syncs, creates, unknown, fired, expired, faults, resyncs atomic.Int64 }
	mu      sync.Mutex
	values  map[int32]string // of /reg, by version
	created []string
}

func (c *chaos) rng(n uint64) *rand.Rand { return rand.New(rand.NewPCG(c.seed, n)) }

func (c *chaos) run() {
	c.values = make(map[int32]string)
	c.e = zktest.Start(c.t, zk.EnsembleConfig{Seed: c.seed})
	first := c.e.Connect()
	for _, path := range []string{"/reg", "/created", "/live"} {
		_, err := first.Create(c.t.Context(), path, nil, zk.Persistent)
		require.NoError(c.t, err)
	}
	c.values[0] = ""
	for i := range uint64(chaosClients) {
		c.wg.Go(func() { c.sessions(i) })
	}
	c.nemesis()
	c.stop.Store(true)
	c.wg.Wait()
	c.check()
	s := &c.stats
	c.t.Logf("seed %d: %d faults, %d sets, %d reads, %d syncs, %d creates, %d unknown, %d watches fired, %d resyncs, %d sessions expired",
		c.seed, s.faults.Load(), s.sets.Load(), s.reads.Load(), s.syncs.Load(), s.creates.Load(), s.unknown.Load(), s.fired.Load(), s.resyncs.Load(), s.expired.Load())
	for _, n := range []*atomic.Int64{&s.faults, &s.sets, &s.reads, &s.syncs, &s.creates, &s.fired} {
		require.Positive(c.t, n.Load(), "an empty run shows nothing")
	}
}

// slow gives every pair of hosts a delay, so that faults find requests on their
// way: without one, everything happens at one instant of virtual time.
func (c *chaos) slow(rng *rand.Rand) {
	c.e.Heal()
	hosts := []string{"client-0", "client-1", "client-2"}
	for _, id := range c.e.IDs() {
		for _, other := range hosts {
			c.e.Memory.Delay(other, zktest.Host(id), time.Duration(rng.IntN(3000))*time.Microsecond)
		}
		hosts = append(hosts, zktest.Host(id))
	}
}

// nemesis does one thing at a time, so that a quorum is there in between.
func (c *chaos) nemesis() {
	rng := c.rng(99)
	c.slow(rng)
	begun := time.Now()
	for time.Since(begun) < chaosTime {
		<-time.After(time.Duration(rng.IntN(700)) * time.Millisecond)
		id := c.e.IDs()[rng.IntN(3)]
		if rng.IntN(3) == 0 {
			if leader := c.e.Leader(); leader != 0 {
				id = leader
			}
		}
		host := zktest.Host(id)
		away := time.Duration(50+rng.IntN(900)) * time.Millisecond
		c.stats.faults.Add(1)
		switch rng.IntN(5) {
		case 0, 1:
			c.e.Kill(id)
			<-time.After(away)
			c.e.Restart(id)
		case 2:
			c.e.Isolate(id)
			<-time.After(away)
			c.slow(rng)
		case 3:
			c.e.Memory.Isolate(host) // from clients, too
			<-time.After(away)
			c.slow(rng)
		case 4:
			c.e.Memory.CutAfter(fmt.Sprintf("client-%d", rng.IntN(chaosClients)), host, int64(rng.IntN(2000)))
		}
	}
	c.e.Heal()
}

// sessions is one client's life: sessions, one after the other.
func (c *chaos) sessions(i uint64) {
	rng := c.rng(i)
	for n := 0; !c.stop.Load(); n++ {
		cfg := c.e.ClientConfig()
		cfg.Network, cfg.SessionTimeout, cfg.Seed = c.e.Memory.Host(fmt.Sprintf("client-%d", i)), chaosSession, rng.Uint64()
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
		cl, err := zk.Connect(ctx, cfg)
		if err != nil {
			c.t.Errorf("connect: %v", err)
			cancel()
			return
		}
		s := &chaosSessionRun{c: c, cl: cl, ctx: ctx, name: fmt.Sprintf("%d-%d", i, n)}
		var wg sync.WaitGroup
		works := []func(*rand.Rand){s.writes, s.reads, s.watches}
		if i == 0 {
			works[0] = s.reads // a session without writes, behind which its reads would wait
		}
		for j, work := range works {
			r := rand.New(rand.NewPCG(rng.Uint64(), uint64(j)))
			wg.Go(func() { work(r) })
		}
		life := 2*time.Second + time.Duration(rng.IntN(8000))*time.Millisecond
		for begun := time.Now(); time.Since(begun) < life && !c.stop.Load() && cl.Err() == nil; {
			<-time.After(10 * time.Millisecond)
		}
		s.over.Store(true)
		if rng.IntN(2) == 0 {
			cl.Abandon() // as a process that dies: its ephemerals must go all the same
		}
		wg.Wait()
		cl.Close()
		cancel()
	}
}

// chaosSessionRun is what one session does.
type chaosSessionRun struct {
	c    *chaos
	cl   *zk.Client
	ctx  context.Context
	name string
	over atomic.Bool
}

// failed says whether the session is over, and complains about what is no reason.
func (s *chaosSessionRun) failed(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, zk.ErrConnectionLoss):
		s.c.stats.unknown.Add(1)
		return s.over.Load()
	case errors.Is(err, zk.ErrSessionExpired):
		s.c.stats.expired.Add(1)
		return true
	case errors.Is(err, zk.ErrClosed) && s.over.Load():
		return true
	}
	s.c.t.Errorf("session %s: %v", s.name, err)
	return true
}

func chaosPause(rng *rand.Rand) { <-time.After(time.Duration(1+rng.IntN(20)) * time.Millisecond) }

// writes sets /reg, whose version tells the order of writes, and creates.
func (s *chaosSessionRun) writes(rng *rand.Rand) {
	if _, err := s.cl.Create(s.ctx, "/live/"+s.name, nil, zk.Ephemeral); s.failed(err) {
		return
	}
	var zxid int64
	for i := 0; !s.over.Load(); i++ {
		chaosPause(rng)
		value := fmt.Sprintf("%s-%d", s.name, i)
		if rng.IntN(2) == 0 {
			path := "/created/" + value
			res, err := s.cl.Do(s.ctx, zk.CreateOp(path, nil, zk.Persistent))
			if s.failed(err) {
				return
			}
			if err == nil {
				zxid = s.monotone(zxid, res.Zxid)
				s.c.stats.creates.Add(1)
				s.c.mu.Lock()
				s.c.created = append(s.c.created, path)
				s.c.mu.Unlock()
			}
			continue
		}
		floor := s.c.acked.Load()
		res, err := s.cl.Do(s.ctx, zk.SetOp("/reg", []byte(value), zk.AnyVersion))
		if s.failed(err) {
			return
		}
		if err != nil {
			continue
		}
		zxid = s.monotone(zxid, res.Zxid)
		s.c.stats.sets.Add(1)
		if v := int64(res.Stat.Version); v <= floor {
			s.c.t.Errorf("a set with version %d after one with %d was acknowledged", v, floor)
		}
		s.c.observe(res.Stat.Version, value)
		for v := int64(res.Stat.Version); ; {
			if old := s.c.acked.Load(); old >= v || s.c.acked.CompareAndSwap(old, v) {
				break
			}
		}
	}
}

// monotone checks that the zxids of one goroutine's replies do not fall.
func (s *chaosSessionRun) monotone(before, now int64) int64 {
	if now < before {
		s.c.t.Errorf("session %s: a reply with zxid %#x after one with %#x", s.name, now, before)
	}
	return now
}

// observe checks that everybody sees the same value at a version.
func (c *chaos) observe(version int32, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.values[version]; ok && old != value {
		c.t.Errorf("version %d is %q and %q", version, old, value)
	}
	c.values[version] = value
}

// reads reads /reg: a session never goes back, and after a sync it sees what was
// acknowledged before the sync.
func (s *chaosSessionRun) reads(rng *rand.Rand) {
	var seen int32
	var zxid int64
	for !s.over.Load() {
		chaosPause(rng)
		floor := int64(seen)
		if rng.IntN(4) == 0 {
			floor = max(floor, s.c.acked.Load())
			if s.failed(s.cl.Sync(s.ctx, "/reg")) {
				return
			}
			s.c.stats.syncs.Add(1)
		}
		res, err := s.cl.Do(s.ctx, zk.GetOp("/reg"))
		if s.failed(err) {
			return
		}
		s.c.stats.reads.Add(1)
		zxid = s.monotone(zxid, res.Zxid)
		if int64(res.Stat.Version) < floor {
			s.c.t.Errorf("session %s: version %d after %d", s.name, res.Stat.Version, floor)
		}
		seen = res.Stat.Version
		s.c.observe(seen, string(res.Data))
	}
}

// watches checks that a one-shot watch fires once, and before its client sees
// something newer.
func (s *chaosSessionRun) watches(rng *rand.Rand) {
	err := s.cl.AddWatch(s.ctx, "/live", zk.WatchRecursive, func(ev zk.Event) {
		if ev.Type == zk.EventResync {
			s.c.stats.resyncs.Add(1)
		}
	})
	if s.failed(err) {
		return
	}
	for !s.over.Load() {
		var fired atomic.Int32
		_, armed, err := s.cl.Get(s.ctx, "/reg", zk.Watch(func(ev zk.Event) {
			if ev.Type != zk.EventSession {
				s.c.stats.fired.Add(1)
			}
			if fired.Add(1) > 1 {
				s.c.t.Errorf("session %s: a watch fired twice: %v", s.name, ev)
			}
		}))
		if s.failed(err) {
			return
		}
		for begun := time.Now(); !s.over.Load(); {
			chaosPause(rng)
			_, stat, err := s.cl.Get(s.ctx, "/reg")
			if s.failed(err) {
				return
			}
			if stat.Version > armed.Version && fired.Load() == 0 {
				s.c.t.Errorf("session %s: version %d before the watch on %d fired", s.name, stat.Version, armed.Version)
			}
			if fired.Load() > 0 {
				break
			}
			if time.Since(begun) > 20*time.Second {
				s.c.t.Errorf("session %s: no change in 20 s", s.name)
				return
			}
		}
	}
}

// check reads every server when all is quiet: what was acknowledged is there, and
// the ephemerals of ended sessions are not.
func (c *chaos) check() {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for _, id := range c.e.IDs() {
		cl := c.e.ConnectTo(id)
		require.NoError(c.t, cl.Sync(ctx, "/"))
		data, stat, err := cl.Get(ctx, "/reg")
		require.NoError(c.t, err)
		require.GreaterOrEqual(c.t, int64(stat.Version), c.acked.Load())
		c.observe(stat.Version, string(data))
		for _, path := range c.created {
			_, err := cl.Exists(ctx, path)
			require.NoError(c.t, err, "server %d", id)
		}
		for begun := time.Now(); ; <-time.After(50 * time.Millisecond) {
			names, _, err := cl.Children(ctx, "/live")
			require.NoError(c.t, err)
			if len(names) == 0 {
				break
			}
			require.Less(c.t, time.Since(begun), 3*chaosSession, "ephemerals of dead sessions on server %d: %v", id, names)
		}
	}
}
