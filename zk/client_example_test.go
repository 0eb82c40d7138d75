package zk_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/vivarium-go/vivarium/zk"
)

// exampleClient gives an ensemble of one server and a client of it.
func exampleClient(ctx context.Context) (cl *zk.Client, closeAll func()) {
	ens, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{Servers: 1})
	if err != nil {
		log.Fatal(err)
	}
	cl, err = ens.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return cl, func() {
		cl.Close()
		ens.Close()
	}
}

// A one-shot watch is armed by the read whose result it watches. Its callback has
// returned before any call on the client returns something newer.
func ExampleWatch() {
	ctx := context.Background()
	cl, closeAll := exampleClient(ctx)
	defer closeAll()

	_, err := cl.Exists(ctx, "/config", zk.Watch(func(ev zk.Event) { fmt.Println(ev) }))
	fmt.Println(err)
	if _, err := cl.Create(ctx, "/config", []byte("v1"), zk.Persistent); err != nil {
		log.Fatal(err)
	}
	data, stat, err := cl.Get(ctx, "/config")
	fmt.Println(string(data), stat.Version, err)
	// Output:
	// zk: exists /config: no such znode
	// created /config
	// v1 0 <nil>
}

// A recursive watch tells of everything below a znode, until it is removed.
func ExampleClient_AddWatch() {
	ctx := context.Background()
	cl, closeAll := exampleClient(ctx)
	defer closeAll()

	err := cl.AddWatch(ctx, "/workers", zk.WatchRecursive, func(ev zk.Event) {
		if ev.Type != zk.EventSession { // the end of the session is the end of its watches
			fmt.Println(ev)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := cl.EnsurePath(ctx, "/workers"); err != nil {
		log.Fatal(err)
	}
	path, err := cl.Create(ctx, "/workers/w-", nil, zk.EphemeralSequential)
	fmt.Println(path, err)
	fmt.Println(cl.DeleteAll(ctx, "/workers"))
	// Output:
	// created /workers
	// created /workers/w-0000000000
	// /workers/w-0000000000 <nil>
	// deleted /workers/w-0000000000
	// deleted /workers
	// <nil>
}

// All or nothing: the check fails, so nothing is created.
func ExampleClient_Multi() {
	ctx := context.Background()
	cl, closeAll := exampleClient(ctx)
	defer closeAll()

	res, err := cl.Multi(ctx,
		zk.CreateOp("/a", nil, zk.Persistent),
		zk.CheckOp("/a", 7),
	)
	fmt.Println(err, errors.Is(err, zk.ErrBadVersion))
	for _, r := range res {
		fmt.Println(r.Path, r.Err)
	}
	_, err = cl.Exists(ctx, "/a")
	fmt.Println(err)
	// Output:
	// zk: multi check /a: version conflict true
	// /a not executed: another operation of the multi failed
	// /a version conflict
	// zk: exists /a: no such znode
}

// Requests are executed in the order in which they are passed; none waits for the
// answer of the one before it.
func ExampleClient_Go() {
	ctx := context.Background()
	cl, closeAll := exampleClient(ctx)
	defer closeAll()

	done := make(chan struct{})
	for i := range 3 {
		cl.Go(ctx, zk.CreateOp("/q-", nil, zk.PersistentSequential), func(res zk.OpResult) {
			fmt.Println(res.Path, res.Err)
			if i == 2 {
				close(done)
			}
		})
	}
	<-done
	// Output:
	// /q-0000000000 <nil>
	// /q-0000000001 <nil>
	// /q-0000000002 <nil>
}

// What one identity may do, others may not.
func ExampleAuthACL() {
	ctx := context.Background()
	cl, closeAll := exampleClient(ctx)
	defer closeAll()

	if err := cl.AddAuth(ctx, zk.DigestAuth("ann", "secret")); err != nil {
		log.Fatal(err)
	}
	_, err := cl.Create(ctx, "/ann", nil, zk.Persistent, zk.AuthACL(zk.PermAll), zk.WorldACL(zk.PermRead))
	if err != nil {
		log.Fatal(err)
	}
	acl, _, err := cl.ACL(ctx, "/ann")
	fmt.Println(acl, err)
	// Output:
	// [digest:ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=:cdrwa world:anyone:r] <nil>
}

func ExampleParseConnectString() {
	servers, chroot, err := zk.ParseConnectString("zk1.example.com:2181,zk2.example.com/kafka")
	fmt.Println(servers, chroot, err)
	// Output: [zk1.example.com:2181 zk2.example.com:2181] /kafka <nil>
}
