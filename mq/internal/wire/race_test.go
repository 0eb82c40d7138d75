//go:build race

package wire

// underRace says that the race detector is on.
const underRace = true
