// Package api is a broker's face: the connections, the frames, and one file for each Kafka API from request to handler.
//
// # Connections
//
// Server.Serve accepts connections. Each has a goroutine that reads: it takes one frame after the other, never allocating more
// than has arrived for a frame below the limit, decodes it and calls the API's handler. Handlers answer through their call, at
// once or later from any goroutine; answers leave in the order of the requests. So a client may pipeline: an acks=all produce
// waits for its followers while the next one is already being appended. A fetch that waits for data is cut short when another
// request arrives behind it, so nothing ever waits for a long poll.
//
// A second goroutine per connection writes answers that were completed by others; those completed by the reading goroutine
// itself, with nothing before them, are written by it directly.
//
// # Buffers
//
// A frame's buffer belongs to its connection and is reused for the next frame: what a handler keeps beyond its return must be
// copied. Requests other than Produce and Fetch are decoded into copies. Response buffers are pooled, and belong to the call
// until written.
//
// # Limits
//
// Config names them all. A frame longer than allowed for its API, an unknown API, a malformed body: the connection is closed
// with one log line, and no other connection notices. A version out of range of ApiVersions is answered as KIP-511 says.
package api
