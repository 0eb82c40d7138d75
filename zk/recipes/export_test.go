package recipes

// Watches is how many znodes the Mutex waits for.
func (m *Mutex) Watches() int {
	m.line.mu.Lock()
	defer m.line.mu.Unlock()
	return len(m.line.mu.gone)
}
