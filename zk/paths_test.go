package zk

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidatePath(t *testing.T) {
	for _, path := range []string{"/", "/a", "/a/b", "/a b", "/.a", "/a.", "/...", "/é", "/日本", "/a\u00a0", "/\uf900"} {
		require.NoError(t, ValidatePath(path), "%q", path)
	}
	for path, reason := range map[string]string{
		"": "is empty", "a": "does not begin", "a/": "does not begin", "/a/": "ends with", "//": "ends with", "//a": "empty component",
		"/a//b": "empty component", "/.": "relative", "/./a": "relative", "/a/..": "relative", "/../a": "relative",
		"/a\x00": "U+0000", "/\x1f": "U+001F", "/\x7f": "U+007F", "/\u009f": "U+009F", "/\ue000": "U+E000", "/\ufff0": "U+FFF0",
		"/\xff": "U+FFFD", "/😀": "U+1F600",
	} {
		err := ValidatePath(path)
		require.ErrorIs(t, err, ErrBadArguments, "%q", path)
		require.ErrorContains(t, err, reason, "%q", path)
	}
}

func TestPathParts(t *testing.T) {
	for _, c := range []struct{ path, parent, name string }{
		{"/", "/", ""}, {"/a", "/", "a"}, {"/a/b", "/a", "b"}, {"/a/b/c", "/a/b", "c"},
	} {
		require.Equal(t, c.parent, ParentPath(c.path))
		require.Equal(t, c.name, BaseName(c.path))
		if c.name != "" {
			require.Equal(t, c.path, JoinPath(c.parent, c.name))
		}
	}
}

func TestChroot(t *testing.T) {
	for _, c := range []struct{ chroot, client, server string }{
		{"", "/", "/"}, {"", "/a", "/a"}, {"/c", "/", "/c"}, {"/c", "/a", "/c/a"}, {"/c/d", "/a/b", "/c/d/a/b"},
	} {
		require.Equal(t, c.server, serverPath(c.chroot, c.client))
		require.Equal(t, c.client, clientPath(c.chroot, c.server))
	}
	require.Equal(t, "/cd", clientPath("/c", "/cd"), "not below it")
	require.Equal(t, "/x", clientPath("/c", "/x"))
}

func TestParseConnectString(t *testing.T) {
	for s, want := range map[string]struct {
		servers string
		chroot  string
	}{
		"h":                     {"h:2181", ""},
		"h:1":                   {"h:1", ""},
		"h1:1, h2,h3:3/app/x":   {"h1:1 h2:2181 h3:3", "/app/x"},
		"h/":                    {"h:2181", ""},
		"[::1],[::1]:7,::1":     {"[::1]:2181 [::1]:7 [::1]:2181", ""},
		"127.0.0.1:2181,,b:1/x": {"127.0.0.1:2181 b:1", "/x"},
	} {
		servers, chroot, err := ParseConnectString(s)
		require.NoError(t, err, "%q", s)
		require.Equal(t, want.servers, strings.Join(servers, " "), "%q", s)
		require.Equal(t, want.chroot, chroot, "%q", s)
	}
	for _, s := range []string{"", ",", "/app", "h/app/", "h//", "h/a/../b"} {
		_, _, err := ParseConnectString(s)
		require.ErrorIs(t, err, ErrBadArguments, "%q", s)
	}
}

func FuzzValidatePath(f *testing.F) {
	f.Add("/a/b")
	f.Add("//")
	f.Add("/../\x00")
	f.Fuzz(func(t *testing.T, path string) {
		err := ValidatePath(path)
		if err != nil {
			require.True(t, errors.Is(err, ErrBadArguments))
			return
		}
		if path != "/" {
			require.Equal(t, path, JoinPath(ParentPath(path), BaseName(path)))
			require.NoError(t, ValidatePath(ParentPath(path)))
		}
		require.Equal(t, path, clientPath("/chroot", serverPath("/chroot", path)))
	})
}
