package partition

import "sync"

// gate lets one goroutine at a time through. Unlike a mutex it may be held
// across I/O: who waits, waits on a condition, which a synctest bubble counts as
// blocked. The zero value is open.
type gate struct {
	mu   sync.Mutex
	cond *sync.Cond // made by the first who waits
	busy bool
}

func (g *gate) lock() {
	g.mu.Lock()
	for g.busy {
		if g.cond == nil {
			g.cond = sync.NewCond(&g.mu)
		}
		g.cond.Wait()
	}
	g.busy = true
	g.mu.Unlock()
}

func (g *gate) unlock() {
	g.mu.Lock()
	g.busy = false
	if g.cond != nil {
		g.cond.Signal()
	}
	g.mu.Unlock()
}
