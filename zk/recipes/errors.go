package recipes

import "errors"

var (
	// ErrLost is the error of a Grant that ended without being released: its
	// session has expired, its client was closed, or somebody deleted its znode.
	// The cause is wrapped beside it.
	ErrLost = errors.New("recipes: lost")

	// ErrReleased is the error of a Grant that was released.
	ErrReleased = errors.New("recipes: released")

	// ErrInDoubt is the cause of the end of a Grant's Context when the client has
	// no connection: the grant may be lost.
	ErrInDoubt = errors.New("recipes: in doubt, the client is not connected")

	// ErrTaken is returned by methods that try and do not wait: others hold what
	// was asked for.
	ErrTaken = errors.New("recipes: taken")

	// ErrNone is returned when there is nothing of what was asked for: a queue is
	// empty, an election has no leader, a service no instance.
	ErrNone = errors.New("recipes: none there")
)
