// Command registry is the distribution registry behind a guard that stands in for ghcr.io: HTTP Basic
// authentication against a bcrypt htpasswd file (read again whenever it changes), and each user reaches only
// the repositories under its own name, or under the one that OWNERS, a JSON object, has for it. Every request is
// one line of JSON on standard output, written before its answer leaves, so that whoever has seen the answer finds
// it in the log.
//
// With the environment's UPSTREAM, UPSTREAM_USER and UPSTREAM_PASSWORD it is a pull-through mirror of that registry.
//
// With TOKENS, the address of its token service, passwords are for that service only, and its tokens for the registry.
//
// usage: registry ADDRESS CERTIFICATE KEY HTPASSWD OWNERS STORAGE [TOKENS]
//
// With one argument, a configuration file of the registry's own, it is that registry alone, without the guard.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if len(os.Args) == 2 {
		log.Fatal(stock(os.Args[1]))
	}
	if len(os.Args) != 7 && len(os.Args) != 8 {
		log.Fatal("usage: registry ADDRESS CERTIFICATE KEY HTPASSWD OWNERS STORAGE [TOKENS]")
	}
	address, certificate, key := os.Args[1], os.Args[2], os.Args[3]
	htpasswd, owners, storage := os.Args[4], os.Args[5], os.Args[6]
	users, err := auth.GetAccessController("htpasswd", map[string]any{"realm": "registry", "path": htpasswd})
	if err != nil {
		log.Fatal(err)
	}
	var service *tokens
	if len(os.Args) == 8 {
		if service, users, err = withTokens(users, os.Args[7], storage+".jwks"); err != nil {
			log.Fatal(err)
		}
	}
	guarded := guard{users: users, owners: owners, registry: handlers.NewApp(context.Background(), configure(storage))}
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if service != nil && r.URL.Path == "/token" {
			service.ServeHTTP(w, r)
		} else {
			guarded.ServeHTTP(w, r)
		}
	})
	log.Fatal(http.ListenAndServeTLS(address, certificate, key, logged(served)))
}

func configure(storage string) *configuration.Configuration {
	text := "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nhttp: {secret: test}\nstorage: {filesystem: {}}\n"
	config, err := configuration.Parse(strings.NewReader(text))
	if err != nil {
		log.Fatal(err)
	}
	config.Storage["filesystem"]["rootdirectory"] = storage
	config.Proxy.RemoteURL = os.Getenv("UPSTREAM")
	config.Proxy.Username, config.Proxy.Password = os.Getenv("UPSTREAM_USER"), os.Getenv("UPSTREAM_PASSWORD")
	return config
}
