package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// resource is one kind of object, and where it is in the API.
type resource struct {
	group, plural, kind string
	namespaced          bool
}

func (r resource) apiVersion() string {
	if r.group == "" {
		return "v1"
	}
	return r.group + "/v1"
}

// qualified is its name in messages.
func (r resource) qualified() string {
	if r.group == "" {
		return r.plural
	}
	return r.plural + "." + r.group
}

var resources = []resource{
	{"", "namespaces", "Namespace", false},
	{"", "secrets", "Secret", true},
	{"", "serviceaccounts", "ServiceAccount", true},
	{"coordination.k8s.io", "leases", "Lease", true},
	{"events.k8s.io", "events", "Event", true},
	{"admissionregistration.k8s.io", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", false},
}

// object never changes: a write replaces it. JSON of its metadata, and of all other fields without the braces.
type object struct {
	namespace, name string
	version         uint64
	meta, rest      []byte
}

func key(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func (o *object) tree() tree {
	var whole tree
	if err := json.Unmarshal(o.body(), &whole); err != nil {
		panic(err)
	}
	return whole
}

// body is the object as an item of a list has it.
func (o *object) body() []byte {
	made := make([]byte, 0, len(o.meta)+len(o.rest)+16)
	made = append(append(made, `{"metadata":`...), o.meta...)
	if len(o.rest) > 0 {
		made = append(append(made, ','), o.rest...)
	}
	return append(made, '}')
}

func pack(of tree) *object {
	metadata := of["metadata"].(tree)
	text := func(name string) string { found, _ := metadata[name].(string); return found }
	version, _ := strconv.ParseUint(text("resourceVersion"), 10, 64)
	meta, rest := encoded(metadata), tree{}
	for name, value := range of {
		if name != "metadata" && name != "apiVersion" && name != "kind" {
			rest[name] = value
		}
	}
	others := encoded(rest)
	return &object{text("namespace"), text("name"), version, meta, others[1 : len(others)-1]}
}

func encoded(value any) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return bytes.Clone(bytes.TrimRight(buffer.Bytes(), "\n"))
}

// event has the object before it, too: for those who watch a part.
type event struct {
	kind          string
	object, older *object
	at            time.Time
}

type table struct {
	resource
	objects map[string]*object
	order   []string // of keys; nil: to be made
	log     []event
	first   uint64 // how many events were dropped
	oldest  uint64 // the version of the last one that was dropped
	newest  uint64 // the version of the last event
	news    chan struct{}
}

// store has all objects. One version counts for all kinds.
type store struct {
	sync.Mutex
	version   uint64
	tables    map[string]*table // by qualified name
	snapshots map[string]*snapshot
	history   time.Duration
}

// snapshot is what the further pages of a list are taken from.
type snapshot struct {
	items   []*object
	version uint64
	until   time.Time
}

const snapshotLasts = 5 * time.Minute

func newStore(history time.Duration) *store {
	made := &store{version: 2, tables: map[string]*table{}, snapshots: map[string]*snapshot{}, history: history}
	for _, one := range resources {
		made.tables[one.qualified()] = &table{
			resource: one, objects: map[string]*object{}, news: make(chan struct{}), oldest: 2,
		}
	}
	return made
}

// set writes an object under a new version, and gives it as it stands. With the lock held.
func (s *store) set(t *table, of tree) *object {
	s.version++
	of["metadata"].(tree)["resourceVersion"] = strconv.FormatUint(s.version, 10)
	made := pack(of)
	at := key(made.namespace, made.name)
	older := t.objects[at]
	kind := "MODIFIED"
	if older == nil {
		kind, t.order = "ADDED", nil
	}
	t.objects[at] = made
	t.tell(event{kind, made, older, time.Now()}, s.history)
	return made
}

// drop deletes an object. With the lock held.
func (s *store) drop(t *table, old *object) *object {
	s.version++
	of := old.tree()
	of["metadata"].(tree)["resourceVersion"] = strconv.FormatUint(s.version, 10)
	gone := pack(of)
	delete(t.objects, key(old.namespace, old.name))
	t.order = nil
	t.tell(event{"DELETED", gone, old, time.Now()}, s.history)
	return gone
}

func (t *table) tell(one event, history time.Duration) {
	t.log, t.newest = append(t.log, one), one.object.version
	old := 0
	for old < len(t.log) && one.at.Sub(t.log[old].at) > history {
		old++
	}
	if old > len(t.log)/2 && old > 1000 { // seldom, as it copies
		t.first, t.oldest = t.first+uint64(old), t.log[old-1].object.version
		t.log = slices.Clone(t.log[old:])
	}
	close(t.news)
	t.news = make(chan struct{})
}

// chosen are those that a selection has, in the order of their keys. With the lock held.
func (t *table) chosen(what selection) []*object {
	if what.namespace != "" && what.name != "" {
		if one := t.objects[key(what.namespace, what.name)]; one != nil && what.has(one) {
			return []*object{one}
		}
		return nil
	}
	if t.order == nil {
		t.order = make([]string, 0, len(t.objects))
		for at := range t.objects {
			t.order = append(t.order, at)
		}
		slices.Sort(t.order)
	}
	found := make([]*object, 0, len(t.order))
	for _, at := range t.order {
		if one := t.objects[at]; what.has(one) {
			found = append(found, one)
		}
	}
	return found
}

// keep holds the rest of a list. With the lock held.
func (s *store) keep(items []*object) string {
	now := time.Now()
	for id, one := range s.snapshots {
		if now.After(one.until) {
			delete(s.snapshots, id)
		}
	}
	id := rand.Text()
	s.snapshots[id] = &snapshot{items, s.version, now.Add(snapshotLasts)}
	return id
}

// selection is what a list or a watch asks for.
type selection struct {
	namespace, name string
	labels          []requirement
}

type requirement struct {
	key    string
	values []string // nil: any
	not    bool
}

func (s selection) has(one *object) bool {
	if one == nil || s.namespace != "" && one.namespace != s.namespace || s.name != "" && one.name != s.name {
		return false
	}
	if len(s.labels) == 0 {
		return true
	}
	var seen struct {
		Labels map[string]string `json:"labels"`
	}
	if json.Unmarshal(one.meta, &seen) != nil {
		return false
	}
	for _, wanted := range s.labels {
		value, there := seen.Labels[wanted.key]
		if (there && (wanted.values == nil || slices.Contains(wanted.values, value))) == wanted.not {
			return false
		}
	}
	return true
}

func selected(namespace, fields, labels string) (selection, error) {
	what := selection{namespace: namespace}
	for _, one := range strings.Split(fields, ",") {
		name, value, _ := strings.Cut(one, "=")
		switch value = strings.TrimPrefix(value, "="); name {
		case "":
		case "metadata.name":
			what.name = value
		case "metadata.namespace":
			what.namespace = value
		default:
			return what, fmt.Errorf("field label not supported: %s", name)
		}
	}
	for labels != "" {
		var one string
		if one, labels = cutLabel(labels); one == "" {
			return what, fmt.Errorf("unable to parse requirement: %s", labels)
		}
		what.labels = append(what.labels, required(one))
	}
	return what, nil
}

// cutLabel takes the first requirement off: commas within parentheses divide values.
func cutLabel(text string) (string, string) {
	depth := 0
	for i, letter := range text {
		switch {
		case letter == '(':
			depth++
		case letter == ')':
			depth--
		case letter == ',' && depth == 0:
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

func required(text string) requirement {
	text = strings.TrimSpace(text)
	for _, word := range []string{" notin ", " in "} {
		if name, values, found := strings.Cut(text, word); found {
			list := strings.Split(strings.Trim(strings.TrimSpace(values), "()"), ",")
			return requirement{strings.TrimSpace(name), list, word == " notin "}
		}
	}
	if name, value, found := strings.Cut(text, "!="); found {
		return requirement{name, []string{value}, true}
	}
	if name, value, found := strings.Cut(text, "="); found {
		return requirement{name, []string{strings.TrimPrefix(value, "=")}, false}
	}
	return requirement{strings.TrimPrefix(text, "!"), nil, strings.HasPrefix(text, "!")}
}

// uid makes one as Kubernetes has them.
func uid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func timestamp() string { return time.Now().UTC().Format(time.RFC3339) }
