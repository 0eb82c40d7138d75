package tree

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

// FuzzTxn decodes transactions: no panic, and what decodes encodes to what decodes the same.
func FuzzTxn(f *testing.F) {
	g := &generator{rng: rand.New(rand.NewPCG(1, 1))}
	for range 50 {
		f.Add(AppendTxn(nil, g.txn()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var txn, again Txn
		if DecodeTxn(b, &txn) != nil {
			return
		}
		first := AppendTxn(nil, &txn)
		require.NoError(t, DecodeTxn(first, &again))
		require.Equal(t, first, AppendTxn(nil, &again))
	})
}

// FuzzApply is R6: whatever decodes applies, to any tree, the same way on two servers, and the digest is the contents'.
func FuzzApply(f *testing.F) {
	for seed := range uint64(20) {
		g := &generator{rng: rand.New(rand.NewPCG(seed, 1))}
		var b []byte
		for range 30 {
			one := AppendTxn(nil, g.txn())
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(one))), one...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		one, two := New(Config{}), New(Config{})
		var txn Txn
		var res, res2 Result
		zxid := int64(0)
		for len(b) >= 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			if DecodeTxn(b[2:2+n], &txn) == nil {
				zxid++
				one.Apply(zxid, &txn, &res)
				two.Apply(zxid, &txn, &res2)
				two.Publish(zxid)
				require.Equal(t, plain(res), plain(res2))
				require.Equal(t, one.Digest(), two.Digest())
			}
			b = b[2+n:]
		}
		snap := encode(one.Snapshot(), 1)
		require.Equal(t, snap, encode(two.Snapshot(), 1))
		require.Equal(t, one.Digest(), load(t, snap).Digest())
	})
}

// FuzzLoad loads damaged snapshots: no panic, no more memory than the input is worth, and whatever loads is a proper tree. The checksums
// are made right, so that the records behind them are reached.
func FuzzLoad(f *testing.F) {
	for seed := range uint64(10) {
		g := &generator{rng: rand.New(rand.NewPCG(seed, 1))}
		tr := New(Config{})
		var res Result
		for z := range int64(60) {
			tr.Apply(z+1, g.txn(), &res)
		}
		f.Add(encode(tr.Snapshot(), 1), uint8(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte, split uint8) {
		loadAnything(t, b, int(split))
		mend(b)
		loadAnything(t, b, int(split))
	})
}

func loadAnything(t *testing.T, b []byte, split int) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l := NewLoader(Config{})
	for rest := b; len(rest) > 0; {
		n := min(len(rest), split*7+1)
		if _, err := l.Write(rest[:n]); err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			_, again := l.Write(rest)
			require.Equal(t, err, again)
			break
		}
		rest = rest[n:]
	}
	tr, err := l.Finish()
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20+300*len(b)))
	if err != nil {
		require.ErrorIs(t, err, ErrCorrupt)
		return
	}
	again := load(t, encode(tr.Snapshot(), 1))
	require.Equal(t, tr.Digest(), again.Digest())
	g := &generator{rng: rand.New(rand.NewPCG(1, 1))}
	var res Result
	for range 20 {
		if tr.Applied() == 1<<63-1 {
			return
		}
		tr.Apply(tr.Applied()+1, g.txn(), &res)
	}
}

// mend makes the checksums of a snapshot right, as far as its lengths are, and its digest what a failed load says it is.
func mend(b []byte) {
	if len(b) < headerSize {
		return
	}
	rest := b[headerSize:]
	for i := uint32(0); len(rest) >= chunkHeader; i++ {
		n := int(binary.BigEndian.Uint32(rest))
		if n > len(rest)-chunkHeader {
			n = len(rest) - chunkHeader
			binary.BigEndian.PutUint32(rest, uint32(n))
		}
		binary.BigEndian.PutUint32(rest[4:], chunkSum(i, rest[chunkHeader:chunkHeader+n]))
		rest = rest[chunkHeader+n:]
	}
	seal := func() {
		copy(b, snapshotMagic)
		b[len(snapshotMagic)] &= 0x7f // no negative zxid
		binary.BigEndian.PutUint32(b[headerSize-4:], crc32.Checksum(b[:headerSize-4], castagnoli))
	}
	seal()
	l := NewLoader(Config{})
	if _, err := l.Write(b); err == nil {
		binary.BigEndian.PutUint64(b[len(snapshotMagic)+8:], l.t.digest)
		seal()
	}
}

// TestLoadRefusesDamage flips every bit of a snapshot, cuts it anywhere, and repeats and drops chunks.
func TestLoadRefusesDamage(t *testing.T) {
	tr, _ := grown(t, 60)
	good := encode(tr.Snapshot(), 1)
	try := func(b []byte) error {
		l := NewLoader(Config{})
		if _, err := l.Write(b); err != nil {
			return err
		}
		_, err := l.Finish()
		return err
	}
	require.NoError(t, try(good))
	bad := make([]byte, len(good))
	for i := range good {
		copy(bad, good)
		bad[i] ^= 1 << (i % 8)
		require.ErrorIs(t, try(bad), ErrCorrupt, "bit flipped in byte %d", i)
	}
	for i := 0; i < len(good); i += 37 {
		require.ErrorIs(t, try(good[:i]), ErrCorrupt, "cut at %d", i)
	}
	require.ErrorIs(t, try(append(good[:len(good):len(good)], 0)), ErrCorrupt)
	copy(bad, good)
	bad[len(snapshotMagic)+8] ^= 1 // another digest, under right checksums
	binary.BigEndian.PutUint32(bad[headerSize-4:], crc32.Checksum(bad[:headerSize-4], castagnoli))
	require.ErrorContains(t, try(bad), "digest")
	first := headerSize + chunkHeader + int(binary.BigEndian.Uint32(good[headerSize:]))
	require.Less(t, first, len(good), "more than one chunk")
	require.ErrorIs(t, try(append(good[:first:first], good[headerSize:]...)), ErrCorrupt, "a chunk twice")
	require.ErrorIs(t, try(append(good[:headerSize:headerSize], good[first:]...)), ErrCorrupt, "a chunk less")
}

// TestLoadRefusesImpossibleTrees writes records that no tree makes.
func TestLoadRefusesImpossibleTrees(t *testing.T) {
	znode := func(path string, kind nodeKind, owner int64) []byte {
		s := &Snapshot{}
		return s.appendZnode(nil, path, &version{znode: znode{acl: openACL, kind: kind, owner: owner}})
	}
	session := append([]byte("S\x00\x00\x00\x00\x00\x00\x00\x01"), 0, 0, 0)
	root := znode("/", 0, 0)
	for name, records := range map[string][][]byte{
		"no parent":               {znode("/a", 0, 0)},
		"no grandparent":          {root, znode("/a/b", 0, 0)},
		"bad path":                {root, znode("/a/", 0, 0)},
		"unknown kind":            {root, znode("/a", kindSession, 0)},
		"unknown session":         {root, znode("/a", kindEphemeral, 1)},
		"owner of nothing":        {root, znode("/a", kindPersistent, 1)},
		"TTL 0":                   {root, znode("/a", kindTTL, 0)},
		"child of an ephemeral":   {session, root, znode("/a", kindEphemeral, 1), znode("/a/b", 0, 0)},
		"twice":                   {root, znode("/a", 0, 0), znode("/a", 0, 0)},
		"session twice":           {session, session},
		"session 0":               {append([]byte("S\x00\x00\x00\x00\x00\x00\x00\x00"), 0, 0, 0)},
		"property without name":   {{'P', 0, 1, 0}},
		"property without value":  {{'P', 1, 'p', 0, 0}},
		"repeated list, but none": {{'N', 0, 1, '/', 0, 1}},
		"empty list":              {{'N', 0, 1, '/', 0, 1 + 0}},
		"shared with nothing":     {{'N', 1, 1, 'a'}},
		"unknown record":          {{'X'}},
		"wrong counts":            {root, {'E', 0, 0, 2}},
		"after the end":           {root, {'E', 0, 0, 1}, root},
		"no special znodes":       {root, {'E', 0, 0, 1}},
	} {
		b := append([]byte(snapshotMagic), make([]byte, 20)...)
		b = append(b, make([]byte, chunkHeader)...)
		for _, r := range records {
			b = append(b, r...)
		}
		binary.BigEndian.PutUint32(b[headerSize:], uint32(len(b)-headerSize-chunkHeader))
		mend(b)
		l := NewLoader(Config{})
		_, err := l.Write(b)
		if err == nil {
			_, err = l.Finish()
		}
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}

// TestTxnErrors: what is wrong with a transaction's bytes is said.
func TestTxnErrors(t *testing.T) {
	var txn Txn
	good := AppendTxn(nil, &Txn{Kind: KindOp, Op: jute.Op{Type: jute.OpCreate, Path: "/a", Data: []byte("d"), ACL: jute.OpenACL()}})
	require.NoError(t, DecodeTxn(good, &txn))
	for cut := range good {
		require.ErrorIs(t, DecodeTxn(good[:cut], &txn), ErrMalformed, cut)
	}
	require.ErrorIs(t, DecodeTxn(append(good[:len(good):len(good)], 0), &txn), ErrMalformed)
	next := append([]byte{}, good...)
	next[0] = ApplyVersion + 1
	require.ErrorIs(t, DecodeTxn(next, &txn), ErrUnknownVersion)
	bomb := append([]byte{1, byte(KindMulti), 0}, make([]byte, 17)...)
	bomb = append(binary.AppendUvarint(append(bomb, 0), 1<<40), 1, 2, 3)
	require.ErrorIs(t, DecodeTxn(bomb, &txn), ErrMalformed)
}

// TestGolden pins the formats of the log and of snapshots. A change of either needs a new version of it.
func TestGolden(t *testing.T) {
	txn := &Txn{
		Kind: KindMulti, Features: FeatureExtendedTypes, Session: 0x0102030405060708, Time: 1000, PathMax: 300,
		Auth: []jute.ID{{Scheme: "ip", ID: "::1"}},
		Ops: []jute.Op{
			{Type: jute.OpCreateTTL, Path: "/t", ACL: jute.OpenACL(), Flags: 5, TTL: 9},
			{Type: jute.OpSetACL, Path: "/a", ACL: []jute.ACL{{Perms: 1, ID: jute.ID{Scheme: "ip", ID: "::"}}}, Version: -1},
			{Type: jute.OpDelete, Path: "/b", Version: 3},
			{Type: jute.OpSetData, Path: "/c", Data: []byte{}, Version: -1},
		},
	}
	require.Equal(t, "0105010102030405060708"+"00000000000003e8"+"ac02"+"01"+"02697003"+"3a3a31"+"04"+
		"15022f7400000a12"+"07022f61020202697002"+"3a3a01"+"02022f6206"+"05022f630101", hex.EncodeToString(AppendTxn(nil, txn)))
	tr := New(Config{})
	var res Result
	tr.Apply(1, &Txn{Kind: KindCreateSession, Session: 7, Timeout: 100, Time: 5}, &res)
	tr.Apply(2, &Txn{Kind: KindSetProperty, Name: "p", Value: []byte("v")}, &res)
	tr.Apply(3, &Txn{Kind: KindOp, Session: 7, Time: 6, Op: jute.Op{Type: jute.OpCreate, Path: "/e", Flags: 1, ACL: jute.OpenACL()}}, &res)
	require.Equal(t, goldenSnapshot, hex.EncodeToString(encode(tr.Snapshot(), 1)))
}

const goldenSnapshot = "766976747265650200000000000000034f39b873d4e751e4d8c2af6b" + // header
	"00000088ac740a41" + // chunk
	"530000000000000007c80100020a5001700276044e00" +
	"012f0100000000060000000200004e0101650000010606060c0c0000000e4e01097a6f6f6b65657065" +
	"720100000000000000000000004e0a072f636f6e66696701020205776f726c6406616e796f6e65000000" +
	"000000000001004e0b0571756f746101000000000000000000000045010105"

// FuzzACLID: whatever stands in an ACL or is shown as an identity is looked at without harm; what matches is valid.
func FuzzACLID(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::1/128", "1.2.3", "010.1.1.1", "1.2.3.4/33", "u:h", "nocolon", ":::", "fe80::1%eth0/64", "/"} {
		f.Add(s, s)
	}
	f.Add("fe80::1%eth0/64", "fe80::1%eth0/x")
	f.Fuzz(func(t *testing.T, id, caller string) {
		validDigest(id)
		if matchIP(caller, id) {
			require.True(t, validIP(id))
			require.True(t, validIP(caller))
		}
		tr := New(Config{})
		for _, scheme := range []string{"ip", "digest", "x509", "auth", "world", "super", id} {
			acl, code := tr.fixACL([]jute.ACL{{Perms: jute.PermAll, ID: jute.ID{Scheme: scheme, ID: id}}}, []jute.ID{{Scheme: scheme, ID: caller}})
			if code != jute.CodeOK {
				continue
			}
			tr.Allowed(acl, jute.PermRead, []jute.ID{{Scheme: scheme, ID: caller}})
			acl.Masked()
		}
	})
}
