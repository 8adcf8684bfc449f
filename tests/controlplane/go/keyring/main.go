// The kubelet's own keyring. Reads a JSON object in each line, {"secrets": [{"type", "data": {key: base64}}], "images":
// [...]}, and answers with one: {"error"} if the kubelet can parse one of the Secrets not at all, which fails every pull,
// else {"found": [[[username, password], ...] for each image]}, in the order in which the kubelet tries them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/credentialprovider"
	"k8s.io/kubernetes/pkg/credentialprovider/secrets"
)

type question struct {
	Secrets []v1.Secret
	Images  []string
}

type answer struct {
	Error string        `json:"error,omitempty"`
	Found [][][2]string `json:"found"`
}

func ask(q question) answer {
	keyring, err := secrets.MakeDockerKeyring(q.Secrets, &credentialprovider.BasicDockerKeyring{})
	if err != nil {
		return answer{Error: err.Error()}
	}
	found := make([][][2]string, len(q.Images))
	for i, image := range q.Images {
		found[i] = [][2]string{}
		configs, _ := keyring.Lookup(image)
		for _, config := range configs {
			found[i] = append(found[i], [2]string{config.Username, config.Password})
		}
	}
	return answer{Found: found}
}

func main() {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for in.More() {
		var q question
		if err := in.Decode(&q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := out.Encode(ask(q)); err != nil {
			os.Exit(2)
		}
	}
}
