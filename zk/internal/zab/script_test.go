package zab

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/internal/sim"
)

// TestScripts runs the stories of testdata. All invariants of the simulator hold at every step. The commands:
//
//	servers n=5 [extra=N] [log]            an ensemble, nothing started; messages take no time, writes next to none, a tick is 50 ms;
//	                                       extra servers are observers; log: learners may be sent what the log on disk holds
//	disk ID current=E log=1.1-3,2.1 [wiped]  what ID's disk holds before its start
//	start ID… | crash ID… [keep=N] | wipe ID    crash: N steps of the outstanding write become durable, none by default
//	cut A B | cut-one-way A B | isolate A | heal
//	hold ID kind | release ID               writes of that kind do not end; kinds as in WriteKind, or any
//	fail ID                                 its next write fails
//	propose ID n=N | barrier ID | compact ID | reconfigure ID 1,2,3o    a configuration, o for observers
//	run ms=N [trace|all]                    virtual time passes; trace lists what is sent but notifications, pings and pongs, all lists these, too
//	send FROM TO TYPE zxid= prev= commit= epoch= entries=1.2-3 [flags]   a message by hand, in the session that TO last opened with FROM
//	crash-conn ID                           the others find it unreachable
//	leads A B epoch=E                       B hears from A that it leads; A is then played by hand:
//	status | disks | marks NAME
func TestScripts(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		s := &story{t: t, sessions: make(map[[2]ServerID]uint64)}
		script.Run(t, file, func(_ *testing.T, d *script.Cmd) string { return s.command(d) })
	})
}

type story struct {
	t        *testing.T
	c        *simCluster
	sent     []string
	sessions map[[2]ServerID]uint64
	log      bool
}

func (s *story) command(d *script.Cmd) string {
	s.sent = nil
	out := s.do(d)
	require.NoError(s.t, s.c.err, d.Pos)
	return out
}

func (s *story) do(d *script.Cmd) string {
	if d.Name == "servers" {
		s.log = d.Has("log")
		s.servers(d.Int("n"), d.IntOr("extra", 0), uint32(d.IntOr("counter-max", 0)), d.IntOr("window", 0))
		return ""
	}
	pos := d.Positional()
	var nds []*simNode
	for _, p := range pos {
		if id, err := strconv.Atoi(p); err == nil && id >= 1 && id <= len(s.c.nodes) {
			nds = append(nds, s.c.node(ServerID(id)))
		}
	}
	switch d.Name {
	case "run":
		from := s.c.e.Now()
		_ = s.c.e.RunUntil(from+time.Duration(d.Int("ms"))*time.Millisecond, nil)
		return s.trace(d)
	case "status":
		return s.status()
	case "disks":
		return s.disks()
	case "heal":
		s.c.net.Heal()
		return ""
	case "send":
		return s.send(d, nds[0].id, nds[1].id, pos[2])
	case "leads": // the election, as far as the first server tells the second one
		m := Message{
			Type: MsgNotification, From: nds[0].id, To: nds[1].id, State: Leading, Flags: FlagVoter | FlagEstablished,
			Round: 1, Epoch: uint32(d.Int("epoch")),
		}
		s.c.net.Up(int(m.From) - 1)
		s.c.hand = true
		s.c.Deliver(int(m.To)-1, int(m.From)-1, m)
		return s.trace(d)
	case "marks":
		return strconv.FormatUint(s.c.e.Marked(pos[0]), 10)
	case "cut":
		s.c.net.Cut(int(nds[0].id)-1, int(nds[1].id)-1)
		return ""
	case "cut-one-way":
		s.c.net.CutOneWay(int(nds[0].id)-1, int(nds[1].id)-1)
		return ""
	}
	for _, nd := range nds {
		s.server(d, nd)
	}
	return s.trace(d)
}

func (s *story) servers(n, extra int, counterMax uint32, windowMax int) {
	cfg := Config{SyncLimitTicks: 5, InitLimitTicks: 20, FinalizeTicks: 4, ResendTicks: 4, CounterMax: counterMax, WindowEntriesMax: windowMax, LogHistory: s.log}
	s.c = newSimCluster(sim.NewEngine(1), n, extra, sim.NetFaults{}, cfg)
	s.c.fsync = 10 * time.Microsecond
	for i, nd := range s.c.nodes {
		nd.drift = 1
		s.c.net.Down(i)
	}
	s.c.onSend = func(m *Message) {
		if m.Type == MsgFollowerInfo {
			s.sessions[[2]ServerID{m.From, m.To}] = m.Session
		}
		c := *m
		c.Session = 0
		s.sent = append(s.sent, fmt.Sprintf("%d → %d %s", m.From, m.To, traceMessage(&c)))
	}
}

// server performs a command about one server.
func (s *story) server(d *script.Cmd, nd *simNode) {
	switch d.Name {
	case "disk":
		s.disk(d, nd)
	case "start":
		s.c.start(nd)
	case "crash":
		s.c.crashAfter(nd, d.IntOr("keep", 0))
	case "wipe":
		if nd.peer != nil {
			s.c.crashAfter(nd, 0)
		}
		s.c.wipe(nd)
	case "isolate":
		s.c.net.Isolate(int(nd.id) - 1)
	case "hold":
		nd.hold = d.Positional()[1]
	case "release":
		nd.hold = ""
		if nd.held != nil {
			nd.held()
		}
	case "crash-conn": // its connections break, as the others see it
		for i := range s.c.nodes {
			if o := s.c.nodes[i]; o != nd {
				s.c.Reset(i, int(nd.id)-1)
			}
		}
	case "fail":
		nd.failNext = true
	case "propose":
		before := s.c.accepted
		s.c.propose(nd, d.Int("n"))
		require.Equal(s.t, d.Int("n"), s.c.accepted-before, "%s: not all was accepted", d.Pos)
	case "barrier":
		s.c.barrier(nd)
	case "reconfigure":
		require.NoError(s.t, s.c.proposeMembership(nd, parseMembers(d.Positional()[1])), d.Pos)
	case "compact":
		nd.compact(s.c.rLoad)
	default:
		s.t.Fatalf("%s: unknown command %s", d.Pos, d.Name)
	}
}

func (s *story) disk(d *script.Cmd, nd *simNode) {
	cur := uint32(d.Int("current"))
	nd.disk = simDisk{has: true, epochs: Epochs{Accepted: uint32(d.IntOr("accepted", int(cur))), Current: cur, Voter: !d.Has("wiped")}}
	if log, ok := d.Lookup("log"); ok {
		for _, e := range s.entries(log) {
			if _, ok := s.c.proposed[e.Zxid]; !ok {
				s.c.proposed[e.Zxid] = proposal{data: e.Data, prev: nd.disk.last()}
			}
			nd.disk.log = append(nd.disk.log, e)
		}
	}
}

// parseMembers parses 1,2,3o.
func parseMembers(text string) *Membership {
	m := &Membership{}
	for part := range strings.SplitSeq(text, ",") {
		id, observer := strings.CutSuffix(part, "o")
		n, _ := strconv.Atoi(id)
		m.Members = append(m.Members, Member{ID: ServerID(n), Observer: observer})
	}
	return m
}

// entries parses 1.1-3,2.1: zxids (1,1) to (1,3), then (2,1).
func (s *story) entries(text string) []Entry {
	var es []Entry
	for part := range strings.SplitSeq(text, ",") {
		var epoch, from, to uint32
		n, _ := fmt.Sscanf(part, "%d.%d-%d", &epoch, &from, &to)
		require.GreaterOrEqual(s.t, n, 2, "entries %q", part)
		for counter := from; counter <= max(from, to); counter++ {
			z := MakeZxid(epoch, counter)
			p, ok := s.c.proposed[z]
			if !ok {
				p.data = []byte(z.String())
			}
			es = append(es, Entry{Zxid: z, Data: p.data})
		}
	}
	return es
}

func (s *story) zxid(d *script.Cmd, name string) Zxid {
	v, ok := d.Lookup(name)
	if !ok || v == "0" {
		return 0
	}
	return s.entries(v)[0].Zxid
}

func (s *story) send(d *script.Cmd, from, to ServerID, typ string) string {
	m := Message{
		From: from, To: to, Session: s.sessions[[2]ServerID{to, from}], Epoch: uint32(d.IntOr("epoch", 0)),
		Zxid: s.zxid(d, "zxid"), Prev: s.zxid(d, "prev"), Commit: s.zxid(d, "commit"), Round: uint64(d.IntOr("round", 0)),
	}
	for t := MessageType(1); t < msgTypeEnd; t++ {
		if t.String() == typ {
			m.Type = t
		}
	}
	require.NotZero(s.t, m.Type, "%s: type %s", d.Pos, typ)
	if es, ok := d.Lookup("entries"); ok {
		last := m.Prev
		m.Entries = s.entries(es)
		for _, e := range m.Entries {
			if _, ok := s.c.proposed[e.Zxid]; !ok {
				s.c.proposed[e.Zxid] = proposal{data: e.Data, prev: last}
			}
			last = e.Zxid
		}
	}
	if typ == "UPTODATE" { // the hand plays an established leader
		s.c.terms[m.Epoch] = term{leader: from, initial: math.MaxInt}
	}
	s.c.Deliver(int(to)-1, int(from)-1, m)
	_ = s.c.e.RunUntil(s.c.e.Now()+time.Millisecond, nil)
	return s.trace(d)
}

func (s *story) trace(d *script.Cmd) string {
	if d.Name == "run" && !d.Has("trace") && !d.Has("all") {
		return ""
	}
	var lines []string
	for _, l := range s.sent {
		chatter := strings.Contains(l, "NOTIFICATION") || strings.Contains(l, "PING") || strings.Contains(l, "PONG")
		if d.Has("all") || !chatter {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

func (s *story) status() string {
	var b strings.Builder
	for _, nd := range s.c.nodes {
		fmt.Fprintf(&b, "%d ", nd.id)
		if nd.peer == nil {
			b.WriteString("down\n")
			continue
		}
		st := nd.peer.Status()
		b.WriteString(st.State.String())
		if st.State == Following {
			fmt.Fprintf(&b, " %d", st.Leader)
		}
		if st.Epoch != 0 {
			fmt.Fprintf(&b, " epoch %d", st.Epoch)
		}
		if st.Established {
			b.WriteString(" established")
		}
		if !st.Voter {
			b.WriteString(" no voter")
		}
		fmt.Fprintf(&b, " applied %v\n", nd.state.zxid)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (s *story) disks() string {
	var b strings.Builder
	for _, nd := range s.c.nodes {
		d := &nd.disk
		fmt.Fprintf(&b, "%d accepted %d current %d", nd.id, d.epochs.Accepted, d.epochs.Current)
		if d.snap.zxid != 0 {
			fmt.Fprintf(&b, " snapshot %v", d.snap.zxid)
		}
		for i := 0; i < len(d.log); {
			j := i
			for j+1 < len(d.log) && d.log[j+1].Zxid.Epoch() == d.log[i].Zxid.Epoch() {
				j++
			}
			fmt.Fprintf(&b, " %d.%d-%d", d.log[i].Zxid.Epoch(), d.log[i].Zxid.Counter(), d.log[j].Zxid.Counter())
			i = j + 1
		}
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}
