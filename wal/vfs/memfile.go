package vfs

import (
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

const (
	chunkBytes = 64 << 10
	// opsMax is how many unsynced writes are kept apart. Beyond it, a write that
	// continues the one before is joined to it, so that a file that nobody ever
	// syncs does not grow a history.
	opsMax = 1024
	// opsKept is for how many of them an idle file keeps room.
	opsKept = 16
)

// inode is a file's content. All chunks but the last are chunkBytes long;
// beyond their end, up to size, are zeros.
type inode struct {
	mu     sync.RWMutex
	chunks [][]byte
	size   int64
	ops    []fileOp // since the last Sync, in order
}

// fileOp is a write, or a change of size, that is not durable, with what undoes
// it: the bytes that it replaced or cut.
type fileOp struct {
	seq              uint64 // orders the operations of the whole file system
	truncate         bool
	off, n           int64 // the bytes written
	old              []byte
	oldSize, newSize int64
	// lost: a Sync lied about it; it stays visible but never becomes durable.
	// done: it was synced while the history had to be kept for lost ones.
	lost, done bool
	unit       int // see units
}

// grow makes the chunks hold bytes up to end.
func (n *inode) grow(end int64) {
	for int64(len(n.chunks))*chunkBytes < end {
		if k := len(n.chunks); k > 0 {
			n.chunks[k-1] = extend(n.chunks[k-1], chunkBytes)
		}
		n.chunks = append(n.chunks, nil)
	}
	if k := len(n.chunks); k > 0 {
		if want := end - int64(k-1)*chunkBytes; want > 0 {
			if k > 1 && n.chunks[k-1] == nil {
				// A file beyond its first chunk will fill this one too.
				n.chunks[k-1] = make([]byte, 0, chunkBytes)
			}
			n.chunks[k-1] = extend(n.chunks[k-1], int(want))
		}
	}
}

// extend lengthens a chunk with zeros, doubling its capacity.
func extend(b []byte, size int) []byte {
	if size <= len(b) {
		return b
	}
	if size > cap(b) {
		c := make([]byte, len(b), min(max(2*cap(b), size, 512), chunkBytes))
		copy(c, b)
		b = c
	}
	return b[:size]
}

// copyOut reads [off, off+len(p)), which lies within size.
func (n *inode) copyOut(p []byte, off int64) {
	for len(p) > 0 {
		i, at := int(off/chunkBytes), int(off%chunkBytes)
		room := min(len(p), chunkBytes-at)
		copied := 0
		if i < len(n.chunks) && at < len(n.chunks[i]) {
			copied = copy(p[:room], n.chunks[i][at:])
		}
		clear(p[copied:room])
		p, off = p[room:], off+int64(room)
	}
}

// copyIn writes p at off, growing the content but not size.
func (n *inode) copyIn(p []byte, off int64) {
	n.grow(off + int64(len(p)))
	for len(p) > 0 {
		c := copy(n.chunks[off/chunkBytes][off%chunkBytes:], p)
		p, off = p[c:], off+int64(c)
	}
}

func (n *inode) write(p []byte, off int64, seq uint64) {
	op := fileOp{seq: seq, off: off, n: int64(len(p)), oldSize: n.size, newSize: max(n.size, off+int64(len(p)))}
	if off < n.size {
		op.old = make([]byte, min(n.size-off, op.n))
		n.copyOut(op.old, off)
	}
	n.copyIn(p, off)
	n.size = op.newSize
	if k := len(n.ops); k >= opsMax {
		// If the last one went beyond the size it ends there, and this one
		// replaces nothing: in either case old stays one run.
		last := &n.ops[k-1]
		if !last.truncate && !last.lost && !last.done && last.off+last.n == off {
			last.n, last.old, last.newSize = last.n+op.n, append(last.old, op.old...), op.newSize
			return
		}
	}
	n.ops = append(n.ops, op)
}

func (n *inode) truncate(size int64, seq uint64) {
	if size == n.size {
		return
	}
	op := fileOp{seq: seq, truncate: true, oldSize: n.size, newSize: size}
	if size < n.size {
		op.old = make([]byte, n.size-size)
		n.copyOut(op.old, size)
		keep := int((size + chunkBytes - 1) / chunkBytes)
		if keep < len(n.chunks) {
			clear(n.chunks[keep:])
			n.chunks = n.chunks[:keep]
		}
		if keep > 0 && keep == len(n.chunks) {
			last := n.chunks[keep-1]
			if at := int(size - int64(keep-1)*chunkBytes); at < len(last) {
				clear(last[at:])
			}
		}
	}
	n.size = size
	n.ops = append(n.ops, op)
}

func (n *inode) sync() {
	for i := range n.ops {
		if n.ops[i].lost {
			for j := range n.ops {
				n.ops[j].done = n.ops[j].done || !n.ops[j].lost
			}
			return
		}
	}
	if cap(n.ops) > opsKept {
		n.ops = nil
		return
	}
	clear(n.ops)
	n.ops = n.ops[:0]
}

// loseWrites makes what is not durable stay so for ever, though visible.
func (n *inode) loseWrites() {
	for i := range n.ops {
		n.ops[i].lost = n.ops[i].lost || !n.ops[i].done
	}
}

// dropCache makes the lost writes invisible.
func (n *inode) dropCache() {
	base, redo := n.rewind()
	ops := n.ops
	n.ops, n.chunks, n.size = nil, nil, int64(len(base))
	n.copyIn(base, 0)
	apply := func(done bool) {
		for i, op := range ops {
			switch {
			case op.lost || op.done != done:
			case op.truncate:
				n.truncate(op.newSize, op.seq)
			default:
				n.write(redo[i], op.off, op.seq)
			}
		}
	}
	apply(true)
	n.ops = nil
	apply(false)
}

type memFile struct {
	m        *Mem
	ino      *inode
	name     string
	readOnly bool
	closed   atomic.Bool
}

func (f *memFile) check(op string, write bool) error {
	switch {
	case f.closed.Load():
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	case write && f.readOnly:
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrPermission}
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	}
	f.ino.mu.RLock()
	defer f.ino.mu.RUnlock()
	n := int(max(0, min(int64(len(p)), f.ino.size-off)))
	f.ino.copyOut(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	if len(p) == 0 {
		return 0, nil
	}
	f.lock()
	defer f.unlock()
	f.ino.write(p, off, f.m.seq.Add(1))
	return len(p), nil
}

// lock takes the content's lock for a change.
func (f *memFile) lock() {
	f.m.mu.RLock()
	f.ino.mu.Lock()
}

func (f *memFile) unlock() {
	f.ino.mu.Unlock()
	f.m.mu.RUnlock()
}

func (f *memFile) Sync() error {
	if err := f.check("sync", false); err != nil {
		return err
	}
	f.lock()
	defer f.unlock()
	f.ino.sync()
	return nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	f.lock()
	defer f.unlock()
	f.ino.truncate(size, f.m.seq.Add(1))
	return nil
}

// DropCache implements CacheDropper.
func (f *memFile) DropCache() error {
	if err := f.check("dropcache", false); err != nil {
		return err
	}
	f.lock()
	defer f.unlock()
	f.ino.dropCache()
	return nil
}

func (f *memFile) loseWrites() {
	f.lock()
	defer f.unlock()
	f.ino.loseWrites()
}

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", false); err != nil {
		return 0, err
	}
	f.ino.mu.RLock()
	defer f.ino.mu.RUnlock()
	return f.ino.size, nil
}

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	return nil
}
