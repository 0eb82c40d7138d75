package bench

import (
	"context"
	"errors"
	"net"
	"runtime"

	"github.com/vivarium-go/vivarium/zk"
)

// tcp is the network of the operating system.
type tcp struct {
	net.Dialer
	net.ListenConfig
}

// ourEnsemble is an ensemble of package zk in this process.
type ourEnsemble struct {
	*zk.Ensemble
	remove func() error // its data
}

// startOurs starts ensembles, in memory or over TCP, without a disk or syncing
// every write to one.
func startOurs(overTCP, onDisk bool) func(context.Context, *Env) (coordinator, error) {
	return func(ctx context.Context, env *Env) (coordinator, error) {
		o := &ourEnsemble{remove: func() error { return nil }}
		var cfg zk.EnsembleConfig
		if overTCP {
			cfg.Network = &tcp{}
		}
		var err error
		if onDisk {
			if cfg.DataDir, o.remove, err = env.TempDir(); err != nil {
				return nil, err
			}
			o.remove = withPlacesToSync(o.remove)
		}
		if o.Ensemble, err = zk.StartEnsemble(ctx, cfg); err != nil {
			return nil, errors.Join(err, o.remove())
		}
		return o, nil
	}
}

// withPlacesToSync does what zk.Config.DataDir advises, until undo is called.
func withPlacesToSync(undo func() error) func() error {
	before := runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	return func() error {
		runtime.GOMAXPROCS(before)
		return undo()
	}
}

func (o *ourEnsemble) leader() int { return int(o.Leader()) - 1 }

func (o *ourEnsemble) connect(ctx context.Context, i int) (session, error) {
	addrs := o.Addrs()
	return connectZK(ctx, zk.ClientConfig{Servers: addrs[i%len(addrs):][:1], Network: o.Network()})
}

func (o *ourEnsemble) Close() error { return errors.Join(o.Ensemble.Close(), o.remove()) }

// zkSession is our client, of whatever speaks the protocol of ZooKeeper.
type zkSession struct{ *zk.Client }

func connectZK(ctx context.Context, cfg zk.ClientConfig) (session, error) {
	cfg.OutstandingMax = pipelineDepth
	c, err := zk.Connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return zkSession{c}, nil
}

func (s zkSession) create(ctx context.Context, path string, data []byte) error {
	_, err := s.Create(ctx, path, data, zk.Persistent)
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

func (s zkSession) set(ctx context.Context, path string, data []byte) error {
	_, err := s.Set(ctx, path, data, zk.AnyVersion)
	return err
}

func (s zkSession) get(ctx context.Context, path string) error {
	_, _, err := s.Get(ctx, path)
	return err
}

// read pipelines the sync with the get that relies on it.
func (s zkSession) read(ctx context.Context, path string) error {
	synced := make(chan error, 1)
	s.Go(ctx, zk.SyncOp(path), func(r zk.OpResult) { synced <- r.Err })
	_, _, err := s.Get(ctx, path)
	return errors.Join(<-synced, err)
}

func (s zkSession) watch(ctx context.Context, path string, fired func()) error {
	_, _, err := s.Get(ctx, path, zk.Watch(func(zk.Event) { fired() }))
	return err
}

func (s zkSession) goSet(ctx context.Context, path string, data []byte, done func(error)) {
	s.Go(ctx, zk.SetOp(path, data, zk.AnyVersion), func(r zk.OpResult) { done(r.Err) })
}

func (s zkSession) goGet(ctx context.Context, path string, done func(error)) {
	s.Go(ctx, zk.GetOp(path), func(r zk.OpResult) { done(r.Err) })
}
