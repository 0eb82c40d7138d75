package api

import "github.com/twmb/franz-go/pkg/kmsg"

// deleteGroups answers DeleteGroups.
func (s *Server) deleteGroups(cl *call) {
	req := cl.req.(*kmsg.DeleteGroupsRequest)
	cl.background(func() {
		resp := response[*kmsg.DeleteGroupsResponse](cl)
		for _, name := range req.Groups {
			g := kmsg.NewDeleteGroupsResponseGroup()
			g.Group, g.ErrorCode = name, int16(s.backend.Groups.DeleteGroup(s.ctx, name))
			resp.Groups = append(resp.Groups, g)
		}
		cl.reply(resp)
	})
}
