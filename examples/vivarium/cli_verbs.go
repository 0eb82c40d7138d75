package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// call is one command with its options and arguments.
type call struct {
	*shell
	ctx  context.Context
	opts map[byte]string
	args []string
}

func (c *call) has(option byte) bool {
	_, ok := c.opts[option]
	return ok
}

// version is the value of -v; any version without it.
func (c *call) version() (int32, error) {
	text, ok := c.opts['v']
	if !ok {
		return zk.AnyVersion, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("version %q is not a number", text)
	}
	return int32(n), nil
}

// watch is what -w adds to a read.
func (c *call) watch() []zk.ReadOption {
	if !c.has('w') {
		return nil
	}
	return []zk.ReadOption{zk.Watch(c.onEvent)}
}

// verb is one of zkCli's commands.
type verb struct {
	usage       string
	options     string // see parseOptions
	least, most int    // arguments; most negative: any number
	offline     bool   // needs no session
	run         func(*call) error
}

var verbs map[string]verb

func init() { // they refer to one another: redo runs the others
	verbs = map[string]verb{
		"addWatch":             {"[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE", "m:", 1, 1, false, addWatch},
		"addauth":              {"scheme auth", "", 1, 2, false, addAuth},
		"close":                {"", "", 0, 0, false, func(c *call) error { c.close(); return nil }},
		"config":               {"[-s]", "s", 0, 0, false, showConfig},
		"connect":              {"host:port", "", 0, 1, true, connectTo},
		"create":               {"[-s] [-e] [-c] [-t ttl] path [data] [acl]", "sect:", 1, 3, false, create},
		"delete":               {"[-v version] path", "v:", 1, 1, false, remove},
		"deleteall":            {"path", "b:", 1, 1, false, removeAll},
		"get":                  {"[-s] [-w] path", "sw", 1, 1, false, get},
		"getAcl":               {"[-s] path", "s", 1, 1, false, getACL},
		"getAllChildrenNumber": {"path", "", 1, 1, false, countAll},
		"getEphemerals":        {"path", "", 0, 1, false, ephemerals},
		"history":              {"", "", 0, 0, true, showHistory},
		"ls":                   {"[-s] [-w] [-R] path", "swR", 1, 1, false, list},
		"printwatches":         {"on|off", "", 0, 1, true, printWatches},
		"quit":                 {"", "", 0, 0, true, func(c *call) error { c.close(); c.quit = true; return nil }},
		"redo":                 {"cmdno", "", 1, 1, true, redo},
		"removewatches":        {"path [-c|-d|-a]", "cda", 1, 1, false, removeWatches},
		"set":                  {"[-s] [-v version] path data", "sv:", 2, 2, false, setData},
		"setAcl":               {"[-s] [-v version] [-R] path acl", "sv:R", 2, 2, false, setACL},
		"stat":                 {"[-w] path", "w", 1, 1, false, stat},
		"sync":                 {"path", "", 1, 1, false, syncPath},
		"version":              {"", "", 0, 0, true, showVersion},
		"whoami":               {"", "", 0, 0, false, whoAmI},
	}
}

// help lists the commands.
func help() string {
	var b strings.Builder
	b.WriteString("vivarium cli -server host:port[,host:port…][/chroot] [command]")
	for _, name := range slices.Sorted(maps.Keys(verbs)) {
		b.WriteString("\n\t" + name + " " + verbs[name].usage)
	}
	return b.String()
}

func create(c *call) error {
	var mode zk.CreateMode
	ttl, hasTTL := c.opts['t']
	switch {
	case c.has('c') && (c.has('s') || c.has('e')):
		return complaint("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.")
	case hasTTL && c.has('e'):
		return complaint("TTLs cannot be used with Ephemeral znodes")
	case hasTTL && c.has('c'):
		return complaint("TTLs cannot be used with Container znodes")
	case hasTTL:
		ms, err := strconv.ParseInt(ttl, 10, 64)
		if err != nil {
			return fmt.Errorf("ttl %q is not a number of milliseconds", ttl)
		}
		mode = zk.PersistentTTL(time.Duration(ms) * time.Millisecond)
		if c.has('s') {
			mode = zk.PersistentSequentialTTL(time.Duration(ms) * time.Millisecond)
		}
	case c.has('c'):
		mode = zk.Container
	case c.has('s') && c.has('e'):
		mode = zk.EphemeralSequential
	case c.has('s'):
		mode = zk.PersistentSequential
	case c.has('e'):
		mode = zk.Ephemeral
	}
	var data []byte
	var acl []zk.ACL
	if len(c.args) > 1 {
		data = []byte(c.args[1])
	}
	if len(c.args) > 2 {
		var err error
		if acl, err = parseACL(c.args[2]); err != nil {
			return err
		}
	}
	made, err := c.client.Create(c.ctx, c.args[0], data, mode, acl...)
	if err == nil {
		c.err.println("Created " + made)
	}
	return at(c.args[0], err)
}

func get(c *call) error {
	data, st, err := c.client.Get(c.ctx, c.args[0], c.watch()...)
	if err != nil {
		return at(c.args[0], err)
	}
	if data == nil {
		c.out.println("null")
	} else {
		c.out.println(string(data))
	}
	if c.has('s') {
		c.out.println(statText(st))
	}
	return nil
}

func setData(c *call) error {
	version, err := c.version()
	if err != nil {
		return err
	}
	st, err := c.client.Set(c.ctx, c.args[0], []byte(c.args[1]), version)
	if err == nil && c.has('s') {
		c.out.println(statText(st))
	}
	return at(c.args[0], err)
}

func remove(c *call) error {
	version, err := c.version()
	if err != nil {
		return err
	}
	return at(c.args[0], c.client.Delete(c.ctx, c.args[0], version))
}

func removeAll(c *call) error { return at(c.args[0], c.client.DeleteAll(c.ctx, c.args[0])) }

func list(c *call) error {
	if c.has('R') {
		return c.listAll()
	}
	names, st, err := c.client.Children(c.ctx, c.args[0], c.watch()...)
	if err != nil {
		return at(c.args[0], err)
	}
	slices.Sort(names)
	c.out.println("[" + strings.Join(names, ", ") + "]")
	if c.has('s') {
		c.out.println(statText(st))
	}
	return nil
}

// listAll prints a subtree, level by level.
func (c *call) listAll() error {
	queue := []string{c.args[0]}
	for i := 0; i < len(queue); i++ {
		names, _, err := c.client.Children(c.ctx, queue[i])
		if errors.Is(err, zk.ErrNoNode) && i > 0 {
			continue // deleted meanwhile
		}
		if err != nil {
			return at(queue[i], err)
		}
		slices.Sort(names)
		c.out.println(queue[i])
		for _, n := range names {
			queue = append(queue, path.Join(queue[i], n))
		}
	}
	return nil
}

func stat(c *call) error {
	st, err := c.client.Exists(c.ctx, c.args[0], c.watch()...)
	if err != nil {
		return at(c.args[0], err)
	}
	c.out.println(statText(st))
	return nil
}

// statText is a Stat as zkCli prints it.
func statText(s zk.Stat) string {
	const javaDate = "Mon Jan 02 15:04:05 MST 2006"
	return fmt.Sprintf("cZxid = 0x%x\nctime = %s\nmZxid = 0x%x\nmtime = %s\npZxid = 0x%x\ncversion = %d\ndataVersion = %d\naclVersion = %d\nephemeralOwner = 0x%x\ndataLength = %d\nnumChildren = %d",
		uint64(s.Czxid), s.CreatedAt().Format(javaDate), uint64(s.Mzxid), s.ModifiedAt().Format(javaDate), uint64(s.Pzxid),
		s.Cversion, s.Version, s.Aversion, uint64(s.EphemeralOwner), s.DataLength, s.NumChildren)
}

func getACL(c *call) error {
	acl, st, err := c.client.ACL(c.ctx, c.args[0])
	if err != nil {
		return at(c.args[0], err)
	}
	for _, a := range acl {
		c.out.println(fmt.Sprintf("'%s,'%s\n: %s", a.ID.Scheme, a.ID.ID, a.Perms))
	}
	if c.has('s') {
		c.out.println(statText(st))
	}
	return nil
}

func setACL(c *call) error {
	acl, err := parseACL(c.args[1])
	if err != nil {
		return err
	}
	version, err := c.version()
	if err != nil {
		return err
	}
	queue := []string{c.args[0]}
	for i := 0; i < len(queue); i++ {
		st, err := c.client.SetACL(c.ctx, queue[i], version, acl...)
		if err != nil {
			return at(queue[i], err)
		}
		if c.has('s') {
			c.out.println(statText(st))
		}
		if !c.has('R') {
			break
		}
		names, _, err := c.client.Children(c.ctx, queue[i])
		if err != nil {
			return at(queue[i], err)
		}
		for _, n := range names {
			queue = append(queue, path.Join(queue[i], n))
		}
	}
	return nil
}

// parseACL reads scheme:id:perms[,scheme:id:perms…].
func parseACL(text string) (acl []zk.ACL, err error) {
	for one := range strings.SplitSeq(text, ",") {
		first, last := strings.IndexByte(one, ':'), strings.LastIndexByte(one, ':')
		if first < 0 || first == last {
			return nil, fmt.Errorf("%s does not have the form scheme:id:perm", one)
		}
		var perms zk.Perm
		for _, r := range one[last+1:] {
			p, ok := map[rune]zk.Perm{'r': zk.PermRead, 'w': zk.PermWrite, 'c': zk.PermCreate, 'd': zk.PermDelete, 'a': zk.PermAdmin}[r]
			if !ok {
				return nil, complaint("Unknown perm type: " + string(r))
			}
			perms |= p
		}
		acl = append(acl, zk.ACL{Perms: perms, ID: zk.ID{Scheme: one[:first], ID: one[first+1 : last]}})
	}
	return acl, nil
}
