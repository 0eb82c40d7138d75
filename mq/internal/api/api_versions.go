package api

import "github.com/twmb/franz-go/pkg/kmsg"

// apiVersions answers ApiVersions. Its response header is always version 0, and a version that is not served gets the version 0
// body with an error and the list, so that a client from the future can settle for less (KIP-511).
func (cl *call) apiVersions(body []byte) error {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ApiKeys = apiVersionsKeys()
	if !cl.api.serves(cl.version) {
		resp.ErrorCode = int16(UnsupportedVersion)
		cl.version = 0
		cl.reply(resp)
		return nil
	}
	if err := cl.decode(body); err != nil {
		return err
	}
	cl.reply(resp)
	return nil
}
