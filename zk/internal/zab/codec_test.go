package zab

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenMessages has one message of each type, with all fields that the type uses.
func goldenMessages() []Message {
	z := MakeZxid
	es := []Entry{{Zxid: z(3, 5), Data: []byte("a")}, {Zxid: z(3, 6)}, {Zxid: z(3, 7), Data: []byte("ccc")}}
	const session = 0x0102030405060708
	return []Message{
		{Type: MsgNotification, From: 1, To: 2, Flags: FlagAsk | FlagVoter, Round: 300, Epoch: 3, Vote: Vote{Epoch: 2, Zxid: z(2, 9), Leader: 3}},
		{Type: MsgNotification, From: 3, To: 2, State: Leading, Flags: FlagVoter | FlagEstablished, Round: 1, Epoch: 3, Vote: Vote{Leader: 3}},
		{Type: MsgFollowerInfo, From: 2, To: 3, Session: session, Epoch: 2, Round: 4, Flags: FlagVoter},
		{Type: MsgLeaderInfo, From: 3, To: 2, Session: session, Epoch: 3},
		{
			Type: MsgAckEpoch, From: 2, To: 3, Session: session, Epoch: 3, Flags: FlagPromise, Vote: Vote{Epoch: 2, Zxid: z(2, 9), Leader: 2},
			Prev: z(1, 4), Tails: []Zxid{z(1, 7), z(2, 9)},
		},
		{Type: MsgDiff, From: 3, To: 2, Session: session, Epoch: 3, Zxid: z(2, 9)},
		{Type: MsgTrunc, From: 3, To: 2, Session: session, Epoch: 3, Zxid: z(2, 8)},
		{Type: MsgSnap, From: 3, To: 2, Session: session, Epoch: 3, Zxid: z(2, 8), Prev: z(2, 6)},
		{Type: MsgNewLeader, From: 3, To: 2, Session: session, Epoch: 3, Zxid: z(3, 4)},
		{Type: MsgUpToDate, From: 3, To: 2, Session: session, Epoch: 3, Commit: z(3, 4)},
		{Type: MsgProposal, From: 3, To: 2, Session: session, Epoch: 3, Prev: z(3, 4), Commit: z(3, 3), Entries: es},
		{Type: MsgAck, From: 2, To: 3, Session: session, Epoch: 3, Zxid: z(3, 7)},
		{Type: MsgCommit, From: 3, To: 2, Session: session, Epoch: 3, Commit: z(3, 7)},
		{
			Type: MsgPing, From: 3, To: 2, Session: session, Epoch: 3, Round: 128, Zxid: z(3, 7), Commit: z(3, 6),
			Flags: FlagNewLeader | FlagEstablished,
		},
		{Type: MsgPong, From: 2, To: 3, Session: session, Epoch: 3, Round: 128, Zxid: z(3, 7), Flags: FlagSynced},
		{Type: MsgReset, From: 3, To: 2, Session: session},
	}
}

// TestCodecGolden pins the encoding: a change of it is a new version of the protocol between servers.
func TestCodecGolden(t *testing.T) {
	var got strings.Builder
	for _, m := range goldenMessages() {
		b := AppendMessage(nil, &m)
		fmt.Fprintf(&got, "%s %s\n", m.Type, hex.EncodeToString(b))
		d, err := DecodeMessage(b)
		require.NoError(t, err)
		require.Equal(t, m, d)
		for n := range b {
			_, err := DecodeMessage(b[:n:n])
			require.ErrorIs(t, err, ErrMessage, "%s cut to %d bytes", m.Type, n)
		}
	}
	const file = "testdata/messages.golden"
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String())
}

func TestDecodeMessageRefuses(t *testing.T) {
	valid := AppendMessage(nil, &Message{Type: MsgProposal, From: 3, To: 2, Epoch: 3, Entries: []Entry{{Zxid: 1 << 32, Data: []byte("x")}}})
	for _, c := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"no such type", []byte{99, 0, 0, 0, 1, 2}},
		{"type 0", []byte{0, 0, 0, 0, 1, 2}},
		{"unknown flag", []byte{byte(MsgReset), 0x80, 0, 0, 1, 2}},
		{"unknown state", []byte{byte(MsgReset), 0, 9, 0, 1, 2}},
		{"field that is zero", []byte{byte(MsgReset), 0, 0, hasRound, 1, 2, 0}},
		{"number not in its shortest form", []byte{byte(MsgReset), 0, 0, hasRound, 1, 2, 0x81, 0x00}},
		{"epoch above the greatest", []byte{byte(MsgReset), 0, 0, hasEpoch, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		{"negative zxid", []byte{byte(MsgAck), 0, 0, hasZxid, 1, 2, 0x80, 0, 0, 0, 0, 0, 0, 1}},
		{"count bomb", []byte{byte(MsgProposal), 0, 0, hasList, 1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3}},
		{"data longer than the message", []byte{byte(MsgProposal), 0, 0, hasList, 1, 2, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0x7f}},
		{"too many tails", append([]byte{byte(MsgAckEpoch), 0, 0, hasList, 1, 2, 0x81, 0x01}, make([]byte, 8*129)...)},
		{"bytes after the end", append(valid[:len(valid):len(valid)], 0)},
	} {
		_, err := DecodeMessage(c.b)
		require.ErrorIs(t, err, ErrMessage, c.name)
	}
}

// FuzzDecodeMessage: no panic, bounded allocation (the limits above), and exactly one encoding of every message.
func FuzzDecodeMessage(f *testing.F) {
	for _, m := range goldenMessages() {
		f.Add(AppendMessage(nil, &m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMessage)
			return
		}
		require.Equal(t, b, AppendMessage(nil, &m))
	})
}

// FuzzStep: whatever a server of the ensemble is told, in any state, it does not panic. Seven bytes make an event.
func FuzzStep(f *testing.F) {
	f.Add([]byte("\x01\x01\x01\x01\x01\x01\x01\x02\x02\x02\x02\x02\x02\x02"), byte(3))
	f.Add(bytes.Repeat([]byte{3, 2, 0, 1, 1, 1, 0}, 20), byte(1))
	f.Fuzz(func(t *testing.T, b []byte, n byte) {
		p := newTestPeer(t, 1, 1+2*int(n%3), Recovered{HasEpochs: true, AcceptedEpoch: 2, CurrentEpoch: 2, Entries: testEntries(1, 9)})
		var w *Write
		for ; len(b) >= 7; b = b[7:] {
			fuzzEvent(p, b)
			for rd, ok := p.Ready(); ok; rd, ok = p.Ready() {
				if rd.Persist != nil {
					w = rd.Persist
				}
				for _, s := range rd.SnapshotsWanted {
					p.SnapshotTaken(s.To, s.Session, stateSnap{zxid: p.Status().Delivered})
				}
				if w != nil && b[6]&1 == 0 {
					p.Persisted(w.ID, nil)
					w = nil
				}
			}
		}
	})
}

func fuzzEvent(p *Peer, b []byte) {
	st := p.Status()
	peer := ServerID(2 + b[1]%4)
	epoch := st.AcceptedEpoch - 1 + uint32(b[2]%4)
	zxid := func(b byte) Zxid {
		return []Zxid{0, st.LastZxid, st.Durable, st.Committed, st.WindowBase, st.LastZxid + 1, st.Durable - 1, MakeZxid(epoch, uint32(b>>4))}[b%8]
	}
	m := Message{
		Type: MessageType(b[0] % 16), From: peer, To: 1, State: State(b[1] >> 6), Flags: Flags(b[3]), Round: st.Round + uint64(b[2]>>4) - 2,
		Epoch: epoch, Zxid: zxid(b[4]), Prev: zxid(b[5]), Commit: zxid(b[6]), Vote: Vote{Epoch: epoch, Zxid: zxid(b[4]), Leader: peer},
		Session: uint64(peer),
	}
	switch {
	case m.Type == 0 && b[1] < 200:
		p.Tick()
		return
	case m.Type == 0:
		p.Unreachable(peer)
		return
	case st.State == Following:
		m.From, m.Session = st.Leader, p.fl.session
	}
	switch m.Type {
	case MsgProposal:
		for i := range uint32(b[6] % 4) {
			m.Entries = append(m.Entries, Entry{Zxid: m.Prev + Zxid(1+i)})
		}
	case MsgAckEpoch:
		m.Tails = []Zxid{zxid(b[4]), zxid(b[6])}
	case MsgSnap:
		m.Snapshot = stateSnap{zxid: m.Zxid}
	}
	p.Step(m)
	_, _ = p.Propose(b[:1])
	_ = p.Barrier(uint64(b[0]))
}
