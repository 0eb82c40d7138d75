package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Head is the table's head.
const Head = "| row | ours | | peers, *ceiling* | ours/best peer | target | unit |\n|---|---|---|---|---|---|---|\n"

// Lines renders a row's results: a line for each of ours.
func Lines(row Row, results []Result) string {
	var others []string
	for i, s := range row.Subjects {
		switch r := results[i]; {
		case s.Role == Ours:
		case errors.Is(r.Err, ErrMissing):
			others = append(others, s.Name+" not installed")
		case r.Err != nil:
			others = append(others, s.Name+" failed")
		case s.Role == Ceiling:
			others = append(others, "*"+s.Name+" "+figure(r.Median())+"*")
		default:
			others = append(others, s.Name+" "+figure(r.Median()))
		}
	}
	var b strings.Builder
	for i, s := range row.Subjects {
		if s.Role != Ours {
			continue
		}
		r := results[i]
		value, ratio := "failed", ""
		if r.Err == nil {
			value = figure(r.Median())
			if q := Ratio(row, results, i); q > 0 {
				ratio = times(q)
				if s.Target.Ratio > 0 && q < s.Target.Ratio {
					ratio = "**" + ratio + "**"
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
			row.Title, s.Name, value, strings.Join(others, " · "), ratio, s.Target, row.Unit)
	}
	return b.String()
}

// String renders a target as the table shows it.
func (t Target) String() string {
	var s string
	if t.Ratio > 0 {
		s = "≥ " + times(t.Ratio)
		if t.OfCeiling {
			s += " of the ceiling"
		}
		if len(t.Versus) > 0 {
			s += " " + strings.Join(t.Versus, ", ")
		}
	}
	switch {
	case t.Figure == "":
		return s
	case s == "":
		return t.Figure
	}
	return s + " (" + t.Figure + ")"
}

// Ratio says how many times better subject i of a row did than the best of
// those that its target is about; 0: there is none.
func Ratio(row Row, results []Result, i int) float64 {
	role := Peer
	target := row.Subjects[i].Target
	if target.OfCeiling {
		role = Ceiling
	}
	own, best := results[i].Median(), math.NaN()
	for k, s := range row.Subjects {
		counts := len(target.Versus) == 0 || slices.ContainsFunc(target.Versus, func(p string) bool { return strings.HasPrefix(s.Name, p) })
		if s.Role != role || !counts || results[k].Err != nil || len(results[k].Values) == 0 {
			continue
		}
		v := results[k].Median()
		if math.IsNaN(best) || (v < best) == row.Lower {
			best = v
		}
	}
	switch {
	case math.IsNaN(best) || own == 0 || best == 0:
		return 0
	case row.Lower:
		return best / own
	}
	return own / best
}

func times(q float64) string {
	if q >= 9.95 {
		return fmt.Sprintf("%.0f×", q)
	}
	return fmt.Sprintf("%.2g×", q)
}

// figure renders a value in three digits.
func figure(v float64) string {
	switch {
	case v >= 9.995e8:
		return fmt.Sprintf("%.3gG", v/1e9)
	case v >= 9.995e5:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 9.995e3:
		return fmt.Sprintf("%.3gk", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
