package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk"
)

// showConfig prints the configuration of the ensemble: all of it, or with -c its
// version and where clients connect.
func showConfig(c *call) error {
	var watch []zk.ReadOption
	if c.has("w") {
		watch = append(watch, zk.Watch(c.watcher(dataWatchRemoved)))
	}
	m, st, err := c.client.Config(c.ctx, watch...)
	if err != nil {
		return at(zk.ConfigPath, err)
	}
	switch {
	case len(m.Servers) == 0: // a server that is no ensemble
		c.out.println("")
	case c.has("c"):
		var clients []string
		for _, s := range m.Servers {
			clients = append(clients, s.Client)
		}
		c.out.println(fmt.Sprintf("%x %s", uint64(m.Version), strings.Join(clients, ",")))
	default:
		c.out.println(m.String())
	}
	if c.has("s") {
		c.out.println(statText(st))
	}
	return nil
}

// reconfig changes the configuration of the ensemble.
func reconfig(c *call) error {
	whole, part := c.has("file") || c.has("members"), c.has("add") || c.has("remove")
	switch {
	case !whole && !part:
		return usageOf("reconfig")
	case whole && part:
		return complaint("Can't use -file or -members together with -add or -remove (mixing incremental and non-incremental modes is not allowed)")
	case c.has("file") && c.has("members"):
		return complaint("Can't use -file and -members together (conflicting non-incremental modes)")
	}
	change := zk.Reconfiguration{Version: -1}
	if text, ok := c.opts["v"]; ok {
		v, err := strconv.ParseInt(text, 16, 64)
		if err != nil {
			return complaint("-v must be followed by a long (configuration version)")
		}
		change.Version = v
	}
	parse := c.parseParts
	if whole {
		parse = c.parseWhole
	}
	if err := parse(&change); err != nil {
		return err
	}
	m, st, err := c.client.Reconfig(c.ctx, change)
	if err != nil {
		return at("", err)
	}
	c.out.println("Committed new configuration:\n" + m.String())
	if c.has("s") {
		c.out.println(statText(st))
	}
	return nil
}

// parseWhole reads a list of members.
func (c *call) parseWhole(change *zk.Reconfiguration) error {
	text, name := strings.ToLower(c.opts["members"]), c.opts["file"]
	if c.has("file") {
		data, err := os.ReadFile(name)
		if err != nil {
			return complaint("Error processing " + name + err.Error())
		}
		text = string(data)
	}
	m, err := zk.ParseMembership(text)
	if err != nil && c.has("file") {
		return complaint("Error processing " + name + err.Error())
	}
	if err != nil {
		return at("", fmt.Errorf("%w: %w", zk.ErrBadArguments, err))
	}
	change.Members = m.Servers
	return nil
}

// parseParts reads who joins and who leaves.
func (c *call) parseParts(change *zk.Reconfiguration) error {
	if c.has("add") {
		for one := range strings.SplitSeq(strings.ToLower(c.opts["add"]), ",") {
			key, value, _ := strings.Cut(one, "=")
			id, err := strconv.ParseInt(key[strings.LastIndexByte(key, '.')+1:], 10, 64)
			var spec zk.ServerSpec
			if err == nil {
				spec, err = zk.ParseServerSpec(id, value)
			}
			if err != nil {
				return at("", fmt.Errorf("%w: %w", zk.ErrBadArguments, err))
			}
			change.Joining = append(change.Joining, spec)
		}
	}
	if c.has("remove") {
		for one := range strings.SplitSeq(c.opts["remove"], ",") {
			id, err := strconv.ParseInt(strings.TrimSpace(one), 10, 64)
			if err != nil {
				return at("", fmt.Errorf("%w: %w", zk.ErrBadArguments, err))
			}
			change.Leaving = append(change.Leaving, id)
		}
	}
	return nil
}
