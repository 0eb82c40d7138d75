package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// messageLog is a running service that keeps messages: brokers of a topic that
// is there, empty, with mqPartitions partitions where it knows partitions.
type messageLog interface {
	producer(ctx context.Context) (producer, error)
	// consume reads n messages from the beginning.
	consume(ctx context.Context, n int) error
	Close() error
}

// producer is a client that writes. send and flush are for one goroutine.
type producer interface {
	// send passes a message on; done is called once when it was acknowledged
	// or has failed.
	send(ctx context.Context, value []byte, done func(error)) error
	// flush returns when everything that was sent has been answered.
	flush(ctx context.Context) error
	sendSync(ctx context.Context, value []byte) error
	Close() error
}

const (
	mqTopic      = "bench"
	mqPartitions = 6
)

// messageKind starts messageLogs of one kind.
type messageKind struct {
	name   string
	role   Role
	target Target
	start  func(ctx context.Context, env *Env) (messageLog, error)
}

func (k messageKind) is(t Target) messageKind {
	k.target = t
	return k
}

var (
	// Our brokers with our client, in memory or over TCP, and with franz-go.
	oursRF1         = messageKind{name: "vivarium in process", start: startBrokers(brokersOf{rf: 1})}
	oursRF1TCP      = messageKind{name: "vivarium", start: startBrokers(brokersOf{rf: 1, tcp: true})}
	oursRF1Franz    = messageKind{name: "vivarium, franz-go", start: startBrokers(brokersOf{rf: 1, tcp: true, franz: true})}
	oursRF1Disk     = messageKind{name: "vivarium on disk, franz-go", start: startBrokers(brokersOf{rf: 1, tcp: true, franz: true, disk: true})}
	oursRF1Fsync    = messageKind{name: "vivarium, franz-go, fsync", start: startBrokers(brokersOf{rf: 1, tcp: true, franz: true, disk: true, fsync: true})}
	oursRF3         = messageKind{name: "vivarium, R3", start: startBrokers(brokersOf{rf: 3, tcp: true})}
	oursRF3Franz    = messageKind{name: "vivarium, R3, franz-go", start: startBrokers(brokersOf{rf: 3, tcp: true, franz: true})}
	oursRF3Disk     = messageKind{name: "vivarium on disk, R3, franz-go", start: startBrokers(brokersOf{rf: 3, tcp: true, franz: true, disk: true})}
	oursRF3Fsync    = messageKind{name: "vivarium, R3, franz-go, fsync", start: startBrokers(brokersOf{rf: 3, tcp: true, franz: true, disk: true, fsync: true})}
	kfakeInMemory   = messageKind{name: "kfake", role: Peer, start: startKfake(false)}
	kfakeFsync      = messageKind{name: "kfake, fsync", role: Peer, start: startKfake(true)}
	natsR1          = messageKind{name: "NATS", role: Peer, start: startNATS(natsOf{servers: 1})}
	natsR1InProcess = messageKind{name: "NATS in process", role: Peer, start: startNATS(natsOf{servers: 1, inProcess: true})}
	natsR1Fsync     = messageKind{name: "NATS, fsync", role: Peer, start: startNATS(natsOf{servers: 1, disk: true, fsync: true})}
	natsR3          = messageKind{name: "NATS R3", role: Peer, start: startNATS(natsOf{servers: 3, disk: true})}
)

func mqRows() []Row {
	row := func(name, title, unit string, work messageWork, kinds ...messageKind) Row {
		r := Row{Name: "mq/" + name, Title: title, Unit: unit, Lower: unit == "µs"}
		for _, k := range kinds {
			r.Subjects = append(r.Subjects, Subject{Name: k.name, Role: k.role, Target: k.target, Start: func(ctx context.Context, env *Env) (*Bench, error) {
				l, err := k.start(ctx, env)
				if err != nil {
					return nil, err
				}
				b, err := work(ctx, env, l)
				if err != nil {
					return nil, errors.Join(err, l.Close())
				}
				return b, nil
			}})
		}
		return r
	}
	const rate = "messages/s"
	return []Row{
		row("async-100B", "produce 100 B, R1, no fsync", rate, produceMany(100), oursRF1.is(Target{Ratio: 1.9, Figure: "5M"}), oursRF1TCP.is(Target{Ratio: 1, Figure: "2.6M"}),
			oursRF1Franz.is(Target{Ratio: 1, Figure: "2.6M"}), oursRF1Disk.is(Target{Ratio: 1, Figure: "2.6M"}), kfakeInMemory, natsR1),
		row("async-1KB", "produce 1 KB, R1, no fsync", rate, produceMany(1000), oursRF1Franz.is(Target{Ratio: 1, Figure: "750k"}), kfakeInMemory, natsR1),
		row("async-100B-R3", "produce 100 B, R3", rate, produceMany(100), oursRF3.is(Target{Ratio: 12, Figure: "1.3M"}), oursRF3Franz.is(Target{Ratio: 12, Figure: "1.3M"}),
			oursRF3Disk.is(Target{Ratio: 12, Figure: "1.3M"}), oursRF3Fsync.is(Target{Ratio: 8, Figure: "0.8M"}), natsR3),
		row("consume-100B", "consume 100 B, R1", rate, consumeAll(100), oursRF1.is(Target{Ratio: 2.5, Figure: "10M"}), oursRF1TCP.is(Target{Ratio: 1.5, Figure: "6M"}),
			oursRF1Franz.is(Target{Ratio: 1.5, Figure: "6M"}), kfakeInMemory, natsR1),
		row("consume-1KB", "consume 1 KB, R1", rate, consumeAll(1000), oursRF1Franz.is(Target{Ratio: 1.9, Figure: "1.1M"}), kfakeInMemory, natsR1),
		row("sync", "produce 100 B one by one, R1, p50", "µs", produceOneByOne, oursRF1.is(Target{Ratio: 2.2, Versus: []string{"NATS in process"}, Figure: "8"}),
			oursRF1TCP.is(Target{Ratio: 1, Versus: []string{"kfake"}, Figure: "43"}), oursRF1Franz.is(Target{Ratio: 1, Versus: []string{"kfake"}, Figure: "43"}),
			kfakeInMemory, natsR1, natsR1InProcess),
		row("sync-R3", "produce 100 B one by one, R3, p50", "µs", produceOneByOne, oursRF3.is(Target{Ratio: 2, Figure: "80"}), oursRF3Franz.is(Target{Ratio: 2, Figure: "80"}), natsR3),
		row("sync-fsync", "produce 100 B one by one, R1, fsync, p50", "µs", produceOneByOne, oursRF1Fsync.is(Target{Ratio: 1.7, Figure: "220"}), kfakeFsync, natsR1Fsync),
		row("sync-R3-fsync", "produce 100 B one by one, R3 (kfake: R1), fsync, p50", "µs", produceOneByOne, oursRF3Fsync.is(Target{Ratio: 0.95, Figure: "600"}), kfakeFsync),
	}
}

// messageWork makes a workload's Bench of a messageLog. Its Close closes that.
type messageWork func(ctx context.Context, env *Env, l messageLog) (*Bench, error)

// produceMany sends from one goroutine without waiting, until everything that
// was sent is acknowledged.
func produceMany(size int) messageWork {
	return func(ctx context.Context, env *Env, l messageLog) (*Bench, error) {
		p, err := warmProducer(ctx, l, payload(size))
		if err != nil {
			return nil, err
		}
		run := func(ctx context.Context) (float64, error) {
			left := env.BytesMax
			seconds := env.stopwatch()
			n, err := sendAll(ctx, p, payload(size), func(n int) bool { return seconds() < env.Dur.Seconds() && int64(n*size) < left })
			return float64(n) / seconds(), err
		}
		return &Bench{Run: run, Close: func() error { return errors.Join(p.Close(), l.Close()) }}, nil
	}
}

// sendAll sends a message again and again, as long as more says so, and waits
// for the acknowledgements.
func sendAll(ctx context.Context, p producer, value []byte, more func(n int) bool) (n int, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	done := func(err error) {
		if err != nil {
			mu.Lock()
			failed = err
			mu.Unlock()
		}
		wg.Done()
	}
	for more(n) {
		for range 64 {
			wg.Add(1)
			if err := p.send(ctx, value, done); err != nil {
				return n, fmt.Errorf("message %d: %w", n, err)
			}
			n++
		}
	}
	if err := p.flush(ctx); err != nil {
		return n, err
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	return n, failed
}

// consumeAll reads what was produced before, again and again with a new client.
func consumeAll(size int) messageWork {
	return func(ctx context.Context, env *Env, l messageLog) (*Bench, error) {
		p, err := warmProducer(ctx, l, payload(size))
		if err != nil {
			return nil, err
		}
		n, err := sendAll(ctx, p, payload(size), func(n int) bool { return int64(n*size) < env.BytesMax })
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, err
		}
		run := func(ctx context.Context) (float64, error) {
			return rate(env, 1, func() (int, bool, error) {
				return n + 1, true, l.consume(ctx, n+1) // and the one that warmed up
			})
		}
		return &Bench{Run: run, Close: l.Close}, nil
	}
}

func produceOneByOne(ctx context.Context, env *Env, l messageLog) (*Bench, error) {
	value := payload(recordBytes)
	p, err := warmProducer(ctx, l, value)
	if err != nil {
		return nil, err
	}
	run := func(ctx context.Context) (float64, error) {
		return latency(env.Dur, func(int) error { return p.sendSync(ctx, value) })
	}
	return &Bench{Run: run, Close: func() error { return errors.Join(p.Close(), l.Close()) }}, nil
}

// warmProducer is a producer that has sent one message.
func warmProducer(ctx context.Context, l messageLog, value []byte) (producer, error) {
	p, err := l.producer(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.sendSync(ctx, value); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}
