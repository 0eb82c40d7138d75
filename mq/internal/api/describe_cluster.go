package api

import "github.com/twmb/franz-go/pkg/kmsg"

// describeCluster answers DescribeCluster from the broker's image.
func (s *Server) describeCluster(cl *call) {
	resp := response[*kmsg.DescribeClusterResponse](cl)
	img := s.backend.Metadata.Image()
	resp.ClusterID, resp.ControllerID = img.ClusterID, img.Controller
	for _, id := range img.BrokerIDs() {
		b, ok := brokerFor(img.Brokers[id], cl.c.listener)
		if !ok {
			continue
		}
		r := kmsg.NewDescribeClusterResponseBroker()
		r.NodeID, r.Host, r.Port, r.Rack = b.NodeID, b.Host, b.Port, b.Rack
		resp.Brokers = append(resp.Brokers, r)
	}
	cl.reply(resp)
}
