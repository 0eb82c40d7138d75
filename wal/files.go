package wal

import (
	"os"
	"sync"

	"github.com/vivarium-go/vivarium/internal/invariant"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// openFilesMax is how many files of a Flusher's logs stay open while nobody
// uses them, unless SetOpenFilesMax said otherwise. Files in use, or with bytes not yet synced, come on top: they are
// never closed, since a failed write-back may be reported only to those who had
// the file open.
const openFilesMax = 512

// segFile is a segment's file, open or not. Its fields are guarded by the
// cache's mutex.
type segFile struct {
	fs         vfs.FS
	name       string
	readOnly   bool
	f          vfs.File // nil: not open
	pins       int
	opening    bool
	doomed     bool // close at the last unpin, for good
	prev, next *segFile
}

// fileCache keeps files open, the least recently used going first. Only files
// without a pin are in its list.
type fileCache struct {
	mu   sync.Mutex
	cond sync.Cond // a file finished opening
	open int
	max  int
	lru  segFile // ring: next is the most recently used
}

func (c *fileCache) init() {
	c.cond.L = &c.mu
	c.max = openFilesMax
	c.lru.prev, c.lru.next = &c.lru, &c.lru
}

// SetOpenFilesMax sets how many files the Flusher's logs keep open, 512 unless it
// is called; those in use or not yet synced come on top. To be called before the
// logs are opened. It must be at least 1.
func (f *Flusher) SetOpenFilesMax(n int) {
	invariant.Check(n > 0, "wal: at most %d open files", n)
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	f.files.max = n
}

// FlusherStats is what a Flusher does now.
type FlusherStats struct {
	// OpenFiles is how many files its logs hold open.
	OpenFiles int
	// Workers is how many goroutines it has, and Idle how many of them wait.
	Workers, Idle int
}

// Stats returns what the Flusher does now.
func (f *Flusher) Stats() FlusherStats {
	f.files.mu.Lock()
	open := f.files.open
	f.files.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return FlusherStats{OpenFiles: open, Workers: f.mu.workers, Idle: f.mu.idle}
}

func (h *segFile) unlink() {
	h.prev.next, h.next.prev = h.next, h.prev
	h.prev, h.next = nil, nil
}

// pin opens the file if need be and keeps it open until unpin.
func (c *fileCache) pin(h *segFile, flag int) (vfs.File, error) {
	c.mu.Lock()
	for h.opening {
		c.cond.Wait()
	}
	if h.f != nil {
		if h.pins == 0 && h.next != nil {
			h.unlink()
		}
		h.pins++
		c.mu.Unlock()
		return h.f, nil
	}
	h.opening = true
	c.mu.Unlock()
	if h.readOnly {
		flag |= os.O_RDONLY
	} else {
		flag |= os.O_RDWR
	}
	f, err := h.fs.OpenFile(h.name, flag, 0o600)
	c.mu.Lock()
	h.opening = false
	c.cond.Broadcast()
	if err != nil {
		c.mu.Unlock()
		return nil, err
	}
	h.f = f
	h.pins++
	c.open++
	evicted := c.evictLocked()
	c.mu.Unlock()
	if evicted != nil {
		_ = evicted.Close() // nothing in it is unsynced
	}
	return f, nil
}

// evictLocked takes one file out if there are too many.
func (c *fileCache) evictLocked() vfs.File {
	if c.open <= c.max || c.lru.prev == &c.lru {
		return nil
	}
	h := c.lru.prev
	h.unlink()
	f := h.f
	h.f = nil
	c.open--
	return f
}

// unpin gives a pin back.
func (c *fileCache) unpin(h *segFile) {
	c.mu.Lock()
	h.pins--
	var f vfs.File
	switch {
	case h.pins > 0:
	case h.doomed:
		f, h.f = h.f, nil
		c.open--
	default:
		h.prev, h.next = &c.lru, c.lru.next
		h.prev.next, h.next.prev = h, h
	}
	c.mu.Unlock()
	if f != nil {
		_ = f.Close() // synced, or of no more use
	}
}

// drop closes the file now or at the last unpin.
func (c *fileCache) drop(h *segFile) {
	c.mu.Lock()
	h.doomed = true
	var f vfs.File
	if h.pins == 0 && h.f != nil {
		if h.next != nil {
			h.unlink()
		}
		f, h.f = h.f, nil
		c.open--
	}
	c.mu.Unlock()
	if f != nil {
		_ = f.Close() // synced, or of no more use
	}
}
