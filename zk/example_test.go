package zk_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/vivarium-go/vivarium/zk"
)

// Three servers in this process, and a client that writes, reads and watches.
func Example() {
	ctx := context.Background()
	ensemble, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{})
	if err != nil {
		panic(err)
	}
	defer ensemble.Close()
	client, err := ensemble.Connect(ctx)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	if _, err := client.Create(ctx, "/config", []byte("blue"), zk.Persistent); err != nil {
		panic(err)
	}
	changed := make(chan zk.Event, 1)
	data, stat, err := client.Get(ctx, "/config", zk.Watch(func(e zk.Event) { changed <- e }))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s, version %d\n", data, stat.Version)

	if _, err := client.Set(ctx, "/config", []byte("green"), stat.Version); err != nil {
		panic(err)
	}
	fmt.Println("changed:", (<-changed).Path)

	_, err = client.Set(ctx, "/config", []byte("red"), stat.Version)
	fmt.Println("bad version:", errors.Is(err, zk.ErrBadVersion))
	// Output:
	// blue, version 0
	// changed: /config
	// bad version: true
}

// The ensemble goes on when its leader dies.
func ExampleEnsemble_Kill() {
	ctx := context.Background()
	ensemble, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{})
	if err != nil {
		panic(err)
	}
	defer ensemble.Close()
	client, err := ensemble.Connect(ctx)
	if err != nil {
		panic(err)
	}
	defer client.Close()

	if err := ensemble.Kill(ensemble.Leader()); err != nil {
		panic(err)
	}
	for {
		_, err := client.Create(ctx, "/still", nil, zk.Persistent)
		if !errors.Is(err, zk.ErrConnectionLoss) {
			fmt.Println(err == nil || errors.Is(err, zk.ErrNodeExists))
			break
		}
	}
	// Output: true
}
