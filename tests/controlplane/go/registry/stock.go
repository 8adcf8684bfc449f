package main

import (
	"context"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
)

// stock is the distribution registry alone, as everybody runs it, with this configuration file.
func stock(file string) error {
	opened, err := os.Open(file)
	if err != nil {
		return err
	}
	config, err := configuration.Parse(opened)
	if err != nil {
		return err
	}
	made, err := registry.NewRegistry(context.Background(), config)
	if err != nil {
		return err
	}
	return made.ListenAndServe()
}
