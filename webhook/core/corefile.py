"""What CoreDNS makes of a Corefile and of the files that it imports, as far as it decides whether CoreDNS starts. Pure.

Sources: the lexer and parser of github.com/coredns/caddy (caddyfile), and core/dnsserver of CoreDNS 1.15. Plugins read
their own arguments; these are not judged here.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from posixpath import dirname, join, normpath

from webhook.core.shown import quoted, some

ONCE = frozenset(
    """
    cache dnssec dynupdate errors grpc hosts kubernetes loop metadata multisocket nsid pprof prometheus ready shed tsig
    view
    """.split()  # noqa: SIM905  # a list would be a page long
)
"""Plugins that CoreDNS takes only once in a server block. It takes `forward` several times since 1.9.4."""
PLUGINS = ONCE | frozenset(
    """
    acl any auto autopath azure bind bufsize cancel chaos clouddns debug dns64 dnstap erratic etcd file forward geoip
    grpc_server header health https https3 k8s_external loadbalance local log minimal nomad on proxyproto quic reload
    rewrite root route53 secondary siit sign template timeouts tls trace transfer whoami
    """.split()  # noqa: SIM905  # a list would be a page long
)
"""Those of CoreDNS itself. A distribution may have others."""
_PORTS = {"dns": "53", "tls": "853", "quic": "853", "grpc": "443", "https": "443", "https3": "443", "unix": ""}
"""Of a server block that names none."""
_ENVIRONMENT = re.compile(r"\{%.+%\}|\{\$.+\}", re.DOTALL)
_MAX_IMPORTS = 1000
_NO_SPACE = "\x1c\x1d\x1e\x1f"
"""Space in Python, and not in Go."""


class CorefileError(Exception):
    """CoreDNS would not start, or nobody can say here whether it would. `file`: where."""

    def __init__(self, file: str, line: int, words: str) -> None:
        super().__init__(words)
        self.file, self.line, self.words = file, line, words


@dataclass(frozen=True, slots=True)
class Files:
    """Where CoreDNS finds files, by absolute paths. `texts`: those that are known. `unseen`: folders and files whose
    content is not known.
    """

    texts: Mapping[str, str]
    unseen: Collection[str] = ()

    def matching(self, pattern: str) -> list[str]:
        """In the order in which CoreDNS reads them."""
        return sorted(
            path for path in self.texts if dirname(path) == dirname(pattern) and fnmatchcase(path, _escaped(pattern))
        )

    def hides(self, pattern: str) -> bool:
        """Might a file that matches be one whose content is not known?"""
        where = dirname(pattern)
        return any(
            one in {pattern, where} or where.startswith(f"{one.rstrip('/')}/") or one.startswith(f"{where}/")
            for one in self.unseen
        )


@dataclass(frozen=True, slots=True)
class Plugin:
    name: str
    file: str
    line: int
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Zone:
    """`name`: in small letters and with its last dot."""

    name: str
    port: str
    transport: str = "dns"

    def __str__(self) -> str:
        return f"{'' if self.transport == 'dns' else f'{self.transport}://'}{self.name.rstrip('.') or '.'}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerBlock:
    zones: tuple[Zone, ...]
    file: str
    line: int
    plugins: tuple[Plugin, ...] = ()

    def has(self, plugin: str) -> bool:
        return any(one.name == plugin for one in self.plugins)


@dataclass(frozen=True, slots=True)
class Corefile:
    """`imports`: patterns of files that are imported outside of server blocks, as absolute paths."""

    blocks: tuple[ServerBlock, ...]
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clash:
    """Two things of which CoreDNS takes only one. `files`: where they are."""

    words: str
    files: tuple[str, str]


def read(path: str, files: Files) -> Corefile:
    """The Corefile at this path. Raises CorefileError."""
    parser = _Parser(path, files)
    blocks = tuple(parser.blocks())
    return Corefile(blocks, tuple(dict.fromkeys(parser.imports)))


def clashes(corefile: Corefile) -> tuple[Clash, ...]:
    """Why CoreDNS does not start although it can read the Corefile."""
    return (*_plugins_twice(corefile.blocks), *_zones_twice(corefile.blocks))


def _plugins_twice(blocks: Sequence[ServerBlock]) -> Iterator[Clash]:
    for block in blocks:
        seen, where = dict[str, Plugin](), some([str(zone) for zone in block.zones])
        lines = dict[tuple[str, int], Plugin]()
        for plugin in block.plugins:
            if lines.setdefault((plugin.file, plugin.line), plugin) is not plugin:  # the second is read as arguments
                words = f"the server block {where} imports the line of a plugin {quoted(plugin.name)} twice"
                yield Clash(words, (plugin.file, plugin.file))
            # `bind` may come twice, with other addresses.
            for what in (
                dict.fromkeys(plugin.arguments) if plugin.name == "bind" else [""] if plugin.name in ONCE else []
            ):
                name = f"{plugin.name} {what}".rstrip()
                first = seen.setdefault(name, plugin)
                if first is not plugin or plugin.arguments.count(what) > 1:
                    words = f"the server block {where} has the plugin {quoted(name)} twice"
                    yield Clash(words, (first.file, plugin.file))


def _zones_twice(blocks: Sequence[ServerBlock]) -> Iterator[Clash]:
    seen = dict[Zone, list[ServerBlock]]()
    for block in blocks:
        for zone in block.zones:
            others = seen.setdefault(zone, [])
            for other in others:
                if not _apart(block, other):
                    yield Clash(f"two server blocks have the zone {quoted(str(zone))}", (other.file, block.file))
                    break
            others.append(block)


def _apart(one: ServerBlock, other: ServerBlock) -> bool:
    """May both have the same zone? If they listen on other addresses, or if a `view` tells their clients apart."""
    bound = [{a for p in block.plugins if p.name == "bind" for a in p.arguments} for block in (one, other)]
    if all(bound):
        return all(map(_is_address, bound[0] | bound[1])) and not bound[0] & bound[1]
    return one is not other and not any(bound) and (one.has("view") or other.has("view"))


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


# -- words -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    file: str

    @property
    def last_line(self) -> int:
        return self.line + self.text.count("\n")


def _tokens(text: str, file: str) -> list[_Token]:
    """As the lexer, letter by letter: `#` also begins a comment inside of a word, but only up to the next space."""
    found, word, begins, line = list[_Token](), "", 1, 1
    comment = in_quotes = escaped = False
    for letter in text.removeprefix("\ufeff"):
        if in_quotes:
            if not escaped and letter == "\\":
                escaped = True
                continue
            if not escaped and letter == '"':
                found.append(_Token(word, begins, file))
                word, in_quotes = "", False
                continue
            line += letter == "\n"
            word += f"\\{letter}" if escaped and letter != '"' else letter
            escaped = False
        elif letter.isspace() and letter not in _NO_SPACE:
            if letter == "\r":
                continue
            if letter == "\n":
                line += 1
                comment = False
            if word:
                found.append(_Token(word, begins, file))
                word, comment = "", False
        elif comment or letter == "#":
            comment = True
        elif not word and letter == '"':
            in_quotes, begins = True, line
        else:
            begins = begins if word else line
            word += letter
    return [*found, _Token(word, begins, file)] if word else found


# -- server blocks -----------------------------------------------------------------------------------------------------


class _Parser:
    """Step by step as the original, so that what it accepts by accident is accepted here too."""

    def __init__(self, path: str, files: Files) -> None:
        self._path, self._files = path, files
        self._all, self._at, self._imported = _tokens(files.texts[path], path), -1, 0
        self._snippets = dict[str, list[_Token]]()
        self.imports = list[str]()

    def blocks(self) -> Iterator[ServerBlock]:
        while self._next():
            begins = self._all[self._at]
            keys, ended = self._keys()
            if ended:
                if keys:
                    yield ServerBlock(tuple(self._zones(keys)), begins.file, begins.line)
                return
            if len(keys) == 1 and keys[0].text.startswith("(") and keys[0].text.endswith(")"):
                self._snippet(keys[0])
                continue
            plugins = tuple(self._contents())
            if keys:
                yield ServerBlock(tuple(self._zones(keys)), keys[0].file, keys[0].line, plugins)

    def _keys(self) -> tuple[list[_Token], bool]:
        """Also whether the text ends with them."""
        keys, another = list[_Token](), False
        while True:
            word = self._text
            if word == "import" and self._on_new_line():
                self._import(outside=True)
                continue
            token = self._token() if word else None
            if token is not None:
                word = self._plain(token)
            if word == "{":
                if another:
                    raise self._wrong("an address is missing behind a comma")
                return keys, False
            if token is not None and word:
                another = word.endswith(",")
                keys.append(replace(token, text=word.removesuffix(",")))
            if not self._next():
                if another:
                    raise self._wrong("it ends behind a comma")
                return keys, True
            if not another and self._on_new_line():
                return keys, False

    def _snippet(self, key: _Token) -> None:
        name = key.text[1:].removesuffix(")")
        if name in self._snippets:
            raise self._wrong(f"the snippet {quoted(name)} is declared twice")
        if self._text != "{":
            raise self._wrong("a snippet has no {")
        depth, body = 1, list[_Token]()
        while depth and self._next():
            depth += (self._text == "{") - (self._text == "}")
            if depth:
                body.append(self._token())
        if depth:
            raise self._wrong("a snippet has no }")
        self._snippets[name] = body

    def _contents(self) -> Iterator[Plugin]:
        braced = self._text == "{"
        if not braced:
            self._at -= 1
        while self._next():
            if self._text == "}":
                break
            if self._text == "import":
                self._import()
                self._at -= 1
            else:
                yield self._plugin()
        if braced and self._text != "}":
            raise self._wrong("a server block has no }")

    def _plugin(self) -> Plugin:
        token, depth, arguments = self._token(), 0, list[str]()
        while self._next():
            if self._text == "{" and self._on_new_line():
                raise self._wrong("a { of a plugin is on a line of its own")
            if self._text == "{":
                depth += 1
            elif self._on_new_line() and depth == 0:
                self._at -= 1
                break
            elif self._text == "}":
                if depth == 0:
                    raise self._wrong("there is a } without a {")
                depth -= 1
            elif self._text == "import" and self._on_new_line():
                self._import()
                self._at -= 1
                continue
            arguments.append(self._text)
        if depth:
            raise self._wrong("a plugin has no }")
        return Plugin(self._plain(token), token.file, token.line, tuple(arguments))

    def _import(self, *, outside: bool = False) -> None:
        if not self._next_on_line():
            raise self._wrong("an import names no file")
        token = self._token()
        name = self._plain(token)
        if not name or self._next_on_line():
            raise self._wrong("an import names no file, or several")
        self._imported += 1
        if self._imported > _MAX_IMPORTS:
            raise self._wrong("there are too many imports; one may import itself")
        found = self._snippets.get(name)
        if found is None:
            found = [each for path in self._paths(token, name, outside=outside) for each in self._of(path)]
        self._all[self._at - 1 : self._at + 1] = found
        self._at -= 1

    def _paths(self, token: _Token, name: str, *, outside: bool) -> list[str]:
        pattern = normpath(name if name.startswith("/") else join(dirname(token.file), name))
        if pattern.count("*") > 1 or pattern.count("?") > 1 or ("[" in pattern and "]" in pattern):
            raise self._wrong(f"the import {quoted(name)} has more than one wildcard")
        if "\\" in pattern or "*" in dirname(pattern) or "?" in dirname(pattern):
            raise self._wrong(f"the import {quoted(name)} is of a kind that cannot be judged here")
        if self._files.hides(pattern):
            raise self._wrong(f"what it imports, {quoted(name)}, cannot be read from here")
        if outside:
            self.imports.append(pattern)
        found = self._files.matching(pattern)
        if not found and not {*"*?[]"} & {*pattern}:
            raise self._wrong(f"it imports {quoted(name)}, and there is no such file")
        return found

    def _of(self, path: str) -> list[_Token]:
        """CoreDNS would look for a lost } in the next file, and nobody would find it."""
        found, depth = _tokens(self._files.texts[path], path), 0
        for token in found:
            depth += (token.text == "{") - (token.text == "}")
            if depth < 0:
                raise CorefileError(path, token.line, "there is a } without a {")
        if depth:
            raise CorefileError(path, found[-1].line, "a } is missing")
        return found

    def _plain(self, token: _Token) -> str:
        if _ENVIRONMENT.search(token.text):
            words = f"{quoted(token.text)} is taken from the environment, which is not known here"
            raise CorefileError(token.file, token.line, words)
        return token.text

    def _zones(self, keys: Sequence[_Token]) -> Iterator[Zone]:
        for key in keys:
            try:
                yield from zones(key.text)
            except ValueError:
                words = f"{quoted(key.text)} is no zone"
                raise CorefileError(key.file, key.line, words) from None

    # The original's cursor.

    @property
    def _text(self) -> str:
        return self._all[self._at].text if 0 <= self._at < len(self._all) else ""

    def _token(self) -> _Token:
        return self._all[self._at]

    def _next(self) -> bool:
        there = self._at < len(self._all) - 1
        self._at += there
        return there

    def _next_on_line(self) -> bool:
        if not 0 <= self._at < len(self._all) - 1:
            return False
        here, after = self._all[self._at], self._all[self._at + 1]
        there = here.file == after.file and here.last_line == after.line
        self._at += there
        return there

    def _on_new_line(self) -> bool:
        if self._at < 1:
            return True
        if self._at >= len(self._all):
            return False
        before, here = self._all[self._at - 1], self._all[self._at]
        return before.file != here.file or before.last_line < here.line

    def _wrong(self, words: str) -> CorefileError:
        if not self._all:
            return CorefileError(self._path, 1, words)
        token = self._all[min(max(self._at, 0), len(self._all) - 1)]
        return CorefileError(token.file, token.line, words)


def zones(key: str) -> Iterator[Zone]:
    """What a key of a server block serves; of a network in CIDR notation its reverse zones. Raises ValueError."""
    before, separator, rest = key.partition("://")
    transport, text = (before, rest) if separator and before in _PORTS else ("dns", key)
    name, colon, number = text.rpartition(":")
    if colon and not number:
        raise ValueError("nothing behind the last colon")
    port = str(int(number)) if colon and re.fullmatch(r"[+-]?\d{1,9}", number, re.ASCII) else ""
    name = name if port else text
    if not name or (port and not 0 <= int(port) < 65536):
        raise ValueError("no name, or no port")
    for one in _reverse(name) or (name,):
        yield Zone(_domain(one), port or _PORTS[transport], transport)


def _domain(name: str) -> str:
    whole = name.lower().removesuffix(".") + "."
    labels = whole.removesuffix(".").split(".")
    if whole != "." and (len(name) > 253 or not all(0 < len(label.encode()) < 64 for label in labels)):
        raise ValueError("no domain name")
    return whole


def _reverse(text: str) -> tuple[str, ...]:
    address, slash, prefix = text.partition("/")
    try:
        network = ipaddress.ip_network(text, strict=False) if slash and prefix.isdecimal() else None
    except ValueError:
        return ()
    if network is None:
        return ()
    if address.startswith(":") or (address.startswith("0") and ":" in address):
        raise ValueError("no network")
    bits = 8 if network.version == 4 else 4
    upper = -(-network.prefixlen // bits) * bits
    return tuple(_reverse_zone(one, upper // bits) for one in network.subnets(new_prefix=upper))


def _reverse_zone(network: ipaddress.IPv4Network | ipaddress.IPv6Network, labels: int) -> str:
    parts = network.network_address.reverse_pointer.split(".")
    return ".".join(parts[-2 - labels :])


def _escaped(pattern: str) -> str:
    """fnmatch's brackets are a wildcard where Go's pattern has two of them, which is refused before."""
    return pattern.replace("[", "[[]")
