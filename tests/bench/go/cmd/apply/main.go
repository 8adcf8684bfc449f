// Command apply applies objects on the server's side as fast as it answers: lines of {"path", "body"} in, a JSON object
// out. It is what a number of writes costs when nobody has to find out what to write.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

type object struct {
	Path string          `json:"path"`
	Body json.RawMessage `json:"body"`
}

type client struct {
	http   *http.Client
	server string
	token  string
}

func main() {
	server := flag.String("server", "", "such as https://127.0.0.1:6443")
	ca := flag.String("ca", "", "file of the CA certificates")
	token := flag.String("token-file", "", "file of the bearer token")
	in := flag.String("in", "", "file of what is applied")
	manager := flag.String("manager", "", "field manager")
	workers := flag.Int("workers", 1, "requests at a time")
	flag.Parse()
	objects, err := read(*in)
	var made *client
	if err == nil {
		made, err = connect(*server, *ca, *token, *workers)
	}
	if err == nil {
		err = run(made, objects, "?fieldManager="+*manager, *workers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apply:", err)
		os.Exit(1)
	}
}

func run(made *client, objects []object, query string, workers int) error {
	queue, failures := make(chan object), make([]error, workers)
	var all sync.WaitGroup
	began := time.Now()
	for i := range failures {
		all.Go(func() {
			for one := range queue {
				failures[i] = errors.Join(failures[i], made.apply(one, query))
			}
		})
	}
	for _, one := range objects {
		queue <- one
	}
	close(queue)
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"seconds": time.Since(began).Seconds()})
}

func read(file string) ([]object, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = opened.Close() }()
	var found []object
	lines := bufio.NewScanner(opened)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one object
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, lines.Err()
}

func connect(server, ca, tokenFile string, workers int) (*client, error) {
	authorities, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("no certificate in %s", ca)
	}
	// HTTP/1.1 with a connection for each worker, as the webhook has it.
	transport := &http.Transport{MaxIdleConnsPerHost: workers, TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &client{&http.Client{Transport: transport, Timeout: 30 * time.Second}, server, strings.TrimSpace(string(token))}, nil
}

func (c *client) apply(one object, query string) error {
	request, err := http.NewRequest(http.MethodPatch, c.server+one.Path+query, bytes.NewReader(one.Body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	request.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", one.Path, answer.Status)
	}
	return nil
}
