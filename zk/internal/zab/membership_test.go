package zab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// byID is a place for each id.
func byID(id ServerID) int { return int(id) }

// Quorums by majority and by weight, and what value they have reached.
func TestElectorate(t *testing.T) {
	majority := []Member{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4, Observer: true}, {ID: 5, Observer: true}}
	groups := []Member{
		{ID: 1, Group: 1, Weight: 1},
		{ID: 2, Group: 1, Weight: 1},
		{ID: 3, Group: 1, Weight: 0},
		{ID: 4, Group: 2, Weight: 3},
		{ID: 5, Group: 2, Weight: 1},
		{ID: 6, Group: 3, Weight: 0},
	}
	for _, c := range []struct {
		members []Member
		has     []int
		quorum  bool
	}{
		{majority, []int{1, 2}, true},
		{majority, []int{1, 4, 5}, false},
		{majority, []int{2, 3, 4}, true},
		{majority[:1], []int{1}, true},
		{groups, []int{1, 2, 4}, true},
		{groups, []int{1, 2, 3, 5, 6}, false},
		{groups, []int{4, 5}, false},
		{groups, []int{1, 3, 4}, false},
	} {
		e := newElectorate(&Membership{Members: c.members}, byID)
		in := make(map[int]bool)
		for _, at := range c.has {
			in[at] = true
		}
		require.Equal(t, c.quorum, e.quorum(func(at int) bool { return in[at] }), "%v", c.has)
		want := uint64(0)
		if c.quorum {
			want = 7
		}
		value := func(at int) uint64 {
			if in[at] {
				return 7
			}
			return 0
		}
		require.Equal(t, want, e.rank(value), "%v", c.has)
	}
	e := newElectorate(&Membership{Members: groups}, byID)
	require.Equal(t, uint64(3), e.rank(func(at int) uint64 { return []uint64{0, 9, 3, 9, 5, 9, 9}[at] }))
}

func TestMembershipRefuses(t *testing.T) {
	many := make([]Member, MembersMax+1)
	for i := range many {
		many[i] = Member{ID: ServerID(i + 1), Observer: i > 0}
	}
	for text, members := range map[string][]Member{
		"no participant has a vote":      {{ID: 1, Observer: true}},
		"member 0 is not positive":       {{ID: 0}},
		"member 1 is listed twice":       {{ID: 1}, {ID: 1}},
		"1 of 2 participants are in a g": {{ID: 1, Group: 1, Weight: 1}, {ID: 2}},
		"255 members, more than 254":     many,
		"weight -1 of member 2":          {{ID: 1}, {ID: 2, Weight: -1}},
	} {
		require.ErrorContains(t, (&Membership{Members: members}).Validate(), text)
	}
	require.ErrorContains(t, (&Membership{Members: []Member{{ID: 1, Group: 1}}}).Validate(), "no participant has a vote")
	require.NoError(t, (&Membership{Members: many[:MembersMax]}).Validate())
}

// However many strangers a peer has heard of, a member that it has not is not taken
// for the peer itself.
func TestMemberBehindManyStrangers(t *testing.T) {
	p, err := New(testConfig(1, 3), Recovered{Bootstrap: true})
	require.NoError(t, err)
	for id := ServerID(10); id < 10+2*contactsMax; id++ {
		p.Step(Message{Type: MsgNotification, From: id, To: 1})
	}
	require.Len(t, p.others, contactsMax)
	e := p.electorate(&Membership{Members: []Member{{ID: 1 << 40}}})
	require.False(t, e.votes)
	require.Equal(t, ServerID(1<<40), p.others[e.voters[0].at].id)
}
