package api

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// syncGroup answers SyncGroup when the leader's assignment is replicated.
func (s *Server) syncGroup(cl *call) {
	req := cl.req.(*kmsg.SyncGroupRequest)
	sy := group.Sync{
		MemberID: req.MemberID, InstanceID: text(req.InstanceID), Generation: req.Generation,
		ProtocolType: text(req.ProtocolType), Protocol: text(req.Protocol),
	}
	for i := range req.GroupAssignment {
		a := &req.GroupAssignment[i]
		sy.Assignments = append(sy.Assignments, group.Assignment{MemberID: a.MemberID, Data: bytes.Clone(a.MemberAssignment)})
	}
	cl.inline = false
	s.backend.Members.Sync(req.Group, sy, func(r group.SyncReply) {
		resp := response[*kmsg.SyncGroupResponse](cl)
		resp.ErrorCode, resp.MemberAssignment = int16(r.Code), r.Assignment
		resp.ProtocolType, resp.Protocol = optional(r.ProtocolType), optional(r.Protocol)
		if resp.MemberAssignment == nil {
			resp.MemberAssignment = []byte{}
		}
		cl.reply(resp)
	})
}
