package zab

import "errors"

// Peer is one server's part in the protocol.
type Peer struct{}

var errUnwritten = errors.New("zab: not built yet")

// New returns a looking peer.
func New(cfg Config, rec Recovered) (*Peer, error) { return nil, errUnwritten }

// Tick tells the peer that one tick has passed.
func (p *Peer) Tick() {}

// Step hands the peer a message that arrived.
func (p *Peer) Step(m Message) {}

// Unreachable says that the connection with id broke or was refused.
func (p *Peer) Unreachable(id ServerID) {}

// Heard says that bytes of a long message (a snapshot) are still moving from or to id, which therefore lives.
func (p *Peer) Heard(id ServerID) {}

// Propose appends data to the history of an established leader.
func (p *Peer) Propose(data []byte) (Zxid, error) { return 0, errUnwritten }

// Barrier asks for a confirmation by a quorum that this peer leads.
func (p *Peer) Barrier(token uint64) error { return errUnwritten }

// Persisted reports the end of a write.
func (p *Peer) Persisted(id WriteID, err error) {}

// SnapshotTaken answers a SnapshotWanted.
func (p *Peer) SnapshotTaken(to ServerID, session uint64, snap Snapshot) {}

// Compact says that a durable local snapshot covers all up to upTo.
func (p *Peer) Compact(upTo Zxid) {}

// Ready returns what is to be done, and whether there is anything.
func (p *Peer) Ready() (Ready, bool) { return Ready{}, false }

// Status returns the peer's state.
func (p *Peer) Status() Status { return Status{} }
