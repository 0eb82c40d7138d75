package mqsim

import (
	"testing"

	"github.com/vivarium-go/vivarium/internal/sim"
)

// TestMutants puts known bugs back into the cores and demands that the simulator finds them. Without the flag it only checks that
// they still apply.
//
//	go test ./mq/internal/mqsim -run TestMutants -v -mutants all
func TestMutants(t *testing.T) {
	sim.Mutants{Dir: "..", Seeds: "1-2000"}.Test(t)
}
