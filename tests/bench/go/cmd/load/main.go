// Command load asks a webhook, or the API server, as fast as it answers: HTTP/1.1 over TLS on connections that stay
// open, one request at a time on each. It prints one JSON object. The request is written from the same bytes each time,
// in two writes as kube-apiserver does it, and of an answer only what is needed is read: this program shares a machine
// with what it measures.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const patience = 30 * time.Second // for one answer: a server that hangs ends the run

type target struct {
	status     int
	part       []byte // of every answer
	address    string
	head, body []byte
	config     *tls.Config
	left       atomic.Int64
	every      time.Duration
}

type result struct {
	latencies []time.Duration
	statuses  map[int]int
	errors    int // answers of another status, without the part, or cut
}

type summary struct {
	Requests int         `json:"requests"`
	Errors   int         `json:"errors"`
	Seconds  float64     `json:"seconds"`
	P50      float64     `json:"p50_us"`
	P90      float64     `json:"p90_us"`
	P99      float64     `json:"p99_us"`
	Statuses map[int]int `json:"status_counts"`
}

func main() {
	to := flag.String("url", "", "such as https://127.0.0.1:9443/mutate?timeout=3s")
	body := flag.String("body", "", "file of what is sent")
	cert := flag.String("cert", "", "file of a client certificate")
	key := flag.String("key", "", "file of its key")
	status := flag.Int("status", 200, "of every answer")
	part := flag.String("part", `"patch"`, "text in every answer")
	count := flag.Int64("count", 1<<62, "of requests in all, if that comes first")
	ca := flag.String("ca", "", "file of the CA certificates")
	connections := flag.Int("connections", 1, "requests at a time, each on a connection of its own")
	seconds := flag.Float64("seconds", 1, "how long; an interrupt ends it earlier")
	every := flag.Duration("every", 0, "each connection asks so often, and not as fast as it can")
	flag.Parse()
	target, err := prepare(*to, *body, *ca, *cert, *key)
	if err == nil {
		target.status, target.part = *status, []byte(*part)
		target.left.Store(*count)
		target.every = *every
		err = run(target, *connections, time.Duration(*seconds*float64(time.Second)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(target *target, connections int, length time.Duration) error {
	opened := make([]*connection, connections)
	for i := range opened {
		var err error
		if opened[i], err = target.open(); err != nil {
			return err
		}
	}
	results, failures := make([]result, connections), make([]error, connections)
	var all sync.WaitGroup
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	began := time.Now()
	for i := range opened {
		all.Go(func() { results[i], failures[i] = opened[i].ask(interrupted, began.Add(length)) })
	}
	all.Wait()
	took := time.Since(began)
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(summarise(results, took))
}

func prepare(to, body, ca, cert, key string) (*target, error) {
	parsed, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	review, err := os.ReadFile(body)
	if err != nil {
		return nil, err
	}
	authorities, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("no certificate in %s", ca)
	}
	var own []tls.Certificate
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		own = append(own, pair)
	}
	// The headers that kube-apiserver sends, in its order.
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: %d\r\n"+
		"Accept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
		parsed.RequestURI(), parsed.Host, len(review))
	return &target{
		address: parsed.Host,
		head:    []byte(head),
		body:    review,
		config: &tls.Config{
			RootCAs: roots, ServerName: parsed.Hostname(), NextProtos: []string{"http/1.1"}, Certificates: own,
		},
	}, nil
}

type connection struct {
	target *target
	conn   *tls.Conn
	reader *bufio.Reader
}

// open connects and asks once, uncounted: the first answer must be what is expected.
func (t *target) open() (*connection, error) {
	conn, err := tls.Dial("tcp", t.address, t.config)
	if err != nil {
		return nil, err
	}
	opened := &connection{t, conn, bufio.NewReaderSize(conn, 16<<10)}
	var answer bytes.Buffer
	status, err := opened.once(&answer)
	if err != nil {
		return nil, fmt.Errorf("the first answer: %w", err)
	}
	if status != t.status || !bytes.Contains(answer.Bytes(), t.part) {
		return nil, fmt.Errorf("the first answer is a %d, or without %s: %.300s", status, t.part, answer.Bytes())
	}
	return opened, nil
}

// ask goes on until then. A connection that breaks is an error and opened again, if the server still answers. What is
// asked at fixed times counts from the time at which it was due: who had to wait for the answer before, waited.
func (c *connection) ask(interrupted context.Context, until time.Time) (result, error) {
	found := result{latencies: make([]time.Duration, 0, 1<<17), statuses: map[int]int{}}
	defer func() { _ = c.conn.Close() }()
	var answer bytes.Buffer
	for began := time.Now(); began.Before(until) && interrupted.Err() == nil && c.target.left.Add(-1) >= 0; {
		sleep(time.Until(began))
		answer.Reset()
		status, err := c.once(&answer)
		ended := time.Now()
		if err != nil {
			found.errors++
			_ = c.conn.Close()
			again, err := c.target.open()
			if err != nil {
				return found, err
			}
			c.conn, c.reader = again.conn, again.reader
			began = time.Now()
			continue
		}
		found.latencies = append(found.latencies, ended.Sub(began))
		found.statuses[status]++
		if status != c.target.status || !bytes.Contains(answer.Bytes(), c.target.part) {
			found.errors++
		}
		if c.target.every == 0 {
			began = ended
		} else {
			began = began.Add(c.target.every)
		}
	}
	return found, nil
}

// sleep is exact to some 50 us; time.Sleep is late by up to a millisecond in a program that waits for the network.
func sleep(length time.Duration) {
	for due := time.Now().Add(length); length > 0; length = time.Until(due) {
		left := syscall.NsecToTimespec(length.Nanoseconds())
		_ = syscall.Nanosleep(&left, nil) // a signal ends it early
	}
}

func (c *connection) once(body io.Writer) (int, error) {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.target.head); err != nil {
		return 0, err
	}
	if _, err := c.conn.Write(c.target.body); err != nil {
		return 0, err
	}
	return readAnswer(c.reader, body)
}

// readAnswer knows what a server sends that was sent the request above: a length or chunks, and no trailers.
func readAnswer(reader *bufio.Reader, body io.Writer) (int, error) {
	line, err := readLine(reader)
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("not an HTTP/1.1 answer: %.80q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length, chunked := int64(-1), false
	for {
		line, err := readLine(reader)
		if err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = strings.EqualFold(string(bytes.TrimSpace(value)), "chunked")
		}
	}
	if chunked {
		return status, copyChunks(body, reader)
	}
	if length < 0 {
		return 0, errors.New("an answer with neither a length nor chunks")
	}
	_, err = io.CopyN(body, reader, length)
	return status, err
}

func copyChunks(body io.Writer, reader *bufio.Reader) error {
	for {
		line, err := readLine(reader)
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(line), 16, 64)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(body, reader, size); err != nil {
			return err
		}
		if _, err := readLine(reader); err != nil || size == 0 {
			return err
		}
	}
}

// readLine returns a line without its end, valid until the next read.
func readLine(reader *bufio.Reader) ([]byte, error) {
	line, err := reader.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

func summarise(results []result, took time.Duration) summary {
	found := summary{Seconds: took.Seconds(), Statuses: map[int]int{}}
	var latencies []time.Duration
	for _, one := range results {
		latencies = append(latencies, one.latencies...)
		found.Errors += one.errors
		for status, count := range one.statuses {
			found.Statuses[status] += count
		}
	}
	slices.Sort(latencies)
	found.Requests = len(latencies)
	found.P50, found.P90, found.P99 = quantile(latencies, 50), quantile(latencies, 90), quantile(latencies, 99)
	return found
}

// quantile in microseconds, of sorted latencies.
func quantile(latencies []time.Duration, percent int) float64 {
	if len(latencies) == 0 {
		return 0
	}
	return float64(latencies[(len(latencies)-1)*percent/100].Nanoseconds()) / 1000
}
