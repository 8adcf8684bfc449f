package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tree is an object of the API as JSON has it, without apiVersion and kind.
type tree = map[string]any

// owned is a set of fields: paths as metadata.managedFields has them (f:data, f:.dockerconfigjson), joined by end.
type owned map[string]bool

const end = "\x00"

type manager struct {
	Manager    string          `json:"manager"`
	Operation  string          `json:"operation"`
	APIVersion string          `json:"apiVersion"`
	Time       string          `json:"time,omitempty"`
	FieldsType string          `json:"fieldsType"`
	FieldsV1   json.RawMessage `json:"fieldsV1"`
	fields     owned
}

const (
	byApply  = "Apply"
	byUpdate = "Update"
)

// Lists whose items are fields of their own, by path of names: the key of an item, "" for sets of texts. Items of those
// in whole are one field each.
var (
	keys  = map[string]string{"metadata.ownerReferences": "uid", "metadata.finalizers": "", "webhooks": "name"}
	whole = map[string]bool{"metadata.ownerReferences": true}
)

// What the API server itself sets, or what only identifies.
var nobodys = []string{
	"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields",
	"generateName", "selfLink", "deletionGracePeriodSeconds",
}

// leaves gives the value of each field.
func leaves(object tree) map[string]any {
	found := map[string]any{}
	gather(object, "", "", found)
	for _, name := range nobodys {
		delete(found, "f:metadata"+end+"f:"+name)
	}
	for _, name := range []string{"apiVersion", "kind"} {
		delete(found, "f:"+name)
	}
	maps.DeleteFunc(found, func(path string, _ any) bool { return strings.HasPrefix(path, "f:metadata"+end+"f:managedFields") })
	return found
}

func gather(value any, path, names string, found map[string]any) {
	switch now := value.(type) {
	case tree:
		if len(now) > 0 {
			for name, part := range now {
				gather(part, joined(path, "f:"+name), dotted(names, name), found)
			}
			return
		}
	case []any:
		if key, listed := keys[names]; listed {
			for _, item := range now {
				at := joined(path, itemOf(item, key))
				if whole[names] || key == "" {
					found[at] = item
				} else {
					gather(item, at, names+".*", found)
				}
			}
			return
		}
	}
	found[path] = value
}

func joined(path, element string) string {
	if path == "" {
		return element
	}
	return path + end + element
}

func dotted(names, name string) string {
	if names == "" {
		return name
	}
	return names + "." + name
}

func itemOf(item any, key string) string {
	if key == "" {
		text, _ := json.Marshal(item)
		return "v:" + string(text)
	}
	text, _ := json.Marshal(item.(tree)[key])
	return fmt.Sprintf(`k:{"%s":%s}`, key, text)
}

// put sets a field, and makes what it is in.
func put(object tree, path string, value any) {
	elements := strings.Split(path, end)
	within(object, elements, "", func(holder tree, name string) { holder[name] = value }, value)
}

// remove takes a field away, and what is empty then.
func remove(object tree, path string) { prune(object, strings.Split(path, end), "") }

func within(holder tree, elements []string, names string, do func(tree, string), value any) {
	name := elements[0][2:]
	names = dotted(names, name)
	key, listed := keys[names]
	switch {
	case len(elements) == 1:
		do(holder, name)
	case listed:
		list, _ := holder[name].([]any)
		at := slices.IndexFunc(list, func(item any) bool { return itemOf(item, key) == elements[1] })
		switch {
		case len(elements) == 2 && at < 0:
			holder[name] = append(slices.Clone(list), value)
		case len(elements) == 2:
			list = slices.Clone(list)
			list[at] = value
			holder[name] = list
		default:
			if at < 0 {
				var named tree // so that it is found for its next field
				_ = json.Unmarshal([]byte(strings.TrimPrefix(elements[1], "k:")), &named)
				list, at = append(slices.Clone(list), named), len(list)
				holder[name] = list
			}
			within(list[at].(tree), elements[2:], names+".*", do, value)
		}
	default:
		next, ok := holder[name].(tree)
		if !ok {
			next = tree{}
			holder[name] = next
		}
		within(next, elements[1:], names, do, value)
	}
}

func prune(holder tree, elements []string, names string) {
	name := elements[0][2:]
	names = dotted(names, name)
	key, listed := keys[names]
	if len(elements) == 1 {
		delete(holder, name)
		return
	}
	if listed {
		list, _ := holder[name].([]any)
		list = slices.DeleteFunc(slices.Clone(list), func(item any) bool {
			if itemOf(item, key) != elements[1] {
				return false
			}
			if len(elements) == 2 {
				return true
			}
			prune(item.(tree), elements[2:], names+".*")
			return len(item.(tree)) == 0
		})
		if holder[name] = list; len(list) == 0 {
			delete(holder, name)
		}
		return
	}
	if next, ok := holder[name].(tree); ok {
		if prune(next, elements[1:], names); len(next) == 0 {
			delete(holder, name)
		}
	}
}

// -- metadata.managedFields --

func managersOf(object tree) []manager {
	metadata, _ := object["metadata"].(tree)
	raw, ok := metadata["managedFields"]
	if !ok {
		return nil
	}
	text, _ := json.Marshal(raw)
	var found []manager
	if json.Unmarshal(text, &found) != nil {
		return nil
	}
	for i := range found {
		var nested tree
		_ = json.Unmarshal(found[i].FieldsV1, &nested)
		found[i].fields = owned{}
		flatten(nested, "", found[i].fields)
	}
	return found
}

func flatten(nested tree, path string, into owned) {
	for element, part := range nested {
		if element == "." {
			continue
		}
		inner, _ := part.(tree)
		if len(inner) == 0 || len(inner) == 1 && inner["."] != nil {
			into[joined(path, element)] = true
			continue
		}
		flatten(inner, joined(path, element), into)
	}
}

// setManagers writes those that own something.
func setManagers(object tree, all []manager) {
	kept := []any{}
	for _, one := range all {
		if len(one.fields) == 0 {
			continue
		}
		nested := tree{}
		for path := range one.fields {
			at := nested
			for _, element := range strings.Split(path, end) {
				next, ok := at[element].(tree)
				if !ok {
					next = tree{}
					at[element] = next
				}
				at = next
			}
		}
		kept = append(kept, tree{
			"manager": one.Manager, "operation": one.Operation, "apiVersion": one.APIVersion, "time": one.Time,
			"fieldsType": "FieldsV1", "fieldsV1": nested,
		})
	}
	metadata := object["metadata"].(tree)
	if metadata["managedFields"] = kept; len(kept) == 0 {
		delete(metadata, "managedFields")
	}
}

func find(all []manager, name, operation, version string) ([]manager, int) {
	for i, one := range all {
		if one.Manager == name && one.Operation == operation {
			return all, i
		}
	}
	return append(all, manager{Manager: name, Operation: operation, APIVersion: version, fields: owned{}}), len(all)
}

// applied is what server-side apply makes of an object: the conflicts, if it may not.
func applied(live, wanted tree, name, version, now string, force bool) (tree, []string) {
	after := clone(live).(tree)
	all, mine := find(managersOf(live), name, byApply, version)
	stands, wants := leaves(live), leaves(wanted)
	taken := map[string][]string{}
	for path, value := range wants {
		if there, ok := stands[path]; ok && same(there, value) {
			continue
		}
		for i, one := range all {
			if i != mine && one.fields[path] {
				taken[one.Manager] = append(taken[one.Manager], path)
			}
		}
	}
	if len(taken) > 0 && !force {
		return nil, conflicts(taken, version)
	}
	for i := range all {
		if i != mine {
			for _, path := range taken[all[i].Manager] {
				delete(all[i].fields, path)
			}
		}
	}
	before := all[mine].fields
	for path := range before {
		if _, wanted := wants[path]; wanted || slices.ContainsFunc(others(all, mine), func(one manager) bool { return one.fields[path] }) {
			continue
		}
		remove(after, path)
	}
	all[mine].fields = owned{}
	for _, path := range slices.Sorted(maps.Keys(wants)) {
		put(after, path, clone(wants[path]))
		all[mine].fields[path] = true
	}
	if !maps.Equal(before, all[mine].fields) || !same(leaves(after), stands) {
		all[mine].Time = now
	}
	setManagers(after, all)
	return after, nil
}

func others(all []manager, but int) []manager {
	return append(slices.Clone(all[:but]), all[but+1:]...)
}

func conflicts(taken map[string][]string, version string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(taken)) {
		for _, path := range slices.Sorted(slices.Values(taken[name])) {
			readable := strings.ReplaceAll(path, end, ".")
			readable = "." + strings.ReplaceAll(readable, "f:", "")
			lines = append(lines, fmt.Sprintf("conflict with %q using %s: %s", name, version, readable))
		}
	}
	return lines
}

// updated notes who changed what in a write that is no apply.
func updated(before, after tree, name, version, now string) {
	all, mine := find(managersOf(before), name, byUpdate, version)
	was, is := leaves(before), leaves(after)
	changed := false
	for path, value := range is {
		if there, ok := was[path]; ok && same(there, value) {
			continue
		}
		changed = true
		for i := range all {
			delete(all[i].fields, path)
		}
		all[mine].fields[path] = true
	}
	for path := range was {
		if _, stays := is[path]; !stays {
			changed = true
			for i := range all {
				delete(all[i].fields, path)
			}
		}
	}
	if changed {
		all[mine].Time = now
	}
	setManagers(after, all)
}

// merged is a JSON merge patch (RFC 7386). byName: of lists whose items have names, items are merged by them, as a
// strategic merge patch does it.
func merged(target, patch any, byName bool) any {
	changes, ok := patch.(tree)
	if !ok {
		if list, isList := patch.([]any); isList && byName {
			return mergedList(target, list)
		}
		return patch
	}
	into, ok := target.(tree)
	if !ok {
		into = tree{}
	}
	for key, value := range changes {
		if value == nil {
			delete(into, key)
		} else {
			into[key] = merged(into[key], value, byName)
		}
	}
	return into
}

func mergedList(target any, patch []any) any {
	into, _ := target.([]any)
	for _, one := range patch {
		named, ok := one.(tree)
		if !ok || named["name"] == nil {
			return patch
		}
		at := slices.IndexFunc(into, func(item any) bool { t, ok := item.(tree); return ok && t["name"] == named["name"] })
		if at < 0 {
			into = append(into, named)
		} else {
			into[at] = merged(into[at], named, true)
		}
	}
	return into
}

func clone(value any) any {
	switch now := value.(type) {
	case tree:
		made := make(tree, len(now))
		for key, part := range now {
			made[key] = clone(part)
		}
		return made
	case []any:
		made := make([]any, len(now))
		for i, part := range now {
			made[i] = clone(part)
		}
		return made
	}
	return value
}

func same(a, b any) bool {
	switch one := a.(type) {
	case tree:
		other, ok := b.(tree)
		if !ok || len(one) != len(other) {
			return false
		}
		for key, part := range one {
			if there, ok := other[key]; !ok || !same(part, there) {
				return false
			}
		}
		return true
	case []any:
		other, ok := b.([]any)
		return ok && slices.EqualFunc(one, other, same)
	}
	return a == b
}
