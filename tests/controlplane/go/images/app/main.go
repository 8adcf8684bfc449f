// Command app is the workload of the test images: it says that it is up and waits to be ended.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	fmt.Println("app up")
	<-ended
}
