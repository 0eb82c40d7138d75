//go:build race

package wire

// underRace says that the race detector is on: appends then allocate twice.
const underRace = true
