package main

import (
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
)

// guard authenticates, then lets a user through to its own repositories only. The registry's access
// controllers can answer nothing but a challenge; "authenticated, yet not yours" needs the 403 said here.
type guard struct {
	users    auth.AccessController
	registry http.Handler
}

func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	grant, err := g.users.Authorized(r)
	if err != nil {
		if challenge, ok := err.(auth.Challenge); ok {
			challenge.SetHeaders(r, w)
		}
		_ = errcode.ServeJSON(w, errcode.ErrorCodeUnauthorized)
		return
	}
	if !reaches(grant.User.Name, r) {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeDenied)
		return
	}
	g.registry.ServeHTTP(w, r)
}

// reaches also looks at ?from=, which copies a layer out of another repository.
func reaches(user string, r *http.Request) bool {
	own := user + "/"
	repository := strings.TrimPrefix(r.URL.Path, "/v2/")
	from := r.URL.Query().Get("from")
	return (repository == "" || strings.HasPrefix(repository, own)) && (from == "" || strings.HasPrefix(from, own))
}
