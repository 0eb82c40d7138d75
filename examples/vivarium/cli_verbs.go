package main

import (
	"context"
	"encoding/base64"
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
	name string
	ctx  context.Context
	opts map[string]string
	args []string
}

func (c *call) has(option string) bool {
	_, ok := c.opts[option]
	return ok
}

// version is the value of -v; any version without it.
func (c *call) version() (int32, error) {
	text, ok := c.opts["v"]
	if !ok {
		return zk.AnyVersion, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("version %q is not a number", text)
	}
	return int32(n), nil
}

// watch is what -w adds to a read, or "watch" behind its path, as it was once
// written. removed is what such a watch is told when it is removed.
func (c *call) watch(removed string) []zk.ReadOption {
	if len(c.args) > 1 {
		c.err.println(fmt.Sprintf("'%s path [watch]' has been deprecated. Please use '%s path' instead.", c.name, c.name+map[string]string{"get": " [-s]"}[c.name]+" [-w]"))
	} else if !c.has("w") {
		return nil
	}
	return []zk.ReadOption{zk.Watch(c.watcher(removed))}
}

// verb is one of zkCli's commands.
type verb struct {
	usage       string
	options     string // see parseOptions
	least, most int    // arguments; most negative: any number, what is too much is not looked at
	kind        verbKind
	run         func(*call) error
}

type verbKind int

const (
	online  verbKind = iota // needs a session
	onPath                  // needs a session, and its first argument is a path
	offline                 // needs nothing
)

var verbs map[string]verb

func init() { // they refer to one another: redo runs the others
	verbs = map[string]verb{
		"addWatch":             {"[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE", "m:", 1, 1, onPath, addWatch},
		"addauth":              {"scheme auth", "", 1, -1, online, addAuth},
		"close":                {"", "", 0, -1, online, func(c *call) error { c.close(); return nil }},
		"config":               {"[-c] [-w] [-s]", "c w s", 0, -1, online, showConfig},
		"connect":              {"host:port", "", 0, -1, offline, connectTo},
		"create":               {"[-s] [-e] [-c] [-t ttl] path [data] [acl]", "s e c t:", 1, -1, online, create},
		"delete":               {"[-v version] path", "v:", 1, -1, onPath, remove},
		"deleteall":            {"path [-b batch size]", "b:", 1, -1, onPath, removeAll},
		"delquota":             {"[-n|-b|-N|-B] path", "n b N B", 1, -1, online, delQuota},
		"get":                  {"[-s] [-w] [-b] [-x] path", "s w b x", 1, -1, onPath, get},
		"getAcl":               {"[-s] path", "s", 1, -1, onPath, getACL},
		"getAllChildrenNumber": {"path", "", 1, -1, onPath, countAll},
		"getEphemerals":        {"path", "", 0, -1, online, ephemerals},
		"history":              {"", "", 0, -1, offline, showHistory},
		"listquota":            {"path", "", 1, -1, online, listQuota},
		"ls":                   {"[-s] [-w] [-R] path", "s w R", 1, -1, onPath, list},
		"printwatches":         {"on|off", "", 0, -1, offline, printWatches},
		"quit":                 {"", "", 0, -1, offline, func(c *call) error { c.close(); c.quit = true; return nil }},
		"reconfig": {
			"[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
			"s v: file: members: add: remove:", 0, -1, online, reconfig,
		},
		"redo":          {"cmdno", "", 1, -1, offline, redo},
		"removewatches": {"path [-c|-d|-a] [-l]", "c d p r a l", 1, -1, onPath, removeWatches},
		"set":           {"path data [-s] [-v version] [-b]", "s v: b", 2, -1, onPath, setData},
		"setAcl":        {"[-s] [-v version] [-R] path acl", "s v: R", 2, -1, onPath, setACL},
		"setquota":      {"-n|-b|-N|-B val path", "n: b: N: B:", 1, -1, online, setQuota},
		"stat":          {"[-w] path", "w", 1, -1, onPath, stat},
		"sync":          {"path", "", 1, -1, onPath, syncPath},
		"version":       {"", "", 0, 0, offline, showVersion},
		"whoami":        {"", "", 0, -1, online, whoAmI},
	}
}

// usageMore is what the usage of some commands says below its line.
var usageMore = map[string]string{
	"get": " -b   Output data in base64 format\n -s   Print znode stats additionally\n -w   Watch for changes on the znode\n -x   Output data in hexdump format\n",
	"set": " -b         Supply data in base64 format\n -s         Print znode stats additionally\n -v <arg>   Set with an expected version\n",
}

// usageOf is the usage of a command as its mistakes print it.
func usageOf(name string) usageError {
	text := name + " " + verbs[name].usage
	if more, ok := usageMore[name]; ok {
		text += "\n" + more
	}
	return usageError{text}
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

const ttlMax = 1<<40 - 1 // milliseconds, as there

func create(c *call) error {
	checked := c.args[0]
	if c.has("s") {
		checked += "1" // a name is appended
	}
	if err := checkPath(checked); err != nil {
		return err
	}
	var mode zk.CreateMode
	ttl, hasTTL := c.opts["t"]
	switch {
	case c.has("c") && (c.has("s") || c.has("e")):
		return complaint("-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.")
	case hasTTL && c.has("e"):
		return complaint("TTLs cannot be used with Ephemeral znodes")
	case hasTTL && c.has("c"):
		return complaint("TTLs cannot be used with Container znodes")
	case hasTTL:
		ms, err := strconv.ParseInt(ttl, 10, 64)
		if err != nil {
			return complaint("-t argument must be a long value")
		}
		if ms <= 0 || ms > ttlMax {
			return complaint(fmt.Sprintf("ttl must be positive and cannot be larger than: %d", int64(ttlMax)))
		}
		mode = zk.PersistentTTL(time.Duration(ms) * time.Millisecond)
		if c.has("s") {
			mode = zk.PersistentSequentialTTL(time.Duration(ms) * time.Millisecond)
		}
	case c.has("c"):
		mode = zk.Container
	case c.has("s") && c.has("e"):
		mode = zk.EphemeralSequential
	case c.has("s"):
		mode = zk.PersistentSequential
	case c.has("e"):
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
	data, st, err := c.client.Get(c.ctx, c.args[0], c.watch(dataWatchRemoved)...)
	if err != nil {
		return at(c.args[0], err)
	}
	if data == nil {
		data = []byte("null")
	}
	switch {
	case c.has("x"):
		c.out.println(hexDump(data))
	case c.has("b"):
		c.out.println(base64.StdEncoding.EncodeToString(data))
	default:
		c.out.println(string(data))
	}
	if c.has("s") {
		c.out.println(statText(st))
	}
	return nil
}

func setData(c *call) error {
	version, err := c.version()
	if err != nil {
		return err
	}
	data := []byte(c.args[1])
	if c.has("b") {
		if data, err = base64.StdEncoding.DecodeString(c.args[1]); err != nil {
			return err
		}
	}
	st, err := c.client.Set(c.ctx, c.args[0], data, version)
	if err == nil && c.has("s") {
		c.out.println(statText(st))
	}
	return at(c.args[0], err)
}

func remove(c *call) error {
	if len(c.args) > 1 {
		c.err.println("'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.")
		if !c.has("v") {
			c.opts["v"] = c.args[1]
		}
	}
	version, err := c.version()
	if err != nil {
		return err
	}
	return at(c.args[0], c.client.Delete(c.ctx, c.args[0], version))
}

func removeAll(c *call) error {
	if text, ok := c.opts["b"]; ok && !isNumber(text) {
		return complaint("-b argument must be an int value")
	}
	if _, err := c.client.Exists(c.ctx, c.args[0]); err != nil {
		return at(c.args[0], err)
	}
	return at(c.args[0], c.client.DeleteAll(c.ctx, c.args[0]))
}

func list(c *call) error {
	if c.has("R") {
		return c.listAll()
	}
	names, st, err := c.client.Children(c.ctx, c.args[0], c.watch(childWatchRemoved)...)
	if err != nil {
		return at(c.args[0], err)
	}
	slices.Sort(names)
	c.out.println("[" + strings.Join(names, ", ") + "]")
	if c.has("s") {
		c.out.println(statText(st))
	}
	return nil
}

// listAll prints a subtree.
func (c *call) listAll() error {
	return c.walk(c.args[0], func(p string) error { c.out.println(p); return nil })
}

// walk calls f for a znode and all below it: for all children, then for theirs.
func (c *call) walk(root string, f func(path string) error) error {
	if _, err := c.client.Exists(c.ctx, root); err != nil {
		return at(root, err)
	}
	if err := f(root); err != nil {
		return err
	}
	return c.walkBelow(root, f)
}

func (c *call) walkBelow(parent string, f func(path string) error) error {
	names, _, err := c.client.Children(c.ctx, parent)
	if errors.Is(err, zk.ErrNoNode) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return at(parent, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := f(path.Join(parent, n)); err != nil {
			return err
		}
	}
	for _, n := range names {
		if err := c.walkBelow(path.Join(parent, n), f); err != nil {
			return err
		}
	}
	return nil
}

func stat(c *call) error {
	st, err := c.client.Exists(c.ctx, c.args[0], c.watch(dataWatchRemoved)...)
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
	if c.has("s") {
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
	one := func(p string) error {
		st, err := c.client.SetACL(c.ctx, p, version, acl...)
		if err == nil && c.has("s") && !c.has("R") {
			c.out.println(statText(st))
		}
		return at(p, err)
	}
	if c.has("R") {
		return c.walk(c.args[0], one)
	}
	return one(c.args[0])
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
