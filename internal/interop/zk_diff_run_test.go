package interop

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// A diffTarget is what a sequence is sent to.
type diffTarget struct {
	name    string
	servers []string // a slot's connections go to one of them
	super   bool     // the auditor is the super user
	// Where servers listen is a name in reconfigurations and in what is told of them.
	addresses, names *strings.Replacer
	// The configuration is not in the history there, so its Stat is not compared.
	fixed bool
}

// diffEntry is something that a session heard.
type diffEntry struct {
	step  int // during which it was read
	text  string
	event int64 // an event's zxid
	write int64 // the zxid of a write's reply
}

// diffSlot is a session of a run, and the one after it when it has ended.
type diffSlot struct {
	stream   []diffEntry
	nc       net.Conn
	in       *bufio.Reader
	pending  []int // steps whose replies have not come
	xid      int32
	session  int64
	timeout  int32 // that is asked for, ms
	password []byte
	first    int64 // zxids of replies
	seen     int64
	ended    bool     // the session was closed
	names    []string // of the last reply with children
}

// diffRun is a sequence on its way through a target.
type diffRun struct {
	tg       *diffTarget
	root     string
	steps    []diffStep
	slots    map[int]*diffSlot
	sessions map[int64]string
	times    map[int64]int64 // of transactions
	closes   map[int64]bool  // zxids that closed a session
	replies  int

	config, firstConfig int64    // versions of the configuration that were seen
	roots               []string // what the auditor reads
}

const (
	diffPatience = time.Minute     // with who does not answer: a busy machine starves a JVM for long
	diffOldConn  = 5 * time.Second // with a connection that was taken over, which there now and then stays
	diffAuditor  = 99              // the slot that reads the tree at the end
	diffSyncXid  = 1 << 30
)

// runDiff sends a sequence, and returns what every slot heard. Requests are sent
// one after the other, whatever their session, but for those of a pipe.
func runDiff(tg *diffTarget, root string, steps []diffStep) *diffRun {
	r := &diffRun{
		tg: tg, root: root, steps: steps, slots: map[int]*diffSlot{}, sessions: map[int64]string{},
		times: map[int64]int64{}, closes: map[int64]bool{}, roots: diffRoots(steps),
	}
	defer r.hangUp()
	auditor := r.slot(diffAuditor)
	auditor.timeout = 30_000
	r.connect(auditor, diffAuditor, -1)
	mkdir := diffStep{Slot: diffAuditor, Op: "create", diffArgs: diffArgs{Path: diffRootMark, ACL: diffOpen}}
	r.request(auditor, &mkdir, -1)
	for i := range steps {
		r.step(i)
	}
	for i := range diffAuditor {
		if s := r.slots[i]; s != nil {
			r.collect(s, len(steps))
		}
	}
	for i := range diffAuditor {
		if s := r.slots[i]; s != nil && s.nc != nil {
			r.request(s, &diffStep{Op: "ping"}, len(steps))
		}
	}
	r.audit(auditor)
	for i := range diffAuditor {
		s := r.slots[i]
		if s != nil && s.nc == nil && !s.ended { // else its ephemerals would be there for a while
			r.attach(s, &diffStep{Slot: i, Op: "attach"}, len(steps))
		}
		if s != nil && s.nc != nil {
			r.request(s, &diffStep{Op: "close"}, len(steps))
		}
	}
	r.request(auditor, &diffStep{Op: "getAllChildrenNumber", diffArgs: diffArgs{Path: diffRootMark}}, len(steps))
	r.request(auditor, &diffStep{Op: "close"}, len(steps))
	return r
}

func (r *diffRun) hangUp() {
	for _, s := range r.slots {
		if s.nc != nil {
			s.nc.Close()
		}
	}
}

func (r *diffRun) slot(n int) *diffSlot {
	if r.slots[n] == nil {
		r.slots[n] = &diffSlot{}
	}
	return r.slots[n]
}

func (r *diffRun) say(s *diffSlot, step int, format string, args ...any) {
	s.stream = append(s.stream, diffEntry{step: step, text: fmt.Sprintf(format, args...)})
}

func (r *diffRun) step(i int) {
	st := &r.steps[i]
	for n := range diffAuditor { // a pipe ends where another session goes on
		if s := r.slots[n]; s != nil && n != st.Slot {
			r.collect(s, i)
		}
	}
	s := r.slot(st.Slot)
	switch st.Op {
	case "connect":
		if s.session != 0 && !s.ended {
			return
		}
		s.timeout = cmp.Or(int32(st.TTL), 30_000)
		r.connect(s, st.Slot, i)
	case "attach", "attachBad":
		r.attach(s, st, i)
	case "cut":
		r.collect(s, i)
		s.drop()
	case "await":
		r.awaitEvent(s, i)
	default:
		if s.nc == nil {
			return
		}
		if st.Pipe {
			r.send(s, st, i)
			return
		}
		r.request(s, st, i)
	}
}

func (s *diffSlot) drop() {
	if s.nc != nil {
		s.nc.Close()
		s.nc = nil
	}
	s.pending = nil
}

func (r *diffRun) dial(s *diffSlot, n int) error {
	s.drop()
	nc, err := net.DialTimeout("tcp", r.tg.servers[n%len(r.tg.servers)], diffPatience)
	if err != nil {
		return err
	}
	s.nc, s.in = nc, bufio.NewReader(nc)
	return nil
}

// hello sends a connect request, and returns the answer.
func (r *diffRun) hello(s *diffSlot, n int, zxid, session int64, password []byte) ([]byte, error) {
	if err := r.dial(s, n); err != nil {
		return nil, err
	}
	s.write(packer{}.i32(0).i64(zxid).i32(s.timeout).i64(session).str(string(password)).flag(false))
	b, err := s.read()
	if err == nil && len(b) != 37 {
		err = fmt.Errorf("an answer of %d bytes", len(b))
	}
	if err != nil {
		s.drop()
	}
	return b, err
}

func (r *diffRun) connect(s *diffSlot, n, step int) {
	b, err := r.hello(s, n, 0, 0, make([]byte, 16))
	if err != nil {
		r.say(s, step, "no session: %v", err)
		return
	}
	s.session, s.password, s.ended = int64(binary.BigEndian.Uint64(b[8:])), slices.Clone(b[20:36]), false
	r.sessions[s.session] = fmt.Sprintf("session%d.%d", n, step)
	r.say(s, step, "session with timeout %d", binary.BigEndian.Uint32(b[4:]))
	if n == diffAuditor {
		users := slices.Clone(diffUsers)
		if r.tg.super {
			users = append(users, "super:secret")
		}
		for _, who := range users {
			data := quoted(who)
			r.request(s, &diffStep{Op: "auth", diffArgs: diffArgs{Scheme: "digest", Data: &data}}, step)
		}
	}
}

// attach goes on with a slot's session on a new connection. If the old one is
// still there the server ends it.
func (r *diffRun) attach(s *diffSlot, st *diffStep, step int) {
	if s.session == 0 {
		return
	}
	r.collect(s, step)
	old, password, zxid := s.nc, s.password, s.seen
	if st.Op == "attachBad" {
		if old != nil {
			return // there it kills the live connection
		}
		password = make([]byte, 16)
	}
	s.nc = nil
	b, err := r.hello(s, st.Slot, zxid, s.session, password)
	switch {
	case err != nil:
		r.say(s, step, "attach: %v", err)
	case binary.BigEndian.Uint64(b[8:]) == 0:
		r.say(s, step, "attach: refused")
		if _, err := s.read(); !errors.Is(err, io.EOF) {
			r.say(s, step, "attach: refused but %v", err)
		}
		s.drop()
	default:
		r.say(s, step, "attached, timeout %d", binary.BigEndian.Uint32(b[4:]))
	}
	if old != nil {
		old.SetReadDeadline(time.Now().Add(diffOldConn))
		if _, err := io.Copy(io.Discard, old); errors.Is(err, os.ErrDeadlineExceeded) && r.tg.name == "ours" { // there now and then
			r.say(s, step, "the old connection lives")
		}
		old.Close()
	}
}

func (s *diffSlot) write(payload []byte) {
	s.nc.Write(append(packer{}.i32(int32(len(payload))), payload...))
}

func (s *diffSlot) read() ([]byte, error) {
	s.nc.SetReadDeadline(time.Now().Add(diffPatience))
	var head [4]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, err
		}
		return nil, io.EOF
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(s.in, b)
	return b, err
}

// send sends a request; its reply is still to come.
func (r *diffRun) send(s *diffSlot, st *diffStep, step int) {
	if len(r.tg.servers) > 1 { // what other sessions have done must have come here
		r.collect(s, step)
		if s.nc == nil {
			return
		}
		s.write(packer{}.i32(diffSyncXid).i32(9).str("/"))
		s.pending = append(s.pending, -2)
		r.collect(s, step)
		if s.nc == nil {
			return
		}
	}
	rel := map[string]int64{"": 0, "seen": s.seen, "first": s.first, "future": 1 << 62}[st.Rel]
	if st.Op == "reconfig" {
		rel = map[string]int64{"": -1, "seen": r.config, "first": r.firstConfig, "future": 1 << 62}[st.Rel]
	}
	s.xid++
	s.write(append(packer{}.i32(st.xid(s.xid)).i32(st.code()), st.body(r.root, rel, r.tg.addresses)...))
	s.pending = append(s.pending, step)
}

// request sends a request and waits for its reply.
func (r *diffRun) request(s *diffSlot, st *diffStep, step int) {
	r.collect(s, step)
	if s.nc == nil {
		return
	}
	r.send(s, st, step)
	if s.nc == nil {
		return
	}
	s.pending = s.pending[:len(s.pending)-1]
	r.collect(s, step)
	r.await(s, st, step)
	if st.Op == "close" && s.nc != nil {
		if b, err := s.read(); !errors.Is(err, io.EOF) {
			r.say(s, step, "after close: %x %v", b, err)
		}
		s.drop()
		s.ended = true
	}
}

// collect waits for the replies that have not come.
func (r *diffRun) collect(s *diffSlot, step int) {
	for len(s.pending) > 0 && s.nc != nil {
		i := s.pending[0]
		s.pending = s.pending[1:]
		if i == -2 {
			r.await(s, &diffStep{Op: "raw"}, step)
			continue
		}
		r.await(s, &r.steps[i], i)
	}
}

// await reads until a reply has come, and what comes before it.
func (r *diffRun) await(s *diffSlot, st *diffStep, step int) {
	for s.nc != nil {
		b, err := s.read()
		if err != nil {
			what := "closed"
			if errors.Is(err, os.ErrDeadlineExceeded) {
				what = "no answer"
			}
			r.say(s, step, "%s", what)
			s.drop()
			return
		}
		if len(b) < 16 {
			r.say(s, step, "a frame of %d bytes", len(b))
			continue
		}
		u := &unpacker{b: b}
		xid := u.i32()
		if xid == -1 {
			r.event(s, u, step)
			continue
		}
		if xid == diffSyncXid {
			return
		}
		zxid, code := u.i64(), u.i32()
		if zxid > 0 {
			s.seen = zxid
			if s.first == 0 {
				s.first = zxid
			}
		}
		if st.Op == "close" && code == 0 {
			r.closes[zxid] = true
		}
		r.replies++
		want := st.xid(s.xid - int32(len(s.pending)))
		if xid != want {
			r.say(s, step, "reply to %d, not %d", xid, want)
		}
		header, body := r.zxid(zxid), r.decode(s, st, u)
		if code != 0 || !diffWrites[st.Op] || st.Op == "multi" && strings.Contains(body, "[-1 ") { // it changed nothing
			header = strings.Replace(header, "‹", "‹~", 1)
		}
		r.say(s, step, "%s: %d zxid %s%s", st.Op, code, header, body)
		if diffWrites[st.Op] {
			s.stream[len(s.stream)-1].write = zxid
		}
		if code == -115 || code == -6 && st.Op != "reconfig" {
			r.expectClosed(s, step)
		}
		return
	}
}

// awaitEvent reads one event, for which somebody else's session must end first.
func (r *diffRun) awaitEvent(s *diffSlot, step int) {
	r.collect(s, step)
	if s.nc == nil {
		return
	}
	b, err := s.read()
	if err != nil || len(b) < 20 {
		r.say(s, step, "no event: %v", err)
		s.drop()
		return
	}
	r.event(s, &unpacker{b: b[4:]}, step)
}

// event takes down an event, whose xid has been read.
func (r *diffRun) event(s *diffSlot, u *unpacker, step int) {
	zxid, _ := u.i64(), u.i32()
	typ, state, path := u.i32(), u.i32(), u.text()
	s.stream = append(s.stream, diffEntry{
		step: step, event: zxid, text: fmt.Sprintf("event %d state %d %q zxid %s", typ, state, path, r.zxid(zxid)),
	})
}

// expectClosed waits for the end of a connection that the server ends. Events may
// be on their way still.
func (r *diffRun) expectClosed(s *diffSlot, step int) {
	for {
		b, err := s.read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.say(s, step, "not closed")
		}
		if err != nil {
			s.drop()
			return
		}
		if (&unpacker{b: b}).i32() != -1 {
			r.say(s, step, "%x before the end", b)
		}
	}
}

// diffRoots is what a sequence may have changed: its root, and the root's quotas.
func diffRoots(steps []diffStep) []string {
	if slices.ContainsFunc(steps, func(s diffStep) bool { return strings.HasPrefix(string(s.Path), diffQuotas+diffRootMark) }) {
		return []string{diffRootMark, diffQuotas + diffRootMark}
	}
	return []string{diffRootMark}
}

// audit reads the tree.
func (r *diffRun) audit(s *diffSlot) {
	paths := slices.Clone(r.roots)
	for len(paths) > 0 && s.nc != nil {
		path := quoted(paths[0])
		for _, op := range []string{"getData", "getACL", "getChildren2"} {
			s.names = nil
			r.request(s, &diffStep{Op: op, diffArgs: diffArgs{Path: path}}, len(r.steps))
			s.stream[len(s.stream)-1].text = fmt.Sprintf("%q ", paths[0]) + s.stream[len(s.stream)-1].text
		}
		paths = paths[1:]
		for _, name := range s.names {
			paths = append(paths, string(path)+"/"+name)
		}
	}
}
