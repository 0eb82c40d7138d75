package zk_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/vivarium-go/vivarium/zk"
)

// telling is a Network of the host program's own: what it dials it tells. One
// that tunnels, limits or measures has the same form.
type telling struct{ zk.Network }

func (t telling) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	_, err := net.ResolveTCPAddr(network, address)
	fmt.Println("dial", network, err)
	return t.Network.DialContext(ctx, network, address)
}

// A mix of networks: servers reach one another in memory, and are heard by
// clients there and over TCP.
func ExampleNetwork() {
	ctx := context.Background()
	memory := zk.NewMemoryNetwork()
	ensemble, err := zk.StartEnsemble(ctx, zk.EnsembleConfig{
		Network: memory,
		Clients: func(id int64) []zk.Endpoint {
			return []zk.Endpoint{
				{Network: memory, Address: fmt.Sprintf("zk-%d:2181", id)},
				{Address: "127.0.0.1:0"},
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ensemble.Close()
	inside, err := ensemble.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer inside.Close()
	if _, err := inside.Create(ctx, "/greeting", []byte("hello"), zk.Persistent); err != nil {
		log.Fatal(err)
	}

	tcp := &struct {
		net.Dialer
		net.ListenConfig
	}{}
	outside, err := zk.Connect(ctx, zk.ClientConfig{
		Servers: []string{ensemble.Server(1).Addrs()[1].String()},
		Network: telling{tcp},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer outside.Close()
	outside.Sync(ctx, "/")
	greeting, _, err := outside.Get(ctx, "/greeting")
	fmt.Println(string(greeting), err)
	// Output:
	// dial tcp <nil>
	// hello <nil>
}
