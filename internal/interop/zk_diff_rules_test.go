package interop

import "strings"

// A diffRule is a difference that is meant; zk/DESIGN.md has the reasons.
type diffRule struct {
	name  string
	allow func(st *diffStep, ours, theirs string) bool
	// onlyTheirs says that ours have nothing in the place of what theirs said.
	onlyTheirs bool
}

// Not drawn at random, since what comes after them differs, too:
//
//   - createContainerFlagsInMulti: a container created with an ephemeral's flags is
//     no ephemeral when it is there, but later operations of its multi take it for one
//     there.
//   - createSessionOfClient: a client's createSession within its session makes another
//     one there; ours answer -5.
//   - createTTLWithoutTTL: createTTL with flags 0 to 3 and a time of -1 ends the server
//     there.
//   - deleteContainerOfClient: -8 here; there it has what the server's own has.
//   - quotaInMulti: operations of a multi count each other here.
var diffRules = []diffRule{
	{
		// Who may not read a znode does not hear that it has changed, there neither,
		// unless it asks by setWatches.
		name: "setWatchesNeedsRead", onlyTheirs: true,
		allow: func(st *diffStep, _, theirs string) bool {
			return strings.HasPrefix(st.Op, "setWatches") && strings.HasPrefix(theirs, "event ") && strings.HasSuffix(theirs, "zxid -1")
		},
	},
	{
		// An error has no body, but there a multiRead's has an empty one.
		name: "multiReadErrorBody",
		allow: func(st *diffStep, ours, theirs string) bool {
			return st.Op == "multiRead" && strings.HasPrefix(ours, "multiRead: -5") && theirs == ours+" end -1 -1"
		},
	},
	{
		// A null vector is a null pointer there.
		name: "nullACLInMulti",
		allow: func(st *diffStep, ours, theirs string) bool {
			for _, o := range st.Ops {
				if o.NoACL && len(o.ACL) == 0 && strings.HasPrefix(theirs, "multi: -5") {
					return st.Op == "multi" && strings.HasPrefix(ours, "multi: 0")
				}
			}
			return false
		},
	},
	{
		// What is no number, or too large a port, is an exception that nobody has thought of there.
		name: "reconfigNumbers",
		allow: func(st *diffStep, ours, theirs string) bool {
			return st.Op == "reconfig" && strings.HasPrefix(ours, "reconfig: -8 ") && theirs == strings.Replace(ours, "-8", "-5", 1)
		},
	},
}

// diffAllowed finds the rule that allows a difference, if there is one.
func diffAllowed(st *diffStep, ours, theirs string) *diffRule {
	for i, r := range diffRules {
		if r.allow(st, ours, theirs) {
			return &diffRules[i]
		}
	}
	return nil
}
