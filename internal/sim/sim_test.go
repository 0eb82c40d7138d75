package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEngineOrder(t *testing.T) {
	e := NewEngine(1)
	var got []string
	note := func(s string) func() { return func() { got = append(got, fmt.Sprintf("%v %s", e.Now(), s)) } }
	e.After(3*time.Second, note("c"))
	e.After(time.Second, note("a"))
	e.After(time.Second, note("b"))
	e.After(time.Second, func() { e.After(-5, note("at once")) })
	e.At(0, note("first"))
	require.NoError(t, e.RunUntil(2*time.Second, nil))
	require.Equal(t, []string{"0s first", "1s a", "1s b", "1s at once"}, got)
	require.Equal(t, 2*time.Second, e.Now())
	err := e.RunUntil(time.Minute, func() error { return errors.New("broken") })
	require.ErrorContains(t, err, "at 3s, step 6: broken")
	require.False(t, e.Step())
}

func TestHeapRandom(t *testing.T) {
	e := NewEngine(7)
	r := e.Rand("x")
	last, n := time.Duration(-1), 0
	var spawn func()
	spawn = func() {
		require.GreaterOrEqual(t, e.Now(), last)
		last = e.Now()
		if n++; n < 5000 {
			for range 1 + r.IntN(2) {
				e.After(time.Duration(r.IntN(1000)), spawn)
			}
		}
	}
	e.After(0, spawn)
	for e.Step() {
	}
	require.Greater(t, n, 4999)
}

// TestRandStreams: a stream depends on the seed and its name, and on nothing else.
func TestRandStreams(t *testing.T) {
	a, b := NewEngine(5), NewEngine(5)
	b.Rand("other").Uint64()
	require.Equal(t, a.Rand("net").Uint64(), b.Rand("net").Uint64())
	require.NotEqual(t, a.Rand("net").Uint64(), a.Rand("disk").Uint64())
	require.NotEqual(t, a.Rand("net").Uint64(), NewEngine(6).Rand("net").Uint64())
}

type inbox struct {
	e   *Engine
	got []string
}

func (b *inbox) Deliver(to, from int, m int) {
	b.got = append(b.got, fmt.Sprintf("%d<%d:%d", to, from, m))
}
func (b *inbox) Reset(at, peer int) { b.got = append(b.got, fmt.Sprintf("%d!%d", at, peer)) }

func (b *inbox) run(d time.Duration) string {
	b.got = nil
	_ = b.e.RunUntil(b.e.Now()+d, nil)
	return strings.Join(b.got, " ")
}

func TestNetFIFO(t *testing.T) {
	e := NewEngine(3)
	in := &inbox{e: e}
	n := NewNet[int](e, 2, NetFaults{Delay: time.Millisecond, Slow: 0.2, SlowDelay: 50 * time.Millisecond}, in)
	var want []string
	for i := range 200 {
		n.Send(0, 1, i)
		want = append(want, fmt.Sprintf("1<0:%d", i))
	}
	require.Equal(t, strings.Join(want, " "), in.run(time.Hour))
	require.Positive(t, e.Marked("net.slow"))
}

func TestNetFaultsAndHeal(t *testing.T) {
	e := NewEngine(3)
	in := &inbox{e: e}
	n := NewNet[int](e, 3, NetFaults{}, in)
	n.CutOneWay(0, 1)
	n.Send(0, 1, 1)
	n.Send(1, 0, 2)
	require.Equal(t, "0<1:2", in.run(time.Second))
	n.Isolate(2)
	n.Send(0, 2, 3)
	n.Send(2, 1, 4)
	require.Empty(t, in.run(time.Second))
	n.Heal()
	n.Partition([]int{0, 0, 1})
	require.True(t, n.IsCut(0, 2))
	require.False(t, n.IsCut(0, 1))
	n.Calm()
	n.Send(0, 1, 5)
	require.Equal(t, "1<0:5", in.run(time.Second))

	n.Send(0, 2, 6)
	n.Down(2) // what is on the way to it is lost, its peers are told
	require.Equal(t, "0!2 1!2 0!2", in.run(time.Second))
	n.Send(1, 2, 7)
	require.Equal(t, "1!2", in.run(time.Second), "a dial is refused")
	n.Up(2)
	n.Send(1, 2, 8)
	require.Equal(t, "2<1:8", in.run(time.Second))

	n.Send(0, 1, 9)
	n.ResetConn(0, 1)
	n.Send(0, 1, 10)
	require.Equal(t, "1!0 0!1 1<0:10", in.run(time.Second))

	n.Pause(1, e.Now()+2*time.Second)
	n.Send(0, 1, 11)
	n.Send(0, 1, 12)
	require.Empty(t, in.run(time.Second))
	require.Equal(t, "1<0:11 1<0:12", in.run(2*time.Second))
}

func TestNetRates(t *testing.T) {
	e := NewEngine(3)
	in := &inbox{e: e}
	n := NewNet[int](e, 2, NetFaults{Delay: time.Millisecond, Loss: 0.1, Duplicate: 0.2, Stale: 0.5}, in)
	for i := range 10000 {
		n.Send(0, 1, i)
	}
	in.run(time.Hour)
	require.InDelta(t, 1000, e.Marked("net.lost"), 150)
	require.InDelta(t, 1800, e.Marked("net.duplicated"), 200)
	require.Len(t, in.got, 10000-int(e.Marked("net.lost"))+int(e.Marked("net.duplicated")))
	for i := range 1000 {
		n.Send(0, 1, i)
	}
	n.ResetConn(0, 1)
	in.run(time.Hour)
	require.InDelta(t, 450, e.Marked("net.stale"), 80)
	n.Faults().Silent = 1
	n.Down(0)
	n.Send(1, 0, 1)
	require.Empty(t, in.run(time.Hour), "it vanished: nobody is told")
}

func TestNemesis(t *testing.T) {
	struck := make(map[string]int)
	for seed := range uint64(50) {
		e := NewEngine(seed)
		do := func(name string, effect bool) Fault {
			return Fault{Name: name, Mean: time.Second, Do: func(*rand.Rand) bool { struck[name]++; return effect }}
		}
		n := NewNemesis(e, time.Minute, 5, []Fault{do("a", true), do("b", true), do("idle", false)})
		require.NoError(t, e.RunUntil(2*time.Minute, nil))
		require.LessOrEqual(t, n.Effects(), 5)
		require.Equal(t, n.Effects(), int(e.Marked("fault.a")+e.Marked("fault.b")))
		require.Zero(t, e.Marked("fault.idle"))
	}
	require.Greater(t, struck["a"], 20)
	require.Greater(t, struck["idle"], 200)
}

func TestBatchRange(t *testing.T) {
	b := Batch{Run: func(e *Engine) error {
		e.Mark("ran")
		e.Count("seeds", e.Seed())
		_ = e.RunUntil(time.Second, nil)
		return nil
	}}
	rep := b.Range(1, 100)
	require.Equal(t, 100, rep.Seeds)
	require.Equal(t, uint64(5050), rep.Marks["seeds"])
	require.Equal(t, 100*time.Second, rep.Virtual)
	require.Equal(t, "ran=100  seeds=5050", rep.marks())

	b.Run = func(e *Engine) error {
		switch e.Seed() {
		case 3:
			return errors.New("lost write")
		case 4:
			panic("invariant")
		}
		return nil
	}
	rep = b.Range(1, 1000)
	require.NotEmpty(t, rep.Failed)
	require.Less(t, rep.Seeds, 1000, "a batch stops soon after a failure")
	require.ErrorContains(t, b.Range(3, 3).Failed[0].Err, "lost write")
	require.ErrorContains(t, b.Range(4, 4).Failed[0].Err, "panic: invariant")
}

func TestParseSeeds(t *testing.T) {
	first, last, err := ParseSeeds("0x10-32")
	require.NoError(t, err)
	require.Equal(t, [2]uint64{16, 32}, [2]uint64{first, last})
	first, last, err = ParseSeeds("7")
	require.NoError(t, err)
	require.Equal(t, [2]uint64{7, 7}, [2]uint64{first, last})
	for _, bad := range []string{"", "x", "1-", "5-4", "-1"} {
		_, _, err := ParseSeeds(bad)
		require.ErrorContains(t, err, "seeds", bad)
	}
}

func TestDraws(t *testing.T) {
	r := NewEngine(1).Rand("x")
	sum := time.Duration(0)
	for range 10000 {
		sum += Exp(r, time.Second)
		v := LogUniform(r, 1, 1000)
		require.True(t, v >= 1 && v <= 1000)
	}
	require.InDelta(t, 10000, sum.Seconds(), 500)
	require.False(t, Chance(r, 0))
	require.True(t, Chance(r, 1))
	for range 100 {
		require.Positive(t, DrawNetFaults(r).Delay)
	}
}

type counter struct{ n uint64 }

func (c *counter) Act(arg uint64) { c.n += arg }

func BenchmarkEngine(b *testing.B) {
	e := NewEngine(1)
	c := &counter{}
	for i := range 1000 {
		e.Wake(time.Duration(i), c, 1)
	}
	for b.Loop() {
		e.Step()
		e.Wake(e.Now()+1000, c, 1)
	}
}
