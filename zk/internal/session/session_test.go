package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/zk/internal/session"
)

func TestScripts(t *testing.T) {
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		tb := session.New(session.Config{})
		script.Run(t, file, func(t *testing.T, c *script.Cmd) string {
			switch c.Name {
			case "new":
				tb = session.New(session.Config{
					TickMillis: c.Int64("tick"), MinTimeoutMillis: int32(c.IntOr("min", 0)), MaxTimeoutMillis: int32(c.IntOr("max", 0)),
				})
			case "clamp":
				return fmt.Sprint(tb.Clamp(int32(c.Int("ms"))))
			case "add":
				tb.Add(c.Int64("id"), int32(c.Int("timeout")), c.Int64("at"))
			case "touch":
				return fmt.Sprint(tb.Touch(c.Int64("id"), c.Int64("at")))
			case "remove":
				return fmt.Sprint(tb.Remove(c.Int64("id")))
			case "restart":
				tb.Restart(c.Int64("at"))
			case "expired":
				return fmt.Sprint(tb.Expired(c.Int64("at"), nil))
			default:
				c.Fatalf("unknown command")
			}
			var out strings.Builder
			for _, s := range tb.Sessions() {
				fmt.Fprintf(&out, "%d timeout=%d deadline=%d expired=%v\n", s.ID, s.TimeoutMillis, s.Deadline, s.Expired)
			}
			if at, ok := tb.NextDeadline(); ok {
				fmt.Fprintf(&out, "next %d\n", at)
			}
			return out.String()
		})
	})
}

// TestModel compares the table with a plain list on random histories.
func TestModel(t *testing.T) {
	type plain struct {
		timeout, from int64
		expired       bool
	}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tick := 1 + rng.Int64N(100)
		tb := session.New(session.Config{TickMillis: tick})
		m := map[int64]*plain{}
		now := rng.Int64N(1000)
		deadline := func(p *plain) int64 { return ((p.from+p.timeout)/tick + 1) * tick }
		for range 1000 {
			now += rng.Int64N(tick)
			id := 1 + rng.Int64N(8)
			switch rng.IntN(12) {
			case 0, 1:
				timeout := 1 + rng.Int32N(2000)
				tb.Add(id, timeout, now)
				m[id] = &plain{timeout: int64(timeout), from: now}
			case 2:
				require.Equal(t, m[id] != nil, tb.Remove(id))
				delete(m, id)
			case 3:
				if rng.IntN(10) == 0 {
					tb.Restart(now)
					for _, p := range m {
						p.from, p.expired = now, false
					}
				}
			case 4, 5, 6:
				var want []int64
				for id, p := range m {
					if !p.expired && deadline(p) <= now {
						p.expired = true
						want = append(want, id)
					}
				}
				slices.SortFunc(want, func(a, b int64) int {
					if da, db := deadline(m[a]), deadline(m[b]); da != db {
						return int(da - db)
					}
					return int(a - b)
				})
				require.Equal(t, want, tb.Expired(now, nil))
			default:
				p := m[id]
				require.Equal(t, p != nil && !p.expired, tb.Touch(id, now))
				if p != nil && !p.expired {
					p.from = now
				}
			}
			require.Equal(t, len(m), tb.Len())
			require.Equal(t, m[id] != nil, tb.Has(id))
			next, some := int64(0), false
			for _, p := range m {
				if !p.expired && (!some || deadline(p) < next) {
					next, some = deadline(p), true
				}
			}
			at, ok := tb.NextDeadline()
			require.Equal(t, some, ok)
			require.Equal(t, next, at)
		}
		tb.Reset()
		require.Zero(t, tb.Len())
		require.Empty(t, tb.Expired(now+1e6, nil))
	}
}

// TestTimeNeverGoesBack: a clock that jumps back expires nobody early and prolongs nobody.
func TestTimeNeverGoesBack(t *testing.T) {
	tb := session.New(session.Config{TickMillis: 10})
	tb.Add(1, 100, 1000)
	require.True(t, tb.Touch(1, 500))
	require.Empty(t, tb.Expired(1109, nil))
	require.Equal(t, []int64{1}, tb.Expired(1110, nil))
}

func TestTouchDoesNotAllocate(t *testing.T) {
	tb := session.New(session.Config{TickMillis: 1000})
	tb.Add(1, 10000, 0)
	require.Zero(t, testing.AllocsPerRun(100, func() { tb.Touch(1, 1) }))
}

func BenchmarkTouch(b *testing.B) {
	tb := session.New(session.Config{TickMillis: 50})
	for id := range int64(10_000) {
		tb.Add(id, 10_000, 0)
	}
	i := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		i++
		tb.Touch(i%10_000, i/1000)
	}
}

// A leader's table: a session that is touched lives on, another one expires.
func Example() {
	tb := session.New(session.Config{TickMillis: 50})
	timeout := tb.Clamp(400) // what both clients get
	tb.Add(1, timeout, 0)
	tb.Add(2, timeout, 0)
	tb.Touch(1, 300)
	fmt.Println(tb.Expired(450, nil))
	fmt.Println(tb.Expired(10_000, nil))
	// Output:
	// [2]
	// [1]
}
