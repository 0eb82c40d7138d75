package recipes_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/recipes"
)

// exampleClient gives a client of an ensemble of one server in this process. Any
// ZooKeeper will do: zk.Connect.
func exampleClient(ctx context.Context) (c *zk.Client, closeAll func()) {
	ens, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Servers: 1})
	if err != nil {
		log.Fatal(err)
	}
	c, err = ens.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		c.Close()
		ens.Close()
	}
}

// Work under a lock gets a context that ends when the lock may be lost, and what
// it writes bears the fencing token.
func ExampleMutex() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	lock, err := recipes.NewMutex(client, "/locks/report").Lock(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release(ctx)

	work, stop := lock.Context(ctx)
	defer stop()
	fmt.Println("working:", work.Err() == nil, "token:", lock.Token() > 0)

	// A write to ZooKeeper under the lock: refused if it is lost by then.
	_, err = client.Multi(work, lock.Check(), zk.CreateOp("/report", []byte("42"), zk.Persistent))
	fmt.Println("written:", err)
	// Output:
	// working: true token: true
	// written: <nil>
}

func ExampleRWMutex() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	m := recipes.NewRWMutex(client, "/locks/table")
	a, _ := m.RLock(ctx)
	b, err := m.RLock(ctx)
	fmt.Println("two readers:", err)
	_, err = m.TryLock(ctx)
	fmt.Println("a writer:", err)
	a.Release(ctx)
	b.Release(ctx)
	w, err := m.TryLock(ctx)
	fmt.Println("a writer alone:", err)
	w.Release(ctx)
	// Output:
	// two readers: <nil>
	// a writer: recipes: lock /locks/table: recipes: taken
	// a writer alone: <nil>
}

func ExampleSemaphore() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	s := recipes.NewSemaphore(client, "/licences", 2)
	first, _ := s.Acquire(ctx)
	s.Acquire(ctx)
	_, err := s.TryAcquire(ctx)
	fmt.Println(err)
	first.Release(ctx)
	_, err = s.TryAcquire(ctx)
	fmt.Println(err)
	// Output:
	// recipes: acquire /licences: recipes: taken
	// <nil>
}

// Several candidates, one leader, until it resigns or its session ends.
func ExampleElection() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	candidates := make(chan *recipes.Grant)
	for _, name := range []string{"ann", "ben"} {
		e := recipes.NewElection(client, "/leader")
		e.Data = []byte(name)
		go func() {
			if leads, err := e.Campaign(ctx); err == nil {
				candidates <- leads
			}
		}()
	}
	for range 2 {
		leads := <-candidates
		name, _ := leads.Data(ctx)
		leader, _ := recipes.NewElection(client, "/leader").Leader(ctx)
		fmt.Println("one leads:", string(name) == string(leader.Data) && leads.Token() == leader.Token)
		leads.Release(ctx)
	}
	// Output:
	// one leads: true
	// one leads: true
}

func ExampleBarrier() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	b := recipes.NewBarrier(client, "/maintenance")
	b.Raise(ctx)
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		b.Wait(ctx)
		fmt.Println("passed")
	}()
	fmt.Println("lowering")
	b.Lower(ctx)
	<-passed
	// Output:
	// lowering
	// passed
}

// All begin when all have come, and end when all are done.
func ExampleDoubleBarrier() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	begun, ended := make(chan string, 3), make(chan string, 3)
	for range 3 {
		go func() {
			party, err := recipes.NewDoubleBarrier(client, "/race", 3).Enter(ctx)
			if err != nil {
				log.Fatal(err)
			}
			begun <- "begin"
			if err := party.Leave(ctx); err != nil {
				log.Fatal(err)
			}
			ended <- "end"
		}()
	}
	for range 3 {
		fmt.Println(<-begun)
	}
	for range 3 {
		fmt.Println(<-ended)
	}
	// Output:
	// begin
	// begin
	// begin
	// end
	// end
	// end
}

// An item that is claimed and not acknowledged comes again.
func ExampleQueue() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	q := recipes.NewQueue(client, "/orders")
	q.Put(ctx, []byte("tea"))
	q.Put(ctx, []byte("milk"))

	item, err := q.Claim(ctx)
	fmt.Println(string(item.Data), err)
	item.Release(ctx) // or the consumer dies

	item, err = q.Claim(ctx)
	fmt.Println(string(item.Data), err)
	fmt.Println(item.Ack(ctx))

	data, err := q.Take(ctx)
	fmt.Println(string(data), err)
	// Output:
	// tea <nil>
	// tea <nil>
	// <nil>
	// milk <nil>
}

func ExamplePriorityQueue() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	q := recipes.NewPriorityQueue(client, "/tasks")
	q.Put(ctx, []byte("sweep"), 10)
	q.Put(ctx, []byte("put out the fire"), 1)
	data, err := q.Take(ctx)
	fmt.Println(string(data), err)
	// Output: put out the fire <nil>
}

func ExampleDelayQueue() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	q := recipes.NewDelayQueue(client, "/reminders")
	q.Put(ctx, []byte("later"), time.Hour)
	q.Put(ctx, []byte("soon"), time.Millisecond)
	data, err := q.Take(ctx)
	fmt.Println(string(data), err)
	_, err = q.TryClaim(ctx)
	fmt.Println(err)
	// Output:
	// soon <nil>
	// recipes: claim from /reminders: recipes: none there
}

func ExampleCounter() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	c := recipes.NewCounter(client, "/visits")
	c.Add(ctx, 40)
	v, err := c.Add(ctx, 2)
	fmt.Println(v, err)
	// Output: 42 <nil>
}

// Group membership: who is there, and who has gone.
func ExampleMembership() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	m := recipes.NewMembership(client, "/workers")
	ann, _ := m.Join(ctx, "ann", []byte("10.0.0.1"))
	m.Join(ctx, "ben", []byte("10.0.0.2"))
	seen := 0
	for members, err := range m.Watch(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		for _, member := range members {
			fmt.Printf("%s at %s\n", member.Name, member.Data)
		}
		if seen++; seen == 2 {
			break
		}
		fmt.Println("ann leaves")
		ann.Release(ctx)
	}
	// Output:
	// ann at 10.0.0.1
	// ben at 10.0.0.2
	// ann leaves
	// ben at 10.0.0.2
}

// Configuration: every program follows what an operator sets.
func ExampleConfigWatch() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	for config, err := range recipes.NewConfigWatch(client, "/config").Values(ctx) {
		switch {
		case err != nil:
			log.Fatal(err)
		case !config.Exists:
			fmt.Println("not configured")
			client.Create(ctx, "/config", []byte("level=info"), zk.Persistent)
		case config.Version == 0:
			fmt.Println(string(config.Data))
			client.Set(ctx, "/config", []byte("level=debug"), config.Version)
		default:
			fmt.Println(string(config.Data))
			return
		}
	}
	// Output:
	// not configured
	// level=info
	// level=debug
}

func ExamplePersistentEphemeral() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	p := recipes.NewPersistentEphemeral(client, "/alive", []byte("here"))
	if err := p.Start(ctx); err != nil {
		log.Fatal(err)
	}
	made := p.Grant()
	client.Delete(ctx, "/alive", zk.AnyVersion) // somebody tidies up
	<-made.Done()
	for config, err := range recipes.NewConfigWatch(client, "/alive").Values(ctx) {
		if err != nil || config.Exists {
			fmt.Println(string(config.Data), err)
			break
		}
	}
	p.Stop(ctx)
	// Output: here <nil>
}

// A live copy of a subtree: read as often as one likes.
func ExampleCache() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	client.EnsurePath(ctx, "/shops")
	events := make(chan recipes.CacheEvent, 10)
	cache := recipes.NewCache(client, "/shops")
	cache.OnEvent = func(ev recipes.CacheEvent) { events <- ev }
	if err := cache.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer cache.Close()
	client.Create(ctx, "/shops/bakery", []byte("bread"), zk.Persistent)
	for range 3 {
		fmt.Println((<-events).Type)
	}
	bakery, ok := cache.Node("/shops/bakery")
	fmt.Println(string(bakery.Data), ok, cache.Children("/shops"))
	// Output:
	// created
	// initialized
	// created
	// bread true [bakery]
}

// Discovery and soft load balancing: servers record how busy they are, clients
// pick the least busy.
func ExampleRegistry() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	r := recipes.NewRegistry(client, "/services")
	one, _ := r.Register(ctx, recipes.Instance{Service: "search", ID: "one", Address: "10.0.0.1", Port: 8080, Load: 0.2})
	r.Register(ctx, recipes.Instance{Service: "search", ID: "two", Address: "10.0.0.2", Port: 8080, Load: 0.7})

	search, err := r.Service(ctx, "search")
	if err != nil {
		log.Fatal(err)
	}
	defer search.Close()
	in, err := search.Pick()
	fmt.Println(in.ID, in.Address, in.Port, err)

	one.SetLoad(ctx, 5)
	for instances, err := range search.Watch(ctx) {
		if err != nil || instances[0].Load == 5 {
			break
		}
	}
	in, err = search.Pick()
	fmt.Println(in.ID, in.Address, in.Port, err)
	// Output:
	// one 10.0.0.1 8080 <nil>
	// two 10.0.0.2 8080 <nil>
}

// Servers going up and down: each is a member for as long as it lives.
func ExampleMembership_upAndDown() {
	ctx := context.Background()
	ens, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Servers: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer ens.Close()
	server, _ := ens.Connect(ctx)
	watcher, _ := ens.Connect(ctx)
	defer watcher.Close()

	recipes.NewMembership(server, "/servers").Join(ctx, "db-1", nil)
	wasUp := false
	for members, err := range recipes.NewMembership(watcher, "/servers").Watch(ctx) {
		switch up := len(members) > 0; {
		case err != nil:
			log.Fatal(err)
		case up:
			wasUp = true
			fmt.Println(members[0].Name, "is up")
			server.Close() // or its process dies, and its session expires
		case wasUp:
			fmt.Println("nobody is up")
			return
		}
	}
	// Output:
	// db-1 is up
	// nobody is up
}

// Naming: a path is a name that is given once, or a number that nobody else has.
func Example_naming() {
	ctx := context.Background()
	client, closeAll := exampleClient(ctx)
	defer closeAll()

	client.EnsurePath(ctx, "/names")
	path, err := client.Create(ctx, "/names/mail", []byte("10.0.0.7:25"), zk.Persistent)
	fmt.Println(path, err)
	_, err = client.Create(ctx, "/names/mail", []byte("10.0.0.8:25"), zk.Persistent)
	fmt.Println(err)
	for range 2 {
		path, err = client.Create(ctx, "/names/job-", nil, zk.PersistentSequential)
		fmt.Println(path, err)
	}
	// Output:
	// /names/mail <nil>
	// zk: create /names/mail: znode exists
	// /names/job-0000000001 <nil>
	// /names/job-0000000002 <nil>
}

// A program that takes part for as long as it runs, in one session after another.
func ExampleRunSessions() {
	ctx := context.Background()
	ens, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Servers: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer ens.Close()

	err = recipes.RunSessions(ctx, ens.Connect, func(ctx context.Context, c *zk.Client) error {
		leads, err := recipes.NewElection(c, "/leader").Campaign(ctx)
		if err != nil {
			return err
		}
		defer leads.Release(context.WithoutCancel(ctx))
		work, stop := leads.Context(ctx)
		defer stop()
		fmt.Println("leading:", work.Err() == nil)
		return nil // done; a loss of the session would have us called again
	})
	fmt.Println(err)
	// Output:
	// leading: true
	// <nil>
}
