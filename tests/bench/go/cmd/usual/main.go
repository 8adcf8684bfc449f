// Command usual is a mutating webhook as it is usually written on controller-runtime: it decodes the pod into its type,
// changes it, marshals it again and lets the library find the difference.
//
// With -kubeconfig it looks up the owner of the namespace in a cache of all namespaces, as the real ones do; without, it
// takes every namespace for an owned one, so that it can be measured without a cluster. It writes no Secret.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"

	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	ownerLabel = "pullsecret-webhook/owner"
	secretName = "ghcr-secret"
)

type injector struct {
	decoder    admission.Decoder
	namespaces client.Reader // nil: every namespace has an owner
}

func (i *injector) Handle(ctx context.Context, request admission.Request) admission.Response {
	pod := &corev1.Pod{}
	if err := i.decoder.Decode(request, pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	owned, err := i.owned(ctx, request.Namespace)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	reference := corev1.LocalObjectReference{Name: secretName}
	if !owned || slices.Contains(pod.Spec.ImagePullSecrets, reference) {
		return admission.Allowed("")
	}
	pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, reference)
	changed, err := json.Marshal(pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, changed)
}

func (i *injector) owned(ctx context.Context, name string) (bool, error) {
	if i.namespaces == nil {
		return true, nil
	}
	namespace := &corev1.Namespace{}
	if err := i.namespaces.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return false, err
	}
	return namespace.Labels[ownerLabel] != "", nil
}

func main() {
	port := flag.Int("port", 9443, "port on 127.0.0.1")
	certificates := flag.String("cert-dir", "", "folder of tls.crt and tls.key")
	flag.Parse()
	kubeconfig := flag.Lookup("kubeconfig").Value.String() // a flag of controller-runtime's own
	ctrl.SetLogger(zap.New(zap.Level(zapcore.ErrorLevel)))
	if err := serve(ctrl.SetupSignalHandler(), *port, *certificates, kubeconfig != ""); err != nil {
		fmt.Fprintln(os.Stderr, "usual:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, port int, certificates string, inCluster bool) error {
	handler := &injector{decoder: admission.NewDecoder(scheme.Scheme)}
	if inCluster {
		namespaces, err := watch(ctx)
		if err != nil {
			return err
		}
		handler.namespaces = namespaces
	}
	// What kubebuilder's scaffold does by default, and what the API server speaks to a webhook behind a Service.
	onlyHTTP1 := func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }
	server := webhook.NewServer(webhook.Options{
		Host: "127.0.0.1", Port: port, CertDir: certificates, TLSOpts: []func(*tls.Config){onlyHTTP1},
	})
	server.Register("/mutate", &webhook.Admission{Handler: handler})
	return server.Start(ctx)
}

// watch returns the cache when it has all namespaces.
func watch(ctx context.Context) (client.Reader, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	namespaces, err := cache.New(config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- namespaces.Start(ctx) }()
	if _, err := namespaces.GetInformer(ctx, &corev1.Namespace{}); err != nil {
		return nil, err
	}
	if !namespaces.WaitForCacheSync(ctx) {
		return nil, fmt.Errorf("the namespaces cannot be listed: %w", <-failed)
	}
	return namespaces, nil
}
