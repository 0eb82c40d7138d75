package mq

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// producerBuffer accounts for the bytes that wait for their answer.
type producerBuffer struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int32

	mu struct {
		sync.Mutex
		freed chan struct{} // closed at the next release while somebody waits
	}
}

func (b *producerBuffer) init(limit int64) {
	b.limit = limit
	b.mu.freed = make(chan struct{})
}

// acquire takes size bytes if they are free. A record larger than the whole buffer is let through alone.
func (b *producerBuffer) acquire(size int64) bool {
	for {
		used := b.used.Load()
		if used > 0 && used+size > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+size) {
			return true
		}
	}
}

// wait is acquire that waits, until ctx or the producer's context ends.
func (b *producerBuffer) wait(ctx, closed context.Context, size int64) error {
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for {
		b.mu.Lock()
		freed := b.mu.freed
		b.mu.Unlock()
		if b.acquire(size) {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		case <-closed.Done():
			return ErrClosed
		}
	}
}

// release gives bytes back.
func (b *producerBuffer) release(size int64) {
	b.used.Add(-size)
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	close(b.mu.freed)
	b.mu.freed = make(chan struct{})
	b.mu.Unlock()
}

// syncWait is a SendSync in progress.
type syncWait struct {
	left atomic.Int64
	done chan struct{} // one value when left reaches zero

	mu   sync.Mutex
	errs []error
}

func newSyncWait() any { return &syncWait{done: make(chan struct{}, 1)} }

func (w *syncWait) prepare(n int) {
	w.left.Store(int64(n))
	w.errs = nil
}

// finish counts one record.
func (w *syncWait) finish(err error) {
	if err != nil {
		w.mu.Lock()
		w.errs = append(w.errs, err)
		w.mu.Unlock()
	}
	if w.left.Add(-1) == 0 {
		w.done <- struct{}{}
	}
}

func (w *syncWait) err() error {
	if len(w.errs) == 1 {
		return w.errs[0]
	}
	return errors.Join(w.errs...)
}

// flushWait is a Flush in progress: all is closed when every batch it was added to is done.
type flushWait struct {
	left atomic.Int64
	all  chan struct{}
}

func newFlushWait() *flushWait {
	w := &flushWait{all: make(chan struct{})}
	w.left.Store(1)
	return w
}

func (w *flushWait) done() {
	if w.left.Add(-1) == 0 {
		close(w.all)
	}
}

// producerFinisher runs callbacks, in the order in which batches were done. Its goroutine lives while there are any.
type producerFinisher struct {
	p  *Producer
	mu struct {
		sync.Mutex
		queue   []finished
		running bool
	}
}

// finished is a batch whose callbacks are to be run, or a channel to close when all before it have.
type finished struct {
	b       *producerBatch
	barrier chan struct{}
}

// push enqueues. The caller holds a lock that Producer.Close takes before it waits, or is a method that Close does not overlap.
func (f *producerFinisher) push(item finished) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.queue = append(f.mu.queue, item)
	if !f.mu.running {
		f.mu.running = true
		f.p.wg.Add(1)
		go f.run()
	}
}

// run works the queue off.
func (f *producerFinisher) run() {
	defer f.p.wg.Done()
	var queue []finished
	for {
		f.mu.Lock()
		clear(queue)
		queue, f.mu.queue = f.mu.queue, queue[:0]
		if len(queue) == 0 {
			f.mu.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		for _, item := range queue {
			if item.barrier != nil {
				close(item.barrier)
				continue
			}
			for i := range item.b.entries {
				if e := &item.b.entries[i]; e.done != nil {
					e.done(e.record, item.b.err)
				}
			}
			item.b.recycle()
		}
	}
}

// barrier returns when the callbacks of everything pushed before have run.
func (f *producerFinisher) barrier(ctx context.Context) error {
	f.mu.Lock()
	if !f.mu.running {
		f.mu.Unlock()
		return nil
	}
	reached := make(chan struct{})
	f.mu.queue = append(f.mu.queue, finished{barrier: reached})
	f.mu.Unlock()
	select {
	case <-reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
