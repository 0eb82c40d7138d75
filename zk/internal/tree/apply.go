package tree

import (
	"slices"

	"github.com/vivarium-go/vivarium/internal/invariant"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// Apply applies a transaction and stores its outcome in res, whose slices it reuses. Whatever the transaction is, Apply returns; a failed
// one changes nothing but Applied. zxid must exceed Applied, which is the caller's duty: zxids are the keys of the log. Apply keeps
// no reference into txn, except that an unsuccessful res.Path is empty and a successful one is the tree's own string. It belongs to the writer.
func (t *Tree) Apply(zxid int64, txn *Txn, res *Result) {
	if zxid <= t.applied {
		invariant.Check(false, "applying zxid %#x after %#x", zxid, t.applied)
	}
	if len(t.ready)+len(t.pending)+len(t.pins) > 0 {
		t.Sweep(sweepPerApply)
	}
	t.zxid = zxid
	*res = Result{Ops: res.Ops[:0], Events: res.Events[:0]}
	switch txn.Kind {
	case KindNone:
	case KindError:
		if res.Err = txn.Code; res.Err == jute.CodeOK {
			res.Err = jute.CodeSystemError
		}
	case KindCreateSession:
		res.Err = t.createSession(txn)
	case KindAttachSession:
		res.Err = t.attachSession(txn)
	case KindCloseSession:
		t.closeSession(txn.Session, res)
	case KindOp:
		res.Err = t.applyOp(txn, &txn.Op, res)
	case KindMulti:
		t.applyMulti(txn, res)
	case KindSetProperty:
		res.Err = t.setProperty(txn)
	default:
		res.Err = jute.CodeUnimplemented
	}
	t.applied = zxid
}

// applyOp applies one operation; what it has to say beside the code goes to res.Path, res.Stat and, appended, res.Events.
func (t *Tree) applyOp(txn *Txn, op *jute.Op, res *Result) jute.Code {
	switch op.Type {
	case jute.OpCreate, jute.OpCreate2, jute.OpCreateContainer, jute.OpCreateTTL:
		return t.create(txn, op, res)
	case jute.OpDelete:
		return t.delete(txn, op, res)
	case jute.OpDeleteContainer:
		return t.deleteContainer(txn, op, res)
	case jute.OpSetData:
		return t.setData(txn, op, res)
	case jute.OpSetACL:
		return t.setACL(txn, op, res)
	case jute.OpCheck:
		return t.check(txn, op)
	}
	return jute.CodeUnimplemented
}

// applyMulti applies all operations or none. Each sees the ones before it. If one fails, the results before it say code 0, its
// own says why, and those after it say CodeRuntimeInconsistency; all have the type error.
func (t *Tree) applyMulti(txn *Txn, res *Result) {
	frozen, digest, stats := t.frozen, t.digest, t.stats
	t.inMulti, t.frozen = true, max(t.frozen, t.zxid-1) // each entry gets a version of its own, to go back from
	failed := -1
	for i := range txn.Ops {
		op := &txn.Ops[i]
		res.Path, res.Stat = "", jute.Stat{}
		if code := t.applyOp(txn, op, res); code != jute.CodeOK {
			res.Ops = append(res.Ops, jute.OpResult{Type: jute.OpError, Err: code})
			failed = i
			break
		}
		res.Ops = append(res.Ops, jute.OpResult{Type: op.Type, Path: res.Path, Stat: res.Stat})
	}
	res.Path, res.Stat = "", jute.Stat{}
	t.inMulti, t.frozen = false, frozen
	t.endQuotas(failed >= 0)
	if failed >= 0 {
		t.rollBack()
		t.digest, t.stats = digest, stats
		res.Failed, res.Events, res.OverQuota = true, res.Events[:0], ""
		for i := range failed {
			res.Ops[i] = jute.OpResult{Type: jute.OpError}
		}
		for range txn.Ops[failed+1:] {
			res.Ops = append(res.Ops, jute.OpResult{Type: jute.OpError, Err: jute.CodeRuntimeInconsistency})
		}
	}
	clear(t.touched)
	t.touched = t.touched[:0]
}

// rollBack takes the versions of the current multi away.
func (t *Tree) rollBack() {
	for _, e := range slices.Backward(t.touched) {
		old := e.head.Load().prev.Load()
		if old == nil {
			t.table.remove(e)
		}
		e.head.Store(old)
	}
}

// checkSession reports whether the caller's session may write.
func (t *Tree) checkSession(txn *Txn) jute.Code {
	if txn.Features&(FeatureInternal|FeatureLocalSession) != 0 || txn.Session == 0 || t.session(txn.Session) != nil {
		return jute.CodeOK
	}
	return jute.CodeSessionExpired
}

// checkACL reports whether the caller has perm under a.
func (t *Tree) checkACL(txn *Txn, a *ACL, perm int32) jute.Code {
	if txn.Features&(FeatureInternal|FeatureSkipACL) != 0 || t.Allowed(a, perm, txn.Auth) {
		return jute.CodeOK
	}
	return jute.CodeNoAuth
}

// nextVersion compares a version with the one a request wants, -1 for any, and returns the one after it, which is never -1.
func nextVersion(current, want int32) (int32, jute.Code) {
	if want != -1 && want != current {
		return 0, jute.CodeBadVersion
	}
	if current == -2 {
		return 0, jute.CodeOK
	}
	return current + 1, jute.CodeOK
}
