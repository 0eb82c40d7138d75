package api

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// listGroups answers ListGroups with the groups that this broker coordinates.
func (s *Server) listGroups(cl *call) {
	req := cl.req.(*kmsg.ListGroupsRequest)
	resp := response[*kmsg.ListGroupsResponse](cl)
	snaps, code := s.backend.Groups.List()
	resp.ErrorCode = int16(code)
	for i := range snaps {
		state := snaps[i].State.String()
		if len(req.StatesFilter) > 0 && !slices.ContainsFunc(req.StatesFilter, func(f string) bool { return strings.EqualFold(f, state) }) {
			continue
		}
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.ProtocolType, g.GroupState = snaps[i].Group, snaps[i].ProtocolType, state
		resp.Groups = append(resp.Groups, g)
	}
	cl.reply(resp)
}
