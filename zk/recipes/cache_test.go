package recipes_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

// journal collects a cache's events, and checks that those of a znode are in
// order.
type journal struct {
	t    *testing.T
	mu   sync.Mutex
	all  []string
	last map[string]recipes.CacheEvent
}

func (j *journal) add(ev recipes.CacheEvent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	path := ev.Node.Path
	j.all = append(j.all, strings.TrimSpace(fmt.Sprintf("%v %s %s", ev.Type, path, ev.Node.Data)))
	before, known := j.last[path]
	exists := known && before.Type != recipes.CacheDeleted
	switch {
	case ev.Type == recipes.CacheInitialized && known:
		j.t.Error("initialized twice")
	case ev.Type == recipes.CacheInitialized:
	case exists == (ev.Type == recipes.CacheCreated):
		j.t.Errorf("%v %s after %v", ev.Type, path, before.Type)
	case ev.Type == recipes.CacheDeleted && ev.Node.Stat.Mzxid != before.Node.Stat.Mzxid:
		j.t.Errorf("deleted %s with another state than its last", path)
	case ev.Type != recipes.CacheDeleted && known && ev.Node.Stat.Mzxid <= before.Node.Stat.Mzxid:
		j.t.Errorf("%v %s with mzxid %x after %x", ev.Type, path, ev.Node.Stat.Mzxid, before.Node.Stat.Mzxid)
	}
	j.last[path] = ev
}

func (j *journal) take() []string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.all
	j.all = nil
	return all
}

func (w *world) cache(c *zk.Client, path string) (*recipes.Cache, *journal) {
	k := recipes.NewCache(c, path)
	j := &journal{t: w.t, last: make(map[string]recipes.CacheEvent)}
	k.OnEvent = j.add
	require.NoError(w.t, k.Start(w.ctx))
	return k, j
}

func TestCache(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		create := func(path, data string) {
			_, err := c.Create(w.ctx, path, []byte(data), zk.Persistent)
			require.NoError(t, err)
		}
		create("/t", "0")
		create("/t/a", "1")
		create("/t/a/b", "2")
		k, j := w.cache(c, "/t")
		require.Equal(t, []string{"created /t 0", "created /t/a 1", "created /t/a/b 2", "initialized"}, j.take())
		require.False(t, k.Stale())
		n, ok := k.Node("/t/a/b")
		require.True(t, ok)
		require.Equal(t, "2", string(n.Data))
		require.Equal(t, []string{"a"}, k.Children("/t"))
		require.Equal(t, 3, k.Len())

		create("/t/c", "3")
		create("/elsewhere", "x")
		_, err := c.Set(w.ctx, "/t/a", []byte("4"), zk.AnyVersion)
		require.NoError(t, err)
		require.Equal(t, []string{"created /t/c 3", "updated /t/a 4"}, j.take())
		require.NoError(t, c.DeleteAll(w.ctx, "/t/a"))
		require.Equal(t, []string{"deleted /t/a/b 2", "deleted /t/a 4"}, j.take())
		var paths []string
		for n := range k.All() {
			paths = append(paths, n.Path)
		}
		require.Equal(t, []string{"/t", "/t/c"}, paths)

		other, j2 := w.cache(c, "/t") // on the same client and path
		j2.take()
		k.Close()
		k.Close()
		require.ErrorIs(t, k.Err(), recipes.ErrReleased)
		require.True(t, k.Stale())
		create("/t/d", "5")
		require.Empty(t, j.take())
		require.Equal(t, []string{"created /t/d 5"}, j2.take(), "its watch was armed again")
		w.Expire(c)
		<-other.Done()
		require.ErrorIs(t, other.Err(), recipes.ErrLost)
		require.ErrorIs(t, other.Err(), zk.ErrSessionExpired)
		require.Error(t, recipes.NewCache(c, "/t").Start(w.ctx))
	})
}

// What happened while there was no connection is found when there is one again:
// a deletion, a change, a znode deleted and made again, with its children.
func TestCacheResync(t *testing.T) {
	bubble(t, func(w *world) {
		c, admin := w.Connect(), w.Connect()
		create := func(path, data string) {
			_, err := admin.Create(w.ctx, path, []byte(data), zk.Persistent)
			require.NoError(t, err)
		}
		for _, path := range []string{"/t", "/t/gone", "/t/set", "/t/again", "/t/again/x"} {
			create(path, "1")
		}
		k, j := w.cache(c, "/t")
		j.take()
		w.CutOff(c)
		require.NoError(t, admin.Delete(w.ctx, "/t/gone", zk.AnyVersion))
		_, err := admin.Set(w.ctx, "/t/set", []byte("2"), zk.AnyVersion)
		require.NoError(t, err)
		require.NoError(t, admin.DeleteAll(w.ctx, "/t/again"))
		create("/t/again", "2")
		create("/t/new", "2")
		require.Empty(t, j.take())
		w.Heal()
		w.Reset(c)
		require.NoError(t, c.Sync(w.ctx, "/"))
		synctest.Wait()
		require.False(t, k.Stale())
		require.ElementsMatch(t, []string{
			"deleted /t/again/x 1", "deleted /t/again 1", "created /t/again 2", "deleted /t/gone 1", "updated /t/set 2", "created /t/new 2",
		}, j.take())

		require.NoError(t, admin.DeleteAll(w.ctx, "/t"))
		synctest.Wait()
		require.Zero(t, k.Len())
		create("/t", "3")
		require.Equal(t, []string{"created /t 3"}, j.take()[4:])
	})
}

// A tree is deleted and made again while the cache is busy: the children's events
// come before their parent's, and what was made anew stays.
func TestCacheMadeAgain(t *testing.T) {
	bubble(t, func(w *world) {
		c, admin := w.Connect(), w.Connect()
		require.NoError(t, admin.EnsurePath(w.ctx, "/t/a/b"))
		require.NoError(t, c.Sync(w.ctx, "/"))
		k := recipes.NewCache(c, "/t")
		j := &journal{t: w.t, last: make(map[string]recipes.CacheEvent)}
		busy := make(chan struct{})
		k.OnEvent = func(ev recipes.CacheEvent) {
			if ev.Node.Path == "/t/wait" {
				<-busy
				return
			}
			j.add(ev)
		}
		require.NoError(t, k.Start(w.ctx))
		_, err := admin.Create(w.ctx, "/t/wait", nil, zk.Persistent)
		require.NoError(t, err)
		require.Len(t, j.take(), 4)
		require.NoError(t, admin.DeleteAll(w.ctx, "/t"))
		require.NoError(t, admin.EnsurePath(w.ctx, "/t/a/b"))
		synctest.Wait()
		close(busy)
		require.Equal(t, []string{
			"deleted /t/a/b", "created /t/a/b", "deleted /t/a", "created /t/a", "deleted /t", "created /t",
		}, j.take())
		require.Equal(t, 3, k.Len())
		k.Close()
	})
}

// While the client has no connection, the copy says that it may be old.
func TestCacheStale(t *testing.T) {
	bubble(t, func(w *world) {
		c := w.Connect()
		k, _ := w.cache(c, "/t")
		require.Zero(t, k.Len())
		require.False(t, k.Stale())
		lost := make(chan struct{})
		stop := c.WatchState(func(s zk.State) {
			if s == zk.StateConnecting {
				close(lost)
			}
		})
		w.CutOff(c)
		<-lost
		stop()
		synctest.Wait()
		require.True(t, k.Stale())
		w.Heal()
		require.NoError(t, c.Sync(w.ctx, "/"))
		synctest.Wait()
		require.False(t, k.Stale())
		k.Close()
	})
}

// What an ACL hides is not in the copy, nor is what is below it, whatever happens
// there; the rest is. When it is made anew for everybody it appears.
func TestCacheHidden(t *testing.T) {
	bubble(t, func(w *world) {
		admin := w.Connect()
		require.NoError(t, admin.EnsurePath(w.ctx, "/t/open"))
		_, err := admin.Create(w.ctx, "/t/hidden", nil, zk.Persistent, zk.WorldACL(zk.PermCreate|zk.PermDelete))
		require.NoError(t, err)
		require.NoError(t, admin.EnsurePath(w.ctx, "/t/hidden/a"))
		c := w.Connect()
		require.NoError(t, c.Sync(w.ctx, "/"))
		k, j := w.cache(c, "/t")
		_, err = admin.Set(w.ctx, "/t/hidden/a", []byte("1"), zk.AnyVersion)
		require.NoError(t, err)
		require.NoError(t, admin.EnsurePath(w.ctx, "/t/hidden/b"))
		require.Equal(t, []string{"created /t", "created /t/open", "initialized"}, j.take())
		require.Equal(t, []string{"open"}, k.Children("/t"))
		for _, path := range []string{"/t/hidden/a", "/t/hidden/b", "/t/hidden"} {
			require.NoError(t, admin.Delete(w.ctx, path, zk.AnyVersion))
		}
		require.NoError(t, admin.EnsurePath(w.ctx, "/t/hidden/c"))
		synctest.Wait()
		require.Equal(t, []string{"hidden", "open"}, k.Children("/t"))
		require.Equal(t, []string{"c"}, k.Children("/t/hidden"))
		k.Close()
	})
}

// Under random changes of a tree, reconnects and deaths of leaders, the copy is
// the tree in the end, and its events were in order all the way.
func TestCacheConverges(t *testing.T) {
	for seed := range uint64(3) {
		bubble(t, func(w *world) {
			rng := rand.New(rand.NewPCG(seed, 7))
			admin, c := w.Connect(), w.Connect()
			k, j := w.cache(c, "/t")
			var paths []string
			for _, a := range []string{"/t", "/t/a", "/t/b"} {
				paths = append(paths, a, a+"/x", a+"/y", a+"/x/z")
			}
			for i := range 400 {
				path := paths[rng.IntN(len(paths))]
				switch rng.IntN(4) {
				case 0, 1:
					_, _ = admin.Create(w.ctx, path, fmt.Append(nil, i), zk.Persistent) // it may exist, or lack its parent
				case 2:
					_, _ = admin.Set(w.ctx, path, fmt.Append(nil, i), zk.AnyVersion)
				case 3:
					_ = admin.DeleteAll(w.ctx, path)
				}
				switch rng.IntN(40) {
				case 0:
					w.Reset(c)
				case 1:
					leader := w.Leader()
					w.Kill(leader)
					w.Restart(leader)
				}
			}
			w.WaitLeader()
			require.NoError(t, c.Sync(w.ctx, "/"))
			settle(k)
			j.take()
			want := make(map[string]string)
			walk(w, admin, "/t", want)
			have := make(map[string]string)
			for n := range k.All() {
				have[n.Path] = string(n.Data)
				require.Equal(t, k.Children(n.Path), childrenOf(want, n.Path))
			}
			require.Equal(t, want, have, "seed %d", seed)
			k.Close()
		})
	}
}

// settle waits until a copy is compared. A connection may end behind a Sync: an
// attach that the client has given up, held on its way, takes the session to its
// server, and the client has to come back.
func settle(k *recipes.Cache) {
	for synctest.Wait(); k.Stale(); synctest.Wait() {
		<-time.After(time.Millisecond)
	}
}

// An attach that was given up takes the session from where the client is by then:
// the copy is old for a moment, and says so.
func TestCacheAttachedElsewhere(t *testing.T) {
	bubble(t, func(w *world) {
		admin, c := w.Connect(), w.Connect()
		k, _ := w.cache(c, "/t")
		require.NoError(t, admin.EnsurePath(w.ctx, "/t"))
		for i := range 60 {
			w.Reset(c)
			for range i % 60 { // into the handshake with the next server
				runtime.Gosched()
			}
			w.Reset(c)
			_, err := admin.Set(w.ctx, "/t", fmt.Append(nil, i), zk.AnyVersion)
			require.NoError(t, err)
			require.NoError(t, c.Sync(w.ctx, "/"))
			settle(k)
			n, _ := k.Node("/t")
			require.Equal(t, fmt.Sprint(i), string(n.Data))
		}
		k.Close()
	})
}

func walk(w *world, c *zk.Client, path string, into map[string]string) {
	require.NoError(w.t, c.Sync(w.ctx, path))
	data, _, err := c.Get(w.ctx, path)
	if err != nil {
		require.ErrorIs(w.t, err, zk.ErrNoNode)
		return
	}
	into[path] = string(data)
	names, _, err := c.Children(w.ctx, path)
	require.NoError(w.t, err)
	for _, name := range names {
		walk(w, c, zk.JoinPath(path, name), into)
	}
}

func childrenOf(tree map[string]string, parent string) (names []string) {
	for path := range tree {
		if path != parent && zk.ParentPath(path) == parent {
			names = append(names, zk.BaseName(path))
		}
	}
	slices.Sort(names)
	return names
}
