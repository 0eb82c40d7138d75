package tree

import (
	"bytes"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// createSession adds a session, or changes the timeout and the owner of one.
func (t *Tree) createSession(txn *Txn) jute.Code {
	if txn.Session == 0 {
		return jute.CodeBadArguments
	}
	if t.attachSession(txn) == jute.CodeOK {
		return jute.CodeOK
	}
	timeout := int64(max(txn.Timeout, 0))
	var b [9]byte
	e := t.table.find(string(sessionPath(&b, txn.Session)))
	if e == nil {
		e = t.newEntry(string(b[:]))
	}
	t.plant(e, &version{znode: znode{kind: kindSession, owner: timeout, aver: int32(txn.Owner), czxid: t.zxid, ctime: txn.Time}})
	return jute.CodeOK
}

// attachSession changes the timeout and the owner of a session.
func (t *Tree) attachSession(txn *Txn) jute.Code {
	e := t.session(txn.Session)
	if e == nil {
		return jute.CodeSessionExpired
	}
	v := t.writable(e)
	v.owner, v.aver = int64(max(txn.Timeout, 0)), int32(txn.Owner)
	t.resum(e, v)
	return jute.CodeOK
}

// closeSession removes a session, which need not exist, and its ephemerals, in the order of their paths.
func (t *Tree) closeSession(id int64, res *Result) {
	e := t.session(id)
	if e == nil {
		return
	}
	doomed := e.head.Load().kids.after(t.doomed[:0], nil, e.head.Load().kids.len()+1)
	for _, d := range doomed {
		t.deleteNode(d, d.head.Load(), res)
	}
	clear(doomed)
	t.doomed = doomed[:0]
	t.uproot(e)
}

// setProperty sets or, with nil, removes a property.
func (t *Tree) setProperty(txn *Txn) jute.Code {
	if txn.Name == "" {
		return jute.CodeBadArguments
	}
	key := propertiesRoot + txn.Name
	e := t.table.find(key)
	v := e.live()
	switch {
	case txn.Value == nil && v != nil:
		t.uproot(e)
	case txn.Value == nil:
	case v == nil:
		if e == nil {
			e = t.newEntry(key)
		}
		t.plant(e, &version{znode: znode{kind: kindProperty, data: bytes.Clone(txn.Value), mzxid: t.zxid}})
	default:
		v = t.writable(e)
		v.data = bytes.Clone(txn.Value)
		v.dataSum, v.mzxid = hashData(v.data), t.zxid
		t.resum(e, v)
	}
	return jute.CodeOK
}
