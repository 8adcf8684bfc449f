package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// refusal is a Status of the API server.
type refusal struct {
	code            int
	reason, message string
}

func (r *refusal) Error() string { return r.message }

func notFound(t *table, name string) *refusal {
	return &refusal{http.StatusNotFound, "NotFound", fmt.Sprintf("%s %q not found", t.qualified(), name)}
}

func conflict(t *table, name, why string) *refusal {
	what := fmt.Sprintf("Operation cannot be fulfilled on %s %q: %s", t.qualified(), name, why)
	return &refusal{http.StatusConflict, "Conflict", what}
}

func invalid(t *table, name, why string) *refusal {
	return &refusal{http.StatusUnprocessableEntity, "Invalid", fmt.Sprintf("%s %q is invalid: %s", t.kind, name, why)}
}

const modified = "the object has been modified; please apply your changes to the latest version and try again"

// write is one request that changes something. older nil: it creates.
type write struct {
	*table
	namespace, name, user, manager string
	dryRun                         bool
	older                          *object
}

func (s *store) begin(r request) write {
	w := write{r.table, r.namespace, r.name, r.user, r.manager, r.dryRun, nil}
	w.older = w.objects[key(w.namespace, w.name)]
	return w
}

func metadataOf(of tree) tree {
	found, ok := of["metadata"].(tree)
	if !ok {
		found = tree{}
		of["metadata"] = found
	}
	return found
}

func textAt(of tree, path ...string) string {
	var at any = of
	for _, name := range path {
		inner, _ := at.(tree)
		at = inner[name]
	}
	found, _ := at.(string)
	return found
}

// apply is server-side apply.
func (s *store) apply(r request, body tree) (*object, int, error) {
	s.Lock()
	defer s.Unlock()
	w := s.begin(r)
	version := w.apiVersion()
	normalise(w.table, body)
	if w.older == nil {
		if textAt(body, "metadata", "uid") != "" {
			return nil, 0, &refusal{http.StatusConflict, "Conflict",
				conflict(w.table, w.name, "uid mismatch: the provided object specified uid, and no existing object was found").message}
		}
		made := clone(body).(tree)
		delete(metadataOf(made), "managedFields")
		after, _ := applied(tree{"metadata": tree{}}, made, w.manager, version, timestamp(), true)
		metadataOf(after)["name"] = w.name
		found, err := s.create(w, after)
		return found, http.StatusCreated, err
	}
	live := w.older.tree()
	if at := textAt(body, "metadata", "resourceVersion"); at != "" && at != textAt(live, "metadata", "resourceVersion") {
		return nil, 0, conflict(w.table, w.name, modified)
	}
	after, lost := applied(live, body, w.manager, version, timestamp(), r.force)
	if lost != nil {
		return nil, 0, &refusal{http.StatusConflict, "Conflict", conflicted(lost)}
	}
	if at := textAt(body, "metadata", "uid"); at != "" {
		metadataOf(after)["uid"] = at
	}
	found, err := s.update(w, live, after)
	return found, http.StatusOK, err
}

func conflicted(lost []string) string {
	if len(lost) == 1 {
		return "Apply failed with 1 conflict: " + lost[0]
	}
	lines := strings.ReplaceAll(strings.Join(lost, "\n"), "conflict with", "conflicts with")
	return fmt.Sprintf("Apply failed with %d conflicts: %s", len(lost), lines)
}

// patch is a merge patch, or a strategic one of lists whose items have names.
func (s *store) patch(r request, body tree, strategic bool) (*object, int, error) {
	return s.change(r, func(live tree) tree { return merged(clone(live), body, strategic).(tree) })
}

// replace is PUT.
func (s *store) replace(r request, body tree) (*object, int, error) {
	return s.change(r, func(live tree) tree {
		for _, name := range []string{"uid", "resourceVersion", "creationTimestamp"} {
			if metadataOf(body)[name] == nil {
				metadataOf(body)[name] = metadataOf(live)[name]
			}
		}
		return body
	})
}

// change makes what stands into another object.
func (s *store) change(r request, into func(live tree) tree) (*object, int, error) {
	s.Lock()
	defer s.Unlock()
	w := s.begin(r)
	if w.older == nil {
		return nil, 0, notFound(w.table, w.name)
	}
	live := w.older.tree()
	after := into(live)
	normalise(w.table, after)
	updated(live, after, w.manager, w.apiVersion(), timestamp())
	found, err := s.update(w, live, after)
	return found, http.StatusOK, err
}

// post is a creation.
func (s *store) post(r request, body tree) (*object, int, error) {
	s.Lock()
	defer s.Unlock()
	metadata := metadataOf(body)
	if prefix := textAt(body, "metadata", "generateName"); prefix != "" && textAt(body, "metadata", "name") == "" {
		metadata["name"] = prefix + strings.ToLower(rand.Text()[:5])
	}
	r.name = textAt(body, "metadata", "name")
	w := s.begin(r)
	if w.name == "" {
		return nil, 0, invalid(w.table, "", "metadata.name: Required value: name or generateName is required")
	}
	if w.older != nil {
		why := fmt.Sprintf("%s %q already exists", w.qualified(), w.name)
		return nil, 0, &refusal{http.StatusConflict, "AlreadyExists", why}
	}
	normalise(w.table, body)
	delete(metadata, "managedFields")
	updated(tree{"metadata": tree{}}, body, w.manager, w.apiVersion(), timestamp())
	found, err := s.create(w, body)
	return found, http.StatusCreated, err
}

func (s *store) create(w write, of tree) (*object, error) {
	metadata := metadataOf(of)
	if w.namespaced {
		space := s.tables["namespaces"].objects[w.namespace]
		if space == nil {
			return nil, notFound(s.tables["namespaces"], w.namespace)
		}
		if textAt(space.tree(), "metadata", "deletionTimestamp") != "" {
			why := fmt.Sprintf("%s %q is forbidden: unable to create new content in namespace %s because it is being terminated",
				w.qualified(), w.name, w.namespace)
			return nil, &refusal{http.StatusForbidden, "Forbidden", why}
		}
		metadata["namespace"] = w.namespace
	}
	metadata["uid"], metadata["creationTimestamp"] = uid(), timestamp()
	delete(metadata, "resourceVersion")
	if w.plural == "secrets" && of["type"] == nil {
		of["type"] = "Opaque"
	}
	if err := s.policy(w, nil, of); err != nil {
		return nil, err
	}
	if w.plural == "namespaces" {
		of["spec"], of["status"] = tree{"finalizers": []any{"kubernetes"}}, tree{"phase": "Active"}
		labels, _ := metadata["labels"].(tree)
		if labels == nil {
			labels = tree{}
		}
		labels["kubernetes.io/metadata.name"] = w.name
		metadata["labels"] = labels
	}
	if w.dryRun {
		return pack(of), nil
	}
	made := s.set(w.table, of)
	if w.plural == "namespaces" {
		account := tree{"metadata": tree{"name": "default", "namespace": w.name, "uid": uid(), "creationTimestamp": timestamp()}}
		s.set(s.tables["serviceaccounts"], account)
	}
	return made, nil
}

func (s *store) update(w write, live, after tree) (*object, error) {
	was, is := metadataOf(live), metadataOf(after)
	if is["resourceVersion"] != was["resourceVersion"] {
		return nil, conflict(w.table, w.name, modified)
	}
	if is["uid"] != was["uid"] {
		return nil, invalid(w.table, w.name, fmt.Sprintf("metadata.uid: Invalid value: %q: field is immutable", is["uid"]))
	}
	if w.plural == "secrets" {
		if !same(live["type"], after["type"]) {
			return nil, invalid(w.table, w.name, "type: Invalid value: field is immutable")
		}
		if live["immutable"] == true && (!same(live["data"], after["data"]) || after["immutable"] != true) {
			return nil, invalid(w.table, w.name, "data: Forbidden: field is immutable when `immutable` is set")
		}
	}
	if err := s.policy(w, live, after); err != nil {
		return nil, err
	}
	if w.dryRun {
		return pack(after), nil
	}
	if is["deletionTimestamp"] != nil && is["finalizers"] == nil {
		return s.drop(w.table, w.older), nil
	}
	if same(live, after) {
		return w.older, nil
	}
	return s.set(w.table, after), nil
}

// remove is DELETE. The object is given if it is still there.
func (s *store) remove(r request, options tree) (*object, error) {
	s.Lock()
	defer s.Unlock()
	w := s.begin(r)
	if w.older == nil {
		return nil, notFound(w.table, w.name)
	}
	live := w.older.tree()
	for _, name := range []string{"uid", "resourceVersion"} {
		if wanted, is := textAt(options, "preconditions", name), textAt(live, "metadata", name); wanted != "" && wanted != is {
			return nil, conflict(w.table, w.name,
				fmt.Sprintf("Precondition failed: %s in precondition: %s, %s in object meta: %s", name, wanted, name, is))
		}
	}
	if err := s.policy(w, live, nil); err != nil {
		return nil, err
	}
	if w.dryRun {
		return nil, nil
	}
	metadata := metadataOf(live)
	held := metadata["finalizers"] != nil || w.plural == "namespaces"
	if !held {
		s.drop(w.table, w.older)
		return nil, nil
	}
	if metadata["deletionTimestamp"] == nil {
		metadata["deletionTimestamp"] = timestamp()
		w.older = s.set(w.table, live)
		if w.plural == "namespaces" {
			s.empty(w.name)
			s.drop(w.table, w.older)
		}
	}
	return w.older, nil
}

// empty does what the namespace controller does. What has a finalizer goes, too.
func (s *store) empty(namespace string) {
	for _, t := range s.tables {
		if t.namespaced {
			for _, one := range t.chosen(selection{namespace: namespace}) {
				s.drop(t, one)
			}
		}
	}
}

// normalise does what the API server does to an object before it compares it.
func normalise(t *table, of tree) {
	delete(of, "apiVersion")
	delete(of, "kind")
	if t.plural != "secrets" {
		return
	}
	if texts, ok := of["stringData"].(tree); ok {
		data, _ := of["data"].(tree)
		if data == nil {
			data = tree{}
		}
		for name, text := range texts {
			data[name] = base64.StdEncoding.EncodeToString([]byte(text.(string)))
		}
		of["data"] = data
		delete(of, "stringData")
	}
	if finalizers, ok := metadataOf(of)["finalizers"].([]any); ok && len(finalizers) == 0 {
		delete(metadataOf(of), "finalizers")
	}
}

func decoded(body []byte) (tree, error) {
	of := tree{}
	if len(body) == 0 {
		return of, nil
	}
	if err := json.Unmarshal(body, &of); err != nil || of == nil {
		return nil, &refusal{http.StatusBadRequest, "BadRequest", "the body of the request cannot be decoded"}
	}
	return of, nil
}
