package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

var (
	histSeeds = flag.Int("history.seeds", 0, "histories that TestHistory makes; 0: 200, or 40 with -short")
	histSeed  = flag.Uint64("history.seed", 1, "the first of them")
)

const (
	histTime    = 20 * time.Second // virtual
	histClients = 4
)

// histRun makes one history: clients write and read registers while servers are
// killed, cut off, and lose their disks, and sessions expire.
type histRun struct {
	t        *testing.T
	e        *zktest.Ensemble
	seed     uint64
	start    time.Time
	stop     chan struct{}
	mu       sync.Mutex
	ops      []histOp
	sessions int
	faults   map[string]int
}

// TestHistory checks histories of our servers under faults by their zxids, and
// asks porcupine for a second opinion.
func TestHistory(t *testing.T) {
	n := *histSeeds
	if n == 0 {
		n = 200
		if testing.Short() {
			n = 40
		}
	}
	faults, ops, unknown := map[string]int{}, 0, 0
	for i := range n {
		seed := *histSeed + uint64(i)
		r := &histRun{seed: seed, faults: faults}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r.t = t
				r.run()
			})
			if t.Failed() {
				return
			}
			for _, wrong := range checkHistory(r.ops) {
				t.Error(wrong)
			}
			require.Equal(t, porcupine.Ok, linearizable(r.ops, time.Minute), "porcupine, of %d operations", len(r.ops))
		})
		ops += len(r.ops)
		for _, op := range r.ops {
			if op.unknown {
				unknown++
			}
		}
	}
	t.Logf("%d histories, %d operations, %d of unknown outcome, faults: %v", n, ops, unknown, faults)
	require.Positive(t, ops)
	require.Positive(t, unknown)
	for _, kind := range []string{"kill", "isolate", "disk", "expire", "reset"} {
		require.Positive(t, faults[kind], "no %s", kind)
	}
}

func histPath(key int) string { return fmt.Sprintf("/r%d", key) }

func (r *histRun) run() {
	r.e = zktest.Start(r.t, zk.EnsembleConfig{Seed: r.seed, Server: zk.Config{SnapCount: 200}})
	r.start, r.stop = time.Now(), make(chan struct{})
	first := r.e.Connect()
	for key := range histKeys {
		_, err := first.Create(r.t.Context(), histPath(key), nil, zk.Persistent)
		require.NoError(r.t, err)
	}
	rng := rand.New(rand.NewPCG(r.seed, 0))
	r.slow(rng)
	var wg sync.WaitGroup
	for i := range histClients {
		rng := rand.New(rand.NewPCG(r.seed, uint64(i+1)))
		wg.Go(func() { r.life(i, rng) })
	}
	r.nemesis(rng)
	close(r.stop)
	wg.Wait()
	r.e.Heal()
	for _, id := range r.e.IDs() { // what everybody agrees on at the end
		cl := r.e.ConnectTo(id)
		session := r.session()
		for key := range histKeys {
			r.read(cl, session, key, true)
		}
	}
}

func (r *histRun) session() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions++
	return r.sessions
}

func (r *histRun) now() int64 { return int64(time.Since(r.start)) }

func (r *histRun) add(op histOp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

// slow gives messages a time on their way, without which all of virtual time is one instant.
func (r *histRun) slow(rng *rand.Rand) {
	ids := r.e.IDs()
	for i, a := range ids {
		for _, b := range ids[:i] {
			r.e.Memory.Delay(zktest.Host(a), zktest.Host(b), time.Duration(rng.IntN(3000))*time.Microsecond)
		}
		for c := range histClients {
			r.e.Memory.Delay(histHost(c), zktest.Host(a), time.Duration(rng.IntN(3000))*time.Microsecond)
		}
	}
}

func histHost(client int) string { return fmt.Sprintf("history-%d", client) }

var errHistDisk = errors.New("disk error of a test")

func (r *histRun) nemesis(rng *rand.Rand) {
	for time.Since(r.start) < histTime {
		<-time.After(time.Duration(200+rng.IntN(1000)) * time.Millisecond)
		id := r.e.IDs()[rng.IntN(3)]
		if leader := r.e.Leader(); leader != 0 && rng.IntN(2) == 0 {
			id = leader
		}
		away := time.Duration(50+rng.IntN(1500)) * time.Millisecond
		kind := []string{"kill", "kill", "isolate", "disk", "expire", "reset", "reset", "reset", "cut"}[rng.IntN(9)]
		r.faults[kind]++
		switch kind {
		case "kill":
			r.e.Kill(id)
			<-time.After(away)
			r.e.Restart(id)
		case "isolate":
			r.e.Isolate(id)
			<-time.After(away)
			r.e.Heal()
			r.slow(rng)
		case "cut": // from clients, too
			r.e.Memory.Isolate(zktest.Host(id))
			<-time.After(away)
			r.e.Heal()
			r.slow(rng)
		case "disk":
			r.e.FailDisk(id, errHistDisk)
			<-time.After(away)
			r.e.FailDisk(id, nil)
			if r.e.Server(id).Err() != nil {
				r.e.Restart(id)
			}
		case "expire":
			host := histHost(rng.IntN(histClients))
			r.e.Memory.Isolate(host)
			<-time.After(3 * time.Second)
			r.e.Heal()
			r.slow(rng)
		case "reset":
			r.e.Memory.CutAfter(histHost(rng.IntN(histClients)), zktest.Host(id), int64(rng.IntN(1000)))
		}
	}
}

// life is a client's: one session after the other.
func (r *histRun) life(i int, rng *rand.Rand) {
	for n := 0; ; n++ {
		cfg := r.e.ClientConfig()
		cfg.Network, cfg.SessionTimeout, cfg.Seed = r.e.Memory.Host(histHost(i)), 2*time.Second, rng.Uint64()
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
		cl, err := zk.Connect(ctx, cfg)
		cancel()
		if err != nil {
			r.t.Errorf("client %d: %v", i, err)
			return
		}
		session := r.session()
		for j := 0; cl.Err() == nil; j++ {
			select {
			case <-r.stop:
				cl.Close()
				return
			case <-time.After(time.Duration(1+rng.IntN(250)) * time.Millisecond):
				r.do(cl, session, fmt.Sprintf("%d-%d-%d", i, n, j), rng)
			}
		}
		cl.Close()
	}
}

func (r *histRun) do(cl *zk.Client, session int, value string, rng *rand.Rand) {
	key := rng.IntN(histKeys)
	switch rng.IntN(8) {
	case 0, 1:
		r.write(cl, session, value, -1, key)
	case 2:
		r.write(cl, session, value, -1, key, (key+1)%histKeys)
	case 3:
		if seen, ok := r.read(cl, session, key, false); ok {
			r.write(cl, session, value, seen.version, key)
		}
	case 4, 5:
		r.read(cl, session, key, false)
	case 6:
		r.read(cl, session, key, true)
	case 7:
		r.snapshot(cl, session)
	}
}

func (r *histRun) write(cl *zk.Client, session int, value string, expect int32, keys ...int) {
	op := histOp{session: session, kind: histSet, keys: keys, value: value, expect: expect, call: r.now()}
	var err error
	var res []zk.OpResult
	if len(keys) == 1 {
		var one zk.OpResult
		one, err = cl.Do(r.t.Context(), zk.SetOp(histPath(keys[0]), []byte(value), expect))
		res, op.zxid = []zk.OpResult{one}, one.Zxid
	} else {
		ops := make([]zk.Op, len(keys))
		for j, key := range keys {
			ops[j] = zk.SetOp(histPath(key), []byte(value), expect)
		}
		res, err = cl.Multi(r.t.Context(), ops...)
	}
	op.ret = r.now()
	switch {
	case err == nil:
		op.zxid = res[0].Stat.Mzxid
		for j := range res {
			op.seen = append(op.seen, histValue{version: res[j].Stat.Version})
		}
	case errors.Is(err, zk.ErrBadVersion):
		op.refused = true
	case errors.Is(err, zk.ErrConnectionLoss):
		op.unknown, op.ret, op.zxid = true, histNever, 0
	case errors.Is(err, zk.ErrSessionExpired):
		return // it was not sent
	default:
		r.t.Errorf("write: %v", err)
		return
	}
	r.add(op)
}

func (r *histRun) read(cl *zk.Client, session, key int, sync bool) (histValue, bool) {
	op := histOp{session: session, kind: histRead, keys: []int{key}, call: r.now()}
	if sync {
		op.kind = histSync
		if cl.Sync(r.t.Context(), "/") != nil {
			return histValue{}, false
		}
	}
	res, err := cl.Do(r.t.Context(), zk.GetOp(histPath(key)))
	if err != nil {
		return histValue{}, false
	}
	op.ret, op.zxid = r.now(), res.Zxid
	op.seen = []histValue{{string(res.Data), res.Stat.Version, res.Stat.Mzxid}}
	r.add(op)
	return op.seen[0], true
}

func (r *histRun) snapshot(cl *zk.Client, session int) {
	op := histOp{session: session, kind: histSnap, call: r.now()}
	var ops []zk.Op
	for key := range histKeys {
		op.keys = append(op.keys, key)
		ops = append(ops, zk.GetOp(histPath(key)))
	}
	res, err := cl.MultiRead(r.t.Context(), ops...)
	if err != nil {
		return
	}
	op.ret = r.now()
	for _, one := range res {
		op.seen = append(op.seen, histValue{string(one.Data), one.Stat.Version, one.Stat.Mzxid})
	}
	r.add(op)
}
