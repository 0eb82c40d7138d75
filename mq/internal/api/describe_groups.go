package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// describeGroups answers DescribeGroups. A group that does not exist is described as Dead, as Kafka does.
func (s *Server) describeGroups(cl *call) {
	req := cl.req.(*kmsg.DescribeGroupsRequest)
	resp := response[*kmsg.DescribeGroupsResponse](cl)
	for _, name := range req.Groups {
		g := kmsg.NewDescribeGroupsResponseGroup()
		snap, code := s.backend.Groups.Describe(name)
		g.Group, g.ErrorCode = name, int16(code)
		if code == None {
			g.State, g.ProtocolType = snap.State.String(), snap.ProtocolType
			if snap.State == group.Stable || snap.State == group.CompletingRebalance {
				g.Protocol = snap.Protocol
			}
			g.Members = describedMembers(snap)
		}
		resp.Groups = append(resp.Groups, g)
	}
	cl.reply(resp)
}

// describedMembers lists a group's members.
func describedMembers(snap group.Snapshot) []kmsg.DescribeGroupsResponseGroupMember {
	var out []kmsg.DescribeGroupsResponseGroupMember
	for i := range snap.Members {
		m := &snap.Members[i]
		r := kmsg.NewDescribeGroupsResponseGroupMember()
		r.MemberID, r.InstanceID, r.ClientID, r.ClientHost = m.MemberID, optional(m.InstanceID), m.ClientID, m.ClientHost
		r.ProtocolMetadata, r.MemberAssignment = append([]byte{}, m.Metadata...), append([]byte{}, m.Assignment...)
		out = append(out, r)
	}
	return out
}
