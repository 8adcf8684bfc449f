// Command gitea is Gitea with an SQLite that is Go: the one that Gitea is built with takes a C compiler.
package main

import (
	"database/sql"
	"database/sql/driver"
	"os"
	"strings"

	"code.gitea.io/gitea/cmd"
	"code.gitea.io/gitea/modules/log"
	"code.gitea.io/gitea/modules/setting"
	"modernc.org/sqlite"
)

// pinned is the version in go.mod.
const pinned = "1.26.0"

// options of SQLite, instead of those that Gitea writes for its own driver. What a test wrote need not survive.
const options = "?_txlock=immediate&_pragma=busy_timeout(20000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)"

type opened struct{ sqlite.Driver }

func (o *opened) Open(name string) (driver.Conn, error) {
	file, _, _ := strings.Cut(name, "?")
	return o.Driver.Open(file + options)
}

func main() {
	sql.Register("sqlite3", &opened{})
	setting.EnableSQLite3 = true
	setting.SupportedDatabaseTypes = append(setting.SupportedDatabaseTypes, "sqlite3")
	setting.AppVer = pinned
	err := cmd.RunMainApp(cmd.NewMainApp(cmd.AppVersion{Version: pinned}), os.Args...)
	log.GetManager().Close()
	if err != nil {
		os.Exit(1)
	}
}
