package zk

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

var errNotAuthorized = errors.New("not authorized: an Authorization header of the form \"digest user:password\" is needed, of the super user or of one whom the ACL of / gives all permissions by name")

// adminSnapshot streams a snapshot for Restore, one at a time. Its zxid follows
// in the trailer last_zxid.
func (s *Server) adminSnapshot(w http.ResponseWriter, r *http.Request) {
	const command = "snapshot"
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		writeAdmin(w, http.StatusMethodNotAllowed, command, "Method not allowed", nil)
		return
	case !s.mayTakeAll(r.Header.Get("Authorization")):
		s.stats.auth.Add(1)
		w.Header().Set("WWW-Authenticate", "digest")
		writeAdmin(w, http.StatusUnauthorized, command, errNotAuthorized.Error(), nil)
		return
	case s.Err() != nil || !s.Status().Serving:
		writeAdmin(w, http.StatusServiceUnavailable, command, "This ZooKeeper instance is not currently serving requests", nil)
		return
	case !s.snapshotStreams.TryLock():
		writeAdmin(w, http.StatusTooManyRequests, command, "a snapshot is being taken", nil)
		return
	}
	defer s.snapshotStreams.Unlock()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // it takes the time it takes, if the host's server can say so
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Trailer", "last_zxid")
	zxid, err := s.WriteSnapshot(r.Context(), w)
	if err != nil {
		s.log.Warn("snapshot not sent", "err", err)
		panic(http.ErrAbortHandler) // the client must not take it for whole
	}
	w.Header().Set("last_zxid", fmt.Sprintf("0x%x", uint64(zxid)))
}

// mayTakeAll says whether a credential is the super user's, or that of somebody
// whom the ACL of / names and gives every permission. That the world has them is
// not enough: then anybody's name would do.
func (s *Server) mayTakeAll(authorization string) bool {
	scheme, credential, ok := strings.Cut(strings.TrimSpace(authorization), " ")
	if !ok || !strings.EqualFold(scheme, "digest") || !strings.Contains(credential, ":") {
		return false
	}
	id := digestID(s.cfg.DigestAlgorithm, []byte(strings.TrimSpace(credential)))
	if s.cfg.SuperDigest != "" && subtle.ConstantTimeCompare([]byte(id), []byte(s.cfg.SuperDigest)) == 1 {
		return true
	}
	root, _ := s.tree.Load().Lookup("/")
	if !root.Exists() {
		return false
	}
	var perms int32
	for _, e := range root.ACL().Entries() {
		if e.ID.Scheme == "digest" && subtle.ConstantTimeCompare([]byte(id), []byte(e.ID.ID)) == 1 {
			perms |= e.Perms
		}
	}
	return perms&jute.PermAll == jute.PermAll
}
