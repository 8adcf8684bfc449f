// Command peer is a workload that uses the pod network.
//
//	peer serve            answers at :8080 with its pod's name
//	peer admit CERT KEY   is a webhook at :8443 that labels what it reviews with its pod's name
//	peer get URL          prints the answer
//	peer whoami           prints whom the API server takes the pod's service account for
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func run(mode string, args []string) error {
	switch mode {
	case "serve":
		return http.ListenAndServe(":8080", http.HandlerFunc(greet))
	case "admit":
		return http.ListenAndServeTLS(":8443", args[0], args[1], http.HandlerFunc(admit))
	case "get":
		return get(args[0])
	case "whoami":
		return whoami()
	}
	return fmt.Errorf("unknown mode %q", mode)
}

func greet(answer http.ResponseWriter, _ *http.Request) {
	name, _ := os.Hostname()
	fmt.Fprintln(answer, name)
}

func admit(answer http.ResponseWriter, request *http.Request) {
	var review struct {
		Request struct{ UID string }
	}
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	name, _ := os.Hostname()
	labels := map[string]string{"admitted-by": name}
	patch, _ := json.Marshal([]any{map[string]any{"op": "add", "path": "/metadata/labels", "value": labels}})
	json.NewEncoder(answer).Encode(map[string]any{
		"apiVersion": "admission.k8s.io/v1",
		"kind":       "AdmissionReview",
		"response":   map[string]any{"uid": review.Request.UID, "allowed": true, "patchType": "JSONPatch", "patch": patch},
	})
}

func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func whoami() error {
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	server := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	body := []byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	request, err := http.NewRequest("POST", "https://"+server+"/apis/authentication.k8s.io/v1/selfsubjectreviews", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var review struct {
		Status struct{ UserInfo struct{ Username string } }
	}
	if err := json.NewDecoder(answer.Body).Decode(&review); err != nil {
		return err
	}
	fmt.Println(review.Status.UserInfo.Username)
	return nil
}
