package recipes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// Registry tells who serves what, and how busy they are. A service is a znode
// below its path, an instance an ephemeral znode below that, with an Instance in
// JSON.
type Registry struct {
	// ACL is for the znodes made. Empty: zk.WorldACL(zk.PermAll).
	ACL []zk.ACL

	path  string
	named named
}

// Instance is one server of a service. Its JSON has the names that Curator's
// ServiceInstance uses for the same things.
type Instance struct {
	Service    string            `json:"name"`
	ID         string            `json:"id"` // unique in the service
	Address    string            `json:"address"`
	Port       int               `json:"port,omitempty"`
	Load       float64           `json:"load"` // as recorded by the instance: whatever unit, the same for all
	Metadata   map[string]string `json:"payload,omitempty"`
	Registered int64             `json:"registrationTimeUTC"` // ms since 1970, by the instance's clock; set by Register
}

// NewRegistry makes a Registry at path.
func NewRegistry(c *zk.Client, path string) *Registry {
	return &Registry{path: path, named: named{c: c}}
}

// Registration is an instance that is registered. As a Grant it tells when that
// was lost, and ends it by Release.
type Registration struct {
	*Grant

	recording chan struct{} // capacity 1: held while instance is changed and written
	instance  Instance
}

// Register makes an instance known until it is released or its session ends. While
// an earlier session has the same ID it waits.
func (r *Registry) Register(ctx context.Context, in Instance) (*Registration, error) {
	in.Registered = time.Now().UnixMilli()
	path := zk.JoinPath(zk.JoinPath(r.path, in.Service), in.ID)
	if err := cmp.Or(checkName("service", in.Service), checkName("instance", in.ID)); err != nil {
		return nil, failed("register", path, err)
	}
	data, err := json.Marshal(in)
	if err != nil {
		return nil, failed("register", path, err)
	}
	g, err := r.named.create(ctx, path, data, r.ACL)
	if err != nil {
		return nil, failed("register", path, err)
	}
	return &Registration{Grant: g, recording: make(chan struct{}, 1), instance: in}, nil
}

// SetLoad records how busy the instance is, for those who choose.
func (r *Registration) SetLoad(ctx context.Context, load float64) error {
	select { // one at a time, so that the last to begin is the last to be written
	case r.recording <- struct{}{}:
	case <-ctx.Done():
		return failed("set the load of", r.Path(), ctx.Err())
	}
	defer func() { <-r.recording }()
	r.instance.Load = load
	data, err := json.Marshal(r.instance)
	if err == nil {
		err = r.SetData(ctx, data)
	}
	return failed("set the load of", r.Path(), err)
}

// Services lists the names of services that have been registered, sorted. One may
// have no instance.
func (r *Registry) Services(ctx context.Context) ([]string, error) {
	names, _, err := r.named.c.Children(ctx, r.path)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	return names, failed("list", r.path, err)
}

// Instances reads the instances of a service once, by ID. Znodes that do not hold
// an Instance are left out.
func (r *Registry) Instances(ctx context.Context, service string) ([]Instance, error) {
	members, err := (&Membership{path: zk.JoinPath(r.path, service), named: named{c: r.named.c}}).Members(ctx)
	if err != nil {
		return nil, err
	}
	var all []Instance
	for _, m := range members {
		var in Instance
		if json.Unmarshal(m.Data, &in) == nil {
			all = append(all, in)
		}
	}
	return all, nil
}

// Service is a live view of a service's instances.
type Service struct {
	cache *Cache

	mu struct {
		sync.Mutex
		changed   chan struct{} // closed at the next change
		instances []picking     // by path
	}
}

// picking is an instance, and how often we have picked it since it recorded its
// load.
type picking struct {
	Instance
	path string
	n    int
}

// Service begins to follow the instances of a service. Close it.
func (r *Registry) Service(ctx context.Context, service string) (*Service, error) {
	s := &Service{cache: NewCache(r.named.c, zk.JoinPath(r.path, service))}
	s.mu.changed = make(chan struct{})
	s.cache.OnEvent = s.onEvent
	if err := s.cache.Start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// onEvent keeps the instances what the copy has.
func (s *Service) onEvent(ev CacheEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.mu.changed)
	s.mu.changed = make(chan struct{})
	if ev.Type == CacheInitialized || ev.Node.Path == s.cache.path {
		return
	}
	i, found := slices.BinarySearchFunc(s.mu.instances, ev.Node.Path, func(p picking, path string) int { return strings.Compare(p.path, path) })
	if found {
		s.mu.instances = slices.Delete(s.mu.instances, i, i+1)
	}
	var in Instance
	if ev.Type != CacheDeleted && json.Unmarshal(ev.Node.Data, &in) == nil {
		s.mu.instances = slices.Insert(s.mu.instances, i, picking{Instance: in, path: ev.Node.Path})
	}
}

// Stale says that the view may be old; see Cache.Stale. Instances that were there
// last are still worth a try then.
func (s *Service) Stale() bool { return s.cache.Stale() }

// Done is closed when the view is kept no more; see Cache.Done.
func (s *Service) Done() <-chan struct{} { return s.cache.Done() }

// Err says why Done is closed; see Cache.Err.
func (s *Service) Err() error { return s.cache.Err() }

// Close ends the view.
func (s *Service) Close() { s.cache.Close() }

// Instances lists the instances by ID. Their Metadata are shared: not to be
// changed.
func (s *Service) Instances() []Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Instance
	for _, x := range s.mu.instances {
		all = append(all, x.Instance)
	}
	return all
}

// Watch gives the instances, and again whenever one has come or gone or recorded
// its load; changes that come faster than they are asked for are given as one. An
// error is the last thing it gives: ctx's, or why the view is kept no more.
func (s *Service) Watch(ctx context.Context) iter.Seq2[[]Instance, error] {
	return func(yield func([]Instance, error) bool) {
		for {
			s.mu.Lock()
			changed := s.mu.changed
			s.mu.Unlock()
			if !yield(s.Instances(), nil) {
				return
			}
			select {
			case <-changed:
				continue
			case <-s.Done():
				yield(nil, s.Err())
			case <-ctx.Done():
				yield(nil, ctx.Err())
			}
			return
		}
	}
}

// Pick chooses the instance with the least load, ErrNone if there is no instance.
// Every pick counts as one unit of load until the instance records a new one, so
// that between records the picks spread, and all pickers do not rush to one.
func (s *Service) Pick() (Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.mu.instances
	if len(all) == 0 {
		return Instance{}, failed("pick from", s.cache.path, ErrNone)
	}
	least := 0
	for i := range all {
		if all[i].load() < all[least].load() {
			least = i
		}
	}
	all[least].n++
	return all[least].Instance, nil
}

func (p *picking) load() float64 { return p.Load + float64(p.n) }
