package vfs

import (
	"cmp"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorBytes is what a disk writes at a time; a write is torn at its multiples.
const sectorBytes = 512

// What became of one unit of unsynced change.
const (
	outcomeOld     = iota // as before
	outcomeNew            // as written
	outcomeZero           // zeros; data only
	outcomeGarbage        // random bytes; data only
)

// unitKind tells which outcomes a unit has: data all four, the rest two.
type unitKind bool

const (
	unitData unitKind = true
	unitMeta unitKind = false
)

// rewind returns the durable content below the pending writes, and for each of
// them the bytes that it wrote.
func (n *inode) rewind() (base []byte, redo [][]byte) {
	base = make([]byte, n.size)
	n.copyOut(base, 0)
	redo = make([][]byte, len(n.ops))
	for i, op := range slices.Backward(n.ops) {
		if op.truncate {
			base = append(base[:min(op.oldSize, op.newSize)], op.old...)
			base = base[:min(int64(len(base)), op.oldSize)]
			continue
		}
		redo[i] = slices.Clone(base[op.off : op.off+op.n])
		copy(base[op.off:], op.old)
		base = base[:op.oldSize]
	}
	return base, redo
}

// fit sets the length of an image, new bytes being zeros.
func fit(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

// pieces calls fn for each part of [off, off+n) that lies in one sector.
func pieces(off, n int64, fn func(from, to int64)) {
	for end := off + n; off < end; {
		to := min(end, off-off%sectorBytes+sectorBytes)
		fn(off, to)
		off = to
	}
}

// pendingOp is a change that a crash may undo: where its first unit's number
// goes, and its units.
type pendingOp struct {
	seq   uint64
	unit  *int
	kinds []unitKind
}

// units numbers everything that a crash may decide in the order in which it was
// done, and returns the kind of each. The exclusive lock is held.
func (m *Mem) units() []unitKind {
	var ops []pendingOp
	seen := map[any]bool{}
	var visit func(node any)
	visit = func(node any) {
		if node == nil || seen[node] {
			return
		}
		seen[node] = true
		switch n := node.(type) {
		case *dirNode:
			n.eachNode(visit)
			for i := range n.ops {
				op := &n.ops[i]
				ops = append(ops, pendingOp{op.seq, &op.unit, []unitKind{unitMeta}})
			}
		case *inode:
			for i := range n.ops {
				if op := &n.ops[i]; !op.lost && !op.done {
					ops = append(ops, pendingOp{op.seq, &op.unit, op.kinds()})
				}
			}
		}
	}
	visit(m.root)
	slices.SortFunc(ops, func(a, b pendingOp) int { return cmp.Compare(a.seq, b.seq) })
	var kinds []unitKind
	for _, op := range ops {
		*op.unit = len(kinds)
		kinds = append(kinds, op.kinds...)
	}
	return kinds
}

func (op *fileOp) kinds() []unitKind {
	var kinds []unitKind
	if op.truncate || op.newSize > op.oldSize {
		kinds = append(kinds, unitMeta)
	}
	if !op.truncate {
		pieces(op.off, op.n, func(_, _ int64) { kinds = append(kinds, unitData) })
	}
	return kinds
}

// eachNode calls fn for everything that the directory holds or may hold after a
// crash, in the order of names and then of time.
func (d *dirNode) eachNode(fn func(node any)) {
	names := make([]string, 0, len(d.entries))
	for name := range d.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fn(d.entries[name])
	}
	for _, op := range d.ops {
		fn(op.prev)
		fn(op.node)
	}
}

// crash builds the state that the outcomes, one for each unit, describe. The
// exclusive lock is held.
func (m *Mem) crash(outcomes []uint8) *Mem {
	c := NewMem()
	cloned := map[any]any{}
	var clone func(node any) any
	clone = func(node any) any {
		if n, ok := cloned[node]; ok {
			return n
		}
		switch n := node.(type) {
		case *dirNode:
			d := newDir()
			cloned[node] = d
			for name, sub := range n.crash(outcomes) {
				d.entries[name] = clone(sub)
			}
			return d
		case *inode:
			ino := n.crash(outcomes)
			cloned[node] = ino
			return ino
		}
		return nil
	}
	c.root = clone(m.root).(*dirNode)
	return c
}

func (d *dirNode) crash(outcomes []uint8) map[string]any {
	entries := make(map[string]any, len(d.entries))
	maps.Copy(entries, d.entries)
	set := func(name string, node any) {
		if node == nil {
			delete(entries, name)
		} else {
			entries[name] = node
		}
	}
	for _, op := range slices.Backward(d.ops) {
		set(op.name, op.prev)
	}
	for _, op := range d.ops {
		if outcomes[op.unit] != outcomeOld {
			set(op.name, op.node)
		}
	}
	return entries
}

func (n *inode) crash(outcomes []uint8) *inode {
	c := &inode{size: n.size}
	if len(n.ops) == 0 {
		c.chunks = make([][]byte, len(n.chunks))
		for i, chunk := range n.chunks {
			c.chunks[i] = slices.Clone(chunk)
		}
		return c
	}
	img, redo := n.rewind()
	for i, op := range n.ops {
		unit := op.unit
		outcome := func() uint8 {
			switch {
			case op.lost:
				return outcomeOld
			case op.done:
				return outcomeNew
			}
			unit++
			return outcomes[unit-1]
		}
		if op.truncate {
			if outcome() != outcomeOld {
				img = fit(img, op.newSize)
			}
			continue
		}
		if op.newSize > op.oldSize && outcome() != outcomeOld {
			img = fit(img, max(op.newSize, int64(len(img))))
		}
		pieces(op.off, op.n, func(from, to int64) {
			o := outcome()
			if o == outcomeOld {
				return
			}
			img = fit(img, max(to, int64(len(img))))
			switch piece := img[from:to]; o {
			case outcomeNew:
				copy(piece, redo[i][from-op.off:])
			case outcomeZero:
				clear(piece)
			case outcomeGarbage:
				garbage := rand.NewPCG(uint64(from), uint64(unit))
				for j := range piece {
					piece[j] = byte(garbage.Uint64())
				}
			}
		})
	}
	c.size = int64(len(img))
	c.copyIn(img, 0)
	return c
}

// CrashClone returns what the disk may hold after power is lost now, drawn with
// rng: a file system of its own, all durable, without locks. The original is
// not changed. One time in four nothing unsynced survives, one time in four all
// of it; else each unit of it fares on its own.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	kinds := m.units()
	outcomes := make([]uint8, len(kinds))
	switch rng.IntN(4) {
	case 0:
	case 1:
		fill(outcomes, outcomeNew)
	default:
		draw(outcomes, kinds, rng)
	}
	return m.crash(outcomes)
}

// Clone returns a copy in which everything written so far is durable: what the
// next process finds when only this one was killed.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	outcomes := make([]uint8, len(m.units()))
	fill(outcomes, outcomeNew)
	return m.crash(outcomes)
}

func fill(outcomes []uint8, o uint8) {
	for i := range outcomes {
		outcomes[i] = o
	}
}

func draw(outcomes []uint8, kinds []unitKind, rng *rand.Rand) {
	p := rng.Float64()
	for i, k := range kinds {
		switch {
		case rng.Float64() < p:
			outcomes[i] = outcomeNew
		case k == unitData && rng.IntN(3) == 0:
			outcomes[i] = outcomeZero
		case k == unitData && rng.IntN(3) == 0:
			outcomes[i] = outcomeGarbage
		default:
			outcomes[i] = outcomeOld
		}
	}
}

// CrashOptions says how far Crashes goes.
type CrashOptions struct {
	// ExhaustiveMax is up to how many units of unsynced change (names, sizes,
	// sectors) all 2^n subsets are tried. Beyond it come the prefixes, all but
	// one and only one.
	ExhaustiveMax int
	// Random is how many states drawn with Rand follow, with zeros and garbage
	// among them, where there is something to draw.
	Random int
	Rand   *rand.Rand
}

// Crashes yields states that the disk may be in after power is lost now:
// subsets of the unsynced changes as the options say, then for each unsynced
// sector zeros and garbage in it with all else old and with all else new, then
// random draws. The file system must not be changed meanwhile.
func (m *Mem) Crashes(o CrashOptions) iter.Seq[*Mem] {
	return func(yield func(*Mem) bool) {
		m.mu.Lock()
		kinds := m.units()
		m.mu.Unlock()
		n := len(kinds)
		outcomes := make([]uint8, n)
		try := func() bool {
			m.mu.Lock()
			m.units()
			c := m.crash(outcomes)
			m.mu.Unlock()
			return yield(c)
		}
		if !subsets(outcomes, o.ExhaustiveMax, try) {
			return
		}
		for i, k := range kinds {
			if k != unitData {
				continue
			}
			for _, rest := range []uint8{outcomeOld, outcomeNew} {
				for _, o := range []uint8{outcomeZero, outcomeGarbage} {
					fill(outcomes, rest)
					outcomes[i] = o
					if !try() {
						return
					}
				}
			}
		}
		for range o.Random {
			if n == 0 {
				return
			}
			if draw(outcomes, kinds, o.Rand); !try() {
				return
			}
		}
	}
}

// subsets tries sets of new units: all of them if there are few.
func subsets(outcomes []uint8, exhaustiveMax int, try func() bool) bool {
	n := len(outcomes)
	if n <= exhaustiveMax {
		for set := range uint64(1) << n {
			for i := range outcomes {
				outcomes[i] = uint8(set >> i & 1)
			}
			if !try() {
				return false
			}
		}
		return true
	}
	for prefix := range n + 1 {
		fill(outcomes, outcomeOld)
		fill(outcomes[:prefix], outcomeNew)
		if !try() {
			return false
		}
	}
	for i := range n {
		for _, rest := range []uint8{outcomeOld, outcomeNew} {
			fill(outcomes, rest)
			outcomes[i] = outcomeNew - rest
			if !try() {
				return false
			}
		}
	}
	return true
}
