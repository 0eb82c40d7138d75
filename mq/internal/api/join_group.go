package api

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/group"
)

// text is the string behind p, or empty.
func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// optional is p for a text, nil for an empty one.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// joinGroup answers JoinGroup when the group's rebalance is complete.
func (s *Server) joinGroup(cl *call) {
	req := cl.req.(*kmsg.JoinGroupRequest)
	if req.Group == "" {
		cl.joinReply(group.JoinReply{Code: group.Code(InvalidGroupID), Generation: -1, MemberID: req.MemberID})
		return
	}
	j := group.Join{
		MemberID: req.MemberID, InstanceID: text(req.InstanceID), RequireKnownMemberID: cl.version >= 4,
		ClientID: cl.clientID, ClientHost: "/" + cl.c.host,
		SessionTimeout: int64(req.SessionTimeoutMillis), RebalanceTimeout: int64(req.RebalanceTimeoutMillis),
		ProtocolType: req.ProtocolType, Protocols: make([]group.Protocol, len(req.Protocols)),
	}
	for i := range req.Protocols {
		j.Protocols[i] = group.Protocol{Name: req.Protocols[i].Name, Metadata: bytes.Clone(req.Protocols[i].Metadata)}
	}
	if j.MemberID == "" {
		j.NewMemberID = s.backend.Members.NewMemberID(cl.clientID)
	}
	cl.inline = false
	s.backend.Members.Join(req.Group, j, cl.joinReply)
}

// joinReply answers with what became of a join.
func (cl *call) joinReply(r group.JoinReply) {
	resp := response[*kmsg.JoinGroupResponse](cl)
	resp.ErrorCode, resp.Generation, resp.LeaderID, resp.MemberID = int16(r.Code), r.Generation, r.Leader, r.MemberID
	resp.ProtocolType = optional(r.ProtocolType)
	resp.Protocol = optional(r.Protocol)
	if resp.Protocol == nil && cl.version < 7 {
		resp.Protocol = new(string)
	}
	for _, m := range r.Members {
		out := kmsg.NewJoinGroupResponseMember()
		out.MemberID, out.InstanceID, out.ProtocolMetadata = m.MemberID, optional(m.InstanceID), m.Metadata
		resp.Members = append(resp.Members, out)
	}
	cl.reply(resp)
}
