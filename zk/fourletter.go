package zk

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// Four letter words: a connection whose first four bytes are letters asks for
// the server's state in words, as monitoring does. They would be the length of
// a frame far beyond the limit, so there is no ambiguity.
var fourLetterWords = map[string]func(*Server) string{
	"ruok": func(*Server) string { return "imok" },
	"srvr": (*Server).wordSrvr,
}

// fourLetterNames are ZooKeeper's words.
var fourLetterNames = []string{
	"conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs",
}

// fourLetterWord returns the word that a connection begins with.
func fourLetterWord(b []byte) (string, bool) {
	for _, c := range b[:4] {
		if c < 'a' || c > 'z' {
			return "", false
		}
	}
	return string(b[:4]), true
}

func (s *Server) answerWord(c net.Conn, word string) error {
	if err := c.SetWriteDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	text := fmt.Sprintf("%s is not executed because it is not in the whitelist.\n", word)
	if answer, ok := fourLetterWords[word]; ok {
		text = answer(s)
	}
	_, err := c.Write([]byte(text))
	return err
}

// version is the release whose behaviour clients may expect, in the form that
// old and new monitoring parses.
const version = "3.9.3-vivarium, built on 01/01/2026 00:00 GMT"

func (s *Server) wordSrvr() string {
	st := s.Status()
	var b strings.Builder
	fmt.Fprintf(&b, "Zookeeper version: %s\n", version)
	if !st.Serving {
		b.WriteString("This ZooKeeper instance is not currently serving requests\n")
		return b.String()
	}
	fmt.Fprintf(&b, "Latency min/avg/max: 0/0.0/0\nReceived: 0\nSent: 0\n")
	fmt.Fprintf(&b, "Connections: %d\nOutstanding: %d\n", s.door.count(), len(s.outstanding.places))
	fmt.Fprintf(&b, "Zxid: 0x%x\nMode: %s\nNode count: %d\n", uint64(st.Zxid), st.State, s.tree.Load().Stats().Znodes)
	return b.String()
}
