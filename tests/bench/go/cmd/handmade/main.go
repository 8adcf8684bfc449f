// Command handmade is the least that a webhook on Go's standard library can do: it decodes only the review's UID and
// answers with a patch that is always the same, right for a pod without imagePullSecrets.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	largest = 8 << 20 // bytes of a body, as pullsecret-webhook takes them
	patch   = `[{"op":"add","path":"/spec/imagePullSecrets","value":[{"name":"ghcr-secret"}]}]`
	before  = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":`
)

var (
	after  = `,"allowed":true,"patchType":"JSONPatch","patch":"` + base64.StdEncoding.EncodeToString([]byte(patch)) + `"}}`
	bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

type review struct {
	Request struct {
		UID json.RawMessage `json:"uid"` // goes back as it came, with its quotes
	} `json:"request"`
}

func mutate(writer http.ResponseWriter, request *http.Request) {
	body := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(http.MaxBytesReader(writer, request.Body, largest)); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	var asked review
	if err := json.Unmarshal(body.Bytes(), &asked); err != nil || len(asked.Request.UID) == 0 {
		http.Error(writer, "no AdmissionReview", http.StatusBadRequest)
		return
	}
	answer := make([]byte, 0, len(before)+len(asked.Request.UID)+len(after))
	answer = append(append(append(answer, before...), asked.Request.UID...), after...)
	writer.Header().Set("Content-Type", "application/json")
	writer.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = writer.Write(answer) // a client that is gone needs no answer
}

func main() {
	port := flag.Int("port", 9443, "port on 127.0.0.1")
	certificates := flag.String("cert-dir", "", "folder of tls.crt and tls.key")
	flag.Parse()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mutate", mutate)
	server := http.Server{
		Addr:              fmt.Sprintf("127.0.0.1:%d", *port),
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// What the API server speaks to a webhook behind a Service; to one on loopback it would speak HTTP/2.
		TLSConfig: &tls.Config{NextProtos: []string{"http/1.1"}},
	}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	err := server.ListenAndServeTLS(filepath.Join(*certificates, "tls.crt"), filepath.Join(*certificates, "tls.key"))
	fmt.Fprintln(os.Stderr, "handmade:", err)
	os.Exit(1)
}
