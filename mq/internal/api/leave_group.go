package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// leaveGroup answers LeaveGroup. Before version 3 one member leaves, and its error is the response's.
func (s *Server) leaveGroup(cl *call) {
	req := cl.req.(*kmsg.LeaveGroupRequest)
	resp := response[*kmsg.LeaveGroupResponse](cl)
	var leavers []group.Leaver
	if cl.version < 3 {
		leavers = []group.Leaver{{MemberID: req.MemberID}}
	}
	for i := range req.Members {
		leavers = append(leavers, group.Leaver{MemberID: req.Members[i].MemberID, InstanceID: text(req.Members[i].InstanceID)})
	}
	code, codes := s.backend.Members.Leave(req.Group, leavers)
	resp.ErrorCode = int16(code)
	if cl.version < 3 && code == None {
		resp.ErrorCode = int16(codes[0])
	}
	if cl.version >= 3 && code == None {
		for i, l := range leavers {
			m := kmsg.NewLeaveGroupResponseMember()
			m.MemberID, m.InstanceID, m.ErrorCode = l.MemberID, optional(l.InstanceID), int16(codes[i])
			resp.Members = append(resp.Members, m)
		}
	}
	cl.reply(resp)
}
