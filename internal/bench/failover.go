package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/zk"
)

// mortal is a coordinator whose members can be killed: without warning, so that
// their connections break. kill returns when the member is dead.
type mortal interface {
	coordinator
	kill(i int) error
}

func failoverRows() []Row {
	const unit = "ms"
	subject := func(name string, role Role, t Target, start func(context.Context, *Env) (*Bench, error)) Subject {
		return Subject{Name: name, Role: role, Target: t, Start: start}
	}
	quick := Target{Ratio: 7, Versus: []string{"ZooKeeper"}, Figure: "100"}
	cold := Target{Ratio: 7, Versus: []string{"ZooKeeper", "hashicorp/raft"}, Figure: "150"}
	return []Row{
		{Name: "failover/leader", Title: "leader killed → first write", Unit: unit, Lower: true, Subjects: []Subject{
			subject("vivarium in memory", Ours, quick, failover(oursInMemory.start)),
			subject("vivarium, fsync", Ours, quick, failover(oursOnDisk.start)),
			subject("hashicorp/raft", Peer, Target{}, failover(startRaft(false))),
			subject("raft, 100 ms timeouts", Peer, Target{}, failover(startRaft(true))),
			subject("ZooKeeper", Peer, Target{}, failover(startApacheAnew)),
		}},
		{Name: "failover/broker", Title: "broker killed → first acknowledged write, R3", Unit: unit, Lower: true, Subjects: []Subject{
			subject("vivarium in memory", Ours, Target{Figure: "session of 1 s + 200"}, brokerFailover),
		}},
		{Name: "cold/3", Title: "cold start of 3 → first write", Unit: unit, Lower: true, Subjects: []Subject{
			subject("vivarium in memory", Ours, cold, coldStart(oursInMemory.start)),
			subject("vivarium, fsync", Ours, cold, coldStart(oursOnDisk.start)),
			subject("hashicorp/raft", Peer, Target{}, coldStart(startRaft(false))),
			subject("ZooKeeper", Peer, Target{}, coldStart(startApacheAnew)),
		}},
		{Name: "cold/3+3", Title: "cold start of 3 servers and 3 brokers → first message", Unit: unit, Lower: true, Subjects: []Subject{
			subject("vivarium in memory", Ours, Target{Figure: "50"}, coldBrokers(startBrokers(brokersOf{rf: 3}))),
			subject("vivarium, fsync", Ours, Target{Figure: "150"}, coldBrokers(startBrokers(brokersOf{rf: 3, tcp: true, disk: true, fsync: true}))),
			subject("NATS R3 (3 servers)", Peer, Target{}, coldBrokers(natsR3.start)),
		}},
	}
}

func millis(since time.Time) float64 { return micros(time.Since(since)) / 1e3 }

// failover kills the leader of a new ensemble while a session is open on another
// member, and writes in that session until it succeeds.
func failover(start func(context.Context, *Env) (coordinator, error)) func(context.Context, *Env) (*Bench, error) {
	return func(ctx context.Context, env *Env) (*Bench, error) {
		c, err := start(ctx, env)
		if err != nil {
			return nil, err
		}
		open, keys, closeAll, err := sessions(ctx, c, 1, 1)
		if err != nil {
			return nil, err
		}
		run := func(ctx context.Context) (float64, error) {
			dead := c.leader()
			begin := time.Now()
			if err := c.(mortal).kill(dead); err != nil {
				return 0, err
			}
			err := await(ctx, func() error {
				ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
				defer cancel()
				return open[0].set(ctx, keys[0], payload(recordBytes))
			})
			took := millis(begin)
			if c.leader() == dead {
				err = errors.Join(err, fmt.Errorf("member %d still leads after its death", dead))
			}
			return took, err
		}
		return &Bench{Run: run, Close: closeAll}, nil
	}
}

// coldStart starts an ensemble and writes as soon as that succeeds.
func coldStart(start func(context.Context, *Env) (coordinator, error)) func(context.Context, *Env) (*Bench, error) {
	return func(_ context.Context, env *Env) (*Bench, error) {
		b := &Bench{Close: func() error { return nil }}
		b.Run = func(ctx context.Context) (float64, error) {
			begin := time.Now()
			c, err := start(ctx, env)
			if err != nil {
				return 0, err
			}
			b.Close = c.Close
			s, err := c.connect(ctx, 0)
			if err != nil {
				return 0, err
			}
			b.Close = func() error { return errors.Join(s.Close(), c.Close()) }
			err = s.create(ctx, "/first", payload(recordBytes))
			return millis(begin), err
		}
		return b, nil
	}
}

// coldBrokers starts brokers, with a topic, and writes one message.
func coldBrokers(start func(context.Context, *Env) (messageLog, error)) func(context.Context, *Env) (*Bench, error) {
	return func(_ context.Context, env *Env) (*Bench, error) {
		b := &Bench{Close: func() error { return nil }}
		b.Run = func(ctx context.Context) (float64, error) {
			begin := time.Now()
			l, err := start(ctx, env)
			if err != nil {
				return 0, err
			}
			b.Close = l.Close
			p, err := warmProducer(ctx, l, payload(recordBytes))
			took := millis(begin)
			if err != nil {
				return 0, err
			}
			b.Close = func() error { return errors.Join(p.Close(), l.Close()) }
			return took, nil
		}
		return b, nil
	}
}

// brokerFailover kills the leader of a partition and writes to that.
func brokerFailover(ctx context.Context, env *Env) (*Bench, error) {
	o, err := startCluster(ctx, env, brokersOf{rf: 3})
	if err != nil {
		return nil, err
	}
	p, err := o.client.NewProducer(mq.ProducerConfig{Partitioner: mq.ManualPartitioner})
	if err == nil {
		err = createTopic(ctx, o.client, 3)
	}
	write := func() error {
		return p.SendSync(ctx, &mq.Record{Topic: mqTopic, Value: payload(recordBytes)})
	}
	if err == nil {
		err = write()
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	run := func(context.Context) (float64, error) {
		begin := time.Now()
		if err := o.Kill(o.Leader(mqTopic, 0)); err != nil {
			return 0, err
		}
		err := write()
		return millis(begin), err
	}
	return &Bench{Run: run, Close: o.Close}, nil
}

func (o *ourEnsemble) kill(i int) error { return o.Kill(int64(i) + 1) }

// kill cuts a member off and has it end in its own time.
func (c *raftCluster) kill(i int) error {
	c.transports[i].DisconnectAll()
	for k, t := range c.transports {
		if k != i {
			t.Disconnect(c.transports[i].LocalAddr())
		}
	}
	c.dead = append(c.dead, c.members[i].Shutdown())
	c.members[i] = nil
	return nil
}

// startApacheAnew starts an ensemble that is not shared, and returns when it
// serves.
func startApacheAnew(ctx context.Context, env *Env) (coordinator, error) {
	a, err := newApache(env, false)
	if err != nil {
		return nil, err
	}
	if err := a.startAll(); err != nil {
		return nil, err
	}
	c, err := zk.Connect(ctx, zk.ClientConfig{Servers: a.addrs})
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}
