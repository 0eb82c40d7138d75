package script_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vivarium-go/vivarium/internal/script"
)

func TestScript(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		script.Run(t, file, func(t *testing.T, c *script.Cmd) string {
			switch c.Name {
			case "args":
				return fmt.Sprintf("positional=%s two=%d three=%d", strings.Join(c.Positional(), ","), c.Int("two"), c.Int("three"))
			case "echo":
				return c.Input
			case "paragraphs":
				return "first\n\nsecond"
			}
			c.Fatalf("unknown command")
			return ""
		})
	})
}
