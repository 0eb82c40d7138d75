package zk

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// anyVersion in a reconfiguration: whatever configuration is in force.
const anyVersion = -1

// mustWait says whether a proposal is possible later.
func mustWait(err error) bool {
	return errors.Is(err, zab.ErrFull) || errors.Is(err, zab.ErrRollover) || errors.Is(err, zab.ErrReconfig)
}

// reconfig hands a client's wish for another configuration to the leader.
func (q *requestReader) reconfig(h *jute.RequestHeader, body *jute.Reader) error {
	c := q.c
	raw := slices.Clone(body.Rest())
	r := jute.NewReader(raw)
	var req jute.ReconfigRequest
	req.Decode(&r)
	switch {
	case r.Err() != nil:
		return q.answer(h, jute.CodeMarshallingError)
	case !c.s.cfg.ReconfigEnabled:
		return q.answer(h, jute.CodeReconfigDisabled)
	case c.s.standalone():
		return q.answer(h, jute.CodeUnimplemented)
	}
	op := &operation{xid: h.Xid, op: h.Op, at: q.tally.at}
	if !q.acquire(op, len(raw)) {
		return errClosing
	}
	if !c.enqueue(op) {
		return errClosing
	}
	txn := tree.Txn{Kind: tree.KindSetProperty, Session: c.session, Auth: c.identity(), Name: "reconfig", Value: raw}
	q.pending = append(q.pending, event{kind: eventSubmission, submission: &submission{
		kind: workReconfig, session: c.session, txn: tree.AppendTxn(nil, &txn), conn: c, op: op,
	}})
	return nil
}

var errClosing = errors.New("zk: connection is closing")

// standalone says whether this server is no ensemble, and cannot become one.
func (s *Server) standalone() bool { return s.cfg.standalone() }

func (c *Config) standalone() bool {
	return len(c.Servers) == 1 && (c.Standalone || !c.ReconfigEnabled)
}

// admitReconfig decides about a change of the configuration, once all that was
// proposed is applied here, so that nothing that is on its way can change the
// answer. It returns false if that is not so yet.
func (s *Server) admitReconfig(from zab.ServerID, w *peerWork) bool {
	if s.applied < s.peer.Status().LastZxid {
		return false
	}
	m, code := s.decideReconfig(w)
	if code == jute.CodeOK {
		err := s.proposeMembership(m, envelope{Origin: from, Seq: w.Seq}, s.cfg.ReconfigEnabled)
		switch {
		case err == nil, errors.Is(err, zab.ErrNotLeader):
			return true
		case mustWait(err):
			return false
		}
		s.log.Warn("reconfiguration refused", "err", err)
		code = jute.CodeSystemError
	}
	e := envelope{Origin: from, Seq: w.Seq, DigestZxid: s.applied, Digest: s.tree.Load().Digest()}
	txn := tree.Txn{Kind: tree.KindError, Time: s.leaderTime(), Code: code}
	_, err := s.peer.Propose(tree.AppendTxn(appendEnvelope(nil, e), &txn))
	return !mustWait(err)
}

// decideReconfig returns the configuration that a request asks for. Its checks
// and their order are those of ZooKeeper's PrepRequestProcessor.
func (s *Server) decideReconfig(w *peerWork) (*Membership, jute.Code) {
	var txn tree.Txn
	var req jute.ReconfigRequest
	err := tree.DecodeTxn(w.Data, &txn)
	if err == nil {
		r := jute.NewReader(txn.Value)
		req.Decode(&r)
		err = r.Err()
	}
	active, pending := s.active.Load(), s.peer.Memberships().Pending
	switch {
	case err != nil:
		return nil, jute.CodeMarshallingError
	case !s.cfg.ReconfigEnabled:
		return nil, jute.CodeReconfigDisabled
	case pending != nil:
		return nil, jute.CodeReconfigInProgress
	case req.ConfigVersion != anyVersion && req.ConfigVersion != active.Version:
		return nil, jute.CodeBadVersion
	}
	m, err := active.changed(&req)
	if err == nil && (m.participants() < 1 || s.cfg.Standalone && m.participants() < 2) {
		err = fmt.Errorf("zk: a configuration with %d participants", m.participants())
	}
	if err == nil {
		err = errors.Join(m.checkAddresses(), m.zab().Validate())
	}
	if err != nil {
		s.log.Warn("reconfiguration refused", "err", err)
		return nil, jute.CodeBadArguments
	}
	if err := s.peer.CheckMembership(m.zab()); errors.Is(err, zab.ErrNoQuorum) {
		return nil, jute.CodeNewConfigNoQuorum
	}
	n, _ := s.tree.Load().Lookup(tree.ConfigPath)
	if !s.cfg.SkipACL && !s.tree.Load().Allowed(n.ACL(), jute.PermWrite, txn.Auth) {
		return nil, jute.CodeNoAuth
	}
	return m, jute.CodeOK
}

// changed applies a request to a configuration.
func (m *Membership) changed(req *jute.ReconfigRequest) (*Membership, error) {
	if req.Members != nil {
		next, err := ParseMembership(*req.Members)
		return &next, err
	}
	servers := make(map[int64]ServerSpec)
	for _, s := range m.Servers {
		if s.Group != 0 {
			return nil, errors.New("zk: quorums are hierarchical: only a whole list of members can replace them")
		}
		servers[s.ID] = s
	}
	for leaving := range strings.SplitSeq(*cmp.Or(req.Leaving, new(string)), ",") {
		if leaving == "" {
			continue
		}
		id, err := strconv.ParseInt(strings.TrimSpace(leaving), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("zk: leaving server: %w", err)
		}
		delete(servers, id)
	}
	for joining := range strings.SplitSeq(*cmp.Or(req.Joining, new(string)), ",") {
		if joining == "" {
			continue
		}
		key, value, ok := strings.Cut(joining, "=")
		key = strings.TrimSpace(key)
		id, err := strconv.ParseInt(key[strings.LastIndexByte(key, '.')+1:], 10, 64) // "4=" will do, as there
		if !ok || err != nil {
			return nil, fmt.Errorf("zk: joining server %.100q is not server.N=host:port:port;port", joining)
		}
		spec, err := ParseServerSpec(id, value)
		if err == nil && spec.Client == "" {
			err = errors.New("no client port")
		}
		if err != nil {
			return nil, fmt.Errorf("zk: joining server %d: %w", id, err)
		}
		servers[id] = spec
	}
	next := &Membership{}
	for _, id := range slices.Sorted(maps.Keys(servers)) {
		next.Servers = append(next.Servers, servers[id])
	}
	return next, nil
}

// proposeMembership proposes a configuration, whose version is the zxid that it
// gets, or with counts unset one that is only there to be read.
func (s *Server) proposeMembership(m *Membership, e envelope, counts bool) error {
	z := s.peer.NextZxid()
	m.Version = 0
	if counts {
		m.Version = int64(z)
	}
	txn := tree.Txn{
		Kind: tree.KindOp, Features: tree.FeatureInternal, Time: s.leaderTime(),
		Op: jute.Op{Type: jute.OpSetData, Path: tree.ConfigPath, Data: []byte(m.String()), Version: -1},
	}
	e.DigestZxid, e.Digest = s.applied, s.tree.Load().Digest()
	if !counts {
		_, err := s.peer.Propose(tree.AppendTxn(appendEnvelope(nil, e), &txn))
		return err
	}
	_, err := s.peer.ProposeMembership(tree.AppendTxn(appendEnvelopeVersion(nil, entryVersionConfig, e), &txn))
	return err
}

// ensureMembership puts the configuration that this ensemble was started with
// into a history that has none: from then on the history decides. Where
// configurations do not change at run time it is there to be read.
func (s *Server) ensureMembership() {
	m := *s.active.Load()
	if s.cfg.ReconfigEnabled && m.Version != 0 || s.standalone() {
		return
	}
	n, _ := s.tree.Load().Lookup(tree.ConfigPath)
	if !s.cfg.ReconfigEnabled && n.Exists() && string(n.Data()) == m.String() {
		return
	}
	if err := s.proposeMembership(&m, envelope{Origin: zab.ServerID(s.cfg.ID)}, s.cfg.ReconfigEnabled); err != nil {
		s.log.Warn("configuration not proposed", "err", err)
	}
}

// proveMembership follows a configuration with an empty transaction, which tells
// every later leader that it was committed.
func (s *Server) proveMembership() {
	if s.lead == nil || !s.peer.Unproven() {
		return
	}
	data := appendEnvelope(nil, envelope{Origin: zab.ServerID(s.cfg.ID)})
	txn := tree.Txn{Kind: tree.KindNone, Time: s.leaderTime()}
	if _, err := s.peer.Propose(tree.AppendTxn(data, &txn)); err != nil && !mustWait(err) {
		s.log.Warn("configuration not proved", "err", err)
	}
}

// heldReply is the answer to a reconfiguration. It waits for the next entry: only
// then the servers that were left behind may be stopped.
type heldReply struct {
	conn  *conn
	op    *operation
	frame []byte
}

func (s *Server) holdReply(r *submission, z zab.Zxid) {
	header := jute.ReplyHeader{Xid: r.op.xid, Zxid: int64(z), Err: s.res.Err}
	frame := header.Append(jute.BeginFrame(nil))
	frame = s.res.Stat.Append(jute.AppendBuffer(frame, s.txn.Op.Data))
	s.held = append(s.held, heldReply{conn: r.conn, op: r.op, frame: jute.EndFrame(frame, 0)})
}

// releaseReplies answers the reconfigurations before an entry that was applied.
func (s *Server) releaseReplies() {
	for i := range s.held {
		h := &s.held[i]
		from := len(s.batch.frames)
		s.batch.frames = append(s.batch.frames, h.frame...)
		s.batch.done = append(s.batch.done, completion{conn: h.conn, op: h.op, from: from, to: len(s.batch.frames)})
	}
	clear(s.held)
	s.held = s.held[:0]
}
