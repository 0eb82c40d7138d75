package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsOf says which servers to start; a stream has a replica on each.
type natsOf struct {
	servers     int
	inProcess   bool // clients connect in memory, else over TCP
	disk, fsync bool // streams are files, synced at each message or every two minutes
}

// natsServers is nats-server with JetStream in this process.
type natsServers struct {
	of      natsOf
	servers []*server.Server
	remove  func() error // its data
}

func startNATS(of natsOf) func(context.Context, *Env) (messageLog, error) {
	return func(ctx context.Context, env *Env) (messageLog, error) {
		dir, remove, err := env.TempDir()
		if err != nil {
			return nil, err
		}
		s := &natsServers{of: of, remove: remove}
		if err = s.start(dir); err == nil {
			err = s.createStream(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return s, nil
	}
}

func (s *natsServers) start(dir string) error {
	routes, err := freePorts(s.of.servers)
	if err != nil {
		return err
	}
	for i := range s.of.servers {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: filepath.Join(dir, fmt.Sprint(i)), JetStreamMaxMemory: 8 << 30, JetStreamMaxStore: 40 << 30, SyncAlways: s.of.fsync,
		}
		if s.of.servers > 1 {
			for k, r := range routes {
				u, err := url.Parse("nats://" + r)
				if err != nil {
					return err
				}
				o.Routes = append(o.Routes, u)
				if k == i {
					o.Cluster = server.ClusterOpts{Name: "bench", Host: "127.0.0.1"}
					if _, err := fmt.Sscan(u.Port(), &o.Cluster.Port); err != nil {
						return err
					}
				}
			}
		}
		n, err := server.NewServer(o)
		if err != nil {
			return err
		}
		s.servers = append(s.servers, n)
		n.Start()
	}
	for _, n := range s.servers {
		if !n.ReadyForConnections(20 * time.Second) {
			return errors.New("a server is not ready after 20 s")
		}
	}
	return nil
}

// createStream waits until the servers have found one another, and a busy one is
// no longer taken for dead.
func (s *natsServers) createStream(ctx context.Context) error {
	if s.of.servers > 1 {
		err := await(ctx, func() error {
			for _, n := range s.servers {
				if n.JetStreamIsLeader() && len(n.JetStreamClusterPeers()) == s.of.servers {
					return nil
				}
			}
			return errors.New("no leader of JetStream")
		})
		if err != nil {
			return err
		}
	}
	c, js, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	storage := jetstream.MemoryStorage
	if s.of.disk {
		storage = jetstream.FileStorage
	}
	return await(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: mqTopic, Subjects: []string{mqTopic}, Storage: storage, Replicas: s.of.servers})
		return err
	})
}

func (s *natsServers) connect(opts ...jetstream.JetStreamOpt) (*nats.Conn, jetstream.JetStream, error) {
	var c *nats.Conn
	var err error
	if s.of.inProcess {
		c, err = nats.Connect("", nats.InProcessServer(s.servers[0]))
	} else {
		c, err = nats.Connect(s.servers[0].ClientURL())
	}
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(c, opts...)
	return c, js, err
}

func (s *natsServers) Close() error {
	for _, n := range s.servers {
		n.Shutdown()
	}
	for _, n := range s.servers {
		n.WaitForShutdown()
	}
	return s.remove()
}

// natsProducer publishes with at most natsPending messages on their way.
type natsProducer struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	failed *atomic.Pointer[error]
}

const natsPending = 4096

func (s *natsServers) producer(context.Context) (producer, error) {
	failed := new(atomic.Pointer[error])
	c, js, err := s.connect(jetstream.WithPublishAsyncMaxPending(natsPending),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { failed.Store(&err) }))
	if err != nil {
		return nil, err
	}
	return &natsProducer{c, js, failed}, nil
}

// send calls done at once: what fails is known to flush.
func (p *natsProducer) send(_ context.Context, value []byte, done func(error)) error {
	_, err := p.js.PublishAsync(mqTopic, value, jetstream.WithStallWait(20*time.Second))
	done(err)
	return err
}

func (p *natsProducer) flush(ctx context.Context) error {
	select {
	case <-p.js.PublishAsyncComplete():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *natsProducer) sendSync(ctx context.Context, value []byte) error {
	_, err := p.js.Publish(ctx, mqTopic, value)
	return err
}

func (p *natsProducer) Close() error {
	p.conn.Close()
	return nil
}

func (s *natsServers) consume(ctx context.Context, n int) error {
	c, js, err := s.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	consumer, err := js.OrderedConsumer(ctx, mqTopic, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return err
	}
	all := make(chan struct{})
	got := 0
	running, err := consumer.Consume(func(jetstream.Msg) {
		if got++; got == n {
			close(all)
		}
	}, jetstream.PullMaxMessages(10_000))
	if err != nil {
		return err
	}
	defer running.Stop()
	select {
	case <-all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
