package zk

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Four letter words: a connection whose first four bytes are letters asks for
// the server's state in words, as monitoring does. They would be the length of
// a frame far beyond the limit, so there is no ambiguity.

// word is a four-letter word's answer.
type word struct {
	answer func(*Server, *strings.Builder)
	always bool // also by a server that serves nobody
}

// fourLetterWords are ZooKeeper's words, but for stmk, which has an argument.
var fourLetterWords = map[string]word{
	"ruok": {func(_ *Server, b *strings.Builder) { b.WriteString("imok") }, true},
	"srvr": {(*Server).wordSrvr, false},
	"stat": {(*Server).wordStat, false},
	"mntr": {(*Server).wordMntr, false},
	"conf": {(*Server).wordConf, false},
	"cons": {(*Server).wordCons, false},
	"envi": {(*Server).wordEnvi, true},
	"isro": {(*Server).wordIsro, true},
	"dirs": {(*Server).wordDirs, false},
	"wchs": {(*Server).wordWchs, false},
	"wchc": {(*Server).wordWchc, false},
	"wchp": {(*Server).wordWchp, false},
	"dump": {(*Server).wordDump, false},
	"crst": {(*Server).wordCrst, false},
	"srst": {(*Server).wordSrst, false},
	"hash": {(*Server).wordHash, false},
	"gtmk": {(*Server).wordGtmk, true},
}

const wordSetTraceMask = "stmk"

// fourLetterNames are all words.
var fourLetterNames = []string{
	"conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr", "ruok", "srst", "srvr", "stat", wordSetTraceMask, "wchc", "wchp", "wchs",
}

// traceMaskDefault is Apache ZooKeeper's: what its log would tell. Here the mask
// is kept for those who ask, and means nothing.
const traceMaskDefault = 306

const notServing = "This ZooKeeper instance is not currently serving requests\n"

// fourLetterWord returns the word that a connection begins with.
func fourLetterWord(b []byte) (string, bool) {
	for _, c := range b[:4] {
		if c < 'a' || c > 'z' {
			return "", false
		}
	}
	return string(b[:4]), true
}

// wordAllowed says whether the whitelist has a word.
func (s *Server) wordAllowed(name string) bool {
	list := s.cfg.FourLetterWords
	switch {
	case !slices.Contains(fourLetterNames, name):
		return false
	case name == "srvr", name == "isro" && s.cfg.ReadOnlyMode: // what zkServer.sh and clients ask
		return true
	case list == nil:
		return name == "ruok"
	}
	return slices.Contains(list, "*") || slices.Contains(list, name)
}

// answerWord answers the word that the connection began with. rest is what
// arrived behind it.
func (q *requestReader) answerWord(name string, rest []byte) error {
	s, c := q.c.s, q.c.net
	if err := c.SetWriteDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	q.c.stats.received.Add(1)
	q.c.stats.bytesReceived.Add(4)
	var b strings.Builder
	switch w := fourLetterWords[name]; {
	case !s.wordAllowed(name):
		fmt.Fprintf(&b, "%s is not executed because it is not in the whitelist.\n", name)
	case name == wordSetTraceMask:
		if err := s.setTraceMask(&b, rest, c); err != nil {
			return err
		}
	case !w.always && !s.Status().Serving:
		b.WriteString(notServing)
	default:
		w.answer(s, &b)
	}
	_, err := io.WriteString(c, b.String())
	q.c.output.Lock()
	defer q.c.output.Unlock()
	q.c.output.sent++
	return err
}

// setTraceMask takes the eight bytes behind the word.
func (s *Server) setTraceMask(b *strings.Builder, rest []byte, r io.Reader) error {
	var mask [8]byte
	if _, err := io.ReadFull(r, mask[copy(mask[:], rest):]); err != nil {
		return err
	}
	s.traceMask.Store(int64(binary.BigEndian.Uint64(mask[:])))
	s.wordGtmk(b)
	return nil
}

func (s *Server) wordGtmk(b *strings.Builder) {
	mask := s.traceMask.Load()
	if mask == 0 {
		mask = traceMaskDefault
	}
	b.WriteString(strconv.FormatInt(mask, 10))
}

// version is the release whose behaviour clients may expect, in the form that
// old and new monitoring parses.
const version = "3.9.3-vivarium, built on 01/01/2026 00:00 GMT"
