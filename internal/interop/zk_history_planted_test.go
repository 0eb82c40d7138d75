package interop

import (
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// goodHistory is right: two sessions on three registers, with a write whose
// outcome was unknown to its client and that was done, and one that was not.
func goodHistory() []histOp {
	set := func(session int, call, zxid int64, value string, version int32, keys ...int) histOp {
		op := histOp{session: session, kind: histSet, keys: keys, value: value, expect: -1, call: call, ret: call + 5, zxid: zxid}
		for range keys {
			op.seen = append(op.seen, histValue{version: version})
		}
		return op
	}
	read := func(session int, kind histKind, call, zxid int64, key int, value string, version int32, mzxid int64) histOp {
		return histOp{session: session, kind: kind, keys: []int{key}, call: call, ret: call + 5, zxid: zxid, seen: []histValue{{value, version, mzxid}}}
	}
	lost := set(2, 30, 0, "lost", 0, 0)
	lost.unknown, lost.ret, lost.seen = true, histNever, nil
	never := set(2, 65, 0, "never", 0, 1)
	never.unknown, never.ret, never.seen = true, histNever, nil
	refused := histOp{session: 1, kind: histSet, keys: []int{0}, value: "no", expect: 1, call: 80, ret: 85, zxid: 15, refused: true}
	snap := histOp{
		session: 1, kind: histSnap, keys: []int{0, 1, 2}, call: 90, ret: 95,
		seen: []histValue{{"c", 4, 14}, {"c", 2, 14}, {"", 0, 3}},
	}
	return []histOp{
		set(1, 10, 10, "a", 1, 0),
		set(2, 20, 11, "b", 1, 1),
		lost, // zxid 12
		read(1, histRead, 40, 12, 0, "lost", 2, 12),
		read(2, histSync, 45, 12, 1, "b", 1, 11),
		set(1, 50, 13, "d", 3, 0),
		never,
		set(1, 70, 14, "c", 4, 0),
		refused,
		snap,
		read(2, histSync, 100, 15, 0, "c", 4, 14),
	}
}

// TestHistoryChecker plants what must be found.
func TestHistoryChecker(t *testing.T) {
	good := goodHistory()
	good[7].keys, good[7].seen = []int{0, 1}, []histValue{{version: 4}, {version: 2}} // a multi
	require.Empty(t, checkHistory(good))
	require.Equal(t, porcupine.Ok, linearizable(good, time.Minute))
	for name, plant := range map[string]struct {
		bad       func(ops []histOp) []histOp
		porcupine bool // finds it, too: it sees neither zxids nor what is not behind a sync
	}{
		"lost write": {func(ops []histOp) []histOp {
			ops[10].seen = []histValue{{"d", 3, 13}}
			return ops
		}, true},
		"stale read behind a sync": {func(ops []histOp) []histOp {
			ops[4].zxid, ops[4].seen = 10, []histValue{{"", 0, 2}}
			return ops
		}, true},
		"zxid taken twice": {func(ops []histOp) []histOp {
			ops[1].zxid = 10
			return ops
		}, false},
		"written in the past": {func(ops []histOp) []histOp {
			ops[5].zxid = 9
			return ops
		}, false},
		"session goes back": {func(ops []histOp) []histOp {
			return slices.Insert(ops, 11, histOp{session: 2, kind: histRead, keys: []int{0}, call: 110, ret: 115, zxid: 13, seen: []histValue{{"d", 3, 13}}})
		}, false},
		"read of the future": {func(ops []histOp) []histOp {
			ops[3].zxid = 11
			return ops
		}, false},
		"read of what nobody wrote": {func(ops []histOp) []histOp {
			ops[10].seen[0].value = "ghost"
			return ops
		}, true},
		"done twice": {func(ops []histOp) []histOp {
			ops[5].seen[0].version = 4
			ops[7].seen[0].version = 5
			ops[9].seen[0].version, ops[10].seen[0].version = 5, 5
			return ops
		}, true},
		"half a multi": {func(ops []histOp) []histOp {
			ops[9].seen[1] = histValue{"b", 1, 11}
			return ops
		}, false},
		"refused without a reason": {func(ops []histOp) []histOp {
			ops[8].expect = 4
			return ops
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ops := make([]histOp, len(good))
			for i, op := range good {
				ops[i] = op
				ops[i].seen = slices.Clone(op.seen)
			}
			ops = plant.bad(ops)
			require.NotEmpty(t, checkHistory(ops))
			if plant.porcupine {
				require.Equal(t, porcupine.Illegal, linearizable(ops, time.Minute))
			}
		})
	}
}
