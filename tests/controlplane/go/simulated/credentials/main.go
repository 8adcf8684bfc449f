// Command credentials is a service that knows a credential of each owner, as the HTTP source of the webhook asks for it:
// GET /owners/NAME of one, POST /owners of many. GET /questions says how many it was asked, PUT /token sets
// what all tokens begin with: each ends with its owner.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
)

type login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

type answer struct {
	Auths map[string]login `json:"auths"`
}

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	flag.Parse()
	var questions atomic.Int64
	var token atomic.Value
	token.Store("")
	known := func(owner string) answer {
		return answer{map[string]login{"ghcr.io": {"u", token.Load().(string) + "." + owner}}}
	}
	http.HandleFunc("GET /owners/{name}", func(w http.ResponseWriter, r *http.Request) {
		questions.Add(1)
		_ = json.NewEncoder(w).Encode(known(r.PathValue("name")))
	})
	http.HandleFunc("POST /owners", func(w http.ResponseWriter, r *http.Request) {
		questions.Add(1)
		var asked struct{ Owners []string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, "no list of owners", http.StatusBadRequest)
			return
		}
		found := map[string]answer{}
		for _, name := range asked.Owners {
			found[name] = known(name)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"owners": found})
	})
	http.HandleFunc("GET /questions", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, questions.Load())
	})
	http.HandleFunc("PUT /token", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		token.Store(strings.TrimSpace(string(text)))
	})
	log.Fatal(http.ListenAndServe(*address, nil))
}
