package mq

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/zk"
)

const (
	// readChunk is how many znodes are read by one request.
	readChunk = 100
	// zkRetryPause is the pause before something that ZooKeeper refused to do is tried again.
	zkRetryPause = 20 * time.Millisecond
)

// scanRoots are where the znodes begin that a broker looks at.
var scanRoots = []string{
	layout.ControllerPath, layout.ControllerEpochPath, layout.BrokersPath, layout.TopicConfigsPath, layout.BrokerConfigsPath,
	layout.DeleteTopicsPath, layout.ClusterIDPath,
}

// znodeSink is told of every znode that the metadata reader sees.
type znodeSink interface {
	put(controller.Node)
	remove(path string)
}

// metadataReader keeps a broker's image of the cluster: one recursive watch marks what changed, one goroutine reads that again
// and publishes the next image (R8). Events are hints only: a path that was marked is read, whatever is said to have happened,
// so nothing depends on the order of events and reads, and a burst of changes to one znode costs one read.
type metadataReader struct {
	zk      *zk.Client
	log     *slog.Logger
	sink    znodeSink
	publish func(img *meta.Image, changed []string)
	builder *meta.Builder

	mu struct {
		sync.Mutex
		marked map[string]struct{}
		rescan bool
	}
	wake chan struct{}
	// scanned is closed when the first image is published.
	scanned chan struct{}
	once    sync.Once
}

func newMetadataReader(c *zk.Client, log *slog.Logger, sink znodeSink, publish func(*meta.Image, []string)) *metadataReader {
	r := &metadataReader{
		zk: c, log: log, sink: sink, publish: publish, builder: meta.NewBuilder(),
		wake: make(chan struct{}, 1), scanned: make(chan struct{}),
	}
	r.mu.marked = map[string]struct{}{}
	r.mu.rescan = true
	return r
}

// watch arms the watch. Call it before run: what happens after it is not missed.
func (r *metadataReader) watch(ctx context.Context) error {
	err := r.zk.AddWatch(ctx, "/", zk.WatchRecursive, r.event)
	if errors.Is(err, zk.ErrUnimplemented) {
		return errors.New("the ensemble is older than ZooKeeper 3.6: it has no persistent watches")
	}
	return err
}

// event takes note of a change. It runs on the ZooKeeper client's goroutine.
func (r *metadataReader) event(ev zk.Event) {
	switch ev.Type {
	case zk.EventResync:
		r.mu.Lock()
		r.mu.rescan = true
		r.mu.Unlock()
		r.nudge()
	case zk.EventCreated, zk.EventDeleted, zk.EventDataChanged:
		if layout.ParsePath(ev.Path).Kind != layout.KindOther {
			r.mark(ev.Path)
		}
	}
}

// mark has a znode read again.
func (r *metadataReader) mark(paths ...string) {
	r.mu.Lock()
	for _, p := range paths {
		r.mu.marked[p] = struct{}{}
	}
	r.mu.Unlock()
	r.nudge()
}

func (r *metadataReader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run reads what is marked until ctx ends.
func (r *metadataReader) run(ctx context.Context) {
	for {
		r.mu.Lock()
		marked, rescan := r.mu.marked, r.mu.rescan
		r.mu.marked, r.mu.rescan = map[string]struct{}{}, false
		r.mu.Unlock()
		var err error
		switch {
		case rescan:
			err = r.scan(ctx)
		case len(marked) > 0:
			paths := make([]string, 0, len(marked))
			for p := range marked {
				paths = append(paths, p)
			}
			err = r.read(ctx, paths)
		default:
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			r.log.Warn("reading metadata failed", "err", err)
			r.mu.Lock()
			r.mu.rescan = true
			r.mu.Unlock()
			pause(ctx, zkRetryPause)
			continue
		}
		img, changed := r.builder.Image()
		r.publish(img, changed)
		r.once.Do(func() { close(r.scanned) })
	}
}

// read reads znodes and shows them to the builder and the sink.
func (r *metadataReader) read(ctx context.Context, paths []string) error {
	for len(paths) > 0 {
		n := min(len(paths), readChunk)
		ops := make([]zk.Op, n)
		for i, p := range paths[:n] {
			ops[i] = zk.GetOp(p)
		}
		results, err := r.zk.MultiRead(ctx, ops...)
		if err != nil {
			return err
		}
		for i := range results {
			r.show(paths[i], &results[i])
		}
		paths = paths[n:]
	}
	return nil
}

// show passes on what reading a znode gave.
func (r *metadataReader) show(path string, res *zk.OpResult) {
	if res.Err != nil {
		if !errors.Is(res.Err, zk.ErrNoNode) {
			r.log.Warn("a znode cannot be read", "path", path, "err", res.Err)
			return
		}
		r.builder.Remove(path)
		r.sink.remove(path)
		return
	}
	st := &res.Stat
	n := meta.Node{Path: path, Data: res.Data, Czxid: st.Czxid, Mzxid: st.Mzxid, Version: st.Version, Owner: st.EphemeralOwner}
	if err := r.builder.Set(n); err != nil {
		r.log.Warn("a znode has a value that cannot be read", "path", path, "err", err)
	}
	r.sink.put(controller.Node{Path: path, Data: res.Data, Version: st.Version, Mzxid: st.Mzxid, Owner: st.EphemeralOwner})
}

// scan reads everything, and derives from it what was deleted while nobody watched. The image is published by the caller, so
// until the end the old one is acted on.
func (r *metadataReader) scan(ctx context.Context) error {
	found := map[string]bool{}
	level := scanRoots
	for len(level) > 0 {
		var next []string
		for len(level) > 0 {
			n := min(len(level), readChunk)
			children, err := r.scanChunk(ctx, level[:n], found)
			if err != nil {
				return err
			}
			next, level = append(next, children...), level[n:]
		}
		level = next
	}
	for _, path := range r.builder.Missing(found) {
		r.builder.Remove(path)
		r.sink.remove(path)
	}
	return nil
}

// scanChunk reads some znodes and returns the paths of their children.
func (r *metadataReader) scanChunk(ctx context.Context, paths []string, found map[string]bool) ([]string, error) {
	ops := make([]zk.Op, 0, 2*len(paths))
	for _, p := range paths {
		ops = append(ops, zk.GetOp(p), zk.ChildrenOp(p))
	}
	results, err := r.zk.MultiRead(ctx, ops...)
	if err != nil {
		return nil, err
	}
	var children []string
	for i, p := range paths {
		get, list := &results[2*i], &results[2*i+1]
		if layout.ParsePath(p).Kind != layout.KindOther && get.Err == nil {
			found[p] = true
			r.show(p, get)
		}
		if list.Err == nil {
			for _, name := range list.Children {
				children = append(children, zk.JoinPath(p, name))
			}
		}
	}
	return children, nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
