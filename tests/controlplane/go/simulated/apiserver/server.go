package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// server is the API over HTTP. Everybody who is known may do everything: RBAC is not simulated.
type server struct {
	*store
	writeTakes time.Duration
	writing    chan struct{} // has room for those that go on at a time
	audit      *os.File
	audited    string // the user whose requests are logged
	users      sync.Map
}

// request is what its path, its query and its headers say.
type request struct {
	*table
	namespace, name, sub string
	verb, user, manager  string
	dryRun, force        bool
	partial              bool // metadata only
}

const maxBody = 4 << 20

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "z") { // livez, readyz, healthz
		_, _ = io.WriteString(w, "ok")
		return
	}
	user := s.userOf(r)
	if user == "" {
		s.refuse(w, &refusal{http.StatusUnauthorized, "Unauthorized", "Unauthorized"})
		return
	}
	switch r.URL.Path {
	case "/seed":
		s.seed(w, r)
		return
	case "/seed/secrets":
		s.seedSecrets(w, r)
		return
	}
	asked, ok := s.parse(r, user)
	if !ok {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	status := s.answer(w, r, asked)
	if s.audit != nil && user == s.audited {
		s.note(r, asked, status)
	}
}

func (s *server) userOf(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return r.TLS.PeerCertificates[0].Subject.CommonName
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if user, ok := s.users.Load(token); ok && token != "" {
		return user.(string)
	}
	return ""
}

func (s *server) parse(r *http.Request, user string) (request, bool) {
	words := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	asked, query := request{user: user}, r.URL.Query()
	group := ""
	switch {
	case len(words) > 2 && words[0] == "api" && words[1] == "v1":
		words = words[2:]
	case len(words) > 3 && words[0] == "apis" && words[2] == "v1":
		group, words = words[1], words[3:]
	default:
		return asked, false
	}
	if words[0] == "namespaces" && len(words) > 2 {
		asked.namespace, words = words[1], words[2:]
	}
	plural := words[0]
	if group != "" {
		plural += "." + group
	}
	if asked.table = s.tables[plural]; asked.table == nil {
		return asked, false
	}
	if len(words) > 1 {
		asked.name = words[1]
	}
	if len(words) > 2 {
		asked.sub = words[2]
	}
	asked.dryRun, asked.force = query.Get("dryRun") == "All", query.Get("force") == "true"
	if asked.manager = query.Get("fieldManager"); asked.manager == "" {
		asked.manager, _, _ = strings.Cut(r.Header.Get("User-Agent"), "/")
	}
	asked.partial = strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	asked.verb = map[string]string{"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[r.Method]
	if r.Method == http.MethodGet {
		switch watch := query.Get("watch"); {
		case asked.name != "":
			asked.verb = "get"
		case watch == "true" || watch == "1":
			asked.verb = "watch"
		default:
			asked.verb = "list"
		}
	}
	return asked, asked.verb != ""
}

// answer gives the status.
func (s *server) answer(w http.ResponseWriter, r *http.Request, asked request) (status int) {
	defer func() {
		if failed := recover(); failed != nil {
			status = s.refuse(w, &refusal{http.StatusInternalServerError, "InternalError", fmt.Sprint(failed)})
		}
	}()
	switch asked.verb {
	case "list":
		return s.list(w, r, asked)
	case "watch":
		return s.watch(w, r, asked)
	case "get":
		s.Lock()
		found := asked.objects[key(asked.namespace, asked.name)]
		s.Unlock()
		if found == nil {
			return s.refuse(w, notFound(asked.table, asked.name))
		}
		return s.give(w, asked, found, http.StatusOK)
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return s.refuse(w, &refusal{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", err.Error()})
	}
	body, err := decoded(text)
	if err != nil {
		return s.refuse(w, err)
	}
	s.writing <- struct{}{}
	time.Sleep(s.writeTakes)
	<-s.writing
	if asked.sub == "token" {
		return s.token(w, asked)
	}
	found, code, err := s.written(r, asked, body)
	if err != nil {
		return s.refuse(w, err)
	}
	if found == nil {
		gone := tree{"kind": "Status", "apiVersion": "v1", "metadata": tree{}, "status": "Success"}
		return s.send(w, http.StatusOK, encoded(gone))
	}
	return s.give(w, asked, found, code)
}

func (s *server) written(r *http.Request, asked request, body tree) (*object, int, error) {
	switch asked.verb {
	case "create":
		return s.post(asked, body)
	case "update":
		return s.replace(asked, body)
	case "delete":
		found, err := s.remove(asked, body)
		return found, http.StatusOK, err
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch kind {
	case "application/apply-patch+yaml":
		return s.apply(asked, body)
	case "application/merge-patch+json", "application/strategic-merge-patch+json":
		return s.patch(asked, body, strings.Contains(kind, "strategic"))
	}
	why := "the body of the request was in an unknown format: " + kind
	return nil, 0, &refusal{http.StatusUnsupportedMediaType, "UnsupportedMediaType", why}
}

func (s *server) give(w http.ResponseWriter, asked request, found *object, code int) int {
	var answer bytes.Buffer
	item(&answer, asked, found)
	return s.send(w, code, answer.Bytes())
}

// item is an object by itself, or its metadata.
func item(into *bytes.Buffer, asked request, one *object) {
	if asked.partial {
		into.WriteString(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":`)
		into.Write(one.meta)
	} else {
		fmt.Fprintf(into, `{"kind":%q,"apiVersion":%q,"metadata":`, asked.kind, asked.apiVersion())
		into.Write(one.meta)
		if len(one.rest) > 0 {
			into.WriteByte(',')
			into.Write(one.rest)
		}
	}
	into.WriteByte('}')
}

func (s *server) send(w http.ResponseWriter, code int, body []byte) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
	return code
}

func (s *server) refuse(w http.ResponseWriter, err error) int {
	why := &refusal{}
	if !errors.As(err, &why) {
		why = &refusal{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	return s.send(w, why.code, encoded(why.status()))
}

func (r *refusal) status() tree {
	return tree{
		"kind": "Status", "apiVersion": "v1", "metadata": tree{}, "status": "Failure",
		"message": r.message, "reason": r.reason, "code": r.code,
	}
}

// token is a TokenRequest: what it gives is known for as long as the server runs.
func (s *server) token(w http.ResponseWriter, asked request) int {
	given := rand.Text()
	s.users.Store(given, "system:serviceaccount:"+asked.namespace+":"+asked.name)
	return s.send(w, http.StatusCreated, encoded(tree{"status": tree{"token": given}}))
}

// -- lists --

func (s *server) list(w http.ResponseWriter, r *http.Request, asked request) int {
	query := r.URL.Query()
	what, err := selected(asked.namespace, query.Get("fieldSelector"), query.Get("labelSelector"))
	if err != nil {
		return s.refuse(w, &refusal{http.StatusBadRequest, "BadRequest", err.Error()})
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	items, version, more, left, err := s.page(asked.table, what, limit, query.Get("continue"))
	if err != nil {
		return s.refuse(w, err)
	}
	var answer bytes.Buffer
	kind, apiVersion := asked.kind+"List", asked.apiVersion()
	if asked.partial {
		kind, apiVersion = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	fmt.Fprintf(&answer, `{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"%d"`, kind, apiVersion, version)
	if more != "" {
		fmt.Fprintf(&answer, `,"continue":%q,"remainingItemCount":%d`, more, left)
	}
	answer.WriteString(`},"items":[`)
	for i, one := range items {
		if i > 0 {
			answer.WriteByte(',')
		}
		if asked.partial {
			item(&answer, asked, one)
		} else {
			answer.Write(one.body())
		}
	}
	answer.WriteString("]}")
	return s.send(w, http.StatusOK, answer.Bytes())
}

// page is a part of a list. All pages of one list are of the same moment. more: where the next one begins.
func (s *server) page(t *table, what selection, limit int, from string) (
	items []*object, version uint64, more string, left int, err error,
) {
	s.Lock()
	defer s.Unlock()
	var id string
	start := 0
	version = s.version
	if from == "" {
		items = t.chosen(what)
	} else {
		text, failed := base64.RawURLEncoding.DecodeString(from)
		where, at, _ := strings.Cut(string(text), ":")
		if start, err = strconv.Atoi(at); failed != nil || err != nil {
			return nil, 0, "", 0, &refusal{http.StatusBadRequest, "BadRequest", "continue key is not valid"}
		}
		kept := s.snapshots[where]
		if kept == nil || time.Now().After(kept.until) {
			why := "The provided continue parameter is too old to display a consistent list result."
			return nil, 0, "", 0, &refusal{http.StatusGone, "Expired", why}
		}
		id, items, version = where, kept.items, kept.version
	}
	stop := len(items)
	if limit > 0 && start+limit < stop {
		stop = start + limit
		if id == "" {
			id = s.keep(items)
		}
		more = base64.RawURLEncoding.EncodeToString([]byte(id + ":" + strconv.Itoa(stop)))
	} // the last page stays for a while: a client may ask for it once more
	return items[start:stop], version, more, len(items) - stop, nil
}

// -- watches --

const (
	bookmarkBefore = 2 * time.Second // a watch ends
	bookmarkEvery  = time.Minute
	watchLasts     = 30 * time.Minute
)

func (s *server) watch(w http.ResponseWriter, r *http.Request, asked request) int {
	query := r.URL.Query()
	what, err := selected(asked.namespace, query.Get("fieldSelector"), query.Get("labelSelector"))
	if err != nil {
		return s.refuse(w, &refusal{http.StatusBadRequest, "BadRequest", err.Error()})
	}
	after, err := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	if err != nil && query.Get("resourceVersion") != "" {
		return s.refuse(w, &refusal{http.StatusBadRequest, "BadRequest", "Invalid value for resourceVersion"})
	}
	lasts := watchLasts
	if seconds, _ := strconv.Atoi(query.Get("timeoutSeconds")); seconds > 0 {
		lasts = time.Duration(seconds) * time.Second
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	one := watcher{server: s, asked: asked, what: what, after: after, out: w}
	if query.Get("allowWatchBookmarks") == "true" || query.Get("allowWatchBookmarks") == "1" {
		one.bookmark = min(bookmarkEvery, max(lasts-bookmarkBefore, 0))
	}
	one.run(r, time.Now().Add(lasts))
	return http.StatusOK
}

type watcher struct {
	*server
	asked    request
	what     selection
	after    uint64 // versions up to here are known
	next     uint64 // of the events in the log, and those before it
	bookmark time.Duration
	out      http.ResponseWriter
	buffer   bytes.Buffer
}

func (w *watcher) run(r *http.Request, until time.Time) {
	if !w.begin() {
		return
	}
	ends := time.NewTimer(time.Until(until))
	defer ends.Stop()
	var marks <-chan time.Time
	if w.bookmark > 0 {
		timer := time.NewTimer(w.bookmark)
		defer timer.Stop()
		marks = timer.C
	}
	for {
		news, version, fine := w.events()
		if !fine {
			return
		}
		select {
		case <-news:
		case <-marks:
			if version > w.after { // as the real one, which says nothing where nothing happened
				w.frame("BOOKMARK", &object{meta: encoded(tree{"resourceVersion": strconv.FormatUint(version, 10)})})
				if !w.flush() {
					return
				}
			}
		case <-ends.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// begin finds its place, and says what there is if it was told no version. False: that is all.
func (w *watcher) begin() bool {
	w.Lock()
	t := w.asked.table
	w.next = t.first
	var there []*object
	if w.after == 0 {
		there, w.after, w.next = t.chosen(w.what), w.store.version, t.first+uint64(len(t.log))
	} else if w.after < t.oldest {
		w.Unlock()
		why := &refusal{http.StatusGone, "Expired", fmt.Sprintf("too old resource version: %d (%d)", w.after, t.oldest)}
		fmt.Fprintf(&w.buffer, `{"type":"ERROR","object":%s}`+"\n", encoded(why.status()))
		w.flush()
		return false
	}
	w.Unlock()
	for _, one := range there {
		w.frame("ADDED", one)
	}
	return w.flush()
}

// events sends what is new, and gives what to wait for, and the version of the newest.
func (w *watcher) events() (<-chan struct{}, uint64, bool) {
	w.Lock()
	t := w.asked.table
	if w.next < t.first { // too slow for the history
		w.Unlock()
		return nil, 0, false
	}
	fresh := t.log[w.next-t.first:]
	w.next += uint64(len(fresh))
	news, version := t.news, t.newest
	w.Unlock()
	for _, one := range fresh {
		if one.object.version > w.after {
			w.tell(one)
		}
	}
	return news, version, w.flush()
}

// tell says of a change what those see who see only a part.
func (w *watcher) tell(one event) {
	is, was := one.kind != "DELETED" && w.what.has(one.object), w.what.has(one.older)
	switch {
	case is && was:
		w.frame("MODIFIED", one.object)
	case is:
		w.frame("ADDED", one.object)
	case was:
		w.frame("DELETED", one.object)
	}
}

func (w *watcher) frame(kind string, one *object) {
	fmt.Fprintf(&w.buffer, `{"type":%q,"object":`, kind)
	item(&w.buffer, w.asked, one)
	w.buffer.WriteString("}\n")
}

func (w *watcher) flush() bool {
	if w.buffer.Len() > 0 {
		if _, err := w.out.Write(w.buffer.Bytes()); err != nil {
			return false
		}
		w.buffer.Reset()
	}
	return http.NewResponseController(w.out).Flush() == nil
}

// -- what was asked --

// note writes a line as the real one does at the level Metadata.
func (s *server) note(r *http.Request, asked request, status int) {
	reference := map[string]string{"resource": asked.plural, "namespace": asked.namespace, "name": asked.name}
	line, _ := json.Marshal(map[string]any{
		"verb": asked.verb, "requestURI": r.URL.RequestURI(), "user": map[string]string{"username": asked.user},
		"objectRef": reference, "responseStatus": map[string]int{"code": status},
	})
	_, _ = s.audit.Write(append(line, '\n'))
}

// seed makes namespaces of many owners: owners=25000&each=4. Each comes with its account, as when they are created.
func (s *server) seed(w http.ResponseWriter, r *http.Request) {
	owners, _ := strconv.Atoi(r.URL.Query().Get("owners"))
	each, _ := strconv.Atoi(r.URL.Query().Get("each"))
	s.Lock()
	defer s.Unlock()
	for number := range owners {
		owner := fmt.Sprintf("user-%03d", number)
		for i := range each {
			name := owner + "-" + string(rune('a'+i))
			of := tree{"metadata": tree{"name": name, "labels": tree{ownerKey: owner}}}
			updated(tree{"metadata": tree{}}, of, "seed", "v1", timestamp())
			if _, err := s.create(write{table: s.tables["namespaces"], name: name, user: "seed"}, of); err != nil {
				s.refuse(w, err)
				return
			}
		}
	}
	_, _ = io.WriteString(w, "ok")
}

// seedSecrets applies what comes as lines of {"path", "body"}, as the webhook would, but all in one request.
func (s *server) seedSecrets(w http.ResponseWriter, r *http.Request) {
	lines := json.NewDecoder(r.Body)
	for {
		var line struct {
			Path string
			Body tree
		}
		err := lines.Decode(&line)
		if errors.Is(err, io.EOF) {
			break
		}
		words := strings.Split(line.Path, "/") // /api/v1/namespaces/NAMESPACE/secrets/NAME
		if err == nil && len(words) == 7 {
			asked := request{table: s.tables["secrets"], namespace: words[4], name: words[6], user: account, manager: release}
			_, _, err = s.apply(asked, line.Body)
		}
		if err != nil {
			s.refuse(w, err)
			return
		}
	}
	_, _ = io.WriteString(w, "ok")
}
