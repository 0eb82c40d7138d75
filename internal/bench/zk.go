package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// coordinator is a running coordination service of three members.
type coordinator interface {
	// connect opens a session on member i, counted from 0, round and round.
	connect(ctx context.Context, i int) (session, error)
	// leader is the member that leads.
	leader() int
	Close() error
}

// session is a client of a coordinator, for any number of goroutines.
type session interface {
	// create is no error if the path is there.
	create(ctx context.Context, path string, data []byte) error
	set(ctx context.Context, path string, data []byte) error
	// get reads what the session's member has.
	get(ctx context.Context, path string) error
	// read is a linearizable get: not older than what was acknowledged before.
	read(ctx context.Context, path string) error
	Close() error
}

// pipelined is a session that need not wait for the answer to a request before
// it sends the next; done is called in order of the requests.
type pipelined interface {
	goSet(ctx context.Context, path string, data []byte, done func(error))
	goGet(ctx context.Context, path string, done func(error))
}

// coordinatorKind starts coordinators of one kind.
type coordinatorKind struct {
	name   string
	role   Role
	target Target
	start  func(ctx context.Context, env *Env) (coordinator, error)
}

func (k coordinatorKind) is(t Target) coordinatorKind {
	k.target = t
	return k
}

var (
	oursInMemory    = coordinatorKind{name: "vivarium in memory", start: startOurs(false, false)}
	oursOverTCP     = coordinatorKind{name: "vivarium", start: startOurs(true, false)}
	oursOnDisk      = coordinatorKind{name: "vivarium, fsync", start: startOurs(true, true)}
	raftInMemory    = coordinatorKind{name: "hashicorp/raft", role: Peer, start: startRaft(false)}
	null            = coordinatorKind{name: "null server", role: Ceiling, start: startNull}
	zookeeper       = coordinatorKind{name: "ZooKeeper", role: Peer, start: startApache(false)}
	zookeeperOnDisk = coordinatorKind{name: "ZooKeeper, fsync", role: Peer, start: startApache(true)}
)

const (
	coordinatorKeys  = 256
	sharedSessions   = 8 // that goroutines share, spread over the members
	pipelineSessions = 6
	pipelineDepth    = 128 // requests of a session that wait for their answers
	recordBytes      = 100
)

func zkRows() []Row {
	row := func(name, title, unit string, work coordinatorWork, kinds ...coordinatorKind) Row {
		r := Row{Name: "zk/" + name, Title: title, Unit: unit, Lower: unit == "µs" || unit == "ms"}
		for _, k := range kinds {
			r.Subjects = append(r.Subjects, Subject{Name: k.name, Role: k.role, Target: k.target, Start: func(ctx context.Context, env *Env) (*Bench, error) {
				c, err := k.start(ctx, env)
				if err != nil {
					return nil, err
				}
				return work(ctx, env, c)
			}})
		}
		return r
	}
	const rate = "ops/s"
	tcp := func(name, title, unit string, work coordinatorWork, t Target) Row {
		return row("tcp/"+name, title+", TCP, no fsync", unit, work, oursOverTCP.is(t), zookeeper, null)
	}
	disk := func(name, title, unit string, work coordinatorWork, t Target) Row {
		return row("fsync/"+name, title+", TCP, fsync", unit, work, oursOnDisk.is(t), zookeeperOnDisk)
	}
	memory := func(name, title, unit string, work coordinatorWork, t Target) Row {
		return row("memory/"+name, title+", in process", unit, work, oursInMemory.is(t), raftInMemory)
	}
	return []Row{
		memory("set-1-leader", "set, 1 client on the leader, p50", "µs", oneClient(0, doSet), Target{Ratio: 1.7, Figure: "15"}),
		memory("set-1-follower", "set, 1 client on a follower, p50", "µs", oneClient(1, doSet), Target{Ratio: 1, Figure: "25"}),
		memory("set-64", "set, 64 goroutines", rate, goroutines(64, doSet), Target{Ratio: 3.2, Figure: "250k"}),
		memory("set-256", "set, 256 goroutines", rate, goroutines(256, doSet), Target{Ratio: 3.8, Figure: "250k"}),
		memory("read-64", "linearizable get (ours: sync and get), 64 goroutines", rate, goroutines(64, doRead), Target{}),
		row("memory/get-64", "get, 64 goroutines, in process", rate, goroutines(64, doGet),
			oursInMemory.is(Target{Figure: "1M"}), coordinatorKind{name: "map and mutex", role: Ceiling, start: startRaft(false)}),
		row("memory/pipelined-set", "set, 6 pipelined sessions, in process", rate, pipeline(doGoSet), oursInMemory.is(Target{Figure: "300k"})),
		row("memory/pipelined-get", "get, 6 pipelined sessions, in process", rate, pipeline(doGoGet), oursInMemory.is(Target{Figure: "1.5M"})),
		tcp("set-1", "set, 1 client, p50", "µs", oneOnEach(doSet), Target{Ratio: 8, Figure: "65"}),
		tcp("set-64", "set, 64 goroutines", rate, goroutines(64, doSet), Target{Ratio: 5, Figure: "60k"}),
		tcp("set-256", "set, 256 goroutines", rate, goroutines(256, doSet), Target{Ratio: 5, Figure: "80k"}),
		tcp("get-64", "get, 64 goroutines", rate, goroutines(64, doGet), Target{Ratio: 0.8, OfCeiling: true}),
		tcp("mixed-64", "90 % get, 10 % set, 64 goroutines", rate, goroutines(64, doMixed), Target{Ratio: 4, Figure: "70k"}),
		tcp("pipelined-set", "set, 6 pipelined sessions", rate, pipeline(doGoSet), Target{Ratio: 16, Figure: "300k"}),
		tcp("pipelined-get", "get, 6 pipelined sessions", rate, pipeline(doGoGet), Target{Ratio: 50, Figure: "1.5M"}),
		row("tcp/watch-1000", "watch: 1 set → 1,000 sessions, the last one, TCP, no fsync", "ms", fanOut,
			oursOverTCP.is(Target{Ratio: 0.83, OfCeiling: true}), zookeeper, null),
		row("memory/watch-1000", "watch: 1 set → 1,000 sessions, the last one, in process", "ms", fanOut,
			oursInMemory.is(Target{Figure: "1"})),
		disk("set-1", "set, 1 client, p50", "µs", oneOnEach(doSet), Target{Ratio: 1.8, Figure: "500"}),
		disk("set-64", "set, 64 goroutines", rate, goroutines(64, doSet), Target{Ratio: 5, Figure: "45k"}),
		disk("set-256", "set, 256 goroutines", rate, goroutines(256, doSet), Target{Ratio: 4.5, Figure: "60k"}),
	}
}

// operation is one request of a workload; call counts them.
type operation func(ctx context.Context, s session, call int, path string, data []byte) error

func doSet(ctx context.Context, s session, _ int, path string, data []byte) error {
	return s.set(ctx, path, data)
}

func doGet(ctx context.Context, s session, _ int, path string, _ []byte) error {
	return s.get(ctx, path)
}

func doRead(ctx context.Context, s session, _ int, path string, _ []byte) error {
	return s.read(ctx, path)
}

func doMixed(ctx context.Context, s session, call int, path string, data []byte) error {
	if call%10 == 0 {
		return s.set(ctx, path, data)
	}
	return s.get(ctx, path)
}

// coordinatorWork makes a workload's Bench of a coordinator, which it closes.
type coordinatorWork func(ctx context.Context, env *Env, c coordinator) (*Bench, error)

// sessions opens n sessions, the first on the member after the leader that is
// given, and makes the keys.
func sessions(ctx context.Context, c coordinator, n, after int) (open []session, keys []string, closeAll func() error, err error) {
	closeAll = func() error {
		var errs []error
		for _, s := range open {
			errs = append(errs, s.Close())
		}
		return errors.Join(append(errs, c.Close())...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	for i := range n {
		s, err := c.connect(ctx, c.leader()+after+i)
		if err != nil {
			return nil, nil, closeAll, err
		}
		open = append(open, s)
	}
	for i := range coordinatorKeys {
		keys = append(keys, fmt.Sprintf("/key-%d", i))
		if err := open[0].create(ctx, keys[i], payload(recordBytes)); err != nil {
			return nil, nil, closeAll, err
		}
	}
	for _, s := range open {
		if err := await(ctx, func() error { return s.get(ctx, keys[len(keys)-1]) }); err != nil {
			return nil, nil, closeAll, err
		}
	}
	return open, keys, closeAll, nil
}

// oneClient does one operation after the other in one session.
func oneClient(afterLeader int, op operation) coordinatorWork {
	return func(ctx context.Context, env *Env, c coordinator) (*Bench, error) {
		open, keys, closeAll, err := sessions(ctx, c, 1, afterLeader)
		if err != nil {
			return nil, err
		}
		data := payload(recordBytes)
		return &Bench{Close: closeAll, Run: func(ctx context.Context) (float64, error) {
			return latency(env.Dur, func(call int) error { return op(ctx, open[0], call, keys[call%len(keys)], data) })
		}}, nil
	}
}

// oneOnEach does one operation after the other, for a third of the time in a
// session with each of three members.
func oneOnEach(op operation) coordinatorWork {
	const members = 3
	return func(ctx context.Context, env *Env, c coordinator) (*Bench, error) {
		open, keys, closeAll, err := sessions(ctx, c, members, 0)
		if err != nil {
			return nil, err
		}
		data := payload(recordBytes)
		return &Bench{Close: closeAll, Run: func(ctx context.Context) (float64, error) {
			begun := time.Now()
			return latency(env.Dur, func(call int) error {
				on := min(int(members*time.Since(begun)/env.Dur), members-1)
				return op(ctx, open[on], call, keys[call%len(keys)], data)
			})
		}}, nil
	}
}

// goroutines does operations on n goroutines, each one after the other.
func goroutines(n int, op operation) coordinatorWork {
	return func(ctx context.Context, env *Env, c coordinator) (*Bench, error) {
		open, keys, closeAll, err := sessions(ctx, c, sharedSessions, 0)
		if err != nil {
			return nil, err
		}
		data := payload(recordBytes)
		return &Bench{Close: closeAll, Run: func(ctx context.Context) (float64, error) {
			return together(ctx, env, n, func(ctx context.Context, g, call int) error {
				return op(ctx, open[g%len(open)], call, keys[(g*31+call*7)%len(keys)], data)
			})
		}}, nil
	}
}

// fanOut has a thousand sessions watch a znode, spread over the members, sets it in
// another, and waits until the last of them has heard; the best part of a
// repetition is spent on arming the watches.
func fanOut(ctx context.Context, env *Env, c coordinator) (*Bench, error) {
	const watchers = 1000
	open, keys, closeAll, err := sessions(ctx, c, 1+watchers, 0)
	if err != nil {
		return nil, err
	}
	data := payload(recordBytes)
	return &Bench{Close: closeAll, Run: func(ctx context.Context) (float64, error) {
		return latencyMillis(env.Dur, func() (time.Duration, error) {
			var told sync.WaitGroup
			for _, s := range open[1:] {
				told.Add(1)
				if err := s.(watching).watch(ctx, keys[0], told.Done); err != nil {
					return 0, err
				}
			}
			begin := time.Now()
			err := open[0].set(ctx, keys[0], data)
			told.Wait()
			return time.Since(begin), err
		})
	}}, nil
}

// watching is a session that can watch; fired is called once.
type watching interface {
	watch(ctx context.Context, path string, fired func()) error
}

// asynchronous is an operation that does not wait for its answer.
type asynchronous func(ctx context.Context, s pipelined, path string, data []byte, done func(error))

func doGoSet(ctx context.Context, s pipelined, path string, data []byte, done func(error)) {
	s.goSet(ctx, path, data, done)
}

func doGoGet(ctx context.Context, s pipelined, path string, _ []byte, done func(error)) {
	s.goGet(ctx, path, done)
}

// pipeline keeps pipelineDepth operations of each session on their way.
func pipeline(op asynchronous) coordinatorWork {
	return func(ctx context.Context, env *Env, c coordinator) (*Bench, error) {
		open, keys, closeAll, err := sessions(ctx, c, pipelineSessions, 0)
		if err != nil {
			return nil, err
		}
		data := payload(recordBytes)
		return &Bench{Close: closeAll, Run: func(ctx context.Context) (float64, error) {
			var wg sync.WaitGroup
			counts, errs := make([]int, len(open)), make([]error, len(open))
			seconds := env.stopwatch()
			for i, s := range open {
				wg.Go(func() { counts[i], errs[i] = stream(ctx, s.(pipelined), op, keys, data, env.Dur) })
			}
			wg.Wait()
			total := 0
			for _, c := range counts {
				total += c
			}
			return float64(total) / seconds(), errors.Join(errs...)
		}}, nil
	}
}

// stream passes operations to one session for about dur and waits for the
// answers; the session bounds how many are on their way.
func stream(ctx context.Context, s pipelined, op asynchronous, keys []string, data []byte, dur time.Duration) (int, error) {
	const chunk = 16 // between looks at the clock
	var wg sync.WaitGroup
	var failed error // the callbacks of a session are called one after the other
	done := func(err error) {
		if err != nil && failed == nil {
			failed = err
		}
		wg.Done()
	}
	n := 0
	for start := time.Now(); n == 0 || time.Since(start) < dur; n += chunk {
		wg.Add(chunk)
		for i := range chunk {
			op(ctx, s, keys[(n+i)%len(keys)], data, done)
		}
	}
	wg.Wait()
	return n, failed
}
