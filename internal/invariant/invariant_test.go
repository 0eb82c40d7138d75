package invariant_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/invariant"
)

func TestCheck(t *testing.T) {
	require.NotPanics(t, func() { invariant.Check(true, "never formatted %d", 1) })
	require.PanicsWithError(t, "invariant violated: zxid 3 after 5", func() {
		invariant.Check(false, "zxid %d after %d", 3, 5)
	})
}
