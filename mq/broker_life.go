package mq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
	"github.com/vivarium-go/vivarium/zk"
)

// brokerLife is what a broker has for as long as one ZooKeeper session lasts. When the session expires the broker begins
// another one; its partitions outlive it.
type brokerLife struct {
	b      *Broker
	zk     *zk.Client
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	reader *metadataReader
	ctrl   *controllerRunner
	inc    atomic.Int64
}

// incarnation is the incarnation the broker is registered with, -1 before it is.
func (l *brokerLife) incarnation() int64 { return l.inc.Load() }

// beginLife connects to the ensemble and reads the metadata. The broker is not registered yet.
func (b *Broker) beginLife(ctx context.Context) (*brokerLife, error) {
	cfg := b.cfg.Zookeeper
	cfg.SessionTimeout, cfg.OnState, cfg.ReadOnly = b.cfg.ZookeeperSessionTimeout, nil, false
	if cfg.Logger == nil {
		cfg.Logger = b.cfg.Logger
	}
	c, err := zk.Connect(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("ensemble %v: %w", cfg.Servers, err)
	}
	l := &brokerLife{b: b, zk: c}
	l.inc.Store(-1)
	l.ctx, l.cancel = context.WithCancel(b.ctx)
	id, err := prepareEnsemble(ctx, c, func() layout.ID { return b.newID() })
	if err == nil {
		b.clusterID.Store(&id)
		err = b.disk.joinCluster(id)
	}
	if err == nil {
		l.ctrl = newControllerRunner(l.ctx, &l.wg, c, &b.cfg, b.newRand())
		l.reader = newMetadataReader(c, b.cfg.Logger, l.ctrl, b.publish)
		err = l.reader.watch(ctx)
	}
	if err != nil {
		l.end(false)
		return nil, err
	}
	l.wg.Go(func() { l.reader.run(l.ctx) })
	select {
	case <-l.reader.scanned:
		return l, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.Done():
		err = c.Err()
	}
	l.end(false)
	return nil, fmt.Errorf("reading the cluster's metadata: %w", err)
}

// end ends the life. Unless close is set its session is left to expire, as a killed process leaves it.
func (l *brokerLife) end(closeSession bool) {
	if l.ctrl != nil {
		l.ctrl.stop()
	}
	l.cancel()
	if closeSession {
		_ = l.zk.Close()
	} else {
		l.zk.Abandon()
	}
	l.wg.Wait()
}

// fence bumps the broker's incarnation, so that nobody lets its former life into an in-sync set, and returns what the former life
// said and the version the znode has now.
func (l *brokerLife) fence(ctx context.Context) (former layout.Incarnation, version int32, err error) {
	path := layout.IncarnationPath(l.b.cfg.BrokerID)
	for {
		version = -1
		data, st, err := l.zk.Get(ctx, path)
		switch {
		case err == nil:
			version = st.Version
			if former, err = layout.DecodeIncarnation(data); err != nil {
				return former, 0, err
			}
		case !errors.Is(err, zk.ErrNoNode):
			return former, 0, err
		}
		_, err = l.zk.Multi(ctx, zkOps(replica.FenceOps(l.b.cfg.BrokerID, former, version))...)
		if err == nil {
			return former, version + 1, nil
		}
		if ctx.Err() != nil || l.zk.Err() != nil {
			return former, 0, err
		}
		pause(ctx, zkRetryPause) // somebody else's write, or ours whose answer was lost: look again
	}
}

// leaveUntrusted takes the broker out of every in-sync set in which its data is not what it was when it joined (R9).
func (l *brokerLife) leaveUntrusted(ctx context.Context, former layout.Incarnation) error {
	sameDir := slices.ContainsFunc(former.Directories, func(d layout.Directory) bool { return d.ID == l.b.disk.id.Directory })
	img := l.b.image.Load()
	for _, name := range img.TopicNames() {
		t := img.Topics[name]
		s := l.b.cfg.settingsOf(t)
		if t.ID.IsZero() || (sameDir && s.durable) {
			continue
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if !slices.Contains(p.Replicas, l.b.cfg.BrokerID) || p.Version < 0 {
				continue
			}
			if sameDir && !l.b.unclean(partitionKey{t.ID, int32(i)}, &s) {
				continue
			}
			if err := l.leave(ctx, t, int32(i)); err != nil {
				return fmt.Errorf("leaving the in-sync set of %s-%d: %w", name, i, err)
			}
		}
	}
	return nil
}

// unclean says whether a partition's log may have lost records that were only in the page cache.
func (b *Broker) unclean(key partitionKey, s *topicSettings) bool {
	log, err := b.host.openLog(key, s, nil, nil)
	if err != nil {
		return true
	}
	defer log.Abort()
	return log.Unclean()
}

// leave takes the broker out of one in-sync set, or marks it suspect if it is alone there.
func (l *brokerLife) leave(ctx context.Context, t *meta.Topic, index int32) error {
	path := layout.StatePath(t.Name, index)
	for {
		data, st, err := l.zk.Get(ctx, path)
		if errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if err != nil {
			return err
		}
		state, err := layout.DecodeState(data)
		if err != nil {
			return err
		}
		next, changed := replica.Leave(state, l.b.cfg.BrokerID)
		if !changed {
			return nil
		}
		_, err = l.zk.Multi(ctx, zkOps(replica.StateOps(t.Name, t.ID, index, next, st.Version, nil))...)
		if err == nil {
			l.b.cfg.Logger.Warn("this replica's data is not trusted", "topic", t.Name, "partition", index, "isr", next.ISR, "suspect", next.Suspect)
			return nil
		}
		if ctx.Err() != nil || l.zk.Err() != nil {
			return err
		}
		pause(ctx, zkRetryPause)
	}
}

// register announces the broker. It waits for the registration of its former life to go, one session timeout and a little at
// most.
func (l *brokerLife) register(ctx context.Context, version int32) error {
	b := l.b
	reg := layout.Broker{Endpoints: b.endpoints(), Rack: b.cfg.Rack, Timestamp: time.Now().UnixMilli(), Incarnation: layout.NoIncarnation}
	now := layout.Incarnation{Directories: []layout.Directory{{ID: b.disk.id.Directory}}}
	ops := replica.RegisterOps(b.cfg.BrokerID, &reg, now, version)
	path := layout.BrokerPath(b.cfg.BrokerID)
	deadline := time.Now().Add(max(l.zk.SessionTimeout(), b.cfg.ZookeeperSessionTimeout) + time.Second)
	for {
		_, err := l.zk.Multi(ctx, zkOps(ops)...)
		if err == nil {
			break
		}
		if ctx.Err() != nil || l.zk.Err() != nil {
			return err
		}
		data, st, gerr := l.zk.Get(ctx, path)
		switch {
		case gerr == nil && st.EphemeralOwner == l.zk.SessionID():
		case gerr == nil && time.Now().After(deadline):
			other, _ := layout.DecodeBroker(data)
			return fmt.Errorf("broker %d is registered already, at %v", b.cfg.BrokerID, other.Endpoints)
		case gerr == nil || errors.Is(gerr, zk.ErrNoNode):
			if errors.Is(err, zk.ErrBadVersion) {
				return fmt.Errorf("another broker is starting as broker %d: %w", b.cfg.BrokerID, err)
			}
			pause(ctx, zkRetryPause)
			continue
		default:
			return gerr
		}
		break
	}
	l.inc.Store(reg.Incarnation)
	return nil
}

// join registers the broker: the first time only after its replicas have left where they are not to be trusted.
func (l *brokerLife) join(ctx context.Context, first bool) error {
	former, version, err := l.fence(ctx)
	if err == nil && first {
		err = l.leaveUntrusted(ctx, former)
	}
	if err == nil {
		err = l.register(ctx, version)
	}
	if err != nil {
		return fmt.Errorf("registering: %w", err)
	}
	l.b.host.register(l.incarnation())
	l.ctrl.start(time.Now().UnixMilli())
	return nil
}
