package zktest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "first seed of TestChaos")
	chaosSeeds = flag.Int("chaos.seeds", 2, "how many seeds TestChaos tries")
)

const (
	chaosTime    = 8 * time.Second // virtual
	chaosWorkers = 3
)

// Servers are killed, cut off, reset and slowed down while clients write to
// znodes of their own. A write is never lost once acknowledged, never executed
// twice although servers submit it again after an election (R7), takes effect in
// its session's order, and is seen by its session at once (P4, P5).
//
// Seeds choose the faults; goroutines still race, so a seed is no replay.
func TestChaos(t *testing.T) {
	var total tallies
	for i := range *chaosSeeds {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { total.add(chaos(t, seed)) })
		})
	}
	t.Logf("%+v", total)
	require.NotZero(t, total.acked)
	require.NotZero(t, total.unknown)
	require.NotZero(t, total.kills)
}

type tallies struct{ acked, unknown, came, kills, isolations, resets, lost int }

func (t *tallies) add(o tallies) {
	t.acked += o.acked
	t.unknown += o.unknown
	t.came += o.came
	t.kills += o.kills
	t.isolations += o.isolations
	t.resets += o.resets
	t.lost += o.lost
}

func chaos(t *testing.T, seed uint64) tallies {
	e := zktest.Start(t, zk.EnsembleConfig{Seed: seed, Server: zk.Config{SnapCount: 300}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	workers := make([]*worker, chaosWorkers)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range workers {
		cfg := e.ClientConfig()
		cfg.Network = e.Memory.Host(fmt.Sprintf("client-%d", i))
		cfg.SessionTimeout = 30 * time.Second
		c, err := zk.Connect(ctx, cfg)
		require.NoError(t, err)
		workers[i] = &worker{t: t, c: c, path: fmt.Sprintf("/w%d", i)}
		_, err = c.Create(ctx, workers[i].path, nil, zk.Persistent)
		require.NoError(t, err)
		wg.Go(func() { workers[i].run(ctx, stop) })
	}
	sum := disturb(e, rand.New(rand.NewPCG(seed, 1)))
	e.WaitLeader()
	close(stop)
	wg.Wait()
	for _, w := range workers {
		for _, id := range e.IDs() {
			w.checkOn(ctx, e.ConnectTo(id))
		}
		sum.add(w.sum)
		require.NoError(t, w.c.Close())
	}
	require.NoError(t, e.Close())
	return sum
}

// disturb injects faults for a while, then heals everything.
func disturb(e *zktest.Ensemble, rng *rand.Rand) (sum tallies) {
	pick := func() int64 { return e.IDs()[rng.IntN(len(e.IDs()))] }
	for start := time.Now(); time.Since(start) < chaosTime; {
		time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
		switch id := pick(); rng.IntN(6) {
		case 0, 1:
			e.Kill(id)
			sum.kills++
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			e.Restart(id)
		case 2:
			e.Isolate(id)
			sum.isolations++
			time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
			e.Heal()
		case 3:
			other := pick()
			e.Memory.Reset(zktest.Host(id), zktest.Host(other))
			e.Memory.Reset(zktest.Host(id), fmt.Sprintf("client-%d", rng.IntN(chaosWorkers)))
			sum.resets++
		case 4:
			e.Memory.Delay(zktest.Host(id), zktest.Host(pick()), time.Duration(rng.IntN(20))*time.Millisecond)
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			e.Heal()
		case 5:
			client := fmt.Sprintf("client-%d", rng.IntN(chaosWorkers))
			for _, id := range e.IDs() {
				e.Memory.CutAfter(zktest.Host(id), client, 0) // its next answer is lost
			}
			sum.lost++
		}
	}
	e.Heal()
	return sum
}

// worker counts up in a znode of its own. Its version tells how many of its
// writes were executed.
type worker struct {
	t       *testing.T
	c       *zk.Client
	path    string
	n       int   // the last value written or tried
	version int32 // after the last acknowledged write
	pending int32 // writes since with unknown outcome
	sum     tallies
}

func (w *worker) run(ctx context.Context, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			for w.pending > 0 {
				w.write(ctx)
			}
			return
		default:
			w.write(ctx)
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (w *worker) write(ctx context.Context) {
	w.n++
	stat, err := w.c.Set(ctx, w.path, strconv.AppendInt(nil, int64(w.n), 10), zk.AnyVersion)
	if errors.Is(err, zk.ErrConnectionLoss) {
		w.pending++
		w.sum.unknown++
		return
	}
	if err != nil {
		w.t.Errorf("set %s to %d: %v", w.path, w.n, err)
		return
	}
	came := stat.Version - w.version - 1
	if came < 0 || came > w.pending {
		w.t.Errorf("%s: version %d after %d with %d unknown outcomes between", w.path, stat.Version, w.version, w.pending)
	}
	w.sum.acked++
	w.sum.came += int(came)
	w.version, w.pending = stat.Version, 0
	data, seen, err := w.c.Get(ctx, w.path)
	if errors.Is(err, zk.ErrConnectionLoss) {
		return
	}
	if err != nil || string(data) != strconv.Itoa(w.n) || seen.Version != w.version {
		w.t.Errorf("%s: read %q version %d after writing %d version %d: %v", w.path, data, seen.Version, w.n, w.version, err)
	}
}

func (w *worker) checkOn(ctx context.Context, c *zk.Client) {
	require.NoError(w.t, c.Sync(ctx, "/"))
	data, stat, err := c.Get(ctx, w.path)
	require.NoError(w.t, err)
	require.Equal(w.t, strconv.Itoa(w.n), string(data))
	require.Equal(w.t, w.version, stat.Version)
	require.NoError(w.t, c.Close())
}
