"""The server alone, as a process of its own: what stands behind it answers every review. Prints its two ports."""

import asyncio
import ssl

import trustme

from webhook import app as _all_that_the_webhook_loads  # noqa: F401  # its memory counts
from webhook.admission import Answer
from webhook.core.metrics import Metrics
from webhook.core.review import Request, answer
from webhook.serving import log
from webhook.serving.loop import Loop
from webhook.serving.server import Mutate, admission_app, listen, metrics_app, server


class Admission:
    """Reviews of the namespace `slow` wait."""

    rewriting = None

    def at_once(self, request: Request) -> Answer | None:
        return None if request.namespace == "slow" else Answer(answer(request.uid), "unchanged")

    async def __call__(self, request: Request, deadline: float) -> Answer:
        await asyncio.sleep(1)
        return Answer(answer(request.uid), "unchanged")


async def main() -> None:
    metrics = Metrics()
    mutate = Mutate(Admission(), metrics)  # type: ignore[arg-type]  # the part of it that is used
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    context.sni_callback = lambda *_: None  # as certs.serving has one
    tls, plain = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    print(tls.getsockname()[1], plain.getsockname()[1], flush=True)
    await asyncio.gather(
        server(admission_app(mutate, str), context=context, at_once=mutate.at_once).serve([tls]),
        server(metrics_app(metrics)).serve([plain]),
    )


if __name__ == "__main__":
    log.configure("json")
    log.hooks()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
