// Reads a Grafana dashboard and prints what Grafana's schema has against it; silent when that is nothing. The schema of
// a panel is known for the types that are registered here.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	known := cog.NewRuntime()
	known.RegisterPanelcfgVariant(stat.VariantConfig())
	known.RegisterPanelcfgVariant(timeseries.VariantConfig())
	known.RegisterDataqueryVariant(prometheus.VariantConfig())
	var text json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var read dashboard.Dashboard
	for _, err := range []error{read.UnmarshalJSONStrict(text), read.Validate()} {
		if err != nil && err.Error() != "" { // an empty list of errors is not nil
			fmt.Println(err)
			os.Exit(1)
		}
	}
}
