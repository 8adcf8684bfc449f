// Reads a JSON list of PromQL expressions and says of each that it is none; silent when all of them are.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	var expressions []string
	if err := json.NewDecoder(os.Stdin).Decode(&expressions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	status := 0
	for _, expression := range expressions {
		if _, err := parser.NewParser(parser.Options{}).ParseExpr(expression); err != nil {
			fmt.Printf("%s: %v\n", expression, err)
			status = 1
		}
	}
	os.Exit(status)
}
