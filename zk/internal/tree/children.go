package tree

import (
	"slices"
	"strings"

	"github.com/google/btree"
)

// childSet is an ordered set of entries, by path: children of one parent, whose paths begin alike, or the ephemerals of a
// session. Few are a sorted slice, many a B-tree, whose clone costs O(1). The zero value is empty.
//
// A set that a visible version holds is never changed; the writer changes a clone.
type childSet struct {
	few  []*entry
	many *btree.BTreeG[*entry] // nil: few counts
}

const (
	fewChildrenMax = 24 // beyond it a set becomes a B-tree
	btreeDegree    = 16
)

func lessEntry(a, b *entry) bool          { return a.path < b.path }
func compareEntry(a *entry, p string) int { return strings.Compare(a.path, p) }

func (c *childSet) len() int {
	switch {
	case c == nil:
		return 0
	case c.many != nil:
		return c.many.Len()
	}
	return len(c.few)
}

// clone returns a set that may be changed while c stays as it is.
func (c *childSet) clone() *childSet {
	switch {
	case c == nil:
		return &childSet{}
	case c.many != nil:
		return &childSet{many: c.many.Clone()}
	}
	few := make([]*entry, len(c.few), len(c.few)+2)
	copy(few, c.few)
	return &childSet{few: few}
}

func (c *childSet) insert(e *entry) {
	if c.many != nil {
		c.many.ReplaceOrInsert(e)
		return
	}
	i, found := slices.BinarySearchFunc(c.few, e.path, compareEntry)
	if found {
		c.few[i] = e
		return
	}
	if len(c.few) < fewChildrenMax {
		c.few = slices.Insert(c.few, i, e)
		return
	}
	c.many = btree.NewG(btreeDegree, lessEntry)
	for _, o := range c.few {
		c.many.ReplaceOrInsert(o)
	}
	c.many.ReplaceOrInsert(e)
	c.few = nil
}

func (c *childSet) remove(e *entry) {
	if c.many != nil {
		c.many.Delete(e)
		if c.many.Len() == 0 {
			c.many = nil
		}
		return
	}
	if i, found := slices.BinarySearchFunc(c.few, e.path, compareEntry); found {
		c.few = slices.Delete(c.few, i, i+1)
	}
}

// each calls f for the entries in order until it returns false.
func (c *childSet) each(f func(*entry) bool) {
	switch {
	case c == nil:
	case c.many != nil:
		c.many.Ascend(f)
	default:
		for _, e := range c.few {
			if !f(e) {
				return
			}
		}
	}
}

// after appends to dst up to n entries that follow last, all from the first if last is nil.
func (c *childSet) after(dst []*entry, last *entry, n int) []*entry {
	take := func(e *entry) bool {
		if e != last {
			dst = append(dst, e)
			n--
		}
		return n > 0
	}
	switch {
	case c == nil:
	case c.many != nil && last != nil:
		c.many.AscendGreaterOrEqual(last, take)
	case last == nil:
		c.each(take)
	default:
		i, _ := slices.BinarySearchFunc(c.few, last.path, compareEntry)
		for ; i < len(c.few) && take(c.few[i]); i++ {
		}
	}
	return dst
}
