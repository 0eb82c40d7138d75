package zk_test

import (
	"fmt"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// A zoo.cfg becomes the configuration of one server. LoadConfig does so for a
// file, and reads myid and dynamicConfigFile, too.
func ExampleParseConfig() {
	f, err := zk.ParseConfig("zoo.cfg", strings.NewReader(`
tickTime=2000
initLimit=10
syncLimit=5
dataDir=/var/lib/zookeeper
clientPort=2181
clientPortAddress=127.0.0.1
server.1=zoo1:2888:3888
server.2=zoo2:2888:3888
server.3=zoo3:2888:3888
`))
	if err != nil {
		panic(err)
	}
	f.MyID = 2
	cfg, err := f.ServerConfig()
	if err != nil {
		panic(err)
	}
	fmt.Println(cfg.ID, cfg.TickTime, cfg.DataDir, cfg.Clients[0].Address, cfg.Servers[1].Peer)
	_, err = zk.ParseConfig("zoo.cfg", strings.NewReader("tickTime=fast"))
	fmt.Println(err)
	// Output:
	// 2 2s /var/lib/zookeeper/vivarium 127.0.0.1:2181 zoo2:2888
	// zk: zoo.cfg:1: tickTime: "fast" is not a whole number
}
