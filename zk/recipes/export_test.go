package recipes

// Watches is how many znodes the Mutex waits for.
func (m *Mutex) Watches() int {
	m.line.gone.mu.Lock()
	defer m.line.gone.mu.Unlock()
	return len(m.line.gone.m)
}
