package controller

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// stage is a controller in front of a ZooKeeper that the script plays: nothing is shown and nothing is written unless it says so.
type stage struct {
	nodes  map[string]Node
	zxid   int64
	c      *Controller
	writes []Write
	reads  []string
	ids    map[string]string // topic ids and what the script calls them
	out    strings.Builder
}

func (s *stage) printf(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func TestScripts(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		s := &stage{nodes: map[string]Node{}, ids: map[string]string{}}
		script.Run(t, file, func(t *testing.T, cmd *script.Cmd) string {
			s.run(cmd)
			out := s.out.String()
			for id, name := range s.ids {
				out = strings.ReplaceAll(out, id, name)
			}
			s.out.Reset()
			return out
		})
	})
}

func (s *stage) run(c *script.Cmd) {
	switch c.Name {
	case "controller":
		s.c = New(Config{Broker: int32(c.IntOr("broker", 1)), Rand: rand.New(rand.NewPCG(7, 7)), UncleanElection: c.Has("unclean"), ChunkMax: c.IntOr("chunk", 0), WritesMax: c.IntOr("writes", 0)})
		s.writes, s.reads = nil, nil
		for _, p := range slices.Sorted(maps.Keys(s.nodes)) {
			s.c.Put(s.nodes[p])
		}
	case "start":
		s.c.Start(c.Int64("session"), 0)
	case "stop":
		s.c.Stop()
	case "set", "hide":
		s.set(c)
	case "broker":
		s.put(layout.BrokerPath(int32(c.Int("id"))), layout.EncodeBroker(layout.Broker{Incarnation: int64(c.IntOr("incarnation", 1))}), 9, true)
	case "gone":
		for _, p := range c.Positional() {
			s.remove(p, true)
		}
	case "expire":
		for _, p := range slices.Sorted(maps.Keys(s.nodes)) {
			if s.nodes[p].Owner == c.Int64("session") {
				s.remove(p, !c.Has("unseen"))
			}
		}
	case "do":
		s.do(c)
	case "tree":
		s.tree(c)
	case "shutdown":
		s.c.ShutDown(uint64(c.Int("token")), int32(c.Int("broker")), int64(c.IntOr("incarnation", 1)))
	case "rebalance":
		s.c.Rebalance(c.IntOr("percent", 10))
	default:
		s.request(c)
	}
	if c.Name != "do" && c.Name != "tree" {
		s.drain()
	}
}

func (s *stage) request(c *script.Cmd) {
	token, name := uint64(c.IntOr("token", 1)), c.Positional()[0]
	switch c.Name {
	case "create":
		spec := TopicSpec{Name: name, Partitions: c.IntOr("partitions", 1), Replicas: c.IntOr("replicas", 1), ValidateOnly: c.Has("validate")}
		if a, ok := c.Lookup("assignment"); ok {
			spec.Assignment = parseAssignment(c, a)
		}
		if v, ok := c.Lookup("retention"); ok {
			spec.Config = map[string]string{"retention.ms": v}
		}
		s.c.CreateTopic(token, spec)
	case "grow":
		var a [][]int32
		if text, ok := c.Lookup("assignment"); ok {
			a = parseAssignment(c, text)
		}
		s.c.CreatePartitions(token, name, c.Int("total"), a, c.Has("validate"))
	case "delete":
		s.c.DeleteTopic(token, name)
	case "elect":
		how := Preferred
		if c.Has("unclean") {
			how = Unclean
		}
		s.c.ElectLeader(token, name, int32(c.IntOr("partition", 0)), how)
	default:
		c.Fatalf("no such command")
	}
}

// parseAssignment reads 1,2/2,3: partitions apart by slashes.
func parseAssignment(c *script.Cmd, text string) [][]int32 {
	var all [][]int32
	for part := range strings.SplitSeq(text, "/") {
		var r []int32
		for b := range strings.SplitSeq(part, ",") {
			n, err := strconv.Atoi(b)
			if err != nil {
				c.Fatalf("%v", err)
			}
			r = append(r, int32(n))
		}
		all = append(all, r)
	}
	return all
}

// set writes a znode as somebody else does; hide writes it without showing it.
func (s *stage) set(c *script.Cmd) {
	owner := int64(c.IntOr("owner", 0))
	s.put(c.Positional()[0], []byte(c.Input), owner, c.Name == "set")
}

func (s *stage) put(path string, data []byte, owner int64, show bool) {
	s.zxid++
	n := Node{Path: path, Data: data, Mzxid: s.zxid, Owner: owner}
	if was, ok := s.nodes[path]; ok {
		n.Version, n.Owner = was.Version+1, was.Owner
	}
	s.nodes[path] = n
	if show {
		s.c.Put(n)
	}
}

func (s *stage) remove(path string, show bool) {
	s.zxid++
	delete(s.nodes, path)
	if show {
		s.c.Remove(path, s.zxid)
	}
}

// multi carries a write out, or none of it.
func (s *stage) multi(ops []layout.Op, session int64) bool {
	saved := maps.Clone(s.nodes)
	for _, op := range ops {
		n, ok := s.nodes[op.Path]
		fits := ok && (op.Version == layout.AnyVersion || op.Version == n.Version)
		switch {
		case op.Type == layout.OpCreate && !ok:
			owner := int64(0)
			if op.Ephemeral {
				owner = session
			}
			s.zxid++
			s.nodes[op.Path] = Node{Path: op.Path, Data: op.Data, Mzxid: s.zxid, Owner: owner}
			continue
		case op.Type == layout.OpCheck && fits:
			continue
		case op.Type == layout.OpSet && fits:
			s.zxid++
			s.nodes[op.Path] = Node{Path: op.Path, Data: op.Data, Version: n.Version + 1, Mzxid: s.zxid, Owner: n.Owner}
			continue
		case op.Type == layout.OpDelete && fits:
			delete(s.nodes, op.Path)
			continue
		}
		s.nodes = saved
		s.printf("  refused: %s %s", op.Type, op.Path)
		return false
	}
	return true
}

// do carries out what is waiting, until nothing is: "do unanswered" tells the controller nothing of the outcome of the first write, "do lost"
// drops it, "do once" stops after what is waiting now.
func (s *stage) do(c *script.Cmd) {
	for first := true; len(s.writes)+len(s.reads) > 0; first = false {
		writes, reads := s.writes, s.reads
		s.writes, s.reads = nil, nil
		for i, w := range writes {
			outcome := layout.Refused
			odd := first && i == 0
			if odd && c.Has("lost") || s.multi(w.Ops, int64(c.IntOr("session", 5))) {
				outcome = layout.Committed
			}
			if odd && (c.Has("lost") || c.Has("unanswered")) {
				outcome = layout.Unknown
			}
			s.printf("%s: %s", w.Reason, outcome)
			s.c.Done(w.ID, outcome)
		}
		for _, p := range reads {
			s.printf("reads %s", p)
			if n, ok := s.nodes[p]; ok {
				s.c.Put(n)
			} else {
				s.c.Remove(p, 0)
			}
			s.c.ReadDone(p, true)
		}
		s.drain()
		if c.Has("once") {
			return
		}
	}
}

func (s *stage) drain() {
	for rd, ok := s.c.Ready(); ok; rd, ok = s.c.Ready() {
		if rd.Reign != nil {
			s.printf("active %v, epoch %d", rd.Reign.Active, rd.Reign.Epoch)
		}
		for _, w := range rd.Writes {
			s.printf("wants: %s (%d operations)", w.Reason, len(w.Ops))
		}
		for _, r := range rd.Replies {
			s.name(r.Topic.ID, fmt.Sprintf("ID%d", r.Token))
			s.printf("reply %d: %d %s", r.Token, r.Code, strings.ReplaceAll(fmt.Sprint(r.Text, r.Topic.Replicas, r.Remaining), "[]", ""))
		}
		for _, n := range rd.Notes {
			s.printf("note: %s", n)
		}
		s.writes = append(s.writes, rd.Writes...)
		s.reads = append(s.reads, rd.Reads...)
	}
}

func (s *stage) name(id layout.ID, name string) {
	if !id.IsZero() {
		s.ids[id.String()] = name
	}
}

// tree prints the znodes below a path, but for registrations.
func (s *stage) tree(c *script.Cmd) {
	for _, p := range slices.Sorted(maps.Keys(s.nodes)) {
		if n := s.nodes[p]; strings.HasPrefix(p, c.Positional()[0]) && !strings.HasPrefix(p, layout.BrokerIDsPath) {
			if ref := layout.ParsePath(p); ref.Kind == layout.KindTopicMark {
				if s.ids[ref.ID.String()] == "" {
					s.name(ref.ID, fmt.Sprintf("ID%c", 'a'+len(s.ids)))
				}
			}
			s.printf("%s v%d %s", p, n.Version, n.Data)
		}
	}
}
