package apache

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/adler32"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// version2 returns what a server of release 3.8.0 left when it was killed.
func version2(t testing.TB) fstest.MapFS {
	files := fstest.MapFS{}
	dir := os.DirFS("testdata/3.8/version-2")
	names, err := fs.Glob(dir, "*")
	require.NoError(t, err)
	for _, n := range names {
		b, err := fs.ReadFile(dir, n)
		require.NoError(t, err)
		files[n] = &fstest.MapFile{Data: b}
	}
	return files
}

// dump prints an image as testdata/3.8/znodes.txt does, which a client wrote
// before the server was killed.
func dump(im *Image) string {
	var out strings.Builder
	paths := im.Paths()
	slices.Sort(paths)
	children := map[string]int32{}
	for _, p := range paths[1:] {
		children[parent(p)]++
	}
	for _, p := range paths {
		n := im.Nodes[p]
		if p == "/zookeeper/config" {
			continue
		}
		data, owner := fmt.Sprintf("%q", n.Data), int64(0)
		if n.Data == nil {
			data = "null"
		}
		if kind, session := n.Kind(); kind == Ephemeral {
			owner = session
		}
		var acl []string
		for _, a := range n.ACL {
			if user, _, ok := strings.Cut(a.ID.ID, ":"); ok {
				a.ID.ID = user + ":x" // as the client was shown it
			}
			acl = append(acl, fmt.Sprintf("%d:%s:%s", a.Perms, a.ID.Scheme, a.ID.ID))
		}
		fmt.Fprintf(&out, "%s %s czxid=%#x mzxid=%#x pzxid=%#x ctime=%d mtime=%d version=%d cversion=%d aversion=%d children=%d owner=%#x acl=%s\n",
			p, data, n.Czxid, n.Mzxid, n.Pzxid, n.Ctime, n.Mtime, n.Version, 2*n.Cversion-children[p], n.Aversion, children[p], uint64(owner),
			strings.Join(acl, " "))
	}
	return out.String()
}

func want(t *testing.T) string {
	b, err := os.ReadFile("testdata/3.8/znodes.txt")
	require.NoError(t, err)
	lines := strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")
	lines[len(lines)-1] += "\n"
	slices.SortFunc(lines, func(a, b string) int {
		return strings.Compare(strings.SplitN(a, " ", 2)[0], strings.SplitN(b, " ", 2)[0])
	})
	return strings.Join(lines, "")
}

// TestLoad reads the directory from each snapshot and from a zipped one: logs and
// snapshots overlap, so each way leads to the same state.
func TestLoad(t *testing.T) {
	for name, change := range map[string]func(fstest.MapFS){
		"newest snapshot": func(fstest.MapFS) {},
		"older snapshot":  func(d fstest.MapFS) { delete(d, "snapshot.11") },
		"damaged snapshot": func(d fstest.MapFS) {
			d["snapshot.11"].Data[700] ^= 1
		},
		"zipped snapshot": func(d fstest.MapFS) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(d["snapshot.11"].Data)
			_ = z.Close()
			d["snapshot.11.gz"] = &fstest.MapFile{Data: b.Bytes()}
			delete(d, "snapshot.11")
		},
		"fuzzy snapshot": func(d fstest.MapFS) { // of 0x10, with 0x11 in it
			d["snapshot.10"] = d["snapshot.11"]
			delete(d, "snapshot.11")
		},
		"another file":    func(d fstest.MapFS) { d["snapshot.tmp"] = &fstest.MapFile{} },
		"no zeros behind": func(d fstest.MapFS) { d["log.12"].Data = bytes.TrimRight(d["log.12"].Data, "\x00") },
		"cut in a new one": func(d fstest.MapFS) {
			d["log.12"].Data = append(bytes.TrimRight(d["log.12"].Data, "\x00"), 0, 0, 0, 0, 1, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := version2(t)
			change(dir)
			im, err := Load(dir, dir)
			require.NoError(t, err)
			require.Equal(t, want(t), dump(im))
			require.EqualValues(t, 0x1e, im.Zxid)
			require.Len(t, im.Sessions, 1)
			kinds := map[string]Kind{"/box": Container, "/ttl": TTL, "/live": Ephemeral, "/app": Persistent}
			for path, kind := range kinds {
				got, _ := im.Nodes[path].Kind()
				require.Equal(t, kind, got, path)
			}
			_, ttl := im.Nodes["/ttl"].Kind()
			require.EqualValues(t, 3_600_000, ttl)
		})
	}
}

// TestLoadRefuses names the file and the place.
func TestLoadRefuses(t *testing.T) {
	for want, change := range map[string]func(fstest.MapFS){
		"no snapshot": func(d fstest.MapFS) { delete(d, "snapshot.0"); delete(d, "snapshot.11") },
		"snapshot.11: corrupt file: at byte 0: it begins": func(d fstest.MapFS) { clear(d["snapshot.11"].Data[:4]); delete(d, "snapshot.0") },
		"snapshot.11: corrupt file: at byte 1485: checksum": func(d fstest.MapFS) {
			d["snapshot.11"].Data[700] ^= 1
			delete(d, "snapshot.0")
		},
		"log.12: corrupt file: at byte 16: checksum of a transaction": func(d fstest.MapFS) { d["log.12"].Data[40] ^= 1 },
		"log.1: corrupt file: at byte 16: checksum of a transaction": func(d fstest.MapFS) {
			d["log.1"].Data[40] ^= 1
			delete(d, "snapshot.11")
		},
		"snapshot.0: no log continues it":                    func(d fstest.MapFS) { d["snapshot.11"].Data[700] ^= 1; delete(d, "log.1") },
		"snapshot.12.snappy: snapshots compressed by snappy": func(d fstest.MapFS) { d["snapshot.12.snappy"] = &fstest.MapFile{} },
		"log.1: corrupt file: at byte 100: it ends too early": func(d fstest.MapFS) {
			d["log.1"].Data = d["log.1"].Data[:100]
			delete(d, "snapshot.11")
		},
	} {
		t.Run(want, func(t *testing.T) {
			dir := version2(t)
			change(dir)
			_, err := Load(dir, dir)
			require.ErrorContains(t, err, want)
		})
	}
}

// TestEveryByte flips each byte of the snapshot and of a log: what is read is an
// error or the truth, or, where the flip makes the last transaction one that was
// cut short, the state before that.
func TestEveryByte(t *testing.T) {
	dir := version2(t)
	truth := want(t)
	log := bytes.TrimRight(dir["log.12"].Data, "\x00")
	last := bytes.LastIndexByte(log[:len(log)-1], endOfRecord) + 1
	dir["log.12"].Data = log[:last]
	im, err := Load(dir, dir)
	require.NoError(t, err)
	before := dump(im)
	require.NotEqual(t, truth, before)
	dir["log.12"].Data = log
	delete(dir, "snapshot.0")
	for _, name := range []string{"snapshot.11", "log.12"} {
		data := dir[name].Data
		for i := range data {
			data[i] ^= 0x41
			im, err := Load(dir, dir)
			if got := ""; err == nil {
				got = dump(im)
				cut := name == "log.12" && (i >= last+8 && i < last+12 || i == len(log)-1) && got == before
				if got != truth && !cut {
					t.Fatalf("%s: byte %d of %d changed the state without an error", name, i, len(data))
				}
			}
			data[i] ^= 0x41
		}
	}
}

// FuzzSnapshot and FuzzLog read anything: no panic, and no more memory than a
// multiple of the input.
func FuzzSnapshot(f *testing.F) {
	f.Add(version2(f)["snapshot.11"].Data)
	f.Add(version2(f)["snapshot.0"].Data)
	f.Fuzz(func(t *testing.T, b []byte) {
		if im, err := ReadSnapshot(bytes.NewReader(b), 1); err == nil {
			_ = im.settle()
			_ = im.Paths()
		}
	})
}

func FuzzLog(f *testing.F) {
	f.Add(version2(f)["log.1"].Data[16:])
	f.Add(version2(f)["log.12"].Data[16:])
	f.Fuzz(func(t *testing.T, b []byte) {
		// The input is transactions without their checksums, which would keep most out.
		log := binary.BigEndian.AppendUint32(nil, logMagic)
		log = append(log, 0, 0, 0, fileVersion, 0, 0, 0, 0, 0, 0, 0, 0)
		for len(b) > 12 {
			n := min(int(b[11]), len(b)-12)
			txn := b[12 : 12+n]
			log = binary.BigEndian.AppendUint64(log, uint64(adler32.Checksum(txn)))
			log = append(append(binary.BigEndian.AppendUint32(log, uint32(n)), txn...), endOfRecord)
			b = b[min(len(b), 13+n):]
		}
		im := newImage(0)
		im.add("/", &Node{})
		_ = ReadLog(bytes.NewReader(log), int64(len(log)), im, true)
	})
}
