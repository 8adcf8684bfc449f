// Command apiserver answers as kube-apiserver does, as far as the webhook asks: lists in pages, watches, server-side
// apply with field managers, preconditions, metadata only. Everything is in memory, and 100,000 namespaces are made in a
// second. That it answers as the real one does is tested (tests/unit/test_simulated.py, tests/e2e/test_simulated.py).
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	certificate := flag.String("tls-cert-file", "", "PEM")
	private := flag.String("tls-private-key-file", "", "PEM")
	ca := flag.String("client-ca-file", "", "who signs the certificates of clients")
	secret := flag.String("secret", "", "name of the pull secrets that the chart's write policy is about; empty: no policy")
	takes := flag.Duration("write-takes", 0, "how long a write takes")
	cores := flag.Int("writes-at-once", 1000, "how many of them go on at a time; others wait")
	history := flag.Duration("history", 5*time.Minute, "how far back a watch may begin")
	audit := flag.String("audit-log-path", "", "where requests of the audited user are logged")
	audited := flag.String("audit-user", account, "whose requests are logged")
	flag.Parse()
	pullSecret = *secret
	made := &server{store: newStore(*history), writeTakes: *takes, writing: make(chan struct{}, *cores), audited: *audited}
	if *audit != "" {
		file, err := os.OpenFile(*audit, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			log.Fatal(err)
		}
		made.audit = file
	}
	authorities, err := os.ReadFile(*ca)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authorities)
	made.Lock()
	for _, name := range []string{"default", "kube-system"} {
		if _, err := made.create(write{table: made.tables["namespaces"], name: name}, tree{"metadata": tree{"name": name}}); err != nil {
			log.Fatal(err)
		}
	}
	made.Unlock()
	listens := &http.Server{
		Addr: *address, Handler: made, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12},
	}
	fmt.Println("listening at", *address)
	log.Fatal(listens.ListenAndServeTLS(*certificate, *private))
}
