// Package invariant states what must hold whatever the outside world does.
//
// A failed check is a programmer's error, never a caller's or a peer's: bytes
// from outside get an error instead. It panics, because a process whose state
// contradicts itself must stop before it answers anybody.
package invariant

import "fmt"

// Violation is the value that Check panics with.
type Violation struct {
	Message string // what was expected to hold
}

func (v *Violation) Error() string { return "invariant violated: " + v.Message }

// Check panics with a *Violation if ok is false. The message is formatted only
// then, so a check costs a branch; arguments that allocate belong behind an if.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic(&Violation{Message: fmt.Sprintf(format, args...)})
	}
}
