package group_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vivarium-go/vivarium/internal/script"
	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// harness runs one script against one group. Requests are named by the words of the script: "join a" uses token 1, and so on.
type harness struct {
	g     *group.Group
	now   int64
	token group.Token
	names map[group.Token]string
	newID int
	saved group.Snapshot
}

func TestScripts(t *testing.T) {
	t.Parallel()
	script.Walk(t, "testdata", func(t *testing.T, file string) {
		h := &harness{names: map[group.Token]string{}}
		script.Run(t, file, h.run)
	})
}

// run executes one command and prints what the group wants done.
func (h *harness) run(t *testing.T, c *script.Cmd) string {
	var out strings.Builder
	switch c.Name {
	case "new":
		h.g = group.New(group.Config{
			MembersMax: c.IntOr("max", 0), InitialRebalanceDelay: int64(c.IntOr("delay", 0)),
			SessionTimeoutMin: int64(c.IntOr("session-min", 0)), SessionTimeoutMax: int64(c.IntOr("session-max", 0)),
		}, "g", h.now)
	case "restore":
		h.g = group.Restore(group.Config{}, h.saved, h.now)
	case "join":
		h.join(c)
	case "sync":
		h.sync(c)
	case "heartbeat":
		fmt.Fprintln(&out, code(h.g.Heartbeat(str(c, "member", ""), str(c, "instance", ""), int32(c.Int("gen")))))
	case "commit":
		fmt.Fprintln(&out, code(h.g.ValidateCommit(str(c, "member", ""), str(c, "instance", ""), int32(c.Int("gen")))))
	case "leave":
		for _, code16 := range h.g.Leave([]group.Leaver{{MemberID: str(c, "member", ""), InstanceID: str(c, "instance", "")}}) {
			fmt.Fprintln(&out, code(code16))
		}
	case "persisted":
		h.g.Persisted(uint64(c.Int("id")), group.Code(c.IntOr("code", 0)))
	case "tick":
		h.now += int64(c.Int("ms"))
		h.g.Tick(h.now)
	case "fail":
		h.g.Fail(group.NotCoordinator)
	case "delete":
		fmt.Fprintln(&out, code(h.g.Delete()))
	case "state":
		h.state(&out)
	default:
		c.Fatalf("unknown command")
	}
	h.drain(&out)
	return out.String()
}

func (h *harness) name(c *script.Cmd) group.Token {
	h.token++
	h.names[h.token] = c.Positional()[0]
	return h.token
}

func (h *harness) join(c *script.Cmd) {
	j := group.Join{
		Token: h.name(c), MemberID: str(c, "member", ""), InstanceID: str(c, "instance", ""),
		RequireKnownMemberID: c.Has("require-id"), ClientID: "c", ClientHost: "/h",
		SessionTimeout: int64(c.IntOr("session", 10_000)), RebalanceTimeout: int64(c.IntOr("rebalance", 30_000)),
		ProtocolType: str(c, "type", "consumer"),
	}
	if j.MemberID == "" {
		h.newID++
		j.NewMemberID = fmt.Sprintf("m%d", h.newID)
	}
	for p := range strings.SplitSeq(str(c, "protocols", "range"), ",") {
		name, meta, _ := strings.Cut(p, ":")
		j.Protocols = append(j.Protocols, group.Protocol{Name: name, Metadata: []byte(meta)})
	}
	h.g.Join(j)
}

func (h *harness) sync(c *script.Cmd) {
	s := group.Sync{
		Token: h.name(c), MemberID: str(c, "member", ""), InstanceID: str(c, "instance", ""), Generation: int32(c.Int("gen")),
		Protocol: str(c, "protocol", ""),
	}
	if a := str(c, "assign", ""); a != "" {
		for one := range strings.SplitSeq(a, ",") {
			id, data, _ := strings.Cut(one, ":")
			s.Assignments = append(s.Assignments, group.Assignment{MemberID: id, Data: []byte(data)})
		}
	}
	h.g.Sync(s)
}

func (h *harness) state(out *strings.Builder) {
	s := h.g.Snapshot()
	fmt.Fprintf(out, "%s gen=%d protocol=%q leader=%q\n", s.State, s.Generation, s.Protocol, s.Leader)
	for _, m := range s.Members {
		fmt.Fprintf(out, "  %s instance=%q assignment=%q\n", m.MemberID, m.InstanceID, m.Assignment)
	}
}

func (h *harness) drain(out *strings.Builder) {
	for rd, ok := h.g.Ready(); ok; rd, ok = h.g.Ready() {
		for _, r := range rd.Joins {
			fmt.Fprintf(out, "join %s: %s", h.names[r.Token], code(r.Code))
			if r.Code == group.None {
				fmt.Fprintf(out, " gen=%d protocol=%s leader=%s", r.Generation, r.Protocol, r.Leader)
			}
			fmt.Fprintf(out, " member=%s", r.MemberID)
			for _, m := range r.Members {
				fmt.Fprintf(out, " [%s %s]", m.MemberID, m.Metadata)
			}
			out.WriteByte('\n')
		}
		for _, r := range rd.Syncs {
			fmt.Fprintf(out, "sync %s: %s %q\n", h.names[r.Token], code(r.Code), r.Assignment)
		}
		if p := rd.Persist; p != nil {
			h.saved = p.Snapshot
			fmt.Fprintf(out, "persist id=%d gen=%d members=%d\n", p.ID, p.Snapshot.Generation, len(p.Snapshot.Members))
		}
	}
}

// str is an optional argument.
func str(c *script.Cmd, name, or string) string {
	if v, ok := c.Lookup(name); ok {
		return v
	}
	return or
}

func code(c group.Code) string {
	names := map[group.Code]string{
		group.None: "ok", group.CoordinatorNotAvailable: "COORDINATOR_NOT_AVAILABLE", group.NotCoordinator: "NOT_COORDINATOR",
		group.IllegalGeneration: "ILLEGAL_GENERATION", group.InconsistentGroupProtocol: "INCONSISTENT_GROUP_PROTOCOL",
		group.UnknownMemberID: "UNKNOWN_MEMBER_ID", group.InvalidSessionTimeout: "INVALID_SESSION_TIMEOUT",
		group.RebalanceInProgress: "REBALANCE_IN_PROGRESS", group.NonEmptyGroup: "NON_EMPTY_GROUP",
		group.MemberIDRequired: "MEMBER_ID_REQUIRED", group.GroupMaxSizeReached: "GROUP_MAX_SIZE_REACHED",
		group.FencedInstanceID: "FENCED_INSTANCE_ID",
	}
	return names[c]
}
