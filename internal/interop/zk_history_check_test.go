package interop

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// histKeys are the registers of a history.
const histKeys = 3

// histOp is what a client did, and what it heard.
type histOp struct {
	session int // one goroutine's, in its order
	kind    histKind
	keys    []int // that it touches; a snapshot: all
	value   string
	expect  int32 // the version that a conditional write asks for; -1: any

	call, ret int64 // ns; ret is never if the outcome is unknown
	unknown   bool
	refused   bool  // bad version
	zxid      int64 // of a write, or of the reply to a read; 0: a snapshot's is not told

	seen []histValue // of reads, one a key; of a write, versions only
}

type histValue struct {
	value   string
	version int32
	mzxid   int64
}

type histKind int

const (
	histSet histKind = iota // to one register or, by a multi, to several
	histRead
	histSync // a sync and a read
	histSnap // a multiRead
)

const histNever = math.MaxInt64

// histWrite is a write in the history of a register.
type histWrite struct {
	zxid    int64
	value   string
	version int32 // -1: not known
}

// histCheck checks a history by its zxids (P4-P7): it needs no search, since the
// zxids say in what order everything was done.
type histCheck struct {
	ops     []histOp
	lines   [histKeys][]histWrite // by zxid
	missing [histKeys]int         // writes of unknown outcome that nobody saw
	wrong   []string
}

// checkHistory returns what is wrong with a history.
func checkHistory(ops []histOp) []string {
	c := &histCheck{ops: slices.Clone(ops)}
	c.resolve()
	c.order()
	c.versions()
	c.reads()
	c.sessions()
	return c.wrong
}

func (c *histCheck) fail(op *histOp, format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("session %d, %v %v %q, zxid %#x: ", op.session, op.kind, op.keys, op.value, op.zxid)+fmt.Sprintf(format, args...))
}

// resolve finds out which writes of unknown outcome were done: somebody saw them.
func (c *histCheck) resolve() {
	type place struct {
		key   int
		value string
	}
	zxids := map[string]int64{}
	versions := map[place]int32{}
	for i := range c.ops {
		op := &c.ops[i]
		for j, v := range op.seen {
			if op.kind != histSet && v.version > 0 { // else as created
				if z, ok := zxids[v.value]; ok && z != v.mzxid {
					c.fail(op, "%q was written at %#x and %#x", v.value, z, v.mzxid)
				}
				zxids[v.value] = v.mzxid
				versions[place{op.keys[j], v.value}] = v.version
			}
		}
	}
	for i := range c.ops {
		op := &c.ops[i]
		if op.kind != histSet || op.refused {
			continue
		}
		if op.unknown {
			op.zxid = zxids[op.value]
		} else if z, ok := zxids[op.value]; ok && z != op.zxid {
			c.fail(op, "read as of %#x", z)
		}
		for j, key := range op.keys {
			if op.zxid == 0 {
				c.missing[key]++
				continue
			}
			w := histWrite{op.zxid, op.value, -1}
			if v, ok := versions[place{key, op.value}]; ok {
				w.version = v
			}
			if !op.unknown {
				w.version = op.seen[j].version
			}
			c.lines[key] = append(c.lines[key], w)
		}
	}
	for key := range c.lines {
		slices.SortFunc(c.lines[key], func(a, b histWrite) int { return int(a.zxid - b.zxid) })
	}
}

// order checks that writes have zxids of their own, in an order that real time
// allows, and that a read behind a sync is not older than what was done before.
func (c *histCheck) order() {
	taken := map[int64]bool{}
	byReturn := make([]*histOp, 0, len(c.ops))
	for i := range c.ops {
		op := &c.ops[i]
		if op.kind != histSet || op.zxid == 0 || op.refused {
			continue
		}
		if taken[op.zxid] {
			c.fail(op, "a zxid of two writes")
		}
		taken[op.zxid] = true
		if op.ret != histNever {
			byReturn = append(byReturn, op)
		}
	}
	slices.SortFunc(byReturn, func(a, b *histOp) int { return int(a.ret - b.ret) })
	highest := make([]int64, len(byReturn)+1)
	for i, op := range byReturn {
		highest[i+1] = max(highest[i], op.zxid)
	}
	for i := range c.ops {
		op := &c.ops[i]
		n, _ := slices.BinarySearchFunc(byReturn, op.call, func(w *histOp, call int64) int {
			if w.ret < call {
				return -1
			}
			return 1
		})
		switch {
		case op.zxid == 0:
		case op.kind == histSet && op.zxid <= highest[n]:
			c.fail(op, "comes before %#x, which was done before it began", highest[n])
		case op.kind == histSync && op.zxid < highest[n]:
			c.fail(op, "is older than %#x, which was done before the sync began", highest[n])
		}
	}
}

// versions checks that a register's versions count its writes.
func (c *histCheck) versions() {
	for key, line := range c.lines {
		last, unsaid := int32(0), int32(0) // unsaid: writes since last whose version nobody told
		for _, w := range line {
			if w.version < 0 {
				unsaid++
				continue
			}
			gap := w.version - last - 1 - unsaid
			if gap < 0 || int(gap) > c.missing[key] {
				c.wrong = append(c.wrong, fmt.Sprintf("register %d: version %d at %#x after %d, with %d unseen writes", key, w.version, w.zxid, last, c.missing[key]))
			}
			c.missing[key] -= int(max(gap, 0))
			last, unsaid = w.version, 0
		}
	}
}

// at is the register's state at a zxid.
func (c *histCheck) at(key int, zxid int64) histWrite {
	line := c.lines[key]
	n, _ := slices.BinarySearchFunc(line, zxid+1, func(w histWrite, z int64) int { return int(w.zxid - z) })
	if n == 0 {
		return histWrite{}
	}
	return line[n-1]
}

// reads checks that what was read is the state at the reply's zxid, all at once if
// it was a snapshot, and that refused writes had to be refused.
func (c *histCheck) reads() {
	for i := range c.ops {
		op := &c.ops[i]
		if op.refused {
			for _, key := range op.keys {
				if was := c.at(key, op.zxid); was.version == op.expect && was.zxid > 0 {
					c.fail(op, "refused, though the version was %d", op.expect)
				}
			}
		}
		if op.kind == histSet {
			continue
		}
		zxid := op.zxid
		if op.kind == histSnap {
			for _, v := range op.seen {
				zxid = max(zxid, v.mzxid)
			}
		}
		for j, v := range op.seen {
			want := c.at(op.keys[j], zxid)
			if want.zxid == 0 && v.version == 0 {
				continue // as created
			}
			if want.value != v.value || want.zxid != v.mzxid || want.version >= 0 && want.version != v.version {
				c.fail(op, "read of register %d at %#x is %+v, not %+v", op.keys[j], zxid, v, want)
			}
		}
	}
}

// sessions checks that the zxids of a session's replies do not fall.
func (c *histCheck) sessions() {
	last := map[int]int64{}
	for i := range c.ops {
		op := &c.ops[i]
		if op.unknown || op.kind == histSnap {
			continue
		}
		if op.zxid < last[op.session] {
			c.fail(op, "after %#x", last[op.session])
		}
		last[op.session] = op.zxid
	}
}

// histState is the model of the second opinion, which sees no zxids.
type histState [histKeys]struct {
	value   string
	version int32
}

// histModel is what the registers do, for porcupine. Writes of unknown outcome
// end never, so that they may come at the end, where nobody is left to see them.
var histModel = porcupine.Model{
	Init: func() any { return histState{} },
	Step: func(state, input, output any) (bool, any) {
		s, op := state.(histState), output.(*histOp)
		if op.kind != histSet {
			for j, key := range op.keys {
				if s[key].version != op.seen[j].version || s[key].version > 0 && s[key].value != op.seen[j].value {
					return false, state
				}
			}
			return true, state
		}
		fits := true
		for _, key := range op.keys {
			fits = fits && (op.expect < 0 || s[key].version == op.expect)
		}
		if !fits || op.refused {
			return op.unknown || !fits && op.refused, state
		}
		for j, key := range op.keys {
			s[key].value = op.value
			s[key].version++
			if !op.unknown && s[key].version != op.seen[j].version {
				return false, state
			}
		}
		return true, s
	},
	Equal: func(a, b any) bool { return a.(histState) == b.(histState) },
}

// linearizable asks porcupine about writes and reads behind a sync. Running out
// of time is no yes.
func linearizable(ops []histOp, patience time.Duration) porcupine.CheckResult {
	var history []porcupine.Operation
	for i := range ops {
		if op := &ops[i]; op.kind == histSet || op.kind == histSync {
			history = append(history, porcupine.Operation{ClientId: op.session, Input: op, Output: op, Call: op.call, Return: op.ret})
		}
	}
	return porcupine.CheckOperationsTimeout(histModel, history, patience)
}
