"""What /metrics shows. Labels have few values; none ever holds a token, an owner or a tenant's text."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

OUTCOMES = ("injected", "unchanged", "not_served", "refused", "malformed", "failed")
_PREFIX = "pullsecret_webhook"
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each counter, which nobody reads


class Flags(Collector):
    """A gauge that is 1 for the names of some source Secrets (or sources) and absent for all others.

    `names` gives them at each scrape: as it is, those that are flagged.
    """

    def __init__(self, name: str, text: str, registry: CollectorRegistry, label: str = "secret") -> None:
        self._name, self._text, self._label = f"{_PREFIX}_{name}", text, label
        self._on: dict[str, None] = {}
        self.names: Callable[[], Iterable[str]] = lambda: self._on
        registry.register(self)

    def flag(self, name: str, *, on: bool) -> None:
        if on:
            self._on[name] = None
        else:
            self._on.pop(name, None)

    def collect(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for name in self.names():
            found.add_metric([name], 1)
        yield found


class Counts(Collector):
    """A gauge by result, or by another label. `counts` gives it at each scrape."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry, label: str = "result") -> None:
        self._name, self._text, self._label = f"{_PREFIX}_{name}", text, label
        self.counts: Callable[[], Mapping[str, int]] = dict
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for result, count in self.counts().items():
            found.add_metric([result], count)
        yield found


class Maybe(Collector):
    """A gauge that is absent while `value` is None: not known, or nothing of this process."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name, self._text = f"{_PREFIX}_{name}", text
        self.value: Callable[[], float | None] = lambda: None
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._text, value=self.value())


class Reviews(Collector):
    """Plain numbers, because one thread answers all reviews: the library's locks cost a tenth of a review's time."""

    BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
    """Seconds."""

    def __init__(self) -> None:
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._within = [0] * (len(self.BOUNDS) + 1)
        self._seconds = 0.0

    def count(self, outcome: str) -> None:
        self._outcomes[outcome] += 1

    def took(self, seconds: float) -> None:
        """From the end of the body to the answer."""
        self._within[bisect_left(self.BOUNDS, seconds)] += 1
        self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(f"{_PREFIX}_reviews", "Reviews answered, by outcome", labels=["outcome"])
        for outcome, count in self._outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        seconds = HistogramMetricFamily(
            f"{_PREFIX}_review_seconds", "Time to answer a review, from the end of the body to the answer"
        )
        bounds = [*map(str, map(float, self.BOUNDS)), "+Inf"]
        seconds.add_metric([], list(zip(bounds, accumulate(self._within), strict=True)), self._seconds)
        yield seconds


class Total(Collector):
    """A counter that other code keeps."""

    def __init__(self, name: str, text: str, count: Callable[[], int]) -> None:
        self._name, self._text, self._count = f"{_PREFIX}_{name}", text, count

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self._count())


@dataclass(frozen=True, slots=True)
class IssuerNumbers:
    """Of one issuer. `results`: how often its work came to what; `owners`: how many are in which state; `late`: of how
    many the credential should have been renewed long ago; `first_end`: of all credentials, in seconds since 1970. `up`:
    did it pass its last check? None: another replica leads, or nothing can be said.
    """

    results: Mapping[str, int]
    owners: Mapping[str, int]
    late: int
    first_end: float | None
    up: bool | None = None


class Issuers(Collector):
    """`numbers` gives them at each scrape, by the issuer's name in the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.numbers: Callable[[], Mapping[str, IssuerNumbers]] = dict
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        results = CounterMetricFamily(
            f"{_PREFIX}_issuer_results", "What was tried for owners, by result", labels=["issuer", "result"]
        )
        owners = GaugeMetricFamily(
            f"{_PREFIX}_issuer_owners", "Owners with a namespace, by state", labels=["issuer", "state"]
        )
        late = GaugeMetricFamily(
            f"{_PREFIX}_issued_late",
            "Issued credentials with less than a quarter of life left",
            labels=["issuer"],
        )
        first = GaugeMetricFamily(
            f"{_PREFIX}_issued_first_end_timestamp_seconds",
            "When the first of all issued credentials ends",
            labels=["issuer"],
        )
        up = GaugeMetricFamily(
            f"{_PREFIX}_issuer_up", "1 if the issuer passed its last check, else 0", labels=["issuer"]
        )
        for issuer, numbers in self.numbers().items():
            for result, count in numbers.results.items():
                results.add_metric([issuer, result], count)
            for state, count in numbers.owners.items():
                owners.add_metric([issuer, state], count)
            late.add_metric([issuer], numbers.late)
            if numbers.first_end is not None:
                first.add_metric([issuer], numbers.first_end)
            if numbers.up is not None:
                up.add_metric([issuer], float(numbers.up))
        yield from (results, owners, late, first, up)


class ProcessMetrics:
    """What each process has that talks to the API server. `dropped`: the number of log lines that were dropped."""

    def __init__(self, dropped: Callable[[], int] = int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.notices = self._counter("notices", "Things that a human should look at", "reason")
        self.left_out = self._counter(
            "notices_left_out", "Notices that were not shown because their namespace or owner had too many"
        )
        dropped_text = "Log lines dropped: standard error was full, or they repeated"
        self.registry.register(Total("log_lines_dropped", dropped_text, dropped))
        self.watch_failures = self._counter("watch_failures", "Failed attempts to list or watch", "resource")
        self.unreadable = self._counter(
            "unreadable_objects", "Objects of the API server that could not be read and were left out", "resource"
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, namespace=_PREFIX, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, namespace=_PREFIX, registry=self.registry)


class IssuerMetrics(ProcessMetrics):
    """Of `pullsecret issue`. None of the server's: alerts would take a gauge at 0 there for a webhook in trouble."""

    def __init__(self, dropped: Callable[[], int] = int) -> None:
        super().__init__(dropped)
        self.leads = self._gauge("issuer_leads", "1 if this replica issues, 0 if it waits")
        self.issuers = Issuers(self.registry)


class Metrics(ProcessMetrics):
    """Of the admission server."""

    def __init__(self, dropped: Callable[[], int] = int) -> None:
        super().__init__(dropped)
        self.build = self._gauge("build_info", "1, with the version of the webhook and of Python", "version", "python")
        self.ready = self._gauge("ready", "1 if this replica is ready to answer reviews, else 0")
        self.last_write = self._gauge(
            "last_write_timestamp_seconds", "When this replica last wrote or deleted a pull secret; 0: not yet"
        )
        self.write_policy = Maybe(
            "write_policy_in_force", "1 if the API server holds our writes to the write policy, else 0", self.registry
        )
        self.registered = Maybe(
            "registered", "1 if the API server calls the webhook and trusts its CA, else 0", self.registry
        )
        self.reviews = Reviews()
        self.registry.register(self.reviews)
        self.writes = self._counter("secret_writes", "Writes of pull secrets, by action and result", "action", "result")
        self.broken_sources = Flags(
            "source_secret_broken", "1 for each source Secret that cannot be used, or only in part", self.registry
        )
        self.source_expired = Flags(
            "source_secret_expired", "1 for each source Secret with an expired credential", self.registry
        )
        self.expiring = self._gauge(
            "pull_secrets_expiring",
            "Pull secrets with a credential that expires within a week and is valid for more than a day",
        )
        self.expired = self._gauge("pull_secrets_expired", "Pull secrets with an expired credential")
        self.withdrawals_held = self._gauge(
            "withdrawals_held", "Owners without a credential any more whose pull secrets are kept for now"
        )
        self.share = Maybe("share", "Part of the background's work that this replica does; 1: all", self.registry)
        self.checked = Counts(
            "credentials", "Credentials, by what their registries said: works, refused, unknown, unasked", self.registry
        )
        self.mirrors = Counts(
            "mirror_answers",
            "1 for each mirror whose names images get if it answered the last time, else 0",
            self.registry,
            "mirror",
        )
        self.asked = self._counter(
            "source_questions",
            "Questions to a source for one owner, by result: answered, unavailable",
            "source",
            "result",
        )
        self.queries = self._counter(
            "source_queries", "Queries that were sent to a source; one may be about many owners", "source"
        )
        self.down = Flags(
            "source_down", "1 for each source that gave no answer when last asked", self.registry, "source"
        )
        self.namespaces = Counts(
            "namespaces", "Served namespaces, by what is known of their pull secret", self.registry, "state"
        )
        self.known = self._gauge("known_objects", "Objects in the views", "resource")
        self.certificate_expiry = Maybe(
            "certificate_expiry_timestamp_seconds",
            "When the serving certificate expires; 0: there is none yet",
            self.registry,
        )
