package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	issuer, service = "test tokens", "test registry"
	lifetime        = 5 * time.Minute
)

// tokens hands out a token to who has a password. Its scopes are left to guard, which knows whose a repository is.
type tokens struct {
	users  auth.AccessController
	signer jose.Signer
}

// withTokens makes the service, and what lets its tokens into the registry. The key's public part is written to jwks.
func withTokens(users auth.AccessController, realm, jwks string) (*tokens, auth.AccessController, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	id := token.GetJWKThumbprint(key.Public())
	signing := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}
	signer, err := jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, nil, err
	}
	public := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: id}}}
	text, err := json.Marshal(public)
	if err == nil {
		err = os.WriteFile(jwks, text, 0o600)
	}
	if err != nil {
		return nil, nil, err
	}
	options := map[string]any{"realm": realm, "issuer": issuer, "service": service, "jwks": jwks}
	accepted, err := auth.GetAccessController("token", options)
	return &tokens{users: users, signer: signer}, accepted, err
}

func (t *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	grant, err := t.users.Authorized(r)
	if err != nil {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeUnauthorized) // without a challenge, as Docker Hub does it
		return
	}
	now := time.Now()
	claims := token.ClaimSet{
		Issuer: issuer, Subject: grant.User.Name, Audience: token.AudienceList{r.URL.Query().Get("service")},
		Expiration: now.Add(lifetime).Unix(), NotBefore: now.Unix(), IssuedAt: now.Unix(),
	}
	made, err := jwt.Signed(t.signer).Claims(claims).Serialize()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": made, "access_token": made, "expires_in": int(lifetime.Seconds()), "issued_at": now.Format(time.RFC3339),
	})
}
