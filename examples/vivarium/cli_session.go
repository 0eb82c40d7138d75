package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// historyShown is how many commands before itself the command history prints.
const historyShown = 10

func addAuth(c *call) error {
	auth := zk.Auth{Scheme: c.args[0]}
	if len(c.args) > 1 {
		auth.Data = []byte(c.args[1])
	}
	return c.client.AddAuth(c.ctx, auth)
}

func addWatch(c *call) error {
	mode := zk.WatchRecursive
	switch strings.ToUpper(c.opts["m"]) {
	case "", "PERSISTENT_RECURSIVE":
	case "PERSISTENT":
		mode = zk.WatchPersistent
	default:
		return usageOf("addWatch")
	}
	return at(c.args[0], c.client.AddWatch(c.ctx, c.args[0], mode, c.watcher(persistentWatchRemoved)))
}

func removeWatches(c *call) error {
	kind := zk.AnyWatches
	switch {
	case c.has("c"):
		kind = zk.ChildWatches
	case c.has("d"):
		kind = zk.DataWatches
	case c.has("p"):
		kind = zk.PersistentWatches
	case c.has("r"):
		kind = zk.RecursiveWatches
	}
	return at(c.args[0], c.client.RemoveWatches(c.ctx, c.args[0], kind))
}

func syncPath(c *call) error {
	if err := c.client.Sync(c.ctx, c.args[0]); err != nil {
		return at(c.args[0], err)
	}
	c.out.println("Sync is OK")
	return nil
}

func countAll(c *call) error {
	n, err := c.client.CountDescendants(c.ctx, c.args[0])
	if err == nil {
		c.out.println(strconv.Itoa(n))
	}
	return at(c.args[0], err)
}

func ephemerals(c *call) error {
	prefix := "/"
	if len(c.args) > 0 {
		prefix = c.args[0]
	}
	paths, err := c.client.Ephemerals(c.ctx, prefix)
	if err == nil {
		c.out.println("[" + strings.Join(paths, ", ") + "]")
	}
	return at(prefix, err)
}

func whoAmI(c *call) error {
	ids, err := c.client.WhoAmI(c.ctx)
	if err != nil {
		return err
	}
	c.out.println("Auth scheme: User")
	for _, id := range ids {
		c.out.println(id.Scheme + ": " + id.ID)
	}
	return nil
}

func showVersion(c *call) error {
	c.out.println("ZooKeeper CLI version: vivarium")
	return nil
}

func connectTo(c *call) error {
	server := c.server
	if len(c.args) > 0 {
		server = c.args[0]
	}
	return c.connect(server)
}

func printWatches(c *call) error {
	switch {
	case len(c.args) == 0:
		c.out.println("printwatches is " + map[bool]string{true: "off", false: "on"}[c.silent.Load()])
	case c.args[0] == "on" || c.args[0] == "off":
		c.silent.Store(c.args[0] == "off")
	default:
		return usageError{"printwatches on|off"}
	}
	return nil
}

func showHistory(c *call) error {
	now := len(c.history) - 1
	for i := max(0, now-historyShown); i <= now; i++ {
		c.out.println(fmt.Sprintf("%d - %s", i, c.history[i]))
	}
	return nil
}

// redo runs a command of the history again, in whose place it then stands.
func redo(c *call) error {
	i, err := strconv.Atoi(c.args[0])
	if err != nil {
		return usageError{"redo cmdno"}
	}
	now := len(c.history) - 1
	if i < 0 || i >= now {
		return complaint("Command index out of range")
	}
	words, err := splitWords(c.history[i])
	if err != nil {
		return err
	}
	if words[0] == "redo" {
		return complaint("No redoing redos")
	}
	c.history[now] = c.history[i]
	return c.command(words)
}
