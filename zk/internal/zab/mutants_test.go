package zab

import (
	"flag"
	"testing"

	"github.com/vivarium-go/vivarium/internal/sim"
)

var outcomesFlag = flag.Bool("outcomes", false, "simulate without the checks of single messages: only what becomes of the history counts")

// TestMutants puts known bugs back and demands that the simulator finds them by their outcome.
//
//	go test ./zk/internal/zab -run TestMutants -v -mutants all
func TestMutants(t *testing.T) {
	sim.Mutants{Seeds: "1-2000", Args: []string{"-outcomes"}, Daily: true}.Test(t)
}
