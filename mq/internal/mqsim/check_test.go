package mqsim

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/replica"
)

// checker holds what must be true, and fails at the step at which it is not.
type checker struct {
	c      *cluster
	err    error
	truth  []*truth
	reigns map[int32]int32 // controller epoch: broker
	epoch  int32           // of the controller, as ZooKeeper has committed it
}

// truth is what is known for sure about a partition.
type truth struct {
	committed []rec // every record that was below some leader's high watermark, by offset
	written   map[place]entry
	leaders   map[int32]tenure
	state     layout.PartitionState
	known     bool
	tainted   map[int32]bool  // replicas that lost what they had when they joined the ISR
	pending   map[int32]bool  // replicas that lost something in a life that has not registered since
	verified  map[int32]int64 // replicas: below this offset its log is known to equal committed
	observed  map[int32]int64 // high watermark last seen at a replica
	acked     map[int64]int64
	stale     map[int32]bool // replicas that have not cut yet what a person's election has lost
	human     bool           // a person has asked for an unclean election: the next leader's log becomes the truth
}

type place struct {
	epoch  int32
	offset int64
}

type entry struct {
	value  int64
	before int32 // epoch of the record before, -1 if the leader held none
}

type tenure struct {
	broker      int32
	incarnation int64
	start       int64
}

func newChecker(c *cluster) *checker {
	k := &checker{c: c, reigns: map[int32]int32{}}
	for range c.partitions {
		k.truth = append(k.truth, &truth{
			written: map[place]entry{}, leaders: map[int32]tenure{}, tainted: map[int32]bool{}, pending: map[int32]bool{}, verified: map[int32]int64{},
			observed: map[int32]int64{}, acked: map[int64]int64{}, stale: map[int32]bool{},
		})
	}
	return k
}

func (k *checker) failf(format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf(format, args...)
		k.c.e.Tracef("FAILED: %v", k.err)
	}
}

func (k *checker) error() error { return k.err }

func (k *checker) reign(b *broker, r controller.Reign) {
	k.c.e.Tracef("broker %d controls: %v, epoch %d", b.id, r.Active, r.Epoch)
	if !r.Active {
		return
	}
	k.c.e.Mark("controller.elected")
	if was, ok := k.reigns[r.Epoch]; ok && was != b.id {
		k.failf("controller epoch %d is broker %d's and broker %d's", r.Epoch, was, b.id)
	}
	k.reigns[r.Epoch] = b.id
}

// committedTxn checks what ZooKeeper has committed: TypeOk, LeaderInIsr, StrongIsr.
func (k *checker) committedTxn(t txn) {
	for _, ch := range t.changes {
		if ch.path == layout.ControllerEpochPath && ch.node != nil {
			k.epoch, _ = layout.DecodeControllerEpoch(ch.node.data)
		}
		ref := layout.ParsePath(ch.path)
		if ref.Kind != layout.KindState || ch.node == nil {
			continue
		}
		s, err := layout.DecodeState(ch.node.data)
		if err != nil {
			k.failf("TypeOk: %v", err)
			return
		}
		k.c.e.Tracef("state of %d is now %s, version %d", ref.Partition, ch.node.data, ch.node.version)
		k.newState(ref.Partition, s)
	}
}

func (k *checker) newState(n int32, s layout.PartitionState) {
	t := k.truth[n]
	old, had := t.state, t.known
	t.state, t.known = s, true
	k.markState(old, s, had)
	switch {
	case len(s.ISR) == 0 || len(s.ISR) > k.c.replicas:
		k.failf("TypeOk: partition %d: ISR %v", n, s.ISR)
	case s.Leader >= 0 && !slices.Contains(s.ISR, s.Leader):
		k.failf("LeaderInIsr: partition %d: leader %d, ISR %v", n, s.Leader, s.ISR)
	case s.Leader >= 0 && slices.Contains(s.Suspect, s.Leader):
		k.failf("K13: partition %d: suspect leader %d", n, s.Leader)
	case had && (s.LeaderEpoch < old.LeaderEpoch || s.LeaderEpoch > old.LeaderEpoch+1):
		k.failf("TypeOk: partition %d: leader epoch %d after %d", n, s.LeaderEpoch, old.LeaderEpoch)
	case had && s.ControllerEpoch < old.ControllerEpoch:
		k.failf("K11: partition %d: controller epoch %d after %d", n, s.ControllerEpoch, old.ControllerEpoch)
	case had && s.ControllerEpoch != k.epoch && (s.ControllerEpoch != old.ControllerEpoch || s.LeaderEpoch != old.LeaderEpoch && s.Leader >= 0):
		// A broker that leaves keeps the epoch of the last election.
		k.failf("K11: partition %d: leader %d was elected in controller epoch %d, which is over: it is %d", n, s.Leader, s.ControllerEpoch, k.epoch)
	case had && s.LeaderEpoch == old.LeaderEpoch && (s.Leader != old.Leader || s.LeaderIncarnation != old.LeaderIncarnation):
		k.failf("TypeOk: partition %d: epoch %d has leaders %d and %d", n, s.LeaderEpoch, old.Leader, s.Leader)
	}
	for _, b := range s.ISR {
		if had && !slices.Contains(old.ISR, b) {
			if t.pending[b] {
				t.tainted[b] = true // let in by what its former life had fetched; it leaves before it registers
				k.c.e.Mark("isr.joined.dead")
				continue
			}
			delete(t.tainted, b)
			if start := t.leaders[s.LeaderEpoch].start; !t.human && k.held(b, n) < start {
				k.failf("KIP-320 rule 4: partition %d: broker %d joins at %d, below %d, the start of epoch %d", n, b, k.held(b, n), start, s.LeaderEpoch)
			}
		}
	}
	k.strongISR(n)
}

func (k *checker) markState(old, s layout.PartitionState, had bool) {
	e := k.c.e
	if !had {
		return
	}
	switch {
	case s.Leader < 0 && old.Leader >= 0:
		e.Mark("state.offline")
	case s.Leader != old.Leader:
		e.Mark("state.election")
	}
	if len(s.Suspect) > 0 {
		e.Mark("state.suspect")
	}
	if len(s.ISR) > len(old.ISR) {
		e.Mark("state.isr.grew")
	}
	if len(s.ISR) == 1 && len(old.ISR) > 1 {
		e.Mark("state.isr.alone")
	}
}

// held is up to where a replica's log counts, whether its broker is up or not.
func (k *checker) held(b, n int32) int64 {
	l := k.c.broker(b).disk.logs[n]
	switch {
	case l == nil:
		return 0
	case k.c.relaxed:
		return l.end()
	}
	return l.synced
}

// strongISR: every member of the ISR has every committed record.
func (k *checker) strongISR(n int32) {
	t := k.truth[n]
	if !t.known || t.human {
		return
	}
	for _, b := range t.state.ISR {
		if t.tainted[b] {
			continue
		}
		if held := k.held(b, n); held < int64(len(t.committed)) {
			k.failf("StrongIsr: partition %d: broker %d is in the ISR %v with %d of %d committed records", n, b, t.state.ISR, held, len(t.committed))
			return
		}
		k.equal(b, n, int64(len(t.committed)))
	}
}

// equal checks that a replica's log equals the committed records below end.
func (k *checker) equal(b, n int32, end int64) {
	t, l := k.truth[n], k.c.broker(b).disk.logs[n]
	if l == nil || t.stale[b] {
		return
	}
	end = min(end, l.end(), int64(len(t.committed)))
	for o := max(l.start, t.verified[b]); o < end; o++ {
		if l.at(o) != t.committed[o] {
			k.failf("partition %d: broker %d has %v at %d, committed is %v", n, b, l.at(o), o, t.committed[o])
			return
		}
	}
	t.verified[b] = max(t.verified[b], end)
}

// observe looks at a replica's high watermark after each event of its broker.
func (k *checker) observe(b *broker, p *partition) {
	t := k.truth[p.n]
	hw, _ := p.r.HighWatermark()
	was := t.observed[b.id]
	t.observed[b.id] = hw
	if hw <= was || t.stale[b.id] {
		return
	}
	if p.r.Role().Kind != replica.Leader || hw <= int64(len(t.committed)) {
		if hw > int64(len(t.committed)) && !t.human {
			k.failf("partition %d: broker %d, not leading, has high watermark %d of %d committed", p.n, b.id, hw, len(t.committed))
		}
		k.equal(b.id, p.n, hw)
		return
	}
	if t.human {
		return
	}
	s, _ := p.r.State()
	for o := int64(len(t.committed)); o < hw; o++ {
		if o < p.log.start {
			k.failf("partition %d: broker %d committed %d, below its log start", p.n, b.id, o)
			return
		}
		t.committed = append(t.committed, p.log.at(o))
	}
	k.equal(b.id, p.n, hw)
	for _, m := range s.ISR { // WeakIsr
		if !t.tainted[m] && k.held(m, p.n) < hw {
			k.failf("WeakIsr: partition %d: broker %d leads with high watermark %d; %d of its ISR %v has %d", p.n, b.id, hw, m, s.ISR, k.held(m, p.n))
		}
	}
	if len(s.ISR) < min(k.c.minInsync, k.c.replicas) {
		k.failf("K13: partition %d: broker %d moves the high watermark with ISR %v", p.n, b.id, s.ISR)
	}
	k.strongISR(p.n)
}

// elected checks a new leader: it is the only one of its epoch, and has all that was committed.
func (k *checker) elected(b *broker, p *partition, role replica.Role) {
	k.c.e.Mark("leader.elected")
	t := k.truth[p.n]
	now := tenure{b.id, b.incarnation, role.EpochStart}
	if was, ok := t.leaders[role.Epoch]; ok && was != now {
		k.failf("partition %d: epoch %d is led by %v and %v", p.n, role.Epoch, was, now)
	}
	t.leaders[role.Epoch] = now
	if t.human && role.Epoch >= t.state.LeaderEpoch {
		k.forgive(t, p)
		return
	}
	if t.tainted[b.id] {
		k.failf("K13, K27: partition %d: broker %d leads though it lost what it had", p.n, b.id)
	}
	if p.log.end() < int64(len(t.committed)) {
		k.failf("P11: partition %d: broker %d leads epoch %d with %d of %d committed records", p.n, b.id, role.Epoch, p.log.end(), len(t.committed))
	}
	k.equal(b.id, p.n, int64(len(t.committed)))
}

// forgive takes the log of a leader that a person made for the truth.
func (k *checker) forgive(t *truth, p *partition) {
	k.c.e.Mark("human.loss")
	t.human = false
	keep := min(int64(len(t.committed)), p.log.end())
	for o := p.log.start; o < keep; o++ {
		if p.log.at(o) != t.committed[o] {
			keep = o
		}
	}
	t.committed = t.committed[:keep]
	for o := range t.acked {
		if o >= keep {
			delete(t.acked, o)
		}
	}
	clear(t.verified)
	for _, b := range k.c.brokers {
		t.observed[b.id] = min(t.observed[b.id], keep)
		if l := b.disk.logs[p.n]; l != nil && l.end() > keep && l != p.log {
			t.stale[b.id] = true
		}
	}
	reader := k.c.clients[p.n]
	reader.id, reader.hw, reader.offset = 0, 0, min(reader.offset, keep) // what it has asked for is no answer any more
}

// led notes a record that a leader is about to append.
func (k *checker) led(b *broker, p *partition, r rec) {
	t := k.truth[p.n]
	at := place{r.epoch, p.log.end()}
	e := entry{r.value, -1}
	if p.log.end() > p.log.start {
		e.before = p.log.at(p.log.end() - 1).epoch
	}
	if was, ok := t.written[at]; ok && was != e {
		k.failf("partition %d: broker %d writes %v at %v, where %v was written", p.n, b.id, e, at, was)
	}
	t.written[at] = e
}

// copied checks records that a follower is about to append: each is what the leader of its epoch wrote there, behind what it wrote
// it behind. So logs that agree at one record agree below it (KIP-320 rules 1 and 2).
func (k *checker) copied(b *broker, p *partition, recs []rec) {
	t := k.truth[p.n]
	o, before := p.log.end(), int32(-1)
	if o > p.log.start {
		before = p.log.at(o - 1).epoch
	}
	for _, r := range recs {
		e, ok := t.written[place{r.epoch, o}]
		if !ok || e.value != r.value || e.before != before && before >= 0 && e.before >= 0 {
			k.failf("KIP-320 rule 1: partition %d: broker %d copies %v to %d behind epoch %d; its leader wrote %v", p.n, b.id, r, o, before, e)
			return
		}
		o, before = o+1, r.epoch
	}
}

// truncated notes that a log is about to be cut.
func (k *checker) truncated(b *broker, p *partition, end int64) {
	t := k.truth[p.n]
	t.verified[b.id] = min(t.verified[b.id], end)
	if hw, _ := p.r.HighWatermark(); end < hw && !t.stale[b.id] && !t.human && end > 0 {
		k.failf("K1: partition %d: broker %d cuts its log to %d, below its high watermark %d", p.n, b.id, end, hw)
	}
	delete(t.stale, b.id)
	if end < t.observed[b.id] {
		t.observed[b.id] = end
	}
	if slices.Contains(t.state.ISR, b.id) && !t.tainted[b.id] && end < int64(len(t.committed)) && !t.human && end > 0 {
		k.failf("partition %d: broker %d of the ISR cuts its log to %d, committed are %d", p.n, b.id, end, len(t.committed))
	}
}

// lost notes that a broker's disk may hold less than it did; counted: also of what its leader may count on.
func (k *checker) lost(b *broker, n int32, counted bool) {
	t := k.truth[n]
	t.observed[b.id] = 0
	t.verified[b.id] = min(t.verified[b.id], k.held(b.id, n))
	if k.held(b.id, n) < int64(len(t.committed)) && slices.Contains(t.state.ISR, b.id) {
		k.c.e.Mark("lost.committed")
		counted = true
	}
	if counted {
		t.pending[b.id] = true
		t.tainted[b.id] = slices.Contains(t.state.ISR, b.id)
	}
}

// registered notes that a broker has left every ISR that it had to leave.
func (k *checker) registered(b *broker) {
	for _, t := range k.truth {
		delete(t.pending, b.id)
	}
}

// acked checks an acknowledgement with acks=all: the record is committed, there.
func (k *checker) acked(c *client, offset, value int64) {
	t := k.truth[c.n]
	if t.human {
		return
	}
	if offset >= int64(len(t.committed)) || t.committed[offset].value != value {
		k.failf("P11: partition %d: %d was acknowledged at %d, which is not committed", c.n, value, offset)
	}
	t.acked[offset] = value
}

// read checks what a reader was given.
func (k *checker) read(n int32, offset int64, recs []rec) {
	t := k.truth[n]
	for i, r := range recs {
		if o := offset + int64(i); !t.human && (o >= int64(len(t.committed)) || t.committed[o] != r) {
			k.failf("P13: partition %d: a reader was given %v at %d, which is not committed", n, r, o)
			return
		}
	}
}

// final checks a healed cluster: everything is everywhere, and writes are taken.
func (k *checker) final() error {
	for _, n := range k.c.nums {
		if err := k.finalPartition(n); err != nil {
			return errors.Join(k.err, err)
		}
	}
	return k.err
}

func (k *checker) finalPartition(n int32) error {
	t := k.truth[n]
	s := t.state
	if !t.known || s.Leader < 0 || len(s.ISR) != k.c.replicas {
		return fmt.Errorf("P17: partition %d is not whole after the heal: %+v", n, s)
	}
	lead := k.c.broker(s.Leader)
	p := lead.parts[n]
	if p == nil || p.r.Role().Kind != replica.Leader {
		return fmt.Errorf("P17: partition %d: broker %d does not lead", n, s.Leader)
	}
	for _, b := range s.ISR {
		q := k.c.broker(b).parts[n]
		hw, _ := q.r.HighWatermark()
		if q.log.end() != p.log.end() || hw != p.log.end() {
			return fmt.Errorf("P17: partition %d: broker %d ends at %d, high watermark %d; the leader %d at %d", n, b, q.log.end(), hw, s.Leader, p.log.end())
		}
		for o := max(p.log.start, q.log.start); o < p.log.end(); o++ {
			if p.log.at(o) != q.log.at(o) {
				return fmt.Errorf("partition %d: brokers %d and %d differ at %d", n, s.Leader, b, o)
			}
		}
	}
	for o, v := range t.acked {
		if o >= p.log.start && (o >= p.log.end() || p.log.at(o).value != v) {
			return fmt.Errorf("P11: partition %d: acknowledged %d at %d is lost", n, v, o)
		}
	}
	if c := k.c.clients[n]; c.offset != p.log.end() {
		return fmt.Errorf("P17: partition %d: the reader is at %d of %d", n, c.offset, p.log.end())
	}
	return nil
}
