package mq

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/zk"
)

// controllerRunner carries out what the broker's controller core decides, while it is the controller and when it stands for
// election. It lives as long as one ZooKeeper session.
//
// The mutex guards the core. Effects are collected under it and carried out after it is released.
type controllerRunner struct {
	zk  *zk.Client
	log *slog.Logger
	ctx context.Context // ends with the session
	wg  *sync.WaitGroup

	mu struct {
		sync.Mutex
		core    *controller.Controller
		stopped bool
		token   uint64
		waiting map[uint64]chan controller.Reply
	}
}

func newControllerRunner(ctx context.Context, wg *sync.WaitGroup, c *zk.Client, cfg *Config, rng *rand.Rand) *controllerRunner {
	r := &controllerRunner{zk: c, log: cfg.Logger, ctx: ctx, wg: wg}
	r.mu.core = controller.New(controller.Config{Broker: cfg.BrokerID, Rand: rng, UncleanElection: cfg.UncleanLeaderElectionEnable})
	r.mu.waiting = map[uint64]chan controller.Reply{}
	return r
}

// put and remove show znodes to the core.
func (r *controllerRunner) put(n controller.Node) {
	r.step(func(c *controller.Controller) { c.Put(n) })
}

func (r *controllerRunner) remove(path string) {
	r.step(func(c *controller.Controller) { c.Remove(path, 0) })
}

// start has the broker stand for election.
func (r *controllerRunner) start(nowMillis int64) {
	r.step(func(c *controller.Controller) { c.Start(r.zk.SessionID(), nowMillis) })
}

// stop ends reign and candidature; whoever waits is answered.
func (r *controllerRunner) stop() {
	r.step(func(c *controller.Controller) { c.Stop() })
	r.mu.Lock()
	r.mu.stopped = true
	waiting := r.mu.waiting
	r.mu.waiting = map[uint64]chan controller.Reply{}
	r.mu.Unlock()
	for token, ch := range waiting {
		ch <- controller.Reply{Token: token, Code: controller.NotController}
	}
}

// active reports whether this broker is the controller.
func (r *controllerRunner) active() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.core.Reign().Active
}

// step calls the core and carries out what it wants.
func (r *controllerRunner) step(fn func(*controller.Controller)) {
	r.mu.Lock()
	if r.mu.stopped {
		r.mu.Unlock()
		return
	}
	fn(r.mu.core)
	var todo []controller.Ready
	for rd, ok := r.mu.core.Ready(); ok; rd, ok = r.mu.core.Ready() {
		todo = append(todo, rd)
	}
	r.mu.Unlock()
	for i := range todo {
		r.carryOut(&todo[i])
	}
}

// carryOut starts writes and reads, and delivers replies. It does not wait for anything.
func (r *controllerRunner) carryOut(rd *controller.Ready) {
	if rd.Reign != nil {
		r.log.Info("controller", "active", rd.Reign.Active, "epoch", rd.Reign.Epoch)
	}
	for _, reply := range rd.Replies {
		r.mu.Lock()
		ch := r.mu.waiting[reply.Token]
		delete(r.mu.waiting, reply.Token)
		r.mu.Unlock()
		if ch != nil {
			ch <- reply
		}
	}
	for i := range rd.Writes {
		w := &rd.Writes[i]
		id, reason := w.ID, w.Reason
		r.zk.GoMulti(r.ctx, func(_ []zk.OpResult, err error) {
			outcome := outcomeOf(err)
			if outcome != layout.Committed {
				r.log.Debug("controller write", "reason", reason, "outcome", outcome.String(), "err", err)
			}
			r.step(func(c *controller.Controller) { c.Done(id, outcome) })
		}, zkOps(w.Ops)...)
	}
	if len(rd.Reads) > 0 {
		paths := rd.Reads
		r.wg.Go(func() { r.readAgain(paths) })
	}
}

// readAgain reads what the core wants to see again, behind a sync.
func (r *controllerRunner) readAgain(paths []string) {
	err := r.zk.Sync(r.ctx, "/")
	for _, path := range paths {
		var data []byte
		var st zk.Stat
		gerr := err
		if gerr == nil {
			data, st, gerr = r.zk.Get(r.ctx, path)
		}
		ok := true
		switch {
		case gerr == nil:
			r.put(controller.Node{Path: path, Data: data, Version: st.Version, Mzxid: st.Mzxid, Owner: st.EphemeralOwner})
		case errors.Is(gerr, zk.ErrNoNode):
			r.remove(path)
		default:
			ok = false
			pause(r.ctx, zkRetryPause)
		}
		if r.ctx.Err() != nil {
			return
		}
		r.step(func(c *controller.Controller) { c.ReadDone(path, ok) })
	}
}

// ask passes a request to the core and waits for its reply.
func (r *controllerRunner) ask(ctx context.Context, fn func(c *controller.Controller, token uint64)) controller.Reply {
	ch := make(chan controller.Reply, 1)
	r.mu.Lock()
	if r.mu.stopped {
		r.mu.Unlock()
		return controller.Reply{Code: controller.NotController}
	}
	r.mu.token++
	token := r.mu.token
	r.mu.waiting[token] = ch
	r.mu.Unlock()
	r.step(func(c *controller.Controller) { fn(c, token) })
	select {
	case reply := <-ch:
		return reply
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	r.mu.Lock()
	delete(r.mu.waiting, token)
	r.mu.Unlock()
	return controller.Reply{Token: token, Code: controller.RequestTimedOut, Text: "the outcome is unknown"}
}

// outcome turns a reply into the API's terms.
func outcome(r controller.Reply) api.Outcome {
	return api.Outcome{Code: api.Code(r.Code), Text: r.Text, ID: r.Topic.ID, Replicas: r.Topic.Replicas}
}
