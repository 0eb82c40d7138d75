package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Head is the table's head.
const Head = "| row | ours | | peers (ours to theirs) | ours/best peer | ceiling (ours to it) | target | of target | unit |\n" +
	"|---|---|---|---|---|---|---|---|---|\n"

// Lines renders a row's results: a line for each of ours.
func Lines(row Row, results []Result) string {
	var b strings.Builder
	for i, s := range row.Subjects {
		if s.Role != Ours {
			continue
		}
		r := results[i]
		value, ratio, reached := "failed", "", ""
		if r.Err == nil {
			value = figure(r.Median())
			if q := Ratio(row, results, i, Peer); q > 0 {
				ratio = times(q)
			}
			reached = Reached(row, results, i)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			row.Title, s.Name, value, others(row, results, i, Peer), ratio, others(row, results, i, Ceiling), s.Target, reached, row.Unit)
	}
	return b.String()
}

// others renders the subjects of a role, each with what subject i is to it.
func others(row Row, results []Result, i int, role Role) string {
	var cells []string
	own := results[i].Median()
	for k, s := range row.Subjects {
		if s.Role != role {
			continue
		}
		r := results[k]
		cell := s.Name
		switch {
		case errors.Is(r.Err, ErrMissing):
			cell += " not installed"
		case r.Err != nil:
			cell += " failed"
		default:
			cell += " " + figure(r.Median())
			if q := better(row, own, r.Median()); q > 0 {
				cell += " (" + times(q) + ")"
				if role == Ceiling {
					cell = s.Name + " " + figure(r.Median()) + " (" + share(row, q) + ")"
				}
			}
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, " · ")
}

// share says how near to a ceiling a ratio is: for rates the part of it that was
// reached, for times how much longer it took.
func share(row Row, q float64) string {
	if row.Lower {
		return fmt.Sprintf("%+.0f %%", 100/q-100)
	}
	return fmt.Sprintf("%.0f %%", 100*q)
}

// Reached says how much of its target subject i of a row reached, in percent and
// in bold where that is less than all; empty: it has none, or nothing to be
// compared with.
func Reached(row Row, results []Result, i int) string {
	t := row.Subjects[i].Target
	role := Peer
	if t.OfCeiling {
		role = Ceiling
	}
	var q float64
	switch {
	case t.Value > 0:
		q = better(row, results[i].Median(), t.Value)
	case t.Ratio > 0:
		q = Ratio(row, results, i, role) / t.Ratio
	}
	switch {
	case q == 0:
		return ""
	case q < 1:
		return fmt.Sprintf("**%.0f %%**", math.Floor(100*q))
	}
	return fmt.Sprintf("%.0f %%", 100*q)
}

// String renders a target as the table shows it.
func (t Target) String() string {
	var s string
	if t.Value > 0 {
		s = figure(t.Value)
	}
	if t.Ratio > 0 {
		if s != "" {
			s += ", "
		}
		s += "≥ " + times(t.Ratio)
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

// Ratio says how many times better subject i of a row did than the best of a
// role, among the peers of those that its target is about; 0: there is none.
func Ratio(row Row, results []Result, i int, role Role) float64 {
	target := row.Subjects[i].Target
	best := 0.0
	for k, s := range row.Subjects {
		counts := role == Ceiling || len(target.Versus) == 0 || slices.ContainsFunc(target.Versus, func(p string) bool { return strings.HasPrefix(s.Name, p) })
		if s.Role != role || !counts || results[k].Err != nil || len(results[k].Values) == 0 {
			continue
		}
		if v := results[k].Median(); best == 0 || (v < best) == row.Lower {
			best = v
		}
	}
	return better(row, results[i].Median(), best)
}

// better says how many times better one figure of a row is than another; 0:
// there is nothing to compare.
func better(row Row, own, other float64) float64 {
	switch {
	case own == 0 || other == 0:
		return 0
	case row.Lower:
		return other / own
	}
	return own / other
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
